"""The outlet that handlers get: the spool's, and a call at the first record of a process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .spool import Spool

__all__ = ["Door"]


class Door:
    """An outlet that is `spool`'s own; while it is `stale` a record that was taken calls `revive`.

    So the first record of a forked child starts the child's own workers. `revive` may run in any thread and
    in signal handlers, and more than once. Whoever offers calls the spool itself: it begins anew in a child,
    and comes here with what its fast way does not take, a first record among it.
    """

    __slots__ = ("_revive", "offer", "stale")

    offer: Callable[[bytes], bool]

    def __init__(self, spool: Spool, revive: Callable[[], None]) -> None:
        self.offer = spool.offer
        self._revive = revive
        self.stale = False
        spool.came = self._came

    def _came(self) -> None:
        if self.stale:
            self._revive()
