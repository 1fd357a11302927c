"""The forwarding handler: never raises, never feeds on itself, counts what it could not hand over."""

from __future__ import annotations

import gc
import io
import logging
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from logferry.handlers import context
from logferry.handlers.filters import TraceFilter
from logferry.handlers.formatter import make_builder
from logferry.handlers.forward import BUSY, DEPTH, SUPPRESSED, ForwardHandler, suppress_thread, suppressed
from logferry.handlers.testing import Events, MemoryOutlet

Wire = Callable[..., tuple[logging.Logger, ForwardHandler, Events]]


@pytest.fixture
def wire() -> Iterator[Wire]:
    undo: list[Callable[[], None]] = []

    def connect(outlet: Any = None) -> tuple[logging.Logger, ForwardHandler, Events]:
        outlet = outlet or MemoryOutlet()
        handler = ForwardHandler(outlet, make_builder("s", "test"))
        log = logging.Logger("test.forward")  # noqa: LOG001 - no parent: pytest's capturing formats, too
        log.setLevel(logging.DEBUG)
        log.addHandler(handler)
        undo.append(lambda: log.removeHandler(handler))
        return log, handler, Events(outlet)

    yield connect
    for each in undo:
        each()
    assert not BUSY


def test_a_record_arrives(wire: Wire) -> None:
    """The outlet gets the event's bytes; a password in the extras is not among them."""
    log, _, events = wire()
    log.info("order %s", 42, extra={"order_id": 42, "password": "hunter2"})
    assert events.find(level="INFO", message="order 42")["order_id"] == 42
    assert b"hunter2" not in events.lines[0]


def test_refusals_and_failures_are_counted(wire: Wire) -> None:
    """A refusing outlet and a raising one cost the application nothing and are counted apart."""

    class Broken(MemoryOutlet):
        def offer(self, event: bytes, /) -> bool:
            raise OSError

    outlet = MemoryOutlet(accept=False)
    log, handler, _ = wire(outlet)
    log.info("a")
    assert (handler.refused, handler.failed, outlet.refused) == (1, 0, 1)
    log.removeHandler(handler)
    log, handler, _ = wire(Broken())
    log.info("a")
    assert (handler.refused, handler.failed) == (0, 1)


def test_counts_are_exact_across_threads(wire: Wire) -> None:
    """No increment is lost when threads race."""
    log, handler, _ = wire(MemoryOutlet(accept=False))
    threads = [threading.Thread(target=lambda: [log.info("x") for _ in range(500)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert handler.refused == 2000


def test_filters_are_honoured(wire: Wire) -> None:
    """A filter rejects; one that raises is counted and does not reach the caller."""
    log, handler, events = wire()
    handler.addFilter(lambda record: record.getMessage() != "no")
    log.info("no")
    log.info("yes")
    assert events.messages == ["yes"]
    handler.addFilter(lambda record: 1 / 0 > 0)
    log.info("boom")
    assert handler.failed == 1


def test_ids_for_text_formats_stay_out_of_events(wire: Wire) -> None:
    """A console's TraceFilter on the same record is no collision with the event's own ids."""
    log, handler, events = wire()
    shown = logging.StreamHandler(io.StringIO())
    shown.addFilter(TraceFilter())
    log.removeHandler(handler)
    log.addHandler(shown)
    log.addHandler(handler)
    with context.isolated():
        ids = context.set_trace_context()
        log.info("x")
        log.info("y", extra={"span_id": "mine"})
    assert (events[0]["trace_id"], "extra" in events[0]) == (ids.trace_id, False)
    assert events[1]["extra"] == {"span_id": "mine"}


def test_suppressed_threads_forward_nothing(wire: Wire) -> None:
    """What a sink's client logs stays out, also nested; afterwards the thread forwards again."""
    log, _, events = wire()
    with suppressed():
        log.info("hidden")
        with suppressed():
            log.info("hidden")
        log.info("hidden")
    log.info("seen")
    assert events.messages == ["seen"]


def test_what_finalisers_log_in_a_suppressed_thread_is_forwarded(wire: Wire) -> None:
    """Garbage may be collected anywhere; what its last owner drops is its owner's."""
    log, _, events = wire()

    class Late:
        def __init__(self, name: str) -> None:
            self.name = name

        def __del__(self) -> None:
            log.info(self.name)

    late = Late("collected")
    late.me = late  # type: ignore[attr-defined]
    del late
    with suppressed():
        gc.collect()
        Late("dropped")
        log.info("the client's")
    assert [event["message"] for event in events] == ["collected"]


def test_an_id_reused_after_a_suppressed_thread_is_not_suppressed(wire: Wire) -> None:
    """A suppressed thread that ended leaves its id behind; the next thread under that id is heard."""
    log, _, events = wire()

    def worker() -> None:
        suppress_thread()
        log.info("hidden")

    thread = threading.Thread(target=worker)
    thread.start()
    thread.join()
    ours = threading.get_ident()
    SUPPRESSED.add(ours)  # as if the ended thread had had this thread's id
    log.info("seen")
    assert events.messages == ["seen"]
    assert ours not in SUPPRESSED


def test_logging_inside_repr_is_not_lost(wire: Wire) -> None:
    """A `__repr__` that logs while its record is being built: both events arrive."""
    log, _, events = wire()

    class Chatty:
        def __str__(self) -> str:
            log.info("inner")
            return "chatty"

    log.info("outer %s", Chatty())
    assert sorted(events.messages) == ["inner", "outer chatty"]


def test_endless_recursion_ends(wire: Wire) -> None:
    """A `__str__` that logs itself: a few levels arrive, the deepest without arguments; nothing blows up."""
    log, handler, events = wire()

    class Endless:
        def __str__(self) -> str:
            log.info("again %s", self)
            return "endless"

    log.info("again %s", Endless())
    assert len(events) == DEPTH + 2
    assert events.messages[0] == "again %s"
    assert handler.failed == 0


def test_an_outlet_that_logs_is_bounded(wire: Wire) -> None:
    """An outlet that logs at every offer: what is too deep is counted, not recursed into."""
    made: list[logging.Logger] = []

    class Chatty(MemoryOutlet):
        def offer(self, event: bytes, /) -> bool:
            made[0].info("from the outlet")
            return super().offer(event)

    log, handler, events = wire(Chatty())
    made.append(log)
    log.info("x")
    assert handler.nested == 1
    assert len(events) == 2 * DEPTH + 1


def test_no_lock_and_no_marks_after_a_fork(wire: Wire) -> None:
    """A child forked while other threads log or are suppressed starts clean and has no lock to inherit."""
    log, handler, _ = wire()
    assert handler.lock is None
    SUPPRESSED.add(1)
    BUSY.add(2)
    child = os.fork()
    if child == 0:
        log.info("child")
        os._exit(len(SUPPRESSED) + len(BUSY))
    SUPPRESSED.discard(1)
    BUSY.discard(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
