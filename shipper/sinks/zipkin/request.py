"""A span as Zipkin's JSON format, version 2, has it. Pure.

Times and durations are microseconds, at least 1. `internal` has no kind in Zipkin: it is left out. Tags are
texts; what is nested is its JSON. https://zipkin.io/zipkin-api/#/default/post_spans
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from ...core.spans import Span

__all__ = ["request_body", "zipkin_span"]

_MAX_TAG = 4_096


def zipkin_span(span: Span) -> dict[str, Any]:
    """Return the span as Zipkin's JSON object."""
    made: dict[str, Any] = {
        "traceId": span.trace_id,
        "id": span.span_id,
        "name": span.name,
        "timestamp": span.start,
        "duration": max(span.duration, 1),
        "localEndpoint": {"serviceName": span.service},
    }
    if span.parent_id:
        made["parentId"] = span.parent_id
    if span.kind != "internal":
        made["kind"] = span.kind.upper()
    if span.tags:
        made["tags"] = {name: _text(value) for name, value in span.tags.items()}
    if span.events:
        made["annotations"] = [
            {"timestamp": at, "value": (f"{name} {_text(more)}" if more else name)[:_MAX_TAG]}
            for at, name, more in span.events
        ]
    return made


def request_body(spans: Iterable[Span]) -> bytes:
    """Return one request's body."""
    return orjson.dumps([zipkin_span(span) for span in spans])


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value[:_MAX_TAG]
    try:
        return orjson.dumps(value).decode()[:_MAX_TAG]
    except TypeError:  # an integer beyond 64 bits
        return str(value)[:_MAX_TAG]
