"""Trace ids for text formats: ``%(trace_id)s`` and ``%(span_id)s``.

Rules
- An id that the caller gave in `extra` stays.
- Ids are set as attributes of the record, once, as `Shown`; handlers that come later see the same. An event
  has its ids from the context already, so `untouched` takes them out again before one is made.
- A record is never rejected.
"""

from __future__ import annotations

import copy
import logging

from .context import get_trace_context

__all__ = ["Shown", "TraceFilter", "untouched"]


class Shown(str):
    """An id that the filter, not the caller, put into a record."""

    __slots__ = ()


def untouched(record: logging.LogRecord) -> logging.LogRecord:
    """Return the record, or a copy of it without what the filter put in."""
    own = record.__dict__
    if "trace_id" not in own and "span_id" not in own:
        return record
    shown = [name for name in ("trace_id", "span_id") if type(own.get(name)) is Shown]
    if not shown:
        return record
    record = copy.copy(record)
    for name in shown:
        del record.__dict__[name]
    return record


class TraceFilter(logging.Filter):
    """Gives each record `trace_id` and `span_id`; `missing` stands where there is no trace."""

    def __init__(self, name: str = "", *, missing: str = "") -> None:
        super().__init__(name)
        self._missing = missing

    def filter(self, record: logging.LogRecord) -> bool:
        """Set the ids; True, unless the filter's own logger `name` excludes the record."""
        if not super().filter(record):
            return False
        trace_id, span_id, _ = get_trace_context()
        record.__dict__.setdefault("trace_id", Shown(trace_id or self._missing))
        record.__dict__.setdefault("span_id", Shown(span_id or self._missing))
        return True
