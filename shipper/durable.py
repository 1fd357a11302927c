"""Files that must survive: appended whole, synced, and cut back to their last whole line after a crash.

For the few files of lines that the spool does not hold (dead letters, the file sink). Errors are OSError.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

__all__ = ["append", "cut_torn_line", "make_private", "sync", "sync_directory"]

_CHUNK = 1 << 16


def append(handle: int, data: bytes, offset: int) -> None:
    """Write all of `data` at `offset`, however often the system writes less than it was given."""
    view = memoryview(data)
    while view:
        written = os.pwrite(handle, view, offset)
        view, offset = view[written:], offset + written


def sync(handle: int) -> None:
    """Bring the file's content to the disk."""
    getattr(os, "fdatasync", os.fsync)(handle)  # macOS has no fdatasync


def sync_directory(path: Path) -> None:
    """Bring the directory's names to the disk: a new file is only there after that."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_private(directory: Path) -> None:
    """Make a directory and whatever is missing above it, all 0700, whatever the umask.

    `mkdir(parents=True)` would leave the modes of those above to the umask.
    """
    missing = [place for place in (directory, *directory.parents) if not place.exists()]
    for place in reversed(missing):
        place.mkdir(mode=0o700, exist_ok=True)
    if not directory.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory))


def cut_torn_line(handle: int) -> int:
    """Cut off what a crash left behind the last line break; return the file's size."""
    end = os.fstat(handle).st_size
    if end == 0 or os.pread(handle, 1, end - 1) == b"\n":
        return end
    keep, position = 0, end
    while position > 0 and not keep:
        start = max(0, position - _CHUNK)
        found = os.pread(handle, position - start, start).rfind(b"\n")
        keep, position = (start + found + 1 if found >= 0 else 0), start
    os.ftruncate(handle, keep)
    return keep
