"""One request: from its headers to its access event. Used by the adapters; knows no framework.

    exchange = Exchange(policy, method, path, query, headers)
    exchange.enter()                      # ids bound; exchange.answer_headers()
    exchange.end(); exchange.report()     # the last byte has gone; the access event
    exchange.leave()                      # what was bound before is bound again

Rules
- `enter` and `leave` belong to the same task or thread. `end` may be called anywhere: it takes the time and
  notes what is bound there, if that is the request's. `report` logs once, whoever calls it first.
- What the application binds (`user_id`, `endpoint`, its own fields) is in the access event as far as it is
  bound where the last byte is sent; the ids are those of `enter`, whatever it binds or clears.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Final

from .. import context
from ..levels import ACCESS
from ..propagation import CARRIED, entered_fields
from ..spans import decide, is_sampled, set_active, set_opening
from ..tracing import from_headers
from .body import Body
from .opening import Opening
from .policy import Policy
from .told import REQUEST, hold

__all__ = ["CLIENT_WENT_AWAY", "READ", "Exchange"]

CLIENT_WENT_AWAY: Final = 499
READ: Final = frozenset(
    {
        *("content-length", "content-type", "forwarded", "transfer-encoding", "user-agent"),
        *("x-forwarded-for",),
    }
)
_log: Final = logging.getLogger(ACCESS)
_request_log: Final = logging.getLogger(REQUEST)


class Exchange:
    """One request.

    `headers` are its trace headers in order, `read` those of `READ`, both by lower-case name; `peer` who
    connected; `request` what the framework calls one.
    """

    __slots__ = (
        *("body", "bytes", "endpoint", "error", "gone", "method", "path", "peer", "policy", "query"),
        *("read", "request", "status", "_answer", "_begun", "_carried", "_ended", "_fields", "_former"),
        *("_active", "_around", "_ids", "_incoming", "_opening", "_reported"),
    )

    def __init__(
        self,
        policy: Policy,
        method: str,
        path: str,
        query: str,
        headers: Iterable[tuple[str, str]],
        read: Mapping[str, str],
        peer: str,
        request: object,
    ) -> None:
        self.policy = policy
        self.method, self.path, self.query, self.peer = method, path, query, peer
        self.read = read
        self.request = request
        self.status = self.bytes = 0
        self.endpoint = ""
        self.error: BaseException | None = None
        self.gone = False
        self.body: Body | None = None
        self._ended = -1.0
        self._reported = False
        self._fields: context.Fields | None = None
        self._incoming = from_headers(headers, policy.precedence)

    def enter(self) -> None:
        """Bind the request's ids."""
        incoming = self._incoming
        self._ids = ids = entered_fields(incoming)
        self._former = former = context.raw()
        self._carried = CARRIED.get()
        self._active = set_active(None)
        if incoming.trace_id or self._carried is not None:
            CARRIED.set(incoming)
        if incoming.sampled is not None:
            decide(incoming.trace_id, incoming.sampled)
        if former and "trace_id" not in former and "request_id" not in former:
            ids = {**former, **ids}
        self._fields = fields = context.replace(ids)
        self._opening = opening = Opening(self.method, self.path, fields)
        opening.over = self.policy.excludes(self.path)  # no access event would say that it has ended
        self._around = set_opening(opening)
        if self.policy.user_id is not None:
            self.ask_user()
        self._begun = self.policy.clock()

    def ask_user(self) -> None:
        """Bind the user, once the hook knows who it is. `request` None: there is nobody to ask yet."""
        if self.policy.user_id is None or self.request is None:
            return
        if "user_id" not in context.raw():
            user = self.policy.ask_user(self.request)
            if user:
                context.bind(user_id=user)

    def found_endpoint(self, template: str) -> None:
        """Bind the route's template: the framework has chosen the route."""
        if template != self.endpoint:
            self.endpoint = template
            context.bind(endpoint=template)

    def expects_body(self) -> bool:
        """Tell whether a body is coming of which something is to be kept; `body` is then there."""
        read = self.read
        length = read.get("content-length", "")
        if self.policy.body_limit and (length not in {"", "0"} or "transfer-encoding" in read):
            self.body = Body(read.get("content-type", ""), length, self.policy.body_limit)
            return True
        return False

    def answer_headers(self) -> tuple[str, str]:
        """Return the values of the answer's ``X-Request-ID`` and ``traceparent``: the ids of its events."""
        ids, incoming = self._ids, self._incoming
        theirs = context.opentelemetry_span()
        if theirs is not None:
            parent = f"{theirs.trace_id:032x}-{theirs.span_id:016x}-0{int(theirs.trace_flags) & 3}"
            return str(ids["request_id"]), f"00-{parent}"
        trace_id = str(ids["trace_id"])
        flags = is_sampled(trace_id) + 2 * incoming.random
        return str(ids["request_id"]), f"00-{trace_id}-{ids['span_id']}-0{flags}"

    def note(self) -> None:
        """Keep what is bound here for the access event, if here is inside the request."""
        here = context.raw()
        if here.get("trace_id") == self._ids["trace_id"]:
            self._fields = here

    def end(self) -> None:
        """Take the time: the last byte has been handed on."""
        if self._ended < 0:
            self._ended = max(self.policy.clock(), 0.0)
            self.note()

    @property
    def ended(self) -> bool:
        """Whether the last byte has been handed on."""
        return self._ended >= 0

    def fail(self, error: BaseException) -> None:
        """Note what ended the request; one that comes after the access event becomes an event of its own."""
        if self.gone and (isinstance(error, OSError) or type(error).__name__ in _DISCONNECTS):
            self.went_away()
        elif not self._reported:
            self.error = error
            self.status = max(self.status, 500)
            if _log.isEnabledFor(logging.ERROR):
                hold(error)  # now: a framework may log it before our event is made
        elif isinstance(error, Exception):
            _request_log.error(
                "unhandled exception after the answer to %s %s", self.method, self.path, exc_info=error
            )
            hold(error)

    def went_away(self) -> None:
        """Note that the client has gone; an answer that had begun keeps its status."""
        self.status = self.status or CLIENT_WENT_AWAY

    def report(self) -> None:
        """Log the access event, if nobody has."""
        if self._reported:
            return
        self._reported = self._opening.over = True
        self.end()
        policy, error, status = self.policy, self.error, self.status or 500
        duration = (self._ended - self._begun) * 1000
        failed = status >= 500
        if failed:
            level = logging.ERROR
        elif duration > policy.slow_ms or (status >= 400 and status != CLIENT_WENT_AWAY):
            level = logging.WARNING
        else:
            level = logging.INFO
        if not _log.isEnabledFor(level) or (error is None and policy.excludes(self.path)):
            return
        here, fields = context.raw(), self._own_fields()
        if fields is not here:
            context.restore(fields)
        try:
            self._log(level, status, round(duration, 3), failed)
        finally:
            if fields is not here:
                context.restore(here)

    def _own_fields(self) -> context.Fields:
        """Return what was bound at the end; with the request's ids, whatever was done to them."""
        fields = self._fields
        assert fields is not None
        ids = self._ids
        if fields.get("trace_id") is not ids["trace_id"] or fields.get("span_id") is not ids["span_id"]:
            fields = context.Fields({**fields, **ids})
        elif "request_id" not in fields:
            fields = context.Fields({**fields, "request_id": ids["request_id"]})
        if self.policy.user_id is not None and self.request is not None and "user_id" not in fields:
            user = self.policy.ask_user(self.request)
            fields = context.Fields({**fields, "user_id": user}) if user else fields
        if self.endpoint and fields.get("endpoint") != self.endpoint:
            fields = context.Fields({**fields, "endpoint": self.endpoint})
        return fields

    def _log(self, level: int, status: int, duration: float, failed: bool) -> None:  # noqa: FBT001 - a field
        policy, read, error, path, query = self.policy, self.read, self.error, self.path, self.query
        extra: dict[str, object] = {
            "kind": "access",
            "method": self.method,
            "path": policy.redactor.clean_url(f"{path}?{query}") if query else path,
            "status_code": status,
            "duration_ms": duration,
            "failed": failed,
            "bytes": self.bytes,
        }
        client = self.peer
        if policy.clients.any:
            client = policy.clients(client, read.get("x-forwarded-for", ""), read.get("forwarded", ""))
        if client:
            extra["client_ip"] = client
        if "user-agent" in read:
            extra["user_agent"] = read["user-agent"]
        exc_info = None
        if error is not None:
            exc_info = (type(error), error, error.__traceback__)
            told = self.body.summary(policy.redactor) if self.body is not None else None
            if told is not None:
                extra["request_body"] = told
        # A record without a search for its caller: nobody but us logs here.
        make = logging.getLogRecordFactory()
        arguments = (self.method, path, status)
        record = make(ACCESS, level, __file__, _LINE, "%s %s %d", arguments, exc_info, "report")
        record.__dict__.update(extra)
        _log.handle(record)

    def leave(self) -> None:
        """Bind again what was bound before the request."""
        if not self._reported:
            self.note()
        context.restore(self._former)
        set_active(self._active)
        set_opening(self._around)
        self._active = self._around = None
        if CARRIED.get() is not self._carried:
            CARRIED.set(self._carried)


_LINE: Final = Exchange.report.__code__.co_firstlineno
_DISCONNECTS: Final = {"ClientDisconnect", "ClientDisconnected", "WebSocketDisconnect"}
