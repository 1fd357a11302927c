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
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Literal

from ..config.fields import Duration, Size, setting
from ..ports import SourceContext, SourceKind
from .errors import SourceError
from .listen.datagrams import Datagrams
from .listen.intake import Format, Intake
from .listen.loop import Ending
from .listen.store import Store
from .listen.streams import Connection, serve
from .parsers import ParserConfig, ParserName, checked
from .syslog.frames import FrameSplitter
from .tcp import read_lines

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
    format: Format = setting(
        "auto", help="auto: syslog messages, JSON field by field, the rest as text; each as it begins"
    )
    parser: ParserName | ParserConfig = setting(
        "auto", help="what lines are that are neither syslog nor JSON: a format or a program; auto: text"
    )
    mode: str = setting("0660", help="the file's mode: who may write", example="'0666'")
    max_line_bytes: Size = setting(
        Size(256 << 10), help="longer lines and messages are cut and marked", minimum=64, maximum=16 << 20
    )
    max_connections: int = setting(
        256, help="at a time; one more is closed at once", minimum=1, maximum=10_000
    )
    idle_timeout: Duration = setting(
        Duration(86_400.0), help="a connection on which nothing comes for so long is closed", minimum=0.05
    )

    def __post_init__(self) -> None:
        checked(self.parser)
        if not _MODE.fullmatch(self.mode):
            raise ValueError("mode: write three octal digits in quotes, such as '0660'")
        if len(os.fsencode(self.path)) > _LONGEST:
            raise ValueError(f"path: a socket's path has at most {_LONGEST} bytes")


@dataclass(slots=True)
class UnixSource:
    """Listens. `run` in one thread, `stop` from any."""

    config: UnixConfig
    context: SourceContext
    _ending: Ending = field(default_factory=Ending)

    def run(self, *, once: bool) -> None:
        """Take what comes until `stop()`; with `once` nothing: what others may send has no end."""
        if not once:
            self._ending.run(self._main)

    async def _main(self) -> None:
        config, name = self.config, self.context.name
        stream = config.socket == "stream"
        kind = socket.SOCK_STREAM if stream else socket.SOCK_DGRAM
        sock = self._bound(kind)
        inode = config.path.stat().st_ino
        intake, store = (
            Intake(self.context.builder, config.format, config.parser),
            Store(self.context.appender),
        )
        try:
            if not stream:
                await Datagrams(name, sock, intake, store, config.max_line_bytes).run(self._ending)
                return
            make = partial(FrameSplitter, config.max_line_bytes, syslog=config.format in {"auto", "syslog"})

            async def one(connection: Connection) -> None:
                await read_lines(connection, make(), intake, store, "", config.idle_timeout)

            await serve(sock, one, self._ending, name=name, most=config.max_connections)
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

    def stop(self) -> None:
        """Ask `run` to return soon."""
        self._ending.tell()


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


def _build(config: UnixConfig, context: SourceContext, /) -> UnixSource:
    return UnixSource(config, context)


SOURCE: Final = SourceKind("unix", UnixConfig, _build)
