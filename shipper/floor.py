"""Which thread of an agent computes: one at a time, for a block of lines or a batch of events.

In `logferry run` the sources and the workers compute all the time and share one interpreter. Its lock changes
hands whenever who has it enters native code (a check sum, RE2, compression): some seven times a block, and
each time a thread is put to sleep and woken, mostly on another processor. That was an eighth of all CPU of a
line. Rules:

- Who computes holds the floor. Who asks for it gets it next, in the order of asking.
- It is never held by somebody who waits: not for the network or a sink, and for room in the spool one leaves
  it (`left`), as it is the worker, who needs it, that makes room. Nor does one who holds it ask for it again.
- A source keeps it for what it has read at once, appended and all; a worker for a read, and for a batch.
- It is there for processes that are nothing else than an agent (`share`). In an application nobody holds it:
  there the workers rest between small pieces (`turns`), so that log calls have the interpreter.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["FLOOR", "Floor"]


class Floor:
    """Held by one thread at a time (`with`), once it is shared; before that it is everybody's."""

    def __init__(self) -> None:
        self.shared = False
        self._guard = threading.Lock()
        self._holder = 0
        # The lock of who holds it, and behind it of those who wait, each at its own.
        self._queue: deque[threading.Lock] = deque()

    def share(self) -> None:
        """Let it be held from now on."""
        self.shared = True

    @property
    def held(self) -> bool:
        """Whether somebody has it."""
        return bool(self._queue)

    def __enter__(self) -> None:
        if not self.shared:
            return
        mine = threading.Lock()
        mine.acquire()
        with self._guard:
            self._queue.append(mine)
            first = len(self._queue) == 1
        if not first:
            mine.acquire()
        self._holder = threading.get_ident()

    def __exit__(self, *_: object) -> None:
        if self._holder != threading.get_ident():
            return  # it was not shared yet
        self._holder = 0
        with self._guard:
            self._queue.popleft()
            if self._queue:
                self._queue[0].release()

    @contextmanager
    def left(self) -> Iterator[None]:
        """Let others have it meanwhile, if this thread does: it is going to wait."""
        mine = self._holder == threading.get_ident()
        if mine:
            self.__exit__()
        try:
            yield
        finally:
            if mine:
                self.__enter__()


FLOOR: Final = Floor()
"""The floor of this process: there is one interpreter in it."""
