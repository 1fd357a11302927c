"""OpenTelemetry's messages as bytes, framed by hand: nothing is installed for it, and nothing copied twice.

    ExportLogsServiceRequest  { repeated ResourceLogs resource_logs = 1 }
    ResourceLogs              { Resource resource = 1; repeated ScopeLogs scope_logs = 2 }
    Resource                  { repeated KeyValue attributes = 1 }
    ScopeLogs                 { InstrumentationScope scope = 1; repeated LogRecord log_records = 2 }
    LogRecord                 { fixed64 time_unix_nano = 1; SeverityNumber severity_number = 2;
                                string severity_text = 3; AnyValue body = 5; repeated KeyValue attributes = 6;
                                bytes trace_id = 9; bytes span_id = 10; fixed64 observed_time_unix_nano = 11 }
    KeyValue                  { string key = 1; AnyValue value = 2 }
    AnyValue                  { string = 1 | bool = 2 | int64 = 3 | double = 4 | ArrayValue = 5 |
                                KeyValueList = 6 }
    Span                      { bytes trace_id = 1; bytes span_id = 2; bytes parent_span_id = 4;
                                string name = 5; SpanKind kind = 6; fixed64 start_time_unix_nano = 7;
                                fixed64 end_time_unix_nano = 8; repeated KeyValue attributes = 9;
                                repeated Event events = 11; Status status = 15 }
    Event                     { fixed64 time_unix_nano = 1; string name = 2;
                                repeated KeyValue attributes = 3 }
    Status                    { string message = 2; StatusCode code = 3 }
    ExportLogsServiceResponse { ExportLogsPartialSuccess partial_success = 1 }
    ExportLogsPartialSuccess  { int64 rejected_log_records = 1; string error_message = 2 }
    google.rpc.Status         { int32 code = 1; string message = 2 }

What carries spans is numbered as what carries log records: ExportTraceServiceRequest, ResourceSpans and
ScopeSpans, and the response.

Values are what JSON knows. An integer beyond 64 bits becomes text; null becomes an empty value.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from ...core.varint import read_varint, varint

__all__ = [
    "any_value",
    "attribute",
    "export_request",
    "key_value",
    "level_fields",
    "log_record",
    "partial_success",
    "resource_group",
    "span_event",
    "span_message",
    "status_message",
    "text_value",
]

_TEXT, _ARRAY, _MAP = b"\x0a", b"\x2a", b"\x32"  # AnyValue's tags of what has a length
_SCOPE: Final = b"\x0a\x0a\x0a\x08logferry"
_LARGEST: Final = 1 << 63
_pack: Final = struct.Struct("<Q").pack
_LAST: Final = (1 << 64) - 1


def _eight(time: int) -> bytes:
    return _pack(min(time, _LAST))  # after the year 2554 is what the protocol has no time for


_LENGTHS: Final = [varint(length) for length in range(2048)]  # most of them are short


def _sized(tag: bytes, content: bytes) -> bytes:
    size = len(content)
    return tag + (_LENGTHS[size] if size < 2048 else varint(size)) + content


def text_value(text: bytes) -> bytes:
    """Return an AnyValue that is this UTF-8 text."""
    return _sized(_TEXT, text)


def any_value(value: Any) -> bytes:  # noqa: PLR0911 - one for each kind of value
    """Return a JSON value as an AnyValue."""
    if isinstance(value, str):
        return _sized(_TEXT, value.encode())
    if value is None:
        return b""
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        if -_LARGEST <= value < _LARGEST:
            return b"\x18" + varint(value & 0xFFFF_FFFF_FFFF_FFFF)
        return _sized(_TEXT, str(value).encode())
    if isinstance(value, float):
        return b"\x21" + struct.pack("<d", value)
    if isinstance(value, Mapping):
        return _sized(_MAP, b"".join(_sized(b"\x0a", key_value(key, item)) for key, item in value.items()))
    return _sized(_ARRAY, b"".join(_sized(b"\x0a", any_value(item)) for item in value))


@lru_cache(4096)
def _key(name: str) -> bytes:
    return _sized(b"\x0a", name.encode())


def key_value(name: str, value: Any) -> bytes:
    """Return a KeyValue, without its own tag and length."""
    if (
        type(value) is str and len(value) < 500
    ):  # the usual one, in one piece (at most four bytes a character)
        text = value.encode()
        inner = _LENGTHS[len(text)]
        return b"%b\x12%b\x0a%b%b" % (_key(name), _LENGTHS[len(text) + len(inner) + 1], inner, text)
    return _key(name) + _sized(b"\x12", any_value(value))


def attribute(name: str, value: Any) -> bytes:
    """Return an attribute of a LogRecord."""
    return _sized(b"\x32", key_value(name, value))


def level_fields(severity: int, level: str) -> bytes:
    """Return the severity's number and text of a LogRecord."""
    return b"\x10" + varint(severity) + _sized(b"\x1a", level.encode())


def log_record(
    *,
    time: int,
    observed: int,
    level: bytes,
    body: bytes,
    attributes: Sequence[bytes],
    trace_id: bytes,
    span_id: bytes,
) -> bytes:
    """Return a LogRecord; times are nanoseconds.

    `level` is of `level_fields`, `body` an AnyValue, `attributes` are of `attribute`; ids have their lengths,
    or none.
    """
    return b"\x09%b%b%b%b\x59%b%b%b" % (
        _eight(time),
        level,
        _sized(b"\x2a", body),
        b"".join(attributes),
        _eight(observed),
        trace_id and b"\x4a\x10" + trace_id,
        span_id and b"\x52\x08" + span_id,
    )


def span_event(time: int, name: str, attributes: Mapping[str, Any]) -> bytes:
    """Return an Event of a Span, without its own tag and length."""
    pairs = b"".join(_sized(b"\x1a", key_value(key, value)) for key, value in attributes.items())
    return b"\x09%b%b%b" % (_eight(time), _sized(b"\x12", name.encode()), pairs)


def span_message(
    *,
    ids: tuple[bytes, bytes, bytes],
    name: str,
    kind: int,
    start: int,
    end: int,
    attributes: Mapping[str, Any],
    events: Sequence[bytes],
    error: str | None,
) -> bytes:
    """Return a Span; times are nanoseconds, `ids` those of trace, span and parent (`b""`: none).

    `events` are of `span_event`; `error`: it failed, and with which words.
    """
    trace_id, span_id, parent_id = ids
    return b"".join(
        (
            b"\x0a\x10" + trace_id,
            b"\x12\x08" + span_id,
            parent_id and b"\x22\x08" + parent_id,
            _sized(b"\x2a", name.encode()),
            b"\x30" + varint(kind),
            b"\x39" + _eight(start),
            b"\x41" + _eight(end),
            *(_sized(b"\x4a", key_value(key, value)) for key, value in attributes.items()),
            *(_sized(b"\x5a", event) for event in events),
            b"" if error is None else _sized(b"\x7a", _sized(b"\x12", error.encode()) + b"\x18\x02"),
        )
    )


def resource_group(attributes: Mapping[str, Any], records: Sequence[bytes]) -> bytes:
    """Return a ResourceLogs, or a ResourceSpans, with one scope."""
    resource = b"".join(_sized(b"\x0a", key_value(name, value)) for name, value in attributes.items())
    scope = _SCOPE + b"".join(b"\x12" + varint(len(record)) + record for record in records)
    return _sized(b"\x0a", resource) + _sized(b"\x12", scope)


def export_request(resources: Iterable[bytes]) -> bytes:
    """Return the whole request of what `resource_group` made."""
    return b"".join(_sized(b"\x0a", resource) for resource in resources)


def partial_success(body: bytes) -> tuple[int, str]:
    """Return how many records or spans a response says were refused, and why.

    ValueError: it is no response.
    """
    rejected, message = 0, ""
    for number, value in _fields(body):
        if number == 1 and isinstance(value, bytes):
            for inner, item in _fields(value):
                if inner == 1 and isinstance(item, int):
                    rejected = item if item < _LARGEST else 0  # a negative number says nothing
                elif inner == 2 and isinstance(item, bytes):
                    message = item.decode("utf-8", "replace")
    return rejected, message


def status_message(body: bytes) -> str:
    """Return the message of a google.rpc.Status. ValueError: it is none."""
    for number, value in _fields(body):
        if number == 2 and isinstance(value, bytes):
            return value.decode("utf-8", "replace")
    return ""


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Read a message's fields; ValueError where it is no message."""
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = read_varint(data, at)
            yield number, value
            continue
        if kind == 2:
            size, at = read_varint(data, at)
        else:
            size = {1: 8, 5: 4}.get(kind, -1)
        if size < 0 or at + size > len(data) or number == 0:
            raise ValueError("not a protobuf message")
        yield number, data[at : at + size]
        at += size
