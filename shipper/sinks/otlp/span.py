"""A span as OpenTelemetry's Span, and the resource that it belongs to. Pure.

- The resource is that of log records: what one service logs and what it spends its time on belong together.
- Fields that OpenTelemetry has names for get them (`http.request.method`, `url.path`, `http.route`,
  `http.response.status_code`, `user.id`, `process.pid`); tags keep the names that you gave them.
- A span that failed has the status ERROR with the words of its tag `error`; all others have none, which is
  how OpenTelemetry's own libraries leave it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ...core.spans import Span
from .protobuf import span_event, span_message
from .record import Resource

__all__ = ["resource_of", "span_record"]

_KINDS: Final = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
_NAMES: Final = {
    "http.method": "http.request.method",
    "http.path": "url.path",
    "http.status_code": "http.response.status_code",
    "user_id": "user.id",
    "process": "process.pid",
}
_ORIGIN: Final = ("version", "environment", "host")


def resource_of(span: Span) -> Resource:
    """Return what the span's resource is made of."""
    version, environment, host = span.origin
    return span.service, version, environment, host


def span_record(span: Span) -> bytes:
    """Return the framed span."""
    start = span.start * 1000
    error = _words(span.tags.get("error")) if span.failed else None
    return span_message(
        ids=(bytes.fromhex(span.trace_id), bytes.fromhex(span.span_id), bytes.fromhex(span.parent_id)),
        name=span.name,
        kind=_KINDS.get(span.kind, 1),
        start=start,
        end=start + span.duration * 1000,
        attributes=_attributes(span),
        events=[span_event(at * 1000, name, more) for at, name, more in span.events],
        error=error,
    )


def _attributes(span: Span) -> Mapping[str, Any]:
    """Return the tags but for those that stand elsewhere."""
    elsewhere: dict[str, Any] = dict(zip(_ORIGIN, span.origin, strict=True))
    if span.failed:
        elsewhere["error"] = span.tags.get("error")
    return {
        _NAMES.get(name, name): value
        for name, value in span.tags.items()
        if name not in elsewhere or elsewhere[name] != value
    }


def _words(error: Any) -> str:
    return "" if error is None or error == "true" else str(error)
