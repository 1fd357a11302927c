"""What is checked of the values that each event has: times, levels, ids, services and messages of many lines.

A check looks at one field's values, all together. What the line way must look at it adds to `odd`, by place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, TypeAlias

from ...handlers.clock import stamp
from ..core.parse import level_of, moment_of, service_of, span_of, trace_of

__all__ = ["CHECKS", "EVEN", "IDS", "Check", "Column", "check_of_ids", "check_of_no_ids"]

Column: TypeAlias = list[Any]
Check: TypeAlias = Callable[[Column, set[int]], bytes | Column | None]
"""Returns the values to be set, or None: all may stay. Bytes: so they may; ASCII, of one length, joined."""

_LEVELS: Final = frozenset({"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"})
_DIGITS: Final = bytes.maketrans(b"123456789", b"000000000")
_TIME: Final = b"0000-00-00T00:00:00.000000Z\n"
_LENGTH: Final = len(_TIME) - 1
_HEX: Final = bytes.maketrans(b"123456789abcdef", b"0" * 15)


def _times(values: Column, odd: set[int]) -> bytes | Column | None:
    try:
        if "\n".join(values).encode().translate(_DIGITS) == (_TIME * len(values))[:-1]:
            raw = "".join(values).encode()
            # Minutes and seconds are right if their first digits are; of hours there are few.
            if not (raw[14::_LENGTH] + raw[17::_LENGTH]).translate(None, b"012345"):
                hour = values[0][:13]
                hours = (
                    {hour} if raw.count(hour.encode()) == len(values) else {value[:13] for value in values}
                )
                if all(map(_is_hour, hours)):
                    return raw
    except TypeError:  # numbers
        pass
    found = []
    for place, value in enumerate(values):
        moment = moment_of(value, datetime.timestamp)
        if moment is None:
            odd.add(place)
        found.append(value if moment is None else stamp(moment))
    return found


def _is_hour(text: str) -> bool:
    return moment_of(text + ":00:00Z", datetime.timestamp) is not None


def _distinct(values: Column) -> set[Any]:
    # Texts out of a decoder have no hash yet: to compare them with the first costs less.
    return {values[0]} if values.count(values[0]) == len(values) else set(values)


def _levels(values: Column, odd: set[int]) -> Column | None:
    kinds = _distinct(values)
    if kinds <= _LEVELS:
        return None
    known = {value: level_of(value) for value in kinds if type(value) is str}
    found = []
    for place, value in enumerate(values):
        level = known[value] if type(value) is str else level_of(value)
        if level is None:
            odd.add(place)
        found.append(level or value)
    return found


def _messages(values: Column, odd: set[int]) -> None:
    try:
        if "{" in "".join(values):  # it may be JSON itself
            odd.update(place for place, value in enumerate(values) if value[:1] == "{")
    except TypeError:  # something else than text
        odd.update(place for place, value in enumerate(values) if type(value) is not str)


def _services(values: Column, odd: set[int]) -> None:
    wrong = {value for value in _distinct(values) if service_of(value) is None}
    if wrong:
        odd.update(place for place, value in enumerate(values) if value in wrong)


def check_of_ids(name: str, *, empty: bool) -> Check:
    """Return the check of `trace_id` or `span_id`; `empty`: one that is empty stays so."""
    length, read = IDS[name]
    zero, form = "0" * length, b"0" * length + b"-"

    def check(values: Column, odd: set[int]) -> bytes | Column | None:
        joined = "-".join(values)
        if zero not in joined or zero not in values:
            shown = joined.encode("utf-8", "replace").translate(_HEX)
            if shown == (form * len(values))[:-1]:
                return "".join(values).encode()
            digits = shown.count(b"-") < len(values) and not shown.strip(b"0-")
            if empty and digits and set(map(len, values)) <= {0, length}:
                return None
        found = []
        for place, value in enumerate(values):
            made = "" if empty and not value else read(value)
            if made is None:
                odd.add(place)
            found.append(value if made is None else made)
        return found

    return check


def check_of_no_ids(name: str) -> Check:
    """Return the check of what would be read as `name`, and holds something else: ids are odd there."""
    _, read = IDS[name]
    lengths = _LENGTHS[name]

    def check(values: Column, odd: set[int]) -> None:
        try:
            if lengths.isdisjoint(map(len, values)):
                return
        except TypeError:  # not all are texts
            pass
        odd.update(place for place, value in enumerate(values) if read(value) is not None)

    return check


_LENGTHS: Final[Mapping[str, frozenset[int]]] = {"trace_id": frozenset((32, 36)), "span_id": frozenset((16,))}
"""The lengths of what `read` takes."""
IDS: Final[Mapping[str, tuple[int, Callable[[object], str | None]]]] = {
    "trace_id": (32, trace_of),
    "span_id": (16, span_of),
}
EVEN: Final = frozenset({"timestamp", *IDS})
"""What has one length in all events, or is empty."""
CHECKS: Final[Mapping[str, Check]] = {
    "timestamp": _times,
    "level": _levels,
    "service": _services,
    "message": _messages,
}
