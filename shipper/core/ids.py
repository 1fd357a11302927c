"""Ids of requests and traces, wherever they stand in a text.

Understood are `[req-…]`, names with `=` or `:` behind (`request_id=…`, `X-Request-ID: …`, `"traceId":"…"`,
also in SQL comments), `traceparent`, and Sleuth's `[service,trace,span]`. The first of each counts. The text
stays as it is. A malformed id is no id.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any, Final
from urllib.parse import unquote

__all__ = ["HINTS", "add_ids", "block_may_hold_ids", "has_ids", "may_hold_ids", "span_of", "trace_of"]

_TRACE_ID: Final = re.compile(r"(?!0{32})[0-9a-f]{32}\Z")
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")
_SPAN_ID: Final = re.compile(r"(?!0{16})[0-9a-f]{16}\Z")

HINTS: Final = ("race", "req", "Req")
"""One of these stands in nearly every text with ids. (To look for each costs less than for all at once.)"""
_HINTS: Final = tuple(hint.encode() for hint in HINTS)

_FIND: Final = re.compile(
    r"\[(?P<req>req-[A-Za-z0-9-]{4,124})(?=[\] ])"
    r"|\[[A-Za-z0-9._-]{0,64},(?P<trace>[0-9a-f]{32}),(?P<span>[0-9a-f]{16})(?:,(?:true|false)?)?\]"
    r"|(?<![A-Za-z0-9])(?P<name>traceparent|(?:x[-_])?(?:request|req|trace|span)[-_.]?id)"
    r"""["']?\s{0,2}[=:]\s{0,2}["']?(?P<value>[A-Za-z0-9._:%-]{1,200})""",
    re.IGNORECASE,
)
_MARKS: Final = r"\[req-|traceparent|(?:request|req|trace|span)[-_.]?id|,[0-9a-f]{16}"
"""What stands in every text in which `_FIND` finds something. Words such as `required` have it not."""
_REQUEST: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}\Z")
_PARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}\Z")
_MOST: Final = 16  # places to look at: a text full of names that are none must not cost more
_FAR: Final = 16 * 1024  # characters from either end


def span_of(value: object) -> str | None:
    """Return a span's id; None: it is none."""
    return value if isinstance(value, str) and _SPAN_ID.match(value) else None


def trace_of(value: object) -> str | None:
    """Return a trace's id as events have it (a UUID loses its dashes); None: it is none."""
    if not isinstance(value, str):
        return None
    if _TRACE_ID.match(value):
        return value
    lower = value.lower()
    if _UUID.match(lower):
        lower = lower.replace("-", "")
    return lower if _TRACE_ID.match(lower) else None


@cache
def _detector() -> Callable[[str | bytes], object]:
    """Return a search for `_MARKS`, on RE2 where it is there: `re` takes twenty times as long."""
    try:
        import re2
    except ImportError:
        texts, blocks = re.compile(_MARKS, re.IGNORECASE), re.compile(_MARKS.encode(), re.IGNORECASE)
        return lambda text: texts.search(text) if isinstance(text, str) else blocks.search(text)
    options = re2.Options()
    options.case_sensitive = False
    search: Callable[[str | bytes], object] = re2.compile(_MARKS, options).search
    return search


def may_hold_ids(text: str) -> bool:
    """Whether it is worth while to look for ids; Sleuth's are not asked for."""
    return any(hint in text for hint in HINTS) and _detector()(text) is not None


def block_may_hold_ids(block: bytes) -> bool:
    """Whether it is worth while to look for ids in lines, all at once."""
    return any(hint in block for hint in _HINTS) and _detector()(block) is not None


def has_ids(text: str) -> bool:
    """Whether `add_ids` may find an id."""
    return may_hold_ids(text) and (len(text) > 2 * _FAR or _FIND.search(text) is not None)


def add_ids(fields: dict[str, Any], text: str, *, sleuth: bool = False) -> None:
    """Put the ids that `text` names into `fields`, where it has none yet. `sleuth`: it may have Sleuth's."""
    if not may_hold_ids(text) and not (sleuth and "," in text):
        return
    if len(text) > 2 * _FAR:
        text = text[:_FAR] + "\n" + text[-_FAR:]
    for turn, found in enumerate(_FIND.finditer(text)):
        if turn >= _MOST:
            return
        if found["req"] is not None:
            fields.setdefault("request_id", found["req"])
        elif found["trace"] is not None:
            _trace(fields, found["trace"].lower(), found["span"].lower())
        else:
            _named(fields, found["name"].lower(), found["value"])


def _named(fields: dict[str, Any], name: str, value: str) -> None:
    if "%" in value:
        value = unquote(value)
    value = value.rstrip(".:")
    if name == "traceparent":
        parent = _PARENT.match(value)
        if parent is not None:
            _trace(fields, parent[1], parent[2])
    elif "span" in name:
        span = span_of(value.lower())
        if span:
            fields.setdefault("span_id", span)
    elif "trace" in name:
        _trace(fields, value, "")
    elif _REQUEST.match(value):
        fields.setdefault("request_id", value)


def _trace(fields: dict[str, Any], trace: str, span: str) -> None:
    known = trace_of(trace)
    if known is None or "trace_id" in fields:
        return
    fields["trace_id"] = known
    if span_of(span):
        fields.setdefault("span_id", span)
