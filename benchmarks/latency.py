"""How long a log call takes while its records are delivered: percentiles beside the floor's, same pacing.

    python benchmarks/latency.py [--rate 2000] [--seconds 10] [--rounds 2] [--delivery thread|process]
                                 [--tracebacks 50] [--json FILE] [--check]

Each case is a process of its own: a number of threads log `--rate` records a second together, each waiting
for its next one, as services do. Cases take turns; of each percentile the smallest of all rounds counts (the
machine's other work only ever adds). `down`: nothing listens there.
Every `--tracebacks`th record has a traceback (0: none), which is then most of what p99 shows.
"memory" is what the process has grown by since before the first record; "delivered" is what the server has
counted; "idle" is CPU time per second afterwards, with nothing to do.
`--check` exits 1 when the budget is exceeded: p50 twice the floor's, p99 six times the floor's p50 or twice
its p99.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from machine import write
from record import EXTRAS, Nothing
from server import Server

SINKS = ("floor", "healthy", "hang", "refuse", "down")
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
    """Measure one case in this process; print its figures as JSON."""
    log = logging.getLogger("shop.api")
    logging.getLogger().setLevel(logging.INFO)
    with tempfile.TemporaryDirectory(prefix="logferry-bench-") as name:
        start = resident()
        if sink == "floor":
            logging.getLogger().addHandler(Nothing())
        else:
            import logferry

            logferry.configure(
                {
                    "service": "bench",
                    "logging": {"level": "INFO", "console": "off"},
                    "spool": {"path": f"{name}/spool"},
                    "delivery": arguments.delivery,
                    "sinks": {"loki": {"type": "loki", "url": arguments.url, "timeout": "2s"}},
                }
            )
        log_paced(log, WARM, 0.0002, [], arguments.tracebacks)
        time.sleep(1)
        records = int(arguments.rate * arguments.seconds) // threads
        times: list[list[int]] = [[] for _ in range(threads)]
        cpu = time.process_time()
        workers = [
            threading.Thread(
                target=log_paced, args=(log, records, threads / arguments.rate, mine, arguments.tracebacks)
            )
            for mine in times
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        delivered = sink != "healthy" or logferry.flush(60)
        cpu = time.process_time() - cpu
        every = sorted(t for mine in times for t in mine)
        figures: dict[str, float] = {
            key: every[min(len(every) - 1, int(len(every) * share))] / 1000
            for key, share in PERCENTILES.items()
        }
        figures |= {"cpu": cpu / len(every) * 1e6, "memory": resident() - start, "records": len(every) + WARM}
        idle = time.process_time()
        time.sleep(3)
        figures["idle"] = (time.process_time() - idle) / 3 * 1e6
        print(json.dumps(figures), flush=True)
        if not delivered:
            raise SystemExit("not everything was delivered")
        os._exit(0)  # a sink that hangs is no matter of latency


def measure(arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Run all cases in turn; return the smallest figures of each."""
    best: dict[str, dict[str, float]] = {}
    with Server() as server:
        for _ in range(arguments.rounds):
            for threads in arguments.threads:
                for sink in SINKS:
                    if sink not in {"floor", "down"}:
                        server.mode(sink)
                    url = "http://127.0.0.1:9" if sink == "down" else server.url
                    command = [sys.executable, __file__, "--sink", sink, "--threads", str(threads)]
                    command += [
                        "--url",
                        url,
                        "--rate",
                        str(arguments.rate),
                        "--seconds",
                        str(arguments.seconds),
                    ]
                    command += ["--delivery", arguments.delivery, "--tracebacks", str(arguments.tracebacks)]
                    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                    figures = json.loads(out.splitlines()[-1])
                    figures["delivered"] = server.events() if sink == "healthy" else 0
                    case = best.setdefault(f"{sink}, {threads} thread{'s' * (threads > 1)}", figures)
                    case |= {key: min(value, figures[key]) for key, value in case.items() if key != "records"}
    return best


def over(figures: dict[str, float], floor: dict[str, float]) -> bool:
    """Say whether a case costs more than its budget."""
    return figures["p50"] > 2 * floor["p50"] or figures["p99"] > max(6 * floor["p50"], 2 * floor["p99"])


def main() -> int:
    """Measure, print the table, and compare with the budget when asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rate", type=float, default=2_000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--tracebacks", type=int, default=50)
    parser.add_argument("--delivery", default="thread", choices=["thread", "process"])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--sink", help=argparse.SUPPRESS)
    parser.add_argument("--url", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.sink:
        one(arguments.sink, arguments.threads[0], arguments)
        return 0
    best = measure(arguments)
    print(f"{arguments.rate:g} records a second for {arguments.seconds:g} s, µs in the call")
    print(
        f"{'sink':<20}{'p50':>8}{'p99':>8}{'p99.9':>9}{'max':>10}{'cpu/rec':>9}{'memory':>9}"
        f"{'idle µs/s':>11}{'delivered':>15}"
    )
    bad = False
    for case, figures in best.items():
        floor = best["floor," + case.partition(",")[2]]
        exceeded = over(figures, floor)
        bad |= exceeded
        taken = f"{figures['delivered']:,.0f}/{figures['records']:,.0f}" if "healthy" in case else ""
        print(
            f"{case:<20}{figures['p50']:>8.1f}{figures['p99']:>8.1f}{figures['p99.9']:>9.1f}"
            f"{figures['max']:>10.1f}{figures['cpu']:>9.1f}{figures['memory'] / 1024:>7.1f} M"
            f"{figures['idle']:>11.0f}{taken:>15}{'  over its budget' if exceeded else ''}"
        )
    if arguments.json:
        write(arguments.json, {"rate": arguments.rate, "seconds": arguments.seconds, "cases": best})
    return int(bad and arguments.check)


if __name__ == "__main__":
    sys.exit(main())
