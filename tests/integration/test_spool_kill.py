"""Processes that are killed: what their log call took is there, and nothing else is broken."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from logferry.shipper.ports import Outcome
from logferry.shipper.spool import AdoptedSpool, SpoolSet, SpoolSettings, audit, list_spools

pytestmark = pytest.mark.integration

WRITER = """
import os, signal, sys, threading
from pathlib import Path
from logferry.shipper.spool import Spool, SpoolSettings
spool = Spool(SpoolSettings(Path(sys.argv[1]), "shop"))
n = 0
def nested(*_):
    spool.offer(b'{"nested":1}')
signal.signal(signal.SIGALRM, nested)
signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
out = memoryview(bytearray(8))
while True:
    n += 1
    spool.offer(b'{"n":%d,"request_id":"r%d","x":"%s"}' % (n, n % 50, b"x" * (n % 1500)))
    os.pwrite(1, n.to_bytes(8, "little"), 0)
"""

FORKER = """
import os, sys, time
from pathlib import Path
from logferry.shipper.spool import Spool, SpoolSettings
spool = Spool(SpoolSettings(Path(sys.argv[1]), "shop"))
spool.offer(b"parent")
child = os.fork()
if child == 0:
    spool.offer(b"child")
    print(os.getpid(), flush=True)
    time.sleep(60)
time.sleep(60)
"""


def deliver(adopted: AdoptedSpool) -> list[bytes]:
    cursor = adopted.cursor("a")
    lines: list[bytes] = []
    while (batch := cursor.read(500, 1 << 20)) is not None:
        lines += batch.lines
        cursor.commit(batch.sequences[-1], Outcome(delivered=len(batch)))
    account = cursor.account()
    assert account.balance == account.pending == 0
    assert cursor.drained
    return lines


def test_nothing_that_returned_is_lost_by_sigkill(tmp_path: Path) -> None:
    """Ten writers killed at random moments under load: every event whose `offer` returned comes out."""
    randomness = random.Random()
    settings = SpoolSettings(tmp_path / "spool", "shop")
    delivered = 0
    for round_ in range(10):
        progress = tmp_path / f"progress-{round_}"
        with progress.open("wb") as file:
            writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / "spool")], stdout=file)
        deadline = time.monotonic() + 30
        while progress.stat().st_size == 0 and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(randomness.random() * 0.3)  # the moment of the kill is the random variable
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        reported = int.from_bytes(progress.read_bytes(), "little")
        assert reported > 0
        spools = SpoolSet(settings)
        (adopted,) = spools.adopt()
        assert adopted.death is not None
        assert adopted.death.pid == writer.pid
        assert adopted.death.open_requests
        lines = deliver(adopted)
        delivered += len(lines)
        numbers = [int(line[5 : line.index(b",")]) for line in lines if line.startswith(b'{"n"')]
        assert numbers[:reported] == list(range(1, reported + 1))
        assert len(numbers) <= reported + 1
        spools.reclaim(["a"])
        spools.close()
    account = SpoolSet(settings).accounts(["a"])["a"]
    assert account.delivered == delivered
    assert account.balance == 0
    assert sum(account.dropped.values()) <= 20  # appends that the kill cut off: their call had not returned
    assert list_spools(tmp_path / "spool") == []
    assert audit(tmp_path / "spool").problems == []


def test_a_dead_parent_is_adopted_while_its_child_lives(tmp_path: Path) -> None:
    """A killed parent's spool is free although a forked child lives on."""
    parent = subprocess.Popen(
        [sys.executable, "-c", FORKER, str(tmp_path / "spool")], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    try:
        spools = SpoolSet(SpoolSettings(tmp_path / "spool", "shop"))
        assert spools.adopt() == []
        parent.kill()
        parent.wait()
        (adopted,) = spools.adopt()
        assert deliver(adopted) == [b"parent"]
        assert [info.alive for info in list_spools(tmp_path / "spool") if info.id != adopted.id] == [True]
    finally:
        os.kill(child, signal.SIGKILL)
        parent.stdout.close()
    deadline = time.monotonic() + 10
    found: list[AdoptedSpool] = []
    while not found and time.monotonic() < deadline:
        found = spools.adopt()
    assert deliver(found[0]) == [b"child"]


def test_a_deliverer_killed_at_any_moment_repeats_but_loses_nothing(tmp_path: Path) -> None:
    """Killed while it delivers and folds, again and again: the books still balance in the end."""
    deliverer = """
import sys
from pathlib import Path
from logferry.shipper.ports import Outcome
from logferry.shipper.spool import SpoolSet, SpoolSettings
spools = SpoolSet(SpoolSettings(Path(sys.argv[1]), "shop"))
for adopted in spools.adopt():
    cursor = adopted.cursor("a")
    print("go", flush=True)
    while (batch := cursor.read(20, 1 << 20)) is not None:
        cursor.commit(batch.sequences[-1], Outcome(delivered=len(batch)))
        spools.reclaim(["a"])
spools.reclaim(["a"])
print("done", flush=True)
"""
    make = """
import sys
from pathlib import Path
from logferry.shipper.spool import Spool, SpoolSettings
spool = Spool(SpoolSettings(Path(sys.argv[1]), "shop"))
for n in range(20000):
    spool.offer(b"x" * 300)
"""
    base = tmp_path / "spool"
    subprocess.run([sys.executable, "-c", make, str(base)], check=True)
    randomness = random.Random()
    for _ in range(12):
        process = subprocess.Popen(
            [sys.executable, "-c", deliverer, str(base)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(randomness.random() * 0.2)
        process.kill()
        process.stdout.close()
        process.wait()
    subprocess.run([sys.executable, "-c", deliverer, str(base)], check=True, stdout=subprocess.DEVNULL)
    account = SpoolSet(SpoolSettings(base, "shop")).accounts(["a"])["a"]
    assert account.balance == 0
    assert (account.accepted, account.delivered, account.dropped) == (20000, 20000, {})
    assert list_spools(base) == []
