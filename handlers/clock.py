"""Seconds since 1970 → the event's timestamp: ISO 8601, UTC, microseconds, `Z`."""

from __future__ import annotations

import time

__all__ = ["stamp"]

# The last second's text: (second, "2026-11-21T08:00:00."). Replaced as one tuple, so threads see whole ones.
_second: tuple[int, str] = (-1, "")


def stamp(seconds: float | None) -> str:
    """Return the moment `seconds` after 1970 began as `2026-11-21T08:00:00.123456Z`.

    Now for None, and for what is no moment between the years 1 and 9999.
    """
    global _second  # noqa: PLW0603 - a cache of one
    try:
        second, micro = divmod(int(seconds * 1e6 + 0.5), 1_000_000)  # type: ignore[operator]  # None: TypeError
        known, text = _second
        if second != known:
            text = _prefix(second)
            _second = (second, text)
    except (TypeError, ValueError, OverflowError, OSError):
        return stamp(time.time())
    return f"{text}{micro:06d}Z"


def _prefix(second: int) -> str:
    moment = time.gmtime(second)
    if not 1 <= moment.tm_year <= 9999:
        raise ValueError("no year that ISO 8601 writes with four digits")
    return f"{moment.tm_year:04d}-{time.strftime('%m-%dT%H:%M:%S.', moment)}"
