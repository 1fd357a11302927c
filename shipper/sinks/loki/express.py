"""The usual case framed in one pass: lines of known form with contiguous sequences, all live or all backfill.

The plain way (`routing`, `metadata`, `protobuf`) decides everything; this one gives byte for byte what that
gives, or gives up (None) before anything was sent, and then the plain way does the batch. Rules:

- Fields are read with the types that the schema declares; a value of another type makes it give up. So a
  cached value can never be taken for an equal one of another type (`1`, `1.0`, `true`).
- What few values make up (labels, `endpoint`, `status_code`, ...) is looked up as one key, a *combination*,
  that leads to its stream and its framed metadata. A field with many values (`trace_id`) is *wide*: it is
  written event by event. Which fields these are is found while running (`seen`); should the table of
  combinations be crowded all the same, the field with most values in it becomes wide too.
- A chunk is read by the strict plan (`loop`), made for the values that there were so far; when something in
  it is new, by the loose one, which takes any of its type. From what that reads the next strict plan is made,
  the later the more often it had to be.
- A batch is live, or it goes to backfill streams as a whole: then it spans at most `timestamps.WINDOW`, and
  each of its streams has one lane for all of it. Any other batch goes the plain way.
- A line that brings its id with it makes it give up. That no line does is what the strict decoder finds
  without a look at them.
- An event that does not fit (long or non-ASCII metadata, a short or a long line) is framed alone, by the
  plain functions.
- Where the columns of lines were written beside them, the lines are not decoded (`columned`).
- It works in chunks and calls `rest` between them: the caller's chance to let other threads have the
  interpreter, and small enough that what was just read is still in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, Final, NamedTuple

import msgspec

from ...core.columns import Scalar, useful
from ...core.ended import ended
from ...core.rows import Rows
from ...model import Batch, Beside, carry
from .columned import TIME, Columned, Unfit
from .heads import Head
from .labels import written_by
from .loop import Combination, Plan
from .metadata import frame_pairs, openings
from .protobuf import (
    MANY,
    fives,
    framed_micros,
    framed_nanos,
    opens,
    push_of,
    second_stamp,
    varint,
)
from .seen import Place, Seen
from .timestamps import WINDOW, Bounds, parse_timestamp

__all__ = ["CHUNK", "Express", "Framed"]

CHUNK: Final = 125
"""Events framed without a rest; a divisor of 1000, so that a chunk's sequences share all but three digits."""

_NOTHING: Final = (1 << 62, -1)  # the span of no seconds: from, to
_CROWD: Final = 1_024
_STREAMS: Final = 200
_TAILS: Final = [b"%03d" % low for low in range(1000)]
_STAMP: Final = 15  # a framed timestamp: tag, length, and 13 bytes
_OPENING: Final = 3  # what stands before a line of 128 bytes or more
_ID: Final = "e"  # the attribute of an id that a line brings with it
_LONGEST_WAIT: Final = 512  # chunks that the loose plan takes before there is another strict one


class Framed(NamedTuple):
    """A push that is ready to be sent: its stream, its entries' number, its bytes.

    `lane` is its backfill lane (None: it is live), `newest` the last second of the batch.
    """

    text: str
    events: int
    body: bytes
    lane: tuple[str, int] | None = None
    newest: int = 0


class _GiveUp(Exception):  # noqa: N818 - nothing is wrong
    """The batch is not the usual case."""


@dataclass(slots=True)
class _Stream:
    """What has been framed for one stream: some pieces an entry in `parts`, whole chunks in `chunks`.

    These are joined once: bytes that grow would be copied again and again.
    """

    text: str
    parts: list[bytes] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)
    events: int = 0

    def gather(self, pieces: int) -> None:
        """Join the chunk's entries; each has so many pieces."""
        self.put(b"".join(self.parts), len(self.parts) // pieces)
        self.parts.clear()

    def put(self, entries: bytes, events: int) -> None:
        """Take entries that are framed and joined."""
        self.events += events
        self.chunks.append(entries)

    def take(self, text: str, lane: tuple[str, int] | None, newest: int) -> Framed:
        """Return the push, to the stream of these labels, and begin a new one."""
        framed = Framed(text, self.events, push_of(text, self.chunks), lane, newest)
        self.clear()
        return framed

    def clear(self) -> None:
        """Forget what was framed."""
        self.parts.clear()
        self.chunks.clear()
        self.events = 0


class Express:
    """Frames batches for these labels and metadata fields.

    `types`: the schema's types by field, in the order of lines. `stream` returns the labels' text of a
    stream; None: not now. `late` returns the text and the lane of the backfill stream of such a text, for a
    spool's events of some seconds; None: there is not one for all of them.
    """

    def __init__(
        self,
        labels: Sequence[str],
        metadata: Sequence[str],
        types: Mapping[str, str],
        stream: Callable[[tuple[Any, ...]], str | None],
        late: Callable[[str, str, int, int], tuple[str, tuple[str, int]] | None],
        line_bytes: int,
    ) -> None:
        self._labels = {f"l{i}": name for i, name in enumerate(labels)}
        self._metadata = {f"m{i}": name for i, name in enumerate(metadata)}
        self._types = types
        self._stream_text, self._late, self._line_bytes = stream, late, line_bytes
        self._streams: dict[str, _Stream] = {}
        self._seen = Seen(self._places())
        self._wide = {
            attribute
            for attribute, name in self._metadata.items()
            if types.get(name) not in {"string", "integer", "boolean"}
        }
        self._bounds, self._span = Bounds(0.0, 0, 0), _NOTHING
        self._spool = ""
        self._moment = "", 0, b""  # what times of a second begin with, the second, and it framed
        self._wait = self._waited = 1
        self._crowded = False
        self._columned: Columned | None = None
        self._strict: Plan | None = None
        self._loose = self._plan(strict=False)

    def frame(
        self, batch: Batch, writer: str, bounds: Bounds, rest: Callable[[], None]
    ) -> list[Framed] | None:
        """Return the batch's pushes, a stream each, the writer's; None: it is not the usual case."""
        sequences, lines = batch.sequences, batch.lines
        first, size = sequences[0], len(lines)
        if first < 1000 or sequences[-1] - first != size - 1:
            return None
        self._bounds, self._spool, self._span = bounds, batch.spool, _NOTHING
        if self._crowded or len(self._streams) > _STREAMS:
            self._make_room()
        at = 0
        try:
            while at < size:
                rest()
                columned = self._beside(batch.beside, first + at)
                if columned is not None:
                    longer = 10 ** len(str(first + at))  # the first sequence with more digits
                    stop = min(size, columned.stop - first, at + MANY, longer - first)
                    if self._by_columns(columned, ended(lines, at, stop), first + at):
                        at = stop
                        continue
                stop = min(size, at + CHUNK - (first + at) % CHUNK)
                self._chunk(lines[at:stop], first + at)
                at = stop
            return [self._push(stream, writer) for stream in self._streams.values() if stream.events]
        except (_GiveUp, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            for stream in self._streams.values():
                stream.clear()
            return None

    def _push(self, stream: _Stream, writer: str) -> Framed:
        """Return a stream's push: the writer's, or that of a lane."""
        oldest, newest = self._span
        if oldest >= self._bounds.live_from:
            return stream.take(written_by(stream.text, writer), None, newest)
        found = self._late(stream.text, self._spool, oldest, newest)
        if found is None:
            raise _GiveUp
        return stream.take(*found, newest)

    def _beside(self, beside: Sequence[Beside], sequence: int) -> Columned | None:
        """Return what was written beside an event; None: nothing that is of use."""
        one = useful(beside, sequence)
        if one is None:
            return None
        known = self._columned
        if known is None or known.beside is not one:
            fields = tuple(self._labels.values()), tuple(self._metadata.values())
            known = self._columned = Columned(one, *fields, self._types)
        return known if known.fits else None

    def _by_columns(self, columned: Columned, lines: Sequence[bytes], first: int) -> bool:
        """Frame events by their columns; False: that was not possible, and nothing was framed."""
        place, size = first - columned.first, len(lines)
        rows = Rows()
        self._times(rows, columned.times(place, place + size), first % 1000)
        opening = _event_opening(len(self._spool) + 1 + len(str(first))) + self._spool + "-"
        rows.same(opening.encode())
        rows.numbers(first, size)
        try:
            columned.frame(place, lines, rows, self._put)
        except Unfit:
            columned.fits = False
            return False
        return True

    def _times(self, rows: Rows, times: bytes, low: int) -> None:
        """Write framed timestamps but for their tags. `low` are the first event's last three digits."""
        try:
            second, digits = self._second(times[:TIME].decode()), _one_second(times)
            nanos = framed_micros(digits, low)
            rows.same(second[1:])
        except ValueError:
            moments = [times[at : at + TIME].decode() for at in range(0, len(times), TIME)]
            stamps, nanos = self._stamped_one_by_one(moments, low)
            rows.column(b"".join([stamp[1:] for stamp in stamps]), len(stamps[0]) - 1)
        rows.column(nanos, 5, 8)

    def _put(self, labels: tuple[Scalar, ...], events: int, entries: bytes) -> None:
        self._stream(labels).put(entries, events)

    def _chunk(self, lines: Sequence[bytes], first: int) -> None:
        heads, plan = self._read(b"\n".join(lines))
        if _ID not in plan.constants and carry(lines):
            raise _GiveUp
        size = len(lines)
        if len(heads) != size:  # one of them holds a line break, or nothing
            raise _GiveUp
        thousand, low = divmod(first, 1000)
        try:
            text = "".join([head.t for head in heads])
        except TypeError:
            raise _GiveUp from None
        stamps, nanos = self._stamped(text, size, low, heads)
        own = f"{self._spool}-{thousand}"
        opening = _event_opening(len(own) + 3) + own
        openings = opens(_STAMP + _OPENING + len(opening) + 3)
        tails = _TAILS[low : low + size]
        plan.run(heads, lines, tails, fives(nanos), stamps, opening.encode(), openings, first)
        for stream in self._streams.values():
            if stream.parts:
                stream.gather(plan.pieces)

    def _read(self, block: bytes) -> tuple[Sequence[Head], Plan]:
        """Return the heads of a chunk's lines, and the plan that they are for."""
        if self._wait <= 0:
            plan = self._strict = self._strict or self._plan(strict=True)
            try:
                return plan.decode(block), plan
            except msgspec.ValidationError:
                self._waited = min(self._waited * 2, _LONGEST_WAIT)
                self._wait = self._waited
        heads = self._loose.decode(block)
        self._wait -= 1
        if self._seen.learn(heads):
            self._strict = None
            if new := self._metadata.keys() & self._seen.open - self._wide:
                self._wide |= new
                # The heads are as they were: whatever of them is wide now, this plan knows.
                self._loose = self._plan(strict=False)
        return heads, self._loose

    def _stamped(
        self, text: str, size: int, low: int, heads: Sequence[Head]
    ) -> tuple[Iterable[bytes], bytes]:
        """Return the framed seconds and nanoseconds of the joined times of `heads`.

        `low` are the first event's last three digits.
        """
        try:
            digits = text.replace(text[:20], "0")
            if len(text) == 27 * size and len(digits) == 8 * size:
                return repeat(self._second(text[:27])), framed_micros(digits.encode(), low)
        except (TypeError, ValueError):
            pass
        return self._stamped_one_by_one([head.t for head in heads], low)

    def _stamped_one_by_one(self, moments: Sequence[str], low: int) -> tuple[list[bytes], bytes]:
        prefix, stamp = "", b""
        stamps, nanos = [], []
        try:
            for place, moment in enumerate(moments, low):
                if moment[:20] != prefix or len(moment) != 27:
                    prefix, stamp = moment[:20], self._second(moment)
                stamps.append(stamp)
                nanos.append(int(moment[20:26]) * 1000 + place % 1000)
        except (TypeError, ValueError):
            raise _GiveUp from None
        if min(nanos) < 0:
            raise _GiveUp
        return stamps, framed_nanos(nanos)

    # ── what is called now and then ──

    def _second(self, moment: str) -> bytes:
        """Return the second of a time as it is framed."""
        prefix, second, stamp = self._moment
        if moment[:20] != prefix or len(moment) != 27 or moment[26] != "Z":
            if len(moment) != 27 or moment[19] != "." or moment[26] != "Z":
                raise _GiveUp
            parsed = parse_timestamp(moment)
            if parsed is None:
                raise _GiveUp
            second, stamp = parsed[0], second_stamp(parsed[0])
            self._moment = moment[:20], second, stamp
        oldest, newest = self._span
        if not oldest <= second <= newest:
            self._span = oldest, newest = min(oldest, second), max(newest, second)
            bounds = self._bounds
            live = bounds.live_from <= oldest and newest <= bounds.youngest
            late = bounds.oldest <= oldest and newest < bounds.live_from and newest - oldest <= WINDOW
            if not live and not late:
                raise _GiveUp
        return stamp

    def _meet(self, plan: Plan, key: tuple[Any, ...]) -> Combination:
        """Return the combination of values that is not in the plan's table; put it there if there is room."""
        values = {**plan.constants, **dict(zip(plan.keys, key, strict=True))}
        pieces = [b""]
        for attribute, name in self._metadata.items():
            if attribute in plan.wide:
                pieces.append(b"")
            else:
                pieces[-1] += frame_pairs({name: values[attribute]})
        stream = self._stream(tuple(values[attribute] for attribute in self._labels))
        found = plan.combine(stream.parts.extend, pieces)
        if not plan.keep(key, found, _CROWD):
            self._crowded = True
        return found

    def _odd(self, plan: Plan, head: Head, line: bytes, sequence: int, stamp: bytes, nanos: bytes) -> None:
        """Frame one event by the plain functions."""
        if len(line) > self._line_bytes:
            raise _GiveUp
        values = {name: getattr(head, attribute) for attribute, name in self._metadata.items()}
        meta = frame_pairs({"event_id": f"{self._spool}-{sequence}"} | values)
        opening = b"\x12" + varint(len(line))
        size = len(stamp) + 5 + len(opening) + len(line) + len(meta)
        stream = self._stream(tuple(getattr(head, attribute) for attribute in self._labels))
        pieces = b"\x12" + varint(size), opening, line, stamp, nanos, meta
        stream.parts += pieces + (b"",) * (plan.pieces - len(pieces))

    def _stream(self, labels: tuple[Any, ...]) -> _Stream:
        text = self._stream_text(labels)
        if text is None:
            raise _GiveUp
        return self._streams.setdefault(text, _Stream(text))

    # ── the plans ──

    def _places(self) -> Sequence[Place]:
        """Return the fields that are read, in the order in which lines have them: found without a search."""
        places = [Place(attribute, name, "string") for attribute, name in self._labels.items()]
        places += [
            Place(attribute, name, self._types.get(name, "")) for attribute, name in self._metadata.items()
        ]
        if "event_id" not in {place.name for place in places}:
            places.append(Place(_ID, "event_id"))
        order = {name: place for place, name in enumerate(self._types)}
        return sorted(places, key=lambda place: order.get(place.name, len(order)))

    def _plan(self, *, strict: bool) -> Plan:
        constants = self._seen.constants if strict else {}
        wide = {
            attribute: name
            for attribute, name in self._metadata.items()
            if attribute in self._wide and attribute not in constants
        }
        fields = *self._labels, *self._metadata
        keys = [name for name in fields if name not in constants and name not in wide]
        decoder = self._seen.strict() if strict else self._seen.loose
        types = {attribute: self._types.get(name, "") for attribute, name in wide.items()}
        if not strict:  # then a number may be anything
            types = {attribute: "" if type_ == "number" else type_ for attribute, type_ in types.items()}
        return Plan(decoder.decode_lines, keys, constants, wide, types, self._meet, self._odd)

    def _make_room(self) -> None:
        """Empty the tables; of a crowded one, the field with most values becomes wide."""
        if self._crowded:
            counts: dict[str, int] = {}
            for plan in (self._loose, self._strict):
                for attribute, count in plan.counts().items() if plan is not None else ():
                    if attribute in self._metadata and count > 1:
                        counts[attribute] = max(count, counts.get(attribute, 0))
            if counts:
                self._wide.add(max(counts, key=lambda attribute: counts[attribute]))
        self._streams, self._crowded = {}, False
        self._strict, self._loose = None, self._plan(strict=False)


def _one_second(times: bytes) -> bytes:
    """Return the microseconds of joined times of one second as `framed_micros` takes them, or ValueError."""
    size = len(times) // TIME
    digits, same = bytearray(b"0______Z" * size), bytearray((times[:20] + b"______Z") * size)
    for place in range(6):
        column = times[20 + place :: TIME]
        digits[1 + place :: 8] = same[20 + place :: TIME] = column
    if same != times:
        raise ValueError(times[:TIME])
    return bytes(digits)


_EVENT_OPENINGS: Final = openings("event_id")


def _event_opening(length: int) -> str:
    if length >= len(_EVENT_OPENINGS):
        raise _GiveUp  # a sequence of sixty digits, or a spool's id that is not one
    return _EVENT_OPENINGS[length]
