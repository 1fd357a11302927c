"""A stream's labels as the beginning of its lines of JSON: most lines then say all that is known of them.

Rules

- `records.told_of_entry` defines what an entry says. A line with its stream's labels in front, which comes to
  the block way, says the same, or has no such form here: then it is understood by itself.
- What a line says under a label's name counts more: of two fields of one name the last one is taken.
- Labels that may mean the same as a name of the line's (a service where the line may have one, a level) and
  such as an event always has keep the stream, or the line, from it.
- A line that names no time gets the entry's. Where it seems to name one, that is for the shape of the lines
  to find out (`json_shape.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import orjson

from ....handlers.clock import stamp
from ...core.parse import ROLES, Parsed, parse
from ..parsed_blocks import Line, Told
from .records import Entry, add_level, add_service, seconds, told_of_entry

__all__ = ["Fronts"]

_BEGINS: Final = (b'{"', b'{ "')
_TIMES: Final = tuple(f'"{name}"'.encode() for name in ROLES["timestamp"])
_LEVELS: Final = (b'"level', b'"severity"', b'"log', b'"lvl"')
_SERVICE: Final = b'"service'
# What a line, or the label itself, would be asked for.
_OTHERS: Final = frozenset(
    (
        *(name for names in ROLES.values() for name in names),
        *(name.partition(".")[0] for names in ROLES.values() for name in names),
        *("error", "err", "exc_info", "exception", "traceback", "stack_trace", "stack"),
        *("event_id", "pid", "hostname"),
    )
)
_ESCAPED: Final = b"\\u00"  # as such may names be hidden
_FIRST: Final = 365 * 86_400.0
_MOST: Final = 256  # streams that are remembered


@dataclass(frozen=True, slots=True)
class Front:
    """A stream's labels as they stand before a line, and taken apart: its service, its level, all others.

    A line that may have a service or a level of its own does not go behind labels that say one.
    """

    labels: bytes
    service: str
    level: str
    others: Mapping[str, str]


def _front(labels: Mapping[str, str]) -> Front | None:
    beside = dict(labels)
    parsed = Parsed("")
    add_service(parsed, beside)
    add_level(parsed, beside)
    if not _OTHERS.isdisjoint(beside) or any(name.startswith("error.") for name in beside):
        return None
    said: dict[str, str] = {}
    if parsed.service:
        said["service"] = parsed.service
    if parsed.level != "INFO":
        said["level"] = parsed.level
    text = orjson.dumps(said | beside)[1:-1]
    return Front(text + b"," if text else b"", parsed.service, parsed.level, beside)


class Fronts:
    """Puts labels before lines; remembers them by stream."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[tuple[tuple[str, str], ...], Front | None] = {}

    def told(self, entries: Sequence[Entry]) -> list[Told | Line]:
        """Return what entries say: as lines behind their labels, or understood one by one."""
        found: list[Told | Line] = []
        labels: Mapping[str, str] | None = None
        front = None
        for entry in entries:
            if entry.labels is not labels:  # streams share theirs
                labels = entry.labels
                front = self._of(labels)
            if front is None or entry.metadata:
                one: Told | Line | None = told_of_entry(entry)
            elif (line := _behind(front, entry)) is not None:
                one = Line(line, partial(_read, entry))
            else:
                one = _told(front, entry)
            if one is not None:
                found.append(one)
        return found

    def _of(self, labels: Mapping[str, str]) -> Front | None:
        """Return the beginning for a stream's lines; None: there is none."""
        key = (*labels.items(),)
        if key not in self._known:
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[key] = _front(labels)
        return self._known[key]


def _behind(front: Front, entry: Entry) -> bytes | None:
    """Return a line that says what the entry says; None: it is to be understood by itself."""
    line = entry.line
    if not line.startswith(_BEGINS) or _ESCAPED in line:
        return None
    if front.service and _SERVICE in line:
        return None
    if front.level != "INFO" and any(name in line for name in _LEVELS):
        return None
    for name in _TIMES:
        if name in line:
            return b"{%b%b" % (front.labels, line[1:])
    moment = seconds(entry.time)
    if moment is None or moment < _FIRST:
        return None
    return b'{"timestamp":"%b",%b%b' % (stamp(moment).encode(), front.labels, line[1:])


def _told(front: Front, entry: Entry) -> Told | None:
    """Return what an entry says; its labels are taken apart already."""
    parsed = parse(entry.line)
    if parsed is None:
        return None
    if parsed.service:  # what its labels mean depends on it
        return told_of_entry(entry)
    parsed.service = front.service
    if parsed.timestamp is None:
        parsed.timestamp = seconds(entry.time)
    if parsed.level == "INFO":
        parsed.level = front.level
    parsed.fields = {**front.others, **parsed.fields}
    return parsed, ""


def _read(entry: Entry) -> Told:
    return told_of_entry(entry) or (Parsed(""), "")
