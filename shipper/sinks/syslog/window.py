"""What was sent last, and may not have been read: to be sent again when the connection breaks. Pure.

It holds whole frames, at most `max_bytes` of them and none that was sent longer than `max_age` seconds ago.
What is taken out for sending stays in until it is put in again: a second break during the repetition loses
nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ["Window"]


@dataclass(slots=True)
class Window:
    """Frames and when they were sent, oldest first. Times only go forward."""

    max_bytes: int
    max_age: float
    _frames: deque[tuple[float, bytes]] = field(default_factory=deque)
    _bytes: int = 0

    def sent(self, frames: Iterable[bytes], now: float) -> None:
        """Note what was sent."""
        for frame in frames:
            if len(frame) <= self.max_bytes:
                self._frames.append((now, frame))
                self._bytes += len(frame)
        self._trim(now)

    def pending(self, now: float) -> list[bytes]:
        """Return what may not have been read, oldest first."""
        self._trim(now)
        return [frame for _, frame in self._frames]

    def renew(self, now: float) -> None:
        """Note that what is in it was sent again."""
        self._frames = deque((now, frame) for _, frame in self._frames)

    def clear(self) -> None:
        """Forget all: it was read."""
        self._frames.clear()
        self._bytes = 0

    def _trim(self, now: float) -> None:
        while self._frames and (self._bytes > self.max_bytes or self._frames[0][0] < now - self.max_age):
            self._bytes -= len(self._frames.popleft()[1])
