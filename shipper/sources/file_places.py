"""How far each file has been read: all positions, in memory and, with each append, in the spool.

Rules:
- A position belongs to one content of one file (a life): truncated, or its inode used again, a file begins
  another. The old life's position stays, for a copy of it may turn up: copy-and-truncate, or compressed.
- A life's number is in its part's name; parts of one digit pair (`device-inode`) are of an older version.
- A record that began in one life and ended in the next moves both: the append holds both positions, under the
  part of the next. Then the first one's is stored under its own; a kill in between is made up for at start.
- Of lives that are gone the newest `_GONE` are kept. In between two appends nothing is stored, so what is in
  the spool is what was read, to the byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from ..core.tail import Position, decode, decode_lenders, encode, fingerprint, is_copy_name, resume

if TYPE_CHECKING:
    from ..ports import Appender

__all__ = ["Places"]

_GONE: Final = 1_000


class Places:
    """The positions of one source."""

    def __init__(self, source: str, appender: Appender) -> None:
        self._source = source
        self._appender = appender
        self._held: dict[str, Position] = {}
        self._inodes: dict[int, dict[str, None]] = {}
        self._heads: dict[int, dict[str, dict[str, None]]] = {}  # fingerprint's length → fingerprint → parts
        self._number = 0
        lenders: list[tuple[str, Position]] = []
        for part, stored in appender.positions().items():
            for position in decode(stored):
                self._note(part, position)
            lenders += decode_lenders(stored)
            number = part.rpartition("-")[2] if part.count("-") == 2 else ""
            if number.isdecimal():
                self._number = max(self._number, int(number))
        for part, position in lenders:
            held = self._held.get(part)
            if held is None or held.offset < position.offset:
                self.store(part, position)

    def __len__(self) -> int:
        return len(self._held)

    def get(self, part: str) -> Position | None:
        """Return the position of a life."""
        return self._held.get(part)

    def fresh(self, device: int, inode: int) -> str:
        """Return the part of a new life of a file."""
        self._number += 1
        return f"{device:x}-{inode:x}-{self._number}"

    def store(
        self,
        part: str,
        position: Position,
        lines: Sequence[bytes] = (),
        lenders: Sequence[tuple[str, Position]] = (),
    ) -> None:
        """Append lines with the position behind them, and those of the lives in which the first one began."""
        self._appender.append(lines, encode(self._source, [position], lenders), part)
        self._note(part, position)
        for lender, lent in lenders:
            self.store(lender, lent)

    def end(self, part: str) -> None:
        """Note that a life is over although its file is there."""
        position = self._held.get(part)
        if position is not None and not position.over:
            self.store(part, position.ended())

    def of_file(
        self, device: int, inode: int, size: int, read: Callable[[int, int], bytes]
    ) -> tuple[str, Position] | None:
        """Return the life that a file still leads; what else led one under its inode does so no more."""
        mine = {part: self._held[part] for part in self._inodes.get(inode, ())}
        mine = {part: position for part, position in mine.items() if not position.over}
        best = resume(mine.values(), device, inode, size, read)
        found = None
        for part, position in mine.items():
            if position is best:
                found = part, position
            elif position.device == device:
                self.end(part)
        return found

    def packed_before(self, device: int, inode: int) -> list[tuple[str, Position]]:
        """Return the lives of a compressed file that was known before."""
        mine = [(part, self._held[part]) for part in self._inodes.get(inode, ())]
        return [(part, position) for part, position in mine if position.packed and position.device == device]

    def copied(self, path: str, head: bytes, *, packed: bool) -> Iterator[tuple[str, Position]]:
        """Yield the lives that a file with this name and beginning may be a copy of."""
        for length, prints in self._heads.items():
            if length > len(head):
                continue
            for part in prints.get(fingerprint(head[:length]), ()):
                position = self._held[part]
                if position.offset and is_copy_name(path, position.path, packed=packed):
                    yield part, position

    def forget(self, here: Iterable[tuple[int, int]]) -> None:
        """Drop the oldest positions of what is gone, once there are many; `here` are the files there are."""
        if len(self._held) <= _GONE:
            return
        there = set(here)
        gone = [
            part for part, held in self._held.items() if held.over or (held.device, held.inode) not in there
        ]
        for part in gone[:-_GONE]:
            self._appender.append([], b"", part)
            self._drop(part)

    def _note(self, part: str, position: Position) -> None:
        held = self._held.get(part)
        if held is not None and (held.fingerprint, held.inode) == (position.fingerprint, position.inode):
            self._held[part] = position
            return
        if held is not None:
            self._drop(part)
        self._held[part] = position
        self._inodes.setdefault(position.inode, {})[part] = None
        self._heads.setdefault(position.length, {}).setdefault(position.fingerprint, {})[part] = None

    def _drop(self, part: str) -> None:
        held = self._held.pop(part)
        self._inodes[held.inode].pop(part)
        if not self._inodes[held.inode]:
            del self._inodes[held.inode]
        prints = self._heads[held.length]
        prints[held.fingerprint].pop(part)
        if not prints[held.fingerprint]:
            del prints[held.fingerprint]
        if not prints:
            del self._heads[held.length]
