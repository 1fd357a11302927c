"""Requests, failures, durations and last signs of life, counted as events pass. Pure, but for its lock.

Rules

- Steps of ten seconds of the events' own time: the first 18 characters of a time stamp, compared as text.
  What is older than the window, or from the future, is left out.
- Durations are kept in steps of four per cent: a P95 is right to two.
- Bounded: so many endpoints within a step and so many services; what is beyond is counted under `more`.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from ..model import Batch, Delivered, Limits, Verdict

__all__ = ["Counting", "Total"]

_STEP: Final = 18  # characters of 2026-03-01T12:00:0|1.234567Z
_KEYS: Final = 5_000
_SERVICES: Final = 10_000
_SAMPLES: Final = 3
_FINE: Final = 25.0  # steps for each e-fold of a duration
_AHEAD: Final = 60.0  # seconds that an event's clock may be ahead

Key = tuple[str, str]


class _Event(msgspec.Struct, gc=False):
    timestamp: str = ""
    service: str = ""
    kind: Any = None
    endpoint: Any = None
    duration_ms: Any = None
    status_code: Any = None
    failed: Any = None


_decode: Final = msgspec.json.Decoder(_Event).decode
_decode_all: Final = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(slots=True)
class Total:
    """What happened to one endpoint. `samples`: the newest lines that failed or were slow."""

    requests: int = 0
    failed: int = 0
    durations: dict[int, int] = field(default_factory=dict)
    samples: deque[bytes] = field(default_factory=lambda: deque(maxlen=_SAMPLES))

    def add(self, other: Total) -> None:
        """Add what happened later."""
        self.requests += other.requests
        self.failed += other.failed
        for step, count in other.durations.items():
            self.durations[step] = self.durations.get(step, 0) + count
        self.samples.extend(other.samples)

    def quantile(self, share: float) -> float | None:
        """Return the duration in milliseconds that this share of the requests did not exceed."""
        left = share * sum(self.durations.values())
        for step in sorted(self.durations):
            left -= self.durations[step]
            if left <= 0:
                return math.exp((step + 0.5) / _FINE)
        return None


@dataclass(slots=True)
class _Tally:
    """The counts of the events that one `match` finds."""

    match: Callable[[Mapping[str, Any]], bool] | None
    window: float = 0.0
    slow: float = math.inf
    steps: dict[str, dict[Key, Total]] = field(default_factory=dict)

    def count(self, step: str, key: Key, took: float | None, *, failed: bool, line: bytes) -> None:
        cells = self.steps.setdefault(step, {})
        total = cells.get(key)
        if total is None:
            key = key if len(cells) < _KEYS else ("more", "")
            total = cells.setdefault(key, Total())
        total.requests += 1
        total.failed += failed
        if took is not None and took > 0:
            fine = math.floor(math.log(took) * _FINE)
            total.durations[fine] = total.durations.get(fine, 0) + 1
        if failed or (took is not None and took > self.slow):
            total.samples.append(line)


class Counting:
    """The sink that counts. `now` is seconds since 1970; read by another thread than the one that sends."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._tallies: dict[int, _Tally] = {}
        self._first = self._last = ""
        self._alive: dict[str, str] = {}

    def want(
        self, match: Callable[[Mapping[str, Any]], bool] | None, window: float, slow: float = math.inf
    ) -> None:
        """Count what `match` finds, for `window` seconds; keep lines that took longer than `slow` (ms)."""
        tally = self._tallies.setdefault(id(match), _Tally(match))
        tally.window, tally.slow = max(tally.window, window), min(tally.slow, slow)
        self._bound()

    @property
    def limits(self) -> Limits:
        """Large batches, once a second: nobody waits for it."""
        return Limits(max_events=20_000, max_bytes=8_000_000, max_event_bytes=8_000_000, max_age=1.0)

    def send(self, batch: Batch) -> Verdict:
        """Count a batch. Whatever is in it, it is delivered."""
        with self._lock:
            self._bound()
            for line in batch.lines:
                self._count(line)
        return Delivered()

    def check(self) -> Sequence[str]:
        """There is nothing to connect to."""
        return ()

    def close(self) -> None:
        """There is nothing to release."""

    def _bound(self) -> None:
        now = datetime.fromtimestamp(self._now(), UTC)
        window = max((tally.window for tally in self._tallies.values()), default=0.0)
        self._first = _text(now - timedelta(seconds=window))[:_STEP]
        self._last = _text(now + timedelta(seconds=_AHEAD))[:_STEP]
        for tally in self._tallies.values():
            for step in [step for step in tally.steps if step < self._first]:
                del tally.steps[step]

    def _count(self, line: bytes) -> None:
        try:
            event = _decode(line)
            at = event.timestamp
            step, service = at[:_STEP], event.service
            known = service in self._alive or len(self._alive) < _SERVICES
            if known and at > self._alive.get(service, "") and step <= self._last:
                self._alive[service] = at
            if event.kind == "access" and self._first < step <= self._last:
                self._count_request(step, event, line)
        except Exception:  # noqa: BLE001, S110 - no event, or numbers beyond all bounds: it passes all the same
            pass

    def _count_request(self, step: str, event: _Event, line: bytes) -> None:
        failed, took = event.failed, event.duration_ms
        if failed.__class__ is not bool:
            failed = isinstance(event.status_code, int) and event.status_code >= 500
        if not isinstance(took, float | int):
            took = None
        key = (event.service, event.endpoint if isinstance(event.endpoint, str) else "")
        for tally in self._tallies.values():
            if tally.match is None or tally.match(_decode_all(line)):
                tally.count(step, key, took, failed=failed, line=line)

    # ── what is asked of it ──

    def totals(self, match: Callable[[Mapping[str, Any]], bool] | None, window: float) -> dict[Key, Total]:
        """Return what happened to each (service, endpoint) within the last `window` seconds."""
        first = _text(datetime.fromtimestamp(self._now() - window, UTC))[:_STEP]
        found: dict[Key, Total] = {}
        with self._lock:
            self._bound()
            tally = self._tallies[id(match)]
            for step in sorted(tally.steps):
                if step > first:
                    for key, total in tally.steps[step].items():
                        found.setdefault(key, Total()).add(total)
        return found

    def last_seen(self) -> Iterator[tuple[str, float]]:
        """Yield each service with the time of its newest event, in seconds since 1970."""
        with self._lock:
            alive = dict(self._alive)
        for service, at in alive.items():
            try:
                yield service, datetime.fromisoformat(at).timestamp()
            except ValueError:
                continue

    def dump(self) -> dict[str, str]:
        """Return when each service was last heard of, for msgspec to write."""
        with self._lock:
            return dict(self._alive)

    def load(self, alive: Mapping[str, str]) -> None:
        """Go on with what `dump` returned."""
        with self._lock:
            self._alive.update(alive)

    def forget(self, service: str) -> None:
        """Let go of a service that is gone for good."""
        with self._lock:
            self._alive.pop(service, None)


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
