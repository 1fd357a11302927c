"""What the agent costs beside those written in C and Go: the same files, the same server, one run.

    python benchmarks/agent_peers.py [--lines 600000] [--rounds 3] [--only logferry fluent] [--json FILE]

Each agent reads a file of JSON lines of 300 bytes to its end and ships it to the benchmark's server, which
answers at once: to Loki's interface, to Elasticsearch's, to OTLP's or to plain HTTP. The peers are in
agent_others.py, with where they come from; what is not here is said and left out. Rules:

- CPU time is that of the whole process, for a line: the difference between all lines and a quarter of them,
  so that starting is not a line's. µs a line are seconds for a million lines. The smallest of the rounds
  counts; in a round all agents take turns.
- Wall time is from the start to the last line's arrival (for logferry to its end), memory the most the
  process ever had, both of all lines.
- Everything is delivered, or the run fails: an agent that loses lines is not quick.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent import lines
from machine import write
from rows import Row, plain, text
from server import Server

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from agent_others import OTHERS, Command, Contender, Run, there

SECTION = "agent peers"
PATIENCE = 300.0  # seconds for one run


@dataclass(frozen=True, slots=True)
class Took:
    """What one run took: seconds of CPU, seconds to the last line, the most MiB in memory."""

    cpu: float
    wall: float
    memory: float


# ── logferry ──


def logferry(sink: str, *, options: str = "", parser: str = "auto") -> Command:
    """Return what runs the agent with a sink (`{url}` in it), and options at the top of its configuration."""

    def command(place: Path, server: Server) -> Run:
        config = place / "agent.yaml"
        config.write_text(
            f"service: edge\nspool: {{path: {place}/spool}}\n{options}"
            f"sinks: {{out: {sink.replace('URL', server.url)}}}\n"
            f"sources:\n  app: {{type: file, include: [{place}/app.log], parser: {parser}}}\n",
            encoding="utf-8",
        )
        ours = [sys.executable, "-m", "logferry", "run", "--once", "--patience", "120s", "-c", str(config)]
        return ours, dict(os.environ)

    return command


LOKI = "{type: loki, url: 'URL'}"
SEARCH = "{type: elasticsearch, hosts: ['URL'], data_stream: logs-edge-prod, setup: manual}"
HTTP = "{type: http, url: 'URL/'}"
PLAIN = "redact: false\n"
DECLARED = "schema: {fields: {order_id: integer, note: string}}\n"

OURS = (
    Contender("logferry → Loki: schema, redaction", "healthy", logferry(LOKI, options=DECLARED), once=True),
    Contender("logferry → Loki: schema", "healthy", logferry(LOKI, options=PLAIN), once=True),
    Contender("logferry → HTTP: schema, redaction", "healthy", logferry(HTTP, options=DECLARED), once=True),
    Contender("logferry → HTTP: schema", "healthy", logferry(HTTP, options=PLAIN), once=True),
    Contender(
        "logferry → Elasticsearch: schema, redaction", "bulk", logferry(SEARCH, options=DECLARED), once=True
    ),
)


def run(one: Contender, place: Path, server: Server, count: int) -> Took:
    """Run an agent over the lines at `place`, until all of them have arrived."""
    server.mode(one.mode)
    command, environ = one.command(place, server)
    began = time.monotonic()
    with (place / "said").open("w") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env=environ, cwd=place)
        try:
            arrived = 0 if one.once else _wait(process, server, count, began + PATIENCE)
            wall = time.monotonic() - began
            if process.returncode is not None:
                told = (place / "said").read_text()[-1000:]
                raise SystemExit(f"{one.name}: ended with {process.returncode}: {told}")
            if not one.once:
                process.send_signal(signal.SIGTERM)
        except BaseException:
            process.kill()
            raise
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
    if one.once:
        wall = time.monotonic() - began
    arrived += server.events()
    if arrived < count:
        raise SystemExit(f"{one.name}: {arrived} of {count} arrived: {(place / 'said').read_text()[-1000:]}")
    return Took(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024)


def _wait(process: subprocess.Popen[bytes], server: Server, count: int, deadline: float) -> int:
    """Return how many lines have arrived, when all have or none comes any more."""
    arrived = 0
    while time.monotonic() < deadline and arrived < count and process.poll() is None:
        time.sleep(0.2)
        arrived += server.events()
    return arrived


def measure(count: int, rounds: int, contenders: Sequence[Contender]) -> list[Row]:
    """Run all contenders in turn, over all lines and over a quarter of them."""
    found: dict[tuple[str, int], list[Took]] = {}
    with Server() as server, tempfile.TemporaryDirectory(prefix="logferry-bench-") as name:
        for size in (count // 4, count):
            lines(size, Path(name) / f"{size}.log")
        for _ in range(rounds):
            for one in contenders:
                for size in (count // 4, count):
                    with tempfile.TemporaryDirectory(prefix="logferry-bench-") as place:
                        (Path(place) / "app.log").hardlink_to(Path(name) / f"{size}.log")
                        took = run(one, Path(place), server, size)
                    found.setdefault((one.name, size), []).append(took)
                    print(f"· {one.name}, {size:,}: {took.cpu:.2f} s CPU, {took.wall:.1f} s", file=sys.stderr)
    rows = []
    for one in contenders:
        small, large = found[one.name, count // 4], found[one.name, count]
        cpu = min(took.cpu for took in large) - min(took.cpu for took in small)
        figures = {
            "cpu": cpu / (count - count // 4) * 1e6,
            "seconds": min(took.wall for took in large),
            "memory": max(took.memory for took in large),
            "delivered": 1.0,
            "records": float(count),
        }
        rows.append(Row(SECTION, one.name, figures))
    return rows


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--lines", type=int, default=600_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="beginnings of names")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    asked = [one for one in (*OURS, *OTHERS) if one.name.lower().startswith(tuple(given.only or [""]))]
    contenders = [one for one in asked if there(one)]
    for one in asked:
        if one not in contenders:
            print(f"· {one.name}: {one.program or one.package} is not here", file=sys.stderr)
    rows = measure(given.lines, given.rounds, contenders)
    print(text(rows))
    if given.json:
        write(given.json, {"lines": given.lines, "rows": plain(rows)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
