"""The few values that a sink reads of an event line: its time and the fields that name its place. Pure.

The decoder is a struct made for the fields: `t` is the timestamp, `f0, f1, ...` the fields in order. All else
of a line is skipped. A line that is not one JSON object has no head, and costs only itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, Final, TypeAlias

import msgspec

__all__ = ["Clock", "Head", "Heads"]

Head: TypeAlias = Any
"""A struct with the attributes `t`, `f0`...; its type is made at run time."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_KNOWN: Final = 4_096


class Heads:
    """Reads the heads of many lines at once, for these fields."""

    __slots__ = ("_decoder", "values")

    def __init__(self, fields: Sequence[str]) -> None:
        names = {"t": "timestamp"} | {f"f{i}": name for i, name in enumerate(fields)}
        # gc=False: heads hold no cycles, and tracking thousands of them would make the collector run.
        struct = msgspec.defstruct("Head", [(name, Any, None) for name in names], rename=names, gc=False)
        self._decoder = msgspec.json.Decoder(struct)
        self.values: Callable[[Head], tuple[Any, ...]] = _tuple_of([f"f{i}" for i in range(len(fields))])

    def read(self, lines: Sequence[bytes]) -> Sequence[Head | None]:
        """Return one head for each line, None where a line is not a JSON object."""
        try:
            heads = self._decoder.decode_lines(b"\n".join(lines))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            heads = []
        # A different count means that a line held a line break, or nothing: then only one by one is right.
        return heads if len(heads) == len(lines) else [self._one(line) for line in lines]

    def _one(self, line: bytes) -> Head | None:
        try:
            return self._decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None


class Clock:
    """Turns events' timestamps into milliseconds since 1970, remembering the seconds it has seen."""

    __slots__ = ("_seconds",)

    def __init__(self) -> None:
        self._seconds: dict[str, int] = {}

    def milliseconds(self, text: object) -> int | None:
        """Return the milliseconds of an ISO 8601 time with offset; None for anything else."""
        if type(text) is not str:
            return None
        # An event's own form, 2026-01-31T08:00:00.123456Z: most of it is the same for a whole second.
        if len(text) == 27 and text[19] == "." and text[26] == "Z" and text[20:26].isdecimal():
            second = self._seconds.get(text[:19])
            if second is None:
                second = _milliseconds(f"{text[:19]}Z")
                if second is None:
                    return None
                if len(self._seconds) >= _KNOWN:
                    self._seconds.clear()
                self._seconds[text[:19]] = second
            return second + int(text[20:23])
        return _milliseconds(text)


def _milliseconds(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text)
        return None if moment.tzinfo is None else (moment.astimezone(UTC) - _EPOCH) // _MILLISECOND
    except (ValueError, OverflowError):
        return None


def _tuple_of(attributes: list[str]) -> Callable[[Head], tuple[Any, ...]]:
    """Return a function from a head to the tuple of `attributes`, also for none and for one."""
    if not attributes:
        return lambda _head: ()
    get = attrgetter(*attributes)
    return get if len(attributes) > 1 else lambda head: (get(head),)
