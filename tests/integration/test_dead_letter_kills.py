"""`logferry dead-letter replay` killed at random moments: nothing lost, nothing hidden, doubles foretold.

The sink is a file on purpose: it keeps no ids, so that every second delivery shows.
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

from logferry.shipper.deadletter import DeadLetters

pytestmark = pytest.mark.integration

LETTERS = 200
CONFIG = "service: shop\nspool: {path: spool}\nsinks: {out: {type: file, path: out.ndjson}}\n"


def command(place: Path, *args: str) -> list[str]:
    return [sys.executable, "-m", "logferry", *args]


def rows(place: Path, *args: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        command(place, *args), cwd=place, capture_output=True, text=True, timeout=60, check=False
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def sent(place: Path) -> list[str]:
    path = place / "out.ndjson"
    return [json.loads(line)["message"] for line in path.read_text().splitlines()] if path.exists() else []


def test_killed_while_it_replays(tmp_path: Path) -> None:
    """Each letter arrives; what arrives twice had been called in doubt; the ledger counts each once."""
    (tmp_path / "logferry.yaml").write_text(CONFIG)
    box = DeadLetters(tmp_path / "spool" / "shop" / "dead-letters", "out", 1 << 24)
    spool = "ab" * 16
    names = [f"letter {number}" for number in range(LETTERS)]
    box.add(
        [(f"{spool}-{n}", "no", json.dumps({"message": name}).encode()) for n, name in enumerate(names, 1)],
        time.time(),
    )
    doubted: set[str] = set()
    kills = 0
    while rows(tmp_path, "dead-letter", "ls"):
        before = len(sent(tmp_path))
        process = subprocess.Popen(
            command(tmp_path, "dead-letter", "replay", "--all"),
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 30
        wanted = before + random.randint(1, LETTERS // 3)
        while process.poll() is None and len(sent(tmp_path)) < min(wanted, LETTERS):
            assert time.monotonic() < deadline
        time.sleep(random.random() * 0.002)  # any moment is as good as another: that is what is shown
        if kills < effort(3) and process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait(60)
        listed = rows(tmp_path, "dead-letter", "ls")
        doubtful = {row["message"] for row in listed if row["state"] == "in doubt"}
        assert len(doubtful) <= 1
        doubted |= doubtful
        arrived = set(sent(tmp_path))
        assert arrived | {row["message"] for row in listed} == set(names), "a letter is lost or hidden"
        assert not (arrived & {row["message"] for row in listed}) - doubted
    found = Counter(sent(tmp_path))
    assert kills
    assert set(found) == set(names)
    assert {name for name, count in found.items() if count > 1} <= doubted
    [account] = rows(tmp_path, "audit")
    assert account["replayed"] == LETTERS
    assert account["unaccounted"] == 0
