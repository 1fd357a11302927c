"""Programs that write numbered lines, each with its own way of rotating its files.

What is rotated away is removed only when it is known to be delivered: then its inode may be used again.
"""

from __future__ import annotations

import gzip
import lzma
import os
import random
import shutil
from pathlib import Path
from typing import BinaryIO, Protocol

from backports import zstd

__all__ = ["WRITERS", "Rotating"]

AT_ONCE = 40
LATE = 5  # lines written to a file that has been renamed


class Packer(Protocol):
    def __call__(self, data: bytes, /) -> bytes: ...


class Rotating:
    """Writes `<name> <number> …` into `directory`, a file for each `each` lines; subclasses rotate."""

    def __init__(self, directory: Path, each: int) -> None:
        self.directory = directory
        self.name = type(self).__name__.lower()
        self.each = each
        self.written = 0
        self.file: BinaryIO = self.path.open("ab", buffering=0)
        self.delivered_up_to = 0
        self._gone: list[tuple[int, Path]] = []

    @property
    def path(self) -> Path:
        """What it writes to now."""
        return self.directory / f"{self.name}.log"

    @property
    def number(self) -> int:
        """How often it has rotated."""
        return self.written // self.each

    def write(self, upto: int) -> None:
        """Write lines up to this number, in pieces that end anywhere."""
        while self.written < upto:
            count = min(AT_ONCE, upto - self.written, self.each - self.written % self.each)
            numbers = range(self.written, self.written + count)
            text = b"".join(self.line(number) for number in numbers)
            cut = random.randrange(len(text))
            self.file.write(text[:cut])
            self.file.write(text[cut:])
            self.written += count
            if self.written % self.each == 0:
                self.rotate()
                self.clean()

    def line(self, number: int) -> bytes:
        if number % 3:
            return b"2026-11-21T08:00:00Z INFO %s %d %s\n" % (
                self.name.encode(),
                number,
                b"x" * random.randrange(120),
            )
        return b'{"level": "info", "msg": "%s %d ", "customer": %d}\n' % (
            self.name.encode(),
            number,
            number % 97,
        )

    def rotate(self) -> None:
        raise NotImplementedError

    def reopen(self) -> None:
        self.file.close()
        self.file = self.path.open("ab", buffering=0)

    def retire(self, path: Path) -> None:
        """Remove a file when all lines up to now are delivered."""
        self._gone.append((self.written, path))

    def clean(self) -> None:
        for upto, path in list(self._gone):
            if self.delivered_up_to >= upto:
                path.unlink()
                self._gone.remove((upto, path))

    def file_of(self, number: int) -> int:
        """Return which of its files a line stands in."""
        return number // self.each

    def close(self) -> None:
        self.file.close()


class Renamed(Rotating):
    """`app.log` → `app.log.1` → …, and what was opened before is written to for a while."""

    def rotate(self) -> None:
        old = self.file
        for number in range(self.number, 0, -1):
            path = self.directory / f"{self.name}.log.{number}"
            if path.exists():
                path.rename(path.with_suffix(f".{number + 1}"))
        self.path.rename(self.directory / f"{self.name}.log.1")
        late = b"".join(self.line(self.written + at) for at in range(LATE))
        old.write(late)
        self.written += LATE
        self.file = self.path.open("ab", buffering=0)
        old.close()
        self._gone_oldest()

    def file_of(self, number: int) -> int:
        return max(0, number - LATE) // self.each

    def _gone_oldest(self) -> None:
        found = sorted(self.directory.glob(f"{self.name}.log.*"), key=lambda path: int(path.suffix[1:]))
        if len(found) > 3 and self.delivered_up_to >= self.written - 3 * self.each:
            found[-1].unlink()


class Copied(Rotating):
    """Copied and truncated, as logrotate's `copytruncate` does."""

    def rotate(self) -> None:
        copy = self.directory / f"{self.name}.log.{self.number}"
        shutil.copy(self.path, copy)
        os.truncate(self.path, 0)
        self.retire(copy)


class CopiedPacked(Rotating):
    """Copied, truncated and compressed at once."""

    def rotate(self) -> None:
        copy = self.directory / f"{self.name}.log.{self.number}"
        shutil.copy(self.path, copy)
        os.truncate(self.path, 0)
        pack(copy, "xz", lambda data: lzma.compress(data, preset=0))


class RenamedPacked(Rotating):
    """Renamed, and compressed at the next rotation (`delaycompress`)."""

    def rotate(self) -> None:
        last = self.directory / f"{self.name}.log.1"
        if last.exists():
            gone = last.rename(self.directory / f"{self.name}.log.{self.number}")
            kind = self.number % 2
            self.retire(pack(gone, "gz", gzip.compress) if kind else pack(gone, "zst", zstd.compress))
        self.path.rename(last)
        self.reopen()


class Dated(Rotating):
    """Another name for each file; the old one stays."""

    @property
    def path(self) -> Path:
        return self.directory / f"{self.name}-2026-{self.number:05}.log"

    def rotate(self) -> None:
        self.reopen()


class Linked(Rotating):
    """A link leads to the file of now, and moves."""

    @property
    def path(self) -> Path:
        place = self.directory / f"{self.name}.d"
        place.mkdir(exist_ok=True)
        return place / f"{self.number:05}"

    def reopen(self) -> None:
        super().reopen()
        fresh = self.directory / ".next"
        fresh.symlink_to(self.path)
        fresh.rename(self.directory / f"{self.name}.log")

    def rotate(self) -> None:
        self.reopen()


class Removed(Rotating):
    """Removed when all is delivered, and made again: with the inode that has become free."""

    def rotate(self) -> None:
        if self.delivered_up_to >= self.written:
            self.path.unlink()
            self.reopen()


def pack(path: Path, kind: str, packer: Packer) -> Path:
    """Compress a file, in pieces that can be seen, and remove it."""
    packed = path.with_name(f"{path.name}.{kind}")
    content = packer(path.read_bytes())
    with packed.open("wb", buffering=0) as file:
        file.write(content[: len(content) // 2])
        file.write(content[len(content) // 2 :])
    path.unlink()
    return packed


WRITERS = (Renamed, Copied, CopiedPacked, RenamedPacked, Dated, Linked, Removed)
