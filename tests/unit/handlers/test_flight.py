"""The flight recorder: detail of what failed, nothing of what went right, never more than its bounds."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from logferry.handlers.context import bind, bound, isolated
from logferry.handlers.flight import BelowLevel, FlightRecorder
from logferry.handlers.forward import ForwardHandler
from logferry.handlers.record import EventBuilder
from logferry.handlers.schema import Schema

ROOT = logging.getLogger()
log = logging.getLogger("flight.app")


class Outlet:
    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def offer(self, event: bytes, /) -> bool:
        self.lines.append(event)
        return True

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]

    @property
    def messages(self) -> list[str]:
        return [event["message"] for event in self.events]


@pytest.fixture
def outlet() -> Outlet:
    return Outlet()


def recorder_of(outlet: Outlet, **bounds: int) -> FlightRecorder:
    return FlightRecorder(logging.WARNING, EventBuilder(Schema("shop", "prod")), outlet, **bounds)


@pytest.fixture
def recorder(outlet: Outlet) -> FlightRecorder:
    return recorder_of(outlet)


@pytest.fixture(autouse=True)
def _installed(request: pytest.FixtureRequest, outlet: Outlet) -> Iterator[None]:
    handler = ForwardHandler(outlet, EventBuilder(Schema("shop", "prod")))
    if "recorder" in request.fixturenames:
        handler.addFilter(request.getfixturevalue("recorder"))
    before = ROOT.level
    ROOT.addHandler(handler)
    ROOT.setLevel(logging.DEBUG)
    yield
    ROOT.removeHandler(handler)
    ROOT.setLevel(before)


def access(failed: bool) -> None:
    level = logging.ERROR if failed else logging.WARNING
    log.log(level, "GET /", extra={"kind": "access", "failed": failed})


def test_a_request_that_fails_ships_all_its_lines_in_order(outlet: Outlet, recorder: FlightRecorder) -> None:
    """Held lines come before the error, marked; later ones at once; the other request's never."""
    with bound(request_id="good"):
        log.debug("fine")
    with bound(request_id="bad"):
        log.debug("begin", extra={"step": 1})
        log.info("and %s", "on")
        log.warning("as ever")
        assert outlet.messages == ["as ever"]
        log.error("broken")
        log.debug("after")
        access(failed=True)
    with bound(request_id="good"):
        access(failed=False)
    assert outlet.messages == ["as ever", "begin", "and on", "broken", "after", "GET /", "GET /"]
    assert [e.get("flight_recorder") for e in outlet.events] == [None, True, True, None, True, None, None]
    assert outlet.events[1]["step"] == 1
    assert recorder.held == 0


def test_the_access_event_alone_may_say_that_it_failed(outlet: Outlet, recorder: FlightRecorder) -> None:
    """A failed access event at any level ships the rest, and ends the request."""
    with bound(trace_id="a" * 32):
        log.debug("begin")
        log.warning("GET /", extra={"kind": "access", "failed": True})
        log.debug("another with the same id")
    assert outlet.messages == ["begin", "GET /"]
    assert recorder.held == 1


def test_lines_without_a_request_are_neither_held_nor_shipped(
    outlet: Outlet, recorder: FlightRecorder
) -> None:
    """Below the level and outside of any request: as without the recorder."""
    log.debug("start-up")
    log.error("trouble")
    assert outlet.messages == ["trouble"]
    assert recorder.held == 0


def test_a_logger_with_a_level_of_its_own_is_left_alone(outlet: Outlet, recorder: FlightRecorder) -> None:
    """What was asked for by name is shipped as ever, and not held."""
    own = logging.getLogger("flight.own")
    own.setLevel(logging.INFO)
    try:
        with bound(request_id="r"):
            own.debug("no")
            logging.getLogger("flight.own.child").info("yes")
        assert outlet.messages == ["yes"]
        assert "flight_recorder" not in outlet.events[0]
        assert recorder.held == 0
    finally:
        own.setLevel(logging.NOTSET)


def test_a_line_says_what_was_true_when_it_was_logged(outlet: Outlet, recorder: FlightRecorder) -> None:
    """Held lines are made at once: redacted, and not changed by what happens to their arguments."""
    basket = ["apple"]
    with isolated(request_id="r"):
        log.debug("basket %s", basket, extra={"items": basket})
        basket.append("pear")
        bind(user_id="later")
        log.error("broken")
    assert outlet.messages[0] == "basket ['apple']"
    assert outlet.events[0]["items"] == ["apple"]
    assert "user_id" not in outlet.events[0]


def test_the_newest_lines_of_a_request_stay_and_the_rest_is_told(outlet: Outlet) -> None:
    """Beyond its bound a request keeps the last lines; how many came before is said when it fails."""
    handler = next(h for h in ROOT.handlers if isinstance(h, ForwardHandler))
    handler.addFilter(recorder_of(outlet, lines=3))
    with bound(request_id="r"):
        for n in range(10):
            log.debug("line %d", n)
        log.error("broken")
    told = "the flight recorder kept the last 3 lines of this request, 7 came before"
    assert outlet.messages == [told, "line 7", "line 8", "line 9", "broken"]
    assert outlet.events[0]["request_id"] == "r"


def test_all_requests_together_are_bounded(outlet: Outlet) -> None:
    """Lines of the oldest requests go first, by bytes and by number of requests."""
    recorder = recorder_of(outlet, total_bytes=20_000, requests=50)
    handler = next(h for h in ROOT.handlers if isinstance(h, ForwardHandler))
    handler.addFilter(recorder)
    for n in range(200):
        with bound(request_id=f"r{n}"):
            log.debug("x" * 500)
    assert 10 < recorder.held < 40
    for n in (199, 0, 155):
        with bound(request_id=f"r{n}"):
            log.error("broken %d", n)
    messages = outlet.messages
    assert messages[:2] == ["x" * 500, "broken 199"]
    assert messages[2] == "broken 0"
    assert messages[3].startswith("the flight recorder kept the last 0 lines of this request, 1 came")


def test_threads_of_one_request_are_held_together(outlet: Outlet, recorder: FlightRecorder) -> None:
    """Lines from several threads with the same request are all there when it fails."""

    def work(n: int) -> None:
        with bound(request_id="r"):
            for k in range(50):
                log.debug("%d %d", n, k)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with bound(request_id="r"):
        log.error("broken")
    assert len(outlet.messages) == 201
    assert sorted(outlet.messages[:-1]) == sorted(f"{n} {k}" for n in range(4) for k in range(50))
    assert recorder.held == 0


def test_a_forked_child_holds_nothing_of_its_parent(outlet: Outlet, recorder: FlightRecorder) -> None:
    """The parent's requests are the parent's, and its lock may have been held."""
    with bound(request_id="r"):
        log.debug("parent's")
        recorder._lock.acquire()
        try:
            child = os.fork()
            if not child:
                log.debug("child's")
                os._exit(recorder.held)
        finally:
            recorder._lock.release()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


def test_other_handlers_see_what_they_saw_without_it() -> None:
    """The filter for a console lets through what the level or a logger of its own lets through."""
    stop = BelowLevel(logging.WARNING)
    own = logging.getLogger("flight.console")
    own.setLevel(logging.DEBUG)
    try:
        shown = [
            stop.filter(logging.LogRecord(name, level, "", 1, "m", None, None))
            for name, level in (("flight.app", 10), ("flight.app", 30), ("flight.console.x", 10), ("no", 20))
        ]
        assert shown == [False, True, False, False]
        logging.getLogger("flight.console.x")
        assert stop.filter(logging.LogRecord("flight.console.x", 10, "", 1, "m", None, None))
    finally:
        own.setLevel(logging.NOTSET)
