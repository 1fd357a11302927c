"""A lock that is held for a moment while another thread forks is not the child's."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from logferry.shipper.moment import moment
from logferry.shipper.spool import Spool, SpoolSettings
from logferry.shipper.spool.directory import Home
from logferry.shipper.spool.ledger import _locked as ledger_locked
from logferry.shipper.store.layout import locked as store_locked


def is_free(path: Path) -> bool:
    """Whether the file's lock can be had."""
    fd = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def hold_file(place: Path) -> AbstractContextManager[object]:
    fd = os.open(place / "a.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return moment(fd)


HELD: dict[str, Callable[[Path], AbstractContextManager[object]]] = {
    "a.lock": hold_file,
    "ledger.lock": ledger_locked,
    "store.lock": lambda place: store_locked(place / "store.lock"),
}


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("name", HELD)
def test_a_child_that_is_forked_meanwhile_does_not_hold_it(tmp_path: Path, name: str) -> None:
    """Its parent's thread holds the lock at the fork and dies with the parent; the child can have it."""
    tmp_path.chmod(0o700)
    ready, told = os.pipe()
    parent = os.fork()
    if not parent:  # the process that holds it, in another thread than the one that forks
        holding = threading.Event()

        def hold() -> None:
            with HELD[name](tmp_path):
                holding.set()
                time.sleep(60)

        threading.Thread(target=hold, daemon=True).start()
        holding.wait(20)
        child = os.fork()
        if not child:
            os.write(told, b"c")
            time.sleep(60)
            os._exit(0)
        os.write(told, child.to_bytes(8, "big"))
        os._exit(0)
    said = b""
    while len(said) < 9:
        said += os.read(ready, 9)
    os.waitpid(parent, 0)
    child = int.from_bytes(said.replace(b"c", b"", 1)[-8:] if said[:1] == b"c" else said[:8], "big")
    try:
        assert is_free(tmp_path / name)
    finally:
        os.kill(child, 9)
        os.close(ready)
        os.close(told)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_that_ends_what_its_parent_holds_ends_nothing_of_its_own(tmp_path: Path) -> None:
    """The number of what the fork has closed is given away again."""
    held = hold_file(tmp_path)
    number = held.__enter__()
    assert isinstance(number, int)
    child = os.fork()
    if not child:
        code = 1
        try:
            mine = os.open(tmp_path, os.O_RDONLY)
            if mine != number:
                os.dup2(mine, number)
            with moment(number):
                held.__exit__(None, None, None)
                os.fstat(number)
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    held.__exit__(None, None, None)
    assert is_free(tmp_path / "a.lock")


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_spool_that_is_being_adopted_at_a_fork_is_not_the_childs(tmp_path: Path) -> None:
    """Also where nobody but the thread that adopts it knows of it yet."""
    spool = Spool(SpoolSettings(tmp_path / "spool", "shop"))
    spool.offer(b"{}")
    spool.close()
    adopted = Home.adopt(spool.home.path)
    assert adopted is not None
    ready, told = os.pipe()
    child = os.fork()
    if not child:
        os.write(told, b"c")
        time.sleep(60)
        os._exit(0)
    os.read(ready, 1)
    try:
        os.close(adopted.lock_fd)  # as the parent's death does
        adopted.lock_fd = -1
        assert is_free(spool.home.path / "lock")
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        adopted.close()
        os.close(ready)
        os.close(told)
