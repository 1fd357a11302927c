"""Sink `file`: rotating NDJSON files.

    app.ndjson                                  being written
    app.20260131T080000.000000Z.ndjson          rotated: the moment of rotation, in UTC
    app.20260131T080000.000000Z.ndjson.zst      rotated and compressed (`compress: zstd`)

Rules

- Delivered means written *and* fsynced; a batch that fails half-way is cut off again before it is retried,
  and so is the torn line that a crash left.
- Rotation happens between batches, by size and by age (counted from the file's first line here), and when the
  file was moved or removed by somebody else (logrotate) a new one is begun.
- Compression happens after the rotation, into a temporary name: a crash leaves the uncompressed file, which
  is compressed at the next rotation.
- One process writes a file: a second one that finds it locked waits (`Retry`, paused). Put `{pid}` into the
  path where several processes of one service must write at once.
- Files are 0600 unless they are there already.
"""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from ..config.fields import Duration, Size, setting
from ..durable import append, cut_torn_line, make_private, sync, sync_directory
from ..model import Batch, Delivered, Limits, Retry, Verdict
from ..ports import SinkContext, SinkKind

__all__ = ["SINK", "FileConfig", "FileSink"]


@dataclass(frozen=True, slots=True)
class FileConfig:
    """Options of the sink `file`."""

    path: Path = setting(help="the file, e.g. ./logs/app.ndjson; {pid} becomes the process id")
    max_bytes: Size = setting(Size(100 * 1024 * 1024), help="a larger file is rotated", minimum=4096)
    max_age: Duration = setting(Duration(86400.0), help="an older file is rotated", minimum=1)
    keep: int = setting(10, help="rotated files kept; 0 keeps all", minimum=0)
    compress: Literal["none", "zstd"] = setting("none", help="how rotated files are compressed")


class FileSink:
    """Appends batches to a file, durably."""

    def __init__(self, config: FileConfig, _context: SinkContext | None = None) -> None:
        self._config = config
        self._path = Path(str(config.path).replace("{pid}", str(os.getpid())))
        self._handle = -1
        self._size = 0
        self._began = 0.0

    @property
    def limits(self) -> Limits:
        """What one batch may hold."""
        return Limits(max_events=20_000, max_bytes=4_000_000, max_event_bytes=4_000_000)

    def send(self, batch: Batch) -> Verdict:
        """Write the batch and fsync it."""
        data = b"\n".join([*batch.lines, b""])
        try:
            self._ready(len(data))
        except BlockingIOError:
            return Retry(f"{self._path} is written by another process; put {{pid}} into its path", pause=True)
        except OSError as error:
            return Retry(f"{self._path}: {error.strerror or error}", pause=True)
        try:
            append(self._handle, data, self._size)
            sync(self._handle)
        except OSError as error:
            self._undo()
            return Retry(f"{self._path}: {error.strerror or error}")
        self._size += len(data)
        return Delivered()

    def check(self) -> Sequence[str]:
        """Say when the directory cannot be made or written."""
        try:
            make_private(self._path.parent)
        except OSError as error:
            return (f"{self._path.parent}: {error.strerror or error}",)
        return () if os.access(self._path.parent, os.W_OK) else (f"{self._path.parent} cannot be written",)

    def close(self) -> None:
        """Close the file."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _ready(self, coming: int) -> None:
        """Have the right file open, rotated when it is due."""
        if self._handle >= 0 and not _same(self._handle, self._path):
            self.close()
        if self._handle < 0:
            self._open()
        due = self._size + coming > self._config.max_bytes or time.time() - self._began > self._config.max_age
        if self._size and due:
            self._rotate()

    def _open(self) -> None:
        make_private(self._path.parent)
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._size = cut_torn_line(handle)
        except OSError:
            os.close(handle)
            raise
        sync_directory(self._path.parent)
        self._handle, self._began = handle, time.time()

    def _undo(self) -> None:
        """Cut off what a failed write left; when even that fails the next opening does it."""
        try:
            os.ftruncate(self._handle, self._size)
        except OSError:
            self.close()

    def _rotate(self) -> None:
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        self._path.rename(self._path.with_name(f"{self._path.stem}.{moment}{self._path.suffix}"))
        self.close()
        self._open()
        rotated = self._rotated()
        if self._config.compress == "zstd":
            for path in rotated:
                if path.suffix != ".zst":
                    _compress(path)
            rotated = self._rotated()
        if self._config.keep:
            for path in rotated[: -self._config.keep]:
                path.unlink(missing_ok=True)

    def _rotated(self) -> list[Path]:
        """Return the rotated files, oldest first."""
        stem, suffix = self._path.stem, self._path.suffix
        found = []
        for path in self._path.parent.iterdir():
            name = path.name.removesuffix(".zst")
            moment = name.removeprefix(f"{stem}.").removesuffix(suffix)
            if (
                name == f"{stem}.{moment}{suffix}"
                and len(moment) == 23
                and moment[8] == "T"
                and moment[-1] == "Z"
            ):
                found.append(path)
        return sorted(found)


def _same(handle: int, path: Path) -> bool:
    try:
        there = path.stat()
    except OSError:
        return False
    here = os.fstat(handle)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _compress(path: Path) -> None:
    try:
        from cramjam import zstd
    except ImportError as error:
        raise RuntimeError('compress: zstd needs a library: pip install "logferry[zstd]"') from error
    temporary = path.with_name(f".{path.name}.zst.new")
    try:
        with path.open("rb") as source, temporary.open("wb") as target:
            packer = zstd.Compressor(level=3)
            while chunk := source.read(1 << 20):
                packer.compress(chunk)
                target.write(bytes(packer.flush()))
            target.write(bytes(packer.finish()))
            target.flush()
            os.fsync(target.fileno())
        temporary.replace(path.with_name(f"{path.name}.zst"))
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    path.unlink()


SINK = SinkKind("file", FileConfig, FileSink, writes=lambda config: config.path)
