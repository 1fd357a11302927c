"""How long a delivery thread holds the interpreter before it lets the application's threads have it.

Threads of a Python process share one lock. Who waits for it gets it when the holder blocks, else after five
milliseconds: a worker that encodes a batch in one go would hold up a log call, or a request, for so long.
It does so when a backlog is sent; under steady load batches are small (`benchmarks/slices.py` measures both).
Rules:

- A worker rests between small pieces of work (`rest`), but not sooner than a slice after the last time.
- A rest is a short sleep, not `sleep(0)`: a thread that waits must have time to wake up and take the lock.
- When the lock does not come back at once the application computes without a pause. Each rest then costs the
  worker milliseconds, and it would fall behind for ever: the slices double, up to the five milliseconds that
  everybody else gets, and halve again when the lock is free.
- Where there is no application, in an agent, nobody is rested for (`floor`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from .floor import FLOOR

__all__ = ["Turns"]

SHORTEST: Final = 0.000_25
LONGEST: Final = 0.005
REST: Final = 0.000_05
CONTESTED: Final = 0.002
"""Seconds of a rest from which on the lock was somebody else's."""


@dataclass(slots=True)
class Turns:
    """One worker's turns at the interpreter. Times are seconds; `clock` only goes forward."""

    clock: Callable[[], float] = time.perf_counter
    sleep: Callable[[float], None] = time.sleep
    slice: float = SHORTEST
    _until: float = field(default=0.0, init=False)

    def rest(self) -> None:
        """Let others have the interpreter, unless that was just now."""
        if FLOOR.shared:
            return
        before = self.clock()
        if before < self._until:
            return
        self.sleep(REST)
        after = self.clock()
        contested = after - before >= CONTESTED
        self.slice = min(self.slice * 2, LONGEST) if contested else max(self.slice / 2, SHORTEST)
        self._until = after + self.slice
