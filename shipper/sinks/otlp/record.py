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

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias

import msgspec

from .protobuf import any_value, attribute, level_fields, log_record, text_value

__all__ = ["Recorder", "Resource", "nanoseconds", "resource_attributes"]

Resource: TypeAlias = tuple[Any, Any, Any, Any]
"""service, version, environment, host."""

_SEVERITY: Final[Mapping[Any, int]] = {"DEBUG": 5, "INFO": 9, "WARNING": 13, "ERROR": 17, "CRITICAL": 21}
_OWN: Final = frozenset(
    {
        *("timestamp", "level", "service", "version", "environment", "host", "message"),
        *("trace_id", "span_id", "error"),
    }
)
_MOST_LEVELS: Final = 64
_MOST_VALUES: Final = 256
"""Values of one field that are remembered; with more of them it is written anew each time."""

_MOST_HELD: Final = 8_192
_LONGEST_HELD: Final = 256
_NONE: Final[dict[Any, bytes]] = {}
_ERROR: Final = {"type": "exception.type", "message": "exception.message", "stack": "exception.stacktrace"}
_decode = msgspec.json.Decoder().decode  # exact also for integers beyond 64 bits
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NAMES: Final = ("service.name", "service.version", "deployment.environment.name", "host.name")


def nanoseconds(text: Any) -> int:
    """Return an event's time since 1970; 0 (which OpenTelemetry takes as unknown) when it has none."""
    # An event's own form, 2026-01-31T08:00:00.123456Z: most of it is the same for a whole second.
    if type(text) is str and len(text) == 27 and text[19] == "." and text[26] == "Z":
        digits = text[20:26]
        if digits.isascii() and digits.isdecimal():
            second = _second(text[:19])
            return second + int(digits) * 1000 if second >= 0 else 0
    return _nanoseconds(text)


@lru_cache(1024)
def _second(text: str) -> int:
    """Return the nanoseconds at the beginning of a second; -1: before 1970, or no time."""
    found = _nanoseconds(text + ".000001Z")
    return found - 1000 if found else -1


def _nanoseconds(text: Any) -> int:
    try:
        past = datetime.fromisoformat(text) - _EPOCH
    except (ValueError, TypeError, OverflowError):
        return 0
    return max((past.days * 86_400 + past.seconds) * 1_000_000 + past.microseconds, 0) * 1000


def resource_attributes(resource: Resource, fixed: Mapping[str, str]) -> dict[str, Any]:
    """Return the attributes of a resource."""
    known = {name: value for name, value in zip(_NAMES, resource, strict=True) if value not in {None, ""}}
    return {**known, **fixed}


class Recorder:
    """Makes records of event lines; attributes and levels that come again are framed once."""

    __slots__ = ("_body", "_held", "_levels", "_tables")

    def __init__(self, body: Literal["message", "line"]) -> None:
        self._body = body
        self._levels: dict[Any, bytes] = {}
        # By type, as True equals 1: name → value → the framed attribute; None: it has too many values.
        self._tables: dict[type, dict[str, dict[Any, bytes] | None]] = {str: {}, int: {}}
        self._held = 0

    def record(self, line: bytes, uid: str, now: int) -> tuple[Resource, bytes] | None:
        """Return the resource and the framed record of an event line; None when it is not a JSON object."""
        try:
            event = _decode(line)
            if not isinstance(event, dict):
                return None
            get = event.get
            stamp = nanoseconds(get("timestamp"))
            made = log_record(
                time=stamp,
                observed=stamp or now,
                level=self._level(get("level")),
                body=text_value(line) if self._body == "line" else any_value(get("message", "")),
                attributes=self._attributes(event, uid),
                trace_id=_id(get("trace_id"), 16),
                span_id=_id(get("span_id"), 8),
            )
        except (msgspec.DecodeError, ValueError, RecursionError):
            return None
        resource = (get("service"), get("version"), get("environment"), get("host"))
        try:
            hash(resource)
        except TypeError:  # a list or an object in it
            service, version, environment, host = map(_plain, resource)
            resource = (service, version, environment, host)
        return resource, made

    def _level(self, level: Any) -> bytes:
        if type(level) is not str:
            return level_fields(0, "")
        made = self._levels.get(level)
        if made is None:
            made = level_fields(_SEVERITY.get(level, 0), level)
            if len(self._levels) < _MOST_LEVELS:
                self._levels[level] = made
        return made

    def _attributes(self, event: dict[str, Any], uid: str) -> list[bytes]:
        made = [attribute("log.record.uid", uid)]
        if self._body == "line":
            return made
        texts = self._tables[str]
        for name, value in event.items():
            if name in _OWN:
                continue
            found = table.get(value) if type(value) is str and (table := texts.get(name)) else None
            made.append(self._framed(name, value) if found is None else found)
        error = event.get("error")
        if error is None:
            return made
        if not isinstance(error, dict):
            made.append(attribute("error", error))
            return made
        made += [attribute(_ERROR[name], value) for name, value in error.items() if name in _ERROR]
        if rest := {name: value for name, value in error.items() if name not in _ERROR}:
            made.append(attribute("error", rest))
        return made

    def _framed(self, name: str, value: Any) -> bytes:
        tables = self._tables.get(type(value))
        if tables is None:
            return attribute(name, value)
        table = tables.get(name, _NONE)
        if table is None:
            return attribute(name, value)
        made = table.get(value)
        if made is None:
            made = attribute(name, value)
            self._keep(tables, name, value, made)
        return made

    def _keep(self, tables: dict[str, dict[Any, bytes] | None], name: str, value: Any, made: bytes) -> None:
        """Remember an attribute, as far as there is room; a field with many values is not worth it."""
        if self._held >= _MOST_HELD:
            for each in self._tables.values():
                each.clear()
            self._held = 0
        table = tables.setdefault(name, {})
        if table is None or len(made) > _LONGEST_HELD:
            return
        if len(table) >= _MOST_VALUES:
            tables[name] = None
            return
        table[value] = made
        self._held += 1


def _plain(value: Any) -> Any:
    """Return what can name a resource: a list or an object is its JSON."""
    return msgspec.json.encode(value).decode() if isinstance(value, dict | list) else value


def _id(value: Any, size: int) -> bytes:
    if not isinstance(value, str) or len(value) != size * 2:
        return b""
    try:
        made = bytes.fromhex(value)
    except ValueError:
        return b""
    return made if len(made) == size and made.count(0) < size else b""
