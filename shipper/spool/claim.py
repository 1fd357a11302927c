"""`delivery.lock`: the right to read what the owners of one service leave to others while they live.

Rules
- A delivery process, or an agent, holds a `flock` on the file while it works: there is one of them for a
  service and a path. Whoever can take the lock may deliver.
- The file is made by the owners who leave their spools to others, so that an agent under its own user, who
  may only read (`spool.group`), finds it. A descriptor for reading is enough to lock.
- A thread-delivering process of the same service leaves such spools alone as long as the right is claimed.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from ..moment import moment

__all__ = ["Claim", "delivery_is_claimed", "prepare_claim"]

_NAME: Final = "delivery.lock"


def _open(service: Path) -> int:
    return os.open(service / _NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)


def prepare_claim(service: Path, gid: int | None) -> None:
    """Make the file. Raises nothing: it is tried again with the next spool."""
    with suppress(OSError):
        fd = os.open(
            service / _NAME, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        try:
            if gid is not None:
                os.fchown(fd, -1, gid)
                os.fchmod(fd, 0o640)
        finally:
            os.close(fd)


def delivery_is_claimed(service: Path) -> bool:
    """Say whether a delivery process or an agent is at work for the service."""
    try:
        fd = _open(service)
    except OSError:
        return False
    with moment(fd):
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


class Claim:
    """The right to deliver, held until `release` or the end of the process."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def take(cls, service: Path) -> Claim | None:
        """Claim the right for a service's directory; None: somebody has it, or the place is not ours."""
        prepare_claim(service, None)
        try:
            fd = _open(service)
        except OSError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return None
        return cls(fd)

    def release(self) -> None:
        """Let somebody else have it."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
