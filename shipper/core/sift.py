"""Which events of a batch are not for a sink, decided before anything is sent. Pure.

- What broke the schema (`violations`) becomes a dead letter.
- What is below the sink's `min_level` is filtered, reason `min_level`; an unknown level passes.
- What is older than the sink's `max_age` is dropped, reason `max_age`.

Levels and times are read with a typed decoder that skips the rest of the line; without `min_level` and
`max_age` no line is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from ..model import Batch
from .delivery import Fate

__all__ = ["Sieve", "event_time"]

_RANK = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}


class _Head(msgspec.Struct, gc=False):
    level: str = ""
    timestamp: str = ""


_decode = msgspec.json.Decoder(_Head).decode


def event_time(line: bytes) -> float | None:
    """Return the time of an event line in seconds since 1970; None when it has none that can be read."""
    try:
        return datetime.fromisoformat(_decode(line).timestamp).timestamp()
    except (msgspec.MsgspecError, ValueError, OverflowError):
        return None


@dataclass(frozen=True, slots=True)
class Sieve:
    """One sink's own conditions. `max_age` is seconds."""

    min_level: str | None = None
    max_age: float | None = None

    def fates(self, batch: Batch, violations: Mapping[int, str], now: float) -> dict[int, Fate]:
        """Return index → fate for what is not to be sent; `now` is seconds since 1970."""
        found: dict[int, Fate] = {}
        if self.min_level is not None or self.max_age is not None:
            self._look(batch, now, found)
        if violations:
            for index, sequence in enumerate(batch.sequences):
                if sequence in violations:
                    found[index] = Fate("dead", violations[sequence])
        return found

    def _look(self, batch: Batch, now: float, found: dict[int, Fate]) -> None:
        least = _RANK.get(self.min_level or "", 0)
        oldest = ""
        if self.max_age is not None:
            # times of events have one form, so that text compares as time does
            oldest = datetime.fromtimestamp(max(0.0, now - self.max_age), UTC).strftime(
                "%Y-%m-%dT%H:%M:%S.%fZ"
            )
        low, old = Fate("filtered", "min_level"), Fate("dropped", "max_age")
        rank = _RANK.get
        for index, line in enumerate(batch.lines):
            try:
                head = _decode(line)
            except msgspec.MsgspecError:
                continue
            if rank(head.level, 100) < least:
                found[index] = low
            elif head.timestamp and head.timestamp < oldest:
                found[index] = old
