"""RE2 and forks: a child never waits for a lock of RE2's that another thread of its parent's held."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable

from logferry.handlers.redaction import Redactor
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


def test_one_who_forks_within_waits_for_nobody() -> None:
    """A signal's handler forks in the middle of its own thread's call."""
    pids: list[int] = []
    began = time.monotonic()
    apart_from_forks(lambda _: pids.append(child(lambda: None)))("")
    assert time.monotonic() - began < 1
    assert all(map(ended, pids))


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
        for number in range(40):
            assert ended(child(lambda number=number: redact_once(redactor, number))), number
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def redact_once(redactor: Redactor, number: int) -> None:
    """What a child does: a text of its own."""
    redactor.is_clean((random.Random(1000 + number).randbytes(900).hex(),), ())
