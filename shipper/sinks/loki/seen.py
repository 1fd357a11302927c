"""Which values the fields have taken so far, and a decoder that takes just these.

Most fields of an application's events take few values: labels, a route, a status. Told which, msgspec returns
the same object each time instead of a new one whose hash must be computed, and a field that has only ever had
one value need not be looked at: another one is an error. Rules:

- A field is *open* when it has taken more than `FEW` values, or one that is not worth keeping. The strict
  decoder takes any of its type, as the loose one does.
- A field that was in every event and always the same is required to be so: one without it is an error, not
  the value. So is one that has it where no event had it.
- What the strict decoder refuses says nothing of the event, but that something is new: the loose one reads
  it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeAlias, cast

import msgspec

from .heads import Head

__all__ = ["FEW", "Decoder", "Place", "Seen"]

FEW: Final = 16
_LONGEST: Final = 128
_LARGEST: Final = 1 << 53
_TYPES: Final[Mapping[str, Any]] = {"string": str | None, "integer": int | None, "boolean": bool | None}
_NUMBER: Final[Any] = int | Annotated[float, msgspec.Meta(gt=-1e16, lt=1e16)] | None
_MOMENT: Final = Annotated[str, msgspec.Meta(min_length=27, max_length=27)]

Decoder: TypeAlias = msgspec.json.Decoder[Head]


@dataclass(frozen=True, slots=True)
class Place:
    """A field that is read: the head's attribute, its name in the line, its type in the schema."""

    attribute: str
    name: str
    type: str = ""


class Seen:
    """The values of fields. `places` are in the order in which lines have them."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = tuple(places)
        self._values: dict[str, set[Any] | None] = {place.attribute: set() for place in places}
        types = {place.attribute: _TYPES.get(place.type, Any) for place in places}
        self.loose = _decoder(places, types, types, str | None)

    def learn(self, heads: Iterable[Head]) -> bool:
        """Note the values of some heads; True: there were new ones."""
        before = {name: values and len(values) for name, values in self._values.items()}
        for place in self._places:
            values = self._values[place.attribute]
            if values is None:
                continue
            found = [getattr(head, place.attribute) for head in heads]
            if place.type not in _TYPES:
                self._values[place.attribute] = {None} if all(value is None for value in found) else None
                continue
            values.update(found)
            if len(values) > FEW or not all(map(_kept, values)):
                self._values[place.attribute] = None
        return before != {name: values and len(values) for name, values in self._values.items()}

    @property
    def open(self) -> set[str]:
        """The attributes that may have any value."""
        return {name for name, values in self._values.items() if values is None}

    @property
    def constants(self) -> Mapping[str, Any]:
        """The attributes that have one value in each event that the strict decoder takes."""
        return {
            name: value
            for name, values in self._values.items()
            if values is not None and len(values) == 1
            for value in values
            if value is None or type(value) is not bool
        }

    def strict(self) -> Decoder:
        """Return a decoder for events whose values have all been seen."""
        types, defaults = {}, set()
        for place in self._places:
            values = self._values[place.attribute]
            type_ = _NUMBER if place.type == "number" else _TYPES.get(place.type, Any)
            if values is not None and values <= {None}:
                type_ = None
            elif values is not None and place.type != "boolean":
                type_ = cast("Any", Literal)[tuple(values)]
            types[place.attribute] = type_
            if values is None or None in values or not values or place.type == "boolean":
                defaults.add(place.attribute)
        return _decoder(self._places, types, defaults, _MOMENT)


def _kept(value: Any) -> bool:
    """Say whether a value is worth keeping, and one that a type can name."""
    if type(value) is int:
        return -_LARGEST <= value <= _LARGEST
    return type(value) is not str or len(value) <= _LONGEST


def _decoder(
    places: Sequence[Place], types: Mapping[str, Any], defaults: Collection[str], moment: Any
) -> Decoder:
    """Return a decoder of heads; `t` is the timestamp, of type `moment`."""
    # In the order in which lines have them: found without a search.
    fields: list[Any] = [("t", moment, None) if moment is not _MOMENT else ("t", moment)]
    for place in places:
        name, type_ = place.attribute, types[place.attribute]
        fields.append((name, type_, None) if name in defaults else (name, type_))
    rename = {"t": "timestamp"} | {place.attribute: place.name for place in places}
    # gc=False: heads hold no cycles, and tracking thousands of them would make the collector run.
    return msgspec.json.Decoder(msgspec.defstruct("Head", fields, rename=rename, gc=False, kw_only=True))
