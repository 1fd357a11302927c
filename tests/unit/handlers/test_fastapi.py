"""ASGI in depth, with FastAPI and Starlette: templates, 500s, streams, what goes wrong, what stays behind."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from effort import effort
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, Request, WebSocket
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from opentelemetry import trace
from starlette.applications import Starlette
from starlette.routing import Mount, Route
from starlette.websockets import WebSocketDisconnect

from logferry.handlers import context
from logferry.handlers.adapter import LoggerAdapter
from logferry.handlers.forward import ForwardHandler
from logferry.handlers.integrations.asgi import TraceMiddleware
from logferry.handlers.integrations.fastapi import BoundLogger, get_logger, install
from logferry.handlers.propagation import CARRIED, outgoing
from logferry.handlers.record import EventBuilder
from logferry.handlers.redaction import Redactor
from logferry.handlers.schema import Schema
from logferry.handlers.testing import Events, capture

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
log = logging.getLogger("test.fastapi")


@pytest.fixture
def events() -> Iterator[Events]:
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with capture(level="INFO") as captured:
        yield captured


async def hello(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


async def item(item: int, logger: BoundLogger) -> int:
    logger.info("looking")
    return item


def file(path: str, logger: Annotated[LoggerAdapter, Depends(get_logger)]) -> str:
    logger.bind(shelf=3).info("looking")
    return path


def application(**options: Any) -> FastAPI:  # noqa: C901 - seven small functions are not complex
    app = FastAPI()
    inner = APIRouter()
    deeper = APIRouter()
    inner.get("/items/{item}")(item)
    deeper.get("/files/{path:path}")(file)

    @app.post("/boom")
    async def boom(request: Request) -> None:
        assert (await request.json())["n"] == 1
        assert (await request.body())[:1] == b"{"
        raise RuntimeError("broken")

    @app.get("/stream")
    async def stream(broken: bool = False) -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            for number in range(3):
                log.info("part %d", number)
                yield b"12345"
                if broken:
                    raise RuntimeError("broken")

        return StreamingResponse(parts())

    @app.get("/background")
    async def background(tasks: BackgroundTasks, broken: bool = False) -> str:
        def later() -> None:
            log.info("later")
            if broken:
                raise RuntimeError("broken")

        tasks.add_task(later)
        return "now"

    @app.get("/out")
    async def out() -> dict[str, str]:
        return outgoing()

    @app.websocket("/ws/{room}")
    async def room(socket: WebSocket, room: str) -> None:
        await socket.accept()
        log.info("entered")
        await socket.send_text(room)
        await socket.receive_text()

    inner.include_router(deeper, prefix="/shelves/{shelf}")
    app.include_router(inner, prefix="/api/{tenant}")
    nested = Mount("/deep", routes=[Route("/{name}", hello)])
    app.mount("/sub/{kind}", Starlette(routes=[Route("/hello/{name}", hello), nested]))
    install(app, **options)
    install(app, **options)
    return app


def ask(app: Any, path: str, method: str = "GET", **more: Any) -> httpx.Response:
    async def main() -> httpx.Response:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False, client=("10.0.0.1", 4242))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            answer = await client.request(method, path, **more)
        assert context.current() == {}
        assert CARRIED.get() is None
        return answer

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        ("/api/acme/items/7", "/api/{tenant}/items/{item}"),
        ("/api/7/items/7", "/api/{tenant}/items/{item}"),
        ("/api/acme/shelves/3/files/a/b/c.txt", "/api/{tenant}/shelves/{shelf}/files/{path}"),
        ("/sub/x/hello/ann", "/sub/{kind}/hello/{name}"),
        ("/sub/x/deep/ann", "/sub/{kind}/deep/{name}"),
        ("/sub/x/nowhere", "/sub/{kind}/{path}"),
        ("/nowhere", None),
    ],
)
def test_endpoints_are_whole_templates(events: Events, path: str, endpoint: str | None) -> None:
    """Included routers and mounted applications know only their own part; the event knows all of it."""
    ask(application(), path)
    assert [event.get("endpoint") for event in events] == [endpoint] * len(events)
    assert events[-1]["path"] == path


def test_the_bound_logger(events: Events) -> None:
    """Named after the endpoint's module; its lines carry the request's ids; it can be bound further."""
    app = application(user_id=lambda scope: dict(scope["headers"]).get(b"x-user", b"").decode() or None)
    ask(app, "/api/acme/items/7", headers={"X-Request-ID": "r-1", "X-User": "u-1"})
    ask(app, "/api/acme/shelves/3/files/a", headers={"X-Request-ID": "r-2"})
    lines = [event for event in events if event["message"] == "looking"]
    assert [event["logger"] for event in lines] == [__name__] * 2
    assert [event["request_id"] for event in lines] == ["r-1", "r-2"]
    assert [event.get("user_id") for event in lines] == ["u-1", None]
    assert lines[1]["shelf"] == 3


@pytest.mark.parametrize("way", ["install", "around", "added", "handler", "debug"])
def test_an_unhandled_exception_is_one_error_and_the_500_has_the_id(events: Events, way: str) -> None:
    """Whoever answers; with what was in the body, without its secrets; the application can read it."""
    app: Any = FastAPI(debug=way == "debug")

    @app.post("/boom")
    async def boom(request: Request) -> None:
        assert (await request.json())["n"] == 1
        raise RuntimeError("broken")

    if way == "handler":

        @app.exception_handler(Exception)
        async def handler(_request: Request, _error: Exception) -> JSONResponse:
            return JSONResponse({"sorry": True}, 503)

    if way == "around":
        app = TraceMiddleware(app)
    elif way == "added":
        app.add_middleware(TraceMiddleware)
    else:
        install(app)
    answer = ask(app, "/boom", "POST", json={"n": 1, "password": "hunter2"}, headers={"X-Request-ID": "r-1"})
    assert answer.status_code == (503 if way == "handler" else 500)
    assert answer.headers["X-Request-ID"] == "r-1"
    (access,) = events
    assert (access["level"], access["failed"], access["endpoint"]) == ("ERROR", True, "/boom")
    assert access["status_code"] == answer.status_code
    assert access["error"]["type"] == "RuntimeError"
    assert access["request_body"]["content"]["n"] == 1
    assert b"hunter2" not in events.lines[0]


def test_inside_starlette_the_applications_own_answer_stays(events: Events) -> None:
    """Added as a middleware we don't answer where the application does."""
    app = FastAPI()
    app.add_middleware(TraceMiddleware)  # type: ignore[arg-type]

    @app.exception_handler(Exception)
    async def handler(_request: Request, _error: Exception) -> JSONResponse:
        return JSONResponse({"sorry": True}, 503)

    @app.get("/boom")
    async def boom() -> None:
        raise RuntimeError("broken")

    assert ask(app, "/boom").json() == {"sorry": True}
    assert [event["error"]["type"] for event in events] == ["RuntimeError"]


def test_a_bare_application_is_answered_for(events: Events) -> None:
    """Without a framework nobody else would send the id."""

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("broken")

    answer = ask(TraceMiddleware(broken), "/", headers={"X-Request-ID": "r-1"})
    assert (answer.status_code, answer.headers["X-Request-ID"]) == (500, "r-1")
    assert "r-1" in answer.text
    assert [event["error"]["type"] for event in events] == ["RuntimeError"]


def test_streams_end_with_their_last_byte(events: Events) -> None:
    """Lines on the way carry the ids; time and size are those of the whole answer."""
    ask(application(), "/stream", headers={"X-Request-ID": "r-1"})
    assert [event["request_id"] for event in events] == ["r-1"] * 4
    assert events[-1]["bytes"] == 15
    now = [0.0]

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        for _ in range(5):
            now[0] += 0.5
            await send({"type": "http.response.body", "body": b"1", "more_body": now[0] < 2.5})
        now[0] = 100.0

    run(TraceMiddleware(slow, clock=lambda: now[0]), [])
    assert (events[-1]["bytes"], events[-1]["duration_ms"], events[-1]["level"]) == (5, 2500.0, "WARNING")
    ask(application(), "/stream?broken=1")
    access = events[-1]
    assert (access["status_code"], access["bytes"], access["error"]["type"]) == (500, 5, "RuntimeError")


def test_what_runs_after_the_answer_is_not_the_request(events: Events) -> None:
    """The event comes first, and a background task's exception is one of its own, in the same trace."""
    ask(application(), "/background")
    assert [event["message"] for event in events] == ["GET /background 200", "later"]
    ask(application(), "/background?broken=1")
    access, later, error = list(events)[2:]
    assert (access["level"], later["message"], error["level"]) == ("INFO", "later", "ERROR")
    assert error["error"]["type"] == "RuntimeError"
    assert error["trace_id"] == later["trace_id"] == access["trace_id"]


def test_excluded_paths_and_proxies(events: Events) -> None:
    """No event for the one; the client's address behind the other."""
    app = application(exclude=["/sub/*"], trusted_proxies=["10.0.0.0/8"])
    assert "X-Request-ID" in ask(app, "/sub/x/hello/ann").headers
    assert not len(events)
    ask(app, "/out", headers=[("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-For", "1.2.3.4, 10.0.0.9")])
    assert events[0]["client_ip"] == "1.2.3.4"


def test_out_of_the_request_goes_what_came_in(events: Events) -> None:
    """tracestate, the sampling decision and ids of other forms; the next request has none of them."""
    app = application()
    headers = {
        "traceparent": f"00-{TRACE}-{SPAN}-00",
        "tracestate": "a=1",
        "x-trace-id": "t-1",
        "x-request-id": "r-1",
    }
    answer = ask(app, "/out", headers=headers)
    told = answer.json()
    assert told["traceparent"] == f"00-{TRACE}-{events[0]['span_id']}-00" == answer.headers["traceparent"]
    assert (told["tracestate"], told["x-trace-id"], told["x-request-id"]) == ("a=1", "t-1", "r-1")
    assert set(ask(app, "/out").json()) == {"traceparent", "x-request-id"}


def test_opentelemetry_decides_the_trace_where_it_is(events: Events) -> None:
    """Its active span's ids are in the events, in the answer and in what goes out."""
    app = application()
    span_context = trace.SpanContext(
        int(TRACE, 16), int(SPAN, 16), is_remote=False, trace_flags=trace.TraceFlags(1)
    )

    async def around(scope: Any, receive: Any, send: Any) -> None:
        with trace.use_span(trace.NonRecordingSpan(span_context)):
            await app(scope, receive, send)

    answer = ask(around, "/out", headers={"X-Request-ID": "r-1"})
    assert answer.headers["traceparent"] == answer.json()["traceparent"] == f"00-{TRACE}-{SPAN}-01"
    assert answer.headers["X-Request-ID"] == "r-1"
    (access,) = events
    assert (access["trace_id"], access["span_id"], access["request_id"]) == (TRACE, SPAN, "r-1")


def test_one_request_one_event_however_many_middlewares(events: Events) -> None:
    """Around, added and installed."""
    app = application()
    app.add_middleware(TraceMiddleware)  # type: ignore[arg-type]
    ask(TraceMiddleware(app), "/out")
    assert len(events) == 1


def test_install_comes_before_serving() -> None:
    """Too late is said."""
    app = FastAPI()
    ask(app, "/")
    with pytest.raises(RuntimeError, match="too late"):
        install(app)


App = Callable[..., Awaitable[None]]


def run(served: App, incoming: list[dict[str, Any]], send: Any = None, **scope: Any) -> list[dict[str, Any]]:
    """Drive an application by hand, as a server may."""
    sent: list[dict[str, Any]] = []
    waiting = iter(incoming)

    async def receive() -> dict[str, Any]:
        return next(waiting)

    async def collect(message: dict[str, Any]) -> None:
        sent.append(message)

    full = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b"", **scope}

    async def main() -> None:
        await served(full, receive, send or collect)

    asyncio.run(main())
    return sent


def test_a_client_that_leaves_in_the_middle_is_no_error(events: Events) -> None:
    """Sending fails, or the body never comes to its end: not failed, whatever the framework raises."""

    async def gone(_message: Any) -> None:
        raise OSError("client is gone")

    async def answering(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})

    with pytest.raises(OSError, match="gone"):
        run(TraceMiddleware(answering), [], gone)

    class ClientDisconnect(Exception):  # noqa: N818 - Starlette's name
        pass

    async def reading(scope: Any, receive: Any, send: Any) -> None:
        if (await receive())["type"] == "http.disconnect":
            raise ClientDisconnect

    with pytest.raises(ClientDisconnect):
        run(
            TraceMiddleware(reading),
            [{"type": "http.disconnect"}],
            headers=[(b"transfer-encoding", b"chunked")],
        )
    assert [(event["status_code"], event["failed"]) for event in events] == [(200, False), (499, False)]


def test_trailers_files_and_what_never_answers(events: Events) -> None:
    """The last byte is the trailers'; a server may send a file by itself; no answer is a failure."""

    async def trailing(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "trailers": True})
        await send({"type": "http.response.body", "body": b"12"})
        assert not len(events)
        await send({"type": "http.response.trailers", "headers": []})
        assert len(events) == 1

    async def sending(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.zerocopysend", "file": 0, "count": 9, "more_body": True})
        await send({"type": "http.response.pathsend", "path": "/tmp/x"})
        assert len(events) == 2

    async def silent(scope: Any, receive: Any, send: Any) -> None:
        pass

    run(TraceMiddleware(trailing), [])
    run(TraceMiddleware(sending), [])
    run(TraceMiddleware(silent), [])
    assert [(event["status_code"], event["bytes"]) for event in events] == [(200, 2), (200, 9), (500, 0)]


def test_web_sockets_of_a_framework(events: Events) -> None:
    """Lines of the connection have its ids and endpoint; a client that leaves is no failure."""
    incoming = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1001}]
    more = {"type": "websocket", "path": "/ws/blue", "subprotocols": []}
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    with pytest.raises(WebSocketDisconnect):
        run(application(), incoming, send, **more, raw_path=b"/ws/blue", root_path="", scheme="ws")
    assert {name for name, _ in sent[0]["headers"]} >= {b"x-request-id", b"traceparent"}
    line, access = events
    assert line["endpoint"] == access["endpoint"] == "/ws/{room}"
    assert line["request_id"] == access["request_id"]
    assert (access["status_code"], access["failed"], access["bytes"]) == (101, False, 4)


def test_pipelined_requests_share_nothing(events: Events) -> None:
    """A server may begin the next request from within the last one's sending, in its context."""
    tasks: list[asyncio.Task[None]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/first":
            context.bind(user_id="u-1")
        log.info(scope["path"])
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b""})

    served = TraceMiddleware(app)

    def scope(path: str, name: str) -> dict[str, Any]:
        return {"type": "http", "method": "GET", "path": path, "headers": [(b"x-request-id", name.encode())]}

    async def nothing(_message: Any) -> None:
        pass

    async def next_one(message: Any) -> None:
        if message["type"] == "http.response.body":
            tasks.append(asyncio.create_task(served(scope("/second", "2"), nothing, nothing)))

    async def main() -> None:
        await served(scope("/first", "1"), nothing, next_one)
        await asyncio.gather(*tasks)

    asyncio.run(main())
    second = [event for event in events if event["request_id"] == "2"]
    assert [event["message"] for event in second] == ["/second", "GET /second 200"]
    assert not any("user_id" in event for event in second)


def test_cancelled_and_broken_requests_leave_nothing_bound(events: Events) -> None:
    """In the very task that served them."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        context.bind(user_id="u-1")
        if scope["path"] == "/boom":
            raise RuntimeError("broken")
        await asyncio.Event().wait()

    served = TraceMiddleware(app)

    async def nothing(_message: Any) -> None:
        pass

    async def one(path: str) -> None:
        scope = {"type": "http", "method": "GET", "path": path, "headers": [(b"traceparent", b"x")]}
        with suppress(RuntimeError, asyncio.CancelledError):
            await served(scope, nothing, nothing)
        assert context.current() == {}
        assert CARRIED.get() is None

    async def main() -> None:
        await one("/boom")
        task = asyncio.create_task(one("/wait"))
        await asyncio.sleep(0)
        task.cancel()
        await task

    asyncio.run(main())
    assert [event["status_code"] for event in events] == [500, 499]


class Taken:
    """An outlet that keeps nothing."""

    def offer(self, _event: bytes, /) -> bool:
        return True


def resident() -> int:
    gc.collect()
    if not Path("/proc/self/statm").exists():
        pytest.skip("no /proc")
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_memory_after_many_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing grows with paths, ids, clients and exceptions of their own (100,000 requests under prove)."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"].endswith("77"):
            raise RuntimeError(scope["path"])
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"x"})

    served = TraceMiddleware(app, trusted_proxies=["10.0.0.0/8"])
    schema = Schema("tests")
    handler = ForwardHandler(Taken(), EventBuilder(schema, Redactor(schema=schema)))
    access = logging.getLogger("logferry.access")
    monkeypatch.setattr(access, "propagate", False)  # pytest keeps what it sees
    monkeypatch.setattr(access, "handlers", [handler])
    access.setLevel(logging.INFO)

    async def nothing(_message: Any) -> None:
        pass

    async def some(first: int, count: int) -> None:
        for number in range(first, first + count):
            headers = [
                (b"x-request-id", b"request-%d" % number),
                (b"x-forwarded-for", b"10.%d.%d.9" % (number >> 8 & 255, number & 255)),
                (b"user-agent", b"agent %d" % number),
            ]
            scope = {
                "type": "http",
                "method": "GET",
                "path": f"/p/{number}",
                "query_string": b"page=%d" % number,
                "headers": headers,
                "client": ("10.0.0.1", 1),
            }
            with suppress(RuntimeError):
                await served(scope, nothing, nothing)

    requests = effort(10_000)

    async def main() -> None:
        await some(0, 3_000)  # what is remembered is bounded: until it is full
        before = resident()
        await some(3_000, requests)
        grown = resident() - before
        assert grown < 5_000_000, f"{grown} bytes more after {requests} requests"

    asyncio.run(main())
    access.setLevel(logging.NOTSET)
