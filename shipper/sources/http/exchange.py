"""Requests and answers on one connection: h11 knows the protocol, this reads, writes and bounds.

Rules

- A head has at most 64 KiB, a body `max_bytes`. All bodies that are being read have `Budget.most` together;
  beyond it a request is refused with 503, for a moment.
- A request has `request` seconds to arrive, whole; a connection without one `idle` seconds.
- What is refused before its body was read gets its answer, and a moment to see it; the connection ends.
- What is no HTTP gets 400, and the connection ends; it is said.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ...diagnostics import say
from ..listen.streams import Connection

if TYPE_CHECKING:
    import h11

__all__ = ["Answer", "Budget", "Limits", "Request", "converse", "refusal"]

_HEAD: Final = 64 * 1024
_LINGER: Final = 2.0  # seconds that a refused sender has to see why
_SEND: Final = 30.0
_PHRASES: Final[Mapping[int, bytes]] = {
    100: b"Continue",
    200: b"OK",
    201: b"Created",
    204: b"No Content",
    400: b"Bad Request",
    401: b"Unauthorized",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    413: b"Content Too Large",
    415: b"Unsupported Media Type",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    503: b"Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked. Names of headers are in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered."""

    status: int
    body: bytes = b""
    kind: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds and bytes."""

    max_bytes: int
    idle: float
    request: float


@dataclass(slots=True)
class Budget:
    """Bytes that all bodies in the making may have together."""

    most: int
    held: int = 0

    def take(self, number: int) -> bool:
        """Hold `number` bytes; False: there is no room for them."""
        if self.held + number > self.most:
            return False
        self.held += number
        return True


Admit = Callable[[Request], Answer | None]
"""Looks at a request without its body; an answer refuses it."""
App = Callable[[Request], Awaitable[Answer]]


class _RefusedError(Exception):
    """The body will not be read."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        super().__init__(answer.status)


def refusal(status: int, text: str, after: int = 0) -> Answer:
    """Return an answer that says why not, and (with `after`) when to come again."""
    headers = {"Retry-After": str(after)} if after else {}
    return Answer(status, text.encode() + b"\n", headers=headers)


async def converse(
    connection: Connection, admit: Admit, app: App, limits: Limits, budget: Budget, name: str = ""
) -> None:
    """Answer one request after the other until the connection ends. `name` is the source's."""
    import h11

    protocol = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD)
    talk = _Talk(connection, protocol, limits, budget, name)
    while await talk.one(admit, app):
        pass


@dataclass(slots=True)
class _Talk:
    """One connection."""

    connection: Connection
    protocol: h11.Connection
    limits: Limits
    budget: Budget
    name: str

    async def one(self, admit: Admit, app: App) -> bool:
        """Take one request and answer it; False: it was the last one."""
        import h11

        connection = self.connection
        connection.busy = False
        try:
            head = await self._head()
            if not isinstance(head, h11.Request):
                return False
            connection.busy = True
            request = _request(head)
            body = await self._body(head, admit(request))
        except _RefusedError as refused_error:
            await self._refuse(refused_error.answer)
            return False
        except h11.RemoteProtocolError as error:
            text = f"source {self.name}: what {connection.peer} sent is no whole request: {error}"
            say("WARNING", text, f"{self.name} protocol")
            if self.protocol.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                await self._refuse(refusal(error.error_status_hint, str(error)))
            return False
        if body is None:
            return False
        try:
            whole = Request(request.method, request.path, request.query, request.headers, bytes(body))
            answer = await app(whole)
        finally:
            self.budget.held -= len(body)
        await self._send(answer, head_only=request.method == "HEAD")
        connection.busy = False
        if self.protocol.our_state is not h11.DONE or connection.ended:
            return False
        self.protocol.start_next_cycle()
        return True

    async def _head(self) -> Any:
        """Return the next request's head; it may be long in coming, but not once it has begun."""
        import h11

        event = self.protocol.next_event()
        if event is h11.NEED_DATA:
            self.protocol.receive_data(await self.connection.read(self.limits.idle))
            async with asyncio.timeout(self.limits.request):
                event = await self._event(None)
        return event

    async def _event(self, seconds: float | None) -> Any:
        """Return the next part of what the sender says."""
        import h11

        while True:
            event = self.protocol.next_event()
            if event is not h11.NEED_DATA:
                return event
            if self.protocol.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[], reason=_PHRASES[100])
                await self.connection.write(self.protocol.send(go_on) or b"", _SEND)
            self.protocol.receive_data(await self.connection.read(seconds))

    async def _body(self, head: h11.Request, refused: Answer | None) -> bytearray | None:
        """Return the body, unless it is `refused`; None: the sender has gone."""
        import h11

        if refused is not None:
            raise _RefusedError(refused)
        limit = self.limits.max_bytes
        length = dict(head.headers).get(b"content-length", b"0")
        if len(length) > 12 or int(length) > limit:
            raise _RefusedError(_too_large(limit))
        body = bytearray()
        whole = False
        try:
            async with asyncio.timeout(self.limits.request):
                while isinstance(event := await self._event(None), h11.Data):
                    if len(body) + len(event.data) > limit:
                        raise _RefusedError(_too_large(limit))
                    if not self.budget.take(len(event.data)):
                        raise _RefusedError(refusal(503, "too many requests at a time", 1))
                    body += event.data
            whole = isinstance(event, h11.EndOfMessage)
        except TimeoutError:
            raise _RefusedError(refusal(408, "the request did not arrive in time")) from None
        finally:
            if not whole:
                self.budget.held -= len(body)
        return body if whole else None

    async def _send(self, answer: Answer, *, head_only: bool = False, last: bool = False) -> None:
        import h11

        headers = [(name, value) for name, value in answer.headers.items()]
        if answer.status != 204:
            headers += [("Content-Type", answer.kind), ("Content-Length", str(len(answer.body)))]
        if last:
            headers.append(("Connection", "close"))
        reason = _PHRASES.get(answer.status, b"")
        send = self.protocol.send
        data = send(h11.Response(status_code=answer.status, headers=headers, reason=reason)) or b""
        if answer.body and not head_only:
            data += send(h11.Data(data=answer.body)) or b""
        data += send(h11.EndOfMessage()) or b""
        await self.connection.write(data, _SEND)

    async def _refuse(self, answer: Answer) -> None:
        """Answer before the body was read. Ended at once, the connection would take the answer with it."""
        await self._send(answer, last=True)
        left = self.limits.max_bytes
        with suppress(OSError, RuntimeError, TimeoutError):
            if self.connection.writer.can_write_eof():
                self.connection.writer.write_eof()
            async with asyncio.timeout(_LINGER):
                while left > 0 and (data := await self.connection.read()):
                    left -= len(data)


def _too_large(limit: int) -> Answer:
    return refusal(413, f"a request may have at most {limit} bytes")


def _request(head: h11.Request) -> Request:
    target = head.target.decode("ascii", "replace")
    path, _, query = target.partition("?")
    headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
    return Request(head.method.decode("ascii"), path, query, headers)
