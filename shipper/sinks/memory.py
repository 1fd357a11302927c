"""Sink `memory`: the fake that users test with. It keeps what it gets, and answers what it is told to.

    sink = MemorySink()
    sink.answers.append(Retry("busy"))        # the next batch is refused once, then everything is taken
    …
    assert [event["message"] for event in sink.events()] == ["order created"]

Sinks made from a configuration are found by their names: `memory_sink("mem")`. An event that arrives twice
(the same id) is kept once and counted as a duplicate, as a store that knows ids would do.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from ..config.fields import setting
from ..model import Batch, Delivered, Limits, Partial, Verdict
from ..ports import SinkContext, SinkKind

__all__ = ["SINK", "MemoryConfig", "MemorySink", "memory_sink"]

_made: dict[str, MemorySink] = {}


@dataclass(frozen=True, slots=True)
class MemoryConfig:
    """Options of the sink `memory`."""

    max_events: int = setting(100_000, help="events kept; the oldest go first", minimum=1)


class MemorySink:
    """Keeps events in memory. `answers` are given one per `send`; without one everything is stored."""

    def __init__(self, config: MemoryConfig | None = None, *, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._max = (config or MemoryConfig()).max_events
        self._lines: OrderedDict[str, bytes] = (
            OrderedDict()
        )  # gives up its oldest at no cost, as a dict does not
        self._lock = threading.Lock()
        self.answers: deque[Verdict | Exception] = deque()
        self.batches: int = 0
        self.closed = False

    @property
    def limits(self) -> Limits:
        """What one batch may hold."""
        return self._limits

    def send(self, batch: Batch) -> Verdict:
        """Store what the next of `answers` lets through, and answer it; an exception in it is raised."""
        self.batches += 1
        answer = self.answers.popleft() if self.answers else Delivered()
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Delivered):
            return Delivered(self._store(batch, frozenset()))
        if isinstance(answer, Partial):
            return Partial(answer.refused, self._store(batch, answer.refused.keys()))
        return answer

    def _store(self, batch: Batch, refused: Any) -> int:
        duplicates = 0
        prefix = f"{batch.spool}-"
        with self._lock:
            for index, (sequence, line) in enumerate(zip(batch.sequences, batch.lines, strict=True)):
                if refused and index in refused:
                    continue
                key = f"{prefix}{sequence}"
                duplicates += key in self._lines
                self._lines[key] = line
            while len(self._lines) > self._max:
                self._lines.popitem(last=False)
        return duplicates

    def ids(self) -> list[str]:
        """Return the ids of the events stored, in order of arrival."""
        with self._lock:
            return list(self._lines)

    def lines(self) -> list[bytes]:
        """Return the event lines stored."""
        with self._lock:
            return list(self._lines.values())

    def events(self) -> list[dict[str, Any]]:
        """Return the events stored, decoded."""
        return [orjson.loads(line) for line in self.lines()]

    def clear(self) -> None:
        """Forget everything stored."""
        with self._lock:
            self._lines.clear()

    def check(self) -> Sequence[str]:
        """Find nothing wrong: there is nothing to reach."""
        return ()

    def close(self) -> None:
        """Keep what is stored, so that a test can look at it after the shutdown."""
        self.closed = True


def memory_sink(name: str) -> MemorySink:
    """Return the memory sink that was last made under `name` in the configuration. KeyError: none was."""
    return _made[name]


def _build(config: MemoryConfig, context: SinkContext) -> MemorySink:
    sink = _made[context.name] = MemorySink(config)
    return sink


SINK = SinkKind("memory", MemoryConfig, _build)
