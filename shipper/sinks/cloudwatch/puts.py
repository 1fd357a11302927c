"""Which events go into which PutLogEvents call, and the call's body. Pure: lines and a clock in, puts out.

What CloudWatch Logs asks of one call, and would refuse the whole of it for:

- one stream; events in the order of their times; less than 24 hours from the first to the last;
- at most 10,000 events and 1,048,576 bytes, which are the messages' bytes in UTF-8 and 26 for each event.

Beyond that single events are refused that are too old (14 days, the group's retention) or too far ahead
(2 hours). By our own clock a put ends at each of these bounds, so that what will be refused travels apart
from what will be taken; but the decision is the server's, because a clock may be wrong.

A message is the line with `event_id` in front of its fields. Equal times keep the order of the spool.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from ....handlers.encoding import shrink
from ...core.heads import Clock, Heads
from ...core.identified import ID_BYTES, identified
from ...core.template import NOTHING, Template
from ...model import Batch

__all__ = ["EVENT_OVERHEAD", "Put", "Puts", "body", "message", "messages"]

EVENT_OVERHEAD: Final = 26
"""Bytes that CloudWatch counts for an event beside its message."""

DAY: Final = 86_400_000
SPAN: Final = DAY - 1
TOO_OLD: Final = 14 * DAY
TOO_NEW: Final = 2 * 3_600_000
_STREAM: Final = str.maketrans({":": "_", "*": "_", **{chr(code): "_" for code in range(32)}, "\x7f": "_"})
_STREAMS: Final = 4_096
_CHUNK: Final = 250


@dataclass(slots=True)
class Put:
    """Events of one stream, by index in the batch, with their times (ms)."""

    stream: str
    indexes: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    size: int = 0


@dataclass(slots=True)
class Puts:
    """Makes puts of batches. `retention` is milliseconds, None: nothing expires."""

    template: Template
    max_events: int
    max_bytes: int
    retention: int | None = None
    _heads: Heads = field(init=False)
    _clock: Clock = field(default_factory=Clock)
    _streams: dict[tuple[Any, ...], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._heads = Heads(self.template.fields)

    def of(self, batch: Batch, sizes: Sequence[int], now: int) -> list[Put]:
        """Return the puts for a batch whose messages have these `sizes`; `now` is milliseconds since 1970."""
        rows: dict[str, list[tuple[int, int]]] = {}
        read, values = self._clock.milliseconds, self._heads.values
        known, before = self._streams, object()
        add = list[tuple[int, int]]().append
        for index, head in enumerate(self._heads.read(batch.lines)):
            # What has no time is stored under the time of its sending: better found late than lost.
            at = None if head is None else read(head.t)
            named = None if head is None else values(head)
            if named != before:
                add = rows.setdefault(self._stream(named, known), []).append
                before = named
            add((now if at is None or at < 0 else at, index))
        return [put for stream, events in rows.items() for put in self._divide(stream, events, sizes, now)]

    def _stream(self, values: tuple[Any, ...] | None, known: dict[tuple[Any, ...], str]) -> str:
        if values is None:
            values = (None,) * len(self.template.fields)
        try:
            return known[values]
        except (KeyError, TypeError):  # TypeError: a list or an object where a name should be
            name = self.template.render(values, lambda text: text.translate(_STREAM))[:512] or NOTHING
        if len(known) >= _STREAMS:
            known.clear()
        if all(isinstance(value, (str, int, type(None))) for value in values):
            known[values] = name
        return name

    def _divide(self, stream: str, rows: list[tuple[int, int]], sizes: Sequence[int], now: int) -> list[Put]:
        rows.sort()
        edges = [edge for edge in self._edges(now) if rows[0][0] < edge <= rows[-1][0]]
        whole = sum([sizes[index] for _, index in rows]) + EVENT_OVERHEAD * len(rows)
        near = rows[-1][0] - rows[0][0] <= SPAN and not edges
        if near and len(rows) <= self.max_events and whole <= self.max_bytes:
            return [Put(stream, [index for _, index in rows], [at for at, _ in rows], whole)]
        puts = [Put(stream)]
        put, most, room = puts[0], self.max_events, self.max_bytes
        end = min(rows[0][0] + SPAN, edges[0] - 1 if edges else rows[-1][0])
        for at, index in rows:
            size = sizes[index] + EVENT_OVERHEAD
            if at > end or len(put.indexes) >= most or (put.size + size > room and put.indexes):
                put = Put(stream)
                puts.append(put)
                end = min([at + SPAN, *(edge - 1 for edge in edges if edge > at)])
            put.indexes.append(index)
            put.times.append(at)
            put.size += size
        return puts

    def _edges(self, now: int) -> list[int]:
        """Return the times from which on the server decides otherwise, by this clock."""
        old = now - TOO_OLD if self.retention is None else now - min(TOO_OLD, self.retention)
        return sorted({now - TOO_OLD, old, now + TOO_NEW})


def messages(batch: Batch, limit: int) -> list[bytes]:
    """Return the message of each event."""
    spool, room = batch.spool.encode(), limit - ID_BYTES
    front, made = b'{"event_id":"%b-' % spool, list[bytes]()
    add = made.append
    for sequence, line in zip(batch.sequences, batch.lines, strict=True):
        # So begins what an application of ours has logged: an object with fields, and without an id as yet.
        if line.startswith(b'{"timestamp"') and len(line) <= room:
            add(b'%b%d",%b' % (front, sequence, line[1:]))
        else:
            add(message(line, b"%b-%d" % (spool, sequence), limit))
    return made


def message(line: bytes, own: bytes, limit: int) -> bytes:
    """Return the line with its id, cut to `limit` bytes and marked when it is larger."""
    whole = identified(line, own)
    if len(whole) <= limit:
        return whole
    try:
        event = orjson.loads(whole)
    except orjson.JSONDecodeError:
        event = {"event_id": own.decode(), "message": whole.decode("utf-8", "replace")}
    return shrink(event, limit)


def body(group: str, put: Put, messages: Sequence[bytes], rest: Callable[[], object] = lambda: None) -> bytes:
    """Return the request for one put; `messages` are the batch's. `rest` is called between small pieces."""
    head = orjson.dumps({"logGroupName": group, "logStreamName": put.stream})
    parts = []
    for start in range(0, len(put.indexes), _CHUNK):
        rows = zip(put.times[start : start + _CHUNK], put.indexes[start : start + _CHUNK], strict=True)
        parts.append(
            orjson.dumps([{"timestamp": at, "message": _text(messages[index])} for at, index in rows])[1:-1]
        )
        rest()
    return b'%b,"logEvents":[%b]}' % (head[:-1], b",".join(parts))


def _text(message: bytes) -> str:
    try:
        return message.decode()
    except UnicodeDecodeError:
        return message.decode("utf-8", "replace")
