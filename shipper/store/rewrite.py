"""From an event line to a row: what has a column goes into it as it is, the rest into `fields`.

Nothing is lost. A value whose JSON type does not fit its column (a field that was declared later, or with
another type by another service) stays in `fields` under its name. Values are moved as the bytes they are.
The same columns, read straight from fresh lines, are made in `source.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec
import orjson

from ...handlers.schema import FIELDS

__all__ = ["DERIVED", "SQL_TYPES", "columns", "row"]

# Objects are kept as their JSON text: every reader of Parquet has strings.
SQL_TYPES: Final[Mapping[str, str]] = {
    "string": "VARCHAR",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "boolean": "BOOLEAN",
    "object": "VARCHAR",
    "timestamp": "TIMESTAMP",
}
# Columns beside the schema's: name → how it is made from the others.
DERIVED: Final[Mapping[str, str]] = {
    "error_type": "json_extract_string(error, '$.type')",
    "error_message": "json_extract_string(error, '$.message')",
}
_RESERVED: Final = {"fields", "date", *DERIVED}

_decode: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_string: Final = msgspec.json.Decoder(str).decode


def columns(declared: Mapping[str, str]) -> dict[str, str]:
    """Return the schema's columns in order, name → schema type; `event_id` first.

    SQL does not tell upper from lower case, so of names that differ only in case the first has the column.
    """
    known = {"event_id": "string"} | {field.name: field.type for field in FIELDS}
    taken = {*_RESERVED, *known}
    for name, kind in declared.items():
        if name.lower() not in taken and kind in SQL_TYPES:
            known[name] = kind
            taken.add(name.lower())
    return known


def _is_integer(raw: bytes) -> bool:
    return raw[0] in b"-0123456789" and not set(raw) & set(b".eE") and -(2**63) <= int(raw) < 2**63


def _is_moment(raw: bytes) -> bool:
    if raw[0] != 0x22:
        return False
    try:
        return datetime.fromisoformat(_string(raw)).tzinfo is not None
    except ValueError:
        return False


_FITS: Final[Mapping[str, Callable[[bytes], bool]]] = {
    "string": lambda raw: raw[0] == 0x22,
    "integer": _is_integer,
    "number": lambda raw: raw[0] in b"-0123456789",
    "boolean": lambda raw: raw[0] in b"tf",
    "object": lambda raw: raw[0] == 0x7B,
    "timestamp": _is_moment,
}


def row(line: bytes, known: Mapping[str, str], fallback: str) -> tuple[str, bytes] | None:
    """Return an event's UTC date and its row as JSON; None when the line is no event.

    `known`: the columns. `fallback`: the time (as events write it) for an event whose own cannot be read;
    what it had as `timestamp` stays in `fields`.
    """
    try:
        event = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if "event_id" not in event:
        return None
    row: list[bytes] = []
    rest: list[bytes] = []
    moment = fallback
    for name, value in event.items():
        raw = bytes(value)
        if raw == b"null":
            continue
        kind = known.get(name)
        if kind is None or not _FITS[kind](raw):
            rest.append(orjson.dumps(name) + b":" + raw)
        elif name == "timestamp":
            moment = _utc(_string(raw))
        else:
            row.append(b'"%b":%b' % (name.encode(), raw))
    row.append(b'"timestamp":"%b"' % moment.encode())
    if rest:
        row.append(b'"fields":{%b}' % b",".join(rest))
    return moment[:10], b"{%b}\n" % b",".join(row)


def _utc(text: str) -> str:
    if len(text) == 27 and text[-1] == "Z":
        return text
    try:
        moment = datetime.fromisoformat(text).astimezone(UTC)
    except OverflowError:  # the first or last day of the calendar, in another zone
        moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
