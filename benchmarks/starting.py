"""How long starting takes: imports, the command line, `logferry run`.

    python benchmarks/starting.py [--rounds 7] [--json FILE]

CPU time of a whole process, the smallest of all rounds, in turn with an interpreter that does nothing; of an
import the import's alone. The ratio is that to the interpreter's own start. "s" is the smallest time on the
clock. `logferry run` counts from its start until it says that it is running (a spool, a
file source, Loki).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from agent import configuration
from machine import write
from rows import Row, plain, text

SECTION = "start"
BARE = "the interpreter alone"
RUN = "logferry run, until it reads and delivers"
IMPORTS = {
    "import logferry.handlers, and the names an application needs": (
        "from logferry.handlers import EventBuilder, ForwardHandler, Redactor, Schema, bind"
    ),
    "import logferry": "import logferry",
    "import logferry and configure, with Loki": (
        "import logferry; logferry.configure({'service': 'a', 'spool': 'memory',"
        " 'logging': {'console': 'off'}, 'sinks': {'loki': {'type': 'loki', 'url': 'http://127.0.0.1:9'}}})"
    ),
    "import logging (standard library)": "import logging, logging.config",
}
_TIMED = """
import os, time
cpu, clock = time.process_time(), time.perf_counter()
{code}
print(time.process_time() - cpu, time.perf_counter() - clock, flush=True)
os._exit(0)
"""
COMMANDS = {"logferry --version": ["--version"], "logferry --help": ["--help"]}


def spent(command: Sequence[str]) -> tuple[float, float]:
    """Return a process's seconds of CPU time and on the clock, until it has ended."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"exit {process.returncode}: {' '.join(command)}")
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - began


def imported(code: str) -> tuple[float, float]:
    """Return the seconds that an import takes in an interpreter that has just started."""
    command = [sys.executable, "-c", _TIMED.format(code=code)]
    cpu, clock = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(cpu), float(clock)


def running() -> tuple[float, float]:
    """Return the seconds until `logferry run` says that it runs: CPU time, and on the clock."""
    with tempfile.TemporaryDirectory(prefix="logferry-bench-") as name:
        place = Path(name)
        (place / "app.log").touch()
        config = configuration(place, "http://127.0.0.1:9")
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "logferry", "run", "-c", str(config)], stderr=subprocess.PIPE, text=True
        )
        assert process.stderr
        said = process.stderr.readline()
        took = time.perf_counter() - began
        tasks = Path(f"/proc/{process.pid}/task").glob("*/schedstat")
        cpu = sum(int(task.read_text(encoding="ascii").split()[0]) for task in tasks) / 1e9
        process.terminate()
        said += process.communicate()[1]
    if not said.startswith("logferry: running"):
        raise SystemExit(f"logferry run: {said}")
    return cpu, took


def measure(rounds: int) -> list[Row]:
    """Start everything in turn; return the least of each."""
    commands = {BARE: [sys.executable, "-c", "pass"]}
    commands |= {name: [sys.executable, "-m", "logferry", *said] for name, said in COMMANDS.items()}
    best: dict[str, tuple[float, float]] = {}
    for _ in range(rounds):
        for name, command in commands.items():
            keep(best, name, spent(command))
        for name, code in IMPORTS.items():
            keep(best, name, imported(code))
        keep(best, RUN, running())
    bare = best[BARE][0]
    return [
        Row(SECTION, name, {"cpu": cpu * 1e6, "ratio": cpu / bare, "seconds": clock})
        for name, (cpu, clock) in best.items()
    ]


def keep(best: dict[str, tuple[float, float]], name: str, took: tuple[float, float]) -> None:
    """Keep the least of both figures."""
    held = best.setdefault(name, took)
    best[name] = min(held[0], took[0]), min(held[1], took[1])


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = measure(given.rounds)
    print(text(rows))
    if given.json:
        write(given.json, {"rounds": given.rounds, "rows": plain(rows)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
