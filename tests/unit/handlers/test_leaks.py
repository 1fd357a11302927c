"""Nothing of a request, message, job or thread is left for the next one: no field, no span, no memory.

Each kind of work leaves behind whatever an application can leave: fields, a span that it never ends, and now
and then an exception. It is done again and again in the same thread, in ids of its own.
"""

from __future__ import annotations

import gc
import json
import logging
import sys
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import flask
import pytest
from effort import factor
from fastapi import FastAPI

from logferry.handlers import context
from logferry.handlers.carry import received
from logferry.handlers.integrations import celery as traced_celery
from logferry.handlers.integrations import fastapi as traced_fastapi
from logferry.handlers.integrations import flask as traced_flask
from logferry.handlers.integrations.asgi import TraceMiddleware as Asgi
from logferry.handlers.integrations.wsgi import TraceMiddleware as Wsgi
from logferry.handlers.jobs import job
from logferry.handlers.propagation import CARRIED, outgoing
from logferry.handlers.spans import active_span, finish_span, span, start_span
from logferry.handlers.stream import JsonHandler

pytestmark = pytest.mark.timeout(1800)

ROUNDS = 100_000 if factor() >= 10 else 200
WARM = max(300, ROUNDS // 10)  # until everything has been seen once: Celery's ways are long
VARIETY = 3  # of names: what is remembered of these is bounded, and learned in the first rounds
BLOCKS = 200  # of CPython's allocator: less than one object for each request
SPAN = "00f067aa0ba902b7"
log = logging.getLogger("test.leaks")


class Lines:
    """A stream that keeps what is asked for."""

    def __init__(self) -> None:
        self.kept: list[dict[str, Any]] | None = None

    def write(self, text: str) -> int:
        if self.kept is not None:
            self.kept += [json.loads(line) for line in text.splitlines()]
        return len(text)

    def flush(self) -> None:
        """Nothing waits."""


@contextmanager
def logging_to(stream: Lines) -> Iterator[None]:
    """Everything that is logged is made an event, as in production; pytest's own handlers would keep it.

    Without redaction, which remembers some thousand texts.
    """
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers[:] = [JsonHandler(stream=stream, service="leaks", redact=False)]
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def headers(number: int) -> dict[str, str]:
    return {
        "traceparent": f"00-{number + 1:032x}-{SPAN}-01",
        "x-request-id": f"r-{number}",
        "tracestate": "a=b",
    }


def leave(number: int) -> None:
    """Do what an application may do, and tidy nothing up."""
    few = number % VARIETY
    context.bind(**{f"left_{few}": number, "user_id": f"u-{number}"})
    start_span("never ended")
    log.info("in %d", number)
    if few == 0:
        raise RuntimeError("broken")


def asgi_scope(number: int) -> dict[str, Any]:
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": f"/orders/{number}",
        "raw_path": b"/",
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers(number).items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never waits here: in this very context, as a server's protocol might."""
    with suppress(RuntimeError):
        try:
            work.send(None)
        except StopIteration:
            return
        raise AssertionError("it waits")


async def receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(_message: Any) -> None:
    return None


def asgi() -> Callable[[int], None]:
    async def app(scope: Any, _receive: Any, send: Any) -> None:
        leave(int(scope["path"].rpartition("/")[2]))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"well"})

    wrapped = Asgi(app)
    return lambda number: run(wrapped(asgi_scope(number), receive, send))


def fast() -> Callable[[int], None]:
    app = FastAPI()
    traced_fastapi.install(app)

    @app.get("/orders/{order}")
    async def order(order: int) -> int:
        leave(order)
        return order

    return lambda number: run(app(asgi_scope(number), receive, send))


def environ(number: int) -> dict[str, Any]:
    named = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers(number).items()}
    return {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": f"/orders/{number}",
        "SCRIPT_NAME": "",
        "QUERY_STRING": "",
        "SERVER_NAME": "test",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
        **named,
    }


def called(app: Any, number: int, *, close: bool = True) -> None:
    """Serve one request as a server does; without `close`, as one whose client went away badly."""
    with suppress(RuntimeError):
        answer = app(environ(number), lambda *_: None)
        try:
            for _ in answer:
                if not close:
                    return
        finally:
            if close and hasattr(answer, "close"):
                answer.close()


def wsgi() -> Callable[[int], None]:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        leave(int(environ["PATH_INFO"].rpartition("/")[2]))
        start_response("200 OK", [])
        return [b"well"]

    wrapped = Wsgi(app)
    return lambda number: called(wrapped, number)


def streamed(*, close: bool) -> Callable[[int], None]:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        number = int(environ["PATH_INFO"].rpartition("/")[2])

        def parts() -> Iterator[bytes]:
            with span("streaming"):
                yield b"a"
                assert active_span() is not None
                assert outgoing()["tracestate"] == "a=b"
                leave(number)
                yield b"b"

        return parts()

    wrapped = Wsgi(app)
    return lambda number: called(wrapped, number, close=close)


def flasks() -> Callable[[int], None]:
    app = flask.Flask("leaks")
    traced_flask.install(app)

    @app.get("/orders/<int:order>")
    def order(order: int) -> str:
        leave(order)
        return "well"

    return lambda number: called(app, number)


def messages() -> Callable[[int], None]:
    def work(number: int) -> None:
        with suppress(RuntimeError), received(headers(number), queue="orders"):
            leave(number)

    return work


def jobs() -> Callable[[int], None]:
    def work(number: int) -> None:
        with suppress(RuntimeError), job("bills", number=number):
            leave(number)

    return work


def blocks() -> Callable[[int], None]:
    def work(number: int) -> None:
        with suppress(RuntimeError), context.isolated(), span("a block"):
            leave(number)

    return work


def spans() -> Callable[[int], None]:
    """Spans that end in the wrong order: both are done with in the end."""

    def work(number: int) -> None:
        with context.isolated():
            outer, inner = start_span("outer"), start_span("inner")
            log.info("in %d", number)
            finish_span(outer)
            finish_span(inner)

    return work


def tasks() -> Callable[[int], None]:
    from celery import Celery

    app = Celery("leaks", set_as_current=False)

    @app.task
    def order(number: int) -> None:
        leave(number)

    return lambda number: order.apply(args=(number,), headers=headers(number)) and None


def threads() -> Callable[[int], None]:
    pool = ThreadPoolExecutor(1)

    def work(number: int) -> None:
        with context.isolated(trace_id=f"{number + 1:032x}", span_id=SPAN), suppress(RuntimeError):
            pool.submit(context.wrap(leave), number).result()
        assert pool.submit(here).result() == NOTHING

    return work


KINDS: dict[str, Callable[[], Callable[[int], None]]] = {
    "asgi": asgi,
    "fastapi": fast,
    "wsgi": wsgi,
    "wsgi stream": lambda: streamed(close=True),
    "wsgi stream not closed": lambda: streamed(close=False),
    "flask": flasks,
    "message": messages,
    "job": jobs,
    "block": blocks,
    "spans": spans,
    "celery": tasks,
    "threads": threads,
}
NOTHING = ({}, None, None)


def here() -> tuple[Any, Any, Any]:
    return dict(context.raw()), CARRIED.get(), active_span()


@pytest.fixture
def work(request: pytest.FixtureRequest) -> Iterator[Callable[[int], None]]:
    traced_celery.install()
    logging.getLogger("celery").setLevel(logging.CRITICAL)  # it logs each traceback, too
    try:
        yield KINDS[request.param]()
    finally:
        logging.getLogger("celery").setLevel(logging.NOTSET)
        traced_celery.uninstall()


@pytest.mark.parametrize("work", KINDS, indirect=True)
def test_nothing_is_left_for_the_next(work: Callable[[int], None]) -> None:
    """Not in the thread, and not in a line of the next one's."""
    lines = Lines()
    lines.kept = kept = []
    with logging_to(lines):
        for number in range(7):
            work(number)
            assert here() == NOTHING
    traces = {number: {e["trace_id"] for e in kept if f"in {number}" == e["message"]} for number in range(7)}
    for number, found in traces.items():
        assert len(found) <= 1
        others = set().union(*(ids for other, ids in traces.items() if other != number))
        assert not found & others
        for event in kept:
            if {event["trace_id"]} == found:
                left = {name for name in event if name.startswith("left_")}
                assert left <= {f"left_{number % VARIETY}"}, event
                assert event.get("user_id", f"u-{number}") == f"u-{number}"


@pytest.mark.parametrize("work", sorted(KINDS.keys() - {"wsgi", "block"}), indirect=True)
def test_memory_does_not_grow(work: Callable[[int], None]) -> None:
    """However often it is done: 200 times here, 100,000 under LOGFERRY_EFFORT=10."""
    with logging_to(Lines()):
        for number in range(WARM):
            work(number)
        gc.collect()
        before = sys.getallocatedblocks()
        for number in range(WARM, WARM + ROUNDS):
            work(number)
        gc.collect()
        grown = sys.getallocatedblocks() - before
    assert grown < BLOCKS
