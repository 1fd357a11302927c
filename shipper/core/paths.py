"""Fields of a decoded event by name: `http.method` is the key of that name, else `method` within `http`.

What is read here is read by `filter_nodes.lookup` in the same way. A path that leads nowhere is no error.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["ABSENT", "Event", "find", "holder", "put", "take", "wrong_path"]

Event = dict[str, Any]

ABSENT: Final = object()
"""Stands for a field that is not there (None is a value)."""
_LONGEST: Final = 256


def wrong_path(path: str) -> str:
    """Return what is wrong with a field's name; `""`: nothing."""
    if not path or not all(path.split(".")):
        return "a field's name has no empty parts"
    if len(path) > _LONGEST:
        return f"a field's name has at most {_LONGEST} characters"
    return "" if path.isprintable() else "a field's name has no control characters"


def holder(event: Event, path: str) -> tuple[Event, str] | None:
    """Return the object that holds the field, and the field's key there; None: it is not there."""
    if path in event:
        return event, path
    if "." not in path:
        return None
    at: Any = event
    *parents, last = path.split(".")
    for part in parents:
        at = at.get(part) if type(at) is dict else None
    return (at, last) if type(at) is dict and last in at else None


def find(event: Event, path: str) -> Any:
    """Return a field's value; `ABSENT` when it is not there."""
    held = holder(event, path)
    return ABSENT if held is None else held[0][held[1]]


def take(event: Event, path: str) -> Any:
    """Remove a field and return its value; objects that are empty without it go, too."""
    held = holder(event, path)
    if held is None:
        return ABSENT
    value = held[0].pop(held[1])
    if held[0] is not event:
        parent = path.rpartition(".")[0]
        while parent and find(event, parent) == {}:
            inner = holder(event, parent)
            if inner is not None:
                del inner[0][inner[1]]
            parent = parent.rpartition(".")[0]
    return value


def put(event: Event, path: str, value: Any) -> None:
    """Set a field; objects on the way are made. Where one of them is no object, the name stays whole."""
    held = holder(event, path)
    if held is not None:
        held[0][held[1]] = value
        return
    at = event
    *parents, last = path.split(".")
    for place, part in enumerate(parents):
        inner = at.get(part, ABSENT)
        if inner is ABSENT:
            for missing in parents[place:]:
                made: Event = {}
                at[missing] = made
                at = made
            break
        if type(inner) is not dict:
            event[path] = value
            return
        at = inner
    at[last] = value
