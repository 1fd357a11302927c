"""Everything that logferry costs, in one run and one table.

    make bench                  # some ten minutes; SIZE=short: what CI compares, under a minute
    python benchmarks/bench.py [--size usual|short] [--only SECTION]... [--peers FILE] [--json FILE]

Sections: what a record costs by each way and with each kind of record, the stages of its way, the time inside
the log call while a sink is well, hangs, refuses or is down, memory, the agent, starting. `--peers` adds what
`make bench-peers` has measured (an environment of its own). As JSON it goes to `check.py`, which compares it
with the budgets and with what was kept, and to `page.py`, which puts it into the documentation.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Literal

import agent
import latency
import middleware
import record
import stages
import starting
from budgets import told
from machine import write
from rows import Row, load, plain, text
from server import Server

__all__ = ["SECTIONS", "Size", "show", "take"]

Size = Literal["short", "usual"]
MILLION = 1_000_000
LOKI = f"{record.DISK} → Loki"


def ways(size: Size) -> list[Row]:
    """CPU time of the whole process by each way, and of single records."""
    if size == "short":
        some = ("event made and redacted", f"{record.DISK} → memory", LOKI, record.PROCESS)
        names = ("five extras", "list and dict", "traceback of five frames", "structlog's own logger")
        return record.measure(30_000, 3, some) + record.measure_one(2, 5_000, names)
    return record.measure(100_000, 5) + record.measure_one(3, 20_000)


def memory(size: Size) -> list[Row]:
    """Return what the process has grown by after many records."""
    records = 50_000 if size == "short" else MILLION
    with Server() as server:
        figures = record.ask(LOKI, records, server.url)
    return [Row("memory", f"{LOKI}, after {records:,} records", {"memory": figures["memory"]})]


def calls(size: Size) -> list[Row]:
    """Measure the time in the log call; out of the process where a sink is well, and where it hangs."""
    if size == "short":
        given = ["--seconds", "2", "--rounds", "1", "--threads", "1", "--idle", "0.2"]
        return latency.measure(latency.arguments_of([*given, "--sinks", "healthy", "hang"]))
    given = ["--idle", "0.5"]
    inside = latency.measure(latency.arguments_of(given))
    outside = [*given, "--delivery", "process", "--sinks", "healthy", "hang"]
    floors = {row.name for row in inside}
    return inside + [row for row in latency.measure(latency.arguments_of(outside)) if row.name not in floors]


def parts(size: Size) -> list[Row]:
    """Measure the stages of the way, in a process that has nothing else loaded."""
    rounds = 15 if size == "short" else 60
    with tempfile.TemporaryDirectory(prefix="logferry-bench-") as place:
        path = Path(place) / "stages.json"
        command = [sys.executable, stages.__file__, "--rounds", str(rounds), "--json", str(path)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return load(path)[1]


def files(size: Size) -> list[Row]:
    """Measure the agent."""
    return (
        agent.measure(20_000, 2, backlog=False)
        if size == "short"
        else agent.measure(100_000, 3, kinds=list(agent.KINDS))
    )


def starts(size: Size) -> list[Row]:
    """Measure imports and starts."""
    return starting.measure(3 if size == "short" else 10)


def requests(size: Size) -> list[Row]:
    """Measure what the middleware adds to a request."""
    return middleware.measure(5_000, 2) if size == "short" else middleware.measure()


SECTIONS: dict[str, Callable[[Size], list[Row]]] = {
    "ways": ways,
    "stages": parts,
    "calls": calls,
    "memory": memory,
    "agent": files,
    "start": starts,
    "middleware": requests,
}


def take(size: Size, names: Collection[str] = tuple(SECTIONS)) -> dict[str, list[Row]]:
    """Measure sections; say how long each took."""
    found = {}
    for name in names:
        began = time.monotonic()
        try:
            found[name] = SECTIONS[name](size)
        except SystemExit as failed:  # the others were measured, or will be
            print(f"{name} FAILED: {failed}", file=sys.stderr)
            found[name] = []
        print(f"· {name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return found


def show(rows: Sequence[Row]) -> None:
    """Print the table, and the budgets."""
    print(text(rows))
    lines = [("budget", "bound", "measured", ""), *told(rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(3)]
    print()
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, (*widths, 0), strict=True)).rstrip())


def main() -> int:
    """Measure and print everything."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--size", choices=["short", "usual"], default="usual")
    parser.add_argument("--only", action="append", choices=list(SECTIONS), help="this section")
    parser.add_argument("--peers", type=Path, help="what `make bench-peers` has left, if it is there")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    began = time.monotonic()
    found = take(given.size, given.only or tuple(SECTIONS))
    rows = [row for some in found.values() for row in some]
    took = round(time.monotonic() - began)
    shown = rows + (load(given.peers)[1] if given.peers and given.peers.exists() else [])
    show(shown)
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        write(given.json, {"size": given.size, "seconds": took, "rows": plain(rows)})
        print(f"\n{took} s; as JSON: {given.json}")
    return 0 if all(found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
