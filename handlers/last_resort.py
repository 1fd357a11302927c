"""What can still be said of a record that was taken apart, or whose parts raise."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from .clock import stamp
from .compiled import RECORD
from .encoding import encode, normalise
from .parts import NOT_EXTRAS, formatted
from .plain import safe_repr
from .schema import Schema

__all__ = ["emergency", "plainly", "torn"]

Clean: TypeAlias = Callable[[dict[str, Any], tuple[str, ...]], dict[str, Any]]
# level, message and moment; extras; origin; the exception
Torn: TypeAlias = tuple[tuple[object, str, object], dict[str, Any], dict[str, Any], object]


def torn(record: object) -> Torn:
    """Return what is left of a record that lacks attributes, or whose attributes misbehave."""
    own: dict[str, Any] = getattr(record, "__dict__", {})
    message = formatted(own.get("msg", ""), own.get("args"))
    fields = {name: value for name, value in own.items() if name not in NOT_EXTRAS}
    origin = {name: own.get(key) for name, key in RECORD.items()}
    origin |= {"logger": own.get("name", ""), "task": own.get("taskName")}
    origin["stack_info"] = own.get("stack_info")
    head = (own.get("levelno", 20), message, own.get("created"))
    return head, fields, plainly(origin), own.get("exc_info")


def plainly(mapping: Mapping[Any, Any]) -> dict[str, Any]:
    """Return what a mapping holds, made plain; nothing when it is no mapping at all."""
    plain = normalise(mapping)
    return plain if type(plain) is dict else {}


def emergency(schema: Schema, clean: Clean | None, level: str, message: str, error: BaseException) -> bytes:
    """Return an event with nothing but the message and the reason why there is no more."""
    event = {
        "timestamp": stamp(time.time()),
        "level": level,
        "service": schema.service,
        "trace_id": "",
        "span_id": "",
        "message": message,
        "environment": schema.environment,
        "host": schema.host,
        "extra": {"record_error": safe_repr(error)},
    }
    try:
        return encode(event if clean is None else clean(event, ()))
    except Exception:  # noqa: BLE001 - a redactor that raises must not let the message through
        return encode({**event, "message": "<not shown: redaction failed>", "extra": {}})
