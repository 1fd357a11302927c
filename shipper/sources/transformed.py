"""A parsed line as transforms see it, an event's fields by their names, and back.

What was not changed goes back as it was. What was, is read as if a line had said it: a level in any form, a
time, ids that are well formed. What is none of these stays a field under its name, and the schema decides. A
line that says no time has none here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from ...handlers.clock import stamp
from ...handlers.plain import safe_repr
from ..core.parse import Parsed, level_of, moment_of, service_of, span_of, trace_of
from ..core.parse_error import take_error

if TYPE_CHECKING:
    from ..builder import SourceBuilder

__all__ = ["transform"]

_TEXTS: Final = ("message", "logger")


def transform(builder: SourceBuilder, parsed: Parsed) -> str:
    """Apply the builder's transforms to a parsed line; return which one leaves it out, `""`: none does."""
    schema = builder.schema
    given = {
        "level": parsed.level,
        "service": parsed.service or schema.service,
        "trace_id": parsed.trace_id,
        "span_id": parsed.span_id,
        "message": parsed.message,
        "logger": parsed.logger,
    }
    if parsed.timestamp is not None:
        given["timestamp"] = stamp(parsed.timestamp)
    known = {"environment": schema.environment, "host": schema.host, "version": schema.version}
    event: dict[str, Any] = {**known, **parsed.fields, **given}
    kept = {name: parsed.fields[name] for name in given if name in parsed.fields}
    if parsed.error:
        if "error" in parsed.fields:
            kept["error"] = parsed.fields["error"]
        event["error"] = dict(parsed.error)
    reason = builder.transforms.apply(event)
    if not reason:
        for name, value in known.items():
            if event.get(name) is value and name not in parsed.fields:
                event.pop(name, None)
        _take_back(parsed, event, given)
        for name, value in kept.items():
            event.setdefault(name, value)
        parsed.fields = event
    return reason


def _take_back(parsed: Parsed, event: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Read what an event always has from `event`, which keeps what is none of it."""
    for name in _TEXTS:
        value = event.pop(name, "")
        if value is not given[name]:
            setattr(parsed, name, _text(value))
    for name, (read, otherwise) in _READ.items():
        there = name in given or name in event
        value = event.pop(name, "")
        if not there or value is given.get(name, _NOTHING):
            continue
        understood = read(value)
        if understood is not None:
            setattr(parsed, name, understood)
        else:
            if otherwise is not None:
                setattr(parsed, name, otherwise)
            if value != "" or name not in given:  # an empty text that the line said is no less than another
                event[name] = value
    error = event.get("error")
    if error is None:
        parsed.error = {}
    elif parsed.error and error == parsed.error:
        del event["error"]
    else:
        parsed.error = take_error(event)


def _text(value: object) -> str:
    return value if type(value) is str else "" if value is None else safe_repr(value, str)


def _moment(value: object) -> float | None:
    return moment_of(value, datetime.timestamp)


_NOTHING: Final = object()

# How it is read, and what stands in its place where it says nothing (None: what stood there before).
_READ: Final[Mapping[str, tuple[Callable[[object], Any], Any]]] = {
    "service": (service_of, ""),
    "trace_id": (trace_of, ""),
    "span_id": (span_of, ""),
    "level": (level_of, None),
    "timestamp": (_moment, None),
}
