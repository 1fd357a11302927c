"""Many lines of one format at once, as JSON in the words of events: the usual lines of the usual formats.

Rules:
- It decides nothing: what `Reader.line` makes of a line defines what it is. A parser that can take many
  (`ManyLines`) gives for each line a row of the same names and values, or None, and then the line goes that
  way. A property test compares the two.
- A row is a struct: made, and encoded with all others in one call, for a tenth of what a dictionary costs.
- Records of several lines, and lines that were cut, are no usual lines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec

from ...core.lines import CutLine

__all__ = ["ManyLines", "Row", "lines_of"]


class Row(msgspec.Struct, gc=False):
    """What one line says: the base of the rows of all formats."""


@runtime_checkable
class ManyLines(Protocol):
    """A parser that can take many lines at once."""

    def many(self, texts: Sequence[str], block: bytes) -> Sequence[Row | None]:
        """Return what each line says; None: `read` must say. `block` is the lines, joined, undecoded."""
        ...


_encode = msgspec.json.Encoder().encode_lines


def lines_of(parser: ManyLines, lines: Sequence[bytes], one: Callable[[bytes], bytes]) -> list[bytes]:
    """Return all lines as JSON in the words of events; `one` makes it of a single line."""
    usual: Sequence[bytes] = lines
    places: Sequence[int] = range(len(lines))
    block = b"\n".join(lines)
    if CutLine in set(map(type, lines)) or block.count(b"\n") != len(lines) - 1:
        places = [at for at, line in enumerate(lines) if type(line) is not CutLine and b"\n" not in line]
        usual = [lines[at] for at in places]
        block = b"\n".join(usual)
    if not usual:
        return [one(line) for line in lines]
    texts = [text.rstrip("\r \t") for text in block.decode("utf-8", "replace").split("\n")]
    rows = parser.many(texts, block)
    made: list[Any] = [row for row in rows if row is not None]
    found = iter(_encode(made).split(b"\n")) if made else iter(())
    if len(made) == len(lines):
        return list(found)[:-1]
    result = dict(zip(places, [None if row is None else next(found) for row in rows], strict=True))
    return [result.get(at) or one(line) for at, line in enumerate(lines)]
