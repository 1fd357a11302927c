"""ASGI, HTTP and web sockets: each request in its own trace context, and one access event at its end.

    app = TraceMiddleware(app)            # options: `handlers.request.Policy`

Rules (those of every framework stand in `handlers/request/__init__.py`)
- `endpoint` is the route's template (``/orders/{id}``), bound as soon as the framework has chosen the route,
  so that a handler's own lines carry it; a path is no endpoint, it would be one of millions.
- The event is logged with the last byte of the answer: what runs after it (background tasks) doesn't count.
  An answer with a status from 500 on waits for the exception that may follow it: one event, not two.
- An unhandled exception goes on to the server, as it must; where nobody has answered, a plain 500 with the
  request's id is sent first. Inside Starlette (`add_middleware`) that is left to the application when it has
  a handler for it or is in debug mode; its answer then has no ids, for it is made outside of us: wrap the
  application, or use `fastapi.install`.
- The server logs that exception once more: `handlers/request/told.py`.
- Bodies are looked at as the application reads them, and shown only beside an exception. Cookies never are.
- A web socket is one event at its end: `method` ``WEBSOCKET``, status 101, or 403 when it was not accepted.
- Within another TraceMiddleware this one does nothing: one request, one event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias, Unpack

from ..request.exchange import READ, Exchange
from ..request.policy import Options, Policy
from ..request.told import tell_once
from ..tracing import HEADERS

__all__ = ["TraceMiddleware"]

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

_SERVERS: Final = ("uvicorn.error", "hypercorn.error", "gunicorn.error", "asyncio")
_OURS: Final = "logferry.exchange"  # the scope's key for the request's `Exchange`
_TRACE: Final = {name.encode(): name for name in HEADERS}
_READ: Final = {name.encode(): name for name in READ}
_ANSWER: Final = frozenset({b"x-request-id", b"traceparent"})


class TraceMiddleware:
    """Wraps an ASGI application; options as for `handlers.request.Policy`."""

    def __init__(self, app: App, **options: Unpack[Options]) -> None:
        self._app = app
        self._policy = Policy(**options)
        trace = {name.encode("latin-1", "replace"): name for name in self._policy.precedence}
        self._trace = {**_TRACE, **trace}
        tell_once(*_SERVERS)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one connection."""
        kind = scope["type"]
        if (kind != "http" and kind != "websocket") or _OURS in scope:  # noqa: PLR1714 - every request's way
            await self._app(scope, receive, send)
            return
        inside = _Scope(scope)
        request = _Request(self._policy, inside, send, self._trace)
        inside.exchange = exchange = request.exchange
        dict.__setitem__(inside, _OURS, exchange)
        exchange.enter()
        if kind == "websocket" or exchange.expects_body():
            request.source, receive = receive, request.receive
        try:
            await self._app(inside, receive, request.send)
        except asyncio.CancelledError:
            exchange.went_away()
            raise
        except BaseException as error:
            exchange.fail(error)
            if exchange.error is not None and kind == "http" and request.may_answer():
                await request.answer()
            raise
        finally:
            exchange.report()
            exchange.leave()


class _Scope(dict[str, Any]):
    """The connection's scope; notices when the framework says which route it has chosen."""

    __slots__ = ("exchange",)
    exchange: Exchange

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, value)
        if name == "route" and not hasattr(value, "routes"):
            self._found(getattr(value, "path_format", None) or getattr(value, "path", None))

    def update(self, *args: Any, **kwargs: Any) -> None:
        super().update(*args, **kwargs)
        for given in (*args, kwargs):
            if "root_path" in given:  # an application is mounted here; a route of its own may follow
                self._found("/{path}", str(self.get("root_path", "")))
            elif "path_params" in given:
                route = self.get("route")
                if not hasattr(route, "routes"):
                    self._found(getattr(route, "path_format", None) or getattr(route, "path", None))

    def _found(self, template: object, prefix: str | None = None) -> None:
        if isinstance(template, str):
            self.exchange.found_endpoint(_whole(template, prefix, self))


def _whole(template: str, prefix: str | None, scope: MutableMapping[str, Any]) -> str:
    """Return a route's template with what stands before it: what is mounted or included knows its own."""
    given = scope.get("path_params") or {}
    if prefix is None:
        path = str(scope.get("path", ""))
        own = template.count("/")
        for name, value in given.items():
            if f"{{{name}}}" in template:
                own += str(value).count("/")
        if path.count("/") <= own:
            return template
        prefix = path.rsplit("/", own)[0]
    values = {str(value): name for name, value in given.items() if f"{{{name}}}" not in template}
    if values:
        parts = prefix.split("/")
        prefix = "/".join(f"{{{values[part]}}}" if part in values else part for part in parts)
    return prefix + template


class _Request:
    """What is seen of one request and its answer on their way."""

    __slots__ = ("_around", "_send", "_trailers", "exchange", "source", "started")

    source: Receive

    def __init__(self, policy: Policy, scope: _Scope, send: Send, names: dict[bytes, str]) -> None:
        trace: list[tuple[str, str]] = []
        read: dict[str, str] = {}
        for name, value in scope["headers"]:
            if name in names:
                trace.append((names[name], value.decode("latin-1")))
            elif name in _READ:
                key, text = _READ[name], value.decode("latin-1")
                read[key] = f"{read[key]},{text}" if key in read else text
        client = scope.get("client")
        self.exchange = Exchange(
            policy,
            scope["method"] if scope["type"] == "http" else "WEBSOCKET",
            scope.get("path", ""),
            query.decode("latin-1") if (query := scope.get("query_string")) else "",
            trace,
            read,
            client[0] if client else "",
            scope,
        )
        self._around = scope.get("app")  # the Starlette application whose middleware we are
        self._send = send
        self._trailers = False
        self.started = False

    async def receive(self) -> Message:
        """Pass on what comes in, and keep what is to be shown of it."""
        message = await self.source()
        kind = message["type"]
        if kind == "http.request":
            data = message.get("body")
            if data and self.exchange.body is not None:
                self.exchange.body.feed(data)
        elif kind == "http.disconnect" or kind == "websocket.disconnect":  # noqa: PLR1714
            self.exchange.gone = not self.exchange.ended
        return message

    async def send(self, message: Message) -> None:
        """Note what goes out, add our headers to its beginning, and pass it on."""
        kind = message["type"]
        exchange = self.exchange
        last = False
        if kind == "http.response.body":
            body = message.get("body")
            if body:
                exchange.bytes += len(body)
            last = not (message.get("more_body") or self._trailers)
        elif kind == "http.response.start":
            self.started = True
            exchange.status = message["status"]
            if message.get("trailers"):
                self._trailers = True
            message = self._with_ids(message)
        else:
            message, last = self._other(kind, message)
        try:
            await self._send(message)
        except OSError:
            exchange.gone = True
            raise
        if last:
            exchange.end()
            if exchange.status < 500:
                exchange.report()

    def _other(self, kind: str, message: Message) -> tuple[Message, bool]:
        exchange = self.exchange
        if kind in {"websocket.accept", "websocket.http.response.start"}:
            exchange.status = 101 if kind == "websocket.accept" else message["status"]
            return self._with_ids(message), False
        if kind == "websocket.send":
            exchange.bytes += len(message.get("bytes") or b"") or len((message.get("text") or "").encode())
        elif kind == "websocket.http.response.body":
            exchange.bytes += len(message.get("body") or b"")
        elif kind == "websocket.close":
            exchange.status = exchange.status or 403
        elif kind == "http.response.trailers":
            return message, not message.get("more_trailers")
        elif kind == "http.response.pathsend":
            return message, not self._trailers
        elif kind == "http.response.zerocopysend":
            exchange.bytes += message.get("count") or 0
            return message, not (message.get("more_body") or self._trailers)
        return message, False

    def _with_ids(self, message: Message) -> Message:
        request_id, parent = self.exchange.answer_headers()
        headers = [pair for pair in message.get("headers") or () if pair[0].lower() not in _ANSWER]
        headers.append((b"x-request-id", request_id.encode("latin-1")))
        headers.append((b"traceparent", parent.encode("latin-1")))
        return {**message, "headers": headers}

    def may_answer(self) -> bool:
        """Whether it is ours to answer for an exception: nobody has, and the application won't."""
        if self.started:
            return False
        around = self._around
        handlers = getattr(around, "exception_handlers", {})
        return not (getattr(around, "debug", False) or 500 in handlers or Exception in handlers)

    async def answer(self) -> None:
        """Send a plain 500 with the request's id."""
        request_id, _ = self.exchange.answer_headers()
        body = f"Internal Server Error (request {request_id})\n".encode("latin-1")
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
        try:
            await self.send({"type": "http.response.start", "status": 500, "headers": headers})
            await self.send({"type": "http.response.body", "body": body})
        except Exception:  # noqa: BLE001, S110 - the client is gone; the exception of the application counts
            pass
