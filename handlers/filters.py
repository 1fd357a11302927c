"""Trace ids for text formats: ``%(trace_id)s`` and ``%(span_id)s``.

Rules
- An id that the caller gave in `extra` stays.
- Ids are set as attributes of the record, once; handlers that come later see the same.
- A record is never rejected.
"""

from __future__ import annotations

import logging

from .context import get_trace_context

__all__ = ["TraceFilter"]


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
        record.__dict__.setdefault("trace_id", trace_id or self._missing)
        record.__dict__.setdefault("span_id", span_id or self._missing)
        return True
