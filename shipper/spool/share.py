"""Who gives up what when a path is full: dead spools first, then whoever has more than a fair share of it.

Rules
- The oldest segments of dead owners go first.
- A fair share is the bound divided by the number of spools under the path. Who holds less than that, and
  would have to refuse what it is offered or give up its own, takes the oldest segment of the living spool
  that holds most, if that holds more than its share. So a process that starts when others have filled the
  path is heard, and in the end each has its share.
- Only from those who drop their oldest by their own settings (`Owner.yields`), and never what a source has
  read (frames of lines, `POSITIONS`): sources wait, and lose nothing.
- Only a segment behind which two others are in use: so it is sealed, whatever its owner is doing just now.
- A process that is stopped while it writes down what goes keeps no owner waiting for longer than 20 ms. Then
  one may overwrite the other's reason (the loss is counted as `removed`), but never the count.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ..core.framing import EVENT, VIOLATION
from .directory import Home, spool_directories
from .scan import first_of, frames, last_of

__all__ = ["evict_dead", "share", "take_from_siblings", "usage"]


def usage(path: Path) -> int:
    """Return the bytes on disk under `path`, directories included. Raises nothing."""
    total = 0
    pending = [os.fspath(path)]
    while pending:
        with suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
    return total


def _spools(path: Path) -> list[Path]:
    """Return all spools under the path, of all services. Raises OSError."""
    return [
        spool
        for service in sorted(entry for entry in path.iterdir() if entry.is_dir())
        for spool in spool_directories(service)
    ]


def share(path: Path, bound: int) -> int:
    """Return each spool's part of the path's bound. Raises OSError."""
    return bound // max(1, len(_spools(path)))


def evict_dead(path: Path, adopted: dict[Path, Home]) -> bool:
    """Give up the oldest segment of a dead spool; `adopted` are those that this process holds."""
    for directory in _spools(path):
        held = adopted.get(directory)
        home = held or Home.adopt(directory)
        if home is None:
            continue
        try:
            numbers = home.numbers()
            if not numbers:
                continue
            following = first_of(home, numbers[1]) - 1 if len(numbers) > 1 else 0
            last = following if following > 0 else last_of(home)
            if home.evict(numbers[0], first_of(home, numbers[0]) or 1, last, "full"):
                return True
        finally:
            if held is None:
                home.close()
    return False


def take_from_siblings(path: Path, own: Home, bound: int) -> bool:
    """Take the oldest segment of the living spool that holds most, if `own` holds less than its share."""
    spools = _spools(path)
    fair = bound // max(1, len(spools))
    if usage(own.path) >= fair:
        return False
    others = [(usage(directory), directory) for directory in spools if directory != own.path]
    for size, directory in sorted(others, reverse=True):
        if size <= fair:
            return False
        with suppress(OSError):
            home = Home.view(directory)
            home.gid = own.gid
            try:
                if home.owner.yields and _take_oldest(home):
                    return True
            finally:
                home.close()
    return False


def _take_oldest(home: Home) -> bool:
    numbers = home.numbers()
    if len(numbers) < 3 or not first_of(home, numbers[2]):  # a segment that was made ahead says 0
        return False
    kinds = EVENT, VIOLATION
    frame = next((found.frame for found in frames(home, numbers[0])), None)
    following = next((found.frame for found in frames(home, numbers[1])), None)
    if frame is None or following is None or frame.kind not in kinds or following.kind not in kinds:
        return False
    return home.evict(numbers[0], frame.sequence, following.sequence - 1, "full")
