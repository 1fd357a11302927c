"""Descriptors that are open for a moment, with a lock (`flock`) on them: no forked child keeps one.

A lock belongs to what was opened, and a child has its own name for that: it would hold the lock for as long
as it lives, also when its parent is dead, and in the end wait for itself. Any thread may fork at any moment.

Rules
- The child closes, right after the fork, what its parent had open here.
- Whoever is done lets go of the lock before it closes: a child that was made between the opening and the note
  here has nothing then.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["moment"]

_open: dict[int, object] = {}


@contextmanager
def moment(fd: int) -> Iterator[int]:
    """Close `fd` at the end, and in a forked child at once."""
    mine = _open[fd] = object()
    try:
        yield fd
    finally:
        if _open.get(fd) is mine:  # else this is a child, it is closed, and its number may be another's
            del _open[fd]
            with suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)


def _after_fork() -> None:
    for fd in list(_open):
        with suppress(OSError):
            os.close(fd)
    _open.clear()


os.register_at_fork(after_in_child=_after_fork)
