"""Seconds since 1970 → the event's timestamp: ISO 8601, UTC, microseconds, `Z`."""

from __future__ import annotations

import time
from math import floor
from typing import Final

__all__ = ["LAST", "stamp"]

# The last second and its text: (1795252730, "2026-11-21T08:00:00."). One tuple: threads never see halves.
# A log call looks here itself (`record.py`).
LAST: Final[list[tuple[int, str]]] = [(-(10**15), "")]  # no moment lies in it


def stamp(seconds: float | None) -> str:
    """Return the moment `seconds` after 1970 began as `2026-11-21T08:00:00.123456Z`.

    Now for None, and for what is no moment between the years 1 and 9999.
    """
    if seconds is None:
        seconds = time.time()
    try:
        second, text = LAST[0]
        micro = int((seconds - second) * 1e6 + 0.5)
        if seconds >= second and micro < 1_000_000:  # a microsecond before the second `int` says 0, too
            return f"{text}{str(micro + 1_000_000)[1:]}Z"
        return _stamp(seconds)
    except (TypeError, ValueError, OverflowError, OSError):
        return _stamp(time.time())


def _stamp(seconds: float) -> str:
    """Return a moment of another second than the last, which becomes the last."""
    second = floor(seconds)
    micro = round((seconds - second) * 1e6)
    if micro == 1_000_000:
        second, micro = second + 1, 0
    text = _prefix(second)
    LAST[0] = (second, text)
    return f"{text}{micro:06d}Z"


def _prefix(second: int) -> str:
    moment = time.gmtime(second)
    if not 1 <= moment.tm_year <= 9999:
        raise ValueError("no year that ISO 8601 writes with four digits")
    return f"{moment.tm_year:04d}-{time.strftime('%m-%dT%H:%M:%S.', moment)}"
