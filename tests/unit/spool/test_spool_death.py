"""Whose death is told, and when it counts as told."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from logferry.handlers.outlet import Violation
from logferry.shipper.ports import Outcome
from logferry.shipper.spool import Spool, SpoolSet, SpoolSettings
from logferry.shipper.spool.claim import Claim
from logferry.shipper.spool.directory import Home, file_name
from logferry.shipper.spool.left import LeftSpools


def kill(spool: Spool) -> None:
    spool.close(clean=False)
    spool.home.close()


@pytest.mark.parametrize("by", ["pipeline", "source"])
def test_a_delivery_process_is_no_application(tmp_path: Path, by: str) -> None:
    """Killed with notices of its own: whoever comes first of those that take them over tells no death."""
    settings = SpoolSettings(tmp_path, "shop", delivery="courier")
    spool = Spool(settings)
    assert spool.tell(b'{"kind":"death"}')
    kill(spool)
    claim = Claim.take(tmp_path / file_name("shop"))
    assert claim is not None
    left, spools = LeftSpools(settings, claim), SpoolSet(settings)
    (found,) = spools.adopt() if by == "pipeline" else left.meet(["a"])
    assert found.death is None
    spools.close()
    left.close()


def test_who_was_killed_between_two_segments_has_died(tmp_path: Path) -> None:
    """The newest segment holds no event yet, and those before were delivered and are gone."""
    spool = Spool(SpoolSettings(tmp_path, "shop"))
    assert spool.offer(b"{}")
    cursor, spools = spool.cursor("a"), SpoolSet(spool.settings, spool)
    spool._roll(spool._segment, 1000, "refuse")
    assert cursor.read(10, 1000) is not None
    cursor.commit(1, Outcome(delivered=1))
    assert cursor.read(10, 1000) is None
    assert spools.reclaim(["a"]) == 1
    kill(spool)
    home = Home.adopt(spool.home.path)
    assert home is not None
    home.close()
    (adopted,) = SpoolSet(spool.settings).adopt()
    assert adopted.death is not None
    assert adopted.death.pid == os.getpid()


@pytest.mark.parametrize("works", [0, 1])
def test_a_notice_that_is_only_in_memory_counts_as_not_told(tmp_path: Path, works: int) -> None:
    """Who notes that it was told, and is killed, would have told nobody."""
    full = [works == 0]

    def allocate(fd: int, size: int) -> None:
        if full[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.truncate(fd, size)

    now = [0.0]
    spool = Spool(SpoolSettings(tmp_path, "shop"), allocate=allocate, monotonic=lambda: now[0])
    if works:
        assert spool.tell(b"{}")
        full[0] = True
        spool.offer(b"x" * 70_000)
    for _ in range(2):
        assert not spool.tell(b"{}")
    full[0], now[0] = False, 60.0
    spool.sync()
    assert spool.state == "disk"
    assert spool.tell(b"{}")
    spool.close()


def test_a_notice_that_breaks_the_schema_says_so(tmp_path: Path) -> None:
    """It ends among the dead letters like any other event that does; no sink sends it."""
    spool = Spool(SpoolSettings(tmp_path, "shop"))
    cursor = spool.cursor("a")
    assert spool.tell(Violation(b'{"kind":"death"}', "kind: no integer"))
    batch = cursor.read(10, 1000)
    assert batch is not None
    assert list(cursor.violations().values()) == ["kind: no integer"]
    spool.close()
