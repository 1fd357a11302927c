"""Decoded lines, and what they have field by field: each field is fetched from all of them once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["Decoded", "getter"]


def getter(attribute: str) -> Callable[[list[Any]], list[Any]]:
    """Return what fetches an attribute from each of some objects of one type.

    Code with the name in it takes half the time of `map(attrgetter(name), rows)`: the interpreter remembers
    where in objects of this type the attribute stands. So each type needs its own. Raises ValueError for
    what is no name: nothing else may enter the code.
    """
    if not attribute.isidentifier():
        raise ValueError(f"{attribute!r} is no attribute's name")
    made: Callable[[list[Any]], list[Any]] = eval(  # noqa: S307 - a name alone, and one of ours
        f"lambda rows: [row.{attribute} for row in rows]"
    )
    return made


class Decoded:
    """The rows of one block. `getters` are kept for the next, `kinds` are types that are known beforehand."""

    __slots__ = ("_getters", "_held", "_kinds", "rows")

    def __init__(
        self,
        rows: list[Any],
        getters: dict[str, Callable[[list[Any]], list[Any]]],
        kinds: Mapping[str, set[type]],
    ) -> None:
        self.rows = rows
        self._getters = getters
        self._held: dict[str, list[Any]] = {}
        self._kinds = dict(kinds)

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, attribute: str) -> list[Any]:
        """Return what each row has under an attribute."""
        held = self._held.get(attribute)
        if held is None:
            get = self._getters.get(attribute)
            if get is None:
                get = self._getters[attribute] = getter(attribute)
            held = self._held[attribute] = get(self.rows)
        return held

    def kinds(self, attribute: str) -> set[type]:
        """Return the types of what the rows have there."""
        kinds = self._kinds.get(attribute)
        if kinds is None:
            kinds = self._kinds[attribute] = set(map(type, self.of(attribute)))
        return kinds

    def put(self, attribute: str, values: list[Any]) -> None:
        """Set what each row has there."""
        for row, value in zip(self.rows, values, strict=True):
            setattr(row, attribute, value)
        self._held[attribute] = values
        self._kinds.pop(attribute, None)
