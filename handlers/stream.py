"""`JsonHandler`: event lines to a stream or a file, for `logging.config.dictConfig` and for containers.

Rules
- One write per line, past all buffers: lines of several processes on one pipe or file do not mix, and nothing
  is left in a buffer that a crash would take along.
- Nothing raises and nothing is printed: a broken pipe, a full disk or a closed stream is counted in `failed`.
- A line that was written in part is finished by a line break before the next, so that only one line suffers.
- A file that was moved away (logrotate) is opened anew within a second; files are made with mode 0600.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from .filters import untouched
from .formatter import make_builder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .record import EventBuilder, Redaction
    from .schema import Schema

__all__ = ["JsonHandler"]

_LOOK_AFTER = 1.0  # seconds between two looks whether the file is still the one that its name means


class _Events(logging.Formatter):
    """The handler's own format: the event."""

    def __init__(self, builder: EventBuilder) -> None:
        super().__init__()
        self._builder = builder

    def format(self, record: logging.LogRecord) -> str:
        """Return the event line as text."""
        return self._builder.build(untouched(record)).decode()


class JsonHandler(logging.Handler):
    """Writes each record as one event line to `stream` (default: standard error) or appends it to `filename`.

    `service`, `environment`, `schema` and `redact` are as in `make_builder`; or give a `builder`. A formatter
    that is set on the handler is used instead of the builder. Raises OSError when the file cannot be opened,
    ValueError when both a stream and a file are given.
    """

    def __init__(
        self,
        stream: IO[Any] | None = None,
        filename: str | os.PathLike[str] | None = None,
        *,
        service: str | None = None,
        environment: str | None = None,
        schema: Schema | Mapping[str, Any] | None = None,
        redact: bool | Mapping[str, Any] | Redaction = True,
        level: int | str = logging.NOTSET,
        builder: EventBuilder | None = None,
    ) -> None:
        super().__init__(level)
        if stream is not None and filename is not None:
            raise ValueError("JsonHandler: give `stream` or `filename`, not both")
        self.builder = builder or make_builder(service, environment, schema, redact)
        self.failed = 0
        # Set from the beginning: `logging.basicConfig` gives its text format to handlers that have none.
        self.formatter = self._events = _Events(self.builder)
        self._stream = stream
        self._path = None if filename is None else Path(filename).absolute()
        self._fd = -1
        self._identity = (0, 0)
        self._look_at = 0.0
        self._torn = False
        if self._path is not None:
            self._open(self._path)

    @property
    def stream(self) -> IO[Any] | None:
        """The stream written to; standard error as it is at this moment when none was given."""
        return sys.stderr if self._stream is None and self._path is None else self._stream

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; failures are counted, never raised."""
        try:
            made = (
                self.builder.build(untouched(record))
                if self.formatter is None or self.formatter is self._events
                else self.formatter.format(record)
            )
            line = made if isinstance(made, bytes) else made.encode("utf-8", "backslashreplace")
            self._write(line + b"\n")
        except (
            OSError,
            ValueError,
            AttributeError,
        ):  # broken pipe, full disk, closed stream, no stream at all
            self.failed += 1
        except Exception:  # noqa: BLE001 - a foreign formatter or stream may raise anything
            self.failed += 1

    def flush(self) -> None:
        """Flush a stream that has no descriptor of its own."""
        flush = getattr(self.stream, "flush", None)
        if flush is not None:
            try:
                flush()
            except (OSError, ValueError):
                self.failed += 1

    def close(self) -> None:
        """Close the file; a stream is its owner's."""
        self.acquire()
        try:
            fd, self._fd = self._fd, -1
            if fd >= 0:
                os.close(fd)
        finally:
            self.release()
        super().close()

    def _write(self, line: bytes) -> None:
        if self._path is not None:
            self._write_fd(self._current_fd(self._path), line)
            return
        stream = self.stream
        if stream is None:
            raise ValueError("no stream")
        try:
            fd = stream.fileno()
        except (OSError, AttributeError, ValueError):
            self._write_stream(stream, line)
            return
        stream.flush()  # what others have written to the stream before comes first
        self._write_fd(fd, line)

    def _write_stream(self, stream: IO[Any], line: bytes) -> None:
        try:
            stream.write(line.decode())
        except TypeError:  # a binary stream
            stream.write(line)
        stream.flush()

    def _write_fd(self, fd: int, line: bytes) -> None:
        if self._torn:
            line = b"\n" + line
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[os.write(fd, rest) :]
        finally:
            if rest:
                self._torn = self._torn or len(rest) < len(line)
            else:
                self._torn = False

    def _open(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        status = os.fstat(self._fd)
        self._identity = (status.st_dev, status.st_ino)

    def _current_fd(self, path: Path) -> int:
        now = time.monotonic()
        if self._fd < 0 or now >= self._look_at:
            self._look_at = now + _LOOK_AFTER
            try:
                status = path.stat()
                same = (status.st_dev, status.st_ino) == self._identity
            except FileNotFoundError:
                same = False
            if not same or self._fd < 0:
                before, self._fd = self._fd, -1
                if before >= 0:
                    os.close(before)
                self._open(path)
        return self._fd
