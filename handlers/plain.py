"""The walk that makes any object into plain JSON types. Rules and table: `handlers/encoding.py`.

Every step into an application's code (`__repr__`, `__iter__`, attributes) stands inside one guard. Types are
asked with `type(value)`, never `value.__class__`, which may lie or raise.
"""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import enum
import os
import pathlib
import re
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields as dataclass_fields
from itertools import islice
from math import isfinite
from types import AsyncGeneratorType, CoroutineType, GeneratorType, MappingProxyType
from typing import Any, Final

import orjson

__all__ = [
    "MAX_DEPTH",
    "MAX_ITEMS",
    "MAX_KEY",
    "MAX_NODES",
    "MAX_REPR",
    "Walk",
    "clean_text",
    "cut_text",
    "safe_repr",
    "writer",
]

MAX_DEPTH: Final = 16
MAX_ITEMS: Final = 1_000
MAX_NODES: Final = 20_000
# Twice what an event may hold: what is cut here, before redaction, is cut again, further in, after it.
MAX_TEXT: Final = 512 * 1024
MAX_REPR: Final = 8 * 1024
MAX_KEY: Final = 1_024
_MARK: Final = 64  # room for the words that mark a cut, so that what was cut is not cut again

_THROUGH: Final = (KeyboardInterrupt, SystemExit)


def cut_text(text: str, length: int) -> str:
    """Return `text`, or at most its first `length` characters with a mark that says how many are missing.

    The cut is at white space where there is some near: redaction may come later, and half a secret is none
    that it knows.
    """
    if len(text) <= length:
        return text
    near = max(0, length - 512)
    end = max(text.rfind(" ", near, length), text.rfind("\n", near, length))
    end = end if end > 0 else length
    return f"{text[:end]}…[{len(text) - end} more characters]"


def clean_text(text: str) -> str:
    r"""Return `text` as an exact str that UTF-8 can hold: lone surrogates are written as `\udc80`."""
    if text.isascii():
        return str.__str__(text)
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return str.__str__(text)


def type_name(value: object) -> str:
    """Return the name of the type of `value`; metaclasses may lie, but not fail."""
    try:
        return clean_text(str(type.__dict__["__qualname__"].__get__(type(value))))[:MAX_KEY]
    except Exception:  # noqa: BLE001 - nothing that is logged may fail
        return "object"


def safe_repr(value: object, through: Callable[[Any], str] = repr) -> str:
    """Return `repr(value)`, cut to `MAX_REPR` characters, or a mark with the type's name when that fails."""
    try:
        return clean_text(cut_text(through(value), MAX_REPR - _MARK))
    except _THROUGH:
        raise
    except BaseException:  # noqa: BLE001 - a __repr__ may raise anything
        return f"<unprintable {type_name(value)}>"


class Walk:
    """One normalisation. `cut` becomes true when something was left out."""

    __slots__ = ("_nodes", "_path", "cut")

    def __init__(self) -> None:
        self.cut = False
        self._nodes = MAX_NODES
        self._path: set[int] = set()

    def visit(self, value: Any, depth: int) -> Any:
        """Return `value`, found `depth` containers deep, in plain JSON types."""
        kind = type(value)
        if kind is bool or value is None:
            return value
        self._nodes -= 1
        try:
            simple = writer(kind)
            if simple is not None:
                return self._short(simple(value))
            return self._container(value, kind, depth)
        except _THROUGH:
            raise
        except BaseException:  # noqa: BLE001 - an application's __iter__, __getattr__, ... may raise anything
            return safe_repr(value)

    def _short(self, value: Any) -> Any:
        if type(value) is str and len(value) > MAX_TEXT:
            self.cut = True
            return cut_text(value, MAX_TEXT - _MARK)
        return value

    def _container(self, value: Any, kind: type, depth: int) -> Any:
        as_items = _parts(value, kind)
        if as_items is None:
            return self._other(value, kind, depth)
        if id(value) in self._path:
            return "<cycle>"
        if depth >= MAX_DEPTH or self._nodes <= 0:
            self.cut = True
            return (
                f"<{type_name(value)}: too deep>"
                if depth >= MAX_DEPTH
                else f"<{type_name(value)}: too large>"
            )
        self._path.add(id(value))
        try:
            if isinstance(as_items, Mapping):
                return self._mapping(as_items, depth + 1)
            items = [self.visit(item, depth + 1) for item in self._bounded(as_items)]
        finally:
            self._path.discard(id(value))
        if issubclass(kind, (set, frozenset)):
            items.sort(key=lambda item: (type(item).__name__, orjson.dumps(item)))
        return items

    def _bounded(self, items: Iterable[Any]) -> list[Any]:
        # Copied first, in one C call: another thread may be changing the container.
        room = max(0, min(MAX_ITEMS, self._nodes))
        found = list(islice(items, room + 1))
        if len(found) > room:
            self.cut = True
            found[room:] = ["<more>"]
        return found

    def _mapping(self, mapping: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        room = max(0, min(MAX_ITEMS, self._nodes))
        pairs = list(islice(mapping.items(), room + 1))
        if len(pairs) > room:
            self.cut = True
            del pairs[room:]
        for key, item in pairs:
            name = self.key(key)
            while name in plain:  # 1 and "1" are two keys in Python and one in JSON
                name += "'"
            plain[name] = self.visit(item, depth)
        return plain

    def key(self, key: Any) -> str:
        """Return a key as text."""
        if type(key) is not str:
            key = self.visit(key, MAX_DEPTH - 1) if type(key) is not tuple else safe_repr(key)
            key = key if type(key) is str else orjson.dumps(key).decode()
        if len(key) > MAX_KEY:
            self.cut = True
            key = cut_text(key, MAX_KEY - _MARK)
        return clean_text(key)

    def _other(self, value: Any, kind: type, depth: int) -> Any:
        if hasattr(kind, "tolist") and kind.__module__.partition(".")[0] == "numpy":
            if getattr(value, "size", 1) > MAX_ITEMS:
                self.cut = True
                return safe_repr(value)
            made = value.tolist()
            return self.visit(made, depth) if type(made) is not kind else safe_repr(value)
        if hasattr(kind, "__next__") or hasattr(kind, "__anext__"):
            return f"<{type_name(value)}>"
        if issubclass(kind, BaseException):
            said = safe_repr(value, str)
            return f"{type_name(value)}: {said}" if said else type_name(value)
        text = safe_repr(value)
        self.cut = self.cut or text.endswith(" more characters]")
        return text


def _parts(  # noqa: PLR0911 - one return a kind of container
    value: Any, kind: type
) -> Mapping[Any, Any] | Iterable[Any] | None:
    """Return what `value` consists of: a mapping, a list, or None when it is no container."""
    if issubclass(kind, (dict, list, tuple, set, frozenset, deque, range, MappingProxyType)):
        return value  # type: ignore[no-any-return]  # one of the containers just named
    if issubclass(kind, Mapping):
        return value  # type: ignore[no-any-return]  # a mapping by its own word
    if hasattr(kind, "__dataclass_fields__"):
        return {field.name: getattr(value, field.name) for field in dataclass_fields(value) if field.repr}
    if hasattr(kind, "__attrs_attrs__"):
        return {field.name: getattr(value, field.name) for field in kind.__attrs_attrs__ if field.repr}
    if hasattr(kind, "__struct_fields__"):
        return {name: getattr(value, name) for name in kind.__struct_fields__}
    if hasattr(kind, "__pydantic_fields__"):
        shown = (name for name, field in kind.__pydantic_fields__.items() if field.repr)
        return {name: value.__dict__[name] for name in shown if name in value.__dict__}
    if issubclass(kind, _VIEWS):
        return value  # type: ignore[no-any-return]  # a view iterates
    return None


_VIEWS: Final[tuple[type, ...]] = (type({}.keys()), type({}.values()), type({}.items()))


def _integer(value: int) -> int | str:
    value = int.__int__(value)
    if -(2**63) <= value < 2**64:
        return value
    if value.bit_length() > 8 * MAX_REPR:
        return f"<integer of {value.bit_length()} bits>"
    try:
        return str(value)
    except ValueError:  # more digits than sys.get_int_max_str_digits() allows
        return hex(value)


def _float(value: float) -> float | str:
    value = float.__float__(value)
    if isfinite(value):
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"  # noqa: PLR0124 - is NaN


def _bytes(value: bytes | bytearray | memoryview) -> str:
    raw = bytes(value)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = "\0"
    if all(part.isprintable() for part in re.split(r"[\r\n\t]", text)):
        return text
    return "base64:" + base64.b64encode(raw[: MAX_TEXT * 3 // 4]).decode()


def _generator(value: Any) -> str:
    return f"<{type_name(value)} {clean_text(cut_text(value.__qualname__, MAX_KEY))}>"


def _isoformat(value: dt.datetime | dt.date | dt.time) -> str:
    return clean_text(value.isoformat())


def _member(value: enum.Enum) -> Any:
    return Walk().visit(value._value_, MAX_DEPTH - 2)


def _words(value: object) -> str:
    return clean_text(str(value))


def _path(value: pathlib.PurePath) -> str:
    return clean_text(os.fspath(value))


_BY_BASE: Final[tuple[tuple[type, Callable[[Any], Any]], ...]] = (
    (enum.Enum, _member),  # before str and int: a StrEnum is both
    (bool, bool),
    (str, clean_text),
    (int, _integer),
    (float, _float),
    (bytes, _bytes),
    (bytearray, _bytes),
    (memoryview, _bytes),
    (dt.datetime, _isoformat),
    (dt.date, _isoformat),
    (dt.time, _isoformat),
    (dt.timedelta, _words),
    (decimal.Decimal, _words),
    (uuid.UUID, _words),
    (complex, _words),
    (pathlib.PurePath, _path),
    (GeneratorType, _generator),
    (CoroutineType, _generator),
    (AsyncGeneratorType, _generator),
)
_EXACT: Final[Mapping[type, Callable[[Any], Any]]] = dict(_BY_BASE)


def writer(kind: type) -> Callable[[Any], Any] | None:
    """Return how to write an instance of `kind` that holds nothing else, by its base classes."""
    exact = _EXACT.get(kind)
    if exact is not None:
        return exact
    for base, write in _BY_BASE:
        if issubclass(kind, base):
            return write
    return None
