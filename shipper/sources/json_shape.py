r"""JSON lines of one file, many at once: decoded in one call into structs made for their names.

What the lines of a file have in common is learned from some of them, taken line by line (`learned.py`): their
names, and the types of their values. From that a struct type is made (`json_fields.py`) whose decoder refuses
any other name and any other type. So a block that it takes holds nothing that was not thought of here; what
it refuses goes the line way.

Rules
- It decides nothing: for each line it gives the event that `foreign.compose` gives (the same JSON value, the
  names perhaps in another order), or leaves the line to it. A property test compares the two.
- Objects and lists are decoded as such and looked at one by one (`nested.py`).
- Texts that redaction looks at are given to its detector all together. Where it hits, the lines that hold
  what it hit are looked for by halves, and taken line by line.
- Events are the structs, encoded in one call for all of them. What lines do not have and events do stands in
  each struct as a piece of JSON that is made once, and is no value of any line: the decoder refuses it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from math import inf
from operator import itemgetter
from typing import Annotated, Any, Final

import msgspec
import orjson
from msgspec import UNSET, Meta, Raw

from ...handlers.clock import stamp
from ...handlers.pattern import FAILS, error_pattern
from ...handlers.record import EventBuilder
from ...handlers.schema import BUCKET_NAMES, BUCKETS
from ...handlers.typed import Prover
from ..core.parse import MILLISECONDS, level_of
from .decoded import Decoded
from .json_fields import DERIVED, Field, Fields
from .learned import Learned
from .nested import is_usual, suspects_within
from .role_checks import EVEN, Column
from .suspects import suspects
from .teller import TOLD, Teller, Told, even

__all__ = ["JsonShape", "Learned"]

_CONTAINERS: Final = frozenset({dict, list})
_FLOATS: Final = frozenset({float})
_BUCKETS: Final = tuple(map(float, BUCKETS))  # compared with floats in half the time
_ABOVE: Final[Mapping[Any, float]] = dict(zip(BUCKET_NAMES, (-inf, *_BUCKETS), strict=True))
_UP_TO: Final[Mapping[Any, float]] = dict(zip(BUCKET_NAMES, (*_BUCKETS, inf), strict=True))
_FRONT: Final = "front"  # the attribute of what is not in the lines
_NO_NAME: Final = "what no line has"
_NOTHING: Final = Annotated[int, Meta(ge=1, le=0)]  # no value is of this type
_START: Final = {ord("{")}
_END: Final = {ord("}")}
_FIRST: Final = itemgetter(0)
_LAST: Final = itemgetter(-1)


class JsonShape:
    """Takes blocks of lines with the names that were learned. `extra` are texts that every event gets.

    Raises ValueError when lines like those learned have no shape.
    """

    def __init__(
        self, builder: EventBuilder, redactor: Prover | None, learned: Learned, extra: Mapping[str, str]
    ) -> None:
        self._redactor = redactor
        schema = builder.schema
        constants: dict[str, str] = {"service": schema.service, "level": "INFO", "message": ""}
        constants |= {"trace_id": "", "span_id": "", "logger": "", "environment": schema.environment}
        constants |= {"version": schema.version or "", "host": schema.host, **extra}
        if schema.version is None:
            del constants["version"]
        fields = Fields(schema, redactor, learned, constants)
        self._fields = fields.all
        self._scale = fields.scale
        self._roles = fields.roles
        self._nested = [one for one in fields.all if one.nested]
        self._numbers = [one.attribute for one in fields.all if one.number]
        self._watched = [] if redactor is None else fields.watched(redactor, extra)
        self._checks = fields.checks
        self._by_name = {one.name: one for one in fields.all}
        self.timed = "timestamp" not in self._roles  # lines have the present moment
        self._missing = {name: text for name, text in constants.items() if name not in self._by_name}
        self._make_structs()
        self._getters: dict[str, Callable[[list[Any]], Column]] = {}
        self._kinds = {one.attribute: {one.kind} for one in fields.all if one.kind is not None}
        told = [_told(one) for one in fields.all if one.name in TOLD and not one.nested]
        self._teller = Teller(told, self._by_name, self._missing)

    def _make_structs(self) -> None:
        """Make the struct that lines are decoded into, and the same one under the names of events."""
        entries: list[Any] = [one.entry() for one in self._fields]
        read = {one.attribute: one.wire for one in self._fields}
        written = {one.attribute: one.name for one in self._fields}
        options: dict[str, Any] = {"kw_only": True, "gc": False, "forbid_unknown_fields": True}
        missing = {"timestamp": "", **self._missing} if self.timed else self._missing
        self._same_names = read == written
        if missing:
            entries.insert(0, (_FRONT, _NOTHING, _front(missing)))
            written[_FRONT] = next(iter(missing))
            read[_FRONT] = written[_FRONT] if self._same_names else _NO_NAME
        line = msgspec.defstruct("Line", entries, rename=read, **options)
        # What was decoded is encoded by changing its class.
        self._written = (
            line if self._same_names else msgspec.defstruct("Line", entries, rename=written, **options)
        )
        try:
            line(**dict.fromkeys(read)).__class__ = self._written
        except TypeError:  # an interpreter that does not let it
            raise ValueError("lines under these names have no shape here") from None
        self.decoder = msgspec.json.Decoder(line)
        self._encode = msgspec.json.Encoder().encode_lines

    def is_one_each(self, lines: Sequence[bytes]) -> bool:
        """Say whether each of the lines is a row, if as many rows were decoded from them, joined.

        Not so where one goes on in the next, and another holds two. What begins with a brace begins a row,
        unless rows hold objects; a line break between two braces stands between two rows in any case.
        """
        if b"" in lines or set(map(_FIRST, lines)) != _START:
            return False
        return not self._nested or set(map(_LAST, lines)) == _END

    def take(self, rows: list[Any]) -> tuple[bytes, list[int], bytes]:
        """Return the events of decoded `rows`, a line break behind each, and the places of lines left out.

        When none is left out, the events' columns come third.
        """
        odd: set[int] = set()
        decoded = Decoded(rows, self._getters, self._kinds)
        proven = self._check(decoded, odd)
        left = sorted(odd)
        if left:
            rows = [row for place, row in enumerate(rows) if place not in odd]
            if not rows:
                return b"", left, b""
        moment = stamp(None) if self.timed else ""
        if moment:
            front = _front({"timestamp": moment, **self._missing})
            for row in rows:
                row.front = front
        if not self._same_names:
            written = self._written
            for row in rows:
                row.__class__ = written
        columns = b"" if left else self._teller.tell(decoded, proven, moment)
        return self._encode(rows), left, columns

    def _check(self, decoded: Decoded, odd: set[int]) -> dict[str, bytes]:
        """Make of values what events have. `odd` gets what others must do.

        Return, unless some are odd, the times and ids that events have, joined.
        """
        if self._scale:
            self._name_levels(decoded, odd)
        proven: dict[str, bytes] = {}
        for one, check in self._checks:
            values = decoded.of(one.attribute)
            found = check(values, odd)
            if isinstance(found, bytes):
                proven[one.name] = found
            elif found is not None:
                decoded.put(one.attribute, found)
                if one.name in EVEN and not odd:
                    proven[one.name] = even(found)
        for attribute in self._numbers:
            if int in decoded.kinds(attribute):
                values = [float(value) if type(value) is int else value for value in decoded.of(attribute)]
                decoded.put(attribute, values)
        self._set_buckets(decoded, odd)
        self._set_patterns(decoded, odd)
        self._look(decoded, odd)
        return proven

    def _name_levels(self, decoded: Decoded, odd: set[int]) -> None:
        """Put names in place of levels by number; the times are still as they came."""
        level, scale = self._roles["level"].attribute, self._scale
        levels = decoded.of(level)
        times = decoded.of(self._roles["timestamp"].attribute) if scale == "time" else repeat(0)
        known: dict[tuple[Any, bool], str | None] = {}
        found = []
        for place, (value, time) in enumerate(zip(levels, times, strict=False)):
            if type(value) is str:  # where the line has none
                found.append(value)
                continue
            key = value, scale == "node" or (scale == "time" and time >= MILLISECONDS)
            name = known[key] = known[key] if key in known else level_of(*key)
            if name is None:
                odd.add(place)
            found.append(name or value)
        decoded.put(level, found)

    def _set_buckets(self, decoded: Decoded, odd: set[int]) -> None:
        """Set the bucket of a request's duration, as the schema does."""
        bucket, kind, duration = map(self._by_name.get, ("duration_le", "kind", "duration_ms"))
        if bucket is None or kind is None or duration is None:
            return
        took = decoded.of(duration.attribute)
        kinds = decoded.of(kind.attribute)
        if decoded.kinds(duration.attribute) <= _FLOATS and kinds.count("access") == len(kinds):
            if _are_right(decoded.of(bucket.attribute), took):
                return
            made: Column = list(map(BUCKET_NAMES.__getitem__, map(bisect_left, repeat(_BUCKETS), took)))
        else:
            made = [
                BUCKET_NAMES[bisect_left(BUCKETS, time)] if one == "access" and type(time) is float else UNSET
                for one, time in zip(kinds, took, strict=True)
            ]
        _set_derived(bucket, decoded, made, odd)

    def _set_patterns(self, decoded: Decoded, odd: set[int]) -> None:
        """Set the pattern of an error's message, as events have it."""
        pattern, level, message = map(self._by_name.get, ("error_pattern", "level", "message"))
        if pattern is None or level is None:
            return
        levels = decoded.of(level.attribute)
        if FAILS.isdisjoint(levels):
            made: Column = [UNSET] * len(levels)
        else:
            said = [""] * len(levels) if message is None else decoded.of(message.attribute)
            made = [
                error_pattern(text, None) if one in FAILS else UNSET
                for one, text in zip(levels, said, strict=True)
            ]
        _set_derived(pattern, decoded, made, odd)

    def _look(self, decoded: Decoded, odd: set[int]) -> None:
        """Find the rows that are unusual within, or may hold a secret."""
        for one in self._nested:
            values = decoded.of(one.attribute)
            for place, value in enumerate(values):
                if type(value) in _CONTAINERS and not is_usual(value):
                    odd.add(place)
            if self._redactor is not None:
                odd.update(suspects_within(self._redactor, values))
        if self._redactor is None or not self._watched:
            return
        columns = [decoded.of(one.attribute) for one in self._watched]
        texts: list[str] = []
        for column, one in zip(columns, self._watched, strict=True):
            texts += [text for text in column if type(text) is str] if one.varies else column
        if self._redactor.are_clean(tuple(texts)):
            return
        for column, one in zip(columns, self._watched, strict=True):
            found = [text if type(text) is str else "" for text in column] if one.varies else column
            odd.update(suspects(self._redactor, found))


def _are_right(buckets: Column, took: Column) -> bool:
    """Say whether each is the bucket of its duration; to find that out costs half of finding the bucket."""
    try:
        return not [
            1 for one, time in zip(buckets, took, strict=True) if not _ABOVE[one] < time <= _UP_TO[one]
        ]
    except KeyError:  # none, or no bucket's name
        return False


def _set_derived(one: Field, decoded: Decoded, made: Column, odd: set[int]) -> None:
    held = decoded.of(one.attribute)
    if made == held:
        return
    for place, (value, old) in enumerate(zip(made, held, strict=True)):
        if value is UNSET and old is not UNSET:
            odd.add(place)
            made[place] = old  # others look at it, too
    decoded.put(one.attribute, made)


def _told(one: Field) -> Told:
    # What is derived may be set to something else than the lines have.
    few = one.few if one.required and one.name not in DERIVED else ()
    return Told(one.name, one.attribute, few)


def _front(fields: Mapping[str, str]) -> Raw:
    """Return what stands behind the first name's colon when an object begins with these fields."""
    name, *_ = fields
    return Raw(orjson.dumps(dict(fields))[len(orjson.dumps(name)) + 2 : -1])
