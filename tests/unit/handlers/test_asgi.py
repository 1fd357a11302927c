"""The ASGI middleware: ids in and out, one access event, nothing left behind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from logferry.handlers import context
from logferry.handlers.integrations.asgi import TraceMiddleware
from logferry.handlers.testing import Events, capture
from logferry.handlers.tracing import parse_traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
log = logging.getLogger("test.asgi")


@pytest.fixture
def events() -> Iterator[Events]:
    with capture(level="INFO") as captured:
        yield captured


def application() -> FastAPI:
    app = FastAPI()

    @app.get("/orders/{order}")
    async def order(order: int) -> dict[str, int]:
        context.bind(user_id="u-1")
        log.info("looking")
        return {"order": order}

    @app.get("/sync/{order}")
    def sync(order: int) -> dict[str, int]:
        log.info("looking")
        return {"order": order}

    @app.get("/boom")
    async def boom() -> None:
        raise RuntimeError("broken")

    return app


def get(app: Any, path: str, **headers: str) -> httpx.Response:
    async def main() -> httpx.Response:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            answer = await client.get(path, headers=headers)
        assert context.current() == {}
        return answer

    logging.getLogger("httpx").setLevel(logging.WARNING)
    return asyncio.run(main())


@pytest.mark.parametrize("kind", ["orders", "sync"])
def test_ids_endpoint_and_access_event(events: Events, kind: str) -> None:
    """The caller's trace goes on; lines of the request and its access event share it, with the route."""
    answer = get(
        TraceMiddleware(application()),
        f"/{kind}/7?password=hunter2&page=2",
        traceparent=f"00-{TRACE}-{SPAN}-01",
        **{"x-request-id": "r-1", "user-agent": "tests"},
    )
    line, access = events
    assert line["trace_id"] == access["trace_id"] == TRACE
    assert line["parent_id"] == SPAN
    assert line["request_id"] == "r-1"
    assert line["endpoint"] == access["endpoint"] == f"/{kind}/{{order}}"
    assert "extra" not in access  # nothing collided
    assert answer.headers["x-request-id"] == "r-1"
    assert parse_traceparent(answer.headers["traceparent"]) == (TRACE, access["span_id"], True)
    assert (access["kind"], access["method"], access["status_code"], access["failed"]) == (
        "access",
        "GET",
        200,
        False,
    )
    assert (access["level"], access["logger"]) == ("INFO", "logferry.access")
    assert access["bytes"] == len(answer.content)
    assert access["client_ip"] == "127.0.0.1"
    assert access["user_agent"] == "tests"
    assert access["duration_ms"] >= 0
    assert access["path"].startswith(f"/{kind}/7?")
    assert "page=2" in access["path"]
    assert b"hunter2" not in b"".join(events.lines)


def test_the_record_itself_holds_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    """Other handlers see the record too: its path is redacted before it is logged."""
    with caplog.at_level("INFO", "logferry.access"):
        get(TraceMiddleware(application()), "/orders/7?password=hunter2")
    (access,) = [record for record in caplog.records if record.name == "logferry.access"]
    assert "hunter2" not in str(access.__dict__)


def test_without_headers_ids_are_made(events: Events) -> None:
    """A request without ids, or with malformed ones, gets new ones; the answer tells them."""
    answer = get(TraceMiddleware(application()), "/orders/7", **{"x-request-id": "<script>"})
    access = events[-1]
    assert answer.headers["x-request-id"] == access["request_id"] == access["trace_id"]
    assert "parent_id" not in access


@pytest.mark.parametrize("inside", [True, False])
def test_an_unhandled_exception_is_one_error(events: Events, inside: bool) -> None:
    """One ERROR with traceback and status 500, added as middleware or wrapped around; it goes on."""
    app: Any = application()
    if inside:
        app.add_middleware(TraceMiddleware)
    else:
        app = TraceMiddleware(app)
    assert get(app, "/boom").status_code == 500
    access = events.find(level="ERROR")
    assert (access["status_code"], access["failed"], access["endpoint"]) == (500, True, "/boom")
    assert access["error"]["type"] == "RuntimeError"


def test_slow_and_missing(events: Events) -> None:
    """A slow answer is a WARNING; what no route serves has no endpoint."""
    ticks = iter([0.0, 2.5])
    get(TraceMiddleware(application(), clock=lambda: next(ticks)), "/nowhere")
    access = events[-1]
    assert (access["level"], access["duration_ms"], access["status_code"]) == ("WARNING", 2500.0, 404)
    assert "endpoint" not in access


async def run(app: Any, scope: dict[str, Any]) -> list[Any]:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await TraceMiddleware(app)({"path": "/ws", "headers": [], **scope}, receive, send)
    return sent


def test_web_sockets(events: Events) -> None:
    """One event at the end: 101 when accepted, 403 when not; ids are in the acceptance."""

    async def accepting(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "hé"})
        await send({"type": "websocket.close"})

    async def refusing(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.close"})

    sent = asyncio.run(run(accepting, {"type": "websocket"}))
    asyncio.run(run(refusing, {"type": "websocket"}))
    assert {name for name, _ in sent[0]["headers"]} == {b"x-request-id", b"traceparent"}
    assert [(e["method"], e["status_code"], e["bytes"]) for e in events] == [
        ("WEBSOCKET", 101, 3),
        ("WEBSOCKET", 403, 0),
    ]


def test_a_client_that_went_away(events: Events) -> None:
    """Cancelled before an answer: status 499, not failed, and the cancellation goes on."""

    async def cancelled(scope: Any, receive: Any, send: Any) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run(cancelled, {"type": "http", "method": "GET"}))
    assert (events[0]["status_code"], events[0]["failed"], events[0]["level"]) == (499, False, "INFO")

    async def passed(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "lifespan"

    asyncio.run(run(passed, {"type": "lifespan"}))
    assert len(events) == 1


def test_the_servers_word_on_an_exception_is_not_kept_beside_ours(events: Events) -> None:
    """uvicorn logs the exception again: no event twice, and the server's own file has it all the same."""
    server = logging.getLogger("uvicorn.error")
    middleware = TraceMiddleware(application())

    async def serve() -> None:
        scope = {"type": "http", "method": "GET", "path": "/boom", "headers": [], "query_string": b""}

        async def receive() -> Any:
            return {"type": "http.request"}

        async def send(_message: Any) -> None:
            pass

        try:
            await middleware(dict(scope), receive, send)
        except RuntimeError as error:  # as uvicorn's run_asgi does
            server.error("Exception in ASGI application\n", exc_info=error)

    asyncio.run(serve())
    assert [(event["logger"], event["error"]["type"]) for event in events] == [
        ("logferry.access", "RuntimeError")
    ]
    had: list[logging.LogRecord] = []
    own = logging.NullHandler()  # the server's own log file
    own.handle = had.append  # type: ignore[method-assign,assignment]
    server.addHandler(own)
    try:
        asyncio.run(serve())
    finally:
        server.removeHandler(own)
    assert [event["logger"] for event in events][1:] == ["logferry.access"]
    assert [record.name for record in had] == ["uvicorn.error"]
    try:
        raise ValueError("the server's own")
    except ValueError as error:
        server.error("no request", exc_info=error)
    assert events[-1]["error"]["type"] == "ValueError"
