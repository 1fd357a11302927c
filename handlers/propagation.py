"""The trace in force, as headers of a call to another service; and a trace out of headers that came in.

    inject(request.headers)                 # traceparent, tracestate, X-Request-ID, ...
    incoming = extract(message.headers)

Rules
- `outgoing` says what to send: ``traceparent`` of the trace in force (OpenTelemetry's active span, else what
  is bound), ``tracestate`` as it came, ``X-Request-ID``, and an ``X-Trace-ID`` that came in, as it came.
  Without a trace there is no ``traceparent``. An id that could break a header is not sent.
- The random flag, ``tracestate`` and the ids to forward are those of what came in, and only as long as its
  trace is the one in force. They are no fields of events, so they are kept beside the bound ones in
  `CARRIED`, a context variable that whoever binds an incoming trace sets and resets.
- The sampled flag is what `spans.is_sampled` says, or OpenTelemetry's where its span is active.
- `inject` never replaces a header that is there: who sets one by hand knows why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any, Final

from . import context, tracing
from .tracing import PRECEDENCE, Incoming, is_forwardable, is_span_id, is_trace_id, new_span_id, new_trace_id

__all__ = ["CARRIED", "entered_fields", "extract", "inject", "outgoing"]

CARRIED: Final[ContextVar[Incoming | None]] = ContextVar("logferry_carried", default=None)


def extract(
    headers: Mapping[str, Any] | Iterable[tuple[str, Any]] | None,
    precedence: tuple[str, ...] = PRECEDENCE,
) -> Incoming:
    """Read the trace out of headers: text or bytes, a mapping or pairs, or None.

    Never raises for what they hold; what is neither text nor bytes is ignored.
    """
    if not headers:
        return Incoming()
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return tracing.from_headers(
        [(_text(name), _text(value)) for name, value in pairs if isinstance(value, (str, bytes))],
        precedence,
    )


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def entered_fields(incoming: Incoming, random: Callable[[int], bytes] | None = None) -> dict[str, object]:
    """Return the fields that a request binds: the ids that came in, and made what is missing.

    `random` returns that many random bytes.
    """
    source = () if random is None else (random,)
    trace_id = incoming.trace_id or new_trace_id(*source)
    fields: dict[str, object] = {"trace_id": trace_id, "span_id": incoming.span_id or new_span_id(*source)}
    if incoming.parent_id:
        fields["parent_id"] = incoming.parent_id
    fields["request_id"] = incoming.request_id or trace_id
    if incoming.correlation_id:
        fields["correlation_id"] = incoming.correlation_id
    return fields


def outgoing(span_id: str = "") -> dict[str, str]:
    """Return the headers that carry the trace in force, by lower-case name.

    `span_id` is the span of the call itself, where there is one; else the active span is its parent.
    """
    fields = context.current()
    headers: dict[str, str] = {}
    carried = CARRIED.get()
    if carried is not None and carried.trace_id not in {fields.get("trace_id"), fields.get("correlation_id")}:
        carried = None  # another trace's
    trace_id = fields.get("trace_id")
    if isinstance(trace_id, str) and is_trace_id(trace_id):
        flags, state = _flags(trace_id, carried)
        span = span_id or fields.get("span_id")
        span = span if isinstance(span, str) and is_span_id(span) else new_span_id()
        headers["traceparent"] = f"00-{trace_id}-{span}-{flags:02x}"
        if state:
            headers["tracestate"] = state
    request_id = fields.get("request_id")
    if isinstance(request_id, str) and is_forwardable(request_id):
        headers["x-request-id"] = request_id
    if carried is not None:
        for name, value in carried.forwarded.items():
            headers.setdefault(name, value)
    return headers


def _flags(trace_id: str, carried: Incoming | None) -> tuple[int, str]:
    """Return the flags of a trace and its ``tracestate``."""
    theirs = context.opentelemetry_span()
    if theirs is not None:
        return int(theirs.trace_flags) & 3, str(theirs.trace_state.to_header())
    from .spans import is_sampled

    if carried is None or carried.trace_id != trace_id:
        return int(is_sampled(trace_id)), ""
    return is_sampled(trace_id) + 2 * carried.random, carried.tracestate


def inject(headers: MutableMapping[str, str], span_id: str = "") -> None:
    """Add what `outgoing` returns to `headers`, but what is there already in any case of its name."""
    ours = outgoing(span_id)
    if ours:
        there = {str(name).lower() for name in headers}
        headers.update((name, value) for name, value in ours.items() if name not in there)
