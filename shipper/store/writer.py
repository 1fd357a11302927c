"""Appends batches to a store's fresh files: durable when `write` has returned `Delivered`, once in effect.

Rules:

- One file per spool, named by its first sequence. Every append happens under an exclusive flock of the file,
  and only after making sure that it is still the file of that name (a compactor may have sealed it) and has
  the length that this writer left it with. If not, the file is examined from its beginning.
- What is stored already is known by sequence: the end of the open file, the names of the sealed ones, the
  manifest's high-water marks. Events at or below it are not written again; they count as duplicates.
- An append that fails is cut off again, and the batch is answered with `Retry`: nothing of it counts. If
  even the cut fails, the examination before the next append finds what is whole and keeps it.
- The examination keeps the whole, growing, NUL-free lines of this spool from the start of the file (a power
  cut leaves holes of zeros) and cuts the rest: it was never acknowledged.
- At most `OPEN_FILES` are kept open, those written last: an adopted spool is written for a while and never
  again. What is forgotten of a spool is read again from the names when it comes back.
- A forked child lets go of the files at once: an inherited descriptor would keep a dead parent's flock.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
import weakref
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ..model import ID_FRONT, Batch, Delivered, Retry, Verdict
from .layout import FreshFile, Layout, StoreError, sync_directory

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["StoreWriter", "frame", "seal", "whole"]

ROLL_BYTES: Final = 32 * 1024 * 1024
ROLL_AGE: Final = 120.0
OPEN_FILES: Final = 8

_MENDED_BY_PEOPLE: Final = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EACCES: "no permission",
    errno.EPERM: "no permission",
    errno.EROFS: "the file system is read-only",
}
# fdatasync also writes the new length of the file, which is all of the metadata that matters; macOS lacks it.
_sync: Final[Callable[[int], None]] = getattr(os, "fdatasync", os.fsync)


def frame(batch: Batch, start: int = 0) -> bytes:
    """Return the lines of a batch from index `start`, each with its `event_id` put in front."""
    head = b'{"event_id":"%b-' % batch.spool.encode()
    line = head.replace(b"%", b"%%") + b'%d",%b\n'
    numbers, lines = batch.sequences[start:], batch.lines[start:]
    if batch.carries:  # their own id gives way to that of their place here, and stays beside it
        lines = [b'{"origin_id":"' + e[len(ID_FRONT) :] if e.startswith(ID_FRONT) else e for e in lines]
    if b"{}" in lines:  # the one object in which a comma would have nothing to separate
        return b"".join(
            [
                line % (n, e[1:]) if e != b"{}" else head + b'%d"}\n' % n
                for n, e in zip(numbers, lines, strict=True)
            ]
        )
    return b"".join([line % (n, event[1:]) for n, event in zip(numbers, lines, strict=True)])


def whole(file: Iterable[bytes], spool: str) -> tuple[int, int]:
    """Return how many bytes of a fresh file are whole lines of `spool`, and the last sequence (0: none).

    Line by line: a file read whole leaves holes of its size in the allocator of each process that goes on
    with what others left.
    """
    head = b'{"event_id":"%b-' % spool.encode()
    good, last = 0, 0
    for line in file:
        digits = line[len(head) : line.find(b'"', len(head))]
        # Not whether it is JSON: a malformed line that was acknowledged stays, and so does what follows it.
        sound = line.startswith(head) and digits.isdigit() and int(digits) > last
        if not sound or line[-1:] != b"\n" or b"\0" in line:
            break
        good, last = good + len(line), int(digits)
    return good, last


def seal(file: FreshFile) -> FreshFile | None:
    """Close a file for good: cut what is not whole, name it by its last sequence; an empty one is removed.

    None when there is nothing left, or when somebody is writing it just now. Raises OSError.
    """
    try:
        fd = os.open(file.path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _is_still(fd, file.path):
            return None
        return _seal(fd, file, _examine(fd, file.spool)[1])
    except BlockingIOError:
        return None
    finally:
        os.close(fd)


def _seal(fd: int, file: FreshFile, last: int) -> FreshFile | None:
    if not last:
        file.path.unlink()
        return None
    _sync(fd)
    sealed = file.sealed_as(last)
    file.path.rename(sealed.path)
    sync_directory(sealed.path.parent)
    return sealed


def _examine(fd: int, spool: str) -> tuple[int, int]:
    """Cut what is not whole; return length and last sequence. What is kept is made durable."""
    size = os.fstat(fd).st_size
    with os.fdopen(os.dup(fd), "rb") as file:
        file.seek(0)
        good, last = whole(file, spool)
    if good != size:
        os.ftruncate(fd, good)
    _sync(fd)
    return good, last


def _is_still(fd: int, path: Path) -> bool:
    """Tell whether an open file is still the one of that name."""
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    opened = os.fstat(fd)
    return (named.st_ino, named.st_dev) == (opened.st_ino, opened.st_dev)


@dataclass(slots=True)
class _Open:
    """A file this writer has open, and what it knows of it."""

    file: FreshFile
    fd: int
    size: int
    last: int
    since: float


class StoreWriter:
    """Writes batches of any number of spools into one store. For one thread.

    `roll_bytes`, `roll_age` (seconds): when a file is sealed. `on_seal` is called after each sealing.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        roll_bytes: int = ROLL_BYTES,
        roll_age: float = ROLL_AGE,
        clock: Callable[[], float] = time.monotonic,
        on_seal: Callable[[], None] | None = None,
    ) -> None:
        self.layout = layout
        self._roll_bytes, self._roll_age = roll_bytes, roll_age
        self._clock, self._on_seal = clock, on_seal
        self._open: dict[str, _Open] = {}
        self._marks: dict[str, int] = {}
        _writers.add(self)

    def write(self, batch: Batch) -> Verdict:
        """Store a batch. `Delivered`: on the disk, with what had been there counted as duplicates."""
        if not batch.lines:
            return Delivered()
        try:
            return self._write(batch)
        except BlockingIOError:
            return Retry(
                f"{self.layout.fresh}: another process holds the file of spool {batch.spool}", after=0.2
            )
        except (OSError, StoreError) as error:
            self._forget(batch.spool)
            reason = _MENDED_BY_PEOPLE.get(error.errno or 0) if isinstance(error, OSError) else None
            return Retry(f"{self.layout.path}: {reason or error}", pause=reason is not None)

    def close(self) -> None:
        """Close all files. They stay unsealed, and are gone on with at the next start."""
        for spool in list(self._open):
            self._forget(spool)

    def _write(self, batch: Batch) -> Verdict:
        held = self._hold(batch)
        try:
            start = bisect_right(batch.sequences, self._marks.get(batch.spool, 0))
            if start < len(batch):
                self._append(held, frame(batch, start))
                held.last = self._marks[batch.spool] = batch.sequences[-1]
            if held.last and (held.size >= self._roll_bytes or self._clock() - held.since >= self._roll_age):
                self._roll(held)
        finally:
            if self._open.get(batch.spool) is held:
                fcntl.flock(held.fd, fcntl.LOCK_UN)
        return Delivered(duplicates=start)

    def _hold(self, batch: Batch) -> _Open:
        """Return the spool's file, locked and examined, with the mark of what is stored up to date."""
        held = self._open.get(batch.spool)
        if held is not None:
            fcntl.flock(held.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(held.fd, held.file.path):
                self._open[batch.spool] = self._open.pop(batch.spool)  # the last one: written just now
                if os.fstat(held.fd).st_size != held.size:
                    held.size, held.last = _examine(held.fd, batch.spool)
                    self._marks[batch.spool] = max(held.last, self._stored(batch.spool)[0])
                return held
            self._forget(batch.spool)
        return self._reopen(batch)

    def _reopen(self, batch: Batch) -> _Open:
        self.layout.create()
        # Sealed by somebody else, perhaps gone: an open file keeps its room on the disk.
        gone = [spool for spool, held in self._open.items() if not _is_still(held.fd, held.file.path)]
        for spool in gone:
            self._forget(spool)
        mark, file = self._stored(batch.spool)
        first = batch.sequences[min(bisect_right(batch.sequences, mark), len(batch) - 1)]
        file = file or self.layout.new_fresh(batch.spool, max(first, mark + 1))
        fd = os.open(file.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _is_still(fd, file.path):
                raise BlockingIOError(file.path)  # noqa: TRY301 - sealed between listing and opening: as if held
            size, last = _examine(fd, batch.spool)
            sync_directory(self.layout.fresh)
        except BaseException:
            os.close(fd)
            raise
        while len(self._open) >= OPEN_FILES:
            self._forget(next(iter(self._open)))
        self._marks[batch.spool] = max(mark, last)
        held = self._open[batch.spool] = _Open(file, fd, size, last, self._clock())
        return held

    def _stored(self, spool: str) -> tuple[int, FreshFile | None]:
        """Return the last sequence that names and manifest know of, and the spool's open file if any."""
        mine = [file for file in self.layout.list_fresh() if file.spool == spool]
        manifest = self.layout.read_manifest()  # after the listing: what is gone from there is in here
        mark = max((file.last or 0 for file in mine), default=0)
        mark = max(mark, manifest.high_water.get(spool, (0, 0.0))[0])
        unsealed = [file for file in mine if file.last is None and not manifest.consumed(file)]
        return mark, unsealed[-1] if unsealed else None

    def _append(self, held: _Open, data: bytes) -> None:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(held.fd, view) :]
            _sync(held.fd)
        except OSError:
            # After a failed sync nobody knows which pages are written: cut, so the retry writes anew.
            os.ftruncate(held.fd, held.size)
            raise
        held.size += len(data)

    def _roll(self, held: _Open) -> None:
        _seal(held.fd, held.file, held.last)
        self._forget(held.file.spool)
        if self._on_seal is not None:
            self._on_seal()

    def _forget(self, spool: str) -> None:
        self._marks.pop(spool, None)
        held = self._open.pop(spool, None)
        if held is not None:
            os.close(held.fd)


_writers: weakref.WeakSet[StoreWriter] = weakref.WeakSet()


def _after_fork() -> None:
    for writer in _writers:
        writer.close()


os.register_at_fork(after_in_child=_after_fork)
