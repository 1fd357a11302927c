"""The usual case framed in one pass: lines that are live, of known form, with contiguous sequences.

The plain way (`routing`, `metadata`, `protobuf`) decides everything; this one gives byte for byte what that
gives, or gives up (None) before anything was sent, and then the plain way does the batch. Rules:

- Fields are read with the types that the schema declares; a value of another type makes it give up. So a
  cached value can never be taken for an equal one of another type (`1`, `1.0`, `true`).
- What few values make up (labels, `endpoint`, `status_code`, ...) is looked up as one tuple, a *combination*,
  that leads to its stream and its framed metadata. A field with many values (`trace_id`) crowds the table: it
  is then written event by event. Which fields these are is found while running.
- An event that does not fit (long or non-ASCII metadata, a long line) is framed alone, by the plain
  functions.
- It works in chunks and calls `rest` between them: the caller's chance to let other threads have the
  interpreter, and small enough that what was just read is still in the processor's cache.

The loop is written as source, as in `metadata`: positions only, nothing that a user wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
import orjson

from ...model import Batch
from .heads import Head
from .metadata import BOOLEANS, frame_pairs, openings
from .protobuf import field_two, framed_nanos, open_push, seal_push, second_stamp, varint
from .timestamps import Bounds, parse_timestamp

__all__ = ["CHUNK", "Express", "Framed"]

CHUNK: Final = 125
"""Events framed without a rest; a divisor of 1000, so that a chunk's sequences share all but three digits."""

_CROWD: Final = 1_024
_WIDE: Final = _CROWD // 4
_STREAMS: Final = 200
_TAILS: Final = [f"{low:03}" for low in range(1000)]
_TYPES: Final[Mapping[str, Any]] = {"string": str | None, "integer": int | None, "boolean": bool | None}

Combination: TypeAlias = tuple[Any, ...]
"""The stream's `parts.extend`, and the framed metadata between the fields that are written one by one."""


class Framed(NamedTuple):
    """A push that is ready to be sent: its stream, its entries' number, its bytes."""

    text: str
    events: int
    body: bytearray


class _GiveUp(Exception):  # noqa: N818 - nothing is wrong
    """The batch is not the usual case."""


@dataclass(slots=True)
class _Stream:
    """What has been framed for one stream: six pieces an entry in `parts`, whole chunks in `body`."""

    text: str
    parts: list[bytes] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    events: int = 0

    def gather(self) -> None:
        """Move the chunk's pieces to the body."""
        if not self.body:
            self.body = open_push(self.text)
        self.events += len(self.parts) // 6
        self.body += b"".join(self.parts)
        self.parts.clear()

    def take(self) -> Framed:
        """Return the push, and begin a new one."""
        seal_push(self.body)
        framed = Framed(self.text, self.events, self.body)
        self.body, self.events = bytearray(), 0
        return framed

    def clear(self) -> None:
        """Forget what was framed."""
        self.parts.clear()
        self.body, self.events = bytearray(), 0


class Express:
    """Frames batches for these labels and metadata fields.

    `types`: the schema's types by field. `stream` returns the labels' text of a stream; None: not now.
    """

    def __init__(
        self,
        labels: Sequence[str],
        metadata: Sequence[str],
        types: Mapping[str, str],
        stream: Callable[[tuple[Any, ...]], str | None],
        line_bytes: int,
    ) -> None:
        self._labels, self._metadata, self._types = tuple(labels), tuple(metadata), types
        self._stream_text, self._line_bytes = stream, line_bytes
        self._streams: dict[str, _Stream] = {}
        self._combinations: dict[tuple[Any, ...], Combination] = {}
        self._wide = {name for name in metadata if types.get(name) not in _TYPES}
        self._crowded = False
        self._bounds = Bounds(0.0, 0, 0)
        self._spool = ""
        self._decode = self._decoder().decode_lines
        self._loop = self._compile()

    def frame(self, batch: Batch, bounds: Bounds, rest: Callable[[], None]) -> list[Framed] | None:
        """Return the batch's pushes, a stream each; None: it is not the usual case."""
        sequences, lines = batch.sequences, batch.lines
        first, size = sequences[0], len(lines)
        if first < 1000 or sequences[-1] - first != size - 1 or batch.carries:
            return None
        self._bounds, self._spool = bounds, batch.spool
        if self._crowded or len(self._streams) > _STREAMS:
            self._make_room()
        at = 0
        try:
            while at < size:
                rest()
                stop = min(size, at + CHUNK - (first + at) % CHUNK)
                self._chunk(lines[at:stop], first + at)
                at = stop
        except (_GiveUp, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            for stream in self._streams.values():
                stream.clear()
            return None
        return [stream.take() for stream in self._streams.values() if stream.events]

    def _chunk(self, lines: Sequence[bytes], first: int) -> None:
        heads: Sequence[Head] = self._decode(b"\n".join(lines))
        if len(heads) != len(lines):  # one of them holds a line break, or nothing
            raise _GiveUp
        thousand, low = divmod(first, 1000)
        own = f"{self._spool}-{thousand}"
        opening = _event_opening(len(own) + 3)
        try:
            nanos = [int(head.t[20:26]) * 1000 + place for place, head in enumerate(heads, low)]
        except (TypeError, ValueError):
            raise _GiveUp from None
        if min(nanos) < 0:
            raise _GiveUp
        tails = _TAILS[low : low + len(lines)]
        self._loop(heads, lines, tails, framed_nanos(nanos), opening + own, first)
        for stream in self._streams.values():
            if stream.parts:
                stream.gather()

    # ── what the loop calls, now and then ──

    def _second(self, moment: Any) -> tuple[str, bytes]:
        """Return the characters that times of the same second begin with, and that second as it is framed."""
        if type(moment) is not str or len(moment) != 27 or moment[19] != "." or moment[26] != "Z":
            raise _GiveUp
        parsed = parse_timestamp(moment)
        if parsed is None or not self._bounds.live_from <= parsed[0] <= self._bounds.youngest:
            raise _GiveUp
        return moment[:20], second_stamp(parsed[0])

    def _meet(self, key: tuple[Any, ...]) -> Combination:
        """Return the combination of values that is not in the table, and put it there if there is room."""
        labels = key[: len(self._labels)]
        values = dict(zip(self._narrow(), key[len(labels) :], strict=True))
        pieces = [""]
        for name in self._metadata:
            if name in self._wide:
                pieces.append("")
            else:
                # A piece beyond ASCII cannot be encoded by the loop: such events go the odd way.
                pieces[-1] += frame_pairs({name: values[name]}).decode("latin-1")
        found = (self._stream(labels).parts.extend, *pieces)
        if len(self._combinations) < _CROWD:
            self._combinations[key] = found
        else:
            self._crowded = True
        return found

    def _odd(self, head: Head, line: bytes, sequence: int, nanos: bytes) -> None:
        """Frame one event by the plain functions."""
        _, stamp = self._second(head.t)
        if len(line) > self._line_bytes:
            raise _GiveUp
        values = {name: getattr(head, f"m{i}") for i, name in enumerate(self._metadata)}
        meta = frame_pairs({"event_id": f"{self._spool}-{sequence}"} | values)
        opening = b"\x12" + varint(len(line))
        size = len(stamp) + 5 + len(opening) + len(line) + len(meta)
        labels = tuple(getattr(head, f"l{i}") for i in range(len(self._labels)))
        stream = self._stream(labels)
        stream.parts += (b"\x12" + varint(size), stamp, nanos, opening, line, meta)

    def _stream(self, labels: tuple[Any, ...]) -> _Stream:
        text = self._stream_text(labels)
        if text is None:
            raise _GiveUp
        return self._streams.setdefault(text, _Stream(text))

    # ── the tables ──

    def _narrow(self) -> list[str]:
        return [name for name in self._metadata if name not in self._wide]

    def _make_room(self) -> None:
        """Empty the tables; fields that have taken many values are written one by one from now on."""
        places = enumerate(self._narrow(), len(self._labels))
        keys = self._combinations
        self._wide |= {name for place, name in places if len({key[place] for key in keys}) > _WIDE}
        self._combinations, self._streams, self._crowded = {}, {}, False
        self._loop = self._compile()

    def _decoder(self) -> msgspec.json.Decoder[list[Head]]:
        types = {name: _TYPES.get(self._types.get(name, ""), Any) for name in self._metadata}
        fields: list[tuple[str, Any, Any]] = [("t", str | None, None)]
        fields += [(f"l{i}", str | None, None) for i in range(len(self._labels))]
        fields += [(f"m{i}", types[name], None) for i, name in enumerate(self._metadata)]
        names = ["timestamp", *self._labels, *self._metadata]
        rename = {attribute: name for (attribute, _, _), name in zip(fields, names, strict=True)}
        # In the order in which lines have them, as far as the schema knows: found without a search.
        order = {name: place for place, name in enumerate(self._types)}
        fields.sort(key=lambda entry: order.get(rename[entry[0]], len(order)))
        return msgspec.json.Decoder(msgspec.defstruct("Head", fields, rename=rename, gc=False))

    def _compile(self) -> Callable[..., None]:
        wide = [i for i, name in enumerate(self._metadata) if name in self._wide]
        key = [f"head.l{i}" for i in range(len(self._labels))]
        key += [f"head.m{i}" for i, name in enumerate(self._metadata) if name not in self._wide]
        pieces = [f"p{i}" for i in range(len(wide) + 1)]
        source = ["def loop(heads, lines, tails, nanos, own, first):", " prefix = ''"]
        source += [" for head, line, tail, nano in zip(heads, lines, tails, nanos):", "  try:"]
        source += ["   moment = head.t"]
        source += ["   if moment[:20] != prefix or len(moment) != 27: prefix, stamp = second(moment)"]
        source += [f"   key = ({''.join(f'{k},' for k in key)})", "   found = get(key)"]
        source += [f"   add, {', '.join(pieces)} = meet(key) if found is None else found"]
        text = "{own}{tail}{p0}"
        for place, i in enumerate(wide, 1):
            source += _written(i, self._types.get(self._metadata[i], ""))
            text += f"{{s{i}}}{{v{i}}}{{p{place}}}"
        # ASCII only: a length of characters is then a length of bytes.
        source += [f"   meta = f'{text}'", "   if not meta.isascii(): raise ValueError"]
        source += ["   meta = meta.encode()", "   length = len(line)", "   opening = opens[length]"]
        source += [f"   size = {_STAMPED} + len(opening) + length + len(meta)"]
        source += ["   add((opens[size], stamp, nano, opening, line, meta))"]
        source += ["  except (IndexError, ValueError, TypeError):"]
        source += ["   odd(head, line, first // 1000 * 1000 + int(tail), nano)"]
        scope: dict[str, Any] = {f"h{i}": openings(self._metadata[i]) for i in wide}
        scope |= {"get": self._combinations.get, "meet": self._meet, "odd": self._odd}
        scope |= {"second": self._second, "plain": BOOLEANS}
        scope |= {"opens": field_two(), "dumps": orjson.dumps}
        exec("\n".join(source), scope)  # noqa: S102 - positions only, see the module's rules
        loop: Callable[..., None] = scope["loop"]
        return loop


_STAMPED: Final = 15  # a framed timestamp: tag, length, and 13 bytes
_EVENT_OPENINGS: Final = openings("event_id")


def _event_opening(length: int) -> str:
    if length >= len(_EVENT_OPENINGS):
        raise _GiveUp  # a sequence of sixty digits, or a spool's id that is not one
    return _EVENT_OPENINGS[length]


def _written(i: int, type_: str) -> list[str]:
    """Return the statements that set `v` to the text of a field's value, and `s` to what stands before it."""
    short, absent = f"s{i} = h{i}[len(v{i})]", f"s{i} = v{i} = ''"
    if type_ == "string":
        return [f"   if v{i} := head.m{i}: {short}", f"   else: {absent}"]
    # `f'{1.5}'` is a number's own text, as `repr` gives it. JSON's is the same where neither has an exponent,
    # and made in half the time.
    return [
        f"   v{i} = head.m{i}",
        f"   if v{i}.__class__ is float and 0.0001 <= v{i} < 1e16: v{i} = dumps(v{i}).decode(); {short}",
        f"   elif v{i}.__class__ is float or v{i}.__class__ is int: v{i} = f'{{v{i}}}'; {short}",
        f"   elif v{i} is None or v{i} == '': {absent}",
        f"   elif v{i}.__class__ is str: {short}",
        f"   elif v{i}.__class__ is bool: v{i} = plain[v{i}]; {short}",
        "   else: raise TypeError",
    ]
