"""How long a log call takes while its records are delivered: percentiles beside the floor's, same pacing.

    python benchmarks/latency.py [--rate 2000] [--seconds 1.8] [--rounds 6] [--delivery thread process]
                                 [--sinks healthy hang ...] [--threads 1 4] [--tracebacks 50] [--json FILE]

Rules
- Each round of a case is a process of its own. Its threads log `--rate` records a second together, as
  requests come: at random times (a Poisson process), each thread for itself. Threads in step, which wake in
  the same microsecond and meet their tracebacks together, would measure that. What a busy machine has held up
  is not made up for: hundreds of calls without a pause hold the interpreter's lock as no service does.
- The same threads log with a handler that does nothing (the floor) and with ours, in turns of half a second,
  whose order changes; `--seconds` of each. A machine's speed changes from second to second, and from process
  to process, and a thread's first call costs more than its others.
- A row is all calls of all rounds of its case, and its floor those of the same processes. With what is set
  by default these are some 20,000 calls of either: 20 of them are above p99.9. The processes are many and
  short: p50's ratio of one process is 1.5 to 2.1 by chance, so three of them say little.
- Every `--tracebacks`th record has a traceback (0: none), which is then most of what p99 shows.

`down`: nothing listens there. "memory" is what the process has grown by since before the first record;
"delivered" is what the server has counted; "idle" is CPU time per second afterwards, with nothing to do. The
budget for p99 is six times the floor's p50 or twice its p99, whichever is more: "p99 of its bound" is met up
to 1.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from machine import write
from one_record import Nothing
from record import EXTRAS, Helper
from rows import Row, plain, text
from server import Server

SECTION = "time in the call"
SINKS = ("healthy", "hang", "refuse", "down")
PERCENTILES = {"p50": 0.50, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
WARM = 2_000
TURN = 0.5


class Callers:
    """Threads that log at random times, `rate` records a second together, into what `turn` says."""

    def __init__(self, log: logging.Logger, threads: int, rate: float, tracebacks: int) -> None:
        self._log = log
        self._mean = threads / rate
        self._tracebacks = tracebacks
        self._into: list[int] | None = None  # where the calls' nanoseconds go; None: nobody logs
        self._calling = [False] * threads
        self._done = False
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(threads)]
        for thread in self._threads:
            thread.start()

    def turn(self, into: list[int], seconds: float) -> float:
        """Log for so long; return the CPU time that all the process took."""
        before = time.process_time()
        self._into = into
        time.sleep(seconds)
        self._into = None
        while any(self._calling):
            time.sleep(0.001)
        return time.process_time() - before

    def end(self) -> None:
        """End the threads."""
        self._done = True
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        clock, chance, calling = time.perf_counter, random.Random(number), self._calling
        due = clock()
        made = number * self._tracebacks // len(calling)  # not all threads' tracebacks at a time
        while not self._done:
            due += chance.expovariate(1 / self._mean)
            left = due - clock()
            if left > 0:
                time.sleep(left)
            else:
                due -= left
            calling[number] = True
            into = self._into
            if into is not None:
                made += 1
                into.append(log_one(self._log, made, self._tracebacks))
            calling[number] = False


def log_one(log: logging.Logger, number: int, tracebacks: int) -> int:
    """Log one record; return the nanoseconds that the call took."""
    clock = time.perf_counter_ns
    if tracebacks and number % tracebacks == 0:
        try:
            raise ValueError(number)
        except ValueError:
            before = clock()
            log.exception("request failed", extra=EXTRAS)
            return clock() - before
    before = clock()
    log.info("GET %s %d", "/api/v1/products/1234", 200, extra=EXTRAS)
    return clock() - before


def resident() -> int:
    """Return this process's resident memory in KiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def one(sink: str, threads: int, arguments: argparse.Namespace) -> None:
    """Measure one case in this process; print its figures and its floor's as JSON."""
    log, root = logging.getLogger("shop.api"), logging.getLogger()
    root.setLevel(logging.INFO)
    place = tempfile.mkdtemp(prefix="logferry-bench-")
    start = resident()
    import logferry

    logferry.configure(
        {
            "service": "bench",
            "logging": {"level": "INFO", "console": "off"},
            "spool": {"path": f"{place}/spool"},
            "delivery": arguments.delivery[0],
            "sinks": {"loki": {"type": "loki", "url": arguments.url, "timeout": "2s"}},
        }
    )
    callers = Callers(log, threads, arguments.rate, arguments.tracebacks)
    warm: list[int] = []
    callers.turn(warm, WARM / arguments.rate)
    time.sleep(1)
    nobody, ours = Measured([Nothing()]), Measured(list(root.handlers))
    for turn in range(max(1, round(arguments.seconds / TURN))):
        for measured in (nobody, ours) if turn % 2 else (ours, nobody):
            root.handlers[:] = measured.handlers
            measured.cpu += callers.turn(measured.every, TURN)
            if measured is ours and sink == "healthy":
                before = time.process_time()
                if not logferry.flush(60):
                    raise SystemExit("not everything was delivered")
                measured.cpu += time.process_time() - before
    callers.end()
    found: dict[str, float] = {"memory": (resident() - start) / 1024, "warm": len(warm)}
    idle = time.process_time()
    time.sleep(arguments.idle)
    found["idle"] = (time.process_time() - idle) / arguments.idle * 1e6
    calls = {name: (of.cpu, of.every) for name, of in (("ours", ours), ("floor", nobody))}
    print(json.dumps(found | calls), flush=True)
    if arguments.delivery[0] == "process":
        Helper(Path(place)).end()
    shutil.rmtree(place, ignore_errors=True)
    os._exit(0)  # a sink that hangs is no matter of latency


@dataclass(slots=True)
class Measured:
    """What calls have taken with these handlers: nanoseconds each, and seconds of CPU time in all."""

    handlers: list[logging.Handler]
    every: list[int] = field(default_factory=list)
    cpu: float = 0.0


@dataclass(slots=True)
class Case:
    """All rounds of one case."""

    sink: str
    threads: int
    delivery: str
    ours: Measured = field(default_factory=lambda: Measured([]))
    floor: Measured = field(default_factory=lambda: Measured([]))
    memory: float = 0.0
    idle: list[float] = field(default_factory=list)
    taken: int = 0  # by the server

    def round(self, arguments: argparse.Namespace, server: Server) -> None:
        """Have it measured once more, in a process of its own."""
        if self.sink != "down":
            server.mode(self.sink)
        url = "http://127.0.0.1:9" if self.sink == "down" else server.url
        command = [
            sys.executable,
            __file__,
            "--sink",
            self.sink,
            "--threads",
            str(self.threads),
            "--url",
            url,
        ]
        for option in ("rate", "seconds", "tracebacks", "idle"):
            command += [f"--{option}", str(getattr(arguments, option))]
        command += ["--delivery", self.delivery]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{self.sink}: not everything was delivered\n{done.stderr}")
        found = json.loads(done.stdout.splitlines()[-1])
        for measured, name in ((self.ours, "ours"), (self.floor, "floor")):
            cpu, every = found[name]
            measured.cpu += cpu
            measured.every += every
        self.memory = max(self.memory, found["memory"])
        self.idle.append(found["idle"])
        if self.sink == "healthy":
            self.taken += server.events() - found["warm"]

    def rows(self) -> tuple[Row, Row]:
        """Return its row, and its floor's."""
        ours, floor = figures(self.ours), figures(self.floor)
        compare(ours, floor)
        ours |= {
            "memory": self.memory,
            "records": len(self.ours.every),
            "idle": statistics.median(self.idle),
        }
        if self.sink == "healthy":
            ours["delivered"] = self.taken / len(self.ours.every)
        kind = f"{self.threads} thread{'s' * (self.threads > 1)}"
        name = (
            f"{self.sink}, {kind}, delivery: process"
            if self.delivery == "process"
            else f"{self.sink}, {kind}"
        )
        return Row(SECTION, name, ours), Row(SECTION, f"floor, {kind}", floor)


def figures(measured: Measured) -> dict[str, float]:
    """Return the percentiles (µs) and the CPU time of a record (µs)."""
    every = sorted(measured.every)
    found = {
        key: every[min(len(every) - 1, int(len(every) * share))] / 1000 for key, share in PERCENTILES.items()
    }
    return found | {"cpu": measured.cpu / len(every) * 1e6}


def measure(arguments: argparse.Namespace) -> list[Row]:
    """Run all cases in turn; return a row for each, and the first case's floor for each number of threads."""
    cases = [
        Case(sink, threads, delivery)
        for threads in arguments.threads
        for delivery in arguments.delivery
        for sink in arguments.sinks
    ]
    with Server() as server:
        for _ in range(arguments.rounds):
            for case in cases:
                case.round(arguments, server)
    found: dict[str, Row] = {}
    for case in cases:
        row, floor = case.rows()
        found.setdefault(floor.name, floor)
        found[row.name] = row
    return list(found.values())


def compare(figures: dict[str, float], floor: dict[str, float]) -> None:
    """Add a case's ratios to its floor."""
    figures["ratio"] = figures["cpu"] / floor["cpu"]
    figures["p50_ratio"] = figures["p50"] / floor["p50"]
    figures["p99_share"] = figures["p99"] / max(6 * floor["p50"], 2 * floor["p99"])
    figures["p99.9_ratio"] = figures["p99.9"] / floor["p99.9"]


def arguments_of(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rate", type=float, default=2_000)
    parser.add_argument("--seconds", type=float, default=1.8)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--sinks", nargs="+", default=SINKS, choices=SINKS)
    parser.add_argument("--tracebacks", type=int, default=50)
    parser.add_argument("--idle", type=float, default=1.5)
    parser.add_argument("--delivery", nargs="+", default=["thread"], choices=["thread", "process"])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sink", help=argparse.SUPPRESS)
    parser.add_argument("--url", default="", help=argparse.SUPPRESS)
    return parser.parse_args(given)


def main() -> int:
    """Measure and print the table."""
    arguments = arguments_of()
    if arguments.sink:
        one(arguments.sink, arguments.threads[0], arguments)
        return 0
    rows = measure(arguments)
    print(f"{arguments.rate:g} records a second for {arguments.seconds:g} s, µs in the call")
    print(text(rows))
    if arguments.json:
        write(arguments.json, {"rate": arguments.rate, "seconds": arguments.seconds, "rows": plain(rows)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
