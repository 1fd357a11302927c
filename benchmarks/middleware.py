"""What the ASGI middleware adds to a request, its access event included.

    python benchmarks/middleware.py [--requests 20000] [--rounds 3] [--json FILE]

A bare ASGI application answers in turns with and without the middleware around it, in one process of its own;
the access event is made and redacted, and handed to an outlet that takes it. The smallest CPU time of either
counts; what is added is the difference. The ratio is that to the floor of all benchmarks, a log call with a
handler that does nothing, so that it holds on any machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from machine import write
from one_record import Nothing, Taken
from rows import Row, plain, text

__all__ = ["SECTION", "measure"]

SECTION = "middleware"
PLAIN = [
    (b"host", b"shop.internal"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64)"),
    (b"accept", b"*/*"),
    (b"accept-encoding", b"gzip, br"),
    (b"connection", b"keep-alive"),
]
TRACED = [
    *PLAIN,
    (b"x-request-id", b"5d8c8a9e-6f0b-4a53-8a6b-6a8d0f8c6d11"),
    (b"traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
]
# name → headers, query string
REQUESTS: dict[str, tuple[list[tuple[bytes, bytes]], bytes]] = {
    "a request without ids": (PLAIN, b""),
    "a request with traceparent and X-Request-ID": (TRACED, b""),
    "a request with ids and a query": (TRACED, b"page=2&sort=price"),
}
_PORTION = 500


async def bare(_scope: Any, receive: Any, send: Any) -> None:
    """Answer as the smallest application does."""
    await receive()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"13")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b'{"ok":"true"}'})


async def receive() -> dict[str, Any]:
    """Give the body of a GET."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(_message: Any) -> None:
    """Send nothing anywhere."""


async def serve(app: Any, headers: list[tuple[bytes, bytes]], query: bytes) -> float:
    """Return the seconds of CPU time that some requests take."""
    began = time.process_time()
    for number in range(_PORTION):
        scope = {
            "type": "http",
            "method": "GET",
            "path": f"/orders/{number}",
            "query_string": query,
            "headers": headers,
            "client": ("10.1.2.3", 4242),
        }
        await app(scope, receive, send)
    return time.process_time() - began


def log_nothing(floor: logging.Logger) -> float:
    """Return the seconds of CPU time that as many log calls take which do nothing."""
    began = time.process_time()
    for number in range(_PORTION):
        floor.info("GET %s %d", "/orders", number, extra={"order_id": 42})
    return time.process_time() - began


async def turns(name: str, requests: int) -> dict[str, float]:
    """Return the figures of one kind of request."""
    from logferry.handlers.forward import ForwardHandler
    from logferry.handlers.integrations.asgi import TraceMiddleware
    from logferry.handlers.record import EventBuilder
    from logferry.handlers.redaction import Redactor
    from logferry.handlers.schema import Schema

    schema = Schema("bench")
    loggers = {"logferry.access": ForwardHandler(Taken(), EventBuilder(schema, Redactor(schema=schema)))}
    for logger, handler in {**loggers, "floor": Nothing()}.items():
        log = logging.getLogger(logger)
        log.setLevel(logging.INFO)
        log.propagate = False
        log.addHandler(handler)
    floor = logging.getLogger("floor")
    app = TraceMiddleware(bare)
    await serve(app, *REQUESTS[name])  # imports, caches, code for the combination of names
    costs = [
        (await serve(app, *REQUESTS[name]), await serve(bare, *REQUESTS[name]), log_nothing(floor))
        for _ in range(max(5, requests // _PORTION))
    ]
    around, alone, nothing = (min(some) / _PORTION * 1e6 for some in zip(*costs, strict=True))
    return {"cpu": around - alone, "ratio": (around - alone) / nothing, "floor": nothing, "bare": alone}


def measure(requests: int = 20_000, rounds: int = 3) -> list[Row]:
    """Measure each kind of request in processes of their own; the lowest counts."""
    rows = []
    for name in REQUESTS:
        asked = [sys.executable, __file__, "--ask", name, "--requests", str(requests)]
        found = [
            json.loads(subprocess.run(asked, check=True, capture_output=True, text=True).stdout)
            for _ in range(rounds)
        ]
        best = min(found, key=lambda figures: figures["ratio"])
        rows.append(Row(SECTION, name, {"cpu": best["cpu"], "ratio": best["ratio"]}))
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ask", help="measure this one in this process, and print JSON")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    if given.ask:
        print(json.dumps(asyncio.run(turns(given.ask, given.requests))))
        return
    rows = measure(given.requests, given.rounds)
    print(text(rows))
    if given.json:
        write(given.json, {"rows": plain(rows)})


if __name__ == "__main__":
    main()
