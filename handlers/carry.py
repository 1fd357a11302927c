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
from contextlib import contextmanager
from typing import Any, Final, TypeAlias, TypeVar

from . import context
from .propagation import CARRIED, entered_fields, extract, outgoing
from .spans import Span, SpanKind, decide, is_sampled, set_active, span
from .tracing import Incoming, format_traceparent, new_span_id, new_trace_id

__all__ = [
    "Carrier",
    "Received",
    "about",
    "extract_headers",
    "from_environ",
    "inject_headers",
    "received",
    "sent",
    "to_environ",
]

Carrier: TypeAlias = Mapping[Any, Any] | Iterable[tuple[Any, Any]] | None
C = TypeVar("C", bound=MutableMapping[Any, Any] | list[Any])

_OF_ONE_MESSAGE: Final = (
    *("trace_id", "span_id", "parent_id", "request_id", "correlation_id", "user_id", "endpoint"),
)
# The names that OpenTelemetry's convention for environments uses, and our own.
_ENVIRON: Final = {"TRACEPARENT": "traceparent", "TRACESTATE": "tracestate", "X_REQUEST_ID": "x-request-id"}


def sent() -> dict[str, str]:
    """Return the headers of the trace in force by lower-case name; of a new one where there is none."""
    found = outgoing()
    if "traceparent" not in found:
        trace_id = new_trace_id()
        sampled = is_sampled(trace_id)
        found["traceparent"] = format_traceparent(trace_id, new_span_id(), sampled=sampled)
    return found


def inject_headers(carrier: C, headers: Mapping[str, str] | None = None, *, text: bool = False) -> C:
    """Add the trace (or `headers`) to a message's headers, and return them: a mapping, or a list of pairs.

    Pairs hold bytes, as Kafka's do, unless `text` is asked for.
    """
    ours = sent() if headers is None else headers
    there = {_text(name).lower() for name, _ in _pairs(carrier)}
    for name, value in ours.items():
        if name.lower() in there:
            continue
        if isinstance(carrier, list):
            carrier.append((name, value if text else value.encode("ascii", "replace")))
        else:
            carrier[name] = value
    return carrier


def extract_headers(carrier: Carrier) -> Incoming:
    """Read the trace that a message belongs to; never raises for what its headers hold."""
    return extract([(_text(name), value) for name, value in _pairs(carrier)])


def _pairs(carrier: Carrier) -> list[tuple[Any, Any]]:
    if carrier is None:
        return []
    pairs: Iterable[Any] = carrier.items() if isinstance(carrier, Mapping) else carrier
    return [(pair[0], pair[1]) for pair in pairs if isinstance(pair, tuple) and len(pair) == 2]


def _text(name: object) -> str:
    return name.decode("latin-1") if isinstance(name, bytes) else str(name)


class Received:
    """One message's context, for those who cannot use a `with` block.

    `begin`, then `end` in the same task.
    """

    __slots__ = ("_active", "_before", "_carried", "_fields", "_incoming", "_span")

    def __init__(
        self, incoming: Incoming, name: str, fields: Mapping[str, object], kind: SpanKind = "consumer"
    ) -> None:
        self._incoming = incoming
        self._fields = fields
        self._span = span(name, span_kind=kind)
        self._before: context.Fields | None = None
        self._carried: Incoming | None = None
        self._active: Span | None = None

    def begin(self) -> None:
        """Bind the message's trace."""
        incoming = self._incoming
        self._before, self._carried = context.raw(), CARRIED.get()
        self._active = set_active(None)
        context.replace(_of_message(incoming, self._before, self._fields))
        CARRIED.set(incoming)
        decide(incoming.trace_id, incoming.sampled)
        self._span.__enter__()

    def end(self, error: BaseException | None = None) -> None:
        """Forget it again; `error`: what its handling failed with."""
        before, self._before = self._before, None
        if before is not None:
            self._span.__exit__(None if error is None else type(error), error, None)
            decide("", None)
            CARRIED.set(self._carried)
            set_active(self._active)  # whatever was begun inside and never ended
            self._active = None
            context.restore(before)


def _of_message(
    incoming: Incoming, before: Mapping[str, object], fields: Mapping[str, object]
) -> dict[str, object]:
    """Return what is bound for a message: the span is its sender's, which our own one gets as its parent."""
    mine = entered_fields(incoming)
    mine["span_id"] = incoming.parent_id
    mine.pop("parent_id", None)
    rest = {name: value for name, value in before.items() if name not in _OF_ONE_MESSAGE}
    return {**rest, **{name: value for name, value in mine.items() if value}, **fields}


@contextmanager
def about(carrier: Carrier, **fields: object) -> Iterator[None]:
    """Say something about a message that is handled elsewhere: in its trace, as its sender would.

    Nothing is bound where the message has no trace.
    """
    incoming = extract_headers(carrier)
    if not incoming.trace_id:
        yield
        return
    before, carried = context.raw(), CARRIED.get()
    context.replace(_of_message(incoming, before, fields))
    CARRIED.set(incoming)
    try:
        yield
    finally:
        CARRIED.set(carried)
        context.restore(before)


@contextmanager
def received(carrier: Carrier | Incoming, name: str = "receive", **fields: object) -> Iterator[Incoming]:
    """Handle one message in its own context; `name` is its span's, `fields` are bound as well."""
    incoming = carrier if isinstance(carrier, Incoming) else extract_headers(carrier)
    message = Received(incoming, name, fields)
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
    ours = sent()
    for variable, name in _ENVIRON.items():
        base.pop(variable, None)  # this process may have been started with another trace
        if name in ours:
            base[variable] = ours[name]
    return base


def from_environ(environ: Mapping[str, str] | None = None) -> Incoming:
    """Bind the trace that this process was started with, for good; where there is none, nothing happens."""
    given = os.environ if environ is None else environ
    found = [(name, given[variable]) for variable, name in _ENVIRON.items() if variable in given]
    incoming = extract(found)
    if incoming.trace_id:
        CARRIED.set(incoming)
        decide(incoming.trace_id, incoming.sampled)
        context.bind(**entered_fields(incoming))
    return incoming
