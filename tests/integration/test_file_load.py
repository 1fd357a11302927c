"""What the file source costs: nothing while nothing is written, and the same memory whatever waits for it.

The backlog is 64 MB in CI, and 10 GB with LOGFERRY_EFFORT=10 (`make prove`); in between a GB for each one.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from effort import effort, factor
from servers.faults import Connection, FaultServer, Request, answer

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(3 * 3600),
    pytest.mark.skipif(sys.platform != "linux", reason="times and memory are read from /proc"),
]

CONFIG = """\
service: ship
spool: {{path: spool, max_bytes: 32MiB}}
sinks: {{there: {{type: http, url: "{url}/logs", max_batch_events: 5000}}}}
sources: {{app: {{type: file, include: ["in/*.log"]}}}}
"""
BACKLOG = round(factor() * (1 << 30)) if factor() > 1 else 64 << 20
STUCK = 300  # seconds without progress
LINE = b'{"timestamp": "2026-11-21T08:00:00Z", "level": "info", "msg": "order created", "order_id": 4711}\n'


class Counter:
    """Takes events, and counts them."""

    def __init__(self) -> None:
        self.events = 0
        self.server = FaultServer(rest=self.take)

    def take(self, connection: Connection, request: Request) -> bool:
        self.server.requests.clear()
        self.events += request.body.count(b"\n") + (not request.body.endswith(b"\n"))
        return answer(200)(connection, request)


@contextmanager
def agent(place: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (place / "said").open("ab") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "logferry", "run"], cwd=place, stdout=said, stderr=said
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until(condition: Callable[[], bool], seconds: float, what: Callable[[], object]) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)


def cpu(process: subprocess.Popen[bytes]) -> float:
    """Return the seconds of CPU that a process has taken, all its threads together."""
    threads = Path(f"/proc/{process.pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def own_memory(process: subprocess.Popen[bytes]) -> int:
    """Return the bytes that are the process's own: not what is mapped from files."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("RssAnon")).split()[1])


@contextmanager
def removed(path: Path) -> Iterator[None]:
    """Remove what takes much room, whatever happens."""
    try:
        yield
    finally:
        path.unlink()


def test_an_idle_agent_costs_nothing(tmp_path: Path) -> None:
    """A thousand quiet files: under 0.5 % of a core, few descriptors, and a new line comes all the same."""
    (tmp_path / "in").mkdir()
    for number in range(effort(1_000)):
        (tmp_path / "in" / f"{number}.log").write_bytes(LINE)
    counter = Counter()
    with counter.server:
        (tmp_path / "logferry.yaml").write_text(CONFIG.format(url=counter.server.url))
        with agent(tmp_path) as process:
            until(lambda: counter.events == effort(1_000), 120, lambda: counter.events)
            shares: list[float] = []

            def quiet() -> bool:
                before, began = cpu(process), time.monotonic()
                time.sleep(2)
                shares.append((cpu(process) - before) / (time.monotonic() - began))
                return shares[-1] < 0.005

            until(quiet, 60, lambda: shares)
            print(f"idle: {shares[-1]:.2%} of a core")
            assert len(list(Path(f"/proc/{process.pid}/fd").iterdir())) < 300
            with (tmp_path / "in" / "7.log").open("ab") as file:
                file.write(LINE)
            (tmp_path / "in" / "new.log").write_bytes(LINE)
            until(lambda: counter.events == effort(1_000) + 2, 10, lambda: counter.events)


def test_a_backlog_is_drained_with_flat_memory(tmp_path: Path) -> None:
    """However long the file is: from its first eighth on the process takes no more memory."""
    (tmp_path / "in").mkdir()
    piece = LINE * 10_000
    pieces = BACKLOG // len(piece)
    big = tmp_path / "in" / "big.log"
    with big.open("wb") as file:
        for _ in range(pieces):
            file.write(piece)
    lines = pieces * 10_000
    counter, samples, moved = Counter(), list[tuple[int, int]](), [0.0]
    with counter.server, removed(big):
        (tmp_path / "logferry.yaml").write_text(CONFIG.format(url=counter.server.url))
        with agent(tmp_path) as process:

            def drained() -> bool:
                if not samples or counter.events > samples[-1][0]:
                    moved[0] = time.monotonic()
                assert process.poll() is None, (tmp_path / "said").read_text()
                assert time.monotonic() < moved[0] + STUCK, samples[-10:]
                samples.append((counter.events, own_memory(process)))
                return counter.events >= lines

            began = cpu(process), time.monotonic()
            until(drained, 3 * 3600, lambda: samples[-10:])
            took, seconds = cpu(process) - began[0], time.monotonic() - began[1]
    first = max(memory for events, memory in samples if events <= lines // 8)
    rest = max(memory for events, memory in samples if events > lines // 8)
    speed = (
        f"{pieces * len(piece) / seconds / 1e6:.0f} MB/s, {lines / seconds:,.0f} lines/s in {seconds:.0f} s"
    )
    print(f"{lines:,} lines: {took / lines * 1e6:.2f} s of CPU a million, {rest >> 20} MiB, {speed}")
    assert counter.events == lines
    assert rest < first + (24 << 20), (first >> 20, rest >> 20)
