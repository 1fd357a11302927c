"""When what was appended is settled at every sink: the answer for sources that must not forget before.

Settled: delivered, dead-lettered, filtered or dropped by a bound, and that is in the books. A mark covers
everything that waits in the spools at that moment, those adopted from dead processes included; so none is
given before the first look for such spools.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .worker import Worker

__all__ = ["WorkerSettlement"]


class WorkerSettlement:
    """A `ports.Settlement` over workers by sink. `looked`: whether dead spools were sought."""

    def __init__(self, workers: Mapping[str, Worker], looked: Callable[[], bool]) -> None:
        self._workers = workers
        self._looked = looked

    def mark(self) -> Callable[[], bool] | None:
        """Return a question: is everything that waits now settled? None: ask for a mark later."""
        if not self._looked():
            return None
        tickets = [worker.flush() for worker in list(self._workers.values())]
        return lambda: all(ticket.settled.is_set() for ticket in tickets)
