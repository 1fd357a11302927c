"""Makes segments for the writer: on disk while that works, else in memory; none when all is full.

Rules
- A call may be interrupted by a signal handler that logs and so calls here again. Numbers are taken in one
  step without a call in it, so no two segments share one; whoever loses the race discards what he made.
  Numbers may therefore be missing; sequences never are. An interruption in the middle of making one makes a
  small one without counting, so that handlers that come faster than a segment is made do not pile up for
  ever.
- The bound on disk holds for the path, all processes together: what is there is counted when a segment is
  made, under a lock that nobody waits long for. Who gives up what when it is reached: `share.py`.
- The next segment is made ahead (`prepare`), so that the log call that fills one only changes over. Until it
  is in use it holds no frame and its header says 0 for its first sequence. It is taken only after segments
  with lower numbers, and made only while half of the bound is free: idle processes must not hoard room.
- What a log call would wait for is done by the thread that prepares: pages that will be written next are
  touched when a segment is made, and again when a sync has written them to the disk; those of filled segments
  are given back, and their files closed. While that thread waits for the disk, who makes a segment himself
  gives the pages back: a slow disk is not to cost the application memory.
- In a process that is nothing else than an agent segments are not mapped: what comes in blocks costs less
  written. A map would have a fault for each page, and each sync would take each page from both processors.
- An error of the disk (no space, read-only, no descriptors) is no error of the application's: memory takes
  over, one line on stderr says so, and the disk is tried again every `RETRY` seconds.
- What a source can read again (it has a position) waits for room on the disk instead. In memory it would end
  with the process, while a position behind it is on the disk as soon as there is room again.
- A few dead spools that are drained may be all that fills the path, and they go when their owners' deaths are
  told. Such a notice may go a small segment beyond the bound: it frees more than it takes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from uuid import uuid4

import msgspec

from ..core.framing import POSITIONS, encode
from ..core.segments import Evicted, grown, merged
from ..diagnostics import say
from ..floor import FLOOR
from ..moment import moment
from .directory import Home, file_name
from .mounts import maps_are_safe
from .numbers import shares_number, with_free_number
from .parting import keep_memory
from .segment import (
    DATA,
    TAIL,
    VERSION,
    MemorySegment,
    SegmentHeader,
    Writable,
    WritableFile,
    allocate,
    largest_file,
    pack_header,
    segment_name,
)
from .share import evict_dead, share, take_from_siblings, usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .settings import SpoolSettings

__all__ = ["CAN_WAIT", "AtBound", "Full", "Sealed", "Supply"]

RETRY = 5.0
_RETRY_FULL = 0.05
_RETRY_ROOM = 1.0
_NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT))
_SMALL = 16 * 1024
_PAGE = 4096
_TRIES = 5  # ids for a directory before memory has to do
_DEEPEST = 8  # interruptions within interruptions before memory has to do: the disk stalls, signals do not
_UNSYNCED = 4  # sealed segments whose files stay open for the next sync
_READY = 4 << 20  # bytes of a segment made ahead whose pages take memory before they are needed
_UNCLOSED = 16  # and before `prepare` comes to close the others


class _UnsettledError(OSError):
    """Interruptions went to memory while this directory was made: under its id they could not be read."""


AtBound = Literal["evict", "refuse", "wait", "exceed"]
"""What an append does at the bound: give up older events, find no room, find none on a full disk either
(memory is no place for what can be had again), or take a small segment beyond the bound."""

CAN_WAIT: frozenset[AtBound] = frozenset(("wait", "exceed"))


class Full(Exception):  # noqa: N818 - a state, not an error
    """No segment can be had; `reason` is what refused events are counted under."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, eq=False)
class Sealed:
    """A segment that takes no more: its sequences (inclusive), size, and when that was (seconds)."""

    number: int
    first: int
    last: int
    size: int
    at: float
    memory: bool


def _are_mapped(path: Path) -> bool:
    """Say whether segments under `path` are mapped, as it is best for single events."""
    return not FLOOR.shared and maps_are_safe(path)


def _drop_salvage(path: Path) -> bool:
    """Delete the oldest copy of damaged bytes: records go before what is left of bad ones."""
    with suppress(OSError):
        copies = [(copy.lstat().st_mtime, copy) for copy in path.glob("*/salvage/*.bin")]
        if copies:
            min(copies)[1].unlink()
            return True
    return False


class Supply:
    """Makes segments of one spool and knows those that were filled."""

    def __init__(
        self,
        settings: SpoolSettings,
        clock: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
        mapped: Callable[[Path], bool] = _are_mapped,
        allocate: Callable[[int, int], None] = allocate,
        *,
        late: bool = False,
    ) -> None:
        self.settings = settings
        self.late = late
        self.clock = clock
        self._monotonic = monotonic
        self._mapped = mapped
        self._allocate = allocate
        self.state: Literal["disk", "memory", "degraded"] = "disk" if settings.path else "memory"
        self.home = Home(Path(uuid4().hex), -1, -1)
        self.adopted: dict[Path, Home] = {}
        self.sealed: list[Sealed] = []
        self.positions: dict[str, bytes] = {}
        self.given_up: dict[str, int] = {}  # events evicted, by reason
        self._tried = False
        self._making = 0
        self._map: bool | None = None
        self._number = 1
        self._size = 0
        self._after_memory = False
        self._retry_at = 0.0
        self._full_until = 0.0
        self._no_room = False  # the disk's last error was that it is full,
        self._room_at = 0.0  # and then what waits looks again
        self.unsynced: list[Writable] = []
        self._cooled = 0  # the number of the newest of them whose pages were given back
        self._filled = 0  # bytes of the segment files that are full
        self._warmed = 0  # bytes in all that were filled at the last sync
        self._spare: Writable | None = None
        self._unnamed = False  # there are files whose names may not be on the disk
        self._founded = False  # those of the directories are

    @property
    def wants_disk(self) -> bool:
        """True when memory is in use although a path is set, and the disk may be tried again."""
        return self.state == "degraded" and self._monotonic() >= self._retry_at

    def is_beside_a_full_disk(self, segment: Writable) -> bool:
        """Whether a segment is in memory because there was no room on the disk."""
        return self._no_room and isinstance(segment, MemorySegment)

    def make(self, needed: int, first: int, *, after: int, at_bound: AtBound) -> Writable:
        """Return a fresh segment with room for a frame of `needed` bytes, to follow `after`. Raises Full."""
        self._making += 1
        try:
            needed += DATA + TAIL + (64 + sum(len(k) + len(v) + 16 for k, v in self.positions.items()))
            return self._take_spare(needed, first, after) or self._make(needed, first, at_bound)
        finally:
            self._making -= 1

    def _make(self, needed: int, first: int, at_bound: AtBound) -> Writable:
        waits = at_bound in CAN_WAIT
        on_disk = self.settings.path is not None and (self.state == "disk" or self.wants_disk)
        if waits and self._no_room and (not on_disk or self._monotonic() < self._room_at):
            raise Full("full")
        if on_disk and self._making <= _DEEPEST:
            self._cool(self.unsynced.copy())  # nobody has prepared: a sync that hangs, no processor
            try:
                segment: Writable = self._on_disk(needed, first, at_bound)
            except _UnsettledError:
                pass  # whoever was interrupted is still making the right one
            except OSError as error:
                self._no_room = error.errno in _NO_ROOM
                if waits and self._no_room:
                    self._room_at = self._monotonic() + _RETRY_ROOM
                    text = f"spool {self.settings.path}: {error}; what can be had again waits for room"
                    say("WARNING", text, "spool.room")
                    raise Full("full") from None
                self._retry_at = self._monotonic() + RETRY
                self.state = "degraded"
                say(
                    "WARNING",
                    f"spool {self.settings.path}: {error}; keeping events in memory",
                    "spool.degraded",
                )
            else:
                if self.state == "degraded":
                    say("WARNING", f"spool {self.settings.path}: back on disk", "spool.disk")
                self.state, self._no_room = "disk", False
                return segment
        return self._in_memory(needed, first, evict=at_bound == "evict")

    def make_note(self, first: int) -> Writable:
        """Return a segment for nothing but the note of what was refused, from `first` on.

        A page on disk beyond the bound, like the directory it lies in: the count survives the process.
        """
        home, made = self.home, None
        if home.dir_fd >= 0 and not self.positions:
            with suppress(OSError):
                made = self._new_file(home, _PAGE, first)
        if made is None:
            made = MemorySegment(self.take_number(), home.raw, 256, first, int(self.clock() * 1e9))
            home.memory[made.number] = made
        made.cap = made.fast = 0
        return made

    def prepare(self, current: Writable) -> None:
        """Make the segment that will follow `current` when a quarter of that is filled. Raises OSError.

        For a thread of its own; log calls go on meanwhile.
        """
        self._tidy()
        path, bound, home = self.settings.path, self.settings.max_bytes, self.home
        if path is None or self.state != "disk" or self._spare is not None or home.dir_fd < 0:
            return
        if isinstance(current, MemorySegment) or not 4 * current.pos >= current.capacity > 0:
            return
        with self._path_lock(path):
            size = min(grown(current.capacity, 0, share(path, bound), bound), largest_file())
            if size > bound // 2 - usage(path):
                return
            spare = self._new_file(home, size, 0)
        spare.warm(min(spare.capacity, _READY))  # the rest from sync to sync
        self._spare = spare

    def _tidy(self) -> None:
        """Give back the pages of filled segments, and close those that no sync waits for."""
        keep = _UNSYNCED if self.settings.sync != "never" else 0
        waiting = self.unsynced.copy()
        self._cool(waiting)
        for segment in waiting[:-keep] if keep else waiting:
            with suppress(ValueError):  # synced meanwhile
                self.unsynced.remove(segment)
                segment.close()

    def _cool(self, filled: list[Writable]) -> None:
        """Give back the pages of filled segments, if that was not done."""
        if filled and filled[-1].number != self._cooled:
            for segment in filled:
                segment.cool()
            self._cooled = filled[-1].number

    def drop_spare(self) -> None:
        """Take back the segment that was made ahead."""
        spare, self._spare = self._spare, None  # no call between the two
        if spare is not None:
            self.discard(spare)

    def let_go(self) -> None:
        """Close this process's copy of what a forked child must not keep."""
        if self._spare is not None:
            self._spare.close()

    def _take_spare(self, needed: int, first: int, after: int) -> Writable | None:
        spare, self._spare = self._spare, None  # no call between the two
        if spare is None:
            return None
        if spare.number < after or spare.capacity < needed:
            self.discard(spare)
            return None
        try:
            raw, created = self.home.raw, int(self.clock() * 1e9)
            size = spare.capacity
            header = SegmentHeader(VERSION, self._after_memory, spare.number, raw, first, created, size)
            spare.first = first
            self._begin(spare, first)
            spare.put(0, pack_header(header))  # in use from here on, and then it holds the positions
        except BaseException as error:
            self.discard(spare)
            if isinstance(error, OSError):
                return None
            raise
        return spare

    def placed(self, old: Writable, old_last: int, new: Writable) -> None:
        """Note that `new` has taken the place of `old`, whose last sequence is `old_last`."""
        memory = isinstance(new, MemorySegment)
        self._size = 0 if memory != isinstance(old, MemorySegment) else new.capacity
        self._after_memory = memory
        if not old.capacity:
            return
        was_memory = isinstance(old, MemorySegment)
        entry = Sealed(old.number, old.first, old_last, old.capacity, self.clock(), was_memory)
        self.sealed.append(entry)  # in place, and not from before a call: others take away meanwhile
        if not was_memory:
            self._filled += old.capacity
            self.unsynced.append(old)
            while len(self.unsynced) > _UNCLOSED:
                self.unsynced.pop(0).close()

    def discard(self, segment: Writable) -> None:
        """Take back a segment that was made but lost its race."""
        segment.close()
        with suppress(OSError):
            self.home.remove_segment(segment.number)

    def sync(self, current: Writable) -> None:
        """Put everything on the disk. Raises OSError."""
        waiting, self.unsynced = self.unsynced, []
        self._cool(waiting)  # before the disk is waited for
        for segment in waiting:
            segment.sync()
            segment.close()
        current.sync()
        self._warm(current)
        self._sync_names()

    def _warm(self, current: Writable) -> None:
        """Touch the pages that will be needed until the next sync: by half more than since the last.

        Also where `current` has been in use for a part of that time only: a sync writes and protects the
        pages of a segment made ahead, too, as soon as it is in use.
        """
        at = min(current.pos, current.capacity)
        since, self._warmed = self._filled + at - self._warmed, self._filled + at
        if since > 0:  # what nobody writes to costs nothing
            current.warm(at + since * 3 // 2 + _PAGE)

    def _sync_names(self) -> None:
        if self._unnamed and self.home.dir_fd >= 0:
            self._unnamed = False
            self.home.sync_names(parents=not self._founded)
            self._founded = True

    def expire(self) -> None:
        """Give up sealed segments older than `max_age`."""
        age = self.settings.max_age
        while age is not None and self.sealed and self.sealed[0].at + age < self.clock():
            self._give_up(self.sealed[0], "max_age")

    def keep_memory(self, settled: int, upto: int) -> None:
        """Keep, at the end, what is only in memory behind sequence `settled`; say how many are lost."""
        home = self.home
        if not home.memory or self.settings.path is None:
            return
        with suppress(OSError):
            home = self._settle()
        if lost := keep_memory(home, self.settings, self._allocate, settled, upto):
            say("WARNING", f"spool {self.settings.path}: {lost} events were only in memory and are lost")

    def forget(self, number: int) -> bool:
        """Delete a segment that all cursors passed; False when it was gone already."""
        for entry in [entry for entry in self.sealed if entry.number == number]:
            with suppress(ValueError):  # given up meanwhile
                self.sealed.remove(entry)
        return self.home.remove_segment(number)

    def forget_gone(self) -> None:
        """Forget the sealed segments that another process has deleted; count those that it gave up."""
        there = set(self.home.numbers())  # empty: the directory cannot be read just now
        for entry in [entry for entry in self.sealed if there and entry.number not in there]:
            with suppress(ValueError):  # given up meanwhile
                self.sealed.remove(entry)
                self._count_taken(entry)

    def _count_taken(self, entry: Sealed) -> None:
        for gone in self.home.evicted():
            if gone.first <= entry.last and entry.first <= gone.last:
                count = min(gone.last, entry.last) - max(gone.first, entry.first) + 1
                self.given_up[gone.reason] = self.given_up.get(gone.reason, 0) + count

    def take_number(self) -> int:
        """Return a segment number that nobody else gets."""
        number = self._number
        self._number = number + 1  # no call between the two
        return number

    def _in_memory(self, needed: int, first: int, *, evict: bool) -> Writable:
        reason = "memory_full"
        home = self.home
        bound = self.settings.memory_bytes
        while True:
            room = bound - sum(segment.capacity for segment in list(home.memory.values()))
            size = grown(self._size if self._making < 2 else _SMALL // 2, needed, bound, room)
            if size:
                break
            oldest = next((entry for entry in self.sealed if entry.memory), None)
            if not evict or oldest is None:
                raise Full(reason)
            self._give_up(oldest, reason)
        created = int(self.clock() * 1e9)
        segment = MemorySegment(self.take_number(), home.raw, size, first, created)
        self._begin(segment, first)
        home.memory[segment.number] = segment
        return segment

    def _on_disk(self, needed: int, first: int, at_bound: AtBound) -> Writable:
        path = self.settings.path
        assert path is not None
        now = self._monotonic()
        if now < self._full_until and at_bound != "exceed":
            raise Full("full")
        home = self._settle()
        smallest = -(-max(needed, _SMALL) // 4096) * 4096
        if self._making > 1:
            return self._new_file(home, smallest, first)
        with self._path_lock(path):
            fair = share(path, self.settings.max_bytes)
            while True:
                room = self.settings.max_bytes - usage(path)
                size = grown(self._size, needed, fair, room)
                if size:
                    size = max(-(-needed // 4096) * 4096, min(size, largest_file()))
                    break
                if _drop_salvage(path):
                    continue
                if at_bound == "exceed":
                    size = smallest
                    break
                if at_bound != "evict" or not self._evict_oldest(path):
                    self._full_until = now + _RETRY_FULL
                    raise Full("full")
            try:
                return self._new_file(home, size, first)
            except OSError as error:
                if error.errno not in _NO_ROOM or smallest >= size:
                    raise
                return self._new_file(home, smallest, first)

    def _new_file(self, home: Home, size: int, first: int) -> Writable:
        if self._map is None:
            self._map = self._mapped(home.path)
        number = self.take_number()
        fd = home.create_file(segment_name(number))
        try:
            self._allocate(fd, size)
            created = int(self.clock() * 1e9)
            header = SegmentHeader(VERSION, self._after_memory, number, home.raw, 0, created, size)
            segment = WritableFile(fd, header, mapped=self._map)
            if first:  # in use when the positions are in it, not before
                segment.first = first
                self._begin(segment, first)
                segment.put(0, pack_header(header._replace(first=first)))
        except BaseException:
            os.close(fd)
            home.remove_segment(number)
            raise
        self._unnamed = True
        if self.settings.sync == "always":
            segment.fast = 0
            with suppress(OSError):
                self._sync_names()
        return segment

    def _begin(self, segment: Writable, first: int) -> None:
        """Put all positions at the beginning, so that the newest segment always holds them."""
        segment.opened = self.clock()
        if self.positions:
            frame = encode(segment.salt, POSITIONS, 0, msgspec.msgpack.encode(self.positions), first, 0)
            segment.put(segment.pos, frame)
            segment.pos += len(frame)

    def _settle(self) -> Home:
        """Return the spool's directory, made at the first need. Raises OSError."""
        before = self.home
        if before.dir_fd >= 0:
            return before
        path = self.settings.path
        assert path is not None
        spool = uuid4().hex if self._tried and not before.memory else before.id
        self._tried = True
        made = self._create(path, spool, tries=1 if before.memory else _TRIES)
        try:
            made.memory = before.memory
            strange = made.id != before.id and before.memory
            if self.home is before and not strange:  # no call between this and the next line
                self.home = made
            else:  # an interruption made one first
                made.memory = {}
                made.remove()
                if self.home is before:
                    raise _UnsettledError  # noqa: TRY301 - one clean-up for all
                return self.home
        except BaseException:
            if self.home is not made:
                made.remove()
            raise
        if before.evicted():
            made.write_evicted(before.evicted())
        return made

    def _create(self, path: Path, spool: str, tries: int) -> Home:
        """Make the directory; one that others look at before it is locked is left to them, for another id.

        Its id has a number that no other spool of the service has (`numbers.py`). With one try the id stays.
        """
        place, again = path / file_name(self.settings.service), tries > 1
        lot = 1
        while True:
            tries -= 1
            if again:
                spool = with_free_number(spool, place, lot)
                lot *= 4
            try:
                made = Home.create(
                    path,
                    self.settings.service,
                    spool,
                    group=self.settings.group,
                    started=self.clock(),
                    late=self.late,
                    delivery=self.settings.delivery,
                    yields=self.settings.when_full == "drop_oldest",
                )
            except (FileExistsError, FileNotFoundError):  # taken, or put away in the moment it was made
                if not tries:
                    raise
            else:
                try:
                    if not tries or not shares_number(spool, place):
                        return made
                except BaseException:  # of a signal handler
                    made.remove()
                    raise
                made.remove()
            spool = uuid4().hex

    @contextmanager
    def _path_lock(self, path: Path) -> Iterator[None]:
        """Hold the path's lock, or after 20 ms go without: a stopped process must not stop the others."""
        fd = os.open(path / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with moment(fd):
            for _ in range(20):
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(0.001)
            yield

    def _evict_oldest(self, path: Path) -> bool:
        """Give up the oldest segment of who should (`share.py`); False when there is none."""
        if evict_dead(path, self.adopted) or take_from_siblings(path, self.home, self.settings.max_bytes):
            return True
        self.forget_gone()  # others take from here, too
        own = next((entry for entry in self.sealed if not entry.memory), None)
        if own is None:
            return False
        self._give_up(own, "full")
        return True

    def _give_up(self, entry: Sealed, reason: str) -> None:
        with suppress(ValueError):
            self.sealed.remove(entry)
        home = self.home
        if home.dir_fd >= 0:
            gone = home.evict(entry.number, entry.first, entry.last, reason)
        else:
            home.note(merged([*home.evicted(), Evicted(entry.first, entry.last, reason)]))
            gone = home.remove_segment(entry.number)
        if gone:
            self.given_up[reason] = self.given_up.get(reason, 0) + entry.last - entry.first + 1
