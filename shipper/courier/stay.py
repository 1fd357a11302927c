"""When a delivery process is no longer needed. Pure: time and counts are arguments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["LINGER", "PATIENCE", "Stay"]

LINGER: Final = 5.0
"""Seconds without an owner and without anything pending: workers that are recycled find it still there."""
PATIENCE: Final = 900.0
"""Seconds without an owner in which nothing of what is pending could be delivered."""


@dataclass(slots=True)
class Stay:
    """Decides at each look. `now` is monotonic."""

    linger: float = LINGER
    patience: float = PATIENCE
    _since: float | None = None
    _pending: int = -1

    def over(self, now: float, *, living: int, pending: int) -> bool:
        """Say whether to end. `living` owners of spools; `pending` events over all sinks."""
        if living:
            self._since = None
            return False
        if self._since is None or pending != self._pending:
            self._since, self._pending = now, pending
        return now - self._since >= (self.patience if pending else self.linger)
