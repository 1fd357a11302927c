"""How long a log call takes while its records are delivered: percentiles beside the floor's, same pacing.

    python benchmarks/latency.py [--rate 2000] [--seconds 10] [--rounds 3] [--delivery thread process]
                                 [--sinks healthy hang ...] [--threads 1 4] [--tracebacks 50] [--json FILE]

Each case is a process of its own: a number of threads log `--rate` records a second together, each
waiting for its next one, as services do; a second with a handler that does nothing (the floor), a second
with ours, in turns, `--seconds` of each: a machine's speed changes from second to second, and from
process to process. A row is one round, whole: of all rounds of its case the one with the median p99, so
that no figures of different runs stand side by side. `down`: nothing listens there.
Every `--tracebacks`th record has a traceback (0: none), which is then most of what p99 shows.
"memory" is what the process has grown by since before the first record; "delivered" is what the server has
counted; "idle" is CPU time per second afterwards, with nothing to do. The budget for p99 is six times the
floor's p50 or twice its p99, whichever is more: "p99 of its bound" is met up to 1.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
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
WARM = 1_500


def log_paced(log: logging.Logger, records: int, every: float, times: list[int], tracebacks: int = 0) -> None:
    """Log `records` records, one `every` seconds; note the nanoseconds that each call took."""
    clock, sleep, note = time.perf_counter_ns, time.sleep, times.append
    due = time.perf_counter()
    for number in range(records):
        due += every
        left = due - time.perf_counter()
        if left > 0:
            sleep(left)
        if tracebacks and number % tracebacks == 0:
            try:
                raise ValueError(number)
            except ValueError:
                before = clock()
                log.exception("request failed", extra=EXTRAS)
                note(clock() - before)
        else:
            before = clock()
            log.info("GET %s %d", "/api/v1/products/1234", 200, extra=EXTRAS)
            note(clock() - before)


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
    log_paced(log, WARM, 0.0002, [], arguments.tracebacks)
    time.sleep(1)
    ours, nobody = Measured(list(root.handlers)), Measured([Nothing()])
    for _ in range(max(1, round(arguments.seconds))):
        for measured in (nobody, ours):
            root.handlers[:] = measured.handlers
            measured.second(log, threads, arguments)
            if measured is ours and sink == "healthy":
                before = time.process_time()
                if not logferry.flush(60):
                    raise SystemExit("not everything was delivered")
                measured.cpu += time.process_time() - before
    figures = ours.figures() | {
        "memory": (resident() - start) / 1024,
        "records": len(ours.every) + WARM,
    }
    idle = time.process_time()
    time.sleep(arguments.idle)
    figures["idle"] = (time.process_time() - idle) / arguments.idle * 1e6
    print(json.dumps({"ours": figures, "floor": nobody.figures()}), flush=True)
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

    def second(self, log: logging.Logger, threads: int, arguments: argparse.Namespace) -> None:
        """Log for a second."""
        records = int(arguments.rate) // threads
        times: list[list[int]] = [[] for _ in range(threads)]
        every = threads / arguments.rate
        workers = [
            threading.Thread(target=log_paced, args=(log, records, every, mine, arguments.tracebacks))
            for mine in times
        ]
        before = time.process_time()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        self.cpu += time.process_time() - before
        self.every += [taken for mine in times for taken in mine]

    def figures(self) -> dict[str, float]:
        """Return the percentiles (µs) and the CPU time of a record (µs)."""
        every = sorted(self.every)
        figures = {
            key: every[min(len(every) - 1, int(len(every) * share))] / 1000
            for key, share in PERCENTILES.items()
        }
        return figures | {"cpu": self.cpu / len(every) * 1e6}


def case(
    sink: str, threads: int, delivery: str, arguments: argparse.Namespace, server: Server
) -> tuple[Row, Row]:
    """Have one case measured in a process of its own; return its row and its floor's."""
    if sink != "down":
        server.mode(sink)
    url = "http://127.0.0.1:9" if sink == "down" else server.url
    command = [sys.executable, __file__, "--sink", sink, "--threads", str(threads), "--url", url]
    for option in ("rate", "seconds", "tracebacks", "idle"):
        command += [f"--{option}", str(getattr(arguments, option))]
    command += ["--delivery", delivery]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{sink}: not everything was delivered\n{done.stderr}")
    both = json.loads(done.stdout.splitlines()[-1])
    figures, floor = both["ours"], both["floor"]
    compare(figures, floor)
    if sink == "healthy":
        figures["delivered"] = server.events() / figures["records"]
    kind = f"{threads} thread{'s' * (threads > 1)}"
    name = f"{sink}, {kind}, delivery: process" if delivery == "process" else f"{sink}, {kind}"
    return Row(SECTION, name, figures), Row(SECTION, f"floor, {kind}", floor)


def measure(arguments: argparse.Namespace) -> list[Row]:
    """Run all cases in turn; return the median round of each, and of their floors."""
    found: dict[str, list[Row]] = {}
    with Server() as server:
        for _ in range(arguments.rounds):
            for threads in arguments.threads:
                for delivery in arguments.delivery:
                    for sink in arguments.sinks:
                        row, floor = case(sink, threads, delivery, arguments, server)
                        found.setdefault(floor.name, []).append(floor)
                        found.setdefault(row.name, []).append(row)
    return [median(rows) for rows in found.values()]


def median(rows: Sequence[Row]) -> Row:
    """Return the round with the median p99."""
    return sorted(rows, key=lambda row: row.figures["p99"])[(len(rows) - 1) // 2]


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
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--sinks", nargs="+", default=SINKS, choices=SINKS)
    parser.add_argument("--tracebacks", type=int, default=50)
    parser.add_argument("--idle", type=float, default=3)
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
