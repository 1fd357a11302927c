"""The owner's end of a spool: takes events, from any thread, from signal handlers and finalisers.

Rules
- A place and a sequence are reserved in one stretch of code without a call in it. Between threads a
  re-entrant lock keeps it whole; within a thread CPython runs signal handlers and finalisers only at calls
  and jumps back, so an append that interrupts another one takes the place and the sequence after it. Order
  in the file is order of sequences.
- What the disk refuses gives its place and its sequence back, and is written into a new segment under the
  same one: of an event that is there nothing is counted as lost. (Only when an append that interrupted it
  stands behind it already, its number stays empty.)
- `offer` acquires its lock within the `try` that releases it: an exception of a signal handler comes right
  behind the call. One that comes while it waits finds the lock not taken; a thread that has it never waits.
- An exception that a signal handler throws into an append (`KeyboardInterrupt`) does not leave a hole: the
  frame is finished first.
- A new segment is made aside and takes its place in one such stretch, if the old one is still there;
  otherwise it is discarded. The old one is closed with a frame of its own (`SEAL`), for which room was
  kept.
- What is refused takes a sequence too, so that readers see it is missing; a note in the segment's header
  says how far and why. A segment with a note takes no more frames.
- After a fork the child begins a spool of its own on its first record, and closes the parent's lock.
- What is offered after `close` goes to the successor, if one was named: a late spool, or the next pipeline.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from ...handlers.outlet import Outlet, Violation
from ..core.block import Block
from ..core.crc import crc32
from ..core.framing import (
    COLUMNED,
    EVENT,
    EVENT_WORD,
    HEADER_SIZE,
    LENGTH_FACTOR,
    LINES,
    PRIME,
    SHUTDOWN,
    SIFTED,
    VIOLATION,
    Buffer,
    columned,
    header,
    mark,
)
from ..core.segments import Evicted
from ..floor import FLOOR
from ..ports import Cursor
from .cursor import SpoolCursor
from .directory import Home, file_name
from .ledger import known_positions
from .segment import SEALED, Readable, Writable
from .settings import SpoolSettings
from .supply import CAN_WAIT, AtBound, Full, Supply

__all__ = ["SourceAppender", "Spool", "SpoolClosedError"]

# `offer` holds these as literals: a name looked up costs a hundredth of what a whole log call may.
assert (HEADER_SIZE, EVENT_WORD, LENGTH_FACTOR, PRIME) == (24, 0x011E, 0x10001, 0xFFFFFFFB)
# A header is one number there, of one event. Cold, the code of `struct` costs a call more than all the rest
# of an append, and a copy of the event more than a second store.
_NOTE_SIZE = 4096
PART = "/"  # between a source's name, which has none, and the part of it that a position is for
_living: weakref.WeakSet[Spool] = weakref.WeakSet()


class SpoolClosedError(RuntimeError):
    """The spool was closed while a source waited to append."""


class Spool:
    """One process's spool for one service; an `Outlet` and an `Appender`.

    No I/O before the first record. Keyword arguments besides `clock` (wall clock, seconds) go to `Supply` and
    are there for tests.
    """

    def __init__(
        self,
        settings: SpoolSettings,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        **supply: Any,
    ) -> None:
        self.settings = settings
        self._clock = clock
        self._sleep = sleep
        self._options = supply
        self.successor: Outlet | None = None  # takes what is offered after `close`
        self.came: Callable[[], None] | None = None  # called for what took the slow way: a first event
        self.heir: Spool | None = None  # takes what is appended after it, unless it can be read again
        self._begin()
        _living.add(self)

    def _begin(self) -> None:
        """Start with nothing: at first, and in a forked child."""
        self._lock = threading.RLock()
        self._supply = Supply(self.settings, self._clock, **self._options)
        self._segment = Writable(0, bytes(16), 0, 1)
        self._next = 1
        self._refused: dict[str, int] = {}
        self._cursors: dict[str, SpoolCursor] = {}
        self._past: dict[str, bytes] | None = None
        self.closed = False

    @property
    def id(self) -> str:
        """The spool's id, 32 hex digits; settled once there was a record."""
        return self._supply.home.id

    @property
    def home(self) -> Home:
        """The spool's directory (one without a place on disk, while it is in memory)."""
        return self._supply.home

    @property
    def state(self) -> Literal["disk", "memory", "degraded"]:
        """Where events go now; `degraded`: to memory although a path is set."""
        return self._supply.state

    @property
    def accepted(self) -> int:
        """How many sequences were given out, those of refused events included."""
        return self._next - 1

    # What readers in this process need (`directory.Shelf`).

    def numbers(self) -> Sequence[int]:
        """Return the numbers of the segments there are, in order."""
        return self._supply.home.numbers()

    def open(self, number: int) -> Readable | None:
        """Open a segment for reading; None when it is gone."""
        return self._supply.home.open(number)

    def alive(self) -> bool:
        """Say whether more may be written."""
        return not self.closed

    def evicted(self) -> Sequence[Evicted]:
        """Return what was given up on purpose."""
        return self._supply.home.evicted()

    # Writing.

    def offer(  # names bound as in `EventBuilder.build`
        self,
        event: bytes,
        /,
        bytes: Any = bytes,  # noqa: A002
        len: Any = len,  # noqa: A002
        crc32: Any = crc32,
    ) -> bool:
        """Take one event line; False when it had to be refused, which is counted. Never raises of its own."""
        if event.__class__ is not bytes:
            return self._offer_other(event)
        length = len(event)
        lock = self._lock
        try:  # what `with` does, for half of its cost; see the rules
            lock.acquire()
            segment = self._segment
            start = segment.pos
            end = start + 24 + length
            if end <= segment.fast:
                sequence = self._next
                segment.pos = end
                self._next = sequence + 1
                # Reserved. From here on others may come in between; they take what is behind.
                buffer = segment.buffer
                try:
                    begin = segment.seed + sequence + length * 0x10001
                    if begin >= 0xFFFFFFFB:  # seldom: the seed is below it
                        begin %= 0xFFFFFFFB
                    fields = 0x1_00000000_00000000_00000000_0000_011E + (length << 32) + (sequence << 64)
                    head = (fields + (crc32(event, begin) << 160)).to_bytes(24, "little")
                    body = start + 24
                    # Without a call in between: no other thread reads a header whose event is to come.
                    buffer[start:body] = head
                    buffer[body:end] = event
                except BaseException:
                    # Also for want of memory: the event is not copied here.
                    head = header(segment.salt, EVENT, b"", event, sequence, 1)
                    segment.put_all(start, (head, event))
                    raise
                return True
        finally:
            try:  # noqa: SIM105 - a context manager is another call
                lock.release()
            except RuntimeError:
                pass
        return self._offer_slowly(event, EVENT, b"")

    def _offer_other(self, event: bytes) -> bool:
        if isinstance(event, Violation):
            return self._offer_slowly(event, VIOLATION, _reason(event))
        return self.offer(bytes(event))

    def _offer_slowly(self, event: bytes, kind: int, prefix: bytes) -> bool:
        taken = self._take(event, kind, prefix)
        if self.came is not None:
            self.came()
        return taken

    def _take(self, event: bytes, kind: int, prefix: bytes) -> bool:
        policy = self.settings.when_full
        at_bound: AtBound = "evict" if policy == "drop_oldest" else "refuse"
        deadline = 0.0
        while True:
            try:
                with self._lock:
                    if not self.closed:
                        return self._place(kind, prefix, event, 1, at_bound) > 0
                    if self.successor is None:
                        self._refused["closed"] = self._refused.get("closed", 0) + 1
                        return False
                break
            except Full as full:
                now = time.monotonic()
                deadline = deadline or now + self.settings.block_timeout
                if policy != "block" or now >= deadline:
                    with self._lock:
                        self._refuse(full.reason)
                    return False
            self._sleep(0.01)
        return self.successor.offer(event)

    def tell(self, event: bytes, *, frees: bool = False) -> bool:
        """Take an event line that can be told later, if there is room; nothing is given up for it.

        Where telling it `frees` more than it takes it may exceed the bound a little. It is not taken where
        memory stands in for the disk: who tells it notes that it was told, and is killed then.
        """
        kind, prefix = (VIOLATION, _reason(event)) if isinstance(event, Violation) else (EVENT, b"")
        with suppress(Full), self._lock:
            if not self.closed and not self._stands_in():
                self._place(kind, prefix, bytes(event), 1, "exceed" if frees else "wait")
                return not self._stands_in()
        return False

    def _stands_in(self) -> bool:
        """Say whether memory stands in for the disk."""
        return self.state == "degraded"

    def append(
        self,
        lines: Sequence[bytes],
        position: bytes = b"",
        source: str = "",
        waiting: Callable[[], object] | None = None,
    ) -> int:
        """Append lines in one frame with the position of `source`; return the first sequence.

        An empty line stands for one that transforms left out: it gets a sequence too, behind the others.
        Waits while the spool is full (`waiting` in place of a sleep) and gives up nothing of others. Raises
        SpoolClosedError, and ValueError for a position that no frame holds.
        """
        if not lines and not position and not source:
            return self._next
        given = lines
        lines, payload, left_out, marked = _sifted(lines)
        kind, told = SIFTED if left_out or marked else LINES, b""
        if kind == LINES and isinstance(given, Block) and given.columns:
            kind, told = COLUMNED, columned(given.columns)
        prefix = source.encode() + b"\0" + position if source or position else b""
        if len(prefix) > 0xFFFF:  # before anything is reserved
            raise ValueError(f"a position of {len(position)} bytes is too long; keep one for each part")
        while True:
            with suppress(Full), self._lock:
                if self.closed:
                    return self._inherit(given, position, source, waiting)
                count = len(lines) + left_out
                sequence = self._place(
                    kind, prefix, payload, count, "wait" if position else "refuse", told=told
                )
                if position or source in (self._past or ()):
                    self._supply.positions[source] = position
                else:
                    self._supply.positions.pop(source, None)
                return sequence
            with FLOOR.left():
                if waiting is None:
                    self._sleep(0.05)
                else:
                    waiting()

    def _inherit(
        self, lines: Sequence[bytes], position: bytes, source: str, waiting: Callable[[], object] | None
    ) -> int:
        """Append to the heir, after `close`, what has no position: a pipe cannot be read again."""
        if self.heir is None or position or not lines:
            raise SpoolClosedError(f"the spool of {self.settings.service} is closed")
        return self.heir.append(lines, position, source, waiting)

    def last_position(self, source: str) -> bytes:
        """Return the newest position of `source`, of this process or of those before it (`b""`: none)."""
        held = self._supply.positions.get(source)
        return held if held is not None else self._before().get(source, b"")

    def look_again(self) -> None:
        """Look anew for the positions of those before it: one of them has ended only now.

        What comes next goes into a new segment: of two spools' positions those in the newer segment count.
        """
        self._past = None
        with self._lock:
            segment = self._segment
            segment.cap = segment.fast = 0

    def _before(self) -> dict[str, bytes]:
        """Return the positions that were known when they were first asked for."""
        past = self._past
        if past is None:
            path = self.settings.path
            past = self._past = known_positions(path / file_name(self.settings.service)) if path else {}
        return past

    def positions(self, source: str) -> dict[str, bytes]:
        """Return the newest position of each part of `source`, of this process or of those before it."""
        found: dict[str, bytes] = {}
        for name, position in {**self._before(), **self._supply.positions}.items():
            base, _, part = name.partition(PART)
            if base == source and position:
                found[part] = position
        return found

    def appender(self, source: str) -> SourceAppender:
        """Return the appender that keeps positions under the name `source`."""
        return SourceAppender(self, source)

    def _place(
        self,
        kind: int,
        prefix: bytes,
        rest: Buffer,
        count: int,
        at_bound: AtBound,
        *,
        told: bytes = b"",
    ) -> int:
        """Write one frame and return its first sequence. Raises Full. The lock is held."""
        size = HEADER_SIZE + len(prefix) + len(told) + len(rest)
        while True:
            segment = self._segment
            unfit = at_bound in CAN_WAIT and self._supply.is_beside_a_full_disk(segment)
            start = segment.pos
            end = start + size
            if end <= segment.cap and not unfit:
                sequence = self._next
                segment.pos = end
                self._next = sequence + count
                try:
                    head = header(segment.salt, kind, prefix, rest, sequence, count, told)
                    segment.put_all(start, (head, prefix, told, rest))
                    if self.settings.sync == "always":
                        segment.sync()
                except OSError:  # the disk refused the bytes: they go into a new segment
                    if self._next == sequence + count:  # no call until both are given back
                        self._next, segment.pos = sequence, start
                    segment.cap = segment.fast = 0
                    continue
                except BaseException:  # out of a signal handler: no hole, see the rules
                    head = header(segment.salt, kind, prefix, rest, sequence, count, told)
                    segment.put_all(start, (head, prefix, told, rest))
                    raise
                return sequence
            self._roll(segment, size, at_bound)

    def _roll(self, segment: Writable, size: int, at_bound: AtBound) -> None:
        """Put a fresh segment in the place of `segment`, unless somebody else has. Raises Full."""
        fresh = self._supply.make(size, self._next, after=segment.number, at_bound=at_bound)
        if self._segment is not segment:
            self._supply.discard(fresh)
            return
        # No call until the fresh segment stands in its place.
        at = segment.pos
        segment.pos = SEALED
        segment.cap = segment.fast = 0
        self._segment = fresh
        fresh.first = upto = self._next
        try:
            segment.seal(at, upto)
            self._supply.placed(segment, upto - 1, fresh)
        except BaseException as error:
            with suppress(OSError):
                segment.seal(at, upto)
            if not isinstance(error, OSError):
                raise

    def _refuse(self, reason: str) -> None:
        """Give an event a number and note that it is missing. The lock is held."""
        if not self._segment.capacity:
            self._start_without_room()
        segment = self._segment
        segment.cap = segment.fast = 0
        self._next += 1
        self._refused[reason] = self._refused.get(reason, 0) + 1
        upto = 0
        while (
            upto != self._next
        ):  # an interruption may have refused more, and must not be overwritten by less
            upto = self._next
            with suppress(OSError):
                segment.hint(upto, reason)

    def _start_without_room(self) -> None:
        """Full before the first segment: the notes go into a small one that takes no frames."""
        tiny = self._supply.make_note(self._next)
        if self._segment.capacity:
            self._supply.discard(tiny)
        else:
            self._segment = tiny

    # Keeping.

    def cursor(self, sink: str) -> Cursor:
        """Return the cursor of `sink` on this spool; the same one each time."""
        return self.own_cursor(sink)

    def own_cursor(self, sink: str) -> SpoolCursor:
        """Return the cursor with what only this package needs of it."""
        found = self._cursors.get(sink)
        if found is None or found.closed:
            found = self._cursors[sink] = SpoolCursor(
                self, sink, home=lambda: self._supply.home, last=self._last
            )
        return found

    def _last(self) -> int:
        return self._next - 1

    def sync(self) -> None:
        """Put on disk what was written, give up what is too old, return to the disk. Raises nothing.

        Call it every `settings.sync` seconds from a thread of your own: a log call never does.
        """
        with suppress(Full, OSError):
            if self._supply.wants_disk or self._too_old():
                with self._lock:
                    if not self.closed:
                        self._roll(self._segment, HEADER_SIZE, "refuse")
            self._supply.expire()
            self._supply.forget_gone()
            if self.settings.sync != "never":
                self._supply.sync(self._segment)

    def prepare(self) -> None:
        """Make the next segment ahead of its need, so that no log call has to. Raises nothing.

        Call it often, from a thread of your own: a fast writer fills a segment in a fraction of a second.
        """
        with suppress(OSError):
            self._supply.prepare(self._segment)
        if self.closed:  # perhaps meanwhile
            self._supply.drop_spare()

    def _too_old(self) -> bool:
        """Say whether the segment in use has been open for `max_age` and holds something."""
        age, segment = self.settings.max_age, self._segment
        return (
            age is not None
            and segment.first <= self._next - 1
            and segment.capacity > 0
            and segment.opened + age < self._clock()
        )

    def close(self, clean: bool = True) -> None:  # noqa: FBT001, FBT002 - the public signature
        """Take no more. `clean` writes the frame that says so; the lock is released either way."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
            segment = self._segment
            at = segment.pos
            segment.cap = segment.fast = 0
            with suppress(OSError):
                if clean and segment.capacity:
                    segment.seal(at, self._next, SHUTDOWN)
                if self.settings.sync != "never":
                    self._supply.sync(segment)
            segment.close()
            self._supply.drop_spare()
            if clean:
                pending = [cursor.account().pending for cursor in self._cursors.values()]
                given = self._next - 1
                self._supply.keep_memory(given - max(pending, default=given), self._next)
            self._segment = Writable(0, bytes(16), 0, self._next)  # lets go of the map
            if not self._cursors:
                self._supply.home.close()

    def release(self, number: int) -> bool:
        """Delete a segment that all cursors passed."""
        return self._supply.forget(number)

    def forget_gone(self) -> None:
        """Forget the sealed segments that another process has deleted."""
        self._supply.forget_gone()

    @property
    def adopted(self) -> dict[Path, Home]:
        """Spools of dead owners that this process holds, by directory; they may be evicted from as well."""
        return self._supply.adopted

    def stats(self) -> dict[str, Any]:
        """Return figures for people and metrics: bytes, segments, and what was dropped by reason."""
        dropped = dict(self._refused)
        for reason, count in self._supply.given_up.items():
            dropped[reason] = dropped.get(reason, 0) + count
        sealed = list(self._supply.sealed)
        return {
            "id": self.id,
            "state": self.state,
            "accepted": self.accepted,
            "segments": len(sealed) + bool(self._segment.capacity),
            "bytes": sum(entry.size for entry in sealed) + self._segment.capacity,
            "dropped": dropped,
        }

    def _after_fork(self) -> None:
        home, segment = self._supply.home, self._segment
        with suppress(OSError):
            for held in (home, *self._supply.adopted.values()):
                held.close()  # closes this process's copies; the parent keeps its locks
        for held_segment in (segment, *self._supply.unsynced):
            held_segment.close()
        self._supply.let_go()
        was_closed = self.closed
        self._begin()
        self.closed = was_closed


def _reason(event: Violation) -> bytes:
    """Return why an event broke the schema, as it stands before it in its frame."""
    return event.reason.replace("\x1e", " ").encode("utf-8", "replace")[:_NOTE_SIZE]


def _sifted(lines: Sequence[bytes]) -> tuple[Sequence[bytes], Buffer, int, bool]:
    """Return lines as they go into a frame, joined too, the number left out, whether some are marked."""
    if isinstance(lines, Block):
        if not lines.violations:
            return lines, lines.payload, lines.left_out, False
        held, left_out, violations = list(lines), lines.left_out, lines.violations
    else:
        if left_out := lines.count(b""):
            lines = [line for line in lines if line]
        held = list(lines)
        violations = {at: line.reason for at, line in enumerate(held) if isinstance(line, Violation)}
    for at, reason in violations.items():
        held[at] = mark(held[at], reason)
    payload = b"\n".join(held)
    if held and payload.count(b"\n") != len(held) - 1:
        payload = b"\n".join(line.replace(b"\n", b" ") for line in held)
    return held, payload, left_out, bool(violations)


class SourceAppender:
    """An `Appender` for one source: its positions are kept under its name."""

    def __init__(self, spool: Spool, source: str) -> None:
        self._spool = spool
        self._source = source

    def append(
        self,
        lines: Sequence[bytes],
        position: bytes = b"",
        part: str = "",
        *,
        waiting: Callable[[], object] | None = None,
    ) -> int:
        """Append whole lines in one frame with the position; waits while the spool is full."""
        name = f"{self._source}{PART}{part}" if part else self._source
        return self._spool.append(lines, position, name, waiting)

    def last_position(self, source: str) -> bytes:
        """Return the newest position stored by `source`."""
        return self._spool.last_position(source)

    def positions(self) -> dict[str, bytes]:
        """Return the newest position of each part of this source."""
        return self._spool.positions(self._source)


def _fork() -> None:
    for spool in list(_living):
        spool._after_fork()  # noqa: SLF001 - the same module


os.register_at_fork(after_in_child=_fork)
