"""Appends that interrupt appends: from signal handlers, finalisers, threads, and within a roll."""

from __future__ import annotations

import gc
import itertools
import os
import random
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from logferry.shipper.ports import Cursor, Outcome
from logferry.shipper.spool import Spool, audit
from logferry.shipper.spool.directory import Home, spool_directories
from logferry.shipper.spool.segment import WritableFile, allocate


def deliver(cursor: Cursor) -> list[bytes]:
    lines: list[bytes] = []
    while (batch := cursor.read(500, 1 << 20)) is not None:
        lines += batch.lines
        cursor.commit(batch.sequences[-1], Outcome(delivered=len(batch)))
    account = cursor.account()
    assert account.balance == account.pending == 0
    assert not account.dropped
    return lines


class Interrupted(BaseException):
    """Like Control-C's, but where it strikes besides the code under test, it ends a test and not pytest."""


def interrupted(call: Callable[[], object], seconds: float) -> bool:
    """Call again and again until a signal's handler raises; False: nobody saw that.

    It raises once, and only in here. In a finaliser, or a callback of the collector, it ends unseen.
    """
    armed = [True]

    def handler(_number: int, _frame: object) -> None:
        if armed:
            armed.clear()
            raise Interrupted

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        while armed:
            call()
    except Interrupted:
        return True
    finally:
        armed.clear()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return False


# The flood needs SIGALRM, which the time limit would use otherwise.
@pytest.mark.timeout(60, method="thread")
@pytest.mark.parametrize("memory", [False, True])
def test_a_flood_of_signals_that_log(make_spool: Callable[..., Spool], memory: bool) -> None:
    """A handler that logs, thousands of times a second, tears nothing and loses nothing."""
    spool = make_spool(memory=memory, memory_bytes=512 << 20)
    nested: list[bytes] = []
    taken: list[bool] = []
    numbers = itertools.count()

    def handler(_number: int, _frame: object) -> None:
        line = b"nested %d " % next(numbers) + b"y" * 300
        nested.append(line)
        taken.append(spool.offer(line))

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    outer: list[bytes] = []
    try:
        begun = time.monotonic()
        # For as long as it takes: signals that come while the machine does other things are one.
        while (passed := time.monotonic() - begun) < 1.5 or (len(nested) <= 100 and passed < 40):
            if len(outer) >= 200_000:
                break
            line = b"outer %d " % len(outer) + b"x" * 900
            assert spool.offer(line)
            outer.append(line)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(nested) > 100
    assert all(taken)
    lines = deliver(spool.cursor("a"))
    assert [line for line in lines if line.startswith(b"outer")] == outer
    assert sorted(line for line in lines if line.startswith(b"nested")) == sorted(nested)
    assert spool.accepted == len(outer) + len(nested)


def test_an_append_within_every_step_of_an_append(make_spool: Callable[..., Spool], tmp_path: Path) -> None:
    """At whichever call of an append, rolls included, another one comes in: both are there, once."""
    import sys

    spool = make_spool(max_bytes=1 << 20)
    state = {"steps": 0, "at": -1, "busy": False}
    sent: list[bytes] = []

    def trace(frame: FrameType, _event: str, _arg: object) -> None:
        if "spool" not in frame.f_code.co_filename or state["busy"]:
            return
        state["steps"] += 1
        if state["steps"] == state["at"]:
            state["busy"] = True
            line = b"nested %d" % state["at"] + b"n" * 200
            assert spool.offer(line)
            sent.append(line)
            state["busy"] = False

    for step in range(1, 400):
        state.update(steps=0, at=step)
        fill = b"fill %d" % step + b"f" * (40_000 if step % 2 else 300)
        sys.setprofile(trace)
        try:
            assert spool.offer(fill)
        finally:
            sys.setprofile(None)
        sent.append(fill)
        if step % 10 == 0:
            lines = deliver(spool.cursor("a"))
            assert sorted(lines) == sorted(sent)
            sent.clear()
            from logferry.shipper.spool import SpoolSet

            SpoolSet(spool.settings, spool).reclaim(["a"])
    assert audit(tmp_path / "spool").problems == []


@pytest.mark.parametrize("where", ["directory", "segment"])
def test_interruptions_deeper_than_the_disk_follows(
    make_spool: Callable[..., Spool],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    where: str,
) -> None:
    """A disk slower than the signals: some go to memory, all are read in order, and it is the disk again."""
    depth = [0]
    sent: list[bytes] = []

    def nesting(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            depth[0] += 1
            if depth[0] < 20:
                line = b"nested %d" % depth[0]
                assert spool.offer(line)
                sent.append(line)
            return function(*args, **options)

        return call

    if where == "directory":
        monkeypatch.setattr(Home, "create", nesting(Home.create))
        spool = make_spool()
    else:
        spool = make_spool(options={"allocate": nesting(allocate)})
    for n in range(300):
        sent.append(b"outer %d" % n + b"x" * 900)
        assert spool.offer(sent[-1])
    assert depth[0] >= 8
    assert spool.state == "disk"
    assert "memory" not in capsys.readouterr().err
    assert isinstance(spool._segment, WritableFile)
    assert sorted(deliver(spool.cursor("a"))) == sorted(sent)


def test_finalisers_that_log(make_spool: Callable[..., Spool]) -> None:
    """Garbage whose finaliser logs is collected in the middle of appends: nothing is lost."""
    spool = make_spool()
    count = [0]

    class Garbage:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            count[0] += 1
            spool.offer(b"finaliser" + b"z" * 500)

    threshold = gc.get_threshold()
    gc.set_threshold(5)
    try:
        for _ in range(3000):
            Garbage()
            spool.offer(b"outer" + b"x" * 500)
    finally:
        gc.set_threshold(*threshold)
        gc.collect()
    lines = deliver(spool.cursor("a"))
    assert sum(line.startswith(b"outer") for line in lines) == 3000
    assert sum(line.startswith(b"fin") for line in lines) == count[0] > 1000


# The exception also strikes between making an iterator of the standard library's and entering its `with`.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.timeout(60, method="thread")
def test_an_exception_out_of_a_signal_handler_leaves_no_hole(make_spool: Callable[..., Spool]) -> None:
    """Control-C in the middle of an append: readers are not held up, and the books balance."""
    spool = make_spool()
    randomness = random.Random(1)
    returned = interruptions = 0

    def offer() -> None:
        nonlocal returned
        spool.offer(b"x" * 2000)
        returned += 1

    begun = time.monotonic()
    # For as long as it takes: most come in the middle of a call, some in a finaliser.
    while (passed := time.monotonic() - begun) < 1.0 or (interruptions < 20 and passed < 40):
        interruptions += interrupted(offer, randomness.uniform(0.0001, 0.004))
    assert interruptions >= 20
    assert spool.offer(b"last")
    lines = deliver(spool.cursor("a"))
    assert lines[-1] == b"last"
    assert returned <= len(lines) - 1 <= spool.accepted


def test_threads_and_a_reader(make_spool: Callable[..., Spool]) -> None:
    """Four threads append while one reads and deletes: each thread's events come in its order."""
    from logferry.shipper.spool import SpoolSet

    spool = make_spool()
    spools = SpoolSet(spool.settings, spool)
    cursor = spool.cursor("a")
    count = 5000

    def write(name: int) -> None:
        for n in range(count):
            assert spool.offer(b"%d %d %s" % (name, n, b"x" * (n % 500)))

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    lines: list[bytes] = []
    deadline = time.monotonic() + 60
    while len(lines) < 4 * count and time.monotonic() < deadline:
        lines += deliver_some(cursor)
        spools.reclaim(["a"])
    for thread in threads:
        thread.join()
    assert len(lines) == 4 * count
    for name in range(4):
        mine = [int(line.split()[1]) for line in lines if line.startswith(b"%d " % name)]
        assert mine == list(range(count))
    assert cursor.account().balance == 0
    assert not cursor.account().dropped


def deliver_some(cursor: Cursor) -> list[bytes]:
    lines: list[bytes] = []
    while (batch := cursor.read(100, 1 << 16)) is not None:
        lines += batch.lines
        cursor.commit(batch.sequences[-1], Outcome(delivered=len(batch)))
    return lines


def test_a_forked_child_has_its_own_spool(make_spool: Callable[..., Spool], tmp_path: Path) -> None:
    """The child's records are in a spool of its own, the parent's are untouched."""
    spool: Spool = make_spool()
    spool.offer(b"parent 1")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        ok = spool.offer(b"child 1")
        os.write(writing, b"%d %s" % (ok, spool.id.encode()))
        os._exit(0)
    os.waitpid(child, 0)
    ok, identity = os.read(reading, 100).split()
    os.close(reading)
    os.close(writing)
    assert ok == b"1"
    assert identity.decode() != spool.id
    spool.offer(b"parent 2")
    assert deliver(spool.cursor("a")) == [b"parent 1", b"parent 2"]
    from logferry.shipper.spool import SpoolSet

    (adopted,) = SpoolSet(spool.settings, spool).adopt()
    assert adopted.id == identity.decode()
    assert deliver(adopted.cursor("a")) == [b"child 1"]
    assert adopted.death is not None
    assert adopted.death.pid == child


@contextmanager
def without_collector() -> Iterator[None]:
    """What is raised in a callback of the collector ends there, and interrupts nobody."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.timeout(60, method="thread")
@pytest.mark.parametrize("owned", [False, True])
def test_an_exception_out_of_a_signal_while_it_waits(make_spool: Callable[..., Spool], owned: bool) -> None:
    """It comes out as it is, and leaves the lock to whoever has it, or had it before."""
    spool = make_spool()
    assert spool.offer(b"first")
    locked, over = threading.Event(), threading.Event()

    def hold() -> None:
        with spool._lock:
            locked.set()
            over.wait(30)

    thread = threading.Thread(target=hold)
    try:
        if not owned:
            thread.start()
            assert locked.wait(30)
        with spool._lock if owned else nullcontext(), without_collector():
            assert any(interrupted(lambda: spool.offer(b"more"), 0.05) for _ in range(20))
    finally:
        over.set()
    if not owned:
        thread.join(30)
    free = []
    other = threading.Thread(target=lambda: free.append(spool._lock.acquire(timeout=30)))
    other.start()
    other.join(40)
    assert free == [True]


# What is between a call and its `with` is left to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupted_creation_leaves_no_lock(make_spool: Callable[..., Spool], tmp_path: Path) -> None:
    """Interrupted at any step, while the exception and so all frames are kept: no directory stays locked."""
    kept: list[BaseException] = []
    for step in range(1, 2000):
        spool = make_spool()
        try:
            with without_collector(), at_step(step):
                spool.offer(b"{}")
        except Interrupted as interruption:
            kept.append(interruption)
        else:
            break
        spool.close()
        for directory in spool_directories(tmp_path / "spool" / "shop"):
            if (directory / "lock").exists():
                home = Home.adopt(directory)
                assert home is not None, f"still locked: interrupted at step {step}"
                home.remove()
            else:
                shutil.rmtree(directory)  # an adopter would: with more spools a creation has more steps
    assert 50 < len(kept) < 1000, "a record's way is longer than that, and it was gone to its end"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupted_adoption_leaves_no_lock(make_spool: Callable[..., Spool], tmp_path: Path) -> None:
    """The dead owner's spool can be adopted afterwards, by whoever comes."""
    spool = make_spool()
    spool.offer(b"{}")
    spool.home.close()
    (directory,) = spool_directories(tmp_path / "spool" / "shop")
    for adopt in (Home.adopt, _take_lock):
        kept: list[BaseException] = []
        for step in range(1, 200):
            try:
                with without_collector(), at_step(step):
                    adopt(directory)
            except Interrupted as interruption:
                kept.append(interruption)
            else:
                break
            home = Home.adopt(directory)
            assert home is not None, f"still locked: interrupted at step {step}"
            home.close()
        assert len(kept) > 5


@contextmanager
def at_step(step: int) -> Iterator[None]:
    """Raise Interrupted at the `step`th call in the spool's code: before it, or right behind C code.

    That is where CPython runs signal handlers; at the return of a function of ours it runs none.
    """
    left = step

    def trace(frame: FrameType, event: str, _: object) -> None:
        nonlocal left
        if "/shipper/spool/" in frame.f_code.co_filename and event in {"call", "c_return"}:
            left -= 1
            if left == 0 and frame.f_code.co_name not in {"__del__", "close"}:  # that is letting go
                raise Interrupted

    sys.setprofile(trace)
    try:
        yield
    finally:
        sys.setprofile(None)


def _take_lock(directory: Path) -> None:
    home = Home.view(directory)
    try:
        home.take_lock()
    finally:
        home.close()
