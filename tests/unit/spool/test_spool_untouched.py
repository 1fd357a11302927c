"""What no sink has read yet is in the books all the same."""

from __future__ import annotations

import fcntl
import grp
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from logferry.shipper.model import Account
from logferry.shipper.ports import Outcome
from logferry.shipper.spool import Spool, SpoolSet, SpoolSettings, audit
from logferry.shipper.spool.directory import Home


def killed(path: Path, count: int) -> Spool:
    """Return a spool with `count` events that is never shut down."""
    spool = Spool(SpoolSettings(path=path, service="shop"))
    for number in range(count):
        assert spool.offer(b'{"n":%d}' % number)
    return spool


def test_events_of_a_spool_without_cursors_are_pending(tmp_path: Path) -> None:
    """A process killed before its first delivery shows what it accepted."""
    spool = killed(tmp_path, 3)
    assert audit(tmp_path).accounts == {("shop", "-"): Account(accepted=3, pending=3)}
    spool.close()


def test_a_sink_is_behind_in_the_spools_it_has_not_touched(tmp_path: Path) -> None:
    """A sink known from one spool of the service has everything of the other one pending."""
    first, second = killed(tmp_path, 3), killed(tmp_path, 4)
    cursor = first.cursor("here")
    assert cursor.read(10, 1000) is not None
    cursor.commit(3, Outcome(delivered=3))
    expected = Account(accepted=7, delivered=3, pending=4)
    assert audit(tmp_path).accounts == {("shop", "here"): expected}
    assert SpoolSet(SpoolSettings(path=tmp_path, service="shop"), None).accounts(["here"]) == {
        "here": expected
    }
    first.close()
    second.close()


def test_a_configured_sink_that_never_took_anything_is_behind(tmp_path: Path) -> None:
    """A sink that was down from the start is in the account with everything pending."""
    spool = killed(tmp_path, 3)
    cursor = spool.cursor("here")
    assert cursor.read(10, 1000) is not None
    cursor.commit(3, Outcome(delivered=3))
    accounts = audit(tmp_path, sinks={"shop": ["here", "loki"]}).accounts
    assert accounts["shop", "loki"] == Account(accepted=3, pending=3)
    assert accounts["shop", "here"] == Account(accepted=3, delivered=3)
    spool.close()


def test_audit_says_that_a_path_cannot_be_used(tmp_path: Path) -> None:
    """A file in the way, or a link in the place of a service: not "every record is accounted for"."""
    (tmp_path / "file").touch()
    (problem,) = audit(tmp_path / "file").problems
    assert "no directory" in problem
    (problem,) = audit(tmp_path / "file" / "spool").problems
    assert "no directory" in problem
    (tmp_path / "spool").mkdir()
    assert audit(tmp_path / "spool").problems == []
    assert audit(tmp_path / "not there yet").problems == []
    (tmp_path / "spool" / "shop").symlink_to(tmp_path)
    (problem,) = audit(tmp_path / "spool").problems
    assert "link" in problem


def test_two_that_take_one_directory_do_not_both_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken, drained and removed between the owner's look at its lock and its `flock`: another id."""
    flock, raced = fcntl.flock, []

    def late(fd: int, how: int) -> None:
        lock = Path(f"/proc/self/fd/{fd}").readlink()
        if not raced and lock.name == "lock":
            raced.append(lock.parent)
            adopted = Home.adopt(lock.parent)
            assert adopted is not None
            adopted.remove()
        flock(fd, how)

    monkeypatch.setattr(fcntl, "flock", late)
    spool = killed(tmp_path, 3)
    assert raced
    assert spool.state == "disk"
    assert spool.home.path != raced[0]
    assert spool.home.path.is_dir()
    assert audit(tmp_path).accounts == {("shop", "-"): Account(accepted=3, pending=3)}
    spool.close()


def test_an_adopter_that_comes_late_has_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two adopters: the second one's lock is on a file that the first one deleted."""
    spool = killed(tmp_path, 3)
    spool.close(clean=False)
    spool.home.close()
    flock, first = fcntl.flock, []

    def late(fd: int, how: int) -> None:
        if not first:
            first.append(True)
            adopted = Home.adopt(spool.home.path)
            assert adopted is not None
            adopted.remove()
        flock(fd, how)

    monkeypatch.setattr(fcntl, "flock", late)
    assert Home.adopt(spool.home.path) is None


def test_a_group_may_read_and_nobody_else(tmp_path: Path) -> None:
    """`spool.group`: 0640 and 2750, the places of its readers apart; read while the owner lives."""
    group = grp.getgrgid(os.getegid()).gr_name
    old = os.umask(0)
    try:
        spool = Spool(SpoolSettings(path=tmp_path / "spool", service="shop", group=group))
        assert spool.offer(b'{"n":1}')
        spool.sync()
        reader = "import sys; from pathlib import Path; from logferry.shipper.spool import audit;"
        reader += "print(audit(Path(sys.argv[1])).accounts['shop', '-'].pending)"
        done = subprocess.run(
            [sys.executable, "-c", reader, str(tmp_path / "spool")],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == "1"
    finally:
        os.umask(old)
    for path in (tmp_path / "spool").rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode & 0o007 == 0, path
        if path.suffix == ".seg":
            assert mode == 0o640
        if path.is_dir() and path.name != "cursors":
            assert mode == 0o2750, path
    spool.close()


def test_a_directory_that_others_look_at_costs_an_id_not_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new directory locked by a curious sibling is left; the spool takes another and stays on the disk."""
    create, refusals = Home.create, [FileExistsError("looked at"), FileExistsError("looked at")]

    def contested(*args: Any, **options: Any) -> Home:
        if refusals:
            raise refusals.pop()
        return create(*args, **options)

    monkeypatch.setattr(Home, "create", contested)
    spool = killed(tmp_path, 3)
    assert spool.state == "disk"
    assert audit(tmp_path).accounts == {("shop", "-"): Account(accepted=3, pending=3)}
    spool.close()
