"""One process reads what a source reads: two that do not know of each other would ship each line twice.

    <spool path>/<service>/source-<name>.lock     locked (`flock`) by who reads

Rules

- A second process with the same spool, service and name waits until the first has ended. Then it goes on
  where that one was.
- Where the file cannot be made or locked nobody waits: reading matters more.
- A forked child does not keep the lock (`moment`).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .durable import make_private
from .moment import moment
from .spool.directory import file_name

__all__ = ["sole_reader"]


@contextmanager
def sole_reader(service: Path | None, source: str, wait: Callable[[], bool]) -> Iterator[bool]:
    """Hold the right to read `source` of the service with this directory (None: whoever wants may).

    `wait` is called while another process has it; False: no longer. Gives whether it may be read.
    """
    fd = None if service is None else _opened(service, source)
    if fd is None:
        yield True
        return
    with moment(fd):
        while not (free := _locked(fd)) and wait():
            pass
        yield free


def _opened(service: Path, source: str) -> int | None:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        make_private(service)
        return os.open(service / f"source-{file_name(source)}.lock", flags, 0o600)
    except OSError:
        return None


def _locked(fd: int) -> bool:
    """Lock it; False: another process has it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # not here
        pass
    return True
