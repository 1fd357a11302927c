"""What was understood one by one (a message of a Beat, a line sent to Loki), made events many at once.

Rules

- `foreign.compose` defines what becomes of it. The block way gives the same event, or leaves it to `compose`;
  a property test compares the two.
- What was understood becomes a line of JSON in the words of events, and goes the way of a file's lines
  (`blocks.py`). What such a line would be understood as otherwise (an error, a second name for the time, a
  number that JSON does not know) is composed by itself, in its place.
- An event that brings an id keeps it, and the mark of one that breaks the schema stays with it.
- Where transforms may leave events out, each is composed by itself: whose id is whose must be known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import orjson

from ...handlers.clock import stamp
from ..builder import SourceBuilder, count_unparsed
from ..core.block import Block
from ..core.dialects import DIALECTS
from ..core.lines import CutLine
from ..core.parse import ROLES, Parsed
from .blocks import LineBlocks
from .foreign import compose
from .json_shape import Learned
from .listen.identity import identified, with_id

if TYPE_CHECKING:
    from ...handlers.record import EventBuilder

__all__ = ["Line", "ParsedBlocks", "Taken", "Told", "grouped"]

Told: TypeAlias = tuple[Parsed, str]
"""What was understood, and the id that it brings; empty: none."""


class Line(NamedTuple):
    """A line of JSON that says the same as what `read` returns, with a time. `own` is the id that it brings.

    `read` is asked only where the line is unusual.
    """

    text: bytes
    read: Callable[[], Told]
    own: str = ""


Taken: TypeAlias = tuple[Sequence[bytes], int]
"""Events, and the number of what they were made of."""

_AT_ONCE: Final = 500
_GROUP_BYTES: Final = 256 * 1024
_PARTS: Final = [
    "type",
    "class",
    "kind",
    "name",
    "message",
    "msg",
    "stack",
    "stack_trace",
    "stacktrace",
    "traceback",
]
# Names that a line would be asked for once more: with one of these it is composed by itself.
_ASKED: Final = frozenset(
    (
        *ROLES,
        *DIALECTS,
        *("error", "err", "exc_info", "exception", "traceback", "stack_trace", "stack"),
        *(f"error.{part}" for part in _PARTS),
    )
)
_IDS: Final = frozenset((*ROLES["trace_id"], *ROLES["span_id"], "trace", "span"))
_FIRST: Final = 365 * 86_400.0  # 1971 to 2199: times that are understood as such
_LAST: Final = 229 * _FIRST
_NONE: Final = b"null"  # what orjson makes of a number that JSON does not know


class _Lines(LineBlocks):
    """Lines, of which those that go the line way are composed of what was understood."""

    __slots__ = ("_told",)

    def __init__(self, builder: EventBuilder) -> None:
        super().__init__(builder, "json")
        self._told: Mapping[int, Told | Line] = {}

    def made(self, lines: Sequence[bytes], told: Sequence[Told | Line]) -> Iterator[tuple[Block, int]]:
        """Yield the events of lines that say what was `told`."""
        self._told = dict(zip(map(id, lines), told, strict=True))
        return self.blocks(lines)

    def _line_way(self, line: bytes, given: bytes) -> bytes | None:  # noqa: ARG002 - as for lines of a file
        parsed, _ = _told(self._told[id(line)])
        # A block may be made twice, and composing takes what was understood apart.
        return compose(self.builder, replace(parsed, fields=dict(parsed.fields), error=dict(parsed.error)))

    def _make(self, learned: Learned) -> bool:
        made = super()._make(learned)
        if made and self._json is not None and self._json.timed:
            self._json, made = None, False  # the time is what was understood, never the present moment
        return made


class ParsedBlocks:
    """Makes events. One thread uses it, for what comes from anywhere."""

    __slots__ = ("_builder", "_lines", "_service", "_singly")

    def __init__(self, builder: EventBuilder) -> None:
        self._builder = builder
        self._service = builder.schema.service
        self._lines = _Lines(builder)
        self._singly = isinstance(builder, SourceBuilder) and bool(builder.transforms)

    def blocks(self, told: Sequence[Told | Line]) -> Iterator[Taken]:
        """Yield the events of what was understood, block by block, each with the number it is of."""
        not_understood = sum([not isinstance(one, Line) and "parse_error" in one[0].fields for one in told])
        if not_understood:
            count_unparsed(self._builder, not_understood)
        if self._singly:
            yield from self._one_by_one([_told(one) for one in told])
            return
        for start in range(0, len(told), _AT_ONCE):
            part = told[start : start + _AT_ONCE]
            lines = [
                one.text if isinstance(one, Line) else self._line(one[0]) or CutLine(b"", 0) for one in part
            ]
            ids = [one.own if isinstance(one, Line) else one[1] for one in part]
            at = 0
            for block, taken in self._lines.made(lines, part):
                some = ids[at : at + taken]
                yield identified(block, some) if any(some) else block, taken
                at += taken

    def _one_by_one(self, told: Sequence[Told]) -> Iterator[Taken]:
        return grouped(with_id(compose(self._builder, parsed), own) for parsed, own in told)

    def _line(self, parsed: Parsed) -> bytes | None:
        """Return what was understood as a line that says just that; None: none does."""
        fields, moment = parsed.fields, parsed.timestamp
        if parsed.error or parsed.message[:1] == "{" or not _ASKED.isdisjoint(fields):
            return None
        if moment is not None and not _FIRST <= moment < _LAST:
            return None
        said: dict[str, Any] = {
            "timestamp": stamp(moment),
            "level": parsed.level,
            "message": parsed.message,
            "logger": parsed.logger,
            "service": parsed.service or self._service,
        }
        for name in ("trace_id", "span_id"):
            value = getattr(parsed, name)
            if value:
                said[name] = value
            elif not _IDS.isdisjoint(fields):
                return None
        try:
            line = orjson.dumps(said | fields)
        except (orjson.JSONEncodeError, RecursionError):
            return None
        return None if _NONE in line and any(map(_may_be_none, fields.values())) else line


def grouped(events: Iterable[bytes]) -> Iterator[Taken]:
    """Yield events in groups, each as large as a frame may be."""
    group: list[bytes] = []
    size = 0
    for event in events:
        if group and (len(group) >= _AT_ONCE or size + len(event) > _GROUP_BYTES):
            yield group, len(group)
            group, size = [], 0
        group.append(event)
        size += len(event)
    if group:
        yield group, len(group)


def _told(one: Told | Line) -> Told:
    return one.read() if isinstance(one, Line) else one


def _may_be_none(value: Any) -> bool:
    """Whether `null` may stand for something else in a line: a number that is none, here or within."""
    kind = type(value)
    return kind is dict or kind is list or (kind is float and not isfinite(value))
