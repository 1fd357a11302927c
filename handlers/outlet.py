"""Where a handler's events go: the one seam between `handlers` and whatever ships them.

`handlers` ends with bytes. An event is one JSON object in UTF-8, without a line break, made once and never
rebuilt on its way. Whoever takes it (the spool, a test's list, a socket) implements `Outlet`.
"""

from __future__ import annotations

from typing import Protocol, Self

__all__ = ["Outlet", "Violation"]


class Outlet(Protocol):
    """Takes events, one at a time."""

    def offer(self, event: bytes, /) -> bool:
        """Take one event line (a JSON object in UTF-8, no line break).

        True when the event is held safely; False when it had to be refused, which the outlet has counted.
        Never blocks (unless the user asked for `when_full: block`) and never raises. It may be called from
        any thread, from signal handlers and from finalisers, also while another call is under way.
        """
        ...


class Violation(bytes):
    """An event that broke the schema under `on_violation: dead_letter`.

    It is offered like any event, travels through the spool under its own frame type, and ends in each sink's
    dead letters with `reason`; no sink ever sends it.
    """

    reason: str

    def __new__(cls, line: bytes, reason: str) -> Self:
        """Mark `line` as violating the schema for `reason` (a sentence for the dead letter)."""
        self = super().__new__(cls, line)
        self.reason = reason
        return self
