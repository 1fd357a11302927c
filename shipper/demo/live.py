"""What the demo's terminal shows while it runs, from what has arrived in the local store."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Live", "Second", "percentile", "sparkline"]

BARS = "▁▂▃▄▅▆▇█"


def percentile(values: list[float], share: float) -> float:
    """Return the value below which `share` (0 to 1) of `values` lie; 0.0 for none (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


def sparkline(values: list[float]) -> str:
    """Draw `values` as a line of block characters, scaled to the largest."""
    top = max(values, default=0.0)
    return "".join(BARS[min(int(v / top * len(BARS)), len(BARS) - 1)] if top else BARS[0] for v in values)


@dataclass(slots=True)
class Second:
    """What arrived of one second (by the clock of arrival)."""

    requests: Counter[str] = field(default_factory=Counter)
    durations: list[float] = field(default_factory=list)
    failed: int = 0
    events: int = 0


class Live:
    """Counts events as they arrive; read by the screen, fed by the thread that follows the store."""

    def __init__(self, clock: Callable[[], float], window: int = 40) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seconds: deque[tuple[int, Second]] = deque(maxlen=window)
        self.events = 0
        self.levels: Counter[str] = Counter()
        self.errors: deque[str] = deque(maxlen=3)

    def take(self, event: Mapping[str, Any]) -> None:
        """Count one event."""
        with self._lock:
            second = self._second()
            self.events += 1
            second.events += 1
            self.levels[event.get("level", "")] += 1
            if event.get("kind") == "access":
                second.requests[str(event.get("service", ""))] += 1
                second.durations.append(float(event.get("duration_ms") or 0.0))
                second.failed += bool(event.get("failed"))
            if event.get("level") in {"ERROR", "CRITICAL"}:
                error: Mapping[str, Any] = event.get("error") or {}
                told = ": ".join(filter(None, (error.get("type"), error.get("message"))))
                told = told.removeprefix("logferry.shipper.demo.services.")
                line = f"{event.get('service')}: {str(event.get('message')).strip()}"
                self.errors.append(f"{line}  {told}"[:100].rstrip())

    def _second(self) -> Second:
        now = int(self._clock())
        if not self._seconds or self._seconds[-1][0] != now:
            last = self._seconds[-1][0] if self._seconds else now - 1
            for missing in range(max(last + 1, now - (self._seconds.maxlen or 1)), now + 1):
                self._seconds.append((missing, Second()))
        return self._seconds[-1][1]

    def seconds(self) -> list[Second]:
        """Return the last whole seconds, oldest first."""
        with self._lock:
            self._second()
            return [second for _, second in list(self._seconds)[:-1]]
