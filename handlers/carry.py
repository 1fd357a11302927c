"""The trace out of this task and into the next: headers of messages, the environment of subprocesses.

    producer.send("orders", value, headers=inject_headers([]))
    with received(message.headers()):           # in the consumer: one message, one context
        ...
    subprocess.run(command, env=to_environ())   # and in the child: from_environ()

Rules
- A carrier is a mapping (names in any case, values text or bytes), a list of pairs as Kafka's, or None.
- What the caller has put in by hand stays: headers are only added where no header of that name is.
- Where no trace is in force one is made for what is sent, and forgotten again: one message, one trace.
- What comes in is read as a request's headers are (`tracing.from_headers`): a message is input from
  strangers.
- One message is one context: what was bound for the one before (request, user, endpoint) is not its own, and
  what is bound while it is handled does not remain. Its span has the sender's as its parent.
- The environment is read once, at the start of the process, and bound for good.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, TypeAlias, TypeVar, cast

from . import context
from .spans import SpanKind, decide, is_sampled, span
from .tracing import (
    Incoming,
    format_traceparent,
    from_headers,
    is_span_id,
    is_trace_id,
    new_span_id,
    new_trace_id,
)

__all__ = [
    "Carrier",
    "Received",
    "extract_headers",
    "from_environ",
    "inject_headers",
    "outgoing",
    "received",
    "to_environ",
]

Carrier: TypeAlias = Mapping[Any, Any] | Iterable[tuple[Any, Any]] | None
C = TypeVar("C", bound=MutableMapping[Any, Any] | list[Any])

_OF_ONE_MESSAGE: Final = (
    *("trace_id", "span_id", "parent_id", "request_id", "correlation_id", "user_id", "endpoint"),
)
_ENVIRON: Final = {"TRACEPARENT": "traceparent", "TRACESTATE": "tracestate", "X_REQUEST_ID": "x-request-id"}


def outgoing() -> dict[str, str]:
    """Return the headers of the trace in force; of a new one where there is none."""
    ids = context.get_trace_context()
    trace_id = ids.trace_id if is_trace_id(ids.trace_id) else new_trace_id()
    span_id = ids.span_id if is_span_id(ids.span_id) else new_span_id()
    sampled = is_sampled(trace_id)
    found = {"traceparent": format_traceparent(trace_id, span_id, sampled=sampled)}
    request_id = context.current().get("request_id")
    if isinstance(request_id, str) and request_id:
        found["X-Request-ID"] = request_id
    return found


def inject_headers(carrier: C, headers: Mapping[str, str] | None = None) -> C:
    """Add the trace (or `headers`) to the headers of a message, and return them.

    A mapping, or a list of pairs.
    """
    ours = outgoing() if headers is None else headers
    there = {_text(name).lower() for name, _ in _pairs(carrier)}
    for name, value in ours.items():
        if name.lower() not in there:
            if isinstance(carrier, list):
                carrier.append((name.lower(), value.encode("ascii", "replace")))
            else:
                cast("MutableMapping[Any, Any]", carrier)[name.lower()] = value
    return carrier


def extract_headers(carrier: Carrier) -> Incoming:
    """Read the trace that a message belongs to; never raises for what its headers hold."""
    return from_headers([(_text(name), _text(value)) for name, value in _pairs(carrier)])


def _pairs(carrier: Carrier) -> list[tuple[Any, Any]]:
    if carrier is None:
        return []
    pairs = carrier.items() if isinstance(carrier, Mapping) else carrier
    return [pair for pair in pairs if isinstance(pair, tuple) and len(pair) == 2]


def _text(value: object) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("latin-1")
    return value if isinstance(value, str) else ""


class Received:
    """One message's context, for those who cannot use a `with` block.

    `begin`, then `end` in the same task.
    """

    __slots__ = ("_block", "_fields", "_incoming", "_span")

    def __init__(
        self, incoming: Incoming, name: str, fields: Mapping[str, object], kind: SpanKind = "consumer"
    ) -> None:
        self._incoming = incoming
        self._fields = fields
        self._span = span(name, span_kind=kind)
        self._block: AbstractContextManager[object] | None = None

    def begin(self) -> None:
        """Bind the message's trace."""
        incoming = self._incoming
        fields = self._bound_fields()
        self._block = context.isolated()
        self._block.__enter__()
        context.clear()
        context.bind(**fields)
        decide(incoming.trace_id, incoming.sampled)
        self._span.__enter__()
        if not incoming.request_id:
            context.bind(request_id=context.get_trace_context().trace_id)

    def _bound_fields(self) -> dict[str, object]:
        incoming = self._incoming
        mine = {
            "trace_id": incoming.trace_id or new_trace_id(),
            "span_id": incoming.parent_id,
            "request_id": incoming.request_id,
            "correlation_id": incoming.correlation_id,
        }
        rest = {name: value for name, value in context.current().items() if name not in _OF_ONE_MESSAGE}
        return {**rest, **{name: value for name, value in mine.items() if value}, **self._fields}

    def end(self, error: BaseException | None = None) -> None:
        """Forget it again; `error`: what its handling failed with."""
        block, self._block = self._block, None
        if block is not None:
            self._span.__exit__(None if error is None else type(error), error, None)
            decide("", None)
            block.__exit__(None, None, None)


@contextmanager
def received(
    carrier: Carrier, name: str = "receive", *, kind: SpanKind = "consumer", **fields: object
) -> Iterator[Incoming]:
    """Handle one message in its own context; `name` is its span's, `fields` are bound as well."""
    incoming = carrier if isinstance(carrier, Incoming) else extract_headers(carrier)
    message = Received(incoming, name, fields, kind)
    message.begin()
    try:
        yield incoming
    except BaseException as error:
        message.end(error)
        raise
    message.end()


def to_environ(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return a subprocess's environment with the trace in it: a copy of `environ` (default.

    This process's).
    """
    base = dict(os.environ if environ is None else environ)
    ours = {name.lower(): value for name, value in outgoing().items()}
    for variable, name in _ENVIRON.items():
        base.pop(variable, None)  # this process may have been started with another trace
        if name in ours:
            base[variable] = ours[name]
    return base


def from_environ(environ: Mapping[str, str] | None = None) -> Incoming:
    """Bind the trace that this process was started with, for good; where there is none, nothing happens."""
    given = os.environ if environ is None else environ
    found = [(name, given[variable]) for variable, name in _ENVIRON.items() if variable in given]
    incoming = from_headers(found)
    if incoming.trace_id:
        decide(incoming.trace_id, incoming.sampled)
        fields = {
            "trace_id": incoming.trace_id,
            "span_id": new_span_id(),
            "parent_id": incoming.parent_id,
            "request_id": incoming.request_id,
            "correlation_id": incoming.correlation_id,
        }
        context.bind(**{name: value for name, value in fields.items() if value})
    return incoming
