"""A program that logs to a real server behind a proxy, to a local store and to memory; the course of a fault.

`trial` is that course, from health to health. While the fault lasts, the other sinks are on time, the log
call costs what it costs without it, memory is flat, and the program can end within its bound. After it
everything is delivered. `Lane.compare` then compares what the server really holds with the store, id by id.
"""

from __future__ import annotations

import json
import queue
import ssl
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from logferry.shipper.spool import audit

from .application import Application
from .proxy import FaultProxy

__all__ = ["ON_TIME", "TIMEOUT", "Fault", "Lane", "Lanes", "trial"]

LANES = 4  # trials at a time: they mostly wait
TIMEOUT = 0.4  # the sink's, for one request
MEMORY = 24 << 20  # what a fault may add
ON_TIME = 2.5  # seconds for the sinks beside it
GRACE = 1.0  # beyond the time given to a shutdown: 0.2 of it are the pipeline's, the rest a busy machine's


class Lane:
    """One program with its proxy, its spool and its store; used by one trial at a time.

    Another server than Loki: a subclass with its own `sink`, `sink_config` and `stored_there`.
    """

    sink = "loki"
    timeout = TIMEOUT
    waits = True  # the sink has an option `timeout`

    def __init__(self, directory: Path, server: Any, *, under: Sequence[str] = ()) -> None:
        self.directory, self.server = directory, server
        self.store = directory / "store"
        self.service = f"lane-{uuid.uuid4().hex[:8]}"
        self.proxy = self.open_proxy()
        self.app = Application(under)
        self.since = time.time()
        self.options: dict[str, Any] = {}  # further ones of the sink
        self.refused = 0  # events that the server refuses for good

    def open_proxy(self, tls: ssl.SSLContext | None = None) -> FaultProxy:
        """Return a proxy in front of the server."""
        return FaultProxy(self.server.url, tls)

    @property
    def sinks(self) -> Sequence[str]:
        """The names of all sinks."""
        return (self.sink, "here", "mem")

    def sink_config(self) -> dict[str, Any]:
        """Return the sink that the faults strike."""
        return {"type": "loki", "url": self.proxy.url}

    def configure(self) -> None:
        """Start shipping."""
        patience = {"timeout": f"{self.timeout}s"} if self.waits else {}
        sinks = {
            self.sink: {**self.sink_config(), **patience, **self.options},
            "here": {"type": "local", "path": str(self.store), "compact": "off"},
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
        """End program and proxy."""
        self.proxy.heal()
        self.app.__exit__()
        self.proxy.__exit__()

    def stored_here(self) -> list[str]:
        """Return the ids in the local store, of which there is only NDJSON."""
        lines = [
            line
            for file in (self.store / "fresh").glob("*.ndjson")
            for line in file.read_bytes().splitlines()
        ]
        return [json.loads(line)["event_id"] for line in lines]

    def stored_there(self, at_least: int) -> list[str]:
        """Return the ids that the server holds."""
        query, ids = f'{{service="{self.service}"}}', list[str]()
        deadline = time.monotonic() + 20
        while True:
            found = self.server.entries(query, int(self.since * 1e9) - 10**9, int(time.time() * 1e9) + 10**9)
            ids = [labels["event_id"] for *_, labels in found]
            if len(ids) >= at_least or time.monotonic() > deadline:
                return ids
            time.sleep(0.1)

    def compare(self) -> int:
        """Return how many records the server lacks; assert that it holds nothing twice, and the identity."""
        here = self.stored_here()
        held = (len(here), len(set(here)))
        assert held == (self.app.numbers,) * 2, f"the local store holds {held} of {self.app.numbers}"
        there = self.stored_there(len(here) - self.refused)
        assert len(there) == len(set(there)), "the server holds events twice"
        report = audit(self.directory / "spool")
        assert not report.problems
        for (_, sink), account in report.accounts.items():
            assert account.balance == 0, (sink, account)
            dead = self.refused if sink == self.sink else 0
            assert (account.delivered, account.dead_lettered) == (len(here) - dead, dead), (sink, account)
            assert (account.pending, account.dropped) == (0, {}), (sink, account)
        return len(set(here) - set(there)) - self.refused


class Lanes:
    """Runs trials, so many at a time, each in a lane of its own."""

    def __init__(self, directory: Path, server: Any, kind: type[Lane] = Lane) -> None:
        self.all = [kind(directory / str(number), server) for number in range(LANES)]
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

    def close(self) -> None:
        """End all programs and proxies."""
        for lane in self.all:
            lane.close()


@dataclass(frozen=True, slots=True)
class Fault:
    """How a fault begins, when it has struck often enough, and how it ends.

    `sink` is the one it strikes, when it is not the lane's own. `log` logs what meets it, when that is not
    300 records of the usual kind; `healed` comes after its end, while the program runs.
    """

    begin: Callable[[], object]
    struck: Callable[[], object]
    end: Callable[[], object]
    sink: str = ""
    log: Callable[[], dict[str, float]] | None = None
    healed: Callable[[], object] = lambda: None


def trial(lane: Lane, fault: Fault, *, stops: bool) -> None:
    """Meet one fault; see the top. `stops`: the program ends while it lasts, and starts again after it."""
    app, beside = lane.app, [name for name in lane.sinks if name != (fault.sink or lane.sink)]
    lane.configure()
    healthy = app.log(200)
    assert app.flush(60), f"not delivered before the fault: {app.states()}"
    resident, _ = app.memory()
    fault.begin()
    faulty = fault.log() if fault.log else app.log(300)
    late = app.settle(beside, 5)
    assert late < ON_TIME, f"the sinks beside it took {late:.1f} s"
    fault.struck()
    _, peak = app.memory()
    assert peak - resident < MEMORY, f"{(peak - resident) >> 20} MiB more"
    assert faulty["p50"] < 3 * healthy["p50"] + 50e-6, (healthy, faulty)
    assert faulty["max"] < lane.timeout, f"a log call took {faulty['max']:.2f} s"
    if stops:
        _, took = app.shutdown(0.5)
        assert took < 0.5 + GRACE, f"the shutdown took {took:.1f} s"
        fault.end()
        lane.configure()
    else:
        fault.end()
    fault.healed()
    assert app.flush(90), f"not delivered after the fault: {app.states()}"
    # What an earlier start left is adopted within two seconds; `flush` speaks of this start's own.
    assert app.settle(lane.sinks, 90) < 90, f"not delivered after the fault: {app.accounts()}"
    done, took = app.shutdown(5)
    assert done, f"something is left after {took:.1f} s"
