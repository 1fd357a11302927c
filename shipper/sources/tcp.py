"""TCP: lines of JSON or text and syslog messages, from any number of senders.

Nothing is acknowledged in this protocol: what a sender has sent, and a killed agent had not read, is lost
with the connection. What was read is in the spool before the next read. While the spool is full nothing is
read, and the sender's own buffers fill. When the sender ends its side everything it sent is appended before
we end ours (logferry's syslog sink waits for that with `confirm: close`).
"""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from ..config.fields import Duration, Size, setting
from ..config.sections import listen_address
from ..ports import SourceContext, SourceKind
from .listen.address import ServerTls, is_loopback, wrong_address, wrong_listen
from .listen.intake import Format, Intake
from .listen.loop import Ending, bound
from .listen.store import Store
from .listen.streams import Connection, serve
from .parsers import ParserConfig, ParserName, checked
from .syslog.frames import FrameSplitter

__all__ = ["SOURCE", "TcpConfig", "TcpSource", "read_lines"]


@dataclass(frozen=True, slots=True)
class TcpConfig:
    """Where to listen, and what comes."""

    listen: str = setting(
        help="host:port; a port alone means loopback", check=wrong_listen, example="127.0.0.1:5140"
    )
    format: Format = setting(
        "auto", help="auto: syslog messages, JSON field by field, the rest as text; each as it begins"
    )
    parser: ParserName | ParserConfig = setting(
        "auto", help="what lines are that are neither syslog nor JSON: a format or a program; auto: text"
    )
    tls: ServerTls | None = setting(None, help="speak TLS, with this certificate")
    insecure: bool = setting(
        False, help="listen beyond loopback without certificates of senders: whoever reaches it may write"
    )
    max_line_bytes: Size = setting(
        Size(256 << 10), help="longer lines and messages are cut and marked", minimum=64, maximum=16 << 20
    )
    max_connections: int = setting(
        256, help="at a time; one more is closed at once", minimum=1, maximum=10_000
    )
    idle_timeout: Duration = setting(
        Duration(3600.0), help="a connection on which nothing comes for so long is closed", minimum=0.05
    )

    def __post_init__(self) -> None:
        checked(self.parser)
        guards = "ask for certificates with tls.client_ca_file, or write "
        guarded = self.tls is not None and self.tls.client_ca_file is not None
        problem = wrong_address(self.listen, guarded=guarded, insecure=self.insecure, guards=guards)
        if problem:
            raise ValueError(problem)


@dataclass(slots=True)
class TcpSource:
    """Listens. `run` in one thread, `stop` from any."""

    config: TcpConfig
    context: SourceContext
    address: tuple[str, int] | None = None  # where it listens, while it does
    _ending: Ending = field(default_factory=Ending)

    def run(self, *, once: bool) -> None:
        """Take what comes until `stop()`; with `once` nothing: what others may send has no end."""
        if not once:
            self._ending.run(self._main)

    async def _main(self) -> None:
        config, name = self.config, self.context.name
        tls = None if config.tls is None else config.tls.context()
        sock = bound(*listen_address(config.listen), socket.SOCK_STREAM, self._ending)
        self.address = sock.getsockname()[:2]
        intake, store = (
            Intake(self.context.builder, config.format, config.parser),
            Store(self.context.appender),
        )
        splitter = partial(FrameSplitter, config.max_line_bytes, syslog=config.format in {"auto", "syslog"})

        async def one(connection: Connection) -> None:
            sender = "" if is_loopback(connection.peer) else connection.peer
            await read_lines(connection, splitter(), intake, store, sender, config.idle_timeout)

        await serve(sock, one, self._ending, name=name, most=config.max_connections, context=tls)

    def stop(self) -> None:
        """Ask `run` to return soon."""
        self._ending.tell()


async def read_lines(
    connection: Connection,
    frames: FrameSplitter,
    intake: Intake,
    store: Store,
    sender: str,
    idle: float | None,
) -> None:
    """Take what one connection brings, to its end; a last line without an end is a line."""
    try:
        while True:
            try:
                chunk = await connection.read(idle)
            except (OSError, TimeoutError):
                chunk = b""  # what came before a reset is as good as what came before an end
            records = frames.feed(chunk) if chunk else frames.flush()
            connection.busy = frames.pending
            for events in intake.events(records, sender):
                await store.put(events)
            if not chunk:
                return
    finally:
        connection.busy = False


def _build(config: TcpConfig, context: SourceContext, /) -> TcpSource:
    return TcpSource(config, context)


SOURCE: Final = SourceKind("tcp", TcpConfig, _build)
