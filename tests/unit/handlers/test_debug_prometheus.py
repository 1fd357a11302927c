"""`/debug/tasks` and `/metrics`: what they say, and to whom."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson
import pytest

from logferry.handlers.integrations.asyncio import background, install
from logferry.handlers.integrations.debug import debug_app
from logferry.handlers.integrations.prometheus import MetricsMiddleware, metrics_app, timeit, watch_loop

App = Callable[..., Awaitable[None]]
LOCAL = ("127.0.0.1", 5000)


async def ask(
    app: App,
    path: str = "/debug/tasks",
    *,
    client: Any = LOCAL,
    method: str = "GET",
    query: str = "",
    **headers: str,
) -> tuple[int, dict[str, str], bytes]:
    sent: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b""}

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "client": client,
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }
    await app(scope, receive, send)
    given = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], given, b"".join(message.get("body", b"") for message in sent[1:])


def test_it_shows_the_tasks_to_the_loopback() -> None:
    async def main() -> None:
        install()
        task = background(asyncio.sleep(60), name="sleeper", daemon=True)
        await asyncio.sleep(0)
        status, headers, body = await ask(debug_app())
        assert status == 200
        assert headers["cache-control"] == "no-store"
        told = orjson.loads(body)
        assert told["counts"]["sleep"] == 1
        (one,) = [entry for entry in told["tasks"] if entry["name"] == "sleeper"]
        assert (one["waiting"], one["daemon"]) == ("sleep", True)
        text = (await ask(debug_app(), query="format=text"))[2].decode()
        assert "sleeper · sleep · waits for sleep" in text
        assert b"sleeper" not in (await ask(debug_app(), query="daemons=0"))[2]
        assert b"sleeper" not in (await ask(debug_app(hide=("sleep*",))))[2]
        assert (await ask(debug_app(), client=("::1", 1), method="HEAD"))[::2] == (200, b"")
        task.cancel()

    asyncio.run(main())


@pytest.mark.parametrize(
    "request_",
    [
        {"client": ("10.0.0.7", 1)},
        {"client": ("192.0.2.1", 1)},
        {"client": None},
        {"client": ("/run/socket", 0)},
        {"x_forwarded_for": "10.0.0.7"},
        {"forwarded": "for=10.0.0.7"},
        {"method": "POST"},
        {"path": "/debug"},
    ],
)
def test_nobody_else_is_told_that_it_is_there(request_: dict[str, Any]) -> None:
    status, _, body = asyncio.run(ask(debug_app(), **request_))
    assert (status, body) == (404, b'{"detail":"Not Found"}')


def test_with_a_token_only_the_token_counts() -> None:
    app = debug_app(token="s3cret")

    async def main() -> list[int]:
        far = ("192.0.2.1", 1)
        return [
            (await ask(app))[0],
            (await ask(app, authorization="Bearer wrong"))[0],
            (await ask(app, authorization="Bearer "))[0],
            (await ask(app, client=far, authorization="Bearer s3cret"))[0],
        ]

    assert asyncio.run(main()) == [404, 404, 404, 200]


async def metrics() -> str:
    return (await ask(metrics_app(), "/metrics"))[2].decode()


def test_requests_are_counted_by_route_also_when_they_fail() -> None:
    class Route:
        path_format = "/orders/{id}"

    async def shop(scope: MutableMapping[str, Any], _receive: Any, send: Any) -> None:
        scope["route"] = Route()
        if scope["path"].endswith("13"):
            raise ValueError("unlucky")
        await send({"type": "http.response.start", "status": 201, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    async def main() -> str:
        app = MetricsMiddleware(shop)
        await ask(app, "/orders/1")
        await ask(app, "/orders/2")
        with pytest.raises(ValueError, match="unlucky"):
            await ask(app, "/orders/13")
        return await metrics()

    text = asyncio.run(main())
    assert 'http_requests_total{endpoint="/orders/{id}",method="GET",status="201"} 2.0' in text
    assert 'http_requests_total{endpoint="/orders/{id}",method="GET",status="500"} 1.0' in text
    assert 'http_request_duration_seconds_count{endpoint="/orders/{id}",method="GET"} 3.0' in text
    assert "http_requests_in_progress 0.0" in text


def test_functions_are_timed_and_the_loop_is_watched() -> None:
    @timeit("test_later")
    async def later() -> int:
        await asyncio.sleep(0)
        return 1

    @timeit("test_now")
    def now() -> int:
        return 2

    async def main() -> str:
        watch = watch_loop(interval=0.01)
        assert await later() + now() == 3
        async with asyncio.timeout(10):
            while 'asyncio_tasks{waiting="sleep"} 1.0' not in await metrics():  # noqa: ASYNC110 - a page
                await asyncio.sleep(0.01)
        watch.cancel()
        return await metrics()

    text = asyncio.run(main())
    assert "test_later_seconds_count 1.0" in text
    assert "test_now_seconds_count 1.0" in text
    assert "asyncio_loop_lag_seconds" in text
