r"""Lines that still have their line break: cut from a frame in one call, and joined again without another.

`bytes.split` looks at each byte by itself; reading lines finds a break as fast as memory is read. What wants
a line as it is gets it without the break; who can use the break takes `ended`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import BytesIO
from operator import itemgetter
from typing import overload

__all__ = ["Ended", "are_braced", "cut", "ended", "may_exceed"]


def cut(block: bytes, start: int = 0, stop: int | None = None) -> list[bytes]:
    r"""Return lines that are joined by `\n` in a part of `block`, each with one behind it."""
    stop = len(block) if stop is None else stop
    if start == stop:
        return [b"\n"]
    file = BytesIO(block)
    file.seek(start)
    found = file.readlines(stop - start)  # the last one to its break, wherever in the block that is
    begin = block.rfind(b"\n", start, stop) + 1 or start
    found[len(found) - (begin < stop) :] = [block[begin:stop] + b"\n"]
    return found


def ended(lines: Sequence[bytes], start: int, stop: int) -> list[bytes]:
    """Return some of the lines with a line break behind each."""
    if isinstance(lines, Ended):
        return lines.ended[start:stop]
    return [line + b"\n" for line in lines[start:stop]]


def may_exceed(length: int, block: bytes, start: int = 0, stop: int | None = None) -> bool:
    """Say whether a line may have more bytes: not if there is a break in each stretch of half as many."""
    half, stop = length // 2, len(block) if stop is None else stop
    return any(block.find(b"\n", at, at + half) < 0 for at in range(start, stop - half + 1, half))


def are_braced(lines: Sequence[bytes]) -> bool:
    """Say whether each of the lines begins with a brace and ends with one."""
    held, last = (lines.ended, -2) if isinstance(lines, Ended) else (lines, -1)
    try:
        return set(map(itemgetter(0), held)) == {ord("{")} and set(map(itemgetter(last), held)) == {ord("}")}
    except IndexError:  # an empty line
        return False


class Ended(Sequence[bytes]):
    """A sequence of lines made of `ended`, which have their breaks."""

    __slots__ = ("_plain", "ended")

    def __init__(self, ended: list[bytes]) -> None:
        self.ended = ended
        self._plain: list[bytes] | None = None

    def __len__(self) -> int:
        return len(self.ended)

    def __eq__(self, other: object) -> bool:
        """Compare with lines in any form."""
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._lines())

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        """Return a line, or a list of them."""
        if isinstance(index, int) and self._plain is None:
            return self.ended[index][:-1]
        return self._lines()[index]

    def _lines(self) -> list[bytes]:
        if self._plain is None:
            self._plain = [line[:-1] for line in self.ended]
        return self._plain
