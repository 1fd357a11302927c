"""What a record costs: CPU time of the whole process, as ratios to a floor measured in the same run.

    python benchmarks/record.py [--records 200000] [--rounds 3] [--json FILE] [--check]

Every way to a sink logs the same access-like records (ten extras, two per cent with a traceback) in a process
of its own, several times; the smallest CPU time counts, up to the acknowledged delivery and shutdown.
The receiving server is another process and answers at once. Ways of one record: `benchmarks/one_record.py`.
`--check` exits 1 when a way costs more than its budget.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from machine import write
from one_record import RECORDS, Nothing, import_time, turns
from server import Server

# name → (budget as a ratio to the floor, None: measured only)
WAYS: dict[str, float | None] = {
    "floor": None,
    "event": None,
    "event, not redacted": None,
    "spool": None,
    "file": None,
    "local store": None,
    "loki": 2.3,
}
IMPORT = 0.060  # seconds of CPU time for the names that an application imports
EXTRAS = {
    "kind": "access",
    "method": "GET",
    "path": "/api/v1/products/1234",
    "endpoint": "/api/v1/products/{product}",
    "status_code": 200,
    "duration_ms": 12.75,
    "bytes": 5321,
    "client_ip": "10.1.2.3",
    "cart": "c-81723",
    "order_id": 42,
}


def work(records: int) -> float:
    """Log `records` records; return the seconds of CPU time spent in this thread's calls."""
    log = logging.getLogger("shop.api")
    started = time.process_time()
    for number in range(records):
        if number % 50 == 0:
            try:
                raise ValueError(number)
            except ValueError:
                log.exception("request failed", extra=EXTRAS)
        else:
            log.info("GET %s %d", "/api/v1/products/1234", 200, extra=EXTRAS)
    return time.process_time() - started


def configured(sinks: dict[str, object], spool: object) -> Callable[[], None]:
    """Configure logferry; return what waits for the last delivery."""
    import logferry

    logferry.configure(
        {"service": "bench", "logging": {"level": "INFO", "console": "off"}, "spool": spool, "sinks": sinks}
    )

    def finish() -> None:
        if not logferry.flush(120) or not logferry.shutdown(30):
            raise SystemExit("not everything was delivered")

    return finish


def nothing() -> None:
    """No delivery to wait for."""


def prepare(way: str, directory: Path, url: str) -> Callable[[], None]:
    """Set the handlers of one way up; return what has to run at the end."""
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    spool = {"path": str(directory / "spool")}
    if way == "floor":
        root.addHandler(Nothing())
    elif way.startswith("event"):
        from logferry.handlers.forward import ForwardHandler
        from logferry.handlers.record import EventBuilder
        from logferry.handlers.redaction import Redactor
        from logferry.handlers.schema import Schema

        schema = Schema("bench")
        builder = EventBuilder(schema, None if "not" in way else Redactor(schema=schema))

        class Null:
            def offer(self, _event: bytes, /) -> bool:
                return True

        root.addHandler(ForwardHandler(Null(), builder))
    else:
        sinks = {
            "spool": {"sink": {"type": "memory", "max_events": 1}},
            "file": {"sink": {"type": "file", "path": str(directory / "out.ndjson")}},
            "local store": {"sink": {"type": "local", "path": str(directory / "logs"), "compact": False}},
            "loki": {"sink": {"type": "loki", "url": url}},
        }
        return configured(sinks[way], spool)
    return nothing


def one(way: str, records: int, url: str) -> None:
    """Measure one way in this process; print its figures as JSON."""
    with tempfile.TemporaryDirectory(prefix="logferry-bench-") as name:
        finish = prepare(way, Path(name), url)
        work(min(records, 2_000))  # imports and caches
        before, memory = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        caller = work(records)
        finish()
        total = time.process_time() - before
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    print(json.dumps({"total": total / records, "caller": caller / records, "grown_kib": grown}))


def measure(records: int, rounds: int) -> dict[str, dict[str, float]]:
    """Run every way `rounds` times, in turn; return the smallest figures (µs and KiB per way)."""
    best: dict[str, dict[str, float]] = {}
    with Server() as server:
        for _ in range(rounds):
            for way in (*WAYS, *RECORDS):
                command = [sys.executable, __file__, "--way", way, "--url", server.url]
                command += ["--records", str(records)]
                out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                figures = json.loads(out.splitlines()[-1])
                if way == "loki":
                    figures["delivered"] = server.events()
                known = best.setdefault(way, figures)
                if figures["total"] < known["total"]:
                    best[way] = {**figures, **({"floor": known["floor"]} if "floor" in known else {})}
                if "floor" in figures:
                    best[way]["floor"] = min(figures["floor"], known["floor"])
    return best


def main() -> int:
    """Measure, print the table, and compare with the budgets when asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--url", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way in RECORDS:
        cost, own_floor = turns(arguments.way, min(arguments.records, 20_000))
        print(json.dumps({"total": cost, "caller": cost, "grown_kib": 0, "floor": own_floor}))
        return 0
    if arguments.way:
        one(arguments.way, arguments.records, arguments.url)
        return 0
    best = measure(arguments.records, arguments.rounds)
    floor = best["floor"]["total"]
    print(
        f"{platform.python_implementation()} {platform.python_version()}, {arguments.records:,} records a way"
    )
    print(f"{'way':<22}{'µs/record':>10}{'x floor':>9}{'in the call':>13}{'memory +':>11}{'budget':>8}")
    over = False
    for way, figures in best.items():
        ratio = figures["total"] / figures.get("floor", floor)
        budget = RECORDS[way][0] if way in RECORDS else WAYS[way]
        over |= budget is not None and ratio > budget
        print(
            f"{way:<22}{figures['total'] * 1e6:>10.2f}{ratio:>9.2f}{figures['caller'] * 1e6:>13.2f}"
            f"{figures['grown_kib'] / 1024:>9.1f} M{budget or '':>8}"
        )
    imports = import_time()
    over |= imports > IMPORT
    print(f"{'import':<22}{imports * 1e3:>7.1f} ms{IMPORT * 1e3:>37.0f} ms")
    if arguments.json:
        write(arguments.json, {"records": arguments.records, "ways": best, "import": imports})
    return int(over and arguments.check)


if __name__ == "__main__":
    sys.exit(main())
