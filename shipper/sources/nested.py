"""Objects and lists within JSON lines: whether they stay what they are, and how many quotes they have.

What is unusual (deep, long, numbers that other decoders read otherwise) is left to the line way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ...handlers.typed import Prover

__all__ = ["ODD", "quotes_of", "suspects_within"]

ODD: Final = -1
_DEEPEST: Final = 8
_MOST: Final = 100  # items of one object or list
_WHOLE: Final = 2**63
_LARGEST: Final = 1.7e308
_STRETCH: Final = 25


def quotes_of(value: Any, depth: int = 0) -> int:  # noqa: C901 - every item passes here: calls would cost
    """Return how many quotes stand in `value` as JSON without escapes; `ODD`: it is for the line way."""
    if depth > _DEEPEST or len(value) > _MOST:
        return ODD
    quotes = 0
    if type(value) is dict:
        quotes = 2 * len(value)
        value = value.values()
    for item in value:
        kind = type(item)
        if kind is str:
            quotes += 2
        elif kind is int:
            if not -_WHOLE < item < _WHOLE:
                return ODD
        elif kind is float:
            if not -_LARGEST <= item <= _LARGEST:
                return ODD
        elif kind is dict or kind is list:
            inner = quotes_of(item, depth + 1)
            if inner < 0:
                return ODD
            quotes += inner
    return quotes


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
