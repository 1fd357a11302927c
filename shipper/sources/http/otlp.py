"""OTLP's logs request, as protobuf and as JSON: records with their resources. Pure.

    ExportLogsServiceRequest { repeated ResourceLogs resource_logs = 1 }
    ResourceLogs             { Resource resource = 1; repeated ScopeLogs scope_logs = 2 }
    Resource                 { repeated KeyValue attributes = 1 }
    ScopeLogs                { InstrumentationScope scope = 1; repeated LogRecord log_records = 2 }
    InstrumentationScope     { string name = 1 }
    LogRecord                { fixed64 time_unix_nano = 1; SeverityNumber severity_number = 2;
                               string severity_text = 3; AnyValue body = 5; repeated KeyValue attributes = 6;
                               bytes trace_id = 9; bytes span_id = 10; fixed64 observed_time_unix_nano = 11;
                               string event_name = 12 }
    KeyValue                 { string key = 1; AnyValue value = 2 }
    AnyValue                 { string = 1 | bool = 2 | int64 = 3 | double = 4 | ArrayValue = 5 |
                               KeyValueList = 6 | bytes = 7 }

ValueError for what is neither, before anything of it is an event.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from typing import Any, Final

import orjson

from .records import Record
from .wire import fields, number, signed, text

__all__ = ["read_json", "read_protobuf"]

_DEEPEST: Final = 32


def read_protobuf(body: bytes) -> list[Record]:
    """Return the records of a request."""
    found: list[Record] = []
    for field, resource_logs in fields(body):
        if field != 1:
            continue
        resource: dict[str, Any] = {}
        scopes = []
        for inner, value in fields(_message(resource_logs)):
            if inner == 1:
                resource = _attributes([one for at, one in fields(_message(value)) if at == 1])
            elif inner == 2:
                scopes.append(_message(value))
        for scope in scopes:
            found += _scope(scope, resource)
    return found


def _scope(data: bytes, resource: Mapping[str, Any]) -> list[Record]:
    name, records = "", []
    for field, value in fields(data):
        if field == 1:
            name = next((text(one) for at, one in fields(_message(value)) if at == 1), "")
        elif field == 2:
            records.append(_message(value))
    return [_record(record, resource, name) for record in records]


def _record(data: bytes, resource: Mapping[str, Any], scope: str) -> Record:
    held: dict[int, Any] = {}
    attributes = []
    for field, value in fields(data):
        if field == 6:
            attributes.append(value)
        else:
            held[field] = value
    return Record(
        time=number(held.get(1, 0)) or number(held.get(11, 0)),
        severity=number(held.get(2, 0)),
        level=text(held.get(3, b"")),
        body=_any(_message(held[5]), 0) if 5 in held else "",
        attributes=_attributes(attributes),
        resource=resource,
        scope=scope,
        trace_id=_message(held.get(9, b"")).hex(),
        span_id=_message(held.get(10, b"")).hex(),
        event=text(held.get(12, b"")),
    )


def _attributes(pairs: list[Any], depth: int = 0) -> dict[str, Any]:
    found = {}
    for pair in pairs:
        parts = dict(fields(_message(pair)))
        found[text(parts.get(1, b""))] = _any(_message(parts.get(2, b"")), depth)
    return found


def _any(data: bytes, depth: int) -> Any:  # noqa: PLR0911 - one for each kind of value
    if depth > _DEEPEST:
        return "…"
    for field, value in fields(data):
        if field == 1:
            return text(value)
        if field == 2:
            return bool(number(value))
        if field == 3:
            return signed(value)
        if field == 4:
            return struct.unpack("<d", struct.pack("<Q", number(value)))[0]
        if field == 5:
            return [_any(_message(one), depth + 1) for at, one in fields(_message(value)) if at == 1]
        if field == 6:
            return _attributes([one for at, one in fields(_message(value)) if at == 1], depth + 1)
        if field == 7:
            return base64.b64encode(_message(value)).decode()
    return None


def _message(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a number where protobuf has a message")  # noqa: TRY004 - one error for all that is wrong
    return value


# ── JSON ──


def read_json(body: bytes) -> list[Record]:
    """Return the records of a request in OTLP's JSON."""
    content = orjson.loads(body)
    if not isinstance(content, dict):
        raise ValueError("not an object")  # noqa: TRY004 - as above
    found = []
    for group in _list(content, "resourceLogs"):
        resource = _pairs(_list(_object(group, "resource"), "attributes"), 0)
        for scope in _list(group, "scopeLogs"):
            name = _object(scope, "scope").get("name", "")
            name = name if isinstance(name, str) else ""
            found += [_json_record(record, resource, name) for record in _list(scope, "logRecords")]
    return found


def _json_record(record: Mapping[str, Any], resource: Mapping[str, Any], scope: str) -> Record:
    level, event = record.get("severityText", ""), record.get("eventName", "")
    return Record(
        time=_integer(record.get("timeUnixNano")) or _integer(record.get("observedTimeUnixNano")),
        severity=_integer(record.get("severityNumber")),
        level=level if isinstance(level, str) else "",
        body=_json_any(record.get("body"), 0) if record.get("body") is not None else "",
        attributes=_pairs(_list(record, "attributes"), 0),
        resource=resource,
        scope=scope,
        trace_id=_hex(record.get("traceId")),
        span_id=_hex(record.get("spanId")),
        event=event if isinstance(event, str) else "",
    )


def _list(held: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    value = held.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise ValueError(f"{name} is not a list of objects")
    return value


def _object(held: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = held.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{name} is not an object")  # noqa: TRY004 - as above
    return value


def _integer(value: Any) -> int:
    if value is None:
        return 0
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 25:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError(f"not a number: {str(value)[:40]!r}")


def _hex(value: Any) -> str:
    return value.lower() if isinstance(value, str) else ""


def _pairs(pairs: list[dict[str, Any]], depth: int) -> dict[str, Any]:
    return {str(pair.get("key", "")): _json_any(pair.get("value"), depth) for pair in pairs}


def _json_any(value: Any, depth: int) -> Any:
    if not isinstance(value, dict) or not value or depth > _DEEPEST:
        return None
    kind, held = next(iter(value.items()))
    if kind == "intValue":
        return (
            int(held) if isinstance(held, str) and held.lstrip("-").isdecimal() and len(held) < 25 else held
        )
    if kind == "arrayValue":
        return (
            [_json_any(one, depth + 1) for one in _list({"values": held.get("values")}, "values")]
            if isinstance(held, dict)
            else None
        )
    if kind == "kvlistValue":
        return _pairs(_list(held, "values"), depth + 1) if isinstance(held, dict) else None
    return held
