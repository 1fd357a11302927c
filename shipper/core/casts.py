"""Values made into another type, when that loses nothing; what cannot be is given back as it was. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from math import isfinite
from types import MappingProxyType
from typing import Any, Final

import orjson

from ...handlers.clock import stamp
from .filter_nodes import INTEGER, NUMBER
from .parse import moment_of

__all__ = ["CASTS"]

_TRUE: Final = frozenset({"true", "yes", "on", "1"})
_FALSE: Final = frozenset({"false", "no", "off", "0"})
_EXACT: Final = 2**53  # whole numbers up to here are doubles without loss


def _string(value: Any) -> Any:
    kind = type(value)
    if kind is str or value is None:
        return value
    if kind is int:
        return str(value)
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        return value


def _integer(value: Any) -> Any:
    kind = type(value)
    if kind is str and INTEGER.fullmatch(text := value.strip()):
        return int(text)
    if kind is float and isfinite(value) and value == int(value) and abs(value) <= _EXACT:
        return int(value)
    return value


def _number(value: Any) -> Any:
    kind = type(value)
    if kind is str and NUMBER.fullmatch(text := value.strip()):
        number = float(text)
        return number if isfinite(number) else value
    if kind is int and abs(value) <= _EXACT:
        return float(value)
    return value


def _boolean(value: Any) -> Any:
    kind = type(value)
    if kind is int and value in {0, 1}:
        return value == 1
    if kind is str:
        word = value.strip().lower()
        return True if word in _TRUE else False if word in _FALSE else value
    return value


def _timestamp(value: Any) -> Any:
    number = _number(value) if type(value) is str else value
    moment = moment_of(number, datetime.timestamp)
    return value if moment is None else stamp(moment)


CASTS: Final[Mapping[str, Callable[[Any], Any]]] = MappingProxyType(
    {
        "string": _string,
        "integer": _integer,
        "number": _number,
        "boolean": _boolean,
        "timestamp": _timestamp,
    }
)
"""Name of a type → what makes a value one of it."""
