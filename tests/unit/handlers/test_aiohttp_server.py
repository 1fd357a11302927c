"""aiohttp's server over real sockets: ids in and out, one access event, one ERROR for an exception."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from logferry.handlers import context
from logferry.handlers.integrations.aiohttp import install
from logferry.handlers.testing import Events, capture
from logferry.handlers.tracing import parse_traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
log = logging.getLogger("test.aiohttp")


@pytest.fixture
def events() -> Iterator[Events]:
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)  # who installs ours turns theirs off
    with capture(level="INFO") as captured:
        yield captured
    assert context.current() == {}


async def order(request: web.Request) -> web.Response:
    log.info("looking")
    return web.Response(text="x" * int(request.match_info["order"]))


async def stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"123")
    log.info("part")
    await response.write(b"45")
    return response


async def broken_stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"123")
    raise RuntimeError("broken")


async def boom(request: web.Request) -> web.Response:
    await (request.json() if request.content_type == "application/json" else request.post())
    raise RuntimeError("broken")


async def teapot(request: web.Request) -> web.Response:
    raise web.HTTPConflict(text="no")


async def socket(request: web.Request) -> web.WebSocketResponse:
    response = web.WebSocketResponse()
    await response.prepare(request)
    async for message in response:
        await response.send_str(message.data)
    return response


async def slow(request: web.Request) -> web.Response:
    log.info("sleeping")
    await asyncio.sleep(60)
    return web.Response()


def served(visit: Callable[[TestClient[Any, Any]], Awaitable[None]], **options: Any) -> None:
    app = web.Application()
    install(app, **options)
    app.router.add_get("/orders/{order}", order)
    app.router.add_get("/stream", stream)
    app.router.add_get("/broken", broken_stream)
    app.router.add_post("/boom", boom)
    app.router.add_get("/teapot", teapot)
    app.router.add_get("/ws", socket)
    app.router.add_get("/slow", slow)
    nested = web.Application()
    nested.router.add_get("/orders/{order}", order)
    app.add_subapp("/v2", nested)

    async def main() -> None:
        server = TestServer(app, skip_url_asserts=True)
        async with TestClient(server) as client:
            await visit(client)

    asyncio.run(main())


def test_ids_endpoint_and_access_event(events: Events) -> None:
    """Plain answers, nested applications, and one that says what it is by raising."""

    async def visit(client: TestClient[Any, Any]) -> None:
        headers = {"traceparent": f"00-{TRACE}-{SPAN}-01", "X-Request-ID": "r-1", "X-User": "u-1"}
        async with client.get("/orders/7?password=hunter2", headers=headers) as answer:
            assert answer.headers["X-Request-ID"] == "r-1"
            parent = parse_traceparent(answer.headers["traceparent"])
            assert parent is not None
            assert (parent.trace_id, parent.sampled) == (TRACE, True)
        async with client.get("/v2/orders/7", headers=headers) as answer:
            assert answer.headers["X-Request-ID"] == "r-1"
        async with client.get("/teapot") as answer:
            assert len(answer.headers["X-Request-ID"]) == 32
        async with client.get("/nowhere") as answer:
            assert len(answer.headers["X-Request-ID"]) == 32

    served(visit, user_id=lambda request: request.headers.get("X-User"))
    line, access, _, nested, conflict, missing = events
    for event in (line, access):
        assert (event["trace_id"], event["parent_id"], event["request_id"]) == (TRACE, SPAN, "r-1")
        assert (event["endpoint"], event["user_id"]) == ("/orders/{order}", "u-1")
    assert (access["status_code"], access["bytes"], access["level"]) == (200, 7, "INFO")
    assert nested["endpoint"] == "/v2/orders/{order}"
    assert (conflict["status_code"], conflict["level"]) == (409, "WARNING")
    assert (missing["status_code"], "endpoint" in missing) == (404, False)
    assert b"hunter2" not in b"".join(events.lines)


def test_streams_and_web_sockets(events: Events) -> None:
    """Answers that handlers send themselves have the ids, and are counted to their last byte."""

    async def visit(client: TestClient[Any, Any]) -> None:
        async with client.get("/stream", headers={"X-Request-ID": "r-2"}) as answer:
            assert answer.headers["X-Request-ID"] == "r-2"
            assert await answer.read() == b"12345"
        async with client.ws_connect("/ws") as connection:
            await connection.send_str("hello")
            assert (await connection.receive()).data == "hello"

    served(visit)
    line, access, socket_access = events
    assert line["request_id"] == access["request_id"] == "r-2"
    assert access["bytes"] == 5
    assert (socket_access["method"], socket_access["status_code"]) == ("WEBSOCKET", 101)


def test_exceptions_are_one_error_each(events: Events) -> None:
    """Answered with the id where nothing was sent; with the body's summary; aiohttp's word is no event."""

    async def visit(client: TestClient[Any, Any]) -> None:
        told = {"n": 1, "password": "hunter2"}
        async with client.post("/boom", json=told, headers={"X-Request-ID": "r-3"}) as answer:
            assert (answer.status, answer.headers["X-Request-ID"]) == (500, "r-3")
            assert "r-3" in await answer.text()
        form = aiohttp.FormData({"n": "1", "password": "hunter2"})
        form.add_field("photo", b"123", filename="me.png", content_type="image/png")
        async with client.post("/boom", data=form) as answer:
            assert answer.status == 500
        with pytest.raises(aiohttp.ClientError):
            async with client.get("/broken") as answer:
                await answer.read()

    served(visit)
    json_boom, form_boom, broken = events
    assert [event["logger"] for event in events] == ["logferry.access"] * 3
    assert [event["error"]["type"] for event in events] == ["RuntimeError"] * 3
    assert json_boom["request_body"]["content"]["n"] == 1
    assert form_boom["request_body"]["content"]["photo"] == {"filename": "me.png", "type": "image/png"}
    assert broken["status_code"] == 500
    assert b"hunter2" not in b"".join(events.lines)


def test_a_client_that_goes_away(events: Events) -> None:
    """Cancelled by aiohttp where it is told to: 499, not failed; nothing stays bound."""

    async def main() -> None:
        app = web.Application()
        install(app)
        app.router.add_get("/slow", slow)
        server = TestServer(app, skip_url_asserts=True)
        await server.start_server()
        _reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /slow HTTP/1.1\r\nHost: test\r\n\r\n")
        await writer.drain()
        deadline = asyncio.get_running_loop().time() + 30
        while "test.aiohttp" not in {event["logger"] for event in events}:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.01)
        writer.close()
        await writer.wait_closed()
        while len(events) < 2:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.01)
        await server.close()

    asyncio.run(main())
    _, access = events
    assert (access["status_code"], access["failed"], access["level"]) == (499, False, "INFO")
