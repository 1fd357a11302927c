"""A Unix socket: what TCP and UDP take, from this machine's programs, guarded by the file's mode.

A socket that nobody listens on any more (its owner was killed) is removed and made anew; one that somebody
listens on is left alone.
"""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

import errno
import os
import re
import socket
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from ..config.fields import Duration, Size, setting
from ..ports import SourceKind
from .errors import SourceError
from .listen import options
from .listen.datagrams import Datagrams
from .listen.intake import Format, Intake
from .listen.lines import line_server
from .listen.listener import Listener
from .listen.store import Store
from .listen.streams import serve
from .parsers import ParserConfig, ParserName, checked

__all__ = ["SOURCE", "UnixConfig", "UnixSource"]

_MODE: Final = re.compile(r"0?[0-7]{3}")
_LONGEST: Final = 107  # bytes of a socket's path
_PATIENCE: Final = 3.0  # seconds for whoever had it before (another configuration) to leave it
_TURN: Final = 0.05


@dataclass(frozen=True, slots=True)
class UnixConfig:
    """Which socket, and what comes."""

    path: Path = setting(
        help="the socket's file; its directory must be there", example="/run/logferry/log.sock"
    )
    socket: Literal["stream", "datagram"] = setting(
        "stream", help="datagram: what the C library and `logger` speak to /dev/log"
    )
    format: Format = options.line_format()
    parser: ParserName | ParserConfig = options.mixed_parser()
    mode: str = setting("0660", help="the file's mode: who may write", example="'0666'")
    max_line_bytes: Size = options.longest(256 << 10)
    max_connections: int = options.connections()
    idle_timeout: Duration = options.idle(86_400.0)

    def __post_init__(self) -> None:
        checked(self.parser)
        if not _MODE.fullmatch(self.mode):
            raise ValueError("mode: write three octal digits in quotes, such as '0660'")
        if len(os.fsencode(self.path)) > _LONGEST:
            raise ValueError(f"path: a socket's path has at most {_LONGEST} bytes")


class UnixSource(Listener[UnixConfig]):
    """Listens. `run` in one thread, `stop` from any."""

    __slots__ = ()

    async def listen(self) -> None:
        """Take what comes, until it is to end."""
        config, context = self.config, self.context
        stream = config.socket == "stream"
        sock = self._bound(socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
        inode = config.path.stat().st_ino
        intake, store = Intake(context.builder, config.format, config.parser), Store(context.appender)
        limit = config.max_line_bytes
        try:
            if stream:
                one, most = line_server(intake, store, limit, config.idle_timeout), config.max_connections
                await serve(sock, one, self._ending, name=context.name, most=most)
            else:
                await Datagrams(context.name, sock, intake, store, limit).run(self._ending)
        finally:
            sock.close()
            with suppress(OSError):
                if config.path.stat().st_ino == inode:
                    config.path.unlink()

    def _bound(self, kind: socket.SocketKind) -> socket.socket:
        """Return the socket, listening if it is one for streams. `SourceError`: it cannot be had."""
        path = self.config.path
        deadline = time.monotonic() + _PATIENCE
        while _somebody_listens(path, kind):
            if self._ending.told or time.monotonic() > deadline:
                raise SourceError(f"cannot listen on {path}: something else listens there")
            time.sleep(_TURN)
        sock = socket.socket(socket.AF_UNIX, kind)
        try:
            _remove_old(path)
            sock.bind(str(path))
            path.chmod(int(self.config.mode, 8))
            if kind == socket.SOCK_STREAM:
                sock.listen(128)
            sock.setblocking(False)
        except OSError as error:
            sock.close()
            raise SourceError(f"cannot listen on {path}: {error.strerror}") from None
        except BaseException:
            sock.close()
            raise
        return sock


def _remove_old(path: Path) -> None:
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise SourceError(f"cannot listen on {path}: it is a file, and no socket")
        path.unlink()


def _somebody_listens(path: Path, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_UNIX, kind) as probe:
        probe.settimeout(0.2)
        try:
            probe.connect(str(path))
        except TimeoutError:
            return True
        except OSError as error:
            return error.errno == errno.EPROTOTYPE  # of the other kind, and alive
        return True


SOURCE: Final = SourceKind("unix", UnixConfig, UnixSource)
