"""One sink's place in one spool, with its books.

Rules
- Books count every sequence below the place exactly once: what the worker says about those it read, and the
  gaps that the reader found. Hence `accepted = delivered + pending + dead_lettered + filtered + dropped`.
- `accepted` counts from the spool's first sequence, for every sink. What was gone before a new sink's
  cursor began was never meant for it: `filtered["before"]`; unless it had been given up: `dropped`, with
  that reason. What transforms left out is `filtered` for every sink.
- A gap enters the books when everything before it is committed; when nothing is left to commit, `read`
  itself does it. So a spool whose end is a gap is drained all the same, and a segment that was passed can
  go.
- Place and books are saved in one write; a place in the books may lie before what is committed (a block's
  start): what is read again there is passed over by its sequence.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

import msgspec

from ..diagnostics import say
from ..model import Account, Batch
from ..ports import Outcome
from .books import Books, BooksFile
from .directory import Home, Shelf
from .reader import FILTERED, Place, Reader
from .segment import DATA

__all__ = ["SpoolCursor"]

_SALVAGE_BYTES = 4 << 20


class SpoolCursor:
    """Implements `ports.Cursor`. `home` is asked each time: a spool may find its directory late.

    `last` returns the last sequence that the spool gave out.
    """

    def __init__(
        self,
        shelf: Shelf,
        sink: str,
        *,
        home: Callable[[], Home],
        last: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sink = sink
        self._shelf = shelf
        self._home = home
        self._last = last
        self._file = BooksFile(sink)
        self._books = self._file.load(home()) or Books(offset=DATA)
        self._reader = Reader(shelf, self._place(), salvage=self._salvage, last=last, clock=clock)
        self.closed = False

    def _place(self) -> Place:
        return Place(self._books.segment, max(self._books.offset, DATA), self._books.sequence)

    @property
    def spool(self) -> str:
        """The spool's id, 32 hex digits."""
        return self._shelf.id

    @property
    def segment(self) -> int:
        """The number of the segment that the committed place lies in; 0: not begun."""
        return self._books.segment

    @property
    def drained(self) -> bool:
        """True when the owner is gone and everything in the spool has been committed."""
        reader = self._reader
        if self._shelf.alive():
            return False
        if not reader.ended and self._books.sequence == reader.next and not reader.gaps:
            self.read(0, 0)  # looks for an end without taking anything
        return reader.ended and self._books.sequence >= reader.next and not reader.gaps

    @property
    def done(self) -> bool:
        """True when all that was given out is in the books and no more will be; safe from any thread."""
        return not self._shelf.alive() and self._books.sequence > self._last()

    def read(self, max_events: int, max_bytes: int, overhead: int = 0) -> Batch | None:
        """Return the next events, or None. Never blocks; see `ports.Cursor`."""
        reader = self._reader
        first, lines = reader.read(max_events, max_bytes, overhead)
        if lines:
            return Batch(
                self._shelf.id,
                range(first, first + len(lines)),
                lines,
                longest=reader.longest,
                beside=tuple(reader.beside),
            )
        done = self._books.sequence
        for gap in reader.gaps:
            if gap.first != done:
                break
            done = gap.last + 1
        moved = reader.here().segment != self._books.segment and self._books.sequence == reader.next
        if done != self._books.sequence or moved:
            self.commit(self._books.sequence - 1, Outcome())
        return None

    def violations(self) -> Mapping[int, str]:
        """Return, for events of the last `read` that broke the schema, sequence → reason."""
        return self._reader.violations

    def commit(self, upto: int, outcome: Outcome) -> None:
        """Move behind sequence `upto`, add `outcome` to the books, save both in one write."""
        reader = self._reader
        books = msgspec.structs.replace(  # a copy, so that accounts taken meanwhile balance
            self._books, filtered=dict(self._books.filtered), dropped=dict(self._books.dropped)
        )
        books.delivered += outcome.delivered
        books.dead_lettered += outcome.dead_lettered
        books.retried += outcome.retried
        books.duplicates += outcome.duplicates
        for mine, theirs in ((books.filtered, outcome.filtered), (books.dropped, outcome.dropped)):
            for reason, count in theirs.items():
                mine[reason] = mine.get(reason, 0) + count
        books.sequence = max(books.sequence, upto + 1)
        while reader.gaps and reader.gaps[0].first <= books.sequence:
            gap = reader.gaps.pop(0)
            for reason, count in gap.reasons.items():
                target = books.filtered if reason in FILTERED else books.dropped
                target[reason] = target.get(reason, 0) + count
            books.sequence = max(books.sequence, gap.last + 1)
        place = reader.settle(books.sequence)
        books.segment, books.offset = place.segment, place.offset
        self._books = books
        self._save()

    def begin(self) -> None:
        """Make the cursor file, if there is none."""
        home = self._home()
        if home.dir_fd >= 0 and not self._file.there:
            self._file.save(home, self._books)

    def rewind(self) -> None:
        """Read again from the committed place."""
        self._reader.seek(self._place())

    def account(self) -> Account:
        """Return the books, with what is pending."""
        return self._books.account(self._last())

    def close(self) -> None:
        """Let go of files."""
        if not self.closed:
            self.closed = True
            self._reader.close()
            self._file.close()

    def _save(self) -> None:
        home = self._home()
        if home.dir_fd >= 0 and not self._file.save(home, self._books):
            say(
                "WARNING",
                f"spool {home.path}: the place of sink {self.sink!r} could not be saved; "
                "after a restart some events are delivered again",
                f"spool.cursor.{self.sink}",
            )

    def _salvage(self, number: int, at: int, data: bytes) -> None:
        """Keep a copy of damaged bytes beside the spools, bounded; the first sink to come by makes it."""
        home = self._home()
        if home.dir_fd < 0:
            return
        folder = home.path.parent / "salvage"
        with suppress(OSError):
            folder.mkdir(mode=0o700, exist_ok=True)
            held = sum(entry.stat().st_size for entry in os.scandir(folder))
            if held + len(data) <= _SALVAGE_BYTES:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                fd = os.open(folder / f"{home.id}-{number:08d}-{at}.bin", flags, 0o600)
                try:
                    os.write(fd, data)
                finally:
                    os.close(fd)
