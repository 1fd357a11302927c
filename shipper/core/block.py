"""Event lines that are already joined: what a frame of many lines holds, made without touching each line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, overload

__all__ = ["Block"]

_NONE: Final[Mapping[int, str]] = MappingProxyType({})


class Block(Sequence[bytes]):
    r"""Lines joined by `\n`, and their number. Splits only for who looks at a line.

    `ended`: the last line has a break, too; encoders leave one, and cutting it off would copy them all.
    `left_out` counts lines that transforms left out: a block of nothing else is still to be appended, for the
    books, and is therefore true. `violations` are reasons by the place of the line that broke the schema.
    `columns` (packed, see `columns.py`) say by field what the lines hold; empty: nobody has written it down.
    """

    __slots__ = ("_count", "_text", "columns", "left_out", "size", "violations")

    def __init__(
        self,
        text: bytes,
        count: int,
        left_out: int = 0,
        violations: Mapping[int, str] = _NONE,
        columns: bytes = b"",
        *,
        ended: bool = False,
    ) -> None:
        self.size = len(text) - ended
        self._text = text
        self.left_out = left_out
        self.violations = violations
        self.columns = columns
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __bool__(self) -> bool:
        return self._count > 0 or self.left_out > 0

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._lines())

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        """Return a line, or a list of them."""
        return self._lines()[index]

    @property
    def payload(self) -> bytes | memoryview:
        """The lines as they stand in a frame."""
        return self._text if self.size == len(self._text) else memoryview(self._text)[: self.size]

    def _lines(self) -> list[bytes]:
        return self._text[: self.size].split(b"\n") if self._count else []
