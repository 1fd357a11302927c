"""Objects and lists within JSON lines: whether they stay what they are, and hold no secrets.

What is unusual (deep, long, numbers that other decoders read otherwise) is left to the line way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ...handlers.typed import Prover

__all__ = ["is_usual", "suspects_within"]

_DEEPEST: Final = 8
_MOST: Final = 100  # items of one object or list
_WHOLE: Final = 2**63
_LARGEST: Final = 1.7e308
_STRETCH: Final = 25


def is_usual(value: Any, depth: int = 0) -> bool:
    """Say whether an object or a list is the same JSON for everybody, and small enough."""
    if depth > _DEEPEST or len(value) > _MOST:
        return False
    for item in value.values() if type(value) is dict else value:
        kind = type(item)
        if kind is int:
            if not -_WHOLE < item < _WHOLE:
                return False
        elif kind is float:
            if not -_LARGEST <= item <= _LARGEST:
                return False
        elif (kind is dict or kind is list) and not is_usual(item, depth + 1):
            return False
    return True


def suspects_within(redactor: Prover, values: Sequence[Any]) -> list[int]:
    """Return the places of objects and lists that may hold a secret; what is neither holds none."""
    found: list[int] = []
    for first in range(0, len(values), _STRETCH):
        part = values[first : first + _STRETCH]
        if not redactor.is_clean((), tuple(value for value in part if type(value) in {dict, list})):
            found += [
                first + at
                for at, value in enumerate(part)
                if type(value) in {dict, list} and not redactor.is_clean((), (value,))
            ]
    return found
