"""A cursor's file: place and books in two checksummed slots, written in turn.

Rules
- A slot is: generation (8 bytes), length (4), CRC-32 of generation and content (4), JSON. The sound slot
  with the higher generation is the one that counts, so a write that is cut short leaves the one before.
- The file is allocated when it is made: moving a cursor needs no space, on a full disk least of all. Zeros
  are books that nothing was written into yet: whoever made the file was killed before.
- Books hold sums of what was committed; what is pending follows from the sequences and is never stored.
"""

from __future__ import annotations

import os
from contextlib import suppress
from struct import Struct
from zlib import crc32

import msgspec

from ..model import Account
from .directory import Home, file_name
from .private import prepare_directory
from .scan import last_of
from .segment import allocate

__all__ = ["SLOT", "Books", "BooksFile", "given_out", "read_books"]

SLOT = 8192
_HEAD = Struct("<QII")
_REASONS = 32


class Books(msgspec.Struct, kw_only=True):
    """What a cursor knows: the place (`segment`, `offset`, next `sequence`) and the fate of all before it."""

    segment: int = 0
    offset: int = 0
    sequence: int = 1
    delivered: int = 0
    dead_lettered: int = 0
    filtered: dict[str, int] = {}
    dropped: dict[str, int] = {}
    retried: int = 0
    duplicates: int = 0

    def account(self, accepted: int) -> Account:
        """Return the account when `accepted` sequences were given out."""
        accepted = max(accepted, self.sequence - 1)
        return Account(
            accepted=accepted,
            delivered=self.delivered,
            pending=accepted - (self.sequence - 1),
            dead_lettered=self.dead_lettered,
            filtered=dict(self.filtered),
            dropped=dict(self.dropped),
            retried=self.retried,
            duplicates=self.duplicates,
        )


_DECODER = msgspec.json.Decoder(Books)


def _pack(generation: int, books: Books) -> bytes:
    for reasons in (books.filtered, books.dropped):
        while len(reasons) > _REASONS:  # reasons come from configuration; a slot has an end
            rarest = min((r for r in reasons if r != "other"), key=lambda r: reasons[r])
            reasons["other"] = reasons.get("other", 0) + reasons.pop(rarest)
        for reason in [r for r in reasons if len(r) > 80]:
            short = reason[:80]
            reasons[short] = reasons.get(short, 0) + reasons.pop(reason)
    content = msgspec.json.encode(books)
    check = crc32(content, generation & 0xFFFFFFFF)
    return _HEAD.pack(generation, len(content), check) + content


def _unpack(data: bytes) -> tuple[int, Books | None]:
    if len(data) < _HEAD.size:
        return -1, None
    generation, length, check = _HEAD.unpack_from(data)
    content = data[_HEAD.size : _HEAD.size + length]
    if not length or len(content) != length or crc32(content, generation & 0xFFFFFFFF) != check:
        return -1, None
    try:
        return generation, _DECODER.decode(content)
    except msgspec.MsgspecError:
        return -1, None


def _newest(fd: int) -> tuple[int, Books | None]:
    data = [os.pread(fd, SLOT, at) for at in (0, SLOT)]
    if not any(slot.strip(b"\0") for slot in data):
        return 0, Books()
    return max(map(_unpack, data), key=lambda slot: slot[0])


def read_books(home: Home, name: str) -> Books | None:
    """Return the books in the cursor file called `name`; None when there are none that are sound."""
    try:
        fd = os.open(f"cursors/{name}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=home.dir_fd)
    except OSError:
        return None
    try:
        return _newest(fd)[1]
    except OSError:
        return None
    finally:
        os.close(fd)


def given_out(home: Home) -> int:
    """Return the last sequence that the spool is known to have given out; 0 for none.

    Books may know of more than the frames: what was only in memory, or lost in a power cut, after a sink
    had it.
    """
    committed = [0]
    with suppress(OSError):
        for name in os.listdir(home.path / "cursors"):  # noqa: PTH208 - names only
            books = read_books(home, name)
            committed.append(books.sequence - 1 if books is not None else 0)
    return max(last_of(home), *committed)


class BooksFile:
    """The cursor file of one sink, made at the first save; without a directory it keeps nothing."""

    def __init__(self, sink: str) -> None:
        self._name = file_name(sink)
        self._fd = -1
        self._generation = 0

    @property
    def there(self) -> bool:
        """Whether the file is open, so that it exists."""
        return self._fd >= 0

    def load(self, home: Home) -> Books | None:
        """Return the saved books; None when there are none."""
        self._open(home, create=False)
        if self._fd < 0:
            return None
        generation, books = _newest(self._fd)
        self._generation = max(generation, 0)
        return books

    def save(self, home: Home, books: Books) -> bool:
        """Save; False when the disk refused it (the next save tries again)."""
        try:
            self._open(home, create=True)
            if self._fd < 0:
                return False
            self._generation += 1
            os.pwrite(self._fd, _pack(self._generation, books), (self._generation % 2) * SLOT)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close the file."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()

    def _open(self, home: Home, *, create: bool) -> None:
        if self._fd >= 0 or home.dir_fd < 0:
            return
        path = f"cursors/{self._name}"
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=home.dir_fd)
        except FileNotFoundError:
            if not create:
                return
            prepare_directory(home.path / "cursors", home.gid, shared=True)
            fd = home.create_file(path)
            try:
                allocate(fd, 2 * SLOT)
            except OSError:
                os.close(fd)
                with suppress(OSError):
                    os.unlink(path, dir_fd=home.dir_fd)
                raise
            self._fd = fd
