"""Loki's time stamps: nanoseconds that tell a repeated delivery from an equal line, and what is too old.

Rules:

- An event's stamp is its own time in microseconds, and `sequence % 1000` nanoseconds. A second delivery of
  the same event has the same stamp, line and metadata, and Loki drops it; equal lines have different stamps.
- An event between `LIVE_AGE` ago and `AHEAD` from now goes to its live stream. So a live stream spans less
  than the hour that Loki accepts behind a stream's newest entry.
- Older ones go to a backfill stream (`Lanes`); what is older than `max_age`, or further ahead than `AHEAD`,
  Loki would refuse: it is restamped or dead-lettered.
- A restamped event is stamped with the full hour before the process first had to, plus its sequence as
  nanoseconds: a repetition gets the same stamp again, and order is kept.
- No clock is read here: `now` is an argument, in seconds since 1970.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

__all__ = ["AHEAD", "LIVE_AGE", "WINDOW", "Bounds", "Lanes", "Limit", "parse_timestamp"]

LIVE_AGE: Final = 30 * 60
AHEAD: Final = 9 * 60
WINDOW: Final = 50 * 60
"""Seconds that one backfill stream's entries may lie behind its newest; Loki's own bound is an hour."""

_LANES: Final = 8
_STREAMS: Final = 1_000
_OLDEST: Final = re.compile(
    r"oldest acceptable timestamp is: (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:Z|[+-]\d\d:\d\d))", re.ASCII
)


def _bound(body: str) -> float | None:
    """Return the youngest of the bounds that a refusal names, in seconds since 1970."""
    try:
        return max((datetime.fromisoformat(t).timestamp() for t in _OLDEST.findall(body)), default=None)
    except (ValueError, OverflowError):
        return None


def parse_timestamp(text: object) -> tuple[int, int] | None:
    """Return seconds since 1970 and microseconds of an ISO 8601 time with offset; None for anything else."""
    if type(text) is not str:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            return None
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    seconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // _SECOND
    return (seconds, moment.microsecond) if seconds >= 0 else None


_SECOND: Final = datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Bounds:
    """When an attempt's events are live, and acceptable at all: seconds since 1970, both ends included."""

    now: float
    live_from: int
    oldest: int

    @property
    def youngest(self) -> int:
        """The last second that Loki takes."""
        return int(self.now) + AHEAD


@dataclass(slots=True)
class Limit:
    """How old an event may be, in seconds: as configured, or less from when the server has said so.

    `max_age` is for Loki taking it at all, `live_age` for its live stream (another writer may be ahead in
    it).
    """

    max_age: float
    live_age: float = LIVE_AGE

    def bounds(self, now: float) -> Bounds:
        """Return the bounds of an attempt at `now`."""
        return Bounds(now, int(now - self.live_age), int(now - self.max_age))

    def learn(self, body: str, used: Bounds) -> Bounds | None:
        """Take the bounds out of a refusal of an attempt that `used` some; None when there is nothing new.

        What is returned is exact to a second: of the repeated attempt only what was refused changes its
        stream or its stamp. Later attempts keep a minute's distance.
        """
        if (bound := _bound(body)) is None:
            return None
        edge, age = int(bound) + 1, max(used.now - bound - 60, 0.0)
        news = used
        if "timestamp too old" in body and edge > used.oldest:
            news = replace(news, oldest=edge)
            self.max_age = min(self.max_age, max(age, 60.0))
        if "too far behind" in body and edge > used.live_from:
            news = replace(news, live_from=edge)
            self.live_age = min(self.live_age, age)
        return news if news != used else None


@dataclass(slots=True)
class Lanes:
    """The backfill streams of one spool, by live stream: a bounded number, each with its newest entry.

    A lane is taken only when the event is at most `WINDOW` behind the lane's newest *acknowledged* entry, so
    a push that is repeated takes the same lane as before. What Loki itself says of a lane is learned.
    """

    _newest: dict[str, list[int]] = field(default_factory=dict)

    def choose(self, stream: str, second: int) -> int | None:
        """Return the lane (0...) of `stream` for an event at `second`; None: all lanes are too far ahead."""
        newest = self._newest.get(stream, [])
        fitting = [(seen, lane) for lane, seen in enumerate(newest) if second >= seen - WINDOW]
        if fitting:
            return max(fitting)[1]  # the lane that is furthest on: the others stay open for older events
        return len(newest) if len(newest) < _LANES else None

    def stored(self, stream: str, lane: int, second: int) -> None:
        """Note that Loki holds an entry at `second`, or says that it holds one."""
        if stream not in self._newest and len(self._newest) >= _STREAMS:
            self._newest.clear()  # forgetting costs at worst a refusal that teaches it again
        newest = self._newest.setdefault(stream, [])
        newest += [0] * (lane + 1 - len(newest))
        newest[lane] = max(newest[lane], second)

    def learn(self, stream: str, lane: int, body: str) -> bool:
        """Take a stream's bound out of a refusal (`entry too far behind`). True when it is news."""
        if "too far behind" not in body or (bound := _bound(body)) is None:
            return False
        newest = int(bound) + 1 + WINDOW
        known = self._newest.get(stream, [])
        news = lane >= len(known) or newest > known[lane]
        self.stored(stream, lane, newest)
        return news
