"""One thread per sink: read from the spools, send, do what `core/delivery` says, commit.

Rules

- The spool is the queue: nothing is gathered here. The worker rests for the batch age (`limits.max_age`) and
  then reads what has come meanwhile, so that batches are large and the application's processor is left alone.
  While there is a backlog it does not rest.
- Own order is kept within each spool; several spools take turns.
- Dead letters are on disk before the commit that counts them; a commit covers settled events only.
- Nothing a sink does ends the thread: an exception is `Retry`. An error of the disk (commit, dead letters)
  gives the batch back to the spool, to be read again after a wait.
- Cursors are touched under `guard` only, never while sending: whoever puts spools away holds it too.
- `flush` and `stop` wake it at once, also out of a back-off.
- Stopping: it goes on until everything is read or the deadline has passed. A sink that was failing before
  gets one more try. A worker that hangs in `send` is left behind: it commits nothing any more, and closes its
  sink when it comes back, for what a client of its own still holds would be sent although others have it now.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from ..handlers.forward import suppress_thread
from .core.delivery import Delivery, Wait
from .core.sift import Sieve, event_time
from .deadletter import DeadLetters
from .diagnostics import say
from .floor import FLOOR
from .model import Batch, Limits, Retry, Verdict, event_id
from .ports import Cursor, Outcome, Sink, Ticks

__all__ = ["SinkState", "Ticket", "Worker"]

IDLE = 0.2  # seconds of rest where no sink says how long


@dataclass(frozen=True, slots=True)
class SinkState:
    """How a sink is. `lag`: age in seconds of the oldest event that is being sent; 0 when nothing waits."""

    state: Literal["ok", "retrying", "paused"] = "ok"
    error: str = ""
    lag: float = 0.0
    pending: int = 0


@dataclass(slots=True, eq=False)
class _Lane:
    """One spool as this worker sees it. `head` tells the newest sequence of a spool that still grows.

    `growing`: it may grow and nobody tells how far, because another process writes it.
    """

    cursor: Cursor
    head: Callable[[], int] | None
    growing: bool = False
    committed: int = 0

    def limit(self) -> float:
        return math.inf if self.head is None else self.head()

    def at_rest(self) -> bool:
        """Say whether the spool is known to hold nothing new: a look at the disk would find nothing."""
        return self.head is not None and self.committed >= self.head() > 0

    def more(self, batch: Batch, limits: Limits, limit: float) -> bool:
        """Say whether there was more than `batch` in the spool: `limit` as it was before the reading."""
        if not self.growing:
            return self.committed < limit
        return len(batch) >= limits.max_events or sum(map(len, batch.lines)) * 2 > limits.max_bytes


@dataclass(slots=True, eq=False)
class Ticket:
    """A wish to know when everything up to now is settled."""

    open: dict[_Lane, float]
    settled: threading.Event = field(default_factory=threading.Event)

    def mark(self, lane: _Lane, *, empty: bool) -> None:
        """Note that `lane` was found empty after the wish, or has committed further."""
        limit = self.open.get(lane)
        if limit is not None and (empty or lane.committed >= limit):
            del self.open[lane]
        if not self.open:
            self.settled.set()


class Worker:
    """Delivers to one sink. `make` builds the sink, in the worker's thread; `now` is the time of day.

    `passed` is called after a turn that has committed something: what all have passed need not stay.
    """

    def __init__(  # noqa: PLR0913 - what it works with, by keyword
        self,
        name: str,
        make: Callable[[], Sink],
        letters: DeadLetters,
        *,
        sieve: Sieve | None = None,
        delivery: Delivery | None = None,
        guard: AbstractContextManager[Any] | None = None,
        passed: Callable[[], object] | None = None,
        now: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self._make = make
        self._letters = letters
        self._sieve = sieve or Sieve()
        self._delivery = delivery or Delivery()
        self._guard = guard or threading.Lock()
        self._passed = passed
        self._now = now
        self._chance = chance
        self._sink: Sink | None = None
        self._tick: Callable[[], None] | None = None
        self._lanes: list[_Lane] = []
        self._tickets: list[Ticket] = []
        self._wake = threading.Event()
        self._deadline: float | None = None  # set once, when it is to stop
        self._was_failing = False
        self._gave_up = False
        self._left = False
        self._trouble: Wait | None = None
        self._thread = threading.Thread(target=self._run, name=f"logferry-{name}", daemon=True)

    def attach(self, cursor: Cursor, head: Callable[[], int] | None = None, *, growing: bool = False) -> None:
        """Deliver from this cursor too. `head` returns the newest sequence of a spool that still grows.

        `growing`: another process may write it still; what is in it is fetched batch age by batch age.
        """
        self._lanes.append(_Lane(cursor, head, growing))
        self._wake.set()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def cursors(self) -> list[Cursor]:
        """Return the cursors that are attached now."""
        return [lane.cursor for lane in self._lanes]

    def flush(self) -> Ticket:
        """Ask for everything that is in the spools now; the ticket's event tells when it is settled."""
        ticket = Ticket({lane: lane.limit() for lane in list(self._lanes)})
        if not ticket.open:
            ticket.settled.set()
        self._tickets.append(ticket)
        self._wake.set()
        return ticket

    def stop(self, seconds: float) -> None:
        """Ask it to finish within `seconds`; does not wait."""
        self._deadline = time.monotonic() + seconds
        self._wake.set()

    def join(self, seconds: float) -> bool:
        """Wait for its end; False when it still hangs, and from then on it commits nothing."""
        if self._thread.ident is not None:
            self._thread.join(max(0.0, seconds))
        self._left = self._thread.is_alive()
        return not self._left

    def wait(self) -> None:
        """Wait for its end, however long that takes."""
        if self._thread.ident is not None:
            self._thread.join()

    def close_cursors(self) -> None:
        """Close the cursors, after it has ended and nobody needs the books any more."""
        for cursor in self.cursors():
            with suppress(OSError):  # nothing depends on it any more
                cursor.close()

    def state(self) -> SinkState:
        """Return how the sink is."""
        trouble, batch = self._trouble, self._delivery.batch
        made = event_time(batch.lines[0]) if batch is not None and batch.lines else None
        pending = 0
        for cursor in self.cursors():
            with suppress(OSError, ValueError):  # closed meanwhile
                pending += cursor.account().pending
        lag = 0.0 if made is None or not pending else max(0.0, self._now() - made)
        if trouble is None:
            return SinkState(lag=lag, pending=pending)
        return SinkState("paused" if trouble.paused else "retrying", trouble.reason, lag, pending)

    # ── the thread ──

    def _run(self) -> None:
        suppress_thread()
        failures = 0
        while not self._over():
            ending = self._deadline is not None  # asked for before this turn: then nothing came after it
            try:
                sink = self._open()
                busy = self._turn(sink)
                if self._tick is not None:
                    self._tick()
                failures = 0
            except Exception as error:  # noqa: BLE001 - a worker that ends is a sink that is silently gone
                failures += 1
                busy = self._recover(error, failures)
            if ending and not busy:
                break
            # Asked for since: `_turn` may have cleared the call, and who ends waits.
            if not busy and self._deadline is None:
                self._rest(IDLE if self._sink is None else self._sink.limits.max_age)
        self._close()

    def _over(self) -> bool:
        return (
            self._left or self._gave_up or (self._deadline is not None and time.monotonic() >= self._deadline)
        )

    def _rest(self, seconds: float) -> None:
        self._wake.wait(seconds)
        self._wake.clear()

    def _open(self) -> Sink:
        if self._sink is None:
            self._sink = self._make()
            self._tick = self._sink.tick if isinstance(self._sink, Ticks) else None
        return self._sink

    def _recover(self, error: Exception, failures: int) -> bool:
        """Give the batch back to the spool and wait; True: go on."""
        self._delivery.abandon()
        for lane in self._lanes:
            with suppress(Exception), self._guard:  # what is broken with it will be said at the next read
                lane.cursor.rewind()
        seconds = self._delivery.backoff.delay(failures, self._chance())
        return self._pause(Wait(seconds, f"{type(error).__name__}: {error}"))

    def _turn(self, sink: Sink) -> bool:
        """Take one batch from each spool; True when there is more to be had at once."""
        busy = moved = False
        self._wake.clear()  # whoever wakes it from here on is served by the next turn
        tickets = list(self._tickets)
        limits = sink.limits
        for lane in list(self._lanes):
            if self._deadline is None and not tickets and lane.at_rest():
                continue
            limit = lane.limit() if self._deadline is None else math.inf
            with FLOOR, self._guard:
                batch = lane.cursor.read(limits.max_events, limits.max_bytes, limits.overhead)
                violations = lane.cursor.violations() if batch is not None else {}
            if batch is not None:
                self._carry(sink, lane, batch, violations)
                moved = True
                busy = busy or lane.more(batch, limits, limit)
                if self._over():
                    break
            # A dead one at once: the next turn may wait long for a sink that is away, and keep files open
            # that are deleted by then.
            gone = (batch is None or lane.head is None) and self._let_go(lane)
            for ticket in tickets:
                ticket.mark(lane, empty=batch is None or gone)
        self._sort_tickets()
        if moved and self._passed is not None:
            self._passed()
        return busy

    def _let_go(self, lane: _Lane) -> bool:
        """Let go of a lane that is drained, for its owner is gone."""
        with self._guard:
            if not lane.cursor.drained:
                return False
            self._lanes.remove(lane)
            lane.cursor.close()
            return True

    def _sort_tickets(self) -> None:
        """Let go of tickets that are settled, and of lanes in them that were drained and are gone."""
        for ticket in list(self._tickets):
            for lane in ticket.open.keys() - set(self._lanes):  # gone while the ticket was being written
                ticket.mark(lane, empty=True)
            if ticket.settled.is_set():
                self._tickets.remove(ticket)  # in place: another thread may be appending its own

    def _carry(self, sink: Sink, lane: _Lane, batch: Batch, violations: Mapping[int, str]) -> None:
        """Send one batch until each of its events is settled, or until it must be given up."""
        delivery = self._delivery
        batch, fates = self._sieve.sift(batch, violations, self._now())
        delivery.begin(batch, sink.limits, fates)
        while not delivery.done:
            verdict = self._send(sink, delivery.part())
            if self._left:
                return
            wait = delivery.settle(verdict, self._chance())
            if wait is None:
                self._mended()
                continue
            self._commit(lane)
            if not self._pause(wait):
                delivery.abandon()
                with self._guard:
                    lane.cursor.rewind()
                return
        self._commit(lane)
        delivery.abandon()
        self._mended()

    def _send(self, sink: Sink, part: Batch) -> Verdict:
        try:
            return sink.send(part)
        except Exception as error:  # noqa: BLE001 - a defect of the sink must not lose what it was given
            return Retry(f"{type(error).__name__}: {error}")

    def _commit(self, lane: _Lane) -> None:
        settled, batch = self._delivery.take(), self._delivery.batch
        if settled is None or batch is None or self._left:
            return
        outcome = Outcome(settled.delivered, retried=settled.retried, duplicates=settled.duplicates)
        dead: list[tuple[str, str, bytes]] = []
        for index, fate in settled.fates:
            if fate.kind == "dead":
                letter = event_id(batch.spool, batch.sequences[index])
                dead.append((letter, fate.reason, batch.lines[index]))
                continue
            books = outcome.filtered if fate.kind == "filtered" else outcome.dropped
            books[fate.reason] = books.get(fate.reason, 0) + 1
        if dead:
            outcome.dead_lettered = self._bury(dead)
            if outcome.dead_lettered < len(dead):
                outcome.dropped["dead_letters_full"] = len(dead) - outcome.dead_lettered
        with self._guard:
            lane.cursor.commit(settled.upto, outcome)
        lane.committed = settled.upto

    def _bury(self, dead: Sequence[tuple[str, str, bytes]]) -> int:
        kept = self._letters.add(dead, self._now())
        say("WARNING", f"sink {self.name}: dead letter: {dead[0][1]}", f"{self.name} dead letter")
        if kept < len(dead):
            text = f"sink {self.name}: the dead letters are full; what is rejected now is counted and dropped"
            say("ERROR", text, f"{self.name} dead letters full")
        return kept

    def _mended(self) -> None:
        if self._trouble is not None and not self._delivery.suspicious:
            self._trouble = None
            say("INFO", f"sink {self.name} delivers again")

    def _pause(self, wait: Wait) -> bool:
        """Wait before the next try; False when there is to be none, because of the end."""
        self._trouble = wait
        kind = "is paused" if wait.paused else "will be tried again"
        say("WARNING", f"sink {self.name} {kind}: {wait.reason}", f"{self.name} {kind}")
        if self._deadline is None:
            self._rest(wait.seconds)
            self._was_failing = self._deadline is not None
            return not self._left
        if self._was_failing or wait.seconds >= self._deadline - time.monotonic():
            self._gave_up = True
            return False
        time.sleep(wait.seconds)
        return not self._left

    def _close(self) -> None:
        if self._sink is not None:
            try:
                self._sink.close()
            except Exception as error:  # noqa: BLE001 - the end must be reached whatever the sink does
                say("WARNING", f"sink {self.name} did not close: {type(error).__name__}: {error}")
        if self._left:
            return
        for ticket in self._tickets:
            for lane in list(ticket.open):
                ticket.mark(lane, empty=False)
