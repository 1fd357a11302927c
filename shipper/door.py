"""The outlet that handlers get: the spool's, and a call at the first record of a process."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Door"]


class Door:
    """An outlet over `offer`; while it is `stale` a record that was taken calls `revive`.

    So the first record of a forked child starts the child's own workers. `revive` may run in any thread and
    in signal handlers, and more than once.
    """

    __slots__ = ("_offer", "_revive", "stale")

    def __init__(self, offer: Callable[[bytes], bool], revive: Callable[[], None]) -> None:
        self._offer = offer
        self._revive = revive
        self.stale = False

    def offer(self, event: bytes, /) -> bool:
        """Take one event line; see `Outlet`."""
        taken = self._offer(event)
        if self.stale:
            self._revive()
        return taken
