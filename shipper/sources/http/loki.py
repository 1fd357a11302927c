r"""Loki's push request, as JSON and as protobuf in snappy: entries with their labels. Pure.

    PushRequest { repeated Stream streams = 1 }
    Stream      { string labels = 1; repeated Entry entries = 2 }
    Entry       { Timestamp timestamp = 1; string line = 2; repeated Pair metadata = 3 }
    Timestamp   { int64 seconds = 1; int32 nanos = 2 }          Pair { string name = 1; string value = 2 }

    {"streams": [{"stream": {"label": "value"}, "values": [["nanoseconds", "line", {"name": "value"}]]}]}

ValueError for what is neither, before anything of it is an event.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from .records import Entry
from .wire import fields, number, signed, text

__all__ = ["read_json", "read_labels", "read_protobuf"]

_LABEL: Final = re.compile(
    r'\s*([a-zA-Z_][a-zA-Z0-9_:.]*)\s*=\s*("(?:[^"\\]|\\.)*"|`[^`]*`)\s*(,|\Z)', re.DOTALL
)
_MOST_LABELS: Final = 200
_ESCAPE: Final = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)", re.DOTALL)
_SIMPLE: Final = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


def read_json(body: bytes) -> list[Entry]:
    """Return the entries of a JSON body."""
    content = orjson.loads(body)
    streams = content.get("streams") if isinstance(content, dict) else None
    if not isinstance(streams, list):
        raise ValueError("no streams in it")  # noqa: TRY004 - one error for all that is wrong
    found = []
    for stream in streams:
        labels = _texts(stream.get("stream")) if isinstance(stream, dict) else None
        values = stream.get("values") if isinstance(stream, dict) else None
        if labels is None or not isinstance(values, list):
            raise ValueError("a stream has a mapping `stream` and a list `values`")
        found += [_entry(value, labels) for value in values]
    return found


def _entry(value: Any, labels: Mapping[str, str]) -> Entry:
    if not isinstance(value, list) or not 2 <= len(value) <= 3 or not isinstance(value[1], str):
        raise ValueError('a value is ["nanoseconds", "line"], with a mapping behind it or without')
    try:
        stamp = int(value[0])
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"a time is nanoseconds as text, not {str(value[0])[:40]!r}") from None
    metadata = _texts(value[2]) if len(value) == 3 else {}
    if metadata is None:
        raise ValueError("structured metadata is a mapping of texts")
    return Entry(stamp, value[1].encode("utf-8", "replace"), labels, metadata)


def _texts(value: Any) -> dict[str, str] | None:
    if value is None:
        return {}
    if not isinstance(value, dict):
        return None
    return {name: one if isinstance(one, str) else orjson.dumps(one).decode() for name, one in value.items()}


def read_protobuf(body: bytes) -> list[Entry]:
    """Return the entries of a PushRequest, unpacked."""
    found = []
    for field, stream in fields(body):
        if field == 1:
            labels: Mapping[str, str] = {}
            entries = []
            for inner, value in fields(_message(stream)):
                if inner == 1:
                    labels = read_labels(text(value))
                elif inner == 2:
                    entries.append(_message(value))
            found += [_entry_of(entry, labels) for entry in entries]
    return found


def _entry_of(data: bytes, labels: Mapping[str, str]) -> Entry:
    line, stamp = b"", 0
    metadata = {}
    for field, value in fields(data):
        if field == 1:
            parts = dict(fields(_message(value)))
            stamp = signed(parts.get(1, 0)) * 1_000_000_000 + number(parts.get(2, 0))
        elif field == 2:
            line = _message(value)
        elif field == 3:
            pair = dict(fields(_message(value)))
            metadata[text(pair.get(1, b""))] = text(pair.get(2, b""))
    return Entry(stamp, line, labels, metadata)


def _message(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a number where protobuf has a message")  # noqa: TRY004 - as above
    return value


def read_labels(written: str) -> dict[str, str]:
    """Return the labels of `{name="value", …}`, as Prometheus writes them."""
    body = written.strip()
    if not (body.startswith("{") and body.endswith("}")):
        raise ValueError("labels are not in braces")
    body = body[1:-1].strip()
    found: dict[str, str] = {}
    at = 0
    while at < len(body):
        match = _LABEL.match(body, at)
        if match is None or len(found) >= _MOST_LABELS:
            raise ValueError(f"labels are malformed at {body[at : at + 40]!r}")
        quoted = match[2]
        found[match[1]] = quoted[1:-1] if quoted[0] == "`" else _ESCAPE.sub(_plain, quoted[1:-1])
        at = match.end()
    return found


def _plain(match: re.Match[str]) -> str:
    said = match[1]
    if said[0] in "xuU" and len(said) > 1:
        code = int(said[1:], 16)
        return chr(code) if code < 0x110000 and not 0xD800 <= code < 0xE000 else "\ufffd"
    if said.isdigit() and len(said) == 3:
        return chr(int(said, 8))
    return _SIMPLE.get(said, said)
