"""The table of sinks and faults: what each cell does, and which cells make no sense.

`meet(lane, fault, seed=…, stops=…)` has a lane meet one fault, from health to health: `lane.trial` with what
holds while it lasts, then the comparison by id. AssertionError when anything does not hold. `DASHES` says why
a cell is empty. `sample` chooses pairs by a seed, so that each sink and each fault is among them.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from certificates import server_context
from effort import factor

from .lane import ON_TIME, Fault, trial
from .proxy import Exchange
from .sinklanes import LANES, SinkLane, Tally
from .stream import STREAM_FAULTS
from .wire import FAULTS, says

__all__ = ["DASHES", "LANES", "ROWS", "Meeting", "cells", "meet", "sample"]

_IMPATIENT = 1.5
"""Seconds of a time-out where it is what ends the fault's hold on the sink."""

_SMALLEST = 1500
"""Bytes of a request that a proxy with a limit takes in any case: one event fits, many do not."""

_CUT = ("cut in the request", "cut before the answer", "cut in the answer")
_HANGING = (
    "hanging after storing",
    "hanging before the body",
    "hanging in the answer",
    "hanging after the body",
)
_MALFORMED = (
    "no HTTP",
    "half a status line",
    "status that is no number",
    "chunks of no size",
    "chunk cut off",
)
_HUGE = ("gigabyte of a body", "gigabyte of chunks", "gigabyte in a chunk of size -1", "gzip bomb")
_OFFSETS = (0.0, 2400.0, -2400.0, 0.0, 420.0, -5000.0)


@dataclass(frozen=True, slots=True)
class Meeting:
    """One lane that meets one fault. `certificates`: a directory with `all.pem` and what it holds."""

    lane: SinkLane
    fault: str
    seed: int
    certificates: Path

    # ── how it is known that it has struck ──

    def troubled(self) -> None:
        """Wait until the sink says that something is wrong, with events pending."""
        self._until(lambda: self.lane.app.states()[self.lane.sink][1] != "", "the sink says nothing")
        account = self.lane.app.accounts()[self.lane.sink]
        assert account["pending"] or account["dead_lettered"], "delivered through the fault"

    def says(self, words: str) -> Callable[[], None]:
        """Wait until the sink's state is trouble in these words."""

        def wait() -> None:
            said = lambda: self.lane.app.states()[self.lane.sink][1]  # noqa: E731 - said twice
            self._until(lambda: words in said(), f"{words!r} is not said")
            assert self.lane.app.accounts()[self.lane.sink]["pending"]

        return wait

    def met(self) -> None:
        """Wait until it has met the fault, and says so."""
        self.lane.proxy.wait_until_struck(1)
        self.troubled()

    def _until(self, met: Callable[[], bool], words: str) -> None:
        deadline = time.monotonic() + 30
        while not met():
            assert time.monotonic() < deadline, f"{words}: {self.lane.app.states()}"
            time.sleep(0.02)

    # ── faults ──

    def wire(self, *names: str) -> Fault:
        """One of these faults of the wire, by the seed."""
        kinds = FAULTS if self.lane.http else STREAM_FAULTS
        fault = kinds[names[self.seed % len(names)]]
        return Fault(lambda: self.lane.proxy.strike(fault), self.met, self.lane.proxy.heal)

    def hanging(self) -> Fault:
        """For longer than the sinks beside it may take: who waited for this one would be late."""
        self.lane.timeout = 2 * ON_TIME
        return self.wire(*(_HANGING if self.lane.http else ("hanging",)))

    def slow(self) -> Fault:
        self.lane.timeout = _IMPATIENT
        return self.wire("answer of one byte a second" if self.lane.http else "one byte a second")

    def huge(self) -> Fault:
        if self.lane.http:
            return self.wire(*_HUGE)
        self.lane.timeout = _IMPATIENT  # it has no end
        return self.wire("endless zeros", "endless answer")

    def status(self, status: int, **headers: str) -> Fault:
        """This answer to every request."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        fault = says(status, self.lane.words(status), named)
        return Fault(lambda: self.lane.proxy.strike(fault), self.met, self.lane.proxy.heal)

    def told_when(self) -> Fault:
        """429 with `Retry-After: 1`: the next request comes no sooner."""
        times: list[float] = []
        answer = says(429, self.lane.words(429), {"Retry-After": "1"})

        def fault(exchange: Exchange) -> bool:
            times.append(time.monotonic())
            return answer(exchange)

        def struck() -> None:
            self.lane.proxy.wait_until_struck(2)
            self.troubled()
            assert times[1] - times[0] > 0.95, f"asked again after {times[1] - times[0]:.2f} s"

        return Fault(lambda: self.lane.proxy.strike(fault), struck, self.lane.proxy.heal)

    def too_large(self) -> Fault:
        """413 for whatever is larger than a third of the first request; the rest passes."""
        lane, sizes, refused = self.lane, list[int](), threading.Event()
        if lane.prepare_small():
            return Fault(_nothing, _nothing, _nothing)
        answer = says(413, lane.words(413))

        def fault(exchange: Exchange) -> bool:
            sizes.append(exchange.length)
            if exchange.length > max(_SMALLEST, sizes[0] // 3):
                refused.set()
                return answer(exchange)
            exchange.send(exchange.forward())
            return True

        def struck() -> None:
            assert refused.wait(20), f"no request was too large: {sizes}"

        return Fault(lambda: lane.proxy.strike(fault), struck, lane.proxy.heal)

    def refused(self) -> Fault:
        if self.lane.waits:
            return Fault(self.lane.proxy.refuse, self.says("connection refused"), self.lane.proxy.heal)
        return Fault(self.lane.kill, self.troubled, self.lane.start)

    def certificate(self, name: str) -> Fault:
        """Another certificate from now on."""
        lane = self.lane

        def show(one: str) -> Callable[[], None]:
            def begin() -> None:
                lane.proxy.tls = server_context(self.certificates, one)
                lane.proxy.refuse()  # connections that are open are trusted already: cut them
                lane.proxy.heal()

            return begin

        return Fault(show(name), self.says("certificate"), show("good"))

    def nameless(self) -> Fault:
        lane = self.lane

        def begin() -> None:
            lane.unname()
            lane.proxy.refuse()
            lane.proxy.heal()

        return Fault(begin, self.says("cannot be resolved"), lane.name)

    def restarted(self) -> Fault:
        """Killed while it is busy, and started again."""
        lane = self.lane
        killing = threading.Thread(target=lane.kill)

        def struck() -> None:
            killing.join()
            self.troubled()

        return Fault(killing.start, struck, lane.start, log=lambda: lane.app.log(1500))

    def backlog(self) -> Fault:
        """An hour's events (and what is a little older) that wait, though younger ones are there already."""
        app, outage = self.lane.app, self.refused()
        each = 450 if factor() < 5 else 1000

        def log() -> dict[str, float]:
            figures: dict[str, float] = {}
            for offset in range(-4200, 700, 700):
                app.clock(offset)
                found = app.log(each)
                figures = {name: max(value, figures.get(name, 0.0)) for name, value in found.items()}
            app.clock(0)
            return figures

        return Fault(outage.begin, outage.struck, outage.end, log=log, healed=lambda: app.log(200))

    def jumping(self) -> Fault:
        """The program's clock, for what is logged and for what is sent."""
        app, sinks = self.lane.app, self.lane.sinks
        struck = lambda: app.settle(sinks, 10)  # noqa: E731 - as short as the others
        return Fault(lambda: app.clock(*_OFFSETS), struck, lambda: app.clock(0))

    def some_bad(self) -> Fault:
        lane = self.lane
        lane.prepare_bad()
        return Fault(_nothing, _nothing, _nothing, log=self._log_bad)

    def _log_bad(self) -> dict[str, float]:
        self.lane.refused = self.lane.log_some_bad()
        return self.lane.app.log(100)


def _nothing() -> None:
    pass


ROWS: Mapping[str, Callable[[Meeting], Fault]] = {
    "refused": Meeting.refused,
    "reset in the middle of a request": lambda m: m.wire(
        *(_CUT if m.lane.http else ("cut", "cut before the answer"))
    ),
    "accepted and hanging": Meeting.hanging,
    "one byte a second": Meeting.slow,
    "429 with Retry-After": Meeting.told_when,
    "429 without": lambda m: m.status(429),
    "500": lambda m: m.status(500),
    "503": lambda m: m.status(503),
    "401": lambda m: m.status(401),
    "403": lambda m: m.status(403),
    "413": Meeting.too_large,
    "400 for the whole": lambda m: m.status(400),
    "400 for a part": Meeting.some_bad,
    "malformed response": lambda m: m.wire(*(_MALFORMED if m.lane.http else ("no protocol", "HTTP"))),
    "huge response": Meeting.huge,
    "TLS certificate expired": lambda m: m.certificate("expired"),
    "TLS wrong host": lambda m: m.certificate("other"),
    "name not resolved for a while": Meeting.nameless,
    "server restarted under load": Meeting.restarted,
    "an hour's backlog": Meeting.backlog,
    "clock jumps": Meeting.jumping,
}
"""The rows of the table."""

_REPEATING = {
    "accepted and hanging",
    "one byte a second",
    "reset in the middle of a request",
    "server restarted under load",
    "400 for a part",
}
"""Faults after which a sink may hold twice what its server had stored and could not say."""

_BURYING = {"400 for the whole", "clock jumps"}
"""Faults that make dead letters by the server's own words; "400 for a part" makes a known number."""

_DISK = "no server: what a disk does to the local store stands in the table above"
_SILENT = "syslog knows no answers: a receiver that minds something says nothing"
_BROKER = "Kafka has no statuses; what a broker refuses stands in tests/integration/test_kafka_sink.py"
_STATUSES = tuple(name for name in ROWS if name[0] in "45")

_SENSIBLE = {
    *((sink, row) for sink in ("local", "file") for row in ("refused", "an hour's backlog", "clock jumps")),
    *(("kafka", row) for row in ("413", "400 for a part")),
    ("syslog", "400 for a part"),
}
_EMPTY: Mapping[tuple[str, str], str] = {
    **{(sink, row): _DISK for sink in ("local", "file") for row in ROWS},
    **{("syslog", row): _SILENT for row in _STATUSES},
    **{("kafka", row): _BROKER for row in _STATUSES},
    ("s3", "400 for a part"): "an object is stored or not",
}
DASHES: Mapping[tuple[str, str], str] = {
    cell: reason for cell, reason in _EMPTY.items() if cell not in _SENSIBLE
}


def cells() -> Iterator[tuple[str, str]]:
    """Yield each sink and fault that make sense together."""
    for row in ROWS:
        for sink in LANES:
            if (sink, row) not in DASHES:
                yield sink, row


def sample(seed: int, least: int = 2) -> Sequence[tuple[str, str]]:
    """Return some cells: each fault with at least one sink, each sink with at least so many faults."""
    chance, left = random.Random(seed), list(cells())
    chance.shuffle(left)
    found: list[tuple[str, str]] = []
    taken = dict.fromkeys(LANES, 0)

    def take(cell: tuple[str, str]) -> None:
        found.append(cell)
        left.remove(cell)
        taken[cell[0]] += 1

    # The rows with the fewest sinks choose first, each the sink that has least to do yet.
    for row in sorted(ROWS, key=lambda row: sum(cell[1] == row for cell in left)):
        take(min((cell for cell in left if cell[1] == row), key=lambda cell: taken[cell[0]]))
    for sink in LANES:
        while taken[sink] < least and (more := next((cell for cell in left if cell[0] == sink), None)):
            take(more)
    return found


def meet(lane: SinkLane, fault: str, directory: Path, certificates: Path, *, seed: int, stops: bool) -> Tally:
    """Have a lane meet a fault in a directory of its own; return what became of the events."""
    lane.fresh(directory, certificates if fault.startswith("TLS") else None)
    if fault.startswith("name") and (prepare := getattr(lane, "prepare_name", None)):
        prepare()
    meeting = Meeting(lane, fault, seed, certificates)
    try:
        trial(lane, ROWS[fault](meeting), stops=stops)
    finally:
        lane.app.clock(0)
    tally = lane.tally()
    assert tally.lost == 0, f"{tally.lost} of {tally.events} events are lost"
    timed_out = fault == "huge response" and not lane.http
    if not (lane.may_repeat and (timed_out or fault in _REPEATING)) and not (stops and lane.forgets):
        assert tally.twice == 0, f"{tally.twice} events are there twice"
    if fault == "400 for a part":
        assert len(tally.letters) == lane.refused, f"{len(tally.letters)} dead letters of {lane.refused}"
        return tally
    assert not tally.letters or fault in _BURYING, f"dead letters: {tally.letters[0].reason}"
    if fault == "400 for the whole":
        assert all("400" in one.reason or "said" in one.reason for one in tally.letters), tally.letters[
            0
        ].reason
    return tally
