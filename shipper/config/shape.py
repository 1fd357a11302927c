"""What a configuration dataclass looks like from outside: its settings, their types, defaults and help.

Read once from the annotations; the binder, the JSON Schema and the reference are made from it, so that they
cannot disagree. Raises `TypeError` for an annotation that configuration has no words for: a defect of the
dataclass, found by the first test that touches it.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from .fields import Duration, Secret, Size

__all__ = [
    "Anything",
    "Choice",
    "Either",
    "ListOf",
    "MapOf",
    "Scalar",
    "Section",
    "Setting",
    "Shape",
    "section_of",
    "shape_of",
]

_SCALARS: Final = (str, int, float, bool, Path, Size, Duration, Secret)


@dataclass(frozen=True, slots=True)
class Scalar:
    """One of `str int float bool Path Size Duration Secret`."""

    type: Any


@dataclass(frozen=True, slots=True)
class Anything:
    """Any value: text, numbers, true, false, null, lists and mappings."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some fixed values."""

    values: tuple[str | int | bool, ...]


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list; it becomes a tuple."""

    item: Shape


@dataclass(frozen=True, slots=True)
class MapOf:
    """A mapping with free keys."""

    item: Shape


@dataclass(frozen=True, slots=True)
class Either:
    """One of several shapes; `null` says that the setting may be empty."""

    options: tuple[Shape, ...]
    null: bool


@dataclass(frozen=True, slots=True)
class Section:
    """A nested dataclass."""

    type: type[Any]


Shape: TypeAlias = Scalar | Anything | Choice | ListOf | MapOf | Either | Section


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of a section. `default` is `dataclasses.MISSING` when the key is required."""

    attribute: str
    key: str
    shape: Shape
    default: Any
    help: str
    minimum: float | None
    maximum: float | None
    check: Callable[[Any], str] | None
    each: Callable[[str, Any], str] | None
    example: str | None

    @property
    def required(self) -> bool:
        """Whether the key must be there."""
        return self.default is dataclasses.MISSING


def shape_of(annotation: Any) -> Shape:
    """Return the shape of an annotation."""
    if annotation is Any or annotation in _SCALARS:
        return Anything() if annotation is Any else Scalar(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return Choice(arguments)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return ListOf(shape_of(arguments[0]))
    if origin is Mapping and arguments[0] is str:
        return MapOf(shape_of(arguments[1]))
    if origin in {Union, types.UnionType}:
        options = tuple(shape_of(a) for a in arguments if a is not type(None))
        return Either(options, type(None) in arguments)
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        return Section(annotation)
    raise TypeError(f"configuration knows no type {annotation!r}")


def section_of(section: type[Any]) -> Mapping[str, Setting]:
    """Return the settings of a configuration dataclass by their YAML keys, in order."""
    key: Any = section  # mypy takes no class for hashable when it is a dataclass
    return _read(key)


@cache
def _read(section: Any) -> Mapping[str, Setting]:
    hints = get_type_hints(section)
    settings = {}
    for field in dataclasses.fields(section):
        if not field.init or field.name.startswith("_"):
            continue
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        facts = field.metadata
        key = facts.get("key", field.name)
        settings[key] = Setting(
            attribute=field.name,
            key=key,
            shape=shape_of(hints[field.name]),
            default=default,
            help=facts.get("help", ""),
            minimum=facts.get("minimum"),
            maximum=facts.get("maximum"),
            check=facts.get("check"),
            each=facts.get("each"),
            example=facts.get("example"),
        )
    return settings
