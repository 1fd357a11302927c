"""Rows of bytes that are alike but for some columns: made for many events with a few calls.

A row is a template with holes. All rows stand in one buffer, a multiple of eight bytes apart, and each column
is copied into its hole in all of them at once, eight bytes of each or one.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import Final

__all__ = ["Rows", "parted"]

_LOW: Final = b"".join([b"%03d" % low for low in range(1000)]) * 2


class Rows:
    """Rows that grow piece by piece, all of them by the same number of bytes."""

    def __init__(self) -> None:
        self._template = bytearray()
        self._columns: list[tuple[int, bytes, int, int]] = []

    @property
    def size(self) -> int:
        """The bytes of a row."""
        return len(self._template)

    def same(self, piece: bytes) -> None:
        """Add bytes that all rows have."""
        self._template += piece

    def column(self, held: bytes, width: int, pitch: int = 0) -> None:
        """Add `width` bytes for each row: they stand `pitch` bytes apart in `held` (0: joined)."""
        self._columns.append((len(self._template), held, width, pitch or width))
        self._template += bytes(width)

    def numbers(self, first: int, count: int) -> None:
        """Add consecutive numbers from `first` on, of which all have as many digits."""
        thousand, low = divmod(first, 1000)
        if not thousand or low + count > 2000:
            digits = b"".join([b"%d" % number for number in range(first, first + count)])
            self.column(digits, len(digits) // count)
            return
        more = low + count - 1000
        if more <= 0:
            self.same(b"%d" % thousand)
        else:
            head, after = b"%d" % thousand, b"%d" % (thousand + 1)
            self.column(head * (count - more) + after * more, len(head))
        self.column(_LOW[3 * low : 3 * (low + count)], 3)

    def made(self, count: int) -> tuple[bytes, ...]:
        """Return `count` rows."""
        size = len(self._template)
        pitch = (size + 7) // 8 * 8
        rows = bytearray((self._template + bytes(pitch - size)) * count)
        view, last = memoryview(rows), count - 1
        for at, held, width, step in self._columns:
            eights = width // 8 * 8 if step % 8 == 0 else 0
            for done in range(0, eights, 8):
                hole = view[at + done : at + done + last * pitch + 8].cast("Q")
                source = memoryview(held)[done : done + last * step + 8].cast("Q")
                hole[:: pitch // 8] = source[:: step // 8]
            for done in range(eights, width):
                rows[at + done :: pitch] = held[done::step]
        return _struct(size, pitch, count).unpack(rows)


def parted(held: bytes, length: int, start: int, count: int) -> tuple[bytes, ...]:
    """Return some of the texts of one length that are joined."""
    return _struct(length, length, count).unpack_from(held, length * start)


@lru_cache(64)
def _struct(length: int, pitch: int, count: int) -> Struct:
    return Struct(f"{length}s{pitch - length}x" * count)
