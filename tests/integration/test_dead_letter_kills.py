"""`logferry dead-letter replay` killed at random moments: nothing lost, nothing hidden, doubles foretold.

The sink is a file on purpose: it drops no repetition, so that every second delivery shows.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from effort import effort
from evidence import Evidence

from logferry.shipper.deadletter import DeadLetters
from logferry.shipper.replay import BATCH

pytestmark = pytest.mark.integration

LETTERS = 12 * BATCH
CONFIG = "service: shop\nspool: {path: spool}\nsinks: {out: {type: file, path: out.ndjson}}\n"


def command(place: Path, *args: str) -> list[str]:
    return [sys.executable, "-m", "logferry", *args]


def rows(place: Path, *args: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        command(place, *args), cwd=place, capture_output=True, text=True, timeout=120, check=False
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def lines_sent(place: Path) -> int:
    """Return how many letters have arrived: quick."""
    path = place / "out.ndjson"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def sent(place: Path) -> list[str]:
    path = place / "out.ndjson"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []  # the last may be torn by the kill
    return [json.loads(line)["message"] for line in lines]


@pytest.mark.parametrize(
    ("count", "batch", "options"), [(LETTERS, BATCH, ()), (100, 1, ("--one-by-one",))], ids=["", "one by one"]
)
def test_killed_while_it_replays(
    tmp_path: Path, count: int, batch: int, options: tuple[str, ...], evidence: Evidence
) -> None:
    """Each letter arrives; what arrives twice had been called in doubt; the ledger counts each once."""
    (tmp_path / "logferry.yaml").write_text(CONFIG)
    box = DeadLetters(tmp_path / "spool" / "shop" / "dead-letters", "out", 1 << 26)
    spool = "ab" * 16
    names = [f"letter {number}" for number in range(count)]
    box.add(
        [(f"{spool}-{n}", "no", json.dumps({"message": name}).encode()) for n, name in enumerate(names, 1)],
        time.time(),
    )
    doubted: set[str] = set()
    lost = kills = 0
    while rows(tmp_path, "dead-letter", "ls"):
        before = len(sent(tmp_path))
        process = subprocess.Popen(
            command(tmp_path, "dead-letter", "replay", "--all", *options),
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 30
        wanted = before + random.randint(1, count // 3)
        while process.poll() is None and lines_sent(tmp_path) < min(wanted, count):
            assert time.monotonic() < deadline
        time.sleep(random.random() * 0.002)  # any moment is as good as another: that is what is shown
        if kills < effort(3) and process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait(60)
        listed = rows(tmp_path, "dead-letter", "ls")
        doubtful = {row["message"] for row in listed if row["state"] == "in doubt"}
        assert len(doubtful) <= batch
        doubted |= doubtful
        arrived = set(sent(tmp_path))
        lost += len(set(names) - arrived - {row["message"] for row in listed})
        assert not lost, "a letter is lost or hidden"
        assert not (arrived & {row["message"] for row in listed}) - doubted
    evidence("a replay of dead letters killed (SIGKILL)", tried=kills, lost=lost)
    found = Counter(sent(tmp_path))
    assert kills
    assert set(found) == set(names)
    assert {name for name, count in found.items() if count > 1} <= doubted
    # The last one may have been killed when only counting was left: that is what the next one does first.
    subprocess.run(command(tmp_path, "dead-letter", "replay", "--all"), cwd=tmp_path, check=True, timeout=60)
    [account] = rows(tmp_path, "audit")
    assert account["replayed"] == count
    assert account["unaccounted"] == 0
