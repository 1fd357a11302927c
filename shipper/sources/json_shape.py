r"""JSON lines of one file, many at once: decoded in one call into structs made for their names.

What the lines of a file have in common is learned from some of them, taken line by line: their names, and the
types of their values. From that a struct type is made whose decoder refuses any other name and any other
type. So a block that it takes holds nothing that was not thought of here; what it refuses goes the line way.

Rules
- It decides nothing: for each line it gives the event that `foreign.compose` gives (the same JSON value, the
  names perhaps in another order), or leaves the line to it. A property test compares the two.
- A name that has taken few values takes no others: the decoder then gives the same objects again, which were
  checked when the shape was made. Another value is refused, and learned.
- Which of several names is the time, the level, ... (`parse.ROLES`) must be the same in all lines: the first
  that there is must be in every line, or no other one in any.
- Names that the schema would not take as they are (collisions), names of errors and sensitive names have no
  place in a shape. Objects and lists are decoded as such and looked at one by one (`nested.py`).
- Texts that redaction looks at are given to its detector all together. Where it hits, the lines that hold
  what it hit are looked for by halves, and taken line by line.
- The lines themselves are given on, with what is missing put in front (one `join` for all of them), when
  that is proven to be the same: nothing had to be converted, no `\r` stands in them, and the number of quotes
  is that of the names and texts found: then no quote is escaped, and no name comes twice in a line (decoders
  take the last, stores may refuse such a line). Otherwise the structs are encoded, in one call.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import repeat
from operator import attrgetter, itemgetter
from typing import Annotated, Any, Final, Literal, TypeAlias, cast

import msgspec
import orjson
from msgspec import UNSET, Meta, UnsetType

from ...handlers.clock import stamp
from ...handlers.pattern import FAILS, error_pattern
from ...handlers.record import EventBuilder
from ...handlers.schema import BUCKET_NAMES, BUCKETS, FieldType
from ...handlers.shape import make_shape
from ...handlers.typed import Prover
from ..core.dialects import DIALECTS
from ..core.parse import MILLISECONDS, ROLES, level_of, moment_of, service_of, span_of, trace_of
from .foreign import NUMBERS, TEXTS
from .nested import ODD, quotes_of, suspects_within
from .teller import TOLD, Teller, Told

__all__ = ["JsonShape", "Learned", "fronted", "suspects"]

_I64: Final = Annotated[int, Meta(ge=-(2**63) + 1, le=2**63 - 1)]
_I53: Final = Annotated[int, Meta(ge=-(2**53), le=2**53)]
_FLOAT: Final = Annotated[float, Meta(ge=-1.7e308, le=1.7e308)]
_NONE: Final = type(None)
# A number without a point is an integer also where all others have one.
_TYPES: Final[Mapping[type, Any]] = {
    str: str,
    int: _I64,
    float: _I64 | _FLOAT,
    bool: bool,
    dict: dict,
    list: list,
    _NONE: None,
}
_CONTAINERS: Final = frozenset({dict, list})
_OWN: Final[Mapping[FieldType, Any]] = {
    "string": str,
    "integer": _I64,
    "boolean": bool,
    "number": _I53 | _FLOAT,
}
_LEVELS: Final = frozenset({"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"})
# What `parse_error` and `dialects` may take apart.
_ERRORS: Final = DIALECTS | {
    *("error", "err", "error_code", "exc_info", "exception", "traceback", "stack_trace", "stack"),
}
_DERIVED: Final = frozenset({"duration_le", "error_pattern"})
Scale: TypeAlias = Literal["", "node", "python", "time"]
"""Whose levels by number are; empty: levels are no numbers."""
_ONLY_NULL: Final = frozenset({"exc_info", "exception", "traceback", "stack_trace"})
_MAX_NAMES: Final = 64
_FEW: Final = 16  # values that a type can name
_SHORT: Final = 128
_STRETCH: Final = 25  # texts: where one in a hundred is suspect, the fewest looks find it
_FEW_VARY: Final = 3  # fields to be counted one by one; encoding costs less from there on
_SINGLE: Final = frozenset({str, int})
_FLOATS: Final = frozenset({float})
_BUCKETS: Final = tuple(map(float, BUCKETS))  # compared with floats in half the time
_RARE: Final = 16
_MAX_NAME: Final = 128
_DIGITS: Final = bytes.maketrans(b"123456789", b"000000000")
_TIME: Final = b"0000-00-00T00:00:00.000000Z"
_HEX: Final = bytes.maketrans(b"123456789abcdef", b"0" * 15)
_BRACE: Final = {ord("{")}
_INITIAL: Final = itemgetter(slice(1))
# Objects that may hold what an event always has, `log.level` for one: no part of a shape.
_OUTER: Final = {name.partition(".")[0] for names in ROLES.values() for name in names if "." in name}

Column: TypeAlias = list[Any]


@dataclass(slots=True)
class Learned:
    """The names of lines and the types of their values, as far as they have been seen."""

    lines: int = 0
    names: dict[str, dict[type, int]] = field(default_factory=dict)
    _values: dict[str, set[Any] | None] = field(default_factory=dict)  # None: too many

    def see(self, line: bytes) -> None:
        """Look at one line; one that is no JSON object says nothing."""
        try:
            content = orjson.loads(line)
        except orjson.JSONDecodeError:
            return
        if type(content) is not dict or len(content) > _MAX_NAMES:
            return
        self.lines += 1
        for name, value in content.items():
            types = self.names.get(name)
            if types is None:
                if len(self.names) >= 2 * _MAX_NAMES or len(name) > _MAX_NAME:
                    continue
                types = self.names[name] = {}
            kind = type(value)
            types[kind] = types.get(kind, 0) + 1
            values = self._values.setdefault(name, set())
            if values is not None:
                if kind not in _SINGLE or len(values) >= _FEW or (kind is str and len(value) > _SHORT):
                    self._values[name] = None
                else:
                    values.add(value)

    def merge(self, other: Learned) -> None:
        """Add what another has seen."""
        self.lines += other.lines
        for name, types in other.names.items():
            mine = self.names.setdefault(name, {})
            for kind, count in types.items():
                mine[kind] = mine.get(kind, 0) + count
            held, more = self._values.get(name, set()), other._values[name]
            both = None if held is None or more is None else held | more
            self._values[name] = None if both is None or len(both) > _FEW else both

    def always(self, name: str) -> bool:
        """Whether every line had it."""
        return sum(self.names[name].values()) == self.lines

    def types(self, name: str) -> frozenset[type]:
        """Return the types that it had, but for what is rare: that is not worth a wider type."""
        types = {kind: count for kind, count in self.names[name].items() if kind in _TYPES}
        least = sum(types.values()) // _RARE
        return frozenset(kind for kind, count in types.items() if count > least)

    def few(self, name: str) -> tuple[Any, ...]:
        """Return its values, all texts or all integers; none when they are many or of other types."""
        if len(self.names[name]) > 1:
            return ()
        return tuple(self._values[name] or ())

    def usual(self, name: str) -> bool:
        """Whether nearly every line had it."""
        return sum(self.names[name].values()) * _RARE >= self.lines * (_RARE - 1)


@dataclass(slots=True)
class _Field:
    """One name of the lines: as it is in the struct (`attribute`), in the lines, and in events."""

    attribute: str
    wire: str
    name: str
    type: Any
    required: bool
    default: Any
    number: bool = False
    texts: bool = False  # whether it may hold text
    varies: bool = False  # whether it may hold something else, too
    few: tuple[Any, ...] = ()  # its only values, when the type names them
    nested: bool = False  # whether it may hold an object or a list

    def name_values(self, values: tuple[Any, ...]) -> None:
        """Take these values only: a decoder then gives the same objects again and again."""
        kind = str if self.type is str else int if self.type is _I64 else None
        if values and {kind} == set(map(type, values)):
            self.few, self.type = values, cast("Any", Literal)[values]

    def entry(self) -> tuple[str, Any] | tuple[str, Any, Any]:
        if self.required:
            return self.attribute, self.type
        if self.default is UNSET:
            return self.attribute, self.type | UnsetType, UNSET
        return self.attribute, self.type, self.default


class JsonShape:
    """Takes blocks of lines with the names that were learned. `extra` are texts that every event gets.

    Raises ValueError when lines like those learned have no shape.
    """

    def __init__(
        self, builder: EventBuilder, redactor: Prover | None, learned: Learned, extra: Mapping[str, str]
    ) -> None:
        self._builder = builder
        self._redactor = redactor
        self._fields: list[_Field] = []
        self._roles: dict[str, _Field] = {}
        self._scale: Scale = ""
        self._nobodys: set[str] = set()
        self._checks: list[tuple[_Field, Check]] = []
        schema = builder.schema
        self._constants: dict[str, str] = {"service": schema.service, "level": "INFO", "message": ""}
        self._constants |= {"trace_id": "", "span_id": "", "logger": "", "environment": schema.environment}
        self._constants |= {"version": schema.version or "", "host": schema.host, **extra}
        if schema.version is None:
            del self._constants["version"]
        self._take_roles(learned)
        self._take_names(learned)
        if not 0 < len(self._fields) <= _MAX_NAMES or not any(one.required for one in self._fields):
            raise ValueError("no shape")
        self._watch(extra)
        renamed = {one.attribute: one.wire for one in self._fields}
        given = {one.attribute: one.name for one in self._fields}
        entries = [one.entry() for one in self._fields]
        options: dict[str, Any] = {"kw_only": True, "gc": False, "forbid_unknown_fields": True}
        read = msgspec.defstruct("Line", entries, rename=renamed, **options)
        # The same struct under the names of events: what was decoded is encoded by changing its class.
        self._same_names = renamed == given
        self._written = (
            read if self._same_names else msgspec.defstruct("Line", entries, rename=given, **options)
        )
        try:
            read(**dict.fromkeys(renamed)).__class__ = self._written
        except TypeError:  # an interpreter that does not let it
            raise ValueError("lines under these names have no shape here") from None
        self.decoder = msgspec.json.Decoder(read)
        self._encode = msgspec.json.Encoder().encode_lines
        held = {one.name for one in self._fields}
        self._front = _front({k: v for k, v in self._constants.items() if k not in held})
        self._varying = sum(one.varies for one in self._fields)
        self.timed = "timestamp" not in self._roles  # lines have the present moment
        self._by_name = {one.name: one for one in self._fields}
        told = [self._told(one) for one in self._fields if one.name in TOLD and not one.nested]
        self._teller = Teller(told, held, {k: v for k, v in self._constants.items() if k not in held})

    # ── making ──

    @staticmethod
    def _told(one: _Field) -> Told:
        # What is derived may be set to something else than the lines have.
        few = one.few if one.required and one.name not in _DERIVED else ()
        return Told(one.name, one.attribute, few)

    def _take_roles(self, learned: Learned) -> None:
        for role, names in ROLES.items():
            there = [name for name in names if name in learned.names]
            if not there:
                continue
            first = there[0]
            if not learned.always(first):
                self._nobodys.update(there[1:])  # lines that have them are no lines of this shape
            types = learned.types(first)
            if str in types:
                kind: Any = str
            elif types and role in {"timestamp", "level"} and types <= {int, float}:
                if role == "level":
                    self._scale = self._scale_of(learned)
                kind = _I64 | _FLOAT
            else:
                self._nobodys.add(first)
                continue
            required = learned.always(first)
            if role == "timestamp" and not required:
                if not learned.usual(first):
                    raise ValueError("some lines have a time, and some do not")
                required = True
            default = self._constants.get(role, UNSET)
            one = _Field(role, first, role, kind, required, default, texts=kind is str)
            one.varies = not required
            self._roles[role] = one
            self._fields.append(one)
            # An empty id that the line way would leave where it is, or look past, is not taken for none.
            empty = first == role and not (learned.always(first) and len(there) > 1)
            self._take_check(one, learned.few(first), empty=empty)

    def _scale_of(self, learned: Learned) -> Scale:
        """Return whose numbers the levels are, or that each line's time says it (`parse.is_node`)."""
        if {"pid", "hostname"} <= learned.names.keys():
            if not (learned.always("pid") and learned.always("hostname")):
                raise ValueError("levels by number are Node's in some lines, and Python's in others")
            return "node"
        if "time" not in learned.names or learned.types("time") == {str}:
            return "python"
        time = self._roles.get("timestamp")
        if time is None or time.wire != "time" or not time.required or time.type is str:
            raise ValueError("levels by number beside a time that is none")
        return "time"

    def _take_check(self, one: _Field, few: tuple[Any, ...], *, empty: bool) -> None:
        """Decide what is to be checked of a role's values: nothing when they are few and all right."""
        check = _CHECKS.get(one.name)
        if one.name in _IDS:
            length, read = _IDS[one.name]
            check = _ids(length, read, empty=empty)
        odd: set[int] = set()
        if check is None or (few and one.required and check(list(few), odd) is None and not odd):
            one.name_values(few)
        if check is not None and not one.few:
            self._checks.append((one, check))

    def _take_names(self, learned: Learned) -> None:
        roles = {one.wire for one in self._roles.values()}
        names = [name for name in learned.names if name not in roles and name not in self._nobodys]
        names = [n for n in names if n not in _OUTER or dict not in learned.names[n] or self._is_settled(n)]
        plain = []
        for name in names:
            if name in TEXTS or name in NUMBERS:
                kind: Any = str if name in TEXTS else _I64
                default = self._constants.get(name, UNSET)
                self._add(learned, name, kind, default)
            elif name not in _ERRORS and not name.startswith("error.") and name not in _DERIVED:
                plain.append(name)
            elif name in _ONLY_NULL and learned.types(name) == {_NONE}:
                self._add(learned, name, None, UNSET)
        shape = make_shape(self._builder.schema, (), plain)
        entries = (*(entry for _, entry in shape.ids), *shape.fields)
        for key, _, name, declared in entries:
            if type(key) is str and key == name:
                self._take_plain(learned, name, declared)
        extras = [one.name for one in self._fields if one.name in shape.extras]
        self._extras = tuple(dict.fromkeys((*extras, *(n for n in learned.names if n in _ONLY_NULL))))
        level = self._roles.get("level")
        if shape.timed:
            self._derive(learned, "duration_le")
        if level is not None and (not level.few or not FAILS.isdisjoint(level.few)):
            self._derive(learned, "error_pattern")
        # In the order of the lines: a decoder finds the next name first where it expects it.
        order = {name: place for place, name in enumerate(learned.names)}
        self._fields.sort(key=lambda one: order.get(one.wire, len(order)))

    def _is_settled(self, outer: str) -> bool:
        """Whether no line is asked for what an object holds: all have a name that comes before it."""
        for role, names in ROLES.items():
            inner = [at for at, name in enumerate(names) if name.startswith(f"{outer}.")]
            if not inner:
                continue
            first = self._roles.get(role)
            # An empty id is looked past.
            if role in _IDS or first is None or not first.required or first.wire not in names[: inner[0]]:
                return False
        return True

    def _derive(self, learned: Learned, name: str) -> None:
        """Have a field that follows from others; a line may hold it already."""
        if name not in learned.names:
            one = _Field(f"x{len(self._fields)}", name, name, str, False, UNSET, texts=True, varies=True)
            self._fields.append(one)
        elif learned.types(name) == {str}:
            self._add(learned, name, str, UNSET)

    def _take_plain(self, learned: Learned, name: str, declared: FieldType | None) -> None:
        seen = learned.types(name)
        if declared is None:
            usual = [_TYPES[kind] for kind in _TYPES if kind in seen]
            if not usual:
                return
            kind = usual[0]
            for other in usual[1:]:
                kind = kind | other
            self._add(learned, name, kind, self._constants.get(name, UNSET))
        elif declared in _OWN:
            kind = _OWN[declared]
            self._add(
                learned, name, kind | None if _NONE in seen else kind, UNSET, number=declared == "number"
            )

    def _add(self, learned: Learned, name: str, kind: Any, default: Any, *, number: bool = False) -> None:
        kinds = (kind, *getattr(kind, "__args__", ()))
        texts = str in kinds
        attribute = f"x{len(self._fields)}"
        one = _Field(attribute, name, name, kind, learned.always(name), default, number=number, texts=texts)
        one.nested = not _CONTAINERS.isdisjoint(kinds)
        one.varies = not one.required or (texts and kind is not str) or one.nested
        one.name_values(learned.few(name))
        self._fields.append(one)

    def _watch(self, extra: Mapping[str, str]) -> None:
        """Decide which fields hold texts that may hold secrets."""
        self._watched: list[_Field] = []
        self._nested = [one for one in self._fields if one.nested]
        if self._redactor is None:
            return
        names = frozenset((*self._constants, *(one.name for one in self._fields)))
        watched = self._redactor.examined(names, tuple(dict.fromkeys((*self._extras, *extra))))
        if watched is None or not self._redactor.are_clean((*extra.values(),)):
            raise ValueError("a name is sensitive, or what every event gets")
        if not all(one.name in watched for one in self._nested):
            raise ValueError("an object or a list stands where nobody looks at it")
        for one in self._fields:
            if one.name in watched and one.texts:
                if one.few and not self._redactor.are_clean(one.few):
                    one.few, one.type = (), str
                if not one.few:
                    self._watched.append(one)

    # ── taking ──

    def take(self, rows: list[Any], lines: Sequence[bytes], block: bytes) -> tuple[bytes, list[int], bytes]:
        """Return the events of decoded `rows` as one block, and the places of lines that are left out.

        `block` is `lines`, joined. When none is left out, the events' columns come third.
        """
        odd: set[int] = set()
        quotes = self._measure(rows, odd)
        proven: dict[str, list[str]] = {}
        raw = self._check(rows, odd, proven)
        left = sorted(odd)
        if left:
            quotes = [count for place, count in enumerate(quotes) if place not in odd]
            rows = [row for place, row in enumerate(rows) if place not in odd]
            if not rows:
                return b"", left, b""
            lines = [line for place, line in enumerate(lines) if place not in odd]
            block = b"\n".join(lines)
        if not (raw and self._varying <= _FEW_VARY and self._is_plain(rows, lines, block, sum(quotes))):
            if not self._same_names:
                written = self._written
                for row in rows:
                    row.__class__ = written
            block = self._encode(rows)[:-1]
            lines = block.split(b"\n")
        front, moment = self._front, ""
        if self.timed:
            moment = stamp(None)
            front = b'"timestamp":"%b",%b' % (moment.encode(), front)  # first, as events have it
        columns = b"" if left else self._teller.tell(rows, proven, moment)
        return fronted(lines, front) if front else block, left, columns

    def _check(self, rows: list[Any], odd: set[int], proven: dict[str, list[str]]) -> bool:
        """Make of values what events have; False when one was changed. `odd` gets what others must do.

        `proven` gets the times and ids that events have, unless some are odd.
        """
        raw = self._same_names and not self._scale
        if self._scale:
            self._name_levels(rows, odd)
        for one, check in self._checks:
            values = list(map(attrgetter(one.attribute), rows))
            changed = check(values, odd)
            if one.name in _PROVEN:
                proven[one.name] = values if changed is None else changed
            if changed is not None:
                raw = False
                for row, value in zip(rows, changed, strict=True):
                    setattr(row, one.attribute, value)
        raw = self._numbers(rows) and raw
        raw = self._buckets(rows, odd) and raw
        raw = self._patterns(rows, odd) and raw
        self._look(rows, odd)
        return raw

    def _name_levels(self, rows: list[Any], odd: set[int]) -> None:
        """Put names in place of levels by number; the times are still as they came."""
        level, scale = self._roles["level"].attribute, self._scale
        time = self._roles["timestamp"].attribute if scale == "time" else ""
        known: dict[tuple[Any, bool], str | None] = {}
        for place, row in enumerate(rows):
            value = getattr(row, level)
            if type(value) is str:  # where the line has none
                continue
            key = value, scale == "node" or (scale == "time" and getattr(row, time) >= MILLISECONDS)
            name = known[key] = known[key] if key in known else level_of(*key)
            if name is None:
                odd.add(place)
            else:
                setattr(row, level, name)

    def _measure(self, rows: list[Any], odd: set[int]) -> list[int]:
        """Return how many quotes stand in objects and lists, for each row; none when no field has them."""
        if not self._nested:
            return []
        total = [0] * len(rows)
        for one in self._nested:
            for place, value in enumerate(map(attrgetter(one.attribute), rows)):
                if type(value) in _CONTAINERS:
                    quotes = quotes_of(value)
                    if quotes == ODD:
                        odd.add(place)
                    total[place] += quotes
        return total

    def _is_plain(self, rows: list[Any], lines: Sequence[bytes], block: bytes, quotes: int) -> bool:
        """Say whether the lines may be given on as they are: no name comes twice, nothing is escaped.

        `quotes` stand in objects and lists.
        """
        if b"\r" in block:
            return False
        if set(map(itemgetter(0), lines)) != _BRACE:
            return False
        size = len(rows)
        for one in self._fields:
            if not one.varies:
                quotes += size * (4 if one.texts else 2)
                continue
            if one.default is not UNSET and not one.required:
                return False  # nobody can tell whether it was there
            kinds = list(map(type, map(attrgetter(one.attribute), rows)))
            quotes += 2 * (size - kinds.count(UnsetType)) + 2 * kinds.count(str)
        return block.count(b'"') == quotes

    def _numbers(self, rows: list[Any]) -> bool:
        """Make whole numbers of fields that hold any number such a number; False when there were some."""
        plain = True
        for one in self._fields:
            if one.number:
                values = list(map(attrgetter(one.attribute), rows))
                if int in set(map(type, values)):
                    plain = False
                    for row, value in zip(rows, values, strict=True):
                        if type(value) is int:
                            setattr(row, one.attribute, float(value))
        return plain

    def _buckets(self, rows: list[Any], odd: set[int]) -> bool:
        """Set the bucket of a request's duration, as the schema does; False when one was not there."""
        bucket, kind, duration = map(self._by_name.get, ("duration_le", "kind", "duration_ms"))
        if bucket is None or kind is None or duration is None:
            return True
        took = list(map(attrgetter(duration.attribute), rows))
        kinds = list(map(attrgetter(kind.attribute), rows))
        if kinds.count("access") == len(rows) and _FLOATS.issuperset(map(type, took)):
            made: Column = list(map(BUCKET_NAMES.__getitem__, map(bisect_left, repeat(_BUCKETS), took)))
        else:
            made = [
                BUCKET_NAMES[bisect_left(BUCKETS, time)] if one == "access" and type(time) is float else UNSET
                for one, time in zip(kinds, took, strict=True)
            ]
        return self._set_derived(bucket, rows, made, odd)

    def _patterns(self, rows: list[Any], odd: set[int]) -> bool:
        """Set the pattern of an error's message, as events have it; False when one was not there."""
        pattern, level, message = map(self._by_name.get, ("error_pattern", "level", "message"))
        if pattern is None or level is None:
            return True
        levels = list(map(attrgetter(level.attribute), rows))
        said = [""] * len(rows) if message is None else list(map(attrgetter(message.attribute), rows))
        if FAILS.isdisjoint(_distinct(levels)):
            made: Column = [UNSET] * len(rows)
        else:
            made = [
                error_pattern(text, None) if one in FAILS else UNSET
                for one, text in zip(levels, said, strict=True)
            ]
        return self._set_derived(pattern, rows, made, odd)

    @staticmethod
    def _set_derived(one: _Field, rows: list[Any], made: Column, odd: set[int]) -> bool:
        held = list(map(attrgetter(one.attribute), rows))
        if made == held:
            return True
        for place, (value, old) in enumerate(zip(made, held, strict=True)):
            if value is not UNSET:
                setattr(rows[place], one.attribute, value)
            elif old is not UNSET:
                odd.add(place)
        return False

    def _look(self, rows: list[Any], odd: set[int]) -> None:
        """Find the rows that may hold a secret."""
        if self._redactor is None:
            return
        for one in self._nested:
            odd.update(suspects_within(self._redactor, list(map(attrgetter(one.attribute), rows))))
        if not self._watched:
            return
        columns = [list(map(attrgetter(one.attribute), rows)) for one in self._watched]
        texts: list[str] = []
        for column, one in zip(columns, self._watched, strict=True):
            texts += [text for text in column if type(text) is str] if one.varies else column
        if self._redactor.are_clean(tuple(texts)):
            return
        for column, one in zip(columns, self._watched, strict=True):
            found = [text if type(text) is str else "" for text in column] if one.varies else column
            odd.update(suspects(self._redactor, found))


def suspects(redactor: Prover, texts: Sequence[str]) -> list[int]:
    """Return the places of texts that may hold a secret."""
    found: list[int] = []
    if redactor.are_clean(tuple(texts)):
        return found
    for first in range(0, len(texts), _STRETCH):
        part = texts[first : first + _STRETCH]
        if not redactor.are_clean(tuple(part)):
            _halve(redactor, part, first, found)
    return found


def _halve(redactor: Prover, texts: Sequence[str], first: int, found: list[int]) -> None:
    """Find suspects among texts that are not all clean; `first` is the place of the first of them."""
    if len(texts) == 1:
        found.append(first)
        return
    middle = len(texts) // 2
    low, high = texts[:middle], texts[middle:]
    clean = redactor.are_clean(tuple(low))
    if not clean:
        _halve(redactor, low, first, found)
    if clean or not redactor.are_clean(tuple(high)):
        _halve(redactor, high, first + middle, found)


# What is checked of the values of a role: None when all may stay as they are, or the values to be set; `odd`
# gets the places of those that the line way must look at.


def _times(values: Column, odd: set[int]) -> Column | None:
    try:
        text = "".join(values)
        if text.encode().translate(_DIGITS) == _TIME * len(values):
            second = text[:19]
            seconds = {second} if text.count(second) == len(values) else {value[:19] for value in values}
            if all(map(_is_second, seconds)):
                return None
    except TypeError:  # numbers
        pass
    found = []
    for place, value in enumerate(values):
        moment = moment_of(value, datetime.timestamp)
        if moment is None:
            odd.add(place)
        found.append(value if moment is None else stamp(moment))
    return found


def _is_second(text: str) -> bool:
    return moment_of(text + "Z", datetime.timestamp) is not None


def _distinct(values: Column) -> set[Any]:
    # Texts out of a decoder have no hash yet: to compare them with the first costs less.
    return {values[0]} if values.count(values[0]) == len(values) else set(values)


def _levels(values: Column, odd: set[int]) -> Column | None:
    kinds = _distinct(values)
    if kinds <= _LEVELS:
        return None
    known = {value: level_of(value) for value in kinds if type(value) is str}
    found = []
    for place, value in enumerate(values):
        level = known[value] if type(value) is str else level_of(value)
        if level is None:
            odd.add(place)
        found.append(level or value)
    return found


def _messages(values: Column, odd: set[int]) -> Column | None:
    try:
        if "{" in set(map(_INITIAL, values)):  # it may be JSON itself
            odd.update(place for place, value in enumerate(values) if value[:1] == "{")
    except TypeError:  # something else than text
        odd.update(place for place, value in enumerate(values) if type(value) is not str)
    return None


def _services(values: Column, odd: set[int]) -> Column | None:
    wrong = {value for value in _distinct(values) if service_of(value) is None}
    if wrong:
        odd.update(place for place, value in enumerate(values) if value in wrong)
    return None


def _ids(length: int, read: Callable[[object], str | None], *, empty: bool) -> Check:
    fits, zero, form = {0, length}, "0" * length, b"0" * length + b"-"

    def check(values: Column, odd: set[int]) -> Column | None:
        if zero not in values:
            joined = "-".join(values).encode("utf-8", "replace").translate(_HEX)
            if joined == (form * len(values))[:-1]:
                return None
            if empty and set(map(len, values)) <= fits:
                joined = joined.replace(b"-", b"", len(values) - 1)
                if joined == b"0" * len(joined):
                    return None
        found = []
        for place, value in enumerate(values):
            made = "" if empty and not value else read(value)
            if made is None:
                odd.add(place)
            found.append(value if made is None else made)
        return found

    return check


Check: TypeAlias = Callable[[Column, set[int]], Column | None]
_CHECKS: Final[Mapping[str, Check]] = {
    "timestamp": _times,
    "level": _levels,
    "service": _services,
    "message": _messages,
}
_IDS: Final = {"trace_id": (32, trace_of), "span_id": (16, span_of)}
_PROVEN: Final = frozenset({"timestamp", *_IDS})  # of one length in events, or empty


def _front(constants: Mapping[str, str]) -> bytes:
    """Return what is put behind the brace of every line."""
    return orjson.dumps(dict(constants))[1:-1] + b"," if constants else b""


def fronted(lines: Sequence[bytes], front: bytes) -> bytes:
    """Return lines, each of which begins with a brace, joined, with `front` behind the brace."""
    # A `replace` of line break and brace looks at each byte by itself; this goes from line to line.
    return b"{" + front + (b"\n{" + front).join([line[1:] for line in lines])
