r"""Splitting bytes into lines: what is fed whole, in pieces or byte by byte gives the same lines.

Rules:
- A line ends with `\n`, which is not part of it; a `\r` before it stays (it is the parser's to strip).
- A line longer than `max_line_bytes` is cut there: a `CutLine` that knows how many bytes it lost. The rest is
  skipped as it comes in, never held.
- `size(line)` is what a line took in the file; sizes of lines given out and `pending` add up to what was fed.
  What was written in another encoding knows it (`took`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Self

__all__ = ["CutLine", "LineSplitter", "RecodedLine", "size", "sizes"]

_PLAIN: Final = frozenset((bytes,))


class CutLine(bytes):
    """A line that was too long: its beginning, and the number of bytes that are missing behind it."""

    lost: int
    took: int

    def __new__(cls, line: bytes, lost: int, took: int | None = None) -> Self:
        """Mark `line` as having lost `lost` bytes."""
        self = super().__new__(cls, line)
        self.lost = lost
        self.took = len(line) + 1 + lost if took is None else took
        return self


class RecodedLine(bytes):
    """A line in UTF-8 that was something else in the file, where it took `took` bytes with its break."""

    took: int

    def __new__(cls, line: bytes, took: int) -> Self:
        """Note what `line` took."""
        self = super().__new__(cls, line)
        self.took = took
        return self


def size(line: bytes) -> int:
    """Return the bytes that a line given out by the splitter took, line break included."""
    return line.took if isinstance(line, CutLine | RecodedLine) else len(line) + 1


def sizes(lines: Sequence[bytes]) -> int:
    """Return the bytes that lines given out by the splitter took together."""
    if not _PLAIN.issuperset(map(type, lines)):
        return sum(map(size, lines))
    return sum(map(len, lines)) + len(lines)


class LineSplitter:
    """Splits a stream of bytes into lines of at most `max_line_bytes`."""

    __slots__ = ("_lost", "_max", "_rest")
    newline = 1  # the bytes that a line break takes

    def __init__(self, max_line_bytes: int) -> None:
        self._max = max_line_bytes
        self._rest = b""
        self._lost = 0

    @property
    def pending(self) -> int:
        """The bytes fed that belong to a line without its end yet."""
        return len(self._rest) + self._lost

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that `chunk` completes, in order."""
        lost = self._lost
        if lost:  # inside a line that is too long already: look for its end only
            end = chunk.find(b"\n")
            if end < 0:
                self._lost += len(chunk)
                return []
            first: list[bytes] = [CutLine(self._rest, lost + end)]
            self._rest, self._lost = b"", 0
            return first + self.feed(chunk[end + 1 :])
        lines = (self._rest + chunk).split(b"\n") if self._rest else chunk.split(b"\n")
        rest = lines.pop()
        limit = self._max
        self._lost = max(0, len(rest) - limit)
        self._rest = rest[:limit] if self._lost else rest
        if lines and max(map(len, lines)) > limit:
            return [
                line if len(line) <= limit else CutLine(line[:limit], len(line) - limit) for line in lines
            ]
        return lines

    def complete(self, chunk: bytes) -> bytes | None:
        """Return the lines that `chunk` completes as they stand, each with its break.

        None: one of them may be too long, and nothing was taken.
        """
        rest = self._rest
        end = chunk.rfind(b"\n") + 1
        if not end or self._lost or max(len(rest) + chunk.find(b"\n"), len(chunk) - 1) > self._max:
            return None
        self._rest = chunk[end:]
        return b"".join((rest, memoryview(chunk)[:end]))

    def flush(self) -> list[bytes]:
        """Return the last line, which has no end, and begin anew; its `size` counts a line break too many."""
        rest, lost = self._rest, self._lost
        self._rest, self._lost = b"", 0
        if lost:
            return [CutLine(rest, lost)]
        return [rest] if rest else []
