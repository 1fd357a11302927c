"""Writes down what decoded lines say, for the sinks: columns that go with the lines (`core/columns.py`).

Of each line its time is told, and the fields that may be labels or metadata: what sinks read from inside a
line. It is told of rows as they are given on, after all that was checked and set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from msgspec import UNSET, UnsetType

from ...handlers.schema import FIELDS
from ..core.columns import Columns, Scalar, pack
from .decoded import Decoded

__all__ = ["TOLD", "Teller", "Told", "even"]

TOLD: Final = frozenset(one.name for one in FIELDS if one.label or one.metadata) | {"timestamp"}
_FEW: Final = 32
_NONE: Final = frozenset((type(None), UnsetType))
# Equal values of one of these types have one text. (0.0 and -0.0 are equal, too.)
_DISTINCT: Final = ({str}, {int}, {bool}, set[type]())


class Told(NamedTuple):
    """A field of rows: its name, its attribute, and its values, when there are no others."""

    name: str
    attribute: str
    few: tuple[Scalar, ...] = ()


class Teller:
    """Tells of rows with some `fields`, in lines that have `names` and `constants` too."""

    def __init__(self, fields: Iterable[Told], names: Iterable[str], constants: Mapping[str, str]) -> None:
        self._names = [*names, *constants]
        self._timed = [*(name for name in self._names if name != "timestamp"), "timestamp"]
        self._alike: dict[str, Scalar] = {name: text for name, text in constants.items() if name in TOLD}
        self._asked = []
        for one in fields:
            if len(one.few) == 1:
                self._alike[one.name] = one.few[0]
            else:
                codes = {value: code for code, value in enumerate(one.few)}
                self._asked.append((one.name, codes, one.attribute))

    def tell(self, rows: Decoded, proven: Mapping[str, bytes], moment: str = "") -> bytes:
        """Return packed columns of rows, whose time is `moment` if they have none; empty: it cannot.

        `proven` are values that are known already: ASCII and of one length, joined.
        """
        names = self._timed if moment else self._names
        columns = Columns(len(rows), names, dict(self._alike), {}, {}, {})
        if moment:
            columns.alike["timestamp"] = moment
        try:
            for name, codes, attribute in self._asked:
                if proven.get(name):
                    columns.even[name] = proven[name]
                elif codes:
                    columns.few[name] = [*codes], bytes(map(codes.__getitem__, rows.of(attribute)))
                else:
                    _tell(columns, name, rows.of(attribute), rows.kinds(attribute))
            return pack(columns)
        except (UnicodeError, OverflowError):  # a text or a number that cannot be written
            return b""


def _tell(columns: Columns, name: str, values: list[Any], kinds: set[type]) -> None:
    """Write a field's values into the columns."""
    if kinds - _NONE in _DISTINCT:
        distinct = list(set(values))
        if len(distinct) == 1:
            columns.alike[name] = None if distinct[0] is UNSET else distinct[0]
            return
        if len(distinct) <= _FEW:
            codes = dict(zip(distinct, range(_FEW), strict=False))
            kept = [None if value is UNSET else value for value in distinct]
            columns.few[name] = kept, bytes(map(codes.__getitem__, values))
            return
    absent = UnsetType in kinds
    columns.each[name] = [None if value is UNSET else value for value in values] if absent else values


def even(values: list[str]) -> bytes:
    """Return texts, which are of one length or empty, joined; nothing when some are empty."""
    text = "".join(values)
    return text.encode() if len(text) == len(values) * len(values[0]) else b""
