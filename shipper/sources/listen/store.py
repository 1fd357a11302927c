"""Events into the spool from an event loop: it never stands still because the spool is full."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ...ports import Appender

__all__ = ["Store"]

_FIRST: Final = 0.005  # seconds between two tries while the spool is full, at first and at most
_MOST: Final = 0.1


class _NoRoomError(Exception):
    """The spool is full at present."""


def _full() -> None:
    raise _NoRoomError


@dataclass(frozen=True, slots=True)
class Store:
    """The spool, as connections see it."""

    appender: Appender

    def offer(self, lines: Sequence[bytes]) -> bool:
        """Append the events in one step, unless the spool is full: then nothing of them."""
        try:
            self.appender.append(lines, waiting=_full)
        except _NoRoomError:
            return False
        return True

    async def put(self, lines: Sequence[bytes], patience: float | None = None) -> bool:
        """Append the events, as soon as there is room; False: not within `patience` seconds.

        Others get their turn in between, room or not.
        """
        await asyncio.sleep(0)
        if not lines or self.offer(lines):
            return True
        deadline = None if patience is None else asyncio.get_running_loop().time() + patience
        pause = _FIRST
        while deadline is None or asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(pause)
            if self.offer(lines):
                return True
            pause = min(2 * pause, _MOST)
        return False
