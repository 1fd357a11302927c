"""Records of several lines, split by a rotation while `logferry run` is killed: each is one event.

Each round writes records and the first half of one more, kills the agent, rotates the files (renamed, or
copied and truncated) and writes the other half.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from effort import effort

from logferry.shipper.store import Store

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

CONFIG = """\
service: ship
spool: {path: spool}
sinks: {here: {type: local, path: logs, compact: "off"}}
sources:
  app:
    type: file
    include: ["in/*.log*"]
    parser: text
    poll_interval: 10ms
    close_after: 200ms
    multiline: {start: '^2026-', timeout: 1h}
"""
LINES = 6


def record(name: str, number: int) -> list[str]:
    """Return the lines of a record; each says which one it is."""
    head = f"2026-11-21 08:00:00 ERROR {name} {number}"
    return [
        head,
        *(f"    line {at} of {name} {number} {'x' * random.randrange(1, 80)}" for at in range(1, LINES)),
    ]


def shift(path: Path) -> Path:
    """Make room for what is rotated away now, as logrotate does."""
    last = path.with_name(f"{path.name}.1")
    if last.exists():
        last.rename(path.with_name(f"{path.name}.2"))
    return last


def renamed(path: Path) -> None:
    path.rename(shift(path))


def copied(path: Path) -> None:
    shutil.copy(path, shift(path))
    os.truncate(path, 0)


ROTATIONS: dict[str, Callable[[Path], None]] = {"renamed": renamed, "copied": copied}


def put(path: Path, lines: list[str]) -> None:
    with path.open("a") as file:
        file.write("".join(f"{line}\n" for line in lines))


def messages(place: Path) -> list[str]:
    if not (place / "logs").exists():
        return []
    with closing(Store(place / "logs")) as store:
        return [
            row[0] for row in store.sql("SELECT message FROM events WHERE logger <> 'logferry.death'").rows
        ]


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start agents; what is left at the end is killed."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> subprocess.Popen[bytes]:
        with (tmp_path / "said").open("ab") as said:
            command = [sys.executable, "-m", "logferry", "run", *options]
            started.append(subprocess.Popen(command, cwd=tmp_path, stdout=said, stderr=said))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_killed_between_the_halves(tmp_path: Path, agents: Callable[..., subprocess.Popen[bytes]]) -> None:
    """However far the agent has come when it is killed."""
    (tmp_path / "in").mkdir()
    (tmp_path / "logferry.yaml").write_text(CONFIG)
    paths = {name: tmp_path / "in" / f"{name}.log" for name in ROTATIONS}
    written: list[str] = []
    rests: dict[str, list[str]] = {}
    for number in range(0, effort(3) * 10, 10):
        process = agents()
        for name, path in paths.items():
            records = [record(name, number + at) for at in range(10)]
            written += ["\n".join(lines) for lines in records]
            cut = random.randrange(1, LINES)
            put(path, [line for lines in records[:9] for line in lines] + records[9][:cut])
            rests[name] = records[9][cut:]
        deadline = time.monotonic() + 120
        while len(messages(tmp_path)) < number * len(paths) + random.randrange(1, 9 * len(paths)):
            assert process.poll() is None, (tmp_path / "said").read_text()
            assert time.monotonic() < deadline, (tmp_path / "said").read_text()
            time.sleep(0.02)
        time.sleep(random.choice((0.0, random.random() / 5)))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        for name, rotate in ROTATIONS.items():
            rotate(paths[name])
            put(paths[name], rests[name])
    last = agents("--once")
    assert last.wait(120) == 0, (tmp_path / "said").read_text()
    assert sorted(messages(tmp_path)) == sorted(written)
