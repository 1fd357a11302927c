"""Do the short slices of the delivery thread (`shipper/turns.py`) do anything for the application?

    python benchmarks/slices.py [--rounds 9] [--backlog 120000] [--json FILE]

Three situations, each with the slices and without, in turn: steady load, the same beside a thread of the
application that computes without a pause, and a backlog that is sent while the application goes on logging.
The application logs 3,000 records a second. Of all rounds the medians count.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from latency import PERCENTILES
from machine import write
from record import EXTRAS
from rows import Row, plain, text
from server import Server

SECTION = "slices"
RATE = 3_000
SITUATIONS = ("steady", "a thread computes", "a backlog is sent")


def paced(log: logging.Logger, records: int) -> list[int]:
    """Log with the pace of `RATE`; return each call's nanoseconds."""
    times: list[int] = []
    due = time.perf_counter()
    for number in range(records):
        due += 1 / RATE
        left = due - time.perf_counter()
        if left > 0:
            time.sleep(left)
        before = time.perf_counter_ns()
        log.info("GET %s %d", "/api/v1/products/1234", number, extra=EXTRAS)
        times.append(time.perf_counter_ns() - before)
    return times


def burn() -> None:
    """Compute without a pause."""
    while True:
        sum(range(200))


def one(situation: str, url: str, backlog: int, *, slices: bool) -> None:
    """Measure one case in this process; print its figures as JSON."""
    import logferry
    from logferry.shipper.pipeline import Pipeline
    from logferry.shipper.turns import Turns

    if not slices:
        Turns.rest = lambda _self: None  # type: ignore[method-assign]
    running: list[Pipeline] = []
    begin = Pipeline.start

    def start(self: Pipeline, **given: bool) -> None:
        running.append(self)
        begin(self, **given)

    Pipeline.start = start  # type: ignore[method-assign]
    place, log = tempfile.mkdtemp(prefix="logferry-bench-"), logging.getLogger("shop.api")
    logferry.configure(
        {
            "service": "bench",
            "logging": {"level": "INFO", "console": "off"},
            "spool": {"path": f"{place}/spool"},
            "sinks": {"loki": {"type": "loki", "url": url}},
        }
    )
    for number in range(backlog if "backlog" in situation else 3_000):
        log.info("GET %s %d", "/api/v1/products/1234", number, extra=EXTRAS)
    before = running[0].accounts()["loki"].pending
    print("ready", flush=True)
    sys.stdin.readline()  # Loki is well from here on
    if "computes" in situation:
        threading.Thread(target=burn, daemon=True).start()
    if "backlog" in situation:
        deadline = time.monotonic() + 60
        while running[0].accounts()["loki"].pending >= before and time.monotonic() < deadline:
            time.sleep(0.01)
    seconds = 0.4 if "backlog" in situation else 4
    every = sorted(paced(log, int(RATE * seconds)))
    figures: dict[str, float] = {
        key: every[min(len(every) - 1, int(len(every) * share))] / 1000 for key, share in PERCENTILES.items()
    }
    figures["pending"] = running[0].accounts()["loki"].pending
    print(json.dumps(figures), flush=True)
    shutil.rmtree(place, ignore_errors=True)
    os._exit(0)


def case(situation: str, server: Server, backlog: int, *, slices: bool) -> dict[str, float]:
    """Have one case measured; fail when a backlog was over before its measurement."""
    behind = "backlog" in situation
    server.mode("refuse" if behind else "healthy")
    command = [sys.executable, __file__, "--case", situation, "--url", server.url, "--backlog", str(backlog)]
    command += ["--without"] * (not slices)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        process.stdout.readline()
        server.mode("healthy")
        process.stdin.write("\n")
        process.stdin.flush()
        figures: dict[str, float] = json.loads(process.stdout.readline())
    server.events()
    if behind and not figures["pending"]:
        raise SystemExit("the backlog was sent too soon: ask for a larger one")
    return figures


def measure(rounds: int, backlog: int) -> list[Row]:
    """Run all cases in turn; return the medians of each."""
    found: dict[str, list[dict[str, float]]] = {}
    with Server() as server:
        for number in range(rounds):
            for situation in SITUATIONS:
                for slices in (number % 2 == 0, number % 2 == 1):
                    name = f"{situation}, {'with' if slices else 'without'} slices"
                    found.setdefault(name, []).append(case(situation, server, backlog, slices=slices))
    return [
        Row(SECTION, name, {key: statistics.median(each[key] for each in every) for key in PERCENTILES})
        for name, every in sorted(found.items())
    ]


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--backlog", type=int, default=120_000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--url", default="", help=argparse.SUPPRESS)
    parser.add_argument("--without", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.case:
        one(given.case, given.url, given.backlog, slices=not given.without)
        return 0
    rows = measure(given.rounds, given.backlog)
    print(text(rows))
    if given.json:
        write(given.json, {"rounds": given.rounds, "rows": plain(rows)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
