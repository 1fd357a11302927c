"""From an event line to a row: what has a column goes into it as it is, the rest into `fields`.

Nothing is lost: a value whose JSON type does not fit its column (a field that was declared later, or with
another type by another service) stays in `fields` under its name, and so does a time that is none. The same
columns, read straight from fresh lines, are made in `source.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from ...handlers.schema import FIELDS

__all__ = ["DERIVED", "SQL_TYPES", "Rewriter", "columns"]

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

_CANONICAL: Final = re.compile(
    r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{6}Z", re.ASCII
)
_INT64: Final = range(-(2**63), 2**63)
_PYTHON_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "timestamp": (str,),
}


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


class Rewriter:
    """Makes rows for one set of columns (name → schema type)."""

    __slots__ = ("_accepted", "_checked")

    def __init__(self, known: Mapping[str, str]) -> None:
        self._accepted = {name: _PYTHON_TYPES[kind] for name, kind in known.items()}
        # Where the type alone does not tell: whole numbers beyond 64 bits, and text that is no time.
        self._checked = {name: kind for name, kind in known.items() if kind in {"integer", "timestamp"}}

    def row(self, line: bytes, fallback: str) -> tuple[str, bytes] | None:
        """Return an event's UTC date and its row as a line of JSON; None when the line is no event.

        `fallback`: the time (as events write it) for an event whose own cannot be read; what it had as
        `timestamp` stays in `fields`.
        """
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError:
            return None
        if type(event) is not dict or type(event.get("event_id")) is not str:
            return None
        accepted = self._accepted
        row = {name: value for name, value in event.items() if type(value) in accepted.get(name, ())}
        for name, kind in self._checked.items():
            if name in row:
                value = _checked(row[name], kind)
                if value is None:
                    del row[name]
                else:
                    row[name] = value
        if len(row) < len(event):
            rest = {name: value for name, value in event.items() if name not in row and value is not None}
            if rest:
                row["fields"] = rest
        moment: str = row.setdefault("timestamp", fallback)
        return moment[:10], orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


def _checked(value: Any, kind: str) -> Any:
    """Return the value as its column takes it; None when it does not."""
    if kind == "integer":
        return value if value in _INT64 else None
    if _CANONICAL.fullmatch(value):
        return value
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            return None
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
