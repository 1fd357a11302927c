"""A real Loki behind a proxy that misbehaves: nothing is lost, nobody else notices.

Each fault meets a program that logs to Loki, to a local store and to memory. While it lasts:
- the other sinks are on time, the log call costs what it costs without the fault, memory is flat;
- the program can end within its bound (every other trial ends there, and another start delivers the rest).
After it everything is delivered: what Loki really holds is compared with the local store, id by id, and the
books balance. LOGFERRY_EFFORT=10 tries each fault ten times as often.
"""

from __future__ import annotations

import json
import queue
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from effort import effort
from evidence import Evidence
from servers.application import Application
from servers.loki import LokiServer
from servers.proxy import FaultProxy
from servers.wire import FAULTS, LONG, PASSING

from logferry.shipper.spool import audit

pytestmark = [
    pytest.mark.integration,
    pytest.mark.server("loki"),
    pytest.mark.timeout(1800),
    pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc"),
]

LANES = 4  # trials at a time: they mostly wait
TIMEOUT = 0.4  # the sink's, for one request
LINE_BYTES = 4096  # Loki refuses longer lines
MEMORY = 24 << 20  # what a fault may add
GRACE = 1.0  # beyond the time given to a shutdown: 0.2 of it are the pipeline's, the rest a busy machine's


class Lane:
    """One program with its proxy, its spool and its store; used by one trial at a time."""

    def __init__(self, directory: Path, loki: LokiServer) -> None:
        self.directory, self.loki = directory, loki
        self.service = f"proxy-{uuid.uuid4().hex[:8]}"
        self.proxy = FaultProxy(loki.url)
        self.app = Application()
        self.since = time.time()

    def configure(self, url: str = "", **loki: Any) -> None:
        sinks = {
            "loki": {"type": "loki", "url": url or self.proxy.url, "timeout": f"{TIMEOUT}s", **loki},
            "here": {"type": "local", "path": str(self.directory / "store"), "compact": "off"},
            "mem": {"type": "memory", "max_events": 1000},
        }
        self.app.configure(
            {
                "service": self.service,
                "environment": "test",
                "logging": {"level": "INFO", "console": "off"},
                "spool": {"path": str(self.directory / "spool")},
                "sinks": sinks,
            }
        )

    def close(self) -> None:
        self.proxy.heal()
        self.app.__exit__()
        self.proxy.__exit__()

    def stored_here(self) -> list[str]:
        """Return the ids in the local store, of which there is only NDJSON."""
        lines = [
            line
            for file in (self.directory / "store" / "fresh").glob("*.ndjson")
            for line in file.read_bytes().splitlines()
        ]
        return [json.loads(line)["event_id"] for line in lines]

    def stored_there(self, at_least: int) -> list[str]:
        """Return the ids that Loki holds."""
        query, ids = f'{{service="{self.service}"}}', list[str]()
        deadline = time.monotonic() + 20
        while True:
            found = self.loki.entries(query, int(self.since * 1e9) - 10**9, int(time.time() * 1e9) + 10**9)
            ids = [labels["event_id"] for *_, labels in found]
            if len(ids) >= at_least or time.monotonic() > deadline:
                return ids
            time.sleep(0.1)

    def compare(self) -> int:
        """Return how many records are not in Loki; assert that nothing is there twice, and the identity."""
        here = self.stored_here()
        assert len(here) == len(set(here)) == self.app.numbers
        there = self.stored_there(len(here))
        assert len(there) == len(set(there)), "Loki holds events twice"
        report = audit(self.directory / "spool")
        assert not report.problems
        for (_, sink), account in report.accounts.items():
            assert account.balance == 0, (sink, account)
            assert (account.delivered, account.pending) == (len(here), 0), (sink, account)
        return len(set(here) - set(there))


class Lanes:
    """Runs trials, so many at a time, each in a lane of its own."""

    def __init__(self, directory: Path, loki: LokiServer) -> None:
        self.all = [Lane(directory / str(number), loki) for number in range(LANES)]
        self._free: queue.SimpleQueue[Lane] = queue.SimpleQueue()
        for lane in self.all:
            self._free.put(lane)

    def run(self, trials: list[tuple[str, Callable[[Lane], None]]]) -> None:
        """Run all trials; raise what the first of them raised, with its name."""

        def one(named: tuple[str, Callable[[Lane], None]]) -> None:
            lane = self._free.get()
            try:
                named[1](lane)
            except Exception as error:
                raise AssertionError(f"{named[0]}: {error}") from error
            finally:
                lane.proxy.heal()
                self._free.put(lane)

        with ThreadPoolExecutor(LANES) as pool:
            for _ in pool.map(one, trials):
                pass


@pytest.fixture(scope="module")
def server(loki_factory: Callable[..., LokiServer]) -> LokiServer:
    """A Loki that these tests may kill, and that refuses long lines."""
    return loki_factory(limits={"max_line_size": str(LINE_BYTES)})


@pytest.fixture
def lanes(server: LokiServer, tmp_path: Path) -> Iterator[Lanes]:
    made = Lanes(tmp_path, server)
    yield made
    for lane in made.all:
        lane.close()


def trial(
    lane: Lane, strike: Callable[[], None], struck: Callable[[], None], *, stops: bool, **sink: Any
) -> None:
    """Meet one fault from the healthy state to the healthy state; see the top."""
    app = lane.app
    lane.configure(**sink)
    healthy = app.log(200)
    assert app.flush(20), "not delivered before the fault"
    resident, _ = app.memory()
    strike()
    faulty = app.log(300)
    beside = app.settle(["here", "mem"], 5)
    assert beside < 2.5, f"the sinks beside it took {beside:.1f} s"
    struck()
    _, peak = app.memory()
    assert peak - resident < MEMORY, f"{(peak - resident) >> 20} MiB more"
    assert faulty["p50"] < 3 * healthy["p50"] + 50e-6, (healthy, faulty)
    assert faulty["max"] < TIMEOUT, f"a log call took {faulty['max']:.2f} s"
    if stops:
        _, took = app.shutdown(0.5)
        assert took < 0.5 + GRACE, f"the shutdown took {took:.1f} s"
        lane.proxy.heal()
        lane.configure(**sink)
    else:
        lane.proxy.heal()
    assert app.flush(30), f"not delivered after the fault: {app.states()}"
    # What an earlier start left is adopted within two seconds; `flush` speaks of this start's own.
    assert app.settle(["loki", "here", "mem"], 30) < 30, f"not delivered after the fault: {app.accounts()}"
    done, took = app.shutdown(5)
    assert done, f"something is left after {took:.1f} s"


def wire_trial(name: str, *, stops: bool) -> Callable[[Lane], None]:
    def run(lane: Lane) -> None:
        def struck() -> None:
            lane.proxy.wait_until_struck(1 if name in LONG | PASSING else 2)
            pending = lane.app.accounts()["loki"]["pending"]
            assert name in PASSING or pending, "delivered through the fault"

        trial(lane, lambda: lane.proxy.strike(FAULTS[name]), struck, stops=stops)

    return run


def finish(lanes: Lanes, evidence: Evidence, row: str, tried: int) -> None:
    lost = sum(lane.compare() for lane in lanes.all if lane.app.numbers)
    evidence(row, tried=tried, lost=lost)
    assert lost == 0


ROWS = {
    "Loki cuts, hangs, or takes or gives a byte a second": ("cut", "closed", "hang", "answer", "reading"),
    "Loki is too busy (429, Retry-After of every kind)": ("429",),
    "Loki fails, refuses, redirects (5xx, 401, 404, 200, 307)": ("5", "401", "404", "200", "redirect"),
    "Loki answers what is no answer, or a gigabyte": (),
}


def row_of(name: str) -> str:
    return next(row for row, starts in ROWS.items() if name.startswith(starts) or not starts)


@pytest.mark.parametrize("row", ROWS)
def test_the_wire(lanes: Lanes, evidence: Evidence, row: str) -> None:
    """Every fault on the way to Loki and back."""
    names = [name for name in FAULTS if row_of(name) == row]
    trials = [
        (name, wire_trial(name, stops=(number + round_) % 2 == 0))
        for round_ in range(effort(1))
        for number, name in enumerate(names)
    ]
    lanes.run(trials)
    finish(lanes, evidence, row, len(trials))
