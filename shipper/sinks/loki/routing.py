"""Which event of a batch goes into which push.

Rules:

- **One stream a push.** Loki's ingester answers for the last stream of a push only: what it refused of an
  earlier one (too far behind, rate, too many streams) is lost under a 204. With one stream the answer is the
  truth.
- Events of a push keep the batch's order. Backfill goes out before what is live, oldest first, in pushes that
  span at most `timestamps.WINDOW`, so that a repeated push is always within what Loki accepts and drops as
  duplicate.
- Everything here is a function of the batch, `now` and what was acknowledged before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from ...model import Batch, Rejected, writer_of
from .express import Express, Framed
from .heads import Head, Heads
from .labels import WRITER, LabelGuard, label_text, stream_labels, written_by
from .metadata import frame_metadata, pairs_of
from .protobuf import Row, pair
from .timestamps import WINDOW, Bounds, Lanes, Limit, parse_timestamp

__all__ = ["LINE_BYTES", "Push", "Route", "Router"]

LINE_BYTES: Final = 262_144
"""Loki's default bound for a line; what is longer it refuses, and so do we before it."""

_STREAMS: Final = 10_000
_GIGA: Final = 1_000_000_000


@dataclass(slots=True)
class Push:
    """The entries of one stream. `lane`: its backfill lane as `Lanes` knows it; None for a live stream."""

    labels: Mapping[str, str]
    text: str
    rows: list[Row] = field(default_factory=list)
    lane: tuple[str, int] | None = None


@dataclass(slots=True)
class Route:
    """A batch on its way: the pushes in order, and the events that Loki would never take, by index."""

    pushes: list[Push]
    refused: dict[int, Rejected]
    heads: Sequence[Head | None]
    metas: list[bytes]


@dataclass(slots=True)
class Router:
    """Routes batches; holds what must outlast one of them: known streams, lanes, learned limits."""

    labels: tuple[str, ...]
    static: Mapping[str, str]
    metadata: tuple[str, ...]
    guard: LabelGuard
    limit: Limit
    old_events: Literal["restamp", "dead_letter"] = "restamp"
    types: Mapping[str, str] = field(default_factory=dict)
    lanes: Lanes = field(default_factory=Lanes)
    writers: bool = False
    _anchor: int | None = None
    _streams: dict[tuple[Any, ...], tuple[Mapping[str, str], str]] = field(default_factory=dict)
    _labels_of: dict[str, Mapping[str, str]] = field(default_factory=dict)
    _heads: Heads = field(init=False)
    _frame: Any = field(init=False)
    _express: Express = field(init=False)

    def __post_init__(self) -> None:
        self._prepare()

    def _prepare(self) -> None:
        self._heads = Heads(self.labels, self.metadata)
        self._frame = frame_metadata(self.metadata)
        self._express = Express(self.labels, self.metadata, self.types, self._text, self._late, LINE_BYTES)
        self._forget_streams()

    def express(self, batch: Batch, bounds: Bounds, rest: Callable[[], None]) -> list[Framed] | None:
        """Return the pushes of `batch` ready to be sent, as `route` would make them; None: not this batch."""
        return self._express.frame(batch, self._writer(batch), bounds, rest)

    def route(self, batch: Batch, bounds: Bounds) -> Route:
        """Return the pushes of `batch`, sorted by `bounds`."""
        while True:
            heads = self._heads.read(batch.lines)
            route = self._sort(batch, heads, bounds)
            if route is not None:
                route.metas = self._frame(heads, batch.sequences, batch.spool)
                if batch.carries:
                    for index, head in enumerate(heads):
                        if head is not None:
                            pairs = self.pairs(head, batch.event_id(index))
                            route.metas[index] = b"".join(pair(name, text) for name, text in pairs.items())
                return route

    def pairs(self, head: Head, event_id: str) -> dict[str, str]:
        """Return an event's structured metadata as a mapping (for the JSON encoding)."""
        return pairs_of(head, self.metadata, event_id)

    # Every event passes this loop: a call in it would cost more than what it does.
    def _sort(  # noqa: C901 - see above
        self, batch: Batch, heads: Sequence[Head | None], bounds: Bounds
    ) -> Route | None:
        """Sort events into pushes. None: a label was demoted, so begin again."""
        oldest, youngest = bounds.live_from, bounds.youngest
        live: dict[tuple[Any, ...], list[Row]] = {}
        pushes: list[Push] = []
        late: list[tuple[int, int, int, tuple[Any, ...]]] = []
        refused: dict[int, Rejected] = {}
        values = self._heads.values
        if max(map(len, batch.lines), default=0) > LINE_BYTES:
            heads = [
                None if len(line) > LINE_BYTES else head
                for line, head in zip(batch.lines, heads, strict=True)
            ]
        prefix, second, current, writer = "", 0, False, self._writer(batch)
        sequences = _own_sequences(batch) if batch.carries else batch.sequences
        for head, sequence, index in zip(heads, sequences, range(len(heads)), strict=True):
            if head is None:
                refused[index] = Rejected(_unreadable(batch.lines[index]))
                continue
            stamp = head.t
            try:
                # Sinks see thousands of events a second: what a second is, is found once.
                if stamp[:20] == prefix and len(stamp) == 27 and (micros := int(stamp[20:26])) >= 0:
                    pass
                else:
                    second, micros = _time(stamp)
                    # Only the exact form may be remembered: its other digits say nothing of the second.
                    prefix = stamp[:20] if len(stamp) == 27 and stamp[19] == "." and stamp[26] == "Z" else ""
                    current = oldest <= second <= youngest
                key = values(head)
                rows = live.get(key)
            except (TypeError, ValueError):
                moment = parse_timestamp(stamp)
                if moment is None:
                    refused[index] = Rejected(f"no usable timestamp: {stamp!r:.80}")
                    continue
                second, micros = moment
                prefix, current = "", oldest <= second <= youngest
                key = tuple(map(str, values(head)))  # a label that is a list or an object has no hash
                rows = live.get(key)
            nanos = micros * 1000 + sequence % 1000
            if not current:
                late.append((second, nanos, index, key))
                continue
            if rows is None:
                known = self._stream(key)
                if known is None:
                    return None
                labels, text = known[0], written_by(known[1], writer)
                # An empty value and none at all are two keys of one stream.
                same = next((push for push in pushes if push.text == text), None)
                if same is None:
                    pushes.append(same := Push({**labels, WRITER: writer} if writer else labels, text))
                rows = live[key] = same.rows
            rows.append((index, second, nanos))
        backfill: list[Push] = []
        if late and not self._backfill(batch, late, bounds, backfill, refused):
            return None
        return Route(backfill + pushes, refused, heads, [])

    def _writer(self, batch: Batch) -> str:
        return str(writer_of(batch.spool)) if self.writers else ""

    def _stream(self, key: tuple[Any, ...]) -> tuple[Mapping[str, str], str] | None:
        """Return the labels of a stream, as mapping and as text. None: one of them was demoted just now."""
        known = self._streams.get(key)
        if known is None:
            if fallen := self.guard.admit(self.labels, key):
                self.labels = tuple(name for name in self.labels if name not in fallen)
                self.metadata += tuple(fallen)
                self._prepare()
                return None
            if len(self._streams) >= _STREAMS:
                self._forget_streams()
            labels = stream_labels(self.labels, key, self.static)
            known = self._streams[key] = labels, label_text(labels)
            self._labels_of[known[1]] = labels
        return known

    def _forget_streams(self) -> None:
        self._streams.clear()
        self._labels_of.clear()

    def _text(self, key: tuple[Any, ...]) -> str | None:
        known = self._stream(key)
        return None if known is None else known[1]

    def _late(self, text: str, spool: str, oldest: int, newest: int) -> tuple[str, tuple[str, int]] | None:
        """Return text and lane of the backfill stream for events of some seconds; None: there is not one."""
        stream = f"{spool}{text}"
        lane = self.lanes.choose(stream, oldest)
        # The later an event, the further on its lane: what holds for both ends holds for all between them.
        if lane is None or lane != self.lanes.choose(stream, newest) or text not in self._labels_of:
            return None
        return label_text(_marked(self._labels_of[text], spool, lane)), (stream, lane)

    def _backfill(
        self,
        batch: Batch,
        late: list[tuple[int, int, int, tuple[Any, ...]]],
        bounds: Bounds,
        pushes: list[Push],
        refused: dict[int, Rejected],
    ) -> bool:
        """Sort what is not live into pushes, oldest first. False: a label was demoted, so begin again."""
        open_pushes: dict[str, Push] = {}
        for event_second, event_nanos, index, key in sorted(late, key=lambda event: event[:3]):
            known = self._stream(key)
            if known is None:
                return False
            labels, text = known
            second, nanos = event_second, event_nanos
            acceptable = bounds.oldest <= second <= bounds.youngest
            stream = f"{batch.spool}{text}"
            lane = self.lanes.choose(stream, second) if acceptable else None
            if lane is None:
                if self.old_events == "dead_letter":
                    refused[index] = Rejected(_refusal(second, bounds))
                    continue
                second, nanos = self._restamp(batch.sequences[index], bounds.now)
                lane = -1
            push = open_pushes.get(text)
            begins = push.rows[0][1] if push is not None else 0
            if push is None or push.lane != (stream, lane) or second - begins > WINDOW:
                marked = _marked(labels, batch.spool, lane)
                push = open_pushes[text] = Push(marked, label_text(marked), lane=(stream, lane))
                pushes.append(push)
            push.rows.append((index, second, nanos))
        for push in pushes:
            push.rows.sort()
        return True

    def _restamp(self, sequence: int, now: float) -> tuple[int, int]:
        if self._anchor is None or now - self._anchor > self.limit.max_age / 2:
            step = int(min(3600, max(self.limit.max_age / 4, 1)))
            self._anchor = int(now) // step * step
        return self._anchor + sequence // _GIGA % 3600, sequence % _GIGA


def _marked(labels: Mapping[str, str], spool: str, lane: int) -> dict[str, str]:
    """Return the labels of a stream's lane; a negative one is for what is restamped."""
    return dict(sorted({**labels, "backfill": f"{spool[:8]}-{'restamped' if lane < 0 else lane}"}.items()))


def _own_sequences(batch: Batch) -> list[int]:
    """Return the sequences that events had where they come from: a repeated one has the same nanoseconds."""
    return [int(batch.event_id(index).rpartition("-")[2]) for index in range(len(batch))]


def _time(stamp: Any) -> tuple[int, int]:
    """Return second and microseconds; ValueError when there is no usable time."""
    moment = parse_timestamp(stamp)
    if moment is None:
        raise ValueError(stamp)
    return moment


def _unreadable(line: bytes) -> str:
    return f"longer than Loki's {LINE_BYTES} bytes" if len(line) > LINE_BYTES else "not a JSON object"


def _refusal(second: int, bounds: Bounds) -> str:
    away = second - bounds.now
    if away > 0:
        return f"{away:.0f} s ahead of this machine's clock: further than Loki takes"
    if second < bounds.oldest:
        return f"{-away / 3600:.1f} h old: Loki takes {(bounds.now - bounds.oldest) / 3600:.1f} h"
    return f"{-away / 3600:.1f} h old, and all backfill streams are too far ahead of it"
