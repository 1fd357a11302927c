"""Events that are spans, and spans whose end never comes. Pure.

| `kind` of the event | as a span |
|---|---|
| `span` | what `handlers/spans.py` logs at its end |
| `span_start` | the same at its beginning: it is open |
| `access` | a request that was served: kind `server`, named by method and endpoint |
| `job`, `job_start` | scheduled or background work, at its end and its beginning: kind `internal` |

A span that was begun and has not ended after a time-out is closed as unfinished, with the time-out's length
and the tag `error`: its process was killed, or it never returns. Its end, if it comes after all, is sent as
well; stores merge what has the same ids.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias

import msgspec

from ...handlers.tracing import is_span_id, is_trace_id

__all__ = ["KINDS", "ROUTE", "OpenSpans", "Span", "Told", "event_of", "oldest", "read_span", "span_of"]

KINDS: Final = ("access", "job", "job_start", "span", "span_start")
ROUTE: Final = f"kind={','.join(KINDS)}"  # of a sink that takes nothing else
_BEGIN: Final = frozenset({"job_start", "span_start"})
MAX_OPEN: Final = 10_000
UNFINISHED: Final = "unfinished: no end was seen"

_SPAN_KINDS: Final = frozenset({"internal", "server", "client", "producer", "consumer"})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_decode: Final = msgspec.json.Decoder().decode
# Fields that say where a span ran or what was asked, under the names that they have as tags.
_TAGS: Final = (
    *(("method", "http.method"), ("path", "http.path"), ("endpoint", "http.route")),
    *(("status_code", "http.status_code"), ("request_id", "request_id"), ("user_id", "user_id")),
    *(("host", "host"), ("environment", "environment"), ("version", "version"), ("process", "process")),
)


@dataclass(frozen=True, slots=True)
class Span:
    """A span of any origin. Times are microseconds since 1970; `duration` is 0 where none is known.

    `events` are times, names and further fields. `origin` is where it ran: version, environment, host.
    """

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    service: str
    start: int
    duration: int
    failed: bool
    tags: Mapping[str, Any] = field(default_factory=dict)
    events: tuple[tuple[int, str, Mapping[str, Any]], ...] = ()
    origin: tuple[str, str, str] = ("", "", "")

    @property
    def key(self) -> str:
        """What its beginning and its end have in common."""
        return f"{self.trace_id}-{self.span_id}"


_HELD: Final = msgspec.json.Decoder(list[tuple[float, Span]])


Told: TypeAlias = tuple[Literal["begun", "ended"], Span]


def event_of(line: bytes) -> dict[str, Any] | None:
    """Return an event line decoded; None when it is no JSON object."""
    try:
        event = _decode(line)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


def read_span(line: bytes) -> Told | None:
    """Return what an event line says of a span; None when it is no span or has no ids."""
    event = event_of(line)
    return None if event is None else span_of(event)


def span_of(event: Mapping[str, Any]) -> Told | None:
    """Return what a decoded event says of a span; None when it is no span or has no ids."""
    kind = event.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        return None
    trace_id, span_id = _text(event, "trace_id"), _text(event, "span_id")
    at = _moment(event.get("timestamp"))
    if not is_trace_id(trace_id) or not is_span_id(span_id) or at is None:
        return None
    parent_id = _text(event, "parent_id")
    duration = _microseconds(event.get("duration_ms"))
    start = _moment(event.get("started"))
    error = event.get("error")
    tags = {tag: event[name] for name, tag in _TAGS if event.get(name) not in (None, "")}
    own = event.get("tags")
    if isinstance(own, dict):
        tags.update(own)
    if isinstance(error, dict):
        tags.setdefault("error", f"{_text(error, 'type')}: {_text(error, 'message')}"[:1000])
    failed = event.get("failed") is True
    if failed:
        tags.setdefault("error", "true")
    made = Span(
        trace_id,
        span_id,
        parent_id if is_span_id(parent_id) and parent_id != span_id else "",
        _name(event),
        _kind(event),
        _text(event, "service"),
        at - duration if start is None else start,
        duration,
        failed,
        tags,
        _events(event.get("span_events")),
        (_text(event, "version"), _text(event, "environment"), _text(event, "host")),
    )
    return ("begun" if event["kind"] in _BEGIN else "ended"), made


def _name(event: Mapping[str, Any]) -> str:
    if event["kind"] != "access":
        return (_text(event, "job") or _text(event, "message"))[:200]
    where = _text(event, "endpoint") or _text(event, "path").partition("?")[0]
    return f"{_text(event, 'method')} {where}".strip()[:200]


def _kind(event: Mapping[str, Any]) -> str:
    if event["kind"] == "access":
        return "server"
    kind = event.get("span_kind")
    return kind if isinstance(kind, str) and kind in _SPAN_KINDS else "internal"


def _events(given: Any) -> tuple[tuple[int, str, Mapping[str, Any]], ...]:
    found: list[tuple[int, str, Mapping[str, Any]]] = []
    for event in given if isinstance(given, list) else ():
        if isinstance(event, dict) and (at := _moment(event.get("at"))) is not None:
            more = {name: value for name, value in event.items() if name not in {"at", "name"}}
            found.append((at, _text(event, "name"), more))
    return tuple(found)


def _text(event: Mapping[str, Any], name: str) -> str:
    value = event.get(name)
    return value if isinstance(value, str) else ""


def _moment(text: Any) -> int | None:
    try:
        past = datetime.fromisoformat(text) - _EPOCH
    except (ValueError, TypeError, OverflowError):
        return None
    moment = (past.days * 86_400 + past.seconds) * 1_000_000 + past.microseconds
    return moment if moment > 0 else None


def _microseconds(milliseconds: Any) -> int:
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int | float):
        return 0
    return round(milliseconds * 1000) if 0 <= milliseconds < 1e12 else 0


class OpenSpans:
    """Spans that have begun. `now` is seconds of the time of day; at most 10,000, the oldest go first.

    Each has a `home`, the spool that told its beginning; its end may be told anywhere.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._open: OrderedDict[str, tuple[float, Span, str]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def begin(self, span: Span, now: float, home: str = "") -> None:
        """Note that it is open. Told twice, it counts once."""
        if span.key not in self._open:
            self._open[span.key] = (now, span, home)
            while len(self._open) > MAX_OPEN:
                self._open.popitem(last=False)

    def end(self, span: Span) -> str | None:
        """Note that it has ended; return its home, None when it was not open."""
        found = self._open.pop(span.key, None)
        return None if found is None else found[2]

    def due(self, now: float) -> list[Span]:
        """Return, closed as unfinished, those that are open for longer than the time-out; `end` drops them.

        A clock that was set back makes none due early, and keeps none for ever.
        """
        length = round(self._timeout * 1e6)
        return [
            replace(span, duration=length, failed=True, tags={**span.tags, "error": UNFINISHED})
            for since, span, _ in self._open.values()
            if abs(now - since) >= self._timeout
        ]

    def dump(self, home: str = "") -> bytes:
        """Return those of one home as bytes that `load` reads; empty when there are none."""
        rows = [(since, span) for since, span, its in self._open.values() if its == home]
        return msgspec.json.encode(rows) if rows else b""

    def load(self, data: bytes, home: str = "") -> None:
        """Take back what `dump` returned; what cannot be read is left out."""
        for since, span in _rows(data):
            self.begin(span, since, home)


def oldest(data: bytes) -> float | None:
    """Return since when the oldest is open of what `dump` returned; None: there is none."""
    return min((since for since, _ in _rows(data)), default=None)


def _rows(data: bytes) -> list[tuple[float, Span]]:
    try:
        return _HELD.decode(data)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError):
        return []
