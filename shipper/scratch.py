"""Directories for a while, and the end of those whose process was killed.

Rules
- A directory is private (0700), of this user, and named for what it is for.
- In it is `lock`, which its process holds (`flock`) as long as it lives: the file takes that name when it is
  locked already. Only a lock that is there and can be had proves that nobody uses the directory: a number of
  a process says nothing across containers, and is given away again.
- Each process looks once for what others left behind, with the first directory that it makes. It removes only
  what is named as ours, private, this user's, no link, and proven dead; a failure there is nobody's trouble.
- A forked child neither holds its parent's lock nor removes its directories.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import tempfile
import weakref
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import Final, Literal, Self, TypeAlias, get_args

from .moment import moment

__all__ = ["Scratch"]

Purpose: TypeAlias = Literal["check", "edit", "query", "s3", "words"]

_OURS: Final = re.compile(rf"logferry-({'|'.join(get_args(Purpose))})-[a-z0-9_]{{8}}")
_LOCK: Final = "lock"
_IN_PLACE: Final = os.O_CLOEXEC | os.O_NOFOLLOW


class Scratch:
    """A directory that is gone when this is closed or collected, and when the process ends."""

    def __init__(self, purpose: Purpose) -> None:
        _sweep(tempfile.gettempdir())
        self.path: Final = Path(tempfile.mkdtemp(prefix=f"logferry-{purpose}-"))
        held = ExitStack()
        self.close = weakref.finalize(self, _remove, self.path, held, os.getpid())
        with suppress(OSError):  # a file system without locks: then it is what a kill leaves behind
            _hold(self.path, held)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _hold(path: Path, held: ExitStack) -> None:
    new = path / "new"
    fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | _IN_PLACE, 0o600)
    held.enter_context(moment(fd))
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    new.rename(path / _LOCK)


def _remove(path: Path, held: ExitStack, maker: int) -> None:
    with held:
        if os.getpid() == maker:
            shutil.rmtree(path, ignore_errors=True)


@cache
def _sweep(place: str) -> None:
    """Remove what processes that were killed have left in `place`."""
    with suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            if _OURS.fullmatch(entry.name):
                with suppress(OSError):
                    _remove_if_dead(entry.path)


def _remove_if_dead(path: str) -> None:
    with moment(os.open(path, os.O_RDONLY | os.O_DIRECTORY | _IN_PLACE)) as directory:
        found = os.fstat(directory)
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) != 0o700:
            return
        with moment(os.open(_LOCK, os.O_RDWR | _IN_PLACE, dir_fd=directory)) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # an OSError: it is in use
            shutil.rmtree(path, ignore_errors=True)
