"""What can be learnt from a spool's segments without a reader's place. Read-only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from ..core.framing import MANY, POSITIONS, Frame, parse, salt_of, split_prefix
from .blocks import load, search
from .directory import Shelf
from .segment import DATA, parse_header, parse_hint

__all__ = ["Found", "created_of", "first_of", "frames", "last_of", "positions_of"]


class Found(NamedTuple):
    """A frame, the block it stands in, and where in the segment the block begins."""

    frame: Frame
    block: bytes
    base: int


def frames(shelf: Shelf, number: int, start: int = DATA) -> Iterator[Found]:
    """Give the sound frames of a segment in order, from `start` on; nothing when it is gone."""
    segment = shelf.open(number)
    if segment is None:
        return
    salt = salt_of(bytes.fromhex(shelf.id), number)
    base = start
    try:
        while base >= 0:
            block, at = load(segment, base), 0
            while (frame := parse(block, at, salt)) is not None:
                yield Found(frame, block, base)
                at = frame.stop
            base = base + at if at else search(segment, base + 1, salt)
    finally:
        segment.close()


def first_of(shelf: Shelf, number: int) -> int:
    """Return the lowest sequence a segment can hold; 0 when it does not say."""
    segment = shelf.open(number)
    if segment is None:
        return 0
    header = parse_header(segment.read(0, DATA))
    segment.close()
    return header.first if header is not None else 0


def last_of(shelf: Shelf) -> int:
    """Return the last sequence the spool is known to have given out; 0 for none."""
    last = max((entry.last for entry in shelf.evicted()), default=0)
    for number in reversed(shelf.numbers()):
        seen = max((f.frame.sequence + f.frame.events - 1 for f in frames(shelf, number)), default=0)
        segment = shelf.open(number)
        if segment is not None:
            hint = parse_hint(segment.read(0, DATA))
            segment.close()
            seen = max(seen, hint[0] - 1 if hint else 0, first_of(shelf, number) - 1)
        last = max(last, seen)
        if seen:
            break
    return last


def positions_of(shelf: Shelf) -> dict[str, bytes]:
    """Return the newest position of each source: the newest segment in use begins with all that were known.

    Two are looked at, for a first frame may be damaged; those that hold nothing were made ahead.
    """
    positions: dict[str, bytes] = {}
    held = 0
    for number in reversed(shelf.numbers()):
        mine: dict[str, bytes] = {}
        empty = True
        for frame, block, _ in frames(shelf, number):
            empty = False
            payload = block[frame.start : frame.stop]
            if frame.kind in MANY and frame.prefix:
                source, position = split_prefix(payload, frame.prefix)
                mine[source] = position
            elif frame.kind == POSITIONS:
                mine.update(msgspec.msgpack.decode(payload, type=dict[str, bytes]))
        positions = mine | positions
        held += not empty
        if held == 2:
            break
    return positions


def created_of(shelf: Shelf) -> int:
    """Return when the newest segment that says so was made, in nanoseconds; 0 for none."""
    for number in reversed(shelf.numbers()):
        segment = shelf.open(number)
        if segment is not None:
            header = parse_header(segment.read(0, DATA))
            segment.close()
            if header is not None:
                return header.created
    return 0
