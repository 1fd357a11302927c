"""A path that living processes have filled, and one more: it is heard, the bound holds, all is counted."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from logferry.shipper.ports import Outcome
from logferry.shipper.spool import SpoolSet, SpoolSettings, audit
from logferry.shipper.spool.share import usage

BOUND = 2 << 20
PATIENCE = 30.0
CHILD = """
import json, sys, threading
from pathlib import Path
from logferry.shipper.spool import Spool, SpoolSettings

path, service, policy, bound, count = *sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])
spool = Spool(SpoolSettings(Path(path), service, max_bytes=bound, when_full=policy, block_timeout=0.001))
stop, made, refused = threading.Event(), 0, 0
threading.Thread(target=lambda: (sys.stdin.readline(), stop.set()), daemon=True).start()
while not stop.is_set() and made != count:
    refused += not spool.offer(b"%08d" % made + b"x" * 400)
    made += 1
    if made % 200 == 0:
        spool.prepare()
        stop.wait(0.01)
    if made % 2000 == 0:
        spool.sync()
    if made % 1000 == 0 and count < 0:
        print(json.dumps({"dropped": sum(spool.stats()["dropped"].values())}), flush=True)
spool.sync()
print(json.dumps({"made": made, "refused": refused, "id": spool.id, **spool.stats()}), flush=True)
stop.wait()
"""


class Child:
    """A process that logs: `count` events and then no more, or (-1) until it is told to end."""

    def __init__(
        self, path: Path, policy: str = "drop_oldest", count: int = -1, service: str = "shop"
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path), service, policy, str(BOUND), str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> dict[str, Any]:
        """Return the next thing that it says."""
        assert self.process.stdout is not None
        return dict(json.loads(self.process.stdout.readline()))

    def until_full(self) -> None:
        """Wait until it gives up its oldest."""
        deadline = time.monotonic() + PATIENCE
        while not self.line()["dropped"]:
            assert time.monotonic() < deadline

    def stop(self) -> dict[str, Any]:
        """Let it log no more; return what it says of itself."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        while "made" not in (line := self.line()):
            pass
        return line

    def kill(self) -> None:
        """End it as SIGKILL does."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def watched(path: Path) -> Iterator[list[int]]:
    """Measure all the time how much there is under `path`."""
    seen, over = [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.005):
            seen.append(usage(path))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def delivered(path: Path, service: str) -> dict[str, tuple[int, dict[str, int]]]:
    """Deliver what the dead have left; return for each spool how much that was, and what was dropped."""
    spools = SpoolSet(SpoolSettings(path, service, max_bytes=BOUND))
    found = {}
    for adopted in spools.adopt():
        cursor = adopted.cursor("a")
        while (batch := cursor.read(1000, 1 << 20)) is not None:
            cursor.commit(batch.sequences[-1], Outcome(delivered=len(batch)))
        account = cursor.account()
        assert account.balance == account.pending == 0
        found[adopted.id] = (account.delivered, account.dropped)
    spools.close()
    return found


def test_a_newcomer_is_heard_on_a_path_that_siblings_have_filled(path: Path) -> None:
    """Nothing of what it logs within its share is refused or lost; the others lose their oldest, counted."""
    siblings = [Child(path), Child(path), Child(path, service="other")]
    newcomers: list[Child] = []
    try:
        with watched(path) as seen:
            for sibling in siblings:
                sibling.until_full()
            newcomers = [Child(path, count=500), Child(path, count=6_000)]
            few, many = (newcomer.line() for newcomer in newcomers)
            ends = [sibling.stop() for sibling in siblings]
        assert few["refused"] == many["refused"] == 0
        assert not few["dropped"]
        # What is measured while files come and go may count one that went and the one in its place.
        assert max(seen) <= BOUND + 5 * 65_536
        assert usage(path) <= BOUND
        fair = BOUND // 5
        held = usage(path / "shop" / many["id"])
        assert held >= fair / 2, f"{held} of {fair}"
    finally:
        for child in [*siblings, *newcomers]:
            child.kill()
    assert audit(path).problems == []
    there = delivered(path, "shop") | delivered(path, "other")
    assert there[few["id"]] == (500, {})
    for end in (*ends, many):
        count, dropped = there[end["id"]]
        assert dropped == {"full": end["made"] - count}
        assert end["refused"] == 0
        assert 0 < end["dropped"]["full"] <= dropped["full"]  # what others took later it does not know


@pytest.mark.parametrize("policy", ["drop_newest", "block"])
def test_nothing_is_taken_from_who_gives_up_nothing(path: Path, policy: str) -> None:
    """Of a sibling that keeps what it has, nothing is lost that it took: the newcomer is refused."""
    keeper = Child(path, policy)
    newcomer = None
    try:
        keeper.until_full()
        newcomer = Child(path, count=200)
        said = newcomer.line()
        assert said["refused"] > 0
        end = keeper.stop()
    finally:
        for child in (keeper, newcomer):
            if child is not None:
                child.kill()
    there = delivered(path, "shop")
    assert there[end["id"]] == (end["made"] - end["refused"], {"full": end["refused"]})
    assert there[said["id"]] == (200 - said["refused"], {"full": said["refused"]})
