"""An event as OpenTelemetry's log record, and the resource that it belongs to. Pure.

- Resource: `service.name`, `service.version`, `deployment.environment.name`, `host.name`, and what the
  configuration adds. Events with the same values share a resource in the request.
- `timestamp`, `level`, `trace_id`, `span_id` are the record's own; ids that are none (a wrong length, only
  zeros) are left out, as the protocol demands.
- `log.record.uid` is the event's id: a store that knows it can drop a repeated delivery.
- body `message`: all other fields are attributes by their own names, nested ones nested; of `error` the parts
  that OpenTelemetry has names for are `exception.type`, `exception.message`, `exception.stacktrace`.
- body `line`: the whole event as it was logged is the body; the id is the only attribute.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias

import msgspec

from .protobuf import any_value, key_value, log_record, text_value

__all__ = ["Resource", "nanoseconds", "record", "resource_attributes"]

Resource: TypeAlias = tuple[Any, Any, Any, Any]
"""service, version, environment, host."""

_SEVERITY: Final[Mapping[Any, int]] = {"DEBUG": 5, "INFO": 9, "WARNING": 13, "ERROR": 17, "CRITICAL": 21}
_OWN: Final = frozenset(
    {
        *("timestamp", "level", "service", "version", "environment", "host", "message"),
        *("trace_id", "span_id", "error"),
    }
)
_ERROR: Final = {"type": "exception.type", "message": "exception.message", "stack": "exception.stacktrace"}
_decode = msgspec.json.Decoder().decode  # exact also for integers beyond 64 bits
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NAMES: Final = ("service.name", "service.version", "deployment.environment.name", "host.name")


def nanoseconds(text: Any) -> int:
    """Return an event's time since 1970; 0 (which OpenTelemetry takes as unknown) when it has none."""
    try:
        past = datetime.fromisoformat(text) - _EPOCH
    except (ValueError, TypeError, OverflowError):
        return 0
    return max((past.days * 86_400 + past.seconds) * 1_000_000 + past.microseconds, 0) * 1000


def resource_attributes(resource: Resource, fixed: Mapping[str, str]) -> dict[str, Any]:
    """Return the attributes of a resource."""
    known = {name: value for name, value in zip(_NAMES, resource, strict=True) if value not in {None, ""}}
    return {**known, **fixed}


def record(
    line: bytes, uid: str, body: Literal["message", "line"], now: int
) -> tuple[Resource, bytes] | None:
    """Return the resource and the framed record of an event line; None when it is not a JSON object."""
    try:
        event = _decode(line)
        if not isinstance(event, dict):
            return None
        stamp = nanoseconds(event.get("timestamp"))
        level = event.get("level")
        made = log_record(
            time=stamp,
            observed=stamp or now,
            severity=_SEVERITY.get(level, 0) if isinstance(level, str) else 0,
            level=level if isinstance(level, str) else "",
            body=text_value(line) if body == "line" else any_value(event.get("message", "")),
            attributes=_attributes(event, uid, body),
            trace_id=_id(event.get("trace_id"), 16),
            span_id=_id(event.get("span_id"), 8),
        )
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    service, version, environment, host = (
        _plain(event.get(name)) for name in ("service", "version", "environment", "host")
    )
    return (service, version, environment, host), made


def _plain(value: Any) -> Any:
    """Return what can name a resource: a list or an object is its JSON."""
    return msgspec.json.encode(value).decode() if isinstance(value, dict | list) else value


def _attributes(event: dict[str, Any], uid: str, body: str) -> Iterator[bytes]:
    yield key_value("log.record.uid", uid)
    if body == "line":
        return
    for name, value in event.items():
        if name not in _OWN:
            yield key_value(name, value)
    error = event.get("error")
    if error is None:
        return
    if not isinstance(error, dict):
        yield key_value("error", error)
        return
    rest = {}
    for name, value in error.items():
        if name in _ERROR:
            yield key_value(_ERROR[name], value)
        else:
            rest[name] = value
    if rest:
        yield key_value("error", rest)


def _id(value: Any, size: int) -> bytes:
    if not isinstance(value, str) or len(value) != size * 2:
        return b""
    try:
        made = bytes.fromhex(value)
    except ValueError:
        return b""
    return made if len(made) == size and any(made) else b""
