"""What logferry says about itself: lines on stderr, rate-limited, never into the pipeline.

The pipeline cannot carry the news that the pipeline is in trouble, and a line per failed attempt would bury
the application's own output: each `key` speaks at once and then at most once per `interval`, saying how often
it was silent. Nothing here raises, takes a lock, or logs through `logging`.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

__all__ = ["Diagnostics", "say", "set_level"]

_KEYS = 1_000  # keys remembered; more means somebody made keys out of data


class Diagnostics:
    """Writes own lines. `clock` is monotonic, `interval` seconds; `stream` None: stderr, as it is then."""

    def __init__(
        self,
        *,
        level: str = "WARNING",
        interval: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        stream: TextIO | None = None,
    ) -> None:
        self.level = level
        self._interval = interval
        self._clock = clock
        self._stream = stream
        self._spoken: dict[str, tuple[float, int]] = {}

    def say(self, level: str, message: str, key: str = "") -> bool:
        """Write one line unless its `key` (default: the message) spoke lately; return whether it did."""
        numbers = logging.getLevelNamesMapping()
        if numbers.get(level, 0) < numbers.get(self.level, 0):
            return False
        key = key or message
        now = self._clock()
        last, silent = self._spoken.get(key, (None, 0))
        if last is not None and now - last < self._interval:
            self._spoken[key] = (last, silent + 1)
            return False
        if len(self._spoken) >= _KEYS:
            self._spoken.clear()
        self._spoken[key] = (now, 0)
        more = f" ({silent} more like this)" if silent else ""
        text = " ".join(message.split())
        with suppress(Exception):  # stderr may be closed, full or replaced by anything
            print(f"logferry {level}: {text}{more}", file=self._stream or sys.stderr, flush=True)
        return True


_process = Diagnostics()


def say(level: str, message: str, key: str = "") -> bool:
    """Write one of logferry's own lines to stderr, as `Diagnostics.say` does."""
    return _process.say(level, message, key)


def set_level(level: str) -> None:
    """Set the least level of logferry's own lines (`WARNING` unless configured)."""
    _process.level = level
