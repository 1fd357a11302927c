"""Spans: what took how long within a trace, each an event like any other, through the same spool.

    with span("db.query", table="orders"):          # also `async with`, also `@span("db.query")`
        ...

Rules
- A span's ids are bound while it is active: every line logged inside carries them, and what is begun inside
  becomes its child. Without a trace in force it begins one.
- Its event is logged at its end by ``logferry.span``: `kind` ``span``, the name as the message, `span_kind`,
  `started`, `duration_ms`, `failed`, `tags`, `span_events`. What it failed with is the tag `error` (type and
  message); the traceback belongs to whoever handles the exception.
- At its beginning a short event of `kind` ``span_start`` says that it is open, so that a collector can close
  it as unfinished when the process is killed; the first one inside a request says it of the request, too.
  `configure_spans(announce=False)` leaves that out.
- Sampling is decided once for a trace: by the caller's flag where one came in (`decide`), else by the trace
  id alone, equally in every service. What is not sampled is bound and passed on, and not logged, unless it
  fails.
- With OpenTelemetry's SDK in the process a span is one of its spans, too, and has its ids.
- The end of a block is the end of what was begun inside it: a span that nobody has finished there is not
  active any more (it may still be finished).
- A request or a message begins without an active span; a span that it never ends is forgotten with it: the
  next one in the same thread is neither its child nor holds it in memory.
- Time is taken from the monotonic clock; a clock that jumps changes no duration. A span may be finished from
  another thread or task than the one that began it; finishing twice does nothing.
- Nothing here raises into the application, but for a decorated generator: what its span is, is ambiguous.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from time import perf_counter_ns, time_ns
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias, TypeVar

from . import context
from .clock import stamp
from .each_call import each_call
from .levels import SPAN
from .otel_span import OtelSpan
from .plain import safe_repr
from .tracing import new_span_id, new_trace_id

if TYPE_CHECKING:
    from types import TracebackType

__all__ = [
    "Span",
    "SpanKind",
    "active_span",
    "configure_spans",
    "decide",
    "finish_span",
    "is_sampled",
    "set_active",
    "set_opening",
    "span",
    "start_span",
]

SpanKind: TypeAlias = Literal["internal", "server", "client", "producer", "consumer"]
F = TypeVar("F", bound=Callable[..., Any])

MAX_TAGS: Final = 64
MAX_EVENTS: Final = 128

_CALLING: Final = frozenset({"client", "producer"})
# Tags that say whom a call goes to, as OpenTelemetry and its predecessors name them.
_PEERS: Final = ("peer.service", "server.address", "net.peer.name", "db.system", "messaging.system")

_log: Final = logging.getLogger(SPAN)


@dataclass(slots=True)
class _Settings:
    """Process-wide: the share of traces that is kept (`bound` of 2**64), and whether beginnings are told."""

    bound: int = 1 << 64
    announce: bool = True


_settings: Final = _Settings()
# The decision that came in with a request: (trace id, sampled).
_decided: Final[ContextVar[tuple[str, bool] | None]] = ContextVar("logferry_sampled", default=None)
_active: Final[ContextVar[Span | None]] = ContextVar("logferry_span", default=None)
# What is open around the spans here, and has not said so yet.
_opening: Final[ContextVar[Opening | None]] = ContextVar("logferry_opening", default=None)


class Opening(Protocol):
    """A request that tells that it is open when a span inside it does."""

    def tell(self) -> None:
        """Tell it, if nobody has."""
        ...


def configure_spans(*, sample: float = 1.0, announce: bool = True) -> None:
    """Set the share of traces whose spans are kept (0 to 1), and whether beginnings are told, process-wide.

    Raises ValueError when `sample` is no share.
    """
    if not 0 <= sample <= 1:
        raise ValueError(f"sample: a share from 0 to 1, not {sample!r}")
    _settings.bound = round(sample * (1 << 64))
    _settings.announce = announce


def decide(trace_id: str, sampled: bool | None) -> None:  # noqa: FBT001 - a flag as it came in
    """Note for this task what the caller decided about its trace; None: it left that open."""
    _decided.set(None if sampled is None else (trace_id, sampled))


def is_sampled(trace_id: str = "") -> bool:
    """Tell whether the spans of a trace (by default the one in force) are kept."""
    trace_id = trace_id or context.get_trace_context().trace_id
    decided = _decided.get()
    if decided is not None and decided[0] == trace_id:
        return decided[1]
    try:
        return int(trace_id[16:], 16) < _settings.bound
    except ValueError:
        return _settings.bound > 0


def active_span() -> Span | None:
    """Return the span that is active here."""
    return _active.get()


def set_active(span: Span | None) -> Span | None:
    """Make a span the active one, or none, where a request or a message begins or ends; return the former.

    What is bound is left as it is.
    """
    former = _active.get()
    if former is not span:
        _active.set(span)
    return former


def set_opening(opening: Opening | None) -> Opening | None:
    """Have `opening` told before the first span begins here; return what was there before."""
    former = _opening.get()
    if former is not opening:
        _opening.set(opening)
    return former


class Span:
    """A stretch of time. Made by `start_span`; times are nanoseconds since 1970, `end_ns` is 0 while open."""

    __slots__ = (
        "_before",
        "_begun",
        "_otel",
        "_outer",
        "_sampled",
        "end_ns",
        "error",
        "events",
        "kind",
        "name",
        "parent_id",
        "span_id",
        "start_ns",
        "tags",
        "trace_id",
    )

    def __init__(
        self,
        name: str,
        kind: SpanKind,
        ids: context.TraceContext,
        tags: Mapping[str, object],
        outer: context.TraceContext,
        otel: OtelSpan | None = None,
    ) -> None:
        self.trace_id, self.span_id, self.parent_id = ids
        self.name = name
        self.kind: SpanKind = kind
        self.tags = dict(tags)
        self.events: list[dict[str, object]] = []
        self.error: BaseException | str | None = None
        self.end_ns = 0
        self._sampled = is_sampled(self.trace_id)
        self._otel = otel
        self._before = _active.get()
        self._outer = outer
        announced = _settings.announce and self._sampled
        # With OpenTelemetry's SDK every event has its active span's ids, which is this one already.
        if announced and otel is None and (opening := _opening.get()) is not None:
            opening.tell()
        context.put_trace(ids)
        _active.set(self)
        self.start_ns = time_ns()
        self._begun = perf_counter_ns()
        if announced:
            self._tell("span_start", {})

    def __repr__(self) -> str:
        return f"<Span {self.name!r} {self.trace_id}/{self.span_id}>"

    @property
    def duration_ms(self) -> float:
        """How long it took, or has taken so far, in milliseconds."""
        if self.end_ns:
            return round((self.end_ns - self.start_ns) / 1e6, 3)
        return round((perf_counter_ns() - self._begun) / 1e6, 3)

    @property
    def sampled(self) -> bool:
        """Whether its trace is kept."""
        return self._sampled

    def set_tag(self, name: str, value: object) -> None:
        """Set a tag; beyond 64 they are ignored."""
        if name in self.tags or len(self.tags) < MAX_TAGS:
            self.tags[name] = value

    def add_event(self, name: str, **fields: object) -> None:
        """Note that something happened; beyond 128 they are ignored."""
        if len(self.events) < MAX_EVENTS:
            at = self.start_ns + perf_counter_ns() - self._begun
            self.events.append({"name": name, "at": stamp(at / 1e9), **fields})

    def fail(self, error: BaseException | str) -> None:
        """Say that it failed, and with what."""
        self.error = error

    def finish(self, error: BaseException | str | None = None) -> None:
        """End it, and log its event; `error`: what it failed with. A second time does nothing."""
        if self.end_ns:
            return
        self.end_ns = self.start_ns + max(perf_counter_ns() - self._begun, 0)
        if error is not None:
            self.error = error
        here = _active.get() is self
        if self._sampled or self.error is not None:
            if here:
                self._report()
            else:  # ended elsewhere: the event belongs to its trace all the same
                ids = context.TraceContext(self.trace_id, self.span_id, self.parent_id)
                with context.isolated(), nullcontext() if self._otel is None else self._otel.active():
                    context.put_trace(ids)
                    self._report()
        if self._otel is not None:
            words = None if self.error is None else _words(self.error)
            self._otel.end(self.tags, words, self.end_ns, here=here)
        if here:
            self._leave()

    def _leave(self) -> None:
        """Make the nearest span around it active that has not ended, with its ids."""
        last = self
        while last._before is not None and last._before.end_ns:
            last = last._before
        around, ids = last._before, last._outer  # noqa: SLF001 - of its own kind
        _active.set(around)
        context.put_trace(ids)

    def _report(self) -> None:
        if self.error is not None:
            self.tags["error"] = _words(self.error)
        fields: dict[str, object] = {"duration_ms": self.duration_ms, "failed": self.error is not None}
        if self.events:
            fields["span_events"] = self.events
        self._tell("span", fields)

    def _tell(self, kind: str, fields: dict[str, object]) -> None:
        extra = {"kind": kind, "span_kind": self.kind, "started": stamp(self.start_ns / 1e9), **fields}
        if self.tags:
            extra["tags"] = self.tags
            if kind == "span" and self.kind in _CALLING and (peer := _peer(self.tags)):
                extra["peer"] = peer
        _log.info(self.name, extra=extra, stacklevel=_distance())


def start_span(name: str, *, kind: SpanKind = "internal", tags: Mapping[str, object] | None = None) -> Span:
    """Begin a span in the trace in force and make it the active one; `finish_span` ends it."""
    given = {} if tags is None else tags
    before = context.get_trace_context()
    otel = OtelSpan.start(name, kind, given)
    if otel is not None:
        return Span(name, kind, otel.ids, given, before, otel)
    trace_id = before.trace_id or new_trace_id()
    ids = context.TraceContext(trace_id, new_span_id(), before.span_id if before.trace_id else "")
    return Span(name, kind, ids, given, before)


def finish_span(span: Span, error: BaseException | str | None = None) -> None:
    """End a span, and log its event; `error`: what it failed with."""
    span.finish(error)


def _end_inside(span: Span) -> None:
    """Make `span` the active one again where what is active was begun inside it."""
    inner = _active.get()
    if inner is span:
        return
    while inner is not None and inner is not span:
        inner = inner._before  # noqa: SLF001 - of this module
    if inner is span:
        _active.set(span)
        context.put_trace(context.TraceContext(span.trace_id, span.span_id, span.parent_id))


def _peer(tags: Mapping[str, object]) -> str:
    """Return whom a call's tags say it calls; empty when they do not."""
    for name in _PEERS:
        if isinstance(peer := tags.get(name), str) and peer:
            return peer
    return ""


def _distance() -> int:
    """Return the `stacklevel` of the first caller outside this module, as seen from our caller."""
    level, frame = 1, sys._getframe(1)  # noqa: SLF001 - as logging finds its callers
    while frame.f_back is not None and frame.f_code.co_filename == __file__:
        level, frame = level + 1, frame.f_back
    return level


def _words(error: BaseException | str) -> str:
    if isinstance(error, str):
        return error
    return f"{type(error).__name__}: {safe_repr(error, str)}"


class span:  # noqa: N801 - reads as a function: `with span(...)`, `@span(...)`
    """A span around a block or around each call of a function, plain or async.

    `span_kind` as for `start_span`; every other keyword is a tag. Entering returns the `Span`.
    """

    __slots__ = ("_entered", "_kind", "_name", "_tags")

    def __init__(self, name: str, /, *, span_kind: SpanKind = "internal", **tags: object) -> None:
        self._name = name
        self._kind: SpanKind = span_kind
        self._tags = tags
        self._entered: list[Span] = []

    def __enter__(self) -> Span:
        made = start_span(self._name, kind=self._kind, tags=self._tags)
        self._entered.append(made)
        return made

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        made = self._entered.pop()
        _end_inside(made)
        if error is not None and not isinstance(error, Exception):
            made.set_tag("ended_by", type(error).__name__)  # cancelled, or the process ends: no failure
            error = None
        finish_span(made, error)

    async def __aenter__(self) -> Span:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, traceback)

    def __call__(self, function: F, /) -> F:
        """Put a span of its own around each call of `function`. Raises TypeError for a generator."""
        return each_call(function, lambda: span(self._name, span_kind=self._kind, **self._tags), "span")
