"""The local store on a disk that misbehaves: nothing is lost, the real Loki beside it is on time.

The program has file systems of its own (a mount namespace) and no right to pass over permissions: the faults
are the kernel's own. What holds during and after each fault stands at the top of tests/servers/lane.py.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from effort import effort
from evidence import Evidence
from servers.lane import Fault, Lane, trial
from servers.loki import LokiServer
from servers.namespace import own_disks

pytestmark = [
    pytest.mark.integration,
    pytest.mark.server("loki"),
    pytest.mark.timeout(1800),
    pytest.mark.skipif(sys.platform != "linux", reason="needs mount namespaces"),
]

SWAP = (  # RENAME_EXCHANGE: each has the other's name
    "import ctypes, os, sys; one, other = map(os.fsencode, sys.argv[1:]); "
    "sys.exit(ctypes.CDLL(None).renameat2(-100, one, -100, other, 2))"
)


def needed() -> Sequence[str]:
    """Return what gives a program disks of its own; skips where that cannot be had."""
    if under := own_disks():
        return under
    pytest.skip("unshare and setpriv (util-linux) with the right to mount are not to be had here")


class Disk(Lane):
    """A lane whose store lies on a file system of its own, as large as a full disk would be small."""

    def __init__(self, directory: Path, loki: LokiServer) -> None:
        super().__init__(directory, loki, under=needed())
        self.disk = directory / "disk"
        self.store = self.disk / "store"
        self.disk.mkdir(parents=True)
        self.aside = self.disk / "aside"
        self.shell("mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "none", str(self.disk))

    def shell(self, *command: str) -> None:
        """Run a command where the program sees its disks."""
        self.app.ask("shell", command=list(command))

    def stored_here(self) -> list[str]:
        """Read the store as the program sees it."""
        script = (
            "import sys, json; from logferry.shipper.store import Store\n"
            "rows = Store(sys.argv[1]).sql('SELECT event_id FROM events').rows\n"
            "json.dump([row[0] for row in rows], open(sys.argv[2], 'w'))"
        )
        found = self.directory / "ids.json"
        self.shell(sys.executable, "-c", script, str(self.store), str(found))
        return list(json.loads(found.read_text()))

    def troubled(self) -> None:
        """Wait until the sink says what is wrong."""
        deadline = time.monotonic() + 20
        while not self.app.states()["here"][1]:
            assert time.monotonic() < deadline, "the fault did not strike"
            time.sleep(0.02)

    # ── faults ──

    def no_directory(self) -> Fault:
        """The store's place is taken by a file, at once: between two steps the sink would make it anew."""
        swap = f"{sys.executable} -c '{SWAP}' {self.store} {self.aside}"
        return self._fault(f"touch {self.aside} && {swap}", f"{swap} && rm {self.aside}")

    def no_permission(self) -> Fault:
        return self._fault(f"chmod 0 {self.store}", f"chmod 700 {self.store}")

    def read_only(self) -> Fault:
        """A read-only file system appears in the store's place."""
        begin = f"mount -t tmpfs -o ro none {self.store}"
        return self._fault(begin, f"umount {self.store}")

    def full(self) -> Fault:
        """A few pages are left: a batch fails in the middle of its write."""
        fill = f"dd if=/dev/zero of={self.disk}/filler bs=4096 || true"
        begin = f"({fill}) 2>/dev/null; truncate -s -{3 * 4096} {self.disk}/filler"
        return self._fault(begin, f"rm {self.disk}/filler")

    def compacted(self) -> Fault:
        """Another process turns the store's files into Parquet the whole time."""
        compact = f"{sys.executable} -m logferry.shipper.store.compact --now {self.store}"
        self.app.ask("background", command=["sh", "-c", f"while {compact}; do :; done"])
        nothing = lambda: None  # noqa: E731 - it lasts from before to after
        return Fault(nothing, nothing, nothing, "here")

    def _fault(self, begin: str, end: str) -> Fault:
        def run(text: str) -> Callable[[], None]:
            return lambda: self.shell("sh", "-c", text)

        return Fault(run(begin), self.troubled, run(end), "here")


@pytest.fixture
def disk(loki: LokiServer, tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path, loki)
    yield made
    made.close()


FAULTS = {
    "The local store's directory is gone": Disk.no_directory,
    "The local store's directory is closed (no permission)": Disk.no_permission,
    "The local store's file system is read-only": Disk.read_only,
    "The local store's disk is full, in the middle of a write": Disk.full,
    "Another process compacts the local store meanwhile": Disk.compacted,
}


@pytest.mark.parametrize("row", FAULTS)
def test_the_disk(disk: Disk, evidence: Evidence, row: str) -> None:
    """Every fault of the store's disk, with the program going on and with its end and new start."""
    rounds = effort(1) * 2
    for number in range(rounds):
        if number % 20 == 19:
            disk.shell("sh", "-c", f"mount -o remount,size={4 + number}m {disk.disk}")
        trial(disk, FAULTS[row](disk), stops=number % 2 == 1)
    lost = disk.compare()
    evidence(row, tried=rounds, lost=lost)
    assert lost == 0
