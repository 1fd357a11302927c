"""aiohttp's server: each request in its own trace context, and one access event at its end.

    install(app)                          # options: `handlers.request.Policy`

Rules (those of every framework stand in `handlers/request/__init__.py`)
- `install` puts the middleware around all others. It sends the answer to its end itself, which aiohttp would
  do right after it: only so the last byte is seen. `trace_middleware` gives the middleware alone, which must
  be the first one; an answer that a handler sends by itself (a stream, a web socket) has no ids then.
- `endpoint` is the resource's template (``/orders/{order}``), known from the beginning. The `user_id` hook
  gets aiohttp's request.
- An unhandled exception is answered with a plain 500 that has the request's id; once the answer has begun it
  goes on to aiohttp, which breaks the connection, and whose own record of it is no second event.
- Of a body that belongs to a failed request is shown what the handler has read by `read`, `text`, `json` or
  `post`; what it has streamed is not kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias, Unpack

try:
    from aiohttp import web
except ImportError as error:
    from ._needs import missing

    raise missing("aiohttp", "aiohttp", error) from error

from ..request.exchange import READ, Exchange
from ..request.policy import Options, Policy
from ..request.told import tell_once

__all__ = ["install", "trace_middleware"]

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

# The request's key for its `Exchange`: a text until aiohttp has got keys of its own (3.14).
_EXCHANGE: Final[Any] = (
    web.RequestKey("logferry", Exchange) if hasattr(web, "RequestKey") else "logferry.exchange"
)


def install(app: web.Application, **options: Unpack[Options]) -> None:
    """Give every request of `app` its trace context and its access event.

    Options as for `handlers.request.Policy`. Raises RuntimeError when the application is serving already.
    """
    app.middlewares.insert(0, trace_middleware(**options))
    app.on_response_prepare.append(_prepared)


def trace_middleware(**options: Unpack[Options]) -> Any:
    """Return the middleware; options as for `handlers.request.Policy`."""
    policy = Policy(**options)
    tell_once("aiohttp.server", "aiohttp.web")

    @web.middleware
    async def trace(request: web.Request, handler: Handler) -> web.StreamResponse:
        if _EXCHANGE in request:
            return await handler(request)
        exchange = request[_EXCHANGE] = _made(policy, request)
        exchange.enter()
        resource = request.match_info.route.resource
        if resource is not None:
            exchange.found_endpoint(resource.canonical)
        try:
            return await _serve(exchange, request, handler)
        except asyncio.CancelledError:
            exchange.went_away()
            raise
        finally:
            exchange.report()
            exchange.leave()

    return trace


def _made(policy: Policy, request: web.Request) -> Exchange:
    headers = [(name.lower(), value) for name, value in request.headers.items()]
    read: dict[str, str] = {}
    for name, value in headers:
        if name in READ:
            read[name] = f"{read[name]},{value}" if name in read else value
    peer = request.remote or ""
    return Exchange(policy, request.method, request.path, request.query_string, headers, read, peer, request)


async def _prepared(request: web.Request, response: web.StreamResponse) -> None:
    exchange = request.get(_EXCHANGE)
    if isinstance(exchange, Exchange):
        _put_ids(exchange, response)
        if isinstance(response, web.WebSocketResponse):
            exchange.method = "WEBSOCKET"
        elif not isinstance(response, web.Response):
            write = response.write

            async def counted(data: Any) -> None:
                exchange.bytes += len(data)
                await write(data)

            setattr(response, "write", counted)  # noqa: B010 - mypy: a method


def _put_ids(exchange: Exchange, response: web.StreamResponse) -> None:
    response.headers["X-Request-ID"], response.headers["traceparent"] = exchange.answer_headers()


async def _serve(exchange: Exchange, request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        response = await handler(request)
    except web.HTTPException as answer:
        await _finish(exchange, request, answer)
        raise
    except Exception as error:
        exchange.gone = isinstance(error, ConnectionResetError)
        _look_at_body(exchange, request)
        exchange.fail(error)
        if exchange.error is None or request.writer.output_size > 0:
            raise
        status = 504 if isinstance(error, asyncio.TimeoutError) else 500
        text = f"Internal Server Error (request {exchange.answer_headers()[0]})\n"
        response = web.Response(status=status, text=text)
        response.force_close()
    await _finish(exchange, request, response)
    return response


async def _finish(exchange: Exchange, request: web.Request, response: web.StreamResponse) -> None:
    """Send the answer to its end."""
    exchange.status = response.status
    if not response.prepared:
        _put_ids(exchange, response)
    try:
        await response.prepare(request)
        await response.write_eof()
    except OSError:
        exchange.gone = True  # aiohttp finds out by itself
    exchange.bytes = exchange.bytes or response.content_length or 0
    exchange.end()


def _look_at_body(exchange: Exchange, request: web.Request) -> None:
    read, form = getattr(request, "_read_bytes", None), getattr(request, "_post", None)
    if exchange.expects_body() and exchange.body is not None:
        if read:
            exchange.body.feed(read)
        elif form:
            exchange.body.take_form(
                (name, {"filename": value.filename, "type": value.content_type})
                if isinstance(value, web.FileField)
                else (name, value)
                for name, value in form.items()
            )
