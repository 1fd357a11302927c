"""Receivers in this process that can be killed and come back, and a behaviour that keeps what it gets.

    receiver = Receiver(HttpReceiver())
    receiver.kill(); receiver.start()      # at another address: `receiver.url`

What a receiver has taken it keeps: it is its behaviour's, not the server's.
"""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Self

from .faults import Behaviour, Connection, FaultServer, Request, answer

__all__ = ["HttpReceiver", "Receiver", "ZipkinReceiver"]


class Receiver:
    """A server with one behaviour."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._server: FaultServer | None = None

    @property
    def url(self) -> str:
        """Where it listens now."""
        assert self._server is not None
        return self._server.url

    def become(self, behaviour: Behaviour) -> None:
        """Do that from the next request on."""
        self._behaviour = behaviour
        if self._server is not None:
            self._server.rest = behaviour

    def start(self) -> Self:
        self._server = FaultServer(rest=self._behaviour)
        self._server.__enter__()
        return self

    def kill(self) -> None:
        """End it, with the connections that are open."""
        if self._server is not None:
            self._server.__exit__()
            self._server = None


class HttpReceiver:
    """Keeps events by their id, a request's all or none: with one that it minds (`bad`), 400 for all."""

    def __init__(self, bad: Callable[[Mapping[str, Any]], bool] = lambda _event: False) -> None:
        self.bad = bad
        self.ids: Counter[str] = Counter()

    def __call__(self, connection: Connection, request: Request) -> bool:
        body = request.body
        if request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        events = [json.loads(line) for line in body.splitlines()]
        if any(map(self.bad, events)):
            return answer(400, b"an event is not as agreed")(connection, request)
        self.ids.update(event["event_id"] for event in events)
        return answer(200)(connection, request)


_TRACE, _SPAN = re.compile(r"[0-9a-f]{32}"), re.compile(r"[0-9a-f]{16}")


class ZipkinReceiver:
    """Takes spans as Zipkin does, and as strictly: what it has twice is merged; 400 for all with a bad one.

    `bad` decides what it minds beside what Zipkin minds.
    """

    def __init__(self, bad: Callable[[Mapping[str, Any]], bool] = lambda _span: False) -> None:
        self.bad = bad
        self.spans: dict[tuple[str, str], Mapping[str, Any]] = {}

    def __call__(self, connection: Connection, request: Request) -> bool:
        if (request.method, request.path) != ("POST", "/api/v2/spans"):
            return answer(404, b"no such thing")(connection, request)
        body = request.body
        if request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        spans = json.loads(body)
        if not all(map(self._good, spans)):
            return answer(400, b"malformed reading List<Span> from json")(connection, request)
        self.spans.update({(span["traceId"], span["id"]): span for span in spans})
        return answer(202)(connection, request)

    def _good(self, span: Mapping[str, Any]) -> bool:
        ids = _TRACE.fullmatch(span["traceId"]) and _SPAN.fullmatch(span["id"]) and int(span["id"], 16)
        texts = all(isinstance(value, str) for value in span.get("tags", {}).values())
        return bool(ids) and texts and span["duration"] > 0 and not self.bad(span)
