"""Times as people write them: `15m` (ago), `today`, `08:30`, `2026-11-21`, ISO 8601."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = ["as_event_time", "parse_moment"]

_AGO: Final = re.compile(r"(?:\d{1,9}(?:\.\d{1,6})?\s*(?:ms|[smhdw])\s*)+", re.ASCII)
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|[smhdw])", re.ASCII)
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_CLOCK: Final = re.compile(r"\d{1,2}:\d{2}(?::\d{2})?", re.ASCII)


def parse_moment(text: str, now: datetime) -> datetime:
    """Return the moment that `text` means at `now` (aware; its zone is the reader's). Raises ValueError.

    `now`, `15m`/`1h30m`/`2d` (so long ago), `today`, `yesterday` (their midnight), `08:30` (the last one),
    a date, or ISO 8601; without an offset in the reader's zone.
    """
    words = text.strip()
    lowered = words.lower().removesuffix(" ago")
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    named = {"now": now, "today": midnight, "yesterday": midnight - timedelta(days=1)}
    if lowered in named:
        return named[lowered]
    try:
        if _AGO.fullmatch(lowered):
            return now - timedelta(seconds=sum(float(n) * _UNITS[unit] for n, unit in _PART.findall(lowered)))
        if _CLOCK.fullmatch(words):
            clock = datetime.strptime(words, "%H:%M:%S" if words.count(":") == 2 else "%H:%M")  # noqa: DTZ007 - the reader's zone
            moment = midnight.replace(hour=clock.hour, minute=clock.minute, second=clock.second)
            return moment if moment <= now else moment - timedelta(days=1)
        moment = datetime.fromisoformat(words)
        return moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is no time: write 15m, today, 08:30, 2026-11-21 or 2026-11-21T08:30"
        ) from None


def as_event_time(moment: datetime) -> str:
    """Return a moment as events write it; without a zone it is UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
