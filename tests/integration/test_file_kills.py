"""`logferry run` killed while it reads files block by block: every line in the store, none twice, in order.

A writer appends all the while and rotates by renaming; among the usual lines are such as go line by line. An
effort of 10 (`make prove`) makes 40 kills.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from effort import effort
from evidence import Evidence

from logferry.shipper.store import Store

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

CONFIG = """\
service: ship
spool: {path: spool}
sinks: {here: {type: local, path: logs, compact: "off"}}
sources:
  app:
    type: file
    include: [in/*.log*]
    poll_interval: 10ms
    scan_interval: 20ms
    close_after: 100ms
"""
LEFT_OUT = "    transforms: [{drop: 'customer=c5'}]\n"
AT_ONCE = 400
ROTATE = 4_000


def line(number: int) -> bytes:
    """Return the line of a number: mostly JSON of one form, and now and then another."""
    entry = {"timestamp": "2026-11-21T08:00:00.000000Z", "level": "INFO", "message": f"line {number}"}
    entry |= {"customer": f"c{number % 97}", "note": "x" * random.randrange(200)}
    if number % 50 == 7:
        return b"WARNING line %d as text" % number
    if number % 50 == 8:
        return json.dumps({**entry, "cart": {"items": [number]}}).encode()
    if number % 50 == 9:
        return json.dumps({**entry, "note": "Authorization: Bearer abcdefgh12345678"}).encode()
    return json.dumps(entry).encode()


@dataclass
class Writer:
    """Writes numbered lines in pieces that end anywhere, until it is told to stop."""

    directory: Path
    written: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        current = self.directory / "app.log"
        while not self.stop.is_set():
            if self.written % ROTATE == 0 and current.exists():
                current.rename(self.directory / f"app.log.{self.written}")
            text = b"".join(line(self.written + i) + b"\n" for i in range(AT_ONCE))
            with current.open("ab", buffering=0) as file:
                cut = random.randrange(len(text))
                file.write(text[:cut])
                file.write(text[cut:])
            self.written += AT_ONCE
            self.stop.wait(0.01)


def agent(place: Path, *options: str) -> subprocess.Popen[bytes]:
    with (place / "said").open("ab") as said:
        command = [sys.executable, "-m", "logferry", "run", *options]
        return subprocess.Popen(command, cwd=place, stdout=said, stderr=said)


def agent_says(place: Path, *command: str) -> dict[str, Any]:
    """Return the one JSON object that a command prints."""
    done = subprocess.run(
        [sys.executable, "-m", "logferry", *command], cwd=place, capture_output=True, check=False
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def held(place: Path) -> int:
    """Return how much is in the store."""
    return sum(path.stat().st_size for path in (place / "logs").rglob("*") if path.is_file())


def is_left_out(number: int) -> bool:
    """Whether the transform leaves the line of a number out: it drops one customer's, and text has none."""
    return number % 97 == 5 and number % 50 != 7


@pytest.mark.parametrize(("transforms", "times"), [("", 3), (LEFT_OUT, 2)], ids=["all", "some left out"])
def test_killed_while_it_reads(tmp_path: Path, evidence: Evidence, transforms: str, times: int) -> None:
    """After kills at random moments every line is in the store or in the books once, each file's in order."""
    (tmp_path / "in").mkdir()
    (tmp_path / "logferry.yaml").write_text(CONFIG + transforms)
    writer, kills = Writer(tmp_path / "in"), effort(times)
    thread = threading.Thread(target=writer.run)
    thread.start()
    try:
        for _ in range(kills):
            process, before, deadline = agent(tmp_path), held(tmp_path), time.monotonic() + 60
            while held(tmp_path) == before:
                assert time.monotonic() < deadline, (tmp_path / "said").read_text()
                assert process.poll() is None, (tmp_path / "said").read_text()
                time.sleep(0.005)
            time.sleep(random.random() * 0.2)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
    finally:
        writer.stop.set()
        thread.join()
    rest = agent(tmp_path, "--once")
    assert rest.wait(120) == 0, (tmp_path / "said").read_text()

    with Store(tmp_path / "logs") as store:
        rows = store.sql(
            "SELECT regexp_extract(message, 'line (\\d+)', 1)::INT, event_id FROM events "
            "WHERE message LIKE '%line %'"
        ).rows
        secrets = store.sql(
            "SELECT count(*) FROM events WHERE contains(CAST(fields AS VARCHAR), 'abcdefgh')"
        ).rows
    numbers = sorted(number for number, _ in rows)
    expected = [n for n in range(writer.written) if not (transforms and is_left_out(n))]
    lost = len(set(expected) - set(numbers))
    evidence("logferry run killed while it reads files", tried=kills, lost=lost)
    assert lost == 0
    assert numbers == expected  # the store keeps an id once: a line read twice has two
    assert secrets == [(0,)]
    books = agent_says(tmp_path, "audit")
    assert books["filtered"].get("transforms", 0) == writer.written - len(expected)
    assert (books["accepted"], books["unaccounted"]) == (writer.written + books["delivered"] - len(rows), 0)
    by_spool: dict[str, list[tuple[int, int]]] = {}
    for number, event in rows:
        spool, _, sequence = event.rpartition("-")
        by_spool.setdefault(spool, []).append((int(sequence), number))
    assert len(by_spool) > kills // 2
    for spool in by_spool.values():
        order: dict[int, list[int]] = {}  # by file: one that was rotated may be read beside the next
        for _, number in sorted(spool):
            order.setdefault(number // ROTATE, []).append(number)
        assert all(numbers == sorted(numbers) for numbers in order.values())
