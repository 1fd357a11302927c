"""What others' protocols carry, as what a line would say. Pure.

Rules

- A line goes through the parser as in a file; what it says itself counts more than what stands beside it.
- Of Loki's labels and metadata, the service is what `service_name`, `service`, `app`, `job` or `container`
  says, in this order, and the level what `level`, `severity` or `detected_level` says. All others are fields.
- Of OTLP's resource, `service.name`, `service.version`, `deployment.environment.name` and `host.name` are the
  event's own; all other attributes are fields by their names. The record's severity counts, if it has one.
- What a collector parsed out of a body, and left in it as well, is there once.
- An id that another logferry gave an event (`event_id`, `log.record.uid`) stays the event's id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from ...core.parse import Parsed, level_of, moment_of, parse, service_of, span_of, trace_of
from ..listen.identity import known_id
from ..parsed_blocks import Told

__all__ = ["Entry", "Record", "add_level", "add_service", "seconds", "told_of_entry", "told_of_record"]

_SERVICES: Final = ("service_name", "service", "app", "job", "container")
_LEVELS: Final = ("level", "severity", "levelname", "lvl", "detected_level")
_SEVERITIES: Final = ("DEBUG", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_RESOURCE: Final[Mapping[str, str]] = {
    "service.version": "version",
    "deployment.environment.name": "environment",
    "deployment.environment": "environment",
    "host.name": "host",
}
_ATTRIBUTES: Final[Mapping[str, str]] = {
    "code.function.name": "function",
    "code.function": "function",
    "code.line.number": "line",
    "code.lineno": "line",
    "thread.name": "thread",
    "process.pid": "process",
    "enduser.id": "user_id",
    "user.id": "user_id",
}
_ERROR: Final[Mapping[str, str]] = {
    "exception.type": "type",
    "exception.message": "message",
    "exception.stacktrace": "stack",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A line that was sent to Loki. `time` is nanoseconds since 1970."""

    time: int
    line: bytes
    labels: Mapping[str, str]
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Record:
    """A record that was sent by OTLP. `time` is nanoseconds since 1970, ids are hex digits."""

    time: int
    severity: int
    level: str
    body: Any
    attributes: Mapping[str, Any]
    resource: Mapping[str, Any]
    scope: str = ""
    trace_id: str = ""
    span_id: str = ""
    event: str = ""


def seconds(nanoseconds: int) -> float | None:
    """Return a time as seconds since 1970, to the microsecond; None: it says nothing."""
    return nanoseconds // 1000 / 1e6 if 0 < nanoseconds < 1 << 63 else None


def told_of_entry(entry: Entry) -> Told | None:
    """Return what a line that was sent to Loki says; None: it is blank."""
    parsed = parse(entry.line)
    if parsed is None:
        return None
    if parsed.timestamp is None:
        parsed.timestamp = seconds(entry.time)
    beside = {**entry.labels, **entry.metadata}
    own = known_id(beside.pop("event_id", ""))
    add_service(parsed, beside)
    add_level(parsed, beside)
    parsed.trace_id = parsed.trace_id or trace_of(beside.get("trace_id")) or ""
    parsed.span_id = parsed.span_id or span_of(beside.get("span_id")) or ""
    for name in ("trace_id", "span_id"):
        if beside.get(name) == getattr(parsed, name):
            del beside[name]
    for name in ("logger", "logger_name"):
        if not parsed.logger and name in beside:
            parsed.logger = beside.pop(name)
        elif beside.get(name) == parsed.logger:
            beside.pop(name, None)
    for name, value in beside.items():
        parsed.fields.setdefault(name, value)
    return parsed, own


def add_service(parsed: Parsed, beside: dict[str, str]) -> None:
    """Take the service out of labels; one that says another than the line stays."""
    for name in _SERVICES:
        service = service_of(beside.get(name))
        if service is not None and not parsed.service:
            parsed.service = service
        if service is not None and service == parsed.service:
            del beside[name]


def add_level(parsed: Parsed, beside: dict[str, str]) -> None:
    """Take the level out of labels."""
    for name in _LEVELS:
        level = level_of(beside.get(name))
        if level is not None:
            del beside[name]
            if parsed.level == "INFO":
                parsed.level = level


def told_of_record(record: Record) -> Told:
    """Return what a record that was sent by OTLP says."""
    parsed = _read_body(record.body)
    fields = parsed.fields
    parsed.timestamp = seconds(record.time) or parsed.timestamp
    if record.severity > 0:
        parsed.level = _SEVERITIES[min((record.severity + 3) // 4, 6) - 1]
    else:
        parsed.level = level_of(record.level) or parsed.level
    attributes = dict(record.attributes)
    own = known_id(attributes.pop("log.record.uid", "")) or known_id(fields.get("event_id"))
    if own:
        fields.pop("event_id", None)
    resource = dict(record.resource)
    parsed.service = parsed.service or service_of(resource.get("service.name")) or ""
    if resource.get("service.name") == parsed.service:
        del resource["service.name"]
    parsed.trace_id = trace_of(record.trace_id) or parsed.trace_id
    parsed.span_id = span_of(record.span_id) or parsed.span_id
    logger = attributes.get("logger")
    if isinstance(logger, str) and not parsed.logger:
        parsed.logger = attributes.pop("logger")
    parsed.logger = parsed.logger or record.scope
    if not parsed.error:
        parsed.error = _take_error(attributes)
    if record.event:
        fields.setdefault("event_name", record.event)
    _drop_repeated(attributes, parsed)
    for names, held in ((_RESOURCE, resource), (_ATTRIBUTES, attributes)):
        for name, value in held.items():
            fields.setdefault(names.get(name, name), value)
    return parsed, own


def _read_body(body: Any) -> Parsed:
    """Return what a body says: text like a line, an object field by field, anything else as text."""
    if isinstance(body, str):
        return parse(body.encode("utf-8", "replace")) or Parsed("")
    if body is None:
        return Parsed("")
    try:
        return parse(orjson.dumps(body)) or Parsed("")
    except TypeError:  # integers beyond 64 bits
        return Parsed(str(body))


def _drop_repeated(attributes: dict[str, Any], parsed: Parsed) -> None:
    """Leave out attributes that repeat what the event says: collectors parse a body into them and keep it."""
    for name, read, said in (
        ("message", str, parsed.message),
        ("level", level_of, parsed.level),
        ("service", service_of, parsed.service),
        ("logger", str, parsed.logger),
        ("trace_id", trace_of, parsed.trace_id),
        ("span_id", span_of, parsed.span_id),
    ):
        value = attributes.get(name)
        if isinstance(value, str) and said and read(value) == said:
            del attributes[name]
    stamp = attributes.get("timestamp")
    if stamp is not None and stamp != "" and moment_of(stamp, datetime.timestamp) == parsed.timestamp:
        del attributes["timestamp"]


def _take_error(attributes: dict[str, Any]) -> dict[str, Any]:
    error = {}
    for name, part in _ERROR.items():
        if isinstance(attributes.get(name), str):
            error[part] = attributes.pop(name)
    return error
