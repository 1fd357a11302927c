"""Questions to the store, answered as JSON values. No HTTP here.

Every answer about a range says how complete it is: events that match, the newest one, and what the pipeline
still holds or has dropped.
"""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson

from ...handlers.schema import FIELDS
from ..cli.trace import trace_id_of
from ..core.spans import Span
from ..core.waterfall import waterfall
from ..overview import Watcher
from ..panels import CATALOGUE
from ..store import Store

__all__ = ["Answers", "plain"]

PAGE: Final = 200
_EXPORT: Final = 100_000
_VALUES: Final = 50
# Fields whose values are few, and worth offering.
_OFFERED: Final = (
    *("level", "service", "environment", "version", "host", "kind", "logger", "endpoint", "method"),
    *("status_code", "duration_le", "error_type", "module"),
)


def plain(value: object) -> bytes:
    """Return JSON; times are UTC."""
    return orjson.dumps(value, default=_other, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_NAIVE_UTC)


def _other(value: object) -> object:
    if isinstance(value, Span):
        return {name: getattr(value, name) for name in Span.__slots__}
    return str(value)


class Answers:
    """Asks one store, and the spools that feed it where they are known. Used by several threads."""

    def __init__(self, store: Store, spool: Path | None = None) -> None:
        self._store = store
        self._spool = spool
        self._watcher = Watcher([] if spool is None else [spool])
        self._lock = threading.Lock()

    def panels(self, since: str, until: str, words: str) -> dict[str, Any]:
        """Return all panels of a range."""
        rows = {
            name: self._store.panel(name, since or None, until or None, filter=words, limit=30)
            for name in CATALOGUE
        }
        about = {
            name: {"title": one.title, "about": one.about, "unit": one.unit}
            for name, one in CATALOGUE.items()
        }
        return {"panels": rows, "about": about, "complete": self.complete(since, until, words)}

    def complete(self, since: str, until: str, words: str) -> dict[str, Any]:
        """Say how complete a range is."""
        volume = self._store.panel("volume", since or None, until or None, filter=words)
        pending = dropped = dead = 0
        reasons: dict[str, int] = {}
        if self._spool is not None:
            with self._lock:
                sinks = [sink for service in self._watcher.look() for sink in service.sinks.values()]
            for account in (sink.account for sink in sinks):
                pending += account.pending
                dead += account.dead_lettered
                for reason, count in account.dropped.items():
                    reasons[reason] = reasons.get(reason, 0) + count
                    dropped += count
        newest = next(iter(self._store.query("", limit=1)), None)
        return {
            "events": sum(row["count"] for row in volume),
            "newest": None if newest is None else newest.get("timestamp"),
            "now": datetime.now(UTC).isoformat(),
            "pending": pending,
            "dead_lettered": dead,
            "dropped": dropped,
            "reasons": reasons,
            "known": self._spool is not None,
        }

    def events(self, since: str, until: str, words: str, limit: int = PAGE) -> dict[str, Any]:
        """Return the newest events of a range, the newest first."""
        found = list(self._store.query(words, since or None, until or None, min(limit, 2_000)))
        return {"events": found, "more": len(found) >= limit}

    def context(self, service: str, at: str) -> dict[str, Any]:
        """Return what the service logged around a moment, whatever the filter."""
        words = f'service="{service}"' if service and '"' not in service else ""
        before = list(self._store.query(words, None, at, 25, "desc"))[::-1]
        after = list(self._store.query(words, at, None, 26, "asc"))
        return {"events": before + after}

    def trace(self, text: str) -> dict[str, Any]:
        """Return a trace as a waterfall, and its lines."""
        trace_id = trace_id_of(text)
        fall = waterfall(self._store.trace(trace_id))
        rows = [
            {
                "name": row.span.name,
                "service": row.span.service,
                "kind": row.span.kind,
                "span_id": row.span.span_id,
                "depth": row.depth,
                "offset": row.offset,
                "length": row.length,
                "open": row.open,
                "failed": row.span.failed,
                "tags": row.span.tags,
            }
            for row in fall.rows
        ]
        return {
            "trace_id": trace_id,
            "start": fall.start,
            "length": fall.length,
            "rows": rows,
            "lines": list(fall.lines),
            "services": fall.services,
            "errors": fall.errors,
        }

    def topology(self, since: str, until: str) -> dict[str, Any]:
        """Return which service calls which."""
        return self._store.topology(since or None, until or None)

    def fields(self) -> dict[str, Any]:
        """Return the names of fields for completion."""
        return {"fields": [{"name": field.name, "type": field.type, "doc": field.doc} for field in FIELDS]}

    def values(self, field: str, since: str, until: str) -> dict[str, Any]:
        """Return the most frequent values of a field, with their counts."""
        if field not in _OFFERED:
            return {"values": []}
        return {"values": self._store.values(field, since or None, until or None, _VALUES)}

    def export(self, since: str, until: str, words: str, form: str) -> Iterator[bytes]:
        """Yield a range's events as NDJSON or CSV, the oldest first; at most 100,000."""
        events = self._store.query(words, since or None, until or None, _EXPORT, "asc")
        if form != "csv":
            for event in events:
                yield orjson.dumps(event, default=str) + b"\n"
            return
        names = ["timestamp", "level", "service", "message", "trace_id", "span_id", "endpoint", "status_code"]
        names += ["duration_ms", "logger", "event_id"]
        yield _row([*names, "event"])
        for event in events:
            rest: Mapping[str, Any] = {name: value for name, value in event.items() if name not in names}
            yield _row([*(event.get(name) for name in names), orjson.dumps(rest, default=str).decode()])


def _row(values: list[Any]) -> bytes:
    """Return one line of CSV; what a spreadsheet would take as a formula is quoted as text."""
    text = io.StringIO()
    safe = [f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" else value for value in values]
    csv.writer(text).writerow(safe)
    return text.getvalue().encode("utf-8", "replace")
