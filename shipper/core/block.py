"""Event lines that are already joined: what a frame of many lines holds, made without touching each line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

__all__ = ["Block"]


class Block(Sequence[bytes]):
    r"""Lines joined by `\n` (none at the end), and their number. Splits only for who looks at a line."""

    __slots__ = ("_count", "payload")

    def __init__(self, payload: bytes, count: int) -> None:
        self.payload = payload
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._lines())

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        """Return a line, or a list of them."""
        return self._lines()[index]

    def _lines(self) -> list[bytes]:
        return self.payload.split(b"\n") if self._count else []
