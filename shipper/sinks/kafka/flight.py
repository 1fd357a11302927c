"""What librdkafka has been given and has not reported on: a producer, its messages in flight, their reports.

Rules

- A message is delivered when its report says so (`acks=all`, idempotent): nothing is concluded from silence.
- librdkafka never gives a message up (`message.timeout.ms=0`), but a wait here is bounded. What is open then
  stays open, and is not handed over again when it comes back: waiting is no reason for a duplicate.
- The producer is made on the first message, by the thread that sends. A forked child makes its own.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from ...kafka import Finding, abandon_after_fork, explain
from ...model import Batch
from ...turns import Turns
from .verdict import Next, judge

__all__ = ["EVENT_ID", "Cargo", "Error", "Flight"]

EVENT_ID: Final = "event_id"
"""The header that carries the event's id."""

_LOOK: Final = 0.2  # seconds between looks at what the error callback said
_CHUNK: Final = 125  # messages handed over without giving other threads their turn

Error = tuple[str, str]  # name and text


@dataclass(frozen=True, slots=True)
class Cargo:
    """A batch with the ids and keys of its events. `deadline` (monotonic): until when to wait."""

    batch: Batch
    ids: Sequence[str]
    keys: Sequence[str | None]
    deadline: float

    def bytes(self, indexes: Sequence[int]) -> int:
        """Return how long these events are together."""
        return sum(len(self.batch.lines[index]) for index in indexes)


@dataclass(slots=True, eq=False, weakref_slot=True)
class Flight:
    """Hands messages to a producer made with `settings`, and knows which are open.

    `refused` holds, by event id, why messages were refused since nothing was open. `trouble` is what the
    connection last complained of; `fatal`: the producer is beyond repair.
    """

    settings: Mapping[str, Any]
    topic: str
    client: Any = None
    refused: dict[str, Error] = field(default_factory=dict)
    trouble: Finding | None = None
    fatal: bool = False
    _ids: set[str] = field(default_factory=set)
    _open: int = 0
    _down: bool = False
    _turns: Turns = field(default_factory=Turns)

    def __post_init__(self) -> None:
        abandon_after_fork(self, partial(_forget, weakref.ref(self)))

    def begin(self) -> None:
        """Have a producer."""
        self._down = False
        if self.client is None:
            try:
                from confluent_kafka import Producer
            except ImportError as missing:
                raise ImportError('sink kafka needs a library: pip install "logferry[kafka]"') from missing
            self.client = Producer({**self.settings, "error_cb": self._complain})

    def renew(self) -> None:
        """Give the producer up with what it holds; `begin` makes another."""
        client, self.client = self.client, None
        if client is not None:
            client.purge(blocking=False)
            client.flush(_LOOK)  # the reports on what was purged
        self._clear()
        self.fatal = False

    def close(self, seconds: float) -> None:
        """Wait a moment for what is open, then let go."""
        if self.client is not None and self._open:
            self.client.flush(seconds)
        self.renew()

    def deliver(self, cargo: Cargo, indexes: Sequence[int], at_once: int) -> bool:
        """Hand events over, at most so many bytes `at_once`, and wait for reports; False: some are open."""
        if not self._open:
            self._clear()
        lines, size = cargo.batch.lines, 0
        for count, index in enumerate(indexes):
            if cargo.ids[index] in self._ids:
                continue
            if size and size + len(lines[index]) > at_once:
                if not self._settled(cargo.deadline):
                    return False
                size = 0
            size += len(lines[index])
            if not self._hand_over(cargo, index):
                return False
            if count % _CHUNK == 0:
                self._turns.rest()
        return self._settled(cargo.deadline)

    def _hand_over(self, cargo: Cargo, index: int) -> bool:
        """Give one event to librdkafka, which may refuse it at once; False: its queue stays full."""
        event = cargo.ids[index]
        while True:
            try:
                self.client.produce(
                    self.topic,
                    cargo.batch.lines[index],
                    cargo.keys[index],
                    headers=[(EVENT_ID, event)],
                    # A report holds no headers: it is told which message it is about.
                    on_delivery=partial(self._report, event),
                )
            except BufferError:
                if not self._settled(cargo.deadline):
                    return False
            except Exception as error:
                found: Any = error.args[0] if error.args else None
                if not hasattr(found, "name"):  # not a KafkaException: a defect
                    raise
                self.refused[event] = found.name(), found.str()
                return True
            else:
                self._ids.add(event)
                self._open += 1
                return True

    def _settled(self, deadline: float) -> bool:
        """Wait until every report has come; False: not in time, or no broker can be reached."""
        while self._open and not self.fatal:
            left = deadline - time.monotonic()
            if left <= 0 or self._down:
                return False
            self.client.flush(min(_LOOK, left))
        return not self._open

    def _clear(self) -> None:
        self.refused, self._ids, self._open = {}, set(), 0

    def _complain(self, error: Any) -> None:
        """Take an error that concerns no message but the connection."""
        name = error.name()
        self.fatal = self.fatal or judge(name) is Next.RENEW
        if name == "_ALL_BROKERS_DOWN":
            self._down = True
            self.trouble = self.trouble or explain(name, "")
        elif name != "_TRANSPORT" or self.trouble is None or not self.trouble.pause:
            self.trouble = explain(name, error.str())

    def _report(self, event: str, error: Any, _message: Any) -> None:
        """Take the report on one message."""
        self._open -= 1
        if error is not None:
            self.refused[event] = error.name(), error.str()


def _forget(flight: weakref.ref[Flight]) -> None:
    """In a forked child: what was under way is the parent's."""
    if (found := flight()) is not None:
        found._clear()  # noqa: SLF001 - the same module
