"""The thread that looks after things while the workers are busy sending: sync, adoption, reclaiming.

It is apart from the workers because a sink may hang for as long as its time-outs allow, and the disk must be
synced meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from ..handlers.forward import suppress_thread
from .diagnostics import say

__all__ = ["PREPARE_EVERY", "Job", "Upkeep"]

PREPARE_EVERY = 0.1  # a fast writer fills the largest segment in twice that


@dataclass(frozen=True, slots=True)
class Job:
    """Something to be done every `interval` seconds."""

    name: str
    interval: float
    run: Callable[[], None]


class Upkeep:
    """Runs jobs, one after another, in one daemon thread. What a job raises is said and the job goes on."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = jobs
        self._stopping = False
        self._calls: SimpleQueue[None] = SimpleQueue()  # to put into one takes no lock that a signal may meet
        self._thread = threading.Thread(target=self._run, name="logferry-upkeep", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread; each job runs once at the start."""
        self._thread.start()

    def wake(self) -> None:
        """Have every job run now. From any thread and signal handler."""
        self._calls.put(None)

    def stop(self, seconds: float) -> None:
        """Ask it to end and wait at most `seconds`."""
        self._stopping = True
        self.wake()
        if self._thread.ident is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        suppress_thread()
        due = dict.fromkeys(self._jobs, 0.0)
        while not self._stopping:
            for job in self._jobs:
                if time.monotonic() < due[job] or self._stopping:
                    continue
                try:
                    job.run()
                except Exception as error:  # noqa: BLE001 - the next second may be better
                    say("ERROR", f"{job.name} failed: {type(error).__name__}: {error}", f"upkeep {job.name}")
                due[job] = time.monotonic() + job.interval
            with suppress(Empty):
                self._calls.get(timeout=max(0.0, min(due.values()) - time.monotonic()))
                due = dict.fromkeys(self._jobs, 0.0)
