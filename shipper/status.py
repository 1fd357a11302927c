"""What a running pipeline says of itself, in a file that others read: `logferry top` needs no port.

    <spool path>/<service>/running/<pid>-<token>     JSON with a check sum, locked (`flock`) while it runs

Rules

- Whoever can lock the file knows that its pipeline is gone, whatever the process numbers say: containers that
  share a path have numbers of their own. The next pipeline of the service removes it.
- Written by the upkeep thread, once a second at most and only when something has changed.
- An application makes no directory for it: there is none before its first record. An agent does.
- Nothing raises: a status that cannot be written is no trouble of the pipeline's.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Final

import msgspec

from .durable import make_private
from .spool.checked import pack, unpack

__all__ = ["SinkTold", "StatusFile", "Told", "read_told"]

_PLACE: Final = "running"
_MOST: Final = 1 << 20


class SinkTold(msgspec.Struct, frozen=True):
    """How a sink is, as `worker.SinkState` has it."""

    state: str = "ok"
    error: str = ""


class Told(msgspec.Struct, frozen=True):
    """What a pipeline says. `delivers` are the services' directories that it delivers for; times: wall clock.

    `sources` has the error of each source, empty when there is none; `last_error` stays after it was mended.
    `unparsed` has the lines that each source has not understood since the pipeline began.
    """

    pid: int = 0
    kind: str = ""
    started: float = 0.0
    delivers: tuple[str, ...] = ()
    sinks: dict[str, SinkTold] = {}
    sources: dict[str, str] = {}
    last_error: str = ""
    last_error_at: float = 0.0
    unparsed: dict[str, int] = {}


_DECODER: Final = msgspec.json.Decoder(Told)


class StatusFile:
    """The file of one pipeline. `create`: also where the service has no directory yet."""

    def __init__(self, service: Path, *, create: bool) -> None:
        self._service = service
        self._create = create
        self._fd = -1
        self._path: Path | None = None
        self._told: Told | None = None
        self._closed = False

    def tell(self, told: Told) -> None:
        """Write it, if it is news."""
        if told == self._told or self._closed:
            return
        with suppress(OSError):
            if self._fd < 0 and not self._open():
                return
            data = pack(msgspec.json.encode(told))
            os.pwrite(self._fd, data, 0)
            os.ftruncate(self._fd, len(data))
            self._told = told

    def close(self) -> None:
        """Remove it: the pipeline ends."""
        self._closed = True
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink()
        self.release()

    def release(self) -> None:
        """Let go of it in a forked child, whose parent has it still."""
        fd, self._fd, self._path, self._told = self._fd, -1, None, None
        if fd >= 0:
            os.close(fd)

    def _open(self) -> bool:
        if not self._create and not self._service.is_dir():
            return False
        place = self._service / _PLACE
        make_private(place)
        _clear(place)
        path = place / f"{os.getpid()}-{token_hex(4)}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._fd, self._path = fd, path
        return True


def _clear(place: Path) -> None:
    """Remove what killed pipelines left."""
    for path in place.iterdir():
        with suppress(OSError):
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                # One that is just being made is not locked yet, and empty.
                if os.fstat(fd).st_size:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
            finally:
                os.close(fd)


def read_told(service: Path) -> list[Told]:
    """Return what the living pipelines of a service say."""
    found = []
    with suppress(OSError):
        for path in sorted((service / _PLACE).iterdir()):
            with suppress(OSError, ValueError, msgspec.MsgspecError):
                fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    if _held(fd):
                        data = os.pread(fd, _MOST, 0)
                        found.append(_DECODER.decode(unpack(data)))
                finally:
                    os.close(fd)
    return found


def _held(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    return False
