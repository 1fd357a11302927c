"""Disks that are full, read-only, forbidden, limited or slow: real ones, under a process that logs on.

In each case the log call takes the record, what cannot be kept is counted, memory is bounded, one line is
said, and when there is room again the records go to the disk again.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from evidence import Evidence

from logferry.shipper.model import Account
from logferry.shipper.spool import audit
from logferry.shipper.store import Store

pytestmark = pytest.mark.integration

PROGRAM = Path(__file__).parents[1] / "programs" / "spooling.py"
NOBODY = 65534


class Child:
    """The process under test."""

    def __init__(self, path: Path, errors: Path, **settings: Any) -> None:
        self.errors = errors
        with errors.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, str(PROGRAM), str(path), json.dumps(settings)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
            )

    def __call__(self, command: str) -> dict[str, Any]:
        """Give a command and return the answer; it has to be alive for that."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"{command}: ended with {self.process.wait()}: {self.errors.read_text()}"
        found: dict[str, Any] = json.loads(answer)
        return found

    def until_on_disk(self) -> None:
        """Do what the upkeep does until the spool is on the disk again."""
        deadline = time.monotonic() + 20
        while self("sync")["state"] != "disk":
            assert time.monotonic() < deadline, self.errors.read_text()
            time.sleep(0.05)

    def warnings(self) -> list[str]:
        """Return what it said on stderr about memory taking over."""
        return [line for line in self.errors.read_text().splitlines() if "keeping events in memory" in line]

    def resident(self) -> int:
        """Return its memory in bytes."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * resource.getpagesize()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Child]]:
    """Start processes with a spool; they are ended at the end."""
    children: list[Child] = []

    def make(path: Path, **settings: Any) -> Child:
        children.append(Child(path, tmp_path / f"errors-{len(children)}", **settings))
        return children[-1]

    yield make
    for child in children:
        child.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 2 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"needs the right to mount: {done.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def stalling_disk(tmp_path: Path) -> Iterator[tuple[Path, Callable[[bool], None]]]:
    """Mount a file system whose device, a file on another one, stands still when it is told to."""
    if shutil.which("mkfs.ext4") is None or shutil.which("fsfreeze") is None:
        pytest.skip("needs mkfs.ext4 and fsfreeze (e2fsprogs, util-linux)")
    below, place = tmp_path / "below", tmp_path / "disk"
    mounted: list[Path] = []

    def stall(stands: bool) -> None:
        subprocess.run(["fsfreeze", "--freeze" if stands else "--unfreeze", str(below)], check=True)

    try:
        for image, where, size in ((tmp_path / "image", below, 80), (below / "image", place, 64)):
            where.mkdir()
            with image.open("wb") as file:
                file.truncate(size << 20)
            for command in (["mkfs.ext4", "-q", "-F", str(image)], ["mount", "-o", "loop", image, where]):
                done = subprocess.run(command, capture_output=True, check=False)
                if done.returncode:
                    pytest.skip(f"needs loop devices and the right to mount: {done.stderr.decode().strip()}")
            mounted.append(where)
        stall(True)
        stall(False)
        yield place, stall
    finally:
        if mounted:
            subprocess.run(["fsfreeze", "--unfreeze", str(below)], capture_output=True, check=False)
        for where in reversed(mounted):
            subprocess.run(["umount", "--lazy", str(where)], check=True)


def delivered_all(child: Child, count: int) -> None:
    """All that was logged is delivered, in order, once."""
    account = child("deliver")
    expected = {"accepted": count, "delivered": count, "pending": 0, "dropped": {}, "balance": 0}
    assert account == expected | {"ordered": True}


def test_full_disk(start: Callable[..., Child], small_disk: Path, evidence: Evidence) -> None:
    """The disk fills up under the application and is emptied again: nothing is lost, and no SIGBUS."""
    child = start(small_disk / "spool")
    assert child("log 100")["state"] == "disk"
    filler = small_disk / "filler"
    with filler.open("wb") as file:
        while True:
            try:
                os.write(file.fileno(), b"x" * 4096)
            except OSError:
                break
    answer = child("log 5000")
    assert (answer["taken"], answer["state"]) == (5000, "degraded")
    assert len(child.warnings()) == 1
    filler.unlink()
    child.until_on_disk()
    assert child("log 100")["state"] == "disk"
    delivered_all(child, 5200)
    evidence("full disk", tried=5200, lost=0)


def test_full_disk_and_full_memory(start: Callable[..., Child], small_disk: Path) -> None:
    """A disk that stays full: memory is bounded, and what had to go is counted to the last record."""
    child = start(small_disk / "spool", memory_bytes=1 << 20)
    child("log 4000")
    before = child.resident()
    answer = child("log 40000")
    assert answer["state"] == "degraded"
    assert child.resident() - before < 6 << 20
    account = child("deliver")
    assert account["balance"] == account["pending"] == 0
    assert account["accepted"] == 44000
    assert account["dropped"] == {"memory_full": 44000 - account["delivered"]}
    assert account["ordered"]
    assert len(child.warnings()) == 1


ENDS = """
import logging, os, sys, time
from pathlib import Path
from logferry.shipper import lifecycle
import logferry
disk, delivery, room = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "room"
logferry.configure({
    "service": "ends", "delivery": delivery, "shutdown_timeout": 20,
    "logging": {"level": "INFO", "console": "off"},
    "spool": {"path": str(disk / "spool")},
    "sinks": {"here": {"type": "local", "path": str(disk.parent / "store"), "compact": "off"}},
})
log = logging.getLogger("ends")
log.info("first")
spool = lifecycle.current().spool
with (disk / "filler").open("wb") as filler:
    try:
        while True: os.write(filler.fileno(), b"x" * 4096)
    except OSError:
        pass
count = 1
while spool.state == "disk" or count % 1000:
    log.info("number %d", count)
    count += 1
if room: (disk / "filler").unlink()
logferry.shutdown()
print(count)
"""


def stored(disk: Path) -> list[str]:
    """Return the messages in the store beside the disk."""
    fresh = list((disk.parent / "store" / "fresh").glob("*.ndjson"))
    if not any(file.stat().st_size for file in fresh):
        return []
    with Store(disk.parent / "store") as store:
        return [message for (message,) in store.sql("SELECT message FROM events").rows]


@pytest.mark.parametrize("room", ["full", "room"])
@pytest.mark.parametrize("delivery", ["thread", "process"])
def test_an_orderly_end_on_a_full_disk(
    small_disk: Path, delivery: str, room: str, evidence: Evidence
) -> None:
    """Threads deliver from memory; others get it where there is room again, else it is counted as lost."""
    command = [sys.executable, "-c", ENDS, str(small_disk), delivery, room]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    count = int(done.stdout)
    deadline = time.monotonic() + 60
    if room == "full":  # what is on the disk is delivered all the same; the books need room
        while not stored(small_disk):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        (small_disk / "filler").unlink()
    while True:  # the delivery process goes on without the application
        report = audit(small_disk / "spool")
        account = report.accounts.get(("ends", "here"), Account())
        if account.accepted >= count and not account.pending:
            break
        assert time.monotonic() < deadline, report
        time.sleep(0.05)
    messages = stored(small_disk)
    lost = count - len(messages)
    assert report.problems == []
    assert (account.accepted, account.delivered, account.balance) == (count, len(messages), 0)
    assert len(set(messages)) == len(messages), "something is there twice"
    assert not [message for message in messages if "died" in message]
    assert account.dropped == ({"memory_lost": lost} if lost else {})
    assert (lost > 0) == (delivery == "process" and room == "full")
    evidence(f"orderly end on a full disk, delivery: {delivery}, {room}", tried=count, lost=0)


def test_read_only_file_system(start: Callable[..., Child], small_disk: Path, evidence: Evidence) -> None:
    """Read-only at the start, writable later."""
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    child = start(small_disk / "spool")
    answer = child("log 1000")
    assert (answer["taken"], answer["state"]) == (1000, "degraded")
    assert len(child.warnings()) == 1
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    child.until_on_disk()
    child("log 100")
    delivered_all(child, 1100)
    evidence("read-only file system", tried=1100, lost=0)


def test_no_permission(start: Callable[..., Child], tmp_path: Path, evidence: Evidence) -> None:
    """A path that the process may not write, until somebody lets it."""
    place = tmp_path / "place"
    place.mkdir()
    child = start(place / "spool")
    if os.geteuid() == 0:
        for folder in (tmp_path, *tmp_path.parents):
            if folder == Path(tempfile.gettempdir()):
                break
            folder.chmod(folder.stat().st_mode | 0o011)
        child(f"user {NOBODY}")
    else:
        place.chmod(0o500)
    answer = child("log 1000")
    assert (answer["taken"], answer["state"]) == (1000, "degraded")
    assert len(child.warnings()) == 1
    if os.geteuid() == 0:
        os.chown(place, NOBODY, NOBODY)
    else:
        place.chmod(0o700)
    child.until_on_disk()
    child("log 100")
    delivered_all(child, 1100)
    evidence("no permission", tried=1100, lost=0)


def test_limit_on_the_size_of_files(start: Callable[..., Child], tmp_path: Path, evidence: Evidence) -> None:
    """RLIMIT_FSIZE with SIGXFSZ as C has it: segments stay below it; below any segment memory takes over."""
    child = start(tmp_path / "spool")
    child("limit RLIMIT_FSIZE 100000")
    answer = child("log 2000")
    assert (answer["taken"], answer["state"]) == (2000, "disk")
    sizes = [path.stat().st_size for path in (tmp_path / "spool").rglob("*.seg")]
    assert max(sizes) <= 100_000
    child("limit RLIMIT_FSIZE 3000")
    answer = child("log 2000")
    assert (answer["taken"], answer["state"]) == (2000, "degraded")
    child("limit RLIMIT_FSIZE -1")
    child.until_on_disk()
    child("log 100")
    delivered_all(child, 4100)
    assert len(child.warnings()) == 1
    evidence("limit on the size of files", tried=4100, lost=0)


def test_no_descriptors(start: Callable[..., Child], tmp_path: Path, evidence: Evidence) -> None:
    """RLIMIT_NOFILE reached by the application itself: memory, until descriptors are free again."""
    child = start(tmp_path / "spool")
    child("limit RLIMIT_NOFILE 100")
    child("hold")
    answer = child("log 1000")
    assert (answer["taken"], answer["state"]) == (1000, "degraded")
    child("free")
    child.until_on_disk()
    child("log 1000")
    child("hold")
    assert child("log 1000")["taken"] == 1000
    child("free")
    child.until_on_disk()
    delivered_all(child, 3000)
    assert len(child.warnings()) == 1
    evidence("limit on descriptors", tried=3000, lost=0)


@pytest.mark.parametrize("bound", [1 << 30, 500_000])
def test_slow_disk(start: Callable[..., Child], tmp_path: Path, bound: int, evidence: Evidence) -> None:
    """Syncs of three seconds, one after the other: no log call waits for one, nor for an eviction."""
    child = start(tmp_path / "spool", max_bytes=bound)
    child("log 10")
    child("slow 3")
    child("background")
    answer = child("log 5000")
    assert (answer["taken"], answer["state"]) == (5000, "disk")
    assert answer["slowest"] < 2.0
    if bound > 500_000:
        delivered_all(child, 5010)
        evidence("slow disk", tried=5010, lost=0)


def test_a_disk_that_stands_still(
    start: Callable[..., Child], stalling_disk: tuple[Path, Callable[[bool], None]], evidence: Evidence
) -> None:
    """The device under the spool takes nothing for three seconds: a sync waits so long, no log call does.

    Seldom one does: the kernel stops a store while it writes the file system's own journal. Not three times.
    """
    disk, stall = stalling_disk
    child = start(disk / "spool")
    child("background")
    logged, slowest = 0, 3.0
    while slowest > 1.0 and logged < 9000:
        child("log 2000")
        stall(True)
        end = threading.Timer(3.0, stall, [False])
        end.start()
        try:
            answer = child("log 1000 0.002")
        finally:
            end.join()
        assert (answer["taken"], answer["state"]) == (1000, "disk")
        slowest = answer["slowest"]
        logged += 3000
    assert slowest < 1.0
    deadline = time.monotonic() + 20
    while child("longest")["seconds"] < 2.0:
        assert time.monotonic() < deadline, "no sync has met it"
        time.sleep(0.05)
    delivered_all(child, logged)
    evidence("slow disk", tried=logged, lost=0)
