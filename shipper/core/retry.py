"""How long to wait before a batch is sent again. Pure: attempts, advice and randomness come in as arguments.

- Full jitter: anywhere between nothing and the ceiling, so that a fleet does not come back in step.
- The ceiling doubles with each attempt and is clamped: the thousandth attempt waits no longer than the tenth.
- A floor keeps a lucky draw from sending five attempts within a millisecond.
- What the server asked for (`Retry-After`) is the least that is waited, clamped as well: a server that says
  "in a year" is asked again within the hour.
- A pause (what only a human can mend) is retried at the slowest pace, from the first time on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

__all__ = ["Backoff", "parse_retry_after"]

_DOUBLINGS = 30  # more would only make large numbers for `cap` to cut


@dataclass(frozen=True, slots=True)
class Backoff:
    """The pace of retries, in seconds: `base` is the first ceiling, `cap` the last, `floor` the least wait.

    `longest_advice` bounds what a server may ask for.
    """

    base: float = 0.5
    cap: float = 60.0
    floor: float = 0.05
    longest_advice: float = 3600.0

    def delay(self, attempt: int, chance: float, *, after: float | None = None, pause: bool = False) -> float:
        """Return the seconds to wait after the failed `attempt` (from 1); `chance` is random in [0, 1)."""
        if pause:
            wait = self.cap * (1.0 - chance / 2)
        else:
            ceiling = min(self.cap, self.base * 2.0 ** min(max(attempt, 1) - 1, _DOUBLINGS))
            wait = max(self.floor, ceiling * chance)
        if after is None or math.isnan(after) or after <= 0:
            return wait
        asked = min(after, self.longest_advice)
        # beyond what was asked comes a little jitter: every client was given the same moment
        return max(wait, asked + min(self.base, asked) * chance)


def parse_retry_after(text: str | None, now: float) -> float | None:
    """Return the seconds that a `Retry-After` header means (a number or an HTTP date); None: it says nothing.

    `now` is the time of day in seconds since 1970. A moment that is over is 0.
    """
    if text is None:
        return None
    text = text.strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except (TypeError, ValueError):
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = (moment - datetime.fromtimestamp(now, UTC)).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None
