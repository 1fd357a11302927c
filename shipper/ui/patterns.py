"""Errors and lines that differ in numbers and names only, together; and the words that errors are made of.

An error's pattern is set when the event is made. Whether it is new is asked of the whole store: it was never
seen before this range, or its service has had it only since its present version.

A request's exception is one event, the access event itself: that is an error like any other. Access events
that failed without one say nothing but their names, and come last.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from ...handlers.pattern import pattern
from ..core.keywords import has_chinese, keywords
from ..panels.words import segmenter
from ..store import Store
from ..store.panels import PanelQuery

__all__ = ["History", "errors", "similar", "words_of_errors"]

_TEXT: Final = "coalesce(error_pattern, error_type || ': ' || error_message, error_type, message)"
_ERRORS: Final = "level IN ('ERROR', 'CRITICAL')"
_COLUMNS: Final = frozenset(
    {
        "service",
        "error_pattern",
        "error_type",
        "error_message",
        "message",
        "level",
        "version",
        "trace_id",
        "kind",
    }
)
_FRESH: Final = 30.0
_COLOURS: Final = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?)")
_MASK: Final = re.compile(r"<(?:str|url|id|ip|path|num)>")

_HERE: Final = PanelQuery(
    f"service, {_TEXT} AS error, count(*) AS count, min(timestamp) AS first, max(timestamp) AS last,"
    " arg_max(trace_id, timestamp) AS trace_id, count(error_pattern) > 0 AS has_pattern,"
    " bool_and(coalesce(kind = 'access', FALSE) AND error_type IS NULL) AS only_access",
    _ERRORS,
    "GROUP BY ALL ORDER BY count DESC, last DESC LIMIT 50",
    _COLUMNS,
)
_EVER: Final = PanelQuery(
    f"service, {_TEXT} AS error, min(timestamp) AS first_ever,"
    " arg_min(version, timestamp) FILTER (WHERE version IS NOT NULL) AS first_version",
    _ERRORS,
    "GROUP BY ALL",
    _COLUMNS,
)
_VERSIONS: Final = PanelQuery(
    "service, arg_max(version, timestamp) AS version, count(DISTINCT version) AS versions",
    "version IS NOT NULL",
    "GROUP BY service",
    frozenset({"service", "version"}),
)
_TEXTS: Final = PanelQuery(
    f"{_TEXT} AS text, count(*) AS count",
    f"{_ERRORS} AND text IS NOT NULL AND (kind IS DISTINCT FROM 'access' OR error_type IS NOT NULL)",
    "GROUP BY 1 ORDER BY 2 DESC LIMIT 5000",
    _COLUMNS,
)


class History:
    """What each pattern was first seen with, over the whole store; asked at most every half minute."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self._known: tuple[dict[tuple[Any, Any], dict[str, Any]], dict[Any, dict[str, Any]]] = ({}, {})
        self._asked = float("-inf")

    def look(self) -> tuple[dict[tuple[Any, Any], dict[str, Any]], dict[Any, dict[str, Any]]]:
        """Return rows by service and pattern, and the versions of services."""
        if self._clock() - self._asked > _FRESH:
            ever = {(row["service"], row["error"]): row for row in self._store.answer(_EVER)}
            versions = {row["service"]: row for row in self._store.answer(_VERSIONS)}
            self._known, self._asked = (ever, versions), self._clock()
        return self._known


def errors(store: Store, history: History, since: str, until: str, words: str) -> list[dict[str, Any]]:
    """Return the patterns of a range, with when they were first seen at all, and in which version."""
    here = store.answer(_HERE, since or None, until or None, words)
    if not here:
        return []
    ever, versions = history.look()
    # Where next to nothing is older than the range, everything would seem to be new.
    begin, end = store.span(since or None, until or None)
    older = bool(since) and store.span()[0] < begin - (end - begin) / 4
    for row in here:
        first = ever.get((row["service"], row["error"]), {})
        version = versions.get(row["service"], {})
        row["first_ever"] = first.get("first_ever", row["first"])
        row["first_version"] = first.get("first_version")
        row["since_version"] = bool(
            version.get("versions", 0) > 1 and first.get("first_version") == version.get("version")
        )
        row["new"] = older and row["first_ever"] is not None and row["first_ever"] >= row["first"]
    return here


def words_of_errors(store: Store, since: str, until: str, words: str) -> list[dict[str, Any]]:
    """Return the keywords of a range's errors with their counts; what a request is called is no error."""
    rows = store.answer(_TEXTS, since or None, until or None, words)
    texts = [(_COLOURS.sub("", str(row["text"])), int(row["count"])) for row in rows]
    segment = segmenter() if any(has_chinese(text) for text, _ in texts) else None
    return [{"word": word, "count": count} for word, count in keywords(texts, 40, segment)]


def similar(events: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Group lines by what they have in common: count, first and last seen, the most frequent first.

    `filter` finds them again: what of the pattern does not vary.
    """
    groups: dict[tuple[str, str, str], dict[str, Any]] = {}
    for event in events:
        text = pattern(str(event.get("message", "")))
        key = (str(event.get("level", "")), str(event.get("service", "")), text)
        at = str(event.get("timestamp", ""))
        group = groups.get(key)
        if group is None:
            groups[key] = {
                "level": key[0],
                "service": key[1],
                "pattern": text,
                "count": 1,
                "first": at,
                "last": at,
                "filter": _filter(text),
            }
        else:
            group["count"] += 1
            group["first"], group["last"] = min(group["first"], at), max(group["last"], at)
    return sorted(groups.values(), key=lambda group: (-group["count"], group["pattern"]))[:200]


def _filter(text: str) -> str:
    parts = sorted((part.strip() for part in _MASK.split(text)), key=len, reverse=True)
    kept = [part for part in parts if len(part) > 2][:4] or [part for part in parts if part][:1]
    return " ".join('"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"' for part in kept)
