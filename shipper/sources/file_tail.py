"""One file on its way: what has been read of it, and where its next line begins.

Rules:
- `offset` is behind the last line that was appended, `at` behind the last byte that was read. Closed for want
  of descriptors, a file is read again from `offset`.
- After each read the file's first bytes, and those before the place that was read, are looked at again: what
  was truncated and has grown beyond that place since is another file. What was read then is not taken.
- A record may begin at the end of one file and go on in the next (`file_succession.py`): then the next one
  holds its lines, and when they are appended both places move at once. Until then the first is not read.
"""

from __future__ import annotations

import codecs
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ..core.tail import FINGERPRINT_BYTES, TAIL_BYTES, Position, fingerprint
from ..floor import FLOOR

if TYPE_CHECKING:
    from ..core.block import Block
    from .file_feed import Feed
    from .file_places import Places

__all__ = ["CHUNK", "ChangedError", "Tail"]

CHUNK: Final = 256 * 1024
_PEEK: Final = 64 * 1024  # bytes of a file in which its first line has to end, to be looked at
_PROOF: Final = 64  # bytes before a place that show that it is the same file


class ChangedError(Exception):
    """The file holds another content than before."""


@dataclass(slots=True)
class _Debt:
    """Bytes of another file that are held by the one after it."""

    lender: Tail
    owed: int


class Tail:
    """A file that is followed. `fresh` makes the feed that it begins with, and after each closing.

    `mark` tells how long the byte order mark is that a beginning has: it is passed over.
    """

    def __init__(
        self,
        path: str,
        facts: os.stat_result,
        places: Places,
        part: str,
        fresh: Callable[[bytes], Feed],
        mark: Callable[[bytes], int],
    ) -> None:
        self.path = path
        self.key = facts.st_dev, facts.st_ino
        self.part = part
        self.offset = self.at = 0
        self.grown = time.monotonic()
        self.due = 0.0  # when it is looked at next
        self.left = 0.0  # since when its name is another file's, or nobody's
        self.copy_of = ""  # the life that it goes on from
        self.over = False  # the file holds another content
        self.quiet = False  # watched, or known to be at its end: not looked at until something happens
        self.before: Tail | None = None  # what stood under its name: its last record may go on here
        self.asked = 0.0  # since when it waits for that
        self.lent_to: Tail | None = None
        self.debts: list[_Debt] = []
        self.file: int | None = None
        self._places = places
        self._fresh = fresh
        self._mark = mark
        self._head = b""
        self._print = ""
        self._chunk = b""  # what stands before `at`: the last that was read, never copied,
        self._before = b""  # and some of what stands before that
        self.feed: Feed

    def open(self, file: int, offset: int) -> None:
        """Go on at `offset` of an open descriptor, which is this object's from now on."""
        self.file = file
        self._set_head(os.pread(file, FINGERPRINT_BYTES, 0))
        offset = max(offset, self._mark(self._head))
        self.offset = self.at = offset
        length = min(offset, TAIL_BYTES)
        self._before = os.pread(file, length, offset - length) if length else b""
        self._chunk = b""
        self.feed = self._fresh(self._head)

    def close(self) -> None:
        """Let go of the descriptor."""
        if self.file is not None:
            os.close(self.file)
            self.file = None

    def position(self) -> Position:
        """Return how far it has been appended."""
        tail = self._last(TAIL_BYTES, self.at - self.offset)
        return Position(
            self.path,
            *self.key,
            self._print,
            len(self._head),
            self.offset,
            fingerprint(tail) if tail else "",
            len(tail),
            over=self.over,
        )

    def length(self) -> int:
        """Return how long the file is now, and note whether it has left its name; mostly one system call."""
        try:
            here = os.stat(self.path)  # noqa: PTH116 - half of what `Path.stat` costs, for each file at each look
        except OSError:
            gone = True
        else:
            gone = (here.st_dev, here.st_ino) != self.key
            if not gone:
                self.left = 0.0
                return here.st_size
        self.left = self.left or time.monotonic()
        return self.at if self.file is None else os.fstat(self.file).st_size

    def read(self, limit: int) -> int:
        """Read and append what is new, so many bytes at most; return how many. Raises ChangedError."""
        assert self.file is not None
        done = 0
        while done < limit:
            chunk = os.pread(self.file, min(CHUNK, limit - done), self.at)
            if not chunk:
                break
            if not self.same():
                raise ChangedError
            done += len(chunk)
            self.at += len(chunk)
            self._before, self._chunk = self._last(TAIL_BYTES), chunk
            with FLOOR:
                self._append(self.feed.feed(chunk))
        return done

    def same(self) -> bool:
        """Whether the file holds still what was read of it."""
        assert self.file is not None
        head = os.pread(self.file, FINGERPRINT_BYTES, 0)
        if not head.startswith(self._head):
            return False
        proof = self._last(_PROOF)
        if proof and os.pread(self.file, len(proof), self.at - len(proof)) != proof:
            return False
        if len(self._head) < FINGERPRINT_BYTES:
            self._set_head(head)
        return True

    def begins_with(self, head: bytes) -> bool:
        """Whether it begins as another file does that is shorter, and goes no further yet."""
        return len(head) < len(self._head) and self._head.startswith(head)

    @property
    def is_new(self) -> bool:
        """Whether nothing has been taken of it, but a byte order mark."""
        return self.at == self.offset <= len(codecs.BOM_UTF8) and not self.copy_of

    def is_at(self, position: Position) -> bool:
        """Whether it is a file, with a content, that was left here."""
        here = position.device, position.inode, position.offset, position.fingerprint
        return (*self.key, self.offset, self._print) == here

    def is_at_end(self) -> bool:
        """Whether all there is was read, as far as it can be."""
        return self.file is None or os.fstat(self.file).st_size <= self.at

    def first_line(self) -> bytes | None:
        """Return the first line that is still to be read; None: its end is not there yet."""
        assert self.file is not None
        return self.feed.first_line(os.pread(self.file, _PEEK, self.at))

    def take_over(self, before: Tail) -> None:
        """Go on with the record that another file ends with."""
        owed = before.feed.hand_over(self.feed)
        own = owed - sum(debt.owed for debt in before.debts)
        self.debts, before.debts = [*before.debts, _Debt(before, own)], []
        for debt in self.debts:
            debt.lender.lent_to = self

    def settle(self) -> bool:
        """Append the record that this file holds for another, or another for it; False: there is none."""
        holder = self.lent_to or (self if self.debts else None)
        if holder is None:
            return False
        holder.join_rest()
        return True

    def go_to(self, offset: int) -> None:
        """Begin at another place than the one it was opened at."""
        assert self.file is not None
        self.open(self.file, offset)
        self._places.store(self.part, self.position())

    def join_rest(self) -> None:
        """Append the lines that were waited with."""
        self._append(self.feed.joined())

    def finish(self) -> None:
        """Append the last line although it has no end: there will be none."""
        self._append(self.feed.rest())

    def rest(self) -> None:
        """Close it to make room; what was read and not appended is read again, after `reopen`."""
        self.join_rest()
        self._before, self._chunk = self._last(TAIL_BYTES, self.at - self.offset), b""
        self.at = self.offset
        self.feed = self._fresh(self._head)
        self.close()

    def reopen(self) -> bool:
        """Open it again; False: its name is another file's by now. Raises OSError, and ChangedError."""
        file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        facts = os.fstat(file)
        if (facts.st_dev, facts.st_ino) != self.key:
            os.close(file)
            return False
        self.file = file
        if facts.st_size < self.at or not self.same():
            raise ChangedError
        return True

    def heir(self, part: str) -> Tail:
        """Return what reads the file's other content from its start on, with the descriptor of this one."""
        assert self.file is not None
        heir = Tail(self.path, os.fstat(self.file), self._places, part, self._fresh, self._mark)
        heir.open(self.file, 0)
        self.file, self.over = None, True
        self._places.end(self.part)
        return heir

    def _last(self, length: int, behind: int = 0) -> bytes:
        """Return what stands so many bytes before `at`, as far as it is known."""
        end = len(self._chunk) - behind
        if end >= length:
            return self._chunk[end - length : end]
        known = self._before + self._chunk[:end] if end >= 0 else self._before[:end]
        return known[-length:]

    def _append(self, blocks: Iterable[tuple[Block, int]]) -> None:
        for block, taken in blocks:
            if self.debts:
                self._append_lent(block, taken)
                continue
            self.offset += taken
            if block:
                self._places.store(self.part, self.position(), block)

    def _append_lent(self, block: Block, taken: int) -> None:
        """Append what began in other files."""
        for debt in self.debts:
            paid = min(debt.owed, taken)
            debt.owed -= paid
            debt.lender.offset += paid
            taken -= paid
        self.offset += taken
        lenders = [(debt.lender.part, debt.lender.position()) for debt in self.debts]
        self._places.store(self.part, self.position(), block, lenders)
        for debt in self.debts:
            if not debt.owed:
                debt.lender.lent_to = None
        self.debts = [debt for debt in self.debts if debt.owed]

    def _set_head(self, head: bytes) -> None:
        if head != self._head or not self._print:
            self._head, self._print = head, fingerprint(head)
