"""Which format a file has, by its first lines; and all formats together, for lines of any.

Rules:
- The first format that takes a line is its format: they are tried from those that nothing else looks like to
  those of which parts look like others.
- JSON lines of no format in a row mean that there is none.
- Each line that comes before the decision is understood by itself, so the decision changes no event that
  was made. After `_ENOUGH` lines of one format in a row it is the file's; after `_LAST` lines without that
  there is none, and lines are JSON or text.
- It depends on the lines alone, not on how they came.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .model import Fields, LineParser

__all__ = ["Guess"]

_ENOUGH: Final = 3
_LAST: Final = 50


class Guess:
    """Decides for one file. `found` is what it took, None as long as it has not, or when it took none."""

    __slots__ = ("_formats", "_lines", "_row", "decided", "found")

    def __init__(self, formats: Sequence[LineParser]) -> None:
        self._formats = formats
        self._row = 0
        self._lines = 0
        self.found: LineParser | None = None
        self.decided = False

    def read(self, line: bytes) -> tuple[Fields, LineParser] | None:
        """Return what a line says in the first format that takes it, and which; None: none does."""
        for one in self._formats:
            fields = one.read(line)
            if fields is not None:
                return fields, one
        return None

    def see(self, line: bytes) -> Fields | None:
        """Return what one of the first lines says, and learn from it."""
        result = self.read(line)
        self._lines += 1
        found = None if result is None else result[1]
        usual = result is not None or line[:1] == b"{"  # a line of no format is JSON, or it says nothing
        self._row = self._row + 1 if usual and found is self.found else int(usual)
        self.found = found
        if self._row >= _ENOUGH:
            self.decided = True
        elif self._lines >= _LAST:
            self.found, self.decided = None, True
        return None if result is None else result[0]
