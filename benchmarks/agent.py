"""What the agent costs: `logferry run` with a file source and Loki, schema and redaction on.

    python benchmarks/agent.py [--lines 200000] [--rounds 3] [--kinds json own text nginx mixed] [--json FILE]

Lines are JSON of 300 bytes, as another program's access log has them, and of other kinds. CPU per line is the
difference of two processes, `run --once` over all lines and over a quarter of them: what starting costs is
not a line's. The smallest CPU time of each counts; the ratio is that to the smallest floor of the same run (a
log call that does nothing). Memory is the most that the process ever had, with all lines as backlog in the
file, and with all of them as backlog in the spool, read while Loki refuses everything.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import record
from machine import write
from rows import Row, plain, text
from server import Server

from logferry.handlers.schema import duration_bucket

SECTION = "agent"
LINE = 300
STALLED = 1.0  # seconds without CPU time: all that is in the files has been read
USUALLY_IDLE = 0.05  # seconds of CPU time in that time which a waiting agent may take


@dataclass(frozen=True, slots=True)
class Took:
    """What one process took: seconds of CPU, the most MiB in memory."""

    cpu: float
    memory: float


def _moment(number: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{number % 1_000_000:06}Z"


def json_line(number: int, chance: random.Random) -> str:
    """Return a line of another program: names of ours, some are missing, with white space."""
    entry = {
        "timestamp": _moment(number),
        "level": "INFO",
        "message": f"GET /api/v1/products/{chance.randrange(9999)} 200",
        "method": "GET",
        "path": f"/api/v1/products/{chance.randrange(9999)}",
        "status_code": 200,
        "duration_ms": round(chance.expovariate(0.1), 2),
        "trace_id": f"{chance.getrandbits(128):032x}",
        "order_id": number,
        "note": "",
    }
    entry["note"] = "x" * (LINE - 1 - len(json.dumps(entry)))
    return json.dumps(entry)


def own_line(number: int, chance: random.Random) -> str:
    """Return a line as `JsonHandler` writes it for a request."""
    took = round(chance.expovariate(0.1), 3)
    entry = {
        "timestamp": _moment(number),
        "level": "INFO",
        "service": "shop",
        "trace_id": f"{chance.getrandbits(128):032x}",
        "span_id": f"{chance.getrandbits(64) | 1:016x}",
        "message": f"GET /api/v1/products/{chance.randrange(9999)} 200",
        "logger": "logferry.access",
        "environment": "dev",
        "host": "web-1",
        "process": 4711,
        "thread": "MainThread",
        "kind": "access",
        "method": "GET",
        "path": f"/api/v1/products/{chance.randrange(9999)}",
        "status_code": chance.choice((200, 200, 200, 304, 404)),
        "duration_ms": took,
        "duration_le": duration_bucket(took),
        "failed": False,
    }
    return json.dumps(entry, separators=(",", ":"))


def text_line(number: int, chance: random.Random) -> str:
    """Return a line of Python's `logging`, in its usual form, of about 300 bytes."""
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()) + f",{number % 1000:03}"
    text = f"{moment} INFO shop.orders: order {number} of customer {chance.randrange(9999)} stored "
    return text + "and some more is said of it " * ((LINE - len(text)) // 28)


def nginx_line(number: int, chance: random.Random) -> str:
    """Return a line of nginx's combined access log."""
    moment = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime())
    address = f"10.0.{chance.randrange(256)}.{chance.randrange(256)}"
    request = f"GET /api/v1/products/{chance.randrange(9999)}?page={number % 50} HTTP/1.1"
    agent = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
    return f'{address} - - [{moment}] "{request}" 200 {chance.randrange(99999)} "https://shop/list" "{agent}"'


def mixed_line(number: int, chance: random.Random) -> str:
    """Return lines of several forms, one in fifty of them odd: a traceback's object, or a secret."""
    entry: dict[str, object] = {"timestamp": _moment(number), "level": "INFO", "logger": "shop"}
    entry["message"] = f"order {number} stored"
    if number % 100 == 17:
        entry["error"] = {"type": "KeyError", "message": "'x'", "stack": "Traceback ...\n" * 10}
    elif number % 100 == 67:
        entry["note"] = "Authorization: Bearer abcdefgh12345678"
    elif number % 3:
        entry |= {"cart": number, "customer": f"c{chance.randrange(9999)}", "note": "x" * 120}
    else:
        entry |= {"sku": f"s{chance.randrange(999)}", "amount": chance.random(), "job": "nightly"}
    return json.dumps(entry)


# What each kind of line is called in the table.
KINDS: dict[str, tuple[str, Callable[[int, random.Random], str]]] = {
    "json": ("file → Loki, a line", json_line),
    "own": ("lines of JsonHandler → Loki", own_line),
    "text": ("lines of text → Loki", text_line),
    "nginx": ("nginx's access log as text → Loki", nginx_line),
    "mixed": ("JSON of several forms, 2 % odd → Loki", mixed_line),
}


def lines(count: int, path: Path, kind: str = "json") -> None:
    """Write `count` lines of a kind."""
    chance, line = random.Random(1), KINDS[kind][1]
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            file.write(line(number, chance) + "\n")


def configuration(place: Path, url: str) -> Path:
    """Write the agent's configuration; return its path."""
    path = place / "agent.yaml"
    path.write_text(
        f"service: edge\nspool: {{path: {place}/spool}}\n"
        f"sinks:\n  loki: {{type: loki, url: '{url}'}}\n"
        f"sources:\n  app: {{type: file, include: [{place}/app.log]}}\n",
        encoding="utf-8",
    )
    return path


def cpu_of(pid: int) -> float:
    """Return the seconds that a process has had a processor."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def run(place: Path, server: Server, *, refused_at_first: bool = False) -> Took:
    """Run the agent once over what is there, until all of it is delivered."""
    server.mode("refuse" if refused_at_first else "healthy")
    command = [sys.executable, "-m", "logferry", "run", "--once", "--patience", "120s"]
    command += ["-c", str(configuration(place, server.url))]
    with (place / "said").open("w") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
        if refused_at_first:
            wait_until_idle(process.pid)
            server.mode("healthy")
        _, status, usage = os.wait4(process.pid, 0)  # its memory is at least this process's: keep that small
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"logferry run: exit {process.returncode}: {(place / 'said').read_text()[-2000:]}")
    return Took(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def wait_until_idle(pid: int) -> None:
    """Wait until a process computes no longer; it must have computed before."""
    deadline = time.monotonic() + 120
    while cpu_of(pid) < 0.5:
        time.sleep(0.05)
    while time.monotonic() < deadline:
        before = cpu_of(pid)
        time.sleep(STALLED)
        if cpu_of(pid) - before < USUALLY_IDLE:
            return
    os.kill(pid, signal.SIGKILL)
    raise SystemExit("the agent has not read its files in two minutes")


def delivered(server: Server, count: int) -> float:
    """Return the share of `count` lines that arrived; fail when it is not all of them."""
    arrived = server.events()
    if arrived < count:
        raise SystemExit(f"{arrived} of {count} lines arrived")
    return arrived / count


def measure(count: int, rounds: int, *, backlog: bool = True, kinds: Sequence[str] = ("json",)) -> list[Row]:
    """Run the agent over all lines and a quarter of them, in turn with the floor."""
    floor, rows = float("inf"), []
    best: dict[tuple[str, int], float] = {}
    memory = dict.fromkeys(kinds, 0.0)
    with Server() as server:
        for _ in range(rounds):
            floor = min(floor, record.ask("floor", 20_000, server.url)["cpu"])
            for kind in kinds:
                for size in (count // 4, count):
                    with tempfile.TemporaryDirectory(prefix="logferry-bench-") as name:
                        lines(size, Path(name) / "app.log", kind)
                        took = run(Path(name), server)
                        share = delivered(server, size)
                    best[kind, size] = min(best.get((kind, size), took.cpu), took.cpu)
                    memory[kind] = max(memory[kind], took.memory)
        for kind in kinds:
            each = (best[kind, count] - best[kind, count // 4]) / (count - count // 4) * 1e6
            figures = {"cpu": each, "ratio": each / floor, "memory": memory[kind], "delivered": share}
            rows.append(Row(SECTION, KINDS[kind][0], {**figures, "records": count}))
        if backlog:
            with tempfile.TemporaryDirectory(prefix="logferry-bench-") as name:
                lines(count, Path(name) / "app.log")
                took = run(Path(name), server, refused_at_first=True)
                held = {"memory": took.memory, "delivered": delivered(server, count), "records": count}
            rows.append(Row(SECTION, "backlog in the spool, Loki refusing", held))
    return rows


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--lines", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--no-backlog", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = measure(given.lines, given.rounds, backlog=not given.no_backlog, kinds=given.kinds)
    print(text(rows))
    if given.json:
        write(given.json, {"lines": given.lines, "rows": plain(rows)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
