"""The journal's entries as records: what a program wrote to its standard output as several lines is one.

Rules

- systemd keeps each line of a program's output as an entry (with a `_STREAM_ID`); so does Docker's driver.
  Lines of one stream that belong together are joined as those of a file are; the record has what its first
  entry has. A line whose priority was said anew (`<4>…`) begins a record. Every other entry is a record.
- A record is given out when it is complete; each stream keeps its order. A stream's record is complete when
  the journal has gone on for `timeout` without it; all are when nothing came for so long (`flush`), and when
  more is held than may be.
- `place` says where reading goes on after what was given out so far: behind an entry, or, while lines are
  held, that and the lines. What was held is read again then and nothing else, so that a kill loses nothing
  and repeats nothing.
- How entries come, one by one or many at once, changes no record.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Final, NamedTuple

import orjson

from ..core.journal import text_of
from ..core.multiline import Group, Joiner

__all__ = ["Entry", "Record", "Records"]

_HELD_BYTES: Final = 256 * 1024  # what goes into the spool together fits in there
_STREAMS: Final = 100  # that lines are held of
_DEFAULT: Final = "6"  # the priority of a line that says none


class Entry(NamedTuple):
    """An entry: its fields, its time in microseconds, its place."""

    fields: Mapping[str, Any]
    moment: int
    place: str


class Record(NamedTuple):
    """What one or more entries say, and the time of the first."""

    fields: Mapping[str, Any]
    moment: int


class _Line(NamedTuple):
    """A line that is held, by number in the order of reading, and the place of the entry before it."""

    number: int
    size: int
    entry: Entry
    before: str


@dataclass(slots=True)
class _Stream:
    """What is held of one program's output."""

    joiner: Joiner
    latest: int
    priority: str = ""
    lines: deque[_Line] = field(default_factory=deque)
    fresh: list[bytes] = field(default_factory=list)  # of these, what the joiner was not fed yet


@dataclass(slots=True)
class _Again:
    """What was read before the last end: all up to `last`, of which the lines of `held` are to come again."""

    last: str
    moment: int
    held: dict[str, str]  # stream → where its first line is
    begun: set[str] = field(default_factory=set)

    def is_known(self, entry: Entry, stream: str) -> bool:
        if self.held.get(stream) == entry.place:
            self.begun.add(stream)
        return stream not in self.begun


@dataclass(slots=True)
class Records:
    """Makes records. `joiner` makes what joins the lines of one stream; None: each line is a record."""

    joiner: Callable[[], Joiner | None]
    timeout: float = 1.0
    _streams: dict[str, _Stream] = field(default_factory=dict)
    _done: list[tuple[int, Record]] = field(default_factory=list)  # by number in the order of reading
    _bytes: int = 0  # of what was not given out
    _number: int = 0  # of entries
    _last: str = ""  # the place of the latest entry
    _latest: int = 0  # and its time
    _again: _Again | None = None

    @property
    def held(self) -> bool:
        """Whether there are lines that may go on."""
        return any(stream.lines for stream in self._streams.values())

    @property
    def full(self) -> bool:
        """Whether what is there should be taken before more comes."""
        return self._bytes > _HELD_BYTES

    @property
    def place(self) -> bytes:
        """Where reading goes on when all was given out that is complete."""
        held = {name: stream.lines[0] for name, stream in self._streams.items() if stream.lines}
        if not held:
            return self._last.encode()
        first = min(held.values())
        again = {
            "after": first.before,
            "last": self._last,
            "moment": self._latest,
            "held": {name: line.entry.place for name, line in held.items()},
        }
        return orjson.dumps(again)

    def resume(self, place: bytes) -> str:
        """Go on at a `place`; return behind which entry reading has to begin, empty: with the first."""
        if not place.startswith(b"{"):
            self._last = place.decode()
            return self._last
        said = orjson.loads(place)
        self._again = _Again(said["last"], said["moment"], said["held"])
        self._last = said["after"]
        return self._last

    def feed(self, entry: Entry) -> None:
        """Take an entry."""
        fields = entry.fields
        name = _stream_of(fields)
        before, self._last, self._latest = self._last, entry.place, entry.moment
        again = self._again
        if again is not None:
            if entry.moment > again.moment or entry.place == again.last:
                self._again = None
            if entry.moment <= again.moment and again.is_known(entry, name):
                return
        self._bytes += _bytes_of(entry)
        self._number += 1
        stream = self._stream(name, entry)
        if stream is None:
            self._done.append((self._number, Record(fields, entry.moment)))
            return
        line = text_of(fields.get("MESSAGE", "")).encode("utf-8", "replace")
        priority = text_of(fields.get("PRIORITY", _DEFAULT))
        anew = priority not in {stream.priority, _DEFAULT}
        if anew or entry.moment - stream.latest > self.timeout * 1e6:
            self._end(stream)
        stream.latest, stream.priority = entry.moment, priority
        stream.fresh.append(line)
        stream.lines.append(_Line(self._number, len(line) + 1, entry, before))

    def take(self) -> list[Record]:
        """Return the records that are complete."""
        before = self._latest - int(self.timeout * 1e6)
        for name, stream in list(self._streams.items()):
            if stream.latest < before:
                self._end(self._streams.pop(name))
            else:
                self._join(stream)
        given = self._given()
        self._bytes = sum(_bytes_of(line.entry) for stream in self._streams.values() for line in stream.lines)
        return given + self.flush() if self.full or len(self._streams) > _STREAMS else given

    def flush(self) -> list[Record]:
        """Return what is held, complete or not."""
        self._again = None
        for stream in self._streams.values():
            self._end(stream)
        self._streams.clear()
        self._bytes = 0
        return self._given()

    def _given(self) -> list[Record]:
        done, self._done = self._done, []
        return [record for _, record in sorted(done, key=itemgetter(0))]

    def _stream(self, name: str, entry: Entry) -> _Stream | None:
        stream = self._streams.get(name)
        if stream is None and name and (joiner := self.joiner()) is not None:
            stream = self._streams[name] = _Stream(joiner, entry.moment)
        return stream

    def _join(self, stream: _Stream) -> None:
        fresh, stream.fresh = stream.fresh, []
        self._records(stream, stream.joiner.feed_all(fresh))

    def _end(self, stream: _Stream) -> None:
        self._join(stream)
        self._records(stream, stream.joiner.flush())

    def _records(self, stream: _Stream, groups: Sequence[Group]) -> None:
        """Note records; their sizes tell of which lines they are."""
        for text, took in groups:
            line = stream.lines.popleft()
            first, left = line.entry, took - line.size
            fields = {**first.fields, "MESSAGE": text} if left > 0 else first.fields
            while left > 0:
                left -= stream.lines.popleft().size
            self._done.append((line.number, Record(fields, first.moment)))


def _stream_of(fields: Mapping[str, Any]) -> str:
    """Return whose output an entry is a line of; empty: it is none."""
    if "CONTAINER_ID_FULL" in fields:
        return text_of(fields["CONTAINER_ID_FULL"]) + text_of(fields.get("PRIORITY", ""))
    return text_of(fields.get("_STREAM_ID", ""))


def _bytes_of(entry: Entry) -> int:
    return sum(map(len, entry.fields.values()))
