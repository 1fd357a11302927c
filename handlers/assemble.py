"""The general way of assembling an event: it takes any values and defines what is right.

`handlers/compiled.py` is the fast way for what is plain, and must give the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .encoding import normalise, normalise_marked
from .plain import safe_repr
from .schema import MISFIT, FieldType, Schema, cast, duration_bucket
from .shape import IDS, Shape

__all__ = ["assemble"]

# In the event's order, with the exact type that each must have; another type is left out.
_PLACE: Final[tuple[tuple[str, type], ...]] = (
    *(("module", str), ("function", str), ("line", int), ("environment", str), ("version", str)),
    *(("host", str), ("process", int), ("thread", str), ("task", str)),
)
_INT64: Final = 2**63 - 1  # a larger line number or process id would become text
_WORDS: Final[Mapping[type, FieldType]] = {str: "string", int: "integer", float: "number", bool: "boolean"}


def assemble(  # noqa: C901, PLR0912 - one step a field, in the event's order
    schema: Schema,
    shape: Shape,
    head: tuple[str, str, str],
    *,
    context: Mapping[Any, Any],
    fields: Mapping[Any, Any],
    origin: Mapping[str, Any],
    error: dict[str, Any] | None = None,
    stack_info: object = None,
) -> tuple[dict[str, Any], list[str]]:
    """Return the event in plain JSON types, and what breaks the schema when violations are dead letters.

    `head`: timestamp, level, message. `origin`: logger, module, function, line, process, thread, task; and
    what stands in the place of the schema's or the context's own: service, environment, version, host, ids.
    """
    made = _Assembly(schema)
    event = made.event
    moment, level, message = head
    event["timestamp"] = moment
    event["level"] = level
    event["service"] = _first(origin.get("service"), schema.service)
    event["trace_id"] = _id(_first(origin.get("trace_id"), context["trace_id"] if shape.trace else ""))
    event["span_id"] = _id(_first(origin.get("span_id"), context["span_id"] if shape.span else ""))
    event["message"] = message
    ids = {entry[2]: (context if bound else fields)[entry[0]] for bound, entry in shape.ids}
    for name in IDS:
        given = origin.get(name) if name in {"parent_id", "correlation_id"} else None
        if type(given) is str:
            event[name] = given
        elif name in ids:
            made.put(name, "string", ids[name])
    event["logger"] = _id(origin.get("logger", ""))
    own = {"environment": schema.environment, "version": schema.version, "host": schema.host}
    for name, kind in _PLACE:
        value = origin.get(name)
        if type(value) is not kind or (type(value) is int and not -_INT64 <= value <= _INT64):
            value = own.get(name)
        if value is not None:
            event[name] = value
    if shape.code:
        error = {**(error or {}), "code": _code(fields["error_code"])}
    if error is not None:
        event["error"] = error
    if stack_info:
        event["stack_info"] = normalise(stack_info if type(stack_info) is str else safe_repr(stack_info))
    for entries, holder in ((shape.context, context), (shape.fields, fields)):
        for key, ready, name, field_type in entries:
            value = holder[key]
            if type(value) in ready and (type(value) is not float or value - value == 0.0):
                event[name] = value
            else:
                made.put(name, field_type, value)
    for keys, holder in ((shape.spilled_context, context), (shape.spilled, fields)):
        for key in keys:
            made.spill(key, holder[key])
    made.close(timed=shape.timed)
    return event, made.reasons


class _Assembly:
    """An event in the making."""

    __slots__ = ("cut", "event", "reasons", "schema", "spilled")

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.event: dict[str, Any] = {}
        self.spilled: dict[str, Any] = {}
        self.reasons: list[str] = []
        self.cut = False

    def put(self, name: str, kind: FieldType | None, value: object) -> None:
        """Put in any value, made plain and of its field's type; what cannot be is kept in `extra`."""
        schema = self.schema
        plain, cut = normalise_marked(value)
        self.cut = self.cut or cut
        if kind is None:
            self.event[name] = plain
            return
        fitted = cast(plain, kind)
        if schema.on_violation == "dead_letter" and name in schema.declared and not _same(plain, fitted):
            schema.violations += 1
            # The kind of the value, never the value: reasons are not redacted.
            self.reasons.append(f"{name}: {_WORDS.get(type(plain), 'object')} where {kind} is declared")
            self.event[name] = plain
        elif fitted is MISFIT:
            schema.violations += 1
            self.spilled[name] = plain
        else:
            self.event[name] = fitted

    def spill(self, key: object, value: object) -> None:
        """Keep what collides with a field of the schema."""
        self.schema.collisions += 1
        plain, cut = normalise_marked({key: value})
        self.cut = self.cut or cut
        for name, kept in plain.items():
            unique = name
            while unique in self.spilled:
                unique += "'"
            self.spilled[unique] = kept

    def close(self, *, timed: bool) -> None:
        """Add what follows from the rest."""
        event = self.event
        if timed and event.get("kind") == "access" and type(event.get("duration_ms")) is float:
            event["duration_le"] = duration_bucket(event["duration_ms"])
        if self.spilled:
            event["extra"] = self.spilled
        if self.cut:
            self.schema.truncations += 1
            event["truncated"] = True


def _first(given: object, own: object) -> Any:
    return given if type(given) is str else own


def _id(value: object) -> str:
    if type(value) is str:
        return value
    plain = cast(normalise(value), "string")
    return plain if type(plain) is str else ""


def _code(value: object) -> str:
    plain = cast(normalise(value), "string")
    return plain if type(plain) is str else safe_repr(value)


def _same(plain: object, fitted: object) -> bool:
    """Whether a value had its declared type already (an integer is a number)."""
    return type(plain) is type(fitted) or (type(plain) is int and type(fitted) is float)
