"""Whether a receiver takes spans, as far as it has shown it. Pure.

Rules
- Only what speaks of spans changes what is known of them: taken ones, or no place for them at a receiver
  that is one. A time-out, a 503 or a 429 to log records says nothing about spans.
- Who has no place for them is asked again after a while. That nothing will come of it is certain once it has
  said so twice: a server that restarts may be without the place for a moment.
"""

from __future__ import annotations

from typing import Final

__all__ = ["Reception"]

_ASK_AGAIN: Final = 300.0
"""Seconds until a receiver that took no spans is given some again."""


class Reception:
    """What is known. Times are seconds."""

    __slots__ = ("_refusals", "_since")

    def __init__(self) -> None:
        self._refusals = 0
        self._since = 0.0

    @property
    def refused(self) -> bool:
        """Whether it took no spans when it was last asked."""
        return self._refusals > 0

    @property
    def never(self) -> bool:
        """Whether it took none at two times that are far apart."""
        return self._refusals > 1

    def asked(self, now: float) -> bool:
        """Whether it is to be given spans."""
        return not self._refusals or abs(now - self._since) >= _ASK_AGAIN

    def takes(self) -> None:
        """Note that it took spans."""
        self._refusals = 0

    def refuses(self, now: float) -> None:
        """Note that it has no place for spans, but for log records; it was `asked`."""
        self._refusals += 1
        self._since = now
