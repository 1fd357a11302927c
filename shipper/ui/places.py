"""Where a line stands in a range, so that a million of them can be scrolled through without being loaded.

A range is cut into at most 100,000 equal steps of time; how many events each has is asked once and kept for a
minute. The line at a place is then in a known step, and only that stretch is read.

Rules
- The newest line is at place 0. Equal times are ordered by event id, as everywhere.
- A range is given by two moments, not by "the last hour": places must not move while one scrolls.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import accumulate, islice
from typing import Any, Final

from ..store import Store
from ..store.panels import PanelQuery

__all__ = ["MOST", "Places"]

_STEPS: Final = 100_000
_KEPT: Final = 8
_FRESH: Final = 60.0
MOST: Final = 1_000


@dataclass(frozen=True, slots=True)
class _Index:
    """Steps that have events, the newest first: `upto[n]` events are in the first n + 1 of them."""

    start: datetime
    step: timedelta
    steps: tuple[int, ...]
    upto: tuple[int, ...]
    made: float

    @property
    def total(self) -> int:
        return self.upto[-1] if self.upto else 0

    def begin_of(self, number: int) -> datetime:
        return self.start + self.step * self.steps[number]

    def end_of(self, number: int) -> datetime:
        return self.start + self.step * (self.steps[number] + 1)


@dataclass(slots=True)
class Places:
    """Asks one store by place. Used by several threads."""

    store: Store
    clock: Callable[[], float] = time.monotonic
    _kept: OrderedDict[tuple[datetime, datetime, str], _Index] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def rows(self, since: datetime, until: datetime, words: str, first: int, count: int) -> dict[str, Any]:
        """Return the `total` of a range and its `events` from place `first` on, the newest first."""
        index = self._index(since, until, words)
        first, count = max(first, 0), max(min(count, MOST), 1)
        events: list[dict[str, Any]] = []
        if first < index.total:
            number = bisect_right(index.upto, first)
            skipped = first - (index.upto[number - 1] if number else 0)
            # Only the stretch in which these lines are is looked at: two moments let the store skip the rest.
            last = min(bisect_left(index.upto, first + count), len(index.upto) - 1)
            begin, end = max(index.begin_of(last), since), min(index.end_of(number), until)
            found = self.store.query(words, begin, end, skipped + count)
            events = list(islice(found, skipped, None))
        return {"total": index.total, "first": first, "events": events}

    def place_of(self, since: datetime, until: datetime, words: str, at: datetime, event_id: str = "") -> int:
        """Return the place of the newest line that is not newer than `at`; with an id, that of its line."""
        index = self._index(since, until, words)
        step = (at - index.start) // index.step
        # Steps are in falling order; those before this one are newer.
        number = bisect_left(index.steps, -step, key=lambda one: -one)
        place = index.upto[number - 1] if number else 0
        if number < len(index.steps) and index.steps[number] == step:
            begin, end = max(index.begin_of(number), since), min(index.end_of(number), until)
            for event in self.store.query(words, begin, end, _STEPS):
                moment = datetime.fromisoformat(str(event["timestamp"]))
                if moment < at or (moment == at and event_id in {"", event.get("event_id")}):
                    break
                place += 1
        return place

    def _index(self, since: datetime, until: datetime, words: str) -> _Index:
        key = (since, until, words)
        with self._lock:
            found = self._kept.get(key)
            if found is not None and self.clock() - found.made < _FRESH:
                return found
        made = self._make(since, until, words)
        with self._lock:
            self._kept[key] = made
            self._kept.move_to_end(key)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return made

    def _make(self, since: datetime, until: datetime, words: str) -> _Index:
        step = max(-(-(until - since) // timedelta(microseconds=1) // _STEPS), 1_000)
        begin = (since - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        question = PanelQuery(
            f"(epoch_us(timestamp) - {int(begin)}) // {int(step)} AS step, count(*) AS count",
            "TRUE",
            "GROUP BY 1 ORDER BY 1 DESC",
            frozenset({"timestamp"}),
        )
        rows = self.store.answer(question, since, until, words)
        return _Index(
            since,
            timedelta(microseconds=step),
            tuple(row["step"] for row in rows),
            tuple(accumulate(row["count"] for row in rows)),
            self.clock(),
        )
