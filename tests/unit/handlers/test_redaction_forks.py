"""RE2 and forks: a child never waits for a lock of RE2's that another thread of its parent's held."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable

import pytest
from effort import effort

from logferry.handlers.redaction import Redactor, forks
from logferry.handlers.redaction.forks import apart_from_forks


def child(body: Callable[[], None]) -> int:
    """Fork; return the child's process id, which ends with 0 when `body` has."""
    pid = os.fork()
    if not pid:
        try:
            body()
            os._exit(0)
        finally:
            os._exit(1)
    return pid


def ended(pid: int, seconds: float = 30) -> bool:
    """Tell whether a child has ended well in time; one that has not is killed."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return status == 0
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False


def test_a_fork_waits_until_others_are_out() -> None:
    """Who forks waits for those within; its child is not kept out by them."""
    entered, order = threading.Event(), []

    def slow(text: str) -> str:
        if text == "slow":
            entered.set()
            time.sleep(0.2)  # the work itself: what is waited for is its end
            order.append("out")
        return text

    ask = apart_from_forks(slow)
    within = threading.Thread(target=ask, args=("slow",))
    within.start()
    assert entered.wait(30)
    pid = child(lambda: ask("quick") and None)
    order.append("forked")
    within.join()
    assert order == ["out", "forked"]
    assert ended(pid)
    assert ask("quick") == "quick"


def test_one_who_forks_within_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal's handler forks in the middle of its own thread's call."""
    monkeypatch.setattr(forks, "_BOUND", 3600.0)  # who waited for itself would not come back
    pids: list[int] = []
    apart_from_forks(lambda _: pids.append(child(lambda: None)))("")
    assert len(pids) == 1
    assert all(map(ended, pids))


def test_one_who_asks_within_stays_within(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal's handler asks in the middle of its own thread's call: a fork still waits for that call."""
    monkeypatch.setattr(forks, "_BOUND", 0.0)
    within: list[bool] = []

    def outer(_: str) -> None:
        apart_from_forks(len)("handler")
        within.append(threading.get_ident() in forks._inside)

    apart_from_forks(outer)("")
    assert within == [True]
    assert not forks._inside


def test_forks_at_once() -> None:
    """Two threads fork: the end of the one lets nobody in while the other has not forked."""
    asked, order = threading.Event(), []

    def ask(text: str) -> None:
        order.append(text)
        asked.set()

    def fork(name: str, go: threading.Event, began: threading.Event) -> None:
        forks._before()  # what the interpreter calls around a fork
        began.set()
        assert go.wait(30)
        order.append(name)
        forks._in_parent()

    go, began = [threading.Event() for _ in range(2)], [threading.Event() for _ in range(2)]
    forking = [
        threading.Thread(target=fork, args=(f"fork {number}", go[number], began[number]), daemon=True)
        for number in range(2)
    ]
    for thread, one in zip(forking, began, strict=True):
        thread.start()
        assert one.wait(30)  # neither waits for the other
    asking = threading.Thread(target=apart_from_forks(ask), args=("asked",), daemon=True)
    asking.start()
    go[0].set()
    forking[0].join(30)
    assert not asked.wait(0.1)
    go[1].set()
    for thread in (forking[1], asking):
        thread.join(30)
    assert order == ["fork 0", "fork 1", "asked"]
    assert not forks._forking


def test_children_of_a_process_whose_threads_redact() -> None:
    """Texts that no automaton has seen, in three threads, while the process forks."""
    redactor, stop = Redactor(), threading.Event()

    def redact(seed: int) -> None:
        chance = random.Random(seed)
        while not stop.is_set():
            redactor.is_clean(
                (chance.randbytes(300).hex() + "key=pass" + chance.randbytes(9).decode("latin-1"),), ()
            )

    threads = [threading.Thread(target=redact, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in range(effort(15)):  # without the lock the first one hangs
            assert ended(child(lambda number=number: redact_once(redactor, number))), number
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def redact_once(redactor: Redactor, number: int) -> None:
    """What a child does: a text of its own."""
    redactor.is_clean((random.Random(1000 + number).randbytes(900).hex(),), ())
