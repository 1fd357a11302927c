"""Which name goes where: decided once for each combination of names, looked up for every record.

Names come from the bound context and from the record's extras. Rules, in this order:

1. `trace_id`, `span_id`, `parent_id` come from the context only.
2. `correlation_id`, `request_id`, `user_id`, `endpoint`: from the context; extras set them when the context
   does not have them.
3. `kind`, `method`, `path`, `status_code`, `duration_ms`, `failed`, `client_ip`, `user_agent`, `peer`,
   `bytes`, declared fields, and every name that the schema does not know: from both; extras win, they are
   nearer.
4. `error_code` becomes `error.code`.
5. Any other name of the schema collides: its value is kept in the object `extra` under its name, and counted.
   So does what lost under rule 1 or 2.

An extra that is no text is named by its text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from .plain import Walk
from .schema import FieldType, Schema

__all__ = ["IDS", "Entry", "Shape", "make_shape"]

_TRACE: Final = frozenset({"trace_id", "span_id"})
IDS: Final = ("parent_id", "request_id", "user_id", "endpoint", "correlation_id")
_FROM_EXTRAS: Final = frozenset({"request_id", "user_id", "endpoint", "correlation_id"})
_SETTABLE: Final = frozenset(
    {
        *("kind", "method", "path", "status_code", "duration_ms", "failed"),
        *("client_ip", "user_agent", "peer", "bytes"),
    }
)

_NONE: Final = type(None)
# Values of these exact types enter the event as they are; all others are looked at.
_READY: Final[dict[FieldType | None, frozenset[type]]] = {
    None: frozenset({str, int, bool, float, _NONE}),
    "string": frozenset({str, _NONE}),
    "integer": frozenset({_NONE}),
    "number": frozenset({float, _NONE}),
    "boolean": frozenset({bool, _NONE}),
    "object": frozenset({_NONE}),
    "timestamp": frozenset({_NONE}),
}

# key in the source, types that need no look, name in the event, type in the schema (None: any)
Entry: TypeAlias = tuple[object, frozenset[type], str, FieldType | None]


@dataclass(frozen=True, slots=True)
class Shape:
    """Where the names of one combination go. `extras`: all names in the event that are not built in."""

    trace: bool
    span: bool
    ids: tuple[tuple[bool, Entry], ...]  # (from the context?, entry), in the schema's order
    context: tuple[Entry, ...]
    fields: tuple[Entry, ...]
    spilled_context: tuple[object, ...]
    spilled: tuple[object, ...]
    code: bool
    timed: bool
    extras: tuple[str, ...]


def make_shape(schema: Schema, context: Iterable[object], fields: Iterable[object]) -> Shape:
    """Decide for the names of a context and of extras."""
    bound, given = list(context), list(fields)
    ids: dict[str, tuple[bool, Entry]] = {}
    places: dict[str, Entry] = {}
    spilled_context: list[object] = []
    spilled: list[object] = []
    for name in bound:
        if name in IDS:
            ids[str(name)] = (True, _entry(schema, name))
        elif name not in _TRACE:
            _settle(schema, name, places, spilled_context)
    own: dict[str, Entry] = {}
    for name in given:
        if name in _FROM_EXTRAS and name not in ids:
            ids[str(name)] = (False, _entry(schema, name))
        elif name != "error_code":
            _settle(schema, name, own, spilled)
    for name in own:
        places.pop(name, None)
    names = [*places, *own]
    return Shape(
        trace="trace_id" in bound,
        span="span_id" in bound,
        ids=tuple(ids[name] for name in IDS if name in ids),
        context=tuple(places.values()),
        fields=tuple(own.values()),
        spilled_context=tuple(spilled_context),
        spilled=tuple(spilled),
        code="error_code" in given,
        timed="kind" in names and "duration_ms" in names,
        extras=tuple(name for name in names if name not in _SETTABLE),
    )


def _settle(schema: Schema, key: object, places: dict[str, Entry], spilled: list[object]) -> None:
    entry = _entry(schema, key)
    name = entry[2]
    if name in places or (name in schema.names and name not in _SETTABLE and name not in schema.declared):
        spilled.append(key)
    else:
        places[name] = entry


def _entry(schema: Schema, key: object) -> Entry:
    name = Walk().key(key)
    field = schema.field(name)
    kind = None if field is None else field.type
    return key, _READY[kind], name, kind
