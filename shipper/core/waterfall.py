"""The events of one trace as a waterfall: its spans as a tree in time, its lines beside them. Pure.

Rules
- Spans are access events, jobs and spans (`core/spans.py`). One that was begun and has not ended is open, and
  lasts to the end of what is seen.
- A span stands under its parent; one whose parent is not here is a root (`orphan`: it names one). Roots and
  children are in order of their beginning. Parents in a circle are cut.
- Services may have clocks that differ: nothing is moved, a child may begin before its parent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .spans import Span, span_of

__all__ = ["SpanRow", "Waterfall", "waterfall"]


@dataclass(frozen=True, slots=True)
class SpanRow:
    """One span. `offset` and `length` are microseconds, the offset from the trace's beginning."""

    span: Span
    depth: int
    offset: int
    length: int
    open: bool
    orphan: bool


@dataclass(frozen=True, slots=True)
class Waterfall:
    """A trace. `start` is microseconds since 1970, `length` microseconds; `lines` are the other events."""

    start: int
    length: int
    rows: tuple[SpanRow, ...]
    lines: tuple[Mapping[str, Any], ...]
    services: tuple[str, ...]
    errors: int


def waterfall(events: Iterable[Mapping[str, Any]]) -> Waterfall:
    """Return the waterfall of a trace's events, which are in order of time."""
    ended: dict[str, Span] = {}
    begun: dict[str, Span] = {}
    lines: list[Mapping[str, Any]] = []
    services: dict[str, None] = {}
    errors = 0
    for event in events:
        services.setdefault(str(event.get("service", "")))
        errors += event.get("level") in {"ERROR", "CRITICAL"}
        told = span_of(event)
        if told is None:
            lines.append(event)
        elif told[0] == "begun":
            begun.setdefault(told[1].key, told[1])
        else:
            ended[told[1].key] = told[1]
    spans = {**begun, **ended}
    start = min((span.start for span in spans.values()), default=0)
    end = max((span.start + span.duration for span in spans.values()), default=0)
    rows = []
    for span, depth, orphan in _in_order(spans):
        still = span.key not in ended
        length = end - span.start if still else span.duration
        rows.append(SpanRow(span, depth, span.start - start, max(length, 0), still, orphan))
    return Waterfall(start, end - start, tuple(rows), tuple(lines), tuple(services), errors)


def _in_order(spans: Mapping[str, Span]) -> Iterable[tuple[Span, int, bool]]:
    """Yield spans depth first, with their depth and whether a parent is named that is not here."""
    by_start = sorted(spans.values(), key=lambda span: (span.start, -span.duration, span.span_id))
    known = {span.span_id for span in by_start}
    children: dict[str, list[Span]] = {}
    roots = []
    for span in by_start:
        if span.parent_id in known:
            children.setdefault(span.parent_id, []).append(span)
        else:
            roots.append(span)
    seen: set[str] = set()
    # What only a circle of parents reaches begins where the circle's first span stands.
    for root in (*roots, *by_start):
        stack = [(root, 0)]
        while stack:
            span, depth = stack.pop()
            if span.key in seen:
                continue
            seen.add(span.key)
            yield span, depth, depth == 0 and bool(span.parent_id)
            stack.extend((child, depth + 1) for child in reversed(children.get(span.span_id, [])))
