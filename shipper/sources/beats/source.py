"""The driver: what is acknowledged has been appended.

Rules

- A window is acknowledged when all of its events are in the spool, never before. A Beat repeats what was not.
- While the spool is full nothing more is read. So that the Beat does not take us for dead, it is told every
  few seconds how far we are.
- A connection that does not speak the protocol is closed, and it is said.
"""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ...config.fields import Duration, Size, setting
from ...config.sections import listen_address
from ...core.parse import Parser
from ...diagnostics import say
from ...ports import SourceContext
from ..listen.address import ServerTls, is_loopback, wrong_address, wrong_listen
from ..listen.intake import marked
from ..listen.loop import Ending, bound
from ..listen.store import Store
from ..listen.streams import Connection, serve
from ..parsers import PARSER_HELP, ParserConfig, ParserName, Reader, checked, parser_config
from .event import event_of_beat
from .frames import FrameReader, ProtocolError, Window, acknowledgement

__all__ = ["BeatsConfig", "BeatsSource"]

_GROUP: Final = 200  # events that are appended together
_GROUP_BYTES: Final = 128 * 1024
_TELL: Final = 5.0  # seconds between two words to a Beat that waits; it gives us up after 30
_SEND: Final = 30.0


@dataclass(frozen=True, slots=True)
class BeatsConfig:
    """Where to listen, and what the lines are."""

    listen: str = setting(
        help="host:port; a port alone means loopback", check=wrong_listen, example="127.0.0.1:5044"
    )
    parser: ParserName | ParserConfig = setting("auto", help=PARSER_HELP)
    tls: ServerTls | None = setting(None, help="speak TLS, with this certificate")
    insecure: bool = setting(
        False, help="listen beyond loopback without certificates of senders: whoever reaches it may write"
    )
    max_line_bytes: Size = setting(
        Size(1 << 20), help="longer events are cut and kept as text", minimum=1024, maximum=16 << 20
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
class BeatsSource:
    """Listens. `run` in one thread, `stop` from any."""

    config: BeatsConfig
    context: SourceContext
    address: tuple[str, int] | None = None  # where it listens, while it does
    _ending: Ending = field(default_factory=Ending)
    _parser: Parser = "auto"
    _reader: Reader | None = None

    def run(self, *, once: bool) -> None:
        """Take what comes until `stop()`; with `once` nothing: what others may send has no end."""
        if not once:
            self._ending.run(self._main)

    async def _main(self) -> None:
        config = self.config
        parser = parser_config(config.parser)
        if parser.format in {"text", "json"}:
            self._parser = "text" if parser.format == "text" else "json"
        elif parser.format != "auto":  # lines of many files come mixed: nothing is guessed from their order
            self._reader = Reader(parser)
        tls = None if config.tls is None else config.tls.context()
        sock = bound(*listen_address(config.listen), socket.SOCK_STREAM, self._ending)
        self.address = sock.getsockname()[:2]
        store = Store(self.context.appender)

        async def one(connection: Connection) -> None:
            extra = marked("" if is_loopback(connection.peer) else connection.peer)
            try:
                await _Talk(self, connection, store, extra).run()
            except ProtocolError as error:
                say(
                    "WARNING",
                    f"source {self.context.name}: {connection.peer} does not speak to us as a Beat: {error}",
                    f"{self.context.name} protocol",
                )

        name = self.context.name
        await serve(sock, one, self._ending, name=name, most=config.max_connections, context=tls)

    def event(self, payload: bytes, extra: Mapping[str, Any]) -> bytes | None:
        """Return the event of what a Beat sent."""
        return event_of_beat(self.context.builder, payload, self._parser, self._reader, extra)

    def stop(self) -> None:
        """Ask `run` to return soon."""
        self._ending.tell()


@dataclass(slots=True)
class _Talk:
    """One Beat."""

    source: BeatsSource
    connection: Connection
    store: Store
    extra: Mapping[str, Any]
    version: int = ord("2")
    due: int = 0  # events until the window is full
    seen: int = 0  # the sequence of the last event that was read
    stored: int = 0  # and of the last one that is in the spool
    _group: list[bytes] = field(default_factory=list)
    _size: int = 0

    async def run(self) -> None:
        config = self.source.config
        frames = FrameReader(config.max_line_bytes)
        while chunk := await self.connection.read(config.idle_timeout):
            for frame in frames.feed(chunk):
                if isinstance(frame, Window):
                    self.version, self.due = frame.version, frame.count
                    self.stored = 0
                    continue
                self.seen, self.due = frame.sequence, self.due - 1
                event = self.source.event(frame.payload, self.extra)
                if event is not None:
                    self._group.append(event)
                    self._size += len(event)
                if len(self._group) >= _GROUP or self._size >= _GROUP_BYTES or self.due <= 0:
                    await self._append()
                if self.due <= 0:
                    await self._acknowledge(self.seen)
            self.connection.busy = self.due > 0 or frames.pending
        await self._append()

    async def _append(self) -> None:
        """Append what was read, and tell the Beat meanwhile that we live."""
        while not await self.store.put(self._group, _TELL):
            await self._acknowledge(self.stored)
        self._group, self._size, self.stored = [], 0, self.seen

    async def _acknowledge(self, sequence: int) -> None:
        await self.connection.write(acknowledgement(self.version, sequence), _SEND)
