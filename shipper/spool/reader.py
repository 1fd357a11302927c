"""Reads a spool's events in order, past everything that can be wrong with it. No books, no writing.

Rules
- The next sequence is the truth. A frame before it is passed over; a frame behind it opens a gap, whose
  reason is what was written down (evictions, refusals), else what the reader just saw (`damaged`,
  `memory_lost`, `removed`). Events that were gone before a new reader began are `before`.
- A batch ends at a gap, so that its sequences are a range.
- What transforms left out has sequences behind the lines of its frame: a gap of the reason `LEFT_OUT`, which
  is noted when those lines have been taken.
- A bad frame, and a zero where a frame should be, mean "not yet" while the owner lives. They mean damage
  when the owner is dead, or when sound frames lie behind them for longer than `patience` seconds (an append
  that a signal interrupts is finished within microseconds). Then reading goes on at the next sound frame.
- The newest segment in use holds the sources' positions, and what a cursor has passed may be deleted: a
  segment that a dead owner had made ahead and not used is not entered, so the one before it is not passed.
- Whether the owner lives is asked *before* the bytes are looked at: asked after, a last append would be
  missed.
"""

from __future__ import annotations

import time
from bisect import bisect
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import accumulate
from typing import NamedTuple

import msgspec

from ..core.crc import crc32
from ..core.ended import Ended, cut, may_exceed
from ..core.framing import (
    COUNT_FACTOR,
    EVENT,
    EVENT_WORD,
    HEADER_SIZE,
    KIND_FACTOR,
    LENGTH_FACTOR,
    MANY,
    POSITIONS,
    PRIME,
    SEAL,
    SHORT_HEADER,
    SHUTDOWN,
    SIFTED,
    VIOLATION,
    Frame,
    beside,
    parse,
    resync,
    salt_of,
    split_prefix,
    unmark,
)
from ..core.segments import attribute
from ..model import Beside
from .blocks import end_of_content, full, load, search
from .directory import Shelf
from .segment import DATA, Readable, parse_header, parse_hint

__all__ = ["FILTERED", "LEFT_OUT", "Gap", "Place", "Reader"]


# The hot path holds these as literals.
assert (HEADER_SIZE, EVENT_WORD, PRIME) == (24, 0x011E, 0xFFFFFFFB)
_STARTS = 4096
_USUAL = 200_000  # bytes of a line that all sinks take
LEFT_OUT = "transforms"
FILTERED = frozenset({"before", LEFT_OUT})  # reasons of gaps that are no loss


class Place(NamedTuple):
    """Where reading goes on: all below `sequence` is known; its frame is not before `offset` in `segment`."""

    segment: int = 0
    offset: int = DATA
    sequence: int = 1


class Gap(NamedTuple):
    """Sequences `first` to `last`, both inclusive, cannot be had, by reason."""

    first: int
    last: int
    reasons: dict[str, int]


class Reader:
    """Reads from `place` on. `salvage` takes the bytes of damaged stretches: (segment, offset, bytes).

    `last` returns the last sequence known to have been given out: up to there nothing is missing unnoticed.
    """

    def __init__(
        self,
        shelf: Shelf,
        place: Place = Place(),  # noqa: B008 - an immutable value
        *,
        salvage: Callable[[int, int, bytes], None] | None = None,
        last: Callable[[], int] = lambda: 0,
        clock: Callable[[], float] = time.monotonic,
        patience: float = 5.0,
    ) -> None:
        self._shelf = shelf
        self._salvage = salvage
        self._last = last
        self._clock = clock
        self._patience = patience
        self._segment: Readable | None = None
        self.damaged = 0  # stretches that were passed over
        self.positions: dict[str, bytes] = {}
        self.shut_down = False
        self.seek(place)

    def seek(self, place: Place) -> None:
        """Go on from `place`; gaps found so far are forgotten."""
        self._close()
        self.place = place
        self.next = place.sequence
        self.gaps: list[Gap] = []
        self.violations: dict[int, str] = {}
        self.longest = 0  # no line of the last `read` has more bytes
        self.beside: list[Beside] = []  # what was written beside lines of the last `read`
        self.ended = False  # the owner is dead and there is nothing more
        self._number = place.segment
        self._salt = 0
        self._starts: dict[int, int] = {}  # `_start` by length, for this segment
        self._base = place.offset  # file offset of the block's first byte
        self._block = b""
        self._at = 0  # offset in the block
        self._frame: Frame | None = None  # the block's first frame
        # A frame of many lines from `_from` on, with their breaks (`core/ended.py`); at most so many bytes.
        self._carry: list[bytes] = []
        self._from = self._carried = 0
        self._widest = 0  # none of these has more bytes
        self._ended = 0  # lines of the last `read` that have them
        self._marked: dict[int, str] = {}  # of those carried, the ones that broke the schema
        self._left_out = 0  # up to this sequence its frame holds no lines, behind those carried
        self._reason = "damaged"
        self._stuck: tuple[int, int, float] | None = None
        self._marks: list[Place] = [place]

    def here(self) -> Place:
        """Return the place behind everything that was read."""
        if self._carry or self._left_out:
            return self._marks[-1]._replace(sequence=self.next)
        return Place(self._number, self._base + self._at, self.next)

    def settle(self, sequence: int) -> Place:
        """Return the place to keep when all below `sequence` is done, and forget the places before it."""
        if sequence >= self.next:
            self._marks = [self.here()]
            return self._marks[0]
        marks = self._marks
        while len(marks) > 1 and marks[1].sequence <= sequence:
            del marks[0]
        return marks[0]._replace(sequence=sequence)

    def read(self, max_events: int, max_bytes: int, overhead: int = 0) -> tuple[int, Sequence[bytes]]:
        """Return the first sequence and the next lines; no lines: nothing to be had now."""
        lines: list[bytes] = []
        room = max_bytes
        self.violations, self.longest, self._ended = {}, 0, 0
        self.beside = [one for one in self.beside[-1:] if self._carry and one.first + one.size > self.next]
        while len(lines) < max_events:
            if self._carry:
                room = self._take_carried(lines, max_events, room, overhead)
                if room < 0:
                    break
                continue
            if self._left_out:
                if lines:
                    break
                self._gap(self._left_out, LEFT_OUT)
                self._left_out = 0
            left = self._take(lines, max_events, room, overhead)
            if left is None:
                break
            room = left
            if not (self._carry or self._left_out) and not self._refill(lines):
                break
        first = self.next - len(lines)
        if not self._ended:
            return first, lines
        if self._ended < len(lines):  # events that were written one by one are among them
            return first, [line.removesuffix(b"\n") for line in lines]
        return first, Ended(lines)

    def close(self) -> None:
        """Let go of the segment's file and of what was read from it."""
        self._close()
        self._base, self._at, self._block = self._base + self._at, 0, b""
        self._frame, self._carry, self._from, self._left_out, self._marked = None, [], 0, 0, {}

    def _close(self) -> None:
        segment = getattr(self, "_segment", None)
        if segment is not None:
            segment.close()
        self._segment = None

    def _take_carried(self, lines: list[bytes], max_events: int, room: int, overhead: int) -> int:
        """Take lines of a frame of many; return the bytes left, less than 0 when the batch is complete."""
        run, size, beyond = self._carry, self._carried, overhead - 1
        if self._from:
            run = run[self._from :]
        if len(run) > max_events - len(lines):
            run, rest = run[: max_events - len(lines)], run[max_events - len(lines) :]
            size = sum(map(len, run)) if len(run) < len(rest) else size - sum(map(len, rest))
        left = room - size - beyond * len(run)
        if left < 0:
            ends = list(accumulate(len(line) + beyond for line in run))
            run = run[: bisect(ends, room) or not lines]
            left, size = -1, sum(map(len, run))
        if run:
            lines += run
            self._from += len(run)
            self._carried -= size
            if self._from == len(self._carry):
                self._carry, self._from = [], 0
            for sequence in [one for one in self._marked if one < self.next + len(run)]:
                self.violations[sequence] = self._marked.pop(sequence)
            self.next += len(run)
            self._ended += len(run)
            self.longest = max(self.longest, min(size, self._widest))
        return left

    def _take(self, lines: list[bytes], max_events: int, room: int, overhead: int) -> int | None:
        """Take frames off the block; return the bytes left, None when the batch is complete."""
        while True:
            left = self._take_events(lines, max_events, room, overhead)
            if left is None:
                return None
            room = left
            # The first one of a block was looked at when the block was read: it may be a large one.
            frame = parse(self._block, self._at, self._salt) if self._at else self._frame
            if frame is None or frame.kind == SEAL:
                return room
            if frame.sequence > self.next:
                if lines:
                    return None
                hint = self._hint() if frame.kind == SHUTDOWN else None
                self._gap(frame.sequence, hint[1] if hint else self._reason)
            self._reason = "damaged"
            if frame.kind == VIOLATION and frame.sequence == self.next:
                line = self._block[frame.start + frame.prefix : frame.stop]
                if lines and len(line) + overhead > room:
                    return None
                room -= len(line) + overhead
                self.longest = max(self.longest, len(line))
                reason = self._block[frame.start : frame.start + frame.prefix]
                self.violations[self.next] = reason.decode("utf-8", "replace")
                lines.append(line)
                self.next += 1
                self._at = frame.stop
            elif frame[:2] == (EVENT, 0) and frame.events == 1 and frame.sequence == self.next:
                continue  # behind a gap that is in the books now
            else:
                self._take_other(frame)
            if self._carry or self._left_out:
                return room

    def _take_events(self, lines: list[bytes], max_events: int, room: int, overhead: int) -> int | None:
        """Take frames of one event each, as long as they follow one another: the hot path."""
        block, at, expected = self._block, self._at, self.next
        end = len(block)
        limit = end - HEADER_SIZE
        unpack, append, starts = SHORT_HEADER.unpack_from, lines.append, self._starts
        taken, longest = len(lines), self.longest
        left: int | None = room
        while at <= limit:
            if taken >= max_events:
                left = None
                break
            word, length, sequence, count, check = unpack(block, at)
            begin = at + 24
            stop = begin + length
            if word != 0x011E or sequence != expected or count != 1 or stop > end:
                break
            line = block[begin:stop]
            try:
                start = starts[length] + expected
            except KeyError:
                start = self._start(length) + expected
            if crc32(line, start if start < 0xFFFFFFFB else start % 0xFFFFFFFB) != check:
                break
            room -= length + overhead
            if room < 0 and taken:
                left = None
                break
            append(line)
            if length > longest:  # noqa: PLR1730 - a call less for each event
                longest = length
            taken += 1
            expected += 1
            at = stop
            left = room
        self.next, self._at, self.longest = expected, at, longest
        return left

    def _start(self, length: int) -> int:
        """Return the start of the check sum of one event's frame, but for its sequence."""
        start = (self._salt + EVENT * KIND_FACTOR + COUNT_FACTOR + length * LENGTH_FACTOR) % PRIME
        if len(self._starts) < _STARTS:
            self._starts[length] = start
        return start

    def _take_other(self, frame: Frame) -> None:
        """Take a frame of many lines, one that was read before, or one without events."""
        if frame.kind in MANY:
            columns, body = beside(self._block, frame)
            source, position = split_prefix(
                self._block[frame.start : frame.start + frame.prefix], frame.prefix
            )
            if source or position:
                self.positions[source] = position
            fresh = cut(self._block, body, frame.stop) if body < frame.stop else []
            if frame.sequence < self.next:  # some of them were read before
                del fresh[: self.next - frame.sequence]
            behind = frame.sequence + frame.events
            if columns:
                self.beside.append(Beside(frame.sequence, frame.events, columns))
            if frame.kind == SIFTED and behind > self.next:
                self._left_out = behind
            if frame.kind == SIFTED:
                self._unmark(fresh)
            self._carry, self._from, self._carried = fresh, 0, frame.stop - body + 1
            # To look at each line's length would cost as much as to cut them.
            usual = not may_exceed(_USUAL, self._block, body, frame.stop)
            self._widest = _USUAL if usual else max(map(len, fresh), default=0)
        elif frame.kind == POSITIONS:
            payload = self._block[frame.start : frame.stop]
            with suppress(msgspec.MsgspecError):
                self.positions.update(msgspec.msgpack.decode(payload, type=dict[str, bytes]))
        elif frame.kind == SHUTDOWN:
            self.shut_down = True
        self._at = frame.stop

    def _unmark(self, lines: list[bytes]) -> None:
        """Take the marks off lines that broke the schema, and note why; the first is the next one."""
        for place, line in enumerate(lines):
            if line[:1] == b"\0":
                lines[place], reason = unmark(line)
                self._marked[self.next + place] = reason or ""

    def _gap(self, upto: int, reason: str) -> None:
        """Everything from `next` to before `upto` cannot be had."""
        if upto > self.next:
            reasons = attribute(self.next, upto - 1, self._shelf.evicted(), reason)
            self.gaps.append(Gap(self.next, upto - 1, reasons))
            self.next = upto

    def _refill(self, lines: list[bytes]) -> bool:
        """Make the block begin with a sound frame; False when there is none to be had now."""
        settled = not self._shelf.alive()
        if self._segment is None:
            return self._enter(lines, settled=settled)
        at, more = self._base + self._at, full(self._block, self._at)
        frame = self._frame
        usual = frame.stop * 9 // 8 if more and frame is not None and frame.stop == self._at else 0
        self._base, self._at, self._block, self._frame = at, 0, b"", None
        block = load(self._segment, at, more=more, usual=usual)
        frame = parse(block, 0, self._salt)
        if frame is None:
            hint = self._hint()
            if hint is not None and hint[0] > self.next:
                block = load(self._segment, at)  # what stands before a refusal was written before its note
                frame = parse(block, 0, self._salt)
                if frame is None and not block[:1].strip(b"\0"):
                    if lines:
                        return False
                    self._gap(*hint)
        if frame is None:
            return self._stalled(at, block, lines, settled=settled)
        if frame.kind == SEAL:
            if lines and frame.sequence > self.next:
                return False
            hint = self._hint()
            self._gap(frame.sequence, hint[1] if hint else "damaged")
            return self._enter(lines, settled=settled)
        self._block, self._frame = block, frame
        self._marks.append(Place(self._number, at, self.next))
        return True

    def _hint(self) -> tuple[int, str] | None:
        return parse_hint(self._segment.read(0, DATA)) if self._segment is not None else None

    def _stalled(self, at: int, block: bytes, lines: list[bytes], *, settled: bool) -> bool:
        """Wait for an unfinished frame, or pass over a damaged one."""
        assert self._segment is not None
        behind = not settled and self._behind()
        if behind and not block[:1].strip(b"\0") and not self._in_use(self._number):
            return self._enter(lines, settled=settled)  # made and never used
        if not settled and not self._overdue(at, block, behind=behind):
            return False
        found = search(self._segment, at + 1, self._salt)
        stop = found if found >= 0 else max(at, self._segment.size())
        end = end_of_content(self._segment, at, stop)
        if end > at:
            self.damaged += 1
            if self._salvage is not None:
                self._salvage(self._number, at, self._segment.read(at, end - at))
        if found < 0:
            self._base = stop
            return self._enter(lines, settled=settled)
        self._base, self._reason = found, "damaged"
        return True

    def _behind(self) -> bool:
        """Say whether a later segment is in use."""
        return any(n > self._number and self._in_use(n) for n in self._shelf.numbers())

    def _overdue(self, at: int, block: bytes, *, behind: bool) -> bool:
        """Say whether there has been something behind this stretch for so long that it is damaged."""
        if not behind and (not block or not block[0] or resync(block, 1, self._salt) < 0):
            self._stuck = None
            return False
        now = self._clock()
        if self._stuck is None or self._stuck[:2] != (self._number, at):
            self._stuck = (self._number, at, now)
        return now - self._stuck[2] >= self._patience

    def _in_use(self, number: int) -> bool:
        """Say whether a segment holds events: one that was made and never used (an exception) does not."""
        segment = self._shelf.open(number)
        if segment is None:
            return False
        salt, at = salt_of(bytes.fromhex(self._shelf.id), number), DATA
        try:
            # A source's frame may be longer than a block.
            while (frame := parse(block := load(segment, at), 0, salt)) is not None:
                if frame.kind != POSITIONS:
                    return True
                at += frame.stop
            if resync(block, 0, salt) >= 0:
                return True
            # Of one made ahead, which says so, a page is enough: it is looked at whenever nothing is new.
            told = parse_header(segment.read(0, DATA))
            return (told is None or told.first > 0) and search(segment, at, salt) >= 0
        finally:
            segment.close()

    def _unused(self, number: int, segment: Readable) -> bool:
        """Say whether a dead owner made a segment ahead and never used it: it is not entered, see the rules.

        Looked at to its end: a power cut may have taken the pages that say so, and left frames.
        """
        header = segment.read(0, DATA)
        told = parse_header(header)
        if (told is not None and told.first) or parse_hint(header) is not None:
            return False
        salt, at = salt_of(bytes.fromhex(self._shelf.id), number), DATA
        while (at := search(segment, at, salt)) >= 0:
            frame = parse(load(segment, at), 0, salt)
            if frame is None or frame.kind != POSITIONS:
                return False
            at += frame.stop
        return True

    def _enter(self, lines: list[bytes], *, settled: bool) -> bool:  # noqa: C901 - one decision table
        """Go to the segment of the place, or to the next one there is."""
        opened = None
        resume = self._segment is None and self._number > 0
        for number in self._shelf.numbers():
            if number > self._number or (resume and number == self._number):
                opened = self._shelf.open(number)
                if opened is None and number in self._shelf.numbers():
                    return False  # there, and not to be opened now: there are no descriptors
                if opened is not None and settled and number > self._number and self._unused(number, opened):
                    opened.close()
                    opened = None
                if opened is not None:
                    break
        if opened is None:
            if settled and not lines:
                last = max((entry.last for entry in self._shelf.evicted()), default=0)
                hint = self._hint()
                self._gap(max(last, self._last()) + 1, hint[1] if hint and hint[0] > self.next else "damaged")
                self.ended = True
            return False
        header = parse_header(opened.read(0, DATA))
        if lines and header is not None and header.first > self.next:
            opened.close()  # the gap begins a batch of its own
            return False
        if number != self._number:
            fresh = self._number == 0
            jumped = resume or number > self._number + 1
            self._base, self._at, self._block, self._frame = DATA, 0, b"", None
            if fresh:
                self._reason = "before"
            elif jumped:
                self._reason = "memory_lost" if header is not None and header.after_memory else "removed"
            if header is not None:
                self._gap(header.first, self._reason)
                self._reason = "damaged"
        self._close()
        self._segment, self._number = opened, number
        self._salt, self._starts = salt_of(bytes.fromhex(self._shelf.id), number), {}
        self._marks.append(Place(number, self._base + self._at, self.next))
        return True
