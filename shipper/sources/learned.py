"""What lines of JSON have in common: their names, the types of the values, and the values if they are few."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from ..core.parse import ROLES
from .role_checks import IDS

__all__ = ["EXACT", "MAX_NAMES", "Learned"]

MAX_NAMES: Final = 128
"""Lines with more are not learned from."""
EXACT: Final = 2**53 - 1
"""The largest integer that no other one shares its float with."""
_TYPES: Final = frozenset({str, int, float, bool, dict, list, type(None)})
_READ: Final = {name: read for role, (_, read) in IDS.items() for name in ROLES[role]}
_SINGLE: Final = frozenset({str, int})
_FEW: Final = 16  # values that a type can name
_SHORT: Final = 128
_RARE: Final = 16
_MAX_NAME: Final = 128


@dataclass(slots=True)
class Learned:
    """The names of lines and the types of their values, as far as they have been seen."""

    lines: int = 0
    names: dict[str, dict[type, int]] = field(default_factory=dict)
    large: set[str] = field(default_factory=set)  # what has held floats beyond `EXACT`
    _ids: dict[str, int] = field(default_factory=dict)  # of names of ids, how often they have held one
    _values: dict[str, set[Any] | None] = field(default_factory=dict)  # None: too many

    def see(self, line: bytes) -> None:
        """Look at one line; one that is no JSON object says nothing."""
        try:
            content = orjson.loads(line)
        except orjson.JSONDecodeError:
            return
        if type(content) is not dict or len(content) > MAX_NAMES:
            return
        self.lines += 1
        for name, value in content.items():
            types = self.names.get(name)
            if types is None:
                if len(self.names) >= 2 * MAX_NAMES or len(name) > _MAX_NAME:
                    continue
                types = self.names[name] = {}
            kind = type(value)
            types[kind] = types.get(kind, 0) + 1
            if kind is float and not -EXACT <= value <= EXACT:
                self.large.add(name)
            if name in _READ and _READ[name](value) is not None:
                self._ids[name] = self._ids.get(name, 0) + 1
            values = self._values.setdefault(name, set())
            if values is not None:
                if kind not in _SINGLE or len(values) >= _FEW or (kind is str and len(value) > _SHORT):
                    self._values[name] = None
                else:
                    values.add(value)

    def merge(self, other: Learned) -> None:
        """Add what another has seen; together they would have too many names: be as that one is."""
        if len(self.names.keys() | other.names.keys()) > 2 * MAX_NAMES:
            self.lines, self.names, self._values = other.lines, other.names, other._values
            self.large, self._ids = other.large, other._ids
            return
        self.lines += other.lines
        self.large |= other.large
        for name, count in other._ids.items():
            self._ids[name] = self._ids.get(name, 0) + count
        for name, types in other.names.items():
            mine = self.names.setdefault(name, {})
            for kind, count in types.items():
                mine[kind] = mine.get(kind, 0) + count
            held, more = self._values.get(name, set()), other._values[name]
            both = None if held is None or more is None else held | more
            self._values[name] = None if both is None or len(both) > _FEW else both

    def always(self, name: str) -> bool:
        """Whether every line had it."""
        return sum(self.names[name].values()) == self.lines

    def identifies(self, name: str) -> bool:
        """Whether it held an id more than rarely."""
        return self._ids.get(name, 0) > sum(self.names[name].values()) // _RARE

    def types(self, name: str) -> frozenset[type]:
        """Return the types that it had, but for what is rare: that is not worth a wider type."""
        types = {kind: count for kind, count in self.names[name].items() if kind in _TYPES}
        least = sum(types.values()) // _RARE
        return frozenset(kind for kind, count in types.items() if count > least)

    def few(self, name: str) -> tuple[Any, ...]:
        """Return its values, all texts or all integers; none when they are many or of other types."""
        if len(self.names[name]) > 1:
            return ()
        return tuple(self._values[name] or ())
