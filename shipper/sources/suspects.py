"""Which of many texts may hold a secret: all are asked at once; if one does, it is looked for by halves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ...handlers.typed import Prover

__all__ = ["suspects"]

_STRETCH: Final = 25  # texts: where one in a hundred is suspect, the fewest looks find it


def suspects(redactor: Prover, texts: Sequence[str]) -> list[int]:
    """Return the places of texts that may hold a secret."""
    found: list[int] = []
    if redactor.are_clean(tuple(texts)):
        return found
    for first in range(0, len(texts), _STRETCH):
        part = texts[first : first + _STRETCH]
        if not redactor.are_clean(tuple(part)):
            _halve(redactor, part, first, found)
    return found


def _halve(redactor: Prover, texts: Sequence[str], first: int, found: list[int]) -> None:
    """Find suspects among texts that are not all clean; `first` is the place of the first of them."""
    if len(texts) == 1:
        found.append(first)
        return
    middle = len(texts) // 2
    low, high = texts[:middle], texts[middle:]
    clean = redactor.are_clean(tuple(low))
    if not clean:
        _halve(redactor, low, first, found)
    if clean or not redactor.are_clean(tuple(high)):
        _halve(redactor, high, first + middle, found)
