"""Applications that Python's servers serve, for the tests of what these log: `wsgi` and `asgi`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["asgi", "fail", "wsgi"]


def fail() -> None:
    """Raise an error with a cause and a message of two lines."""
    try:
        {}["card"]
    except KeyError as failed:
        raise ValueError("no card\nat all") from failed


def _late() -> Iterable[bytes]:
    yield b"some"
    raise RuntimeError("late")


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path == "/fails":
        fail()
    if path == "/late":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return _late()
    start_response("404 Not Found" if path == "/missing" else "200 OK", [("Content-Length", "5")])
    return [b"hello"]


async def asgi(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[..., Any]) -> None:
    if scope["type"] == "lifespan":
        for _ in range(2):
            told = await receive()
            await send({"type": f"{told['type']}.complete"})
        return
    if scope["path"] == "/fails":
        fail()
    if scope["path"] == "/group":
        raise ExceptionGroup("two", [ValueError(1), TypeError(2)])
    status = 404 if scope["path"] == "/missing" else 200
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})
