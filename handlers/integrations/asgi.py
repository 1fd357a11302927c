"""ASGI: each request in its own trace context, and one access event at its end.

Rules
- Ids come from the headers (`tracing.from_headers`) or are made; they are bound for the request and nothing
  that was bound during it remains afterwards. The answer carries ``X-Request-ID`` and ``traceparent``.
- `endpoint` is the route's template (``/orders/{id}``), bound as soon as the framework has chosen the route,
  so that a handler's own lines carry it; a path is no endpoint, it would be one of millions.
- One access event per request through ``logferry.access``: INFO, WARNING when it was slow, ERROR from 500 on.
  An unhandled exception is one ERROR with the traceback and status 500; it goes on to the server. A client
  that went away before the answer is status 499, which no rate counts as failed.
- The server logs that exception once more, outside the request's trace. Where its logger has no handler of
  its own, so that both would go to the same place, the access event is the one that is kept.
- The query string is redacted before it is logged anywhere. Bodies and cookies are never looked at.
- A web socket is one event at its end: `method` ``WEBSOCKET``, status 101, or 403 when it was not accepted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from time import perf_counter
from typing import Any, Final, Protocol, TypeAlias

from .. import context, tracing
from ..levels import ACCESS

__all__ = ["TraceMiddleware"]

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

_log: Final = logging.getLogger(ACCESS)
_CLIENT_WENT_AWAY: Final = 499
_SERVERS: Final = ("uvicorn.error", "hypercorn.error")
_TOLD: Final = "__logferry_told__"  # an attribute of exceptions that an access event holds


class CleansUrls(Protocol):
    """Removes secrets from a URL or a path with its query; a `Redactor` does."""

    def clean_url(self, url: str) -> str:
        """Return the redacted URL."""
        ...


class TraceMiddleware:
    """Wraps an ASGI application.

    `slow_ms`: requests that take longer are logged as WARNING (None: never). `redactor` cleans query strings;
    by default a `Redactor` with the built-in rules. `precedence` as in `tracing.from_headers`. `clock`
    returns seconds.
    """

    def __init__(
        self,
        app: App,
        *,
        slow_ms: float | None = 1_000.0,
        redactor: CleansUrls | None = None,
        precedence: tuple[str, ...] = tracing.PRECEDENCE,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        if redactor is None:
            from ..redaction import Redactor

            redactor = Redactor()
        self._app = app
        self._slow_ms = slow_ms
        self._redactor = redactor
        self._precedence = precedence
        self._clock = clock
        for name in _SERVERS:
            logging.getLogger(name).addFilter(_not_told)  # once, however often

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        incoming = tracing.from_headers(headers, self._precedence)
        trace_id = incoming.trace_id or tracing.new_trace_id()
        fields = {
            "trace_id": trace_id,
            "span_id": tracing.new_span_id(),
            "parent_id": incoming.parent_id,
            "request_id": incoming.request_id or trace_id,
            "correlation_id": incoming.correlation_id,
        }
        with context.isolated(**{name: value for name, value in fields.items() if value}):
            exchange = _Exchange(_Scope(scope), send, _answer_headers(fields, sampled=incoming.sampled))
            begun = self._clock()
            error: BaseException | None = None
            try:
                await self._app(exchange.scope, receive, exchange.send)
            except BaseException as raised:
                error = raised
                raise
            finally:
                self._report(exchange, dict(headers), (self._clock() - begun) * 1000, error)

    def _report(
        self, exchange: _Exchange, headers: dict[str, str], duration_ms: float, error: BaseException | None
    ) -> None:
        scope = exchange.scope
        status = exchange.status
        if isinstance(error, asyncio.CancelledError):
            status = status or _CLIENT_WENT_AWAY
            error = None
        elif error is not None or not status:
            status = max(500, exchange.status)
        failed = status >= 500
        path = str(scope.get("path", ""))
        query = scope.get("query_string", b"").decode("latin-1")
        client = scope.get("client")
        extra: dict[str, object] = {
            "kind": "access",
            "method": exchange.method,
            "path": self._redactor.clean_url(f"{path}?{query}") if query else path,
            "status_code": status,
            "duration_ms": round(duration_ms, 3),
            "failed": failed,
            "bytes": exchange.bytes,
        }
        # Bound already, unless the route was chosen in a task of its own, whose context ends with it.
        if scope.endpoint and "endpoint" not in context.current():
            extra["endpoint"] = scope.endpoint
        if client:
            extra["client_ip"] = client[0]
        if "user-agent" in headers:
            extra["user_agent"] = headers["user-agent"]
        slow = self._slow_ms is not None and duration_ms > self._slow_ms
        level = logging.ERROR if failed else logging.WARNING if slow else logging.INFO
        if error is not None and _log.isEnabledFor(level):
            with suppress(Exception):  # an exception may refuse attributes; then it is logged twice
                setattr(error, _TOLD, True)
        _log.log(level, "%s %s %d", exchange.method, path, status, extra=extra, exc_info=error)


def _not_told(record: logging.LogRecord) -> bool:
    """Whether a server's record says what no access event has said, or says it elsewhere."""
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    if not isinstance(error, BaseException) or _TOLD not in BaseException.__getattribute__(error, "__dict__"):
        return True
    logger: logging.Logger | None = logging.getLogger(record.name)
    while logger is not None and logger.parent is not None:
        if logger.handlers or not logger.propagate:
            return True
        logger = logger.parent
    return False


class _Scope(dict[str, Any]):
    """The connection's scope; notices when the framework says which route it has chosen."""

    endpoint = ""

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, value)
        if name == "route":
            self._bind(value)

    def update(self, *args: Any, **kwargs: Any) -> None:
        super().update(*args, **kwargs)
        if "route" in kwargs or any("route" in given for given in args):
            self._bind(self.get("route"))

    def _bind(self, route: object) -> None:
        template = getattr(route, "path_format", None) or getattr(route, "path", None)
        if isinstance(template, str):
            self.endpoint = template
            context.bind(endpoint=template)


class _Exchange:
    """What is seen of one request's answer on its way out."""

    def __init__(self, scope: _Scope, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        self.scope = scope
        self.status = 0
        self.bytes = 0
        self.method = str(scope["method"]) if scope["type"] == "http" else "WEBSOCKET"
        self._send = send
        self._headers = headers

    async def send(self, message: Message) -> None:
        """Note what goes out, add our headers to its beginning, and pass it on."""
        kind = message["type"]
        if kind in {"http.response.start", "websocket.accept", "websocket.http.response.start"}:
            self.status = 101 if kind == "websocket.accept" else int(message["status"])
            ours = {name for name, _ in self._headers}
            theirs = [pair for pair in message.get("headers") or () if pair[0].lower() not in ours]
            message = {**message, "headers": [*theirs, *self._headers]}
        elif kind in {"http.response.body", "websocket.http.response.body"}:
            self.bytes += len(message.get("body") or b"")
        elif kind == "websocket.send":
            self.bytes += len(message.get("bytes") or b"") or len((message.get("text") or "").encode())
        elif kind == "websocket.close" and not self.status:
            self.status = 403
        await self._send(message)


def _answer_headers(fields: dict[str, str], *, sampled: bool | None) -> list[tuple[bytes, bytes]]:
    parent = tracing.format_traceparent(fields["trace_id"], fields["span_id"], sampled=sampled is not False)
    return [(b"x-request-id", fields["request_id"].encode("ascii")), (b"traceparent", parent.encode("ascii"))]
