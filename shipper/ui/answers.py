"""Questions to the store, answered as JSON values. No HTTP here.

Every answer about a range says how complete it is: events that match, the newest one, and what the pipeline
still holds or has dropped.
"""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import orjson

from ...handlers.schema import FIELDS
from ..cli.trace import trace_id_of
from ..core.filter import FilterError
from ..core.spans import Span
from ..core.waterfall import waterfall
from ..overview import ServiceView, SinkView, Watcher
from ..panels import CATALOGUE
from ..store import Store
from ..store.moments import as_event_time
from ..store.panels import PanelQuery, step_for
from .elsewhere import elsewhere
from .patterns import History, errors, similar, words_of_errors
from .places import MOST, Places

__all__ = ["Answers", "plain"]

PAGE: Final = 200
_EXPORT: Final = 100_000
_VALUES: Final = 50
LOOKED_AT: Final = 20_000
_SHOWN: Final = 6
_NEWEST: Final = PanelQuery("max(timestamp) AS newest", "TRUE", "", frozenset({"timestamp"}))
_DEPLOYED: Final = PanelQuery(
    "timestamp AS time, service, version, left(message, 200) AS message",
    "kind = 'deployment'",
    "ORDER BY time DESC LIMIT 50",  # lines in a chart
    frozenset({"timestamp", "kind", "service", "version", "message"}),
)
_GROUPED: Final = (
    "level",
    "service",
    "logger",
    "endpoint",
    "status_code",
    "version",
    "host",
    "environment",
    "kind",
)
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
        self._places = Places(store)
        self._history = History(store)
        self._spool = spool
        self._watcher = Watcher([] if spool is None else [spool])
        self._lock = threading.Lock()

    def about(self) -> dict[str, Any]:
        """Return what does not change: the panels' words, the fields, and where the store is."""
        panels = {
            name: {"title": one.title, "about": one.about, "unit": one.unit}
            for name, one in CATALOGUE.items()
        }
        fields = [{"name": field.name, "type": field.type, "doc": field.doc} for field in FIELDS]
        return {
            "panels": panels,
            "fields": fields,
            "grouped": _GROUPED,
            "store": str(self._store.path.absolute()),
        }

    def panels(self, since: str, until: str, words: str, by: str = "level") -> Iterator[dict[str, Any]]:
        """Yield the panels of a range, each as soon as it is known: the quick ones first.

        The first says what the range is, in moments: the browser's clock may be wrong.
        """
        if by not in _GROUPED:
            raise ValueError(f"volume is grouped by one of {', '.join(_GROUPED)}")
        first, last = self._store.span(since or None, until or None)
        step = step_for((last - first).total_seconds())
        start, end = as_event_time(first), as_event_time(last)
        yield {"name": "range", "since": start, "until": end, "step": step, "open": not until}
        yield {"name": "volume", "rows": self._volume(start, end, step, by, words)}
        for name in ("heatmap", "latency", "qps", "error_rate", "top_errors", "slowest"):
            rows = self._store.panel(name, start, end, step=step, filter=words, limit=5)
            yield {"name": name, "rows": rows}
        yield {"name": "deployments", "rows": self._deployments(start, end)}
        yield {"name": "errors", "rows": errors(self._store, self._history, start, end, words)}
        yield {"name": "keywords", "rows": words_of_errors(self._store, start, end, words)}
        yield {"name": "topology", **self._store.topology(start, end)}

    def _volume(self, since: str, until: str, step: int, by: str, words: str) -> list[dict[str, Any]]:
        question = PanelQuery(
            f"time_bucket(INTERVAL '{int(step)} seconds', timestamp) AS time,"
            f' "{by}" AS value, count(*) AS count',
            "TRUE",
            "GROUP BY ALL ORDER BY ALL",
            frozenset({by, "timestamp"}),
        )
        rows = self._store.answer(question, since, until, words)
        for row in rows:
            row["value"] = "(none)" if row["value"] is None else str(row["value"])
        # Beyond six values the rest is one.
        sums: dict[str, int] = {}
        for row in rows:
            sums[row["value"]] = sums.get(row["value"], 0) + row["count"]
        shown = sorted(sums, key=lambda value: -sums[value])[:_SHOWN]
        found: dict[tuple[Any, str], int] = {}
        for row in rows:
            key = (row["time"], row["value"] if row["value"] in shown else "(others)")
            found[key] = found.get(key, 0) + row["count"]
        return [{"time": at, "value": value, "count": count} for (at, value), count in found.items()]

    def _deployments(self, since: str, until: str) -> list[dict[str, Any]]:
        """Return when what was deployed, whatever the filter: the charts have a line there."""
        return self._store.answer(_DEPLOYED, since, until)

    def pipeline(self) -> dict[str, Any]:
        """Say what the pipeline still holds or has dropped, sink by sink, and how old the newest event is."""
        pending = dropped = dead = 0
        reasons: dict[str, int] = {}
        lag: float | None = None
        with self._lock:
            services = [] if self._spool is None else self._watcher.look()
        sinks = [_sink(service, sink) for service in services for sink in service.sinks.values()]
        for service in services:
            for sink in service.sinks.values():
                pending += sink.account.pending
                dead += sink.account.dead_lettered
                for reason, count in sink.account.dropped.items():
                    reasons[reason] = reasons.get(reason, 0) + count
                    dropped += count
                if sink.oldest is not None:
                    lag = max(lag or 0.0, sink.oldest)
        newest = self._store.answer(_NEWEST)[0]["newest"]
        return {
            "name": "pipeline",
            "newest": None if newest is None else as_event_time(newest),
            "now": as_event_time(datetime.now(UTC)),
            "pending": pending,
            "dead_lettered": dead,
            "dropped": dropped,
            "reasons": reasons,
            "lag": lag,
            "known": self._spool is not None,
            "sinks": sinks,
            "bytes": sum(service.bytes for service in services),
            "spools": sum(service.spools for service in services),
            "processes": sum(service.living for service in services),
        }

    def check(self, words: str) -> dict[str, Any]:
        """Say what is wrong with a filter: a mistyped word is no failed request."""
        try:
            self._store.parse(words)
        except FilterError as error:
            return {"error": str(error)}
        return {"error": ""}

    def rows(
        self, since: str, until: str, words: str, first: int, count: int = PAGE, total: int = 0
    ) -> dict[str, Any]:
        """Return lines by their place in a range, the newest first, and how many there are in all.

        Who knows the `total` already gets the newest lines without waiting until all have their places.
        """
        start, end = self._store.span(since or None, until or None)
        if total and not first:
            count = max(min(count, MOST), 1)
            events = list(self._store.query(words, start, end, count))
            return {
                "total": max(total, count) if len(events) == count else len(events),
                "first": 0,
                "events": events,
            }
        return self._places.rows(start, end, words, first, count)

    def find(self, since: str, until: str, words: str, text: str, before: str, after: str) -> dict[str, Any]:
        """Return the place of the next line that has `text`: older than `before`, or newer than `after`."""
        start, end = self._store.span(since or None, until or None)
        wanted = f"({words}) {_quoted(text)}" if words.strip() else _quoted(text)
        if after:
            newer = self._store.query(wanted, _just_after(after), end, 1, "asc")
            event = next(newer, None)
        else:
            event = next(self._store.query(wanted, start, before or end, 1), None)
        if event is None:
            return {"place": -1}
        at = datetime.fromisoformat(str(event["timestamp"]))
        return {"place": self._places.place_of(start, end, words, at, str(event.get("event_id", "")))}

    def place(self, since: str, until: str, words: str, event_id: str) -> dict[str, Any]:
        """Return one event by its id, and its place in a range; -1: it is not in it."""
        event = self._store.get(event_id)
        if event is None:
            return {"event": None, "place": -1}
        start, end = self._store.span(since or None, until or None)
        at = datetime.fromisoformat(str(event["timestamp"]))
        inside = start <= at < end and self._store.parse(words).matches(event)
        place = self._places.place_of(start, end, words, at, event_id) if inside else -1
        return {"event": event, "place": place}

    def context(self, service: str, at: str, count: int = 25) -> dict[str, Any]:
        """Return what the service (or with none: everybody) logged around a moment, whatever the filter."""
        words = f"service={_quoted(service)}" if service else ""
        count = max(min(count, 1_000), 1)
        before = list(self._store.query(words, None, at, count, "desc"))[::-1]
        after = list(self._store.query(words, at, None, count + 1, "asc"))
        return {"events": before + after, "more": len(before) == count or len(after) > count}

    def similar(self, since: str, until: str, words: str) -> dict[str, Any]:
        """Return the lines of a range grouped by what they have in common: of the newest 20,000."""
        events = list(self._store.query(words, since or None, until or None, LOOKED_AT))
        return {"groups": similar(events), "looked_at": len(events), "all": len(events) < LOOKED_AT}

    def why_empty(self, since: str, until: str, words: str) -> dict[str, Any]:
        """Say why a range shows nothing: what there is nearby, and which word of the filter is to blame."""
        hints = self._store.parse(words).hints
        start, end = self._store.span(since or None, until or None)
        before = next(self._store.query(words, None, end, 1, "desc"), None)
        after = next(self._store.query(words, end, None, 1, "asc"), None)
        here = self._places.rows(start, end, "", 0, 1)["total"]
        day = self._places.rows(end - timedelta(days=1), end, words, 0, 1)["total"]
        return {
            "before": before and before.get("timestamp"),
            "after": after and after.get("timestamp"),
            "unfiltered": here,
            "day": day,
            "hints": list(hints),
        }

    def elsewhere(self, name: str, since: str, until: str, words: str) -> dict[str, Any]:
        """Return a panel's question in the languages of other stores."""
        start, end = self._store.span(since or None, until or None)
        node = self._store.parse(words).node
        return dict(elsewhere(name, node, as_event_time(start), as_event_time(end)))

    def trace(self, text: str) -> dict[str, Any]:
        """Return a trace as a waterfall, and its lines."""
        trace_id = trace_id_of(text)
        events = self._store.trace(trace_id)
        if not events and (known := self._trace_of_other_id(text.strip())):
            trace_id = known
            events = self._store.trace(trace_id)
        fall = waterfall(events)
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

    def _trace_of_other_id(self, text: str) -> str:
        """Return the trace of the request (or of the event) that has this id."""
        quoted = _quoted(text)
        words = f"request_id={quoted} OR correlation_id={quoted} OR event_id={quoted}"
        found = next((event for event in self._store.query(words, limit=5) if event.get("trace_id")), None)
        return "" if found is None else str(found["trace_id"])

    def values(self, field: str, since: str, until: str) -> dict[str, Any]:
        """Return the most frequent values of a field, with their counts."""
        if field not in _OFFERED and field not in self._store.declared():
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


def _sink(service: ServiceView, sink: SinkView) -> dict[str, Any]:
    account = sink.account
    return {
        "service": service.service,
        "sink": sink.name,
        "state": sink.state,
        "error": sink.error,
        "accepted": account.accepted,
        "delivered": account.delivered,
        "pending": account.pending,
        "dead_lettered": account.dead_lettered,
        "filtered": sum(account.filtered.values()),
        "dropped": sum(account.dropped.values()),
        "reasons": dict(account.dropped),
        "lag": sink.oldest,
        "unaccounted": account.balance,
    }


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _just_after(moment: str) -> datetime:
    return datetime.fromisoformat(moment) + timedelta(microseconds=1)


def _row(values: list[Any]) -> bytes:
    """Return one line of CSV; what a spreadsheet would take as a formula is quoted as text."""
    text = io.StringIO()
    safe = [f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" else value for value in values]
    csv.writer(text).writerow(safe)
    return text.getvalue().encode("utf-8", "replace")
