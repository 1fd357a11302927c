"""The event loop is never held: not by a request's events, while the sink hangs and its spool is full."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Any

import pytest
from servers import faults
from servers.faults import FaultServer

import logferry
from logferry.handlers.integrations.asgi import TraceMiddleware

pytestmark = pytest.mark.integration

LAG = 2.0  # seconds; whoever waited for the sink would wait for its time-out
TIMEOUT = 20


async def shop(scope: Any, receive: Any, send: Any) -> None:
    logging.getLogger("shop").info("viewed %s", scope["path"], extra={"note": "x" * 2_000})
    await asyncio.sleep(0)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


async def served(requests: int) -> float:
    """Serve requests beside a task that looks at the clock; return the longest that it was kept from it."""
    app, lag, over = TraceMiddleware(shop), 0.0, False

    async def watch() -> None:
        nonlocal lag
        while not over:
            before = time.monotonic()
            await asyncio.sleep(0.001)
            lag = max(lag, time.monotonic() - before)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_message: Any) -> None:
        await asyncio.sleep(0)

    watcher = asyncio.create_task(watch())
    await asyncio.sleep(0)  # it looks from before the first request on
    scope = {"type": "http", "method": "GET", "path": "/a", "query_string": b"", "headers": []}
    for _ in range(requests):
        await app(dict(scope), receive, send)
    over = True
    await watcher
    return lag


def test_requests_do_not_wait_for_a_sink_that_hangs(tmp_path: Path) -> None:
    root, before = logging.getLogger(), logging.getLogger().level
    with FaultServer(rest=faults.hang()) as server:
        pipeline = logferry.configure(
            {
                "service": "shop",
                "logging": {"level": "INFO", "console": "off"},
                "spool": {"path": str(tmp_path / "spool"), "max_bytes": "1MiB"},
                "sinks": {"loki": {"type": "loki", "url": server.url, "timeout": f"{TIMEOUT}s"}},
            }
        )
        try:
            lag = asyncio.run(served(2_000))
            account = pipeline.accounts()["loki"]
            evicted = list(tmp_path.rglob("evicted.json"))
        finally:
            logferry.shutdown(0.2)
            root.setLevel(before)
    assert account.delivered == 0, "the sink did not hang"
    assert evicted, "the spool was never full"
    assert lag < LAG
