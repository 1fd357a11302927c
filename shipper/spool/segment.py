"""Segments: one file (or one buffer in memory) of frames. Its layout: `shipper/spool/__init__.py`.

A writer's segment has `pos` (where the next frame goes), `cap` (where frames must end) and `fast` (the
same, or 0 when a frame may not be copied in by the caller). `TAIL` bytes behind `cap` are kept for the
closing frames.
"""

from __future__ import annotations

import errno
import mmap
import os
import resource
import sys
from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple, Protocol
from zlib import crc32

from ..core.framing import COUNT_FACTOR, EVENT, HEADER_SIZE, KIND_FACTOR, PRIME, SEAL, Buffer, encode, salt_of
from .pages import let_go, touch

__all__ = [
    "DATA",
    "REASONS",
    "TAIL",
    "MemorySegment",
    "Readable",
    "SegmentFile",
    "SegmentHeader",
    "Writable",
    "WritableFile",
    "allocate",
    "largest_file",
    "pack_header",
    "parse_header",
    "parse_hint",
    "segment_name",
]

MAGIC = b"LFSPOOL\x1e"
VERSION = 1
AFTER_MEMORY = 1
DATA = 96
TAIL = 4 * HEADER_SIZE
HINT_AT = 64
SEALED = 1 << 62
_HEAD = Struct("<8sHHI16sQQQ")
_HINT = Struct("<QII")
_ZEROS = bytes(1 << 20)
_WRITES_PARTS = hasattr(os, "pwritev")
# Codes on disk: never renumber.
REASONS = {1: "full", 2: "memory_full", 3: "max_age", 4: "memory_lost"}
_CODES = {reason: code for code, reason in REASONS.items()}


class SegmentHeader(NamedTuple):
    """A segment's first 60 bytes. `first` is the lowest sequence it can hold, `created` is in nanoseconds."""

    version: int
    after_memory: bool
    number: int
    spool: bytes
    first: int
    created: int
    size: int


def segment_name(number: int) -> str:
    """Return the file name of segment `number`."""
    return f"{number:08d}.seg"


def pack_header(header: SegmentHeader) -> bytes:
    """Return the header's bytes, its check sum included."""
    flags = AFTER_MEMORY if header.after_memory else 0
    body = _HEAD.pack(
        MAGIC,
        header.version,
        flags,
        header.number,
        header.spool,
        header.first,
        header.created,
        header.size,
    )
    return body + crc32(body).to_bytes(4, "little")


def parse_header(data: bytes) -> SegmentHeader | None:
    """Return the header; None when it is damaged."""
    body = data[: _HEAD.size]
    if len(body) < _HEAD.size or crc32(body).to_bytes(4, "little") != data[_HEAD.size : _HEAD.size + 4]:
        return None
    magic, version, flags, number, spool, first, created, size = _HEAD.unpack(body)
    if magic != MAGIC:
        return None
    return SegmentHeader(version, bool(flags & AFTER_MEMORY), number, spool, first, created, size)


def pack_hint(upto: int, reason: str) -> bytes:
    """Return the note that what is missing before sequence `upto` was refused for `reason`."""
    code = _CODES[reason]
    return _HINT.pack(upto, code, crc32(upto.to_bytes(8, "little"), code))


def parse_hint(data: bytes) -> tuple[int, str] | None:
    """Return (sequence that comes next, reason) when events were refused behind the segment's last frame."""
    if len(data) < HINT_AT + _HINT.size:
        return None
    upto, code, check = _HINT.unpack_from(data, HINT_AT)
    if code not in REASONS or crc32(upto.to_bytes(8, "little"), code) != check:
        return None
    return upto, REASONS[code]


def largest_file() -> int:
    """Return how large a segment may become (RLIMIT_FSIZE), in whole pages."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit // 4096 * 4096


def allocate(fd: int, size: int) -> None:
    """Give the file real blocks: a sparse one on a full disk is a SIGBUS. Raises OSError.

    Zeros are written behind the reservation: that brings the pages into the cache many at a time, a quarter
    of what they cost when each is first touched through the map. What is over the limit is not tried: the
    signal (SIGXFSZ) would end an application that does not ignore it.
    """
    if size > largest_file():
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    if sys.platform == "linux":
        try:
            os.posix_fallocate(fd, 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise
    at = 0
    while at < size:
        at += os.pwrite(fd, _ZEROS[: size - at], at)


class Readable(Protocol):
    """A segment as readers see it."""

    def read(self, at: int, length: int) -> bytes:
        """Return up to `length` bytes from offset `at`; fewer at the end."""
        ...

    def size(self) -> int:
        """Return the size in bytes."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class SegmentFile:
    """A segment file, read with `pread`: a file cut short under us is a short read, never a SIGBUS."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def read(self, at: int, length: int) -> bytes:
        """Return up to `length` bytes from offset `at`; nothing when the disk cannot read them."""
        if self._fd < 0:
            return b""
        try:
            return os.pread(self._fd, length, at)
        except OSError:
            return b""

    def size(self) -> int:
        """Return the file's size in bytes; 0 when it is closed."""
        return os.fstat(self._fd).st_size if self._fd >= 0 else 0

    def close(self) -> None:
        """Close the file."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()


class Writable:
    """What the writer needs of a segment; the base of the two kinds. `buffer` is written by the fast path."""

    __slots__ = ("buffer", "cap", "capacity", "fast", "first", "number", "opened", "pos", "salt", "seed")

    def __init__(self, number: int, spool: bytes, size: int, first: int) -> None:
        self.number = number
        self.salt = salt_of(spool, number)
        # The start of an event's check sum, but for sequence and length.
        self.seed = (self.salt + COUNT_FACTOR + EVENT * KIND_FACTOR) % PRIME
        self.capacity = size
        self.first = first
        self.pos = DATA
        self.cap = size - TAIL if size else 0
        self.fast = self.cap
        self.opened = 0.0
        self.buffer: memoryview | bytearray = bytearray()

    def put(self, at: int, data: bytes) -> None:
        """Copy bytes in: the first 24 (a frame's header) before the rest."""
        head = data[:HEADER_SIZE]
        self.buffer[at : at + len(head)] = head
        if len(data) > HEADER_SIZE:
            self.buffer[at + HEADER_SIZE : at + len(data)] = data[HEADER_SIZE:]

    def put_all(self, at: int, parts: Sequence[Buffer]) -> None:
        """Copy parts in, one behind the other; the first is a frame's header."""
        for part in parts:
            self.buffer[at : at + len(part)] = part
            at += len(part)

    def seal(self, at: int, sequence: int, kind: int = SEAL) -> None:
        """Write a closing frame at `at`; no room (a segment that was none): nothing."""
        if at + HEADER_SIZE <= self.capacity:
            self.put(at, encode(self.salt, kind, 0, b"", sequence, 0))

    def hint(self, upto: int, reason: str) -> None:
        """Note that everything missing before `upto` was refused for `reason`."""
        if self.capacity:
            data = pack_hint(upto, reason)
            self.buffer[HINT_AT : HINT_AT + len(data)] = data

    def sync(self) -> None:
        """Put what was written on the disk."""

    def warm(self, end: int) -> None:
        """Make the bytes from `pos` to `end` ready for the fast path."""

    def cool(self) -> None:
        """Give back the memory that the fast path has used; more may be written."""

    def close(self) -> None:
        """Let go of the file; the map goes with the last reference to it."""


class MemorySegment(Writable):
    """A segment that lives in this process only, for writer and readers alike."""

    __slots__ = ()

    def __init__(self, number: int, spool: bytes, size: int, first: int, created: int) -> None:
        super().__init__(number, spool, size, first)
        self.buffer = bytearray(size)
        head = pack_header(SegmentHeader(VERSION, False, number, spool, first, created, size))
        self.buffer[: len(head)] = head

    def size(self) -> int:
        """Return the size in bytes."""
        return self.capacity

    def read(self, at: int, length: int) -> bytes:
        """Return up to `length` bytes from offset `at`."""
        return bytes(self.buffer[at : at + length])


class WritableFile(Writable):
    """A segment on disk: mapped, or written with `pwrite` where a map is not to be trusted."""

    __slots__ = ("_map", "fd", "mapped")

    def __init__(self, fd: int, header: SegmentHeader, *, mapped: bool) -> None:
        """Take over `fd`, a new file of at least `header.size` allocated bytes. Raises OSError."""
        super().__init__(header.number, header.spool, header.size, header.first)
        self.fd = fd
        self.mapped = mapped
        if mapped:
            self._map = mmap.mmap(fd, header.size)
            # A log call finds the code that stores through a view near at hand, that of `mmap` far off.
            self.buffer = memoryview(self._map)
        else:
            self.fast = 0
        self.put(0, pack_header(header))

    def put(self, at: int, data: bytes) -> None:
        """Copy bytes into the map, or write them."""
        if self.mapped:
            super().put(at, data)
            return
        while data:
            done = os.pwrite(self.fd, data, at)
            data, at = data[done:], at + done

    def put_all(self, at: int, parts: Sequence[Buffer]) -> None:
        """Copy parts into the map, or write them as one."""
        if self.mapped:
            super().put_all(at, parts)
            return
        done = os.pwritev(self.fd, parts, at) if _WRITES_PARTS else 0
        if done < sum(map(len, parts)):
            self.put(at + done, b"".join(parts)[done:])

    def hint(self, upto: int, reason: str) -> None:
        """Note that everything missing before `upto` was refused for `reason`."""
        self.put(HINT_AT, pack_hint(upto, reason))

    def sync(self) -> None:
        """Put the data on the disk: `fdatasync` releases the interpreter lock, `mmap.flush` does not."""
        if self.fd >= 0:
            getattr(os, "fdatasync", os.fsync)(self.fd)

    def warm(self, end: int) -> None:
        """Have the map's pages from `pos` to `end` prepared."""
        if self.mapped:
            touch(self._map, min(self.pos, self.capacity), end)

    def cool(self) -> None:
        """Give the map's pages back."""
        if self.mapped:
            let_go(self._map)

    def close(self) -> None:
        """Close the file; the map goes with the last reference to it."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
