"""What a record costs: CPU time of the whole process, as ratios to a floor measured in the same run.

    python benchmarks/record.py [--records 200000] [--rounds 3] [--only NAME]... [--json FILE]

Every way to a sink logs the same access-like records (ten extras, two per cent with a traceback) in a process
of its own, in turns with the floor, the standard library's call with a handler that does nothing: 5,000
records of the floor, 10,000 of the way up to the last acknowledged delivery, and again. A machine's speed
changes from second to second, and from process to process: only what was measured side by side is compared.
The ratio is that of all turns; of `--rounds` processes the one with the smallest counts. "in one go" is the
way without turns: all records at once, as fast as they can be logged, in a process of its own like its floor.
"in the call" is the logging thread's share, "other process" what the delivery process took beside it.
The receiving server is another process and answers at once. Ways of one record: `benchmarks/one_record.py`.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from machine import write
from one_record import RECORDS, Nothing, turns
from rows import Row, plain, text
from server import Server

DISK, MEMORY = "disk spool", "memory spool"
PROCESS = f"{DISK} → Loki, delivery: process"
IN_ONE_GO = f"{DISK} → Loki, in one go"
TURN = 10_000
WAYS = (
    "floor",
    "event made",
    "event made and redacted",
    f"{DISK} → memory",
    f"{DISK} → file",
    f"{DISK} → local store",
    f"{MEMORY} → local store",
    f"{DISK} → Loki",
    f"{MEMORY} → Loki",
    PROCESS,
    IN_ONE_GO,
)
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
WARM = 2_000
Finish = Callable[[], None]


def work(records: int, log: logging.Logger) -> float:
    """Log `records` records; return the seconds of CPU time that the process took meanwhile."""
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


def configured(sinks: dict[str, object], spool: object, delivery: str) -> Finish:
    """Configure logferry; return what waits for the last delivery."""
    import logferry

    logferry.configure(
        {
            "service": "bench",
            "logging": {"level": "INFO", "console": "off"},
            "spool": spool,
            "delivery": delivery,
            "sinks": sinks,
        }
    )

    def finish() -> None:
        if not logferry.flush(120) or not logferry.shutdown(30):
            raise SystemExit("not everything was delivered")

    return finish


def nothing() -> None:
    """No delivery to wait for."""


def prepare(way: str, directory: Path, url: str) -> Finish:
    """Set the handlers of one way up; return what has to run at the end."""
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    if way == "floor":
        root.addHandler(Nothing())
    elif way.startswith("event"):
        from logferry.handlers.forward import ForwardHandler
        from logferry.handlers.record import EventBuilder
        from logferry.handlers.redaction import Redactor
        from logferry.handlers.schema import Schema

        schema = Schema("bench")
        builder = EventBuilder(schema, Redactor(schema=schema) if "redacted" in way else None)

        class Null:
            def offer(self, _event: bytes, /) -> bool:
                return True

        root.addHandler(ForwardHandler(Null(), builder))
    else:
        spool = "memory" if way.startswith(MEMORY) else {"path": str(directory / "spool")}
        sink = {
            "memory": {"type": "memory", "max_events": 1},
            "file": {"type": "file", "path": str(directory / "out.ndjson")},
            "local store": {"type": "local", "path": str(directory / "logs"), "compact": "off"},
            "Loki": {"type": "loki", "url": url},
        }[way.partition(" → ")[2].partition(",")[0]]
        return configured({"sink": sink}, spool, "process" if way == PROCESS else "thread")
    return nothing


class Helper:
    """The delivery process of one measurement: its CPU time from outside, and its end."""

    def __init__(self, directory: Path) -> None:
        notice = directory / "spool" / "bench" / "delivery.json"
        deadline = time.monotonic() + 30
        while not notice.exists() or not (pid := json.loads(notice.read_bytes())["pid"]):
            if time.monotonic() > deadline:
                raise SystemExit("no delivery process has started")
            time.sleep(0.02)
        self._pid = int(pid)

    def cpu(self) -> float:
        """Return the seconds that all its threads have had a processor."""
        tasks = Path(f"/proc/{self._pid}/task").glob("*/schedstat")
        return sum(int(task.read_text(encoding="ascii").split()[0]) for task in tasks) / 1e9

    def end(self) -> None:
        """End it: it would wait for the next start of the service."""
        os.kill(self._pid, signal.SIGKILL)


def resident() -> float:
    """Return the most MiB that this process has had in memory so far.

    Not `ru_maxrss`: that begins with what the parent had when it started this process.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def one(way: str, records: int, url: str) -> None:
    """Measure one way in this process; print its figures as JSON."""
    with tempfile.TemporaryDirectory(prefix="logferry-bench-", ignore_cleanup_errors=True) as name:
        finish = prepare(way, Path(name), url)
        log, start = logging.getLogger("shop.api"), resident()
        work(min(records, WARM), log)  # imports and caches
        settle = nothing if finish is nothing else settled
        settle()
        helper = Helper(Path(name)) if way == PROCESS else None
        helped = helper.cpu() if helper else 0.0  # what it costs to start is not a record's
        alone = way in ("floor", IN_ONE_GO)
        floor, took, called = (0.0, *gone(records, log)) if alone else in_turns(records, log, settle)
        before = time.process_time()
        finish()
        took += time.process_time() - before
        figures = {
            "cpu": took / records * 1e6,
            "call": called / records * 1e6,
            "memory": resident() - start,
        }
        if not alone:
            figures["ratio"] = took / records / floor
            figures["floor"] = floor * 1e6
        if helper:
            figures["helper"] = (helper.cpu() - helped) / records * 1e6
            helper.end()
    print(json.dumps(figures), flush=True)


def settled() -> None:
    """Wait until all is delivered."""
    import logferry

    if not logferry.flush(120):
        raise SystemExit("not everything was delivered")


def gone(records: int, log: logging.Logger) -> tuple[float, float]:
    """Log at once; return the seconds of CPU time of the process and of the logging thread."""
    before, thread = time.process_time(), time.thread_time()
    work(records, log)
    return time.process_time() - before, time.thread_time() - thread


def in_turns(records: int, log: logging.Logger, settle: Finish) -> tuple[float, float, float]:
    """Log in turns with the floor; return its seconds a record, the way's and the logging thread's in all."""
    root = logging.getLogger()
    ours, nobody = list(root.handlers), [Nothing()]
    floor, took, called, turns = 0.0, 0.0, 0.0, max(1, records // TURN)
    for _ in range(turns):
        root.handlers[:] = nobody
        floor += work(TURN // 2, log)
        root.handlers[:] = ours
        before, thread = time.process_time(), time.thread_time()
        work(records // turns, log)
        called += time.thread_time() - thread
        settle()
        took += time.process_time() - before
    return floor / turns / (TURN // 2), took, called


def ask(way: str, records: int, url: str) -> dict[str, float]:
    """Have one way measured in a process of its own."""
    command = [sys.executable, __file__, "--way", way, "--url", url, "--records", str(records)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{way}: {done.stderr.strip() or done.stdout}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def measure(records: int, rounds: int, ways: Sequence[str] = WAYS) -> list[Row]:
    """Run ways to a sink `rounds` times, in turn; return the figures of the best process of each."""
    best: dict[str, dict[str, float]] = {}
    with Server() as server:
        for _ in range(rounds):
            for way in dict.fromkeys(["floor", *ways]):
                figures = ask(way, records, server.url)
                if "Loki" in way:
                    figures["delivered"] = server.events() / (records + min(records, WARM))
                held = best.get(way, figures)
                figure = "ratio" if "ratio" in figures else "cpu"
                best[way] = min(held, figures, key=lambda figures: figures[figure])
    for figures in best.values():
        figures.setdefault("ratio", figures["cpu"] / best["floor"]["cpu"])
        figures.pop("floor", None)
    return [Row("way of a record", way, figures) for way, figures in best.items()]


def measure_one(rounds: int, records: int = 10_000, names: Sequence[str] = tuple(RECORDS)) -> list[Row]:
    """Measure ways of one record in turns with their floor; return the smallest figures."""
    best: dict[str, dict[str, float]] = {}
    for _ in range(rounds):
        for name in names:
            figures = ask(name, records, "")
            held = best.setdefault(name, figures)
            best[name] = {key: min(value, held[key]) for key, value in figures.items()}
    return [
        Row("one record", name, {"cpu": figures["cpu"], "ratio": figures["cpu"] / figures["floor"]})
        for name, figures in best.items()
    ]


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", default=[], help="ways whose names hold this")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--url", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way in RECORDS:
        cost, own_floor = turns(arguments.way, arguments.records)
        print(json.dumps({"cpu": cost * 1e6, "floor": own_floor * 1e6}))
        return 0
    if arguments.way:
        one(arguments.way, arguments.records, arguments.url)
        return 0
    parts = arguments.only or [""]
    ways = [way for way in WAYS if any(part in way for part in parts)]
    names = [name for name in RECORDS if any(part in name for part in parts)]
    rows = measure(arguments.records, arguments.rounds, ways) if ways else []
    rows += measure_one(arguments.rounds, min(arguments.records, 20_000), names)
    print(text(rows))
    if arguments.json:
        write(arguments.json, {"records": arguments.records, "rows": plain(rows)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
