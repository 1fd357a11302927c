"""One worker against a cursor in memory and a sink that answers as told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from logferry.shipper.core.delivery import Delivery
from logferry.shipper.core.retry import Backoff
from logferry.shipper.core.sift import Routes, Sieve
from logferry.shipper.deadletter import DeadLetters
from logferry.shipper.model import Account, Batch, Delivered, Limits, Partial, Rejected, Retry, Split, Verdict
from logferry.shipper.ports import Outcome, Sink
from logferry.shipper.sinks.memory import MemorySink
from logferry.shipper.worker import Worker

SPOOL = "cd" * 16
FAST = Limits(max_events=100, max_age=0.005)


@dataclass
class FakeCursor:
    """A spool in memory with one cursor; `committed` and the books are what would be on disk."""

    lines: list[bytes] = field(default_factory=list)
    broken: dict[int, str] = field(default_factory=dict)
    spool: str = SPOOL
    dead: bool = False
    committed: int = 0
    place: int = 0
    books: Account = field(default_factory=Account)
    closed: bool = False
    fail_commits: int = 0

    @property
    def drained(self) -> bool:
        return self.dead and self.committed >= len(self.lines)

    def offer(self, line: bytes) -> None:
        self.lines.append(line)

    def head(self) -> int:
        return len(self.lines)

    def read(self, max_events: int, max_bytes: int, overhead: int = 0) -> Batch | None:
        lines = self.lines[self.place : self.place + max_events]
        if not lines:
            return None
        first = self.place + 1
        self.place += len(lines)
        return Batch(self.spool, range(first, self.place + 1), lines)

    def violations(self) -> Mapping[int, str]:
        return self.broken

    def commit(self, upto: int, outcome: Outcome) -> None:
        if self.fail_commits:
            self.fail_commits -= 1
            raise OSError(28, "No space left on device")
        counted = outcome.delivered + outcome.dead_lettered
        counted += sum(outcome.filtered.values()) + sum(outcome.dropped.values())
        assert counted == upto - self.committed
        self.committed = upto
        books = Account(delivered=outcome.delivered, dead_lettered=outcome.dead_lettered)
        books.filtered, books.dropped = outcome.filtered, outcome.dropped
        books.retried, books.duplicates = outcome.retried, outcome.duplicates
        self.books.add(books)

    def rewind(self) -> None:
        self.place = self.committed

    def account(self) -> Account:
        books = Account(accepted=len(self.lines), pending=len(self.lines) - self.committed)
        books.add(self.books)
        return books

    def close(self) -> None:
        self.closed = True


class Bench:
    """A worker with its surroundings; `close` checks the accounting."""

    def __init__(self, directory: Path) -> None:
        self.cursor = FakeCursor()
        self.sink = MemorySink(limits=FAST)
        self.letters = DeadLetters(directory, "mem", 1 << 20)
        self.workers: list[Worker] = []

    def start(self, make: Callable[[], Sink] | None = None, sieve: Sieve | None = None) -> Worker:
        pace = Backoff(base=0.002, cap=0.01, floor=0.001)
        worker = Worker(
            "mem", make or (lambda: self.sink), self.letters, sieve=sieve, delivery=Delivery(backoff=pace)
        )
        worker.attach(self.cursor, self.cursor.head)
        self.workers.append(worker)
        worker.start()
        return worker

    def log(self, *messages: str, level: str = "INFO") -> None:
        for message in messages:
            self.cursor.offer(b'{"level":"%b","message":"%b"}' % (level.encode(), message.encode()))

    def messages(self) -> list[str]:
        return [event["message"] for event in self.sink.events()]

    def close(self) -> None:
        for worker in self.workers:
            worker.stop(1.0)
            worker.join(2.0)
        account = self.cursor.account()
        assert account.balance == 0
        assert account.delivered == len(
            {*self.sink.ids()} & {f"{SPOOL}-{n}" for n in range(1, self.cursor.committed + 1)}
        )
        assert account.dead_lettered == len(list(self.letters.read()))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def settled(worker: Worker, seconds: float = 5.0) -> bool:
    return worker.flush().settled.wait(seconds)


def test_what_is_in_the_spool_is_delivered_in_order(bench: Bench) -> None:
    """Everything arrives once, in order, in batches within the limits, and flush waits for it."""
    names = [f"n{n}" for n in range(250)]
    bench.log(*names)
    worker = bench.start()
    assert settled(worker)
    assert bench.messages() == names
    assert bench.sink.batches == 3
    bench.log("later")
    assert settled(worker)
    assert bench.messages()[-1] == "later"


@pytest.mark.parametrize(
    "trouble",
    [
        Retry("busy"),
        Retry("quota", pause=True),
        Retry("slow down", after=0.001),
        RuntimeError("defect"),
        Split("413"),
        Partial({0: Retry("one"), 2: Retry("two")}),
    ],
    ids=str,
)
def test_trouble_that_passes_loses_nothing(bench: Bench, trouble: Verdict | Exception) -> None:
    """Refusals, splits and exceptions are tried again until everything is stored."""
    bench.sink.answers.extend([trouble, trouble])
    bench.log("a", "b", "c", "d")
    assert settled(bench.start())
    assert sorted(bench.messages()) == ["a", "b", "c", "d"]
    assert bench.cursor.account().retried > 0


def test_rejected_events_become_dead_letters_with_the_reason(bench: Bench) -> None:
    """Only what the server will never take is set aside, with id, reason and its own bytes."""
    bench.sink.answers.append(Partial({1: Rejected("too old")}))
    bench.log("a", "b", "c")
    assert settled(bench.start())
    (letter,) = bench.letters.read()
    assert (letter.id, letter.reason, letter.event) == (f"{SPOOL}-2", "too old", bench.cursor.lines[1])
    assert bench.messages() == ["a", "c"]


def test_a_violation_is_never_sent(bench: Bench) -> None:
    """An event that broke the schema goes to the dead letters, not to the sink."""
    bench.cursor.broken = {1: "amount: text where a number was declared"}
    bench.log("a", "b")
    assert settled(bench.start())
    assert bench.messages() == ["b"]
    assert [letter.reason for letter in bench.letters.read()] == ["amount: text where a number was declared"]


def test_min_level_is_counted_as_filtered(bench: Bench) -> None:
    """What is below the sink's level is not sent and stands in its books."""
    bench.log("a", "b")
    bench.log("c", level="ERROR")
    assert settled(bench.start(sieve=Sieve(Routes("WARNING"))))
    assert bench.messages() == ["c"]
    assert bench.cursor.account().filtered == {"min_level": 2}


def test_full_dead_letters_are_counted_as_dropped(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """What no longer fits is not lost in silence: it is counted and said."""
    bench.letters = DeadLetters(None, "mem", 250)
    bench.sink.answers.append(Partial(dict.fromkeys(range(5), Rejected("bad"))))
    bench.log("a", "b", "c", "d", "e", "f")
    assert settled(bench.start())
    account = bench.cursor.account()
    assert account.dead_lettered == 1
    assert account.dropped == {"dead_letters_full": 4}


def test_a_commit_that_fails_is_repeated(bench: Bench) -> None:
    """With a full disk the batch is sent again later; the books count it once."""
    bench.cursor.fail_commits = 2
    bench.log("a", "b")
    worker = bench.start()
    assert settled(worker)
    assert bench.cursor.account().delivered == 2
    assert bench.cursor.account().duplicates == 2
    assert worker.state().state == "ok"


def test_a_sink_that_cannot_be_made_is_tried_again(bench: Bench) -> None:
    """A constructor that raises delays delivery and ends nothing."""
    tries: list[int] = []

    def make() -> Sink:
        tries.append(1)
        if len(tries) < 3:
            raise ImportError("no urllib3")
        return bench.sink

    bench.log("a")
    assert settled(bench.start(make))
    assert bench.messages() == ["a"]


class Hanging(MemorySink):
    """A sink whose `send` returns when it is told to."""

    def __init__(self) -> None:
        super().__init__(limits=FAST)
        self.entered = threading.Event()
        self.go_on = threading.Event()
        self.let_go = False

    def close(self) -> None:
        self.let_go = True

    def send(self, batch: Batch) -> Verdict:
        self.entered.set()
        self.go_on.wait(30)
        return Delivered()


def test_a_hanging_sink_is_left_behind(bench: Bench) -> None:
    """Flush and the end are bounded; a worker that was left commits nothing, and lets go."""
    hanging = Hanging()
    bench.log("a")
    worker = bench.start(lambda: hanging)
    assert hanging.entered.wait(5)
    began = time.monotonic()
    assert not settled(worker, 0.05)
    worker.stop(0.05)
    assert not worker.join(0.1)
    assert time.monotonic() - began < 2
    hanging.go_on.set()
    deadline = time.monotonic() + 5
    while worker.alive and time.monotonic() < deadline:
        time.sleep(0.005)
    assert not worker.alive
    assert bench.cursor.committed == 0
    assert hanging.let_go, "a client of its own would go on sending what others have now"


def test_the_end_interrupts_a_long_wait(bench: Bench) -> None:
    """A worker in the middle of a long back-off stops at once, and what it had is still in the spool."""
    bench.sink.answers.extend([Retry("down", after=1000.0)] * 5)
    bench.log("a")
    worker = bench.start()
    deadline = time.monotonic() + 5
    while worker.state().state == "ok" and time.monotonic() < deadline:
        time.sleep(0.002)
    assert worker.state().error == "down"
    began = time.monotonic()
    worker.stop(3.0)
    assert worker.join(3.0)
    assert time.monotonic() - began < 1.0
    assert bench.cursor.account().pending == 1


def test_flush_interrupts_a_long_wait(bench: Bench) -> None:
    """Flush tries at once instead of sitting out the back-off."""
    bench.sink.answers.append(Retry("down", after=1000.0))
    bench.log("a")
    worker = bench.start()
    deadline = time.monotonic() + 5
    while worker.state().state == "ok" and time.monotonic() < deadline:
        time.sleep(0.002)
    assert worker.state().error == "down"
    assert settled(worker)
    assert bench.messages() == ["a"]
    assert worker.state().state == "ok"


class Gate(MemorySink):
    """A sink whose first `send` waits until it is let through."""

    def __init__(self) -> None:
        super().__init__(limits=FAST)
        self.entered = threading.Event()
        self.open = threading.Event()

    def send(self, batch: Batch) -> Verdict:
        self.entered.set()
        self.open.wait(30)
        return super().send(batch)


def test_flush_waits_for_the_last_batch(bench: Bench) -> None:
    """One batch of several is not all: flush does not end before the rest is settled."""
    bench.sink = gate = Gate()
    gate.answers.extend([Delivered(), Delivered(), *[Retry("down", after=1000.0)] * 5])
    bench.log(*(f"n{n}" for n in range(250)))
    worker = bench.start()
    assert gate.entered.wait(5)
    ticket = worker.flush()
    gate.open.set()
    assert not ticket.settled.wait(0.2)
    assert bench.cursor.committed == 200


def test_flush_does_not_wait_for_a_spool_that_is_drained_meanwhile(bench: Bench) -> None:
    """A wish that comes in the very turn that lets go of a drained spool is fulfilled too."""
    worker, tickets = bench.start(), []

    class Drained(FakeCursor):
        def read(self, max_events: int, max_bytes: int, overhead: int = 0) -> Batch | None:
            tickets.append(worker.flush())  # as another thread would, after the turn has begun
            return None

    worker.attach(Drained(dead=True))
    deadline = time.monotonic() + 5
    while not tickets and time.monotonic() < deadline:
        time.sleep(0.005)
    assert tickets[0].settled.wait(5)


def test_stop_delivers_what_is_there(bench: Bench) -> None:
    """What was logged just before the end still goes out."""
    worker = bench.start()
    names = [f"n{n}" for n in range(350)]
    bench.log(*names)
    worker.stop(5.0)
    assert worker.join(5.0)
    assert bench.messages() == names
    assert bench.sink.closed
    worker.close_cursors()
    assert bench.cursor.closed


def test_an_end_that_comes_while_the_sink_is_made_is_not_slept_through(bench: Bench) -> None:
    """A process that ends right after its start, with a sink that rests for long."""
    making, told = threading.Event(), threading.Event()

    def make() -> MemorySink:
        making.set()
        told.wait(10)
        return MemorySink(limits=Limits(max_age=60.0))

    worker = bench.start(make)
    assert making.wait(10)
    worker.stop(30)
    told.set()
    assert worker.join(20)


def test_spools_take_turns(bench: Bench) -> None:
    """A backlog in one spool does not hold up another, and a drained one is let go."""
    other = FakeCursor(spool="ef" * 16, dead=True)
    for n in range(1000):
        other.offer(b'{"message":"old %d"}' % n)
    worker = bench.start()
    worker.attach(other)
    bench.log("new")
    assert settled(worker)
    assert len(bench.sink.lines()) == 1001
    assert other.account().balance == 0
    assert other.account().pending == 0
    deadline = time.monotonic() + 5
    while not other.closed and time.monotonic() < deadline:
        time.sleep(0.002)
    assert other.closed
    assert worker.cursors() == [bench.cursor]


def test_a_drained_spool_is_let_go_before_the_sink_is_waited_for(bench: Bench) -> None:
    """Its files are deleted meanwhile, and would stay open for as long as the sink is away."""
    first, second = FakeCursor(spool="ab" * 16, dead=True), FakeCursor(spool="cd" * 16, dead=True)
    for cursor in (first, second):
        cursor.offer(b'{"message":"old"}')

    class Away(MemorySink):
        def send(self, batch: Batch) -> Verdict:
            return Retry("away") if batch.spool == second.spool and not back.is_set() else super().send(batch)

    back = threading.Event()
    bench.sink = Away(limits=FAST)
    worker = bench.start()
    worker.attach(first)
    worker.attach(second)
    deadline = time.monotonic() + 5
    while not first.closed and time.monotonic() < deadline:
        time.sleep(0.002)
    assert (first.closed, second.closed) == (True, False)
    back.set()
    assert settled(worker)
    assert second.account().delivered == 1


def test_a_worker_at_rest_does_not_read(bench: Bench) -> None:
    """Turns without anything new look at the head only; what comes next is delivered all the same."""
    reads, looks = [0], [0]

    class Counting(FakeCursor):
        def read(self, max_events: int, max_bytes: int, overhead: int = 0) -> Batch | None:
            reads[0] += 1
            return super().read(max_events, max_bytes, overhead)

        def head(self) -> int:
            looks[0] += 1
            return super().head()

    bench.cursor = Counting()
    bench.log("one")
    worker = bench.start()
    assert settled(worker)
    turns, before = looks[0] + 20, reads[0]
    deadline = time.monotonic() + 10
    while looks[0] < turns and time.monotonic() < deadline:
        time.sleep(0.005)
    assert looks[0] >= turns
    assert reads[0] <= before + 1  # the turn that the flush was in
    bench.log("two")
    assert settled(worker)
    assert bench.messages() == ["one", "two"]


def test_a_worker_told_to_stop_in_the_middle_of_a_turn_takes_another(tmp_path: Path) -> None:
    """What is logged after a turn found nothing, and before it is told to stop, is delivered all the same."""
    bench = Bench(tmp_path)
    empty_handed, told = threading.Event(), threading.Event()

    class Slow(FakeCursor):
        def read(self, max_events: int, max_bytes: int, overhead: int = 0) -> Batch | None:
            batch = super().read(max_events, max_bytes, overhead)
            if batch is None and not empty_handed.is_set():
                empty_handed.set()
                assert told.wait(10)
            return batch

    bench.cursor = Slow()
    worker = bench.start()
    assert empty_handed.wait(10)
    bench.log("the last one")
    worker.stop(5.0)
    told.set()
    assert worker.join(10)
    assert bench.messages() == ["the last one"]
