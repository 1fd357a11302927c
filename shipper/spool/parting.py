"""What is only in memory when a spool is closed: it goes to the disk after all, or is written down as lost.

Rules
- A disk that was full may have room again, and what is in memory is little: each of its segments becomes a
  file of just its length, under its own number. Readers find its frames where they were. The bound of the
  path holds here too.
- What cannot be written ends with the process. The note in the newest segment that is on the disk says up to
  which sequence, which takes no room, and a frame behind its last one that the end was orderly. So whoever
  reads on counts these events as dropped (`memory_lost`).
- Without any segment on the disk there is no place for that: only stderr tells.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from ..core.framing import HEADER_SIZE, SHUTDOWN, encode, salt_of
from .directory import Home
from .scan import frames
from .segment import DATA, HINT_AT, MemorySegment, pack_header, pack_hint, parse_header, segment_name
from .settings import SpoolSettings
from .share import usage

__all__ = ["keep_memory"]

Allocate = Callable[[int, int], None]


def keep_memory(home: Home, settings: SpoolSettings, allocate: Allocate, settled: int, upto: int) -> int:
    """Keep what lies behind sequence `settled`; return how many of the events below `upto` are lost."""
    held = sorted(home.memory.items())
    ends = [segment.first for _, segment in held[1:]] + [upto]
    lost, tail = 0, 0
    for (number, segment), end in zip(held, ends, strict=True):
        waiting = end - max(segment.first, settled + 1)
        if waiting <= 0:
            continue
        if _to_disk(home, segment, settings, allocate, after=lost > 0):
            home.memory.pop(number, None)
            tail = 0
        else:
            lost, tail = lost + waiting, tail + waiting
    if tail and home.dir_fd >= 0:
        with suppress(OSError):
            _write_down(home, upto)
    return lost


def _to_disk(
    home: Home, segment: MemorySegment, settings: SpoolSettings, allocate: Allocate, *, after: bool
) -> bool:
    """Make a file of a segment; False when there is no room. `after`: one before it was lost."""
    content = bytes(segment.buffer)
    header = parse_header(content)
    size = min(len(content), len(content.rstrip(b"\0")) + HEADER_SIZE)  # a last frame may end with zeros
    path = settings.path
    if header is None or path is None or home.dir_fd < 0 or usage(path) + size > settings.max_bytes:
        return False
    head = pack_header(header._replace(after_memory=after, size=size))
    content = head + content[len(head) : size]
    fd = -1
    try:
        fd = home.create_file(segment_name(segment.number))
        allocate(fd, size)
        at = 0
        while at < size:
            at += os.pwrite(fd, content[at:], at)
        if settings.sync != "never":
            os.fsync(fd)
            home.sync_names(parents=True)
    except OSError:
        with suppress(OSError):
            if fd >= 0:
                os.unlink(segment_name(segment.number), dir_fd=home.dir_fd)
        return False
    finally:
        if fd >= 0:
            os.close(fd)
    return True


def _write_down(home: Home, upto: int) -> None:
    """Say in the newest segment on the disk that what follows is not there, and that the end was orderly."""
    number = max((n for n in home.numbers() if n not in home.memory), default=0)
    if not number:
        return
    end = max((found.base + found.frame.stop for found in frames(home, number)), default=DATA)
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(segment_name(number), flags, dir_fd=home.dir_fd)
    try:
        os.pwrite(fd, pack_hint(upto, "memory_lost"), HINT_AT)
        if end + HEADER_SIZE <= os.fstat(fd).st_size:
            salt = salt_of(bytes.fromhex(home.id), number)
            os.pwrite(fd, encode(salt, SHUTDOWN, 0, b"", upto, 0), end)
        os.fsync(fd)
    finally:
        os.close(fd)
