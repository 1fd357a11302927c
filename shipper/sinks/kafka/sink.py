"""The driver: a batch becomes messages, the reports on them become a verdict.

Rules

- The worker is told of each refused message by itself; what is under way at the time-out is retried, which
  means waited for (see `flight`).
- What may have been refused because of its neighbours is tried in ever smaller groups, until the guilty one
  is alone (see `verdict`). What a topic takes at once is remembered.
- `close` waits a moment for what is under way and then leaves it: the spool has it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from ...kafka import Finding
from ...model import Batch, Delivered, Limits, Partial, Refusal, Rejected, Retry, Verdict
from ...ports import SetupStep, SinkContext
from .config import KafkaConfig
from .flight import Cargo, Error, Flight
from .keys import keys
from .topic import examine, prepare
from .verdict import Next, judge, refusal

__all__ = ["KafkaSink"]

_CLOSING: Final = 1.0
_SMALLEST: Final = 1024  # bytes that are handed over at once at least


class KafkaSink:
    """Delivers to a topic. One thread calls it, as the worker does."""

    def __init__(self, config: KafkaConfig, context: SinkContext) -> None:
        self._config = config
        self._name = context.name
        self._flight = Flight(config.producer(), config.topic)
        self._at_once: int = max(config.max_batch_bytes, config.max_message_bytes)

    @property
    def limits(self) -> Limits:
        """What one batch may hold."""
        config = self._config
        largest = config.max_message_bytes
        return Limits(config.max_batch_events, max(config.max_batch_bytes, largest), max_event_bytes=largest)

    def send(self, batch: Batch) -> Verdict:
        """Deliver one batch: a message for each event."""
        if not batch.lines:
            return Delivered()
        flight, size = self._flight, len(batch)
        flight.begin()
        ids = [batch.event_id(index) for index in range(size)]
        deadline = time.monotonic() + self._config.timeout
        cargo = Cargo(batch, ids, keys(batch.lines, self._config.key), deadline)
        if not flight.deliver(cargo, range(size), self._at_once):
            return self._unsettled()
        refused = self._refused(cargo) if flight.refused else {}
        if flight.fatal:
            flight.renew()
        if not refused:
            flight.trouble = None
            return Delivered()
        return refused[0] if size == 1 else Partial(refused)

    def check(self) -> Sequence[str]:
        """Ask for the topic and for what we may do with it; nothing is written."""
        config = self._config
        found = examine(config.connection(), config.topic, config.timeout)
        return [f"{self._name}: {text}" for text in found]

    def setup(self, *, dry_run: bool) -> Sequence[SetupStep]:
        """Make the topic unless it is there."""
        config = self._config
        size = config.partitions, config.replication
        return prepare(config.connection(), config.topic, size, config.timeout, dry_run=dry_run)

    def close(self) -> None:
        """Let go of the producer; what is not delivered by then is in the spool."""
        self._flight.close(min(_CLOSING, self._config.timeout))

    def _unsettled(self) -> Retry:
        """Say why messages are open still."""
        flight = self._flight
        trouble = flight.trouble or Finding(f"no answer within {self._config.timeout:g} s")
        if flight.fatal:
            flight.renew()
        return Retry(trouble.reason, pause=trouble.pause)

    def _refused(self, cargo: Cargo) -> dict[int, Refusal]:
        """Return what is refused of a batch on which every report has come."""
        refused: dict[int, Refusal] = {}
        suspects: dict[int, Error] = {}
        for index, event in enumerate(cargo.ids):
            error = self._flight.refused.get(event)
            if error is None:
                continue
            if (step := judge(error[0])) is Next.ALONE:
                suspects[index] = error
            else:
                refused[index] = refusal(*error, alone=False)
                self._flight.fatal = self._flight.fatal or step is Next.RENEW
        if len(suspects) == 1:  # the only one of the batch: it had no neighbour that is guilty
            refused |= {index: refusal(*error, alone=True) for index, error in suspects.items()}
        elif suspects:
            refused |= self._sift(cargo, list(suspects))
        return refused

    def _sift(self, cargo: Cargo, suspects: Sequence[int]) -> dict[int, Refusal]:
        """Try in ever smaller groups what was refused together; return what is refused alone, or open."""
        refused: dict[int, Refusal] = {}
        groups, taken = _halves(suspects), 0
        while groups:
            group = groups.pop()
            if not self._flight.deliver(cargo, group, self._at_once):
                left = [index for some in (*groups, group) for index in some]
                return refused | dict.fromkeys(left, self._unsettled())
            errors = self._flight.refused
            bad = [index for index in group if cargo.ids[index] in errors]
            if not bad:
                taken = max(taken, cargo.bytes(group))
            elif len(bad) == 1:
                refused[bad[0]] = refusal(*errors[cargo.ids[bad[0]]], alone=True)
            else:
                groups += _halves(bad)
        if not any(isinstance(one, Rejected) for one in refused.values()):
            self._at_once = max(_SMALLEST, min(self._at_once, taken))  # together they were too large
        return refused


def _halves(indexes: Sequence[int]) -> list[Sequence[int]]:
    """Return the two halves of at least two."""
    half = len(indexes) // 2
    return [indexes[half:], indexes[:half]]
