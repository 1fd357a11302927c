"""The driver: what is acknowledged has been appended.

Rules

- A window is acknowledged when all of its events are in the spool, never before. A Beat repeats what was not.
- While the spool is full nothing more is read. So that the Beat does not take us for dead, it is told every
  few seconds how far we are.
- A connection that does not speak the protocol is closed, and it is said. One whose frame does not come to
  its end is closed, too; a Beat sends again what was not acknowledged.
"""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from ...config.fields import Duration, Size, setting
from ...diagnostics import say
from ..listen import options
from ..listen.address import ServerTls, is_loopback
from ..listen.intake import marked
from ..listen.listener import StreamListener
from ..listen.store import Store
from ..listen.streams import Connection, Serve
from ..mixed import Mixed
from ..parsed_blocks import ParsedBlocks, Told
from ..parsers import PARSER_HELP, ParserConfig, ParserName, checked
from .event import told_of_beat
from .frames import FrameReader, ProtocolError, Window, acknowledgement

__all__ = ["BeatsConfig", "BeatsSource"]

_GROUP: Final = 500  # events that are appended together
_GROUP_BYTES: Final = 160 * 1024
_WHOLE: Final = 60.0  # seconds that a frame may take to arrive
_TELL: Final = 5.0  # seconds between two words to a Beat that waits; it gives us up after 30
_SEND: Final = 30.0


@dataclass(frozen=True, slots=True)
class BeatsConfig:
    """Where to listen, and what the lines are."""

    listen: str = options.listen("127.0.0.1:5044")
    parser: ParserName | ParserConfig = setting("auto", help=PARSER_HELP)
    tls: ServerTls | None = options.tls()
    insecure: bool = options.insecure()
    max_line_bytes: Size = setting(
        Size(1 << 20), help="longer events are cut and kept as text", minimum=1024, maximum=16 << 20
    )
    max_connections: int = options.connections()
    idle_timeout: Duration = options.idle(3600.0)

    def __post_init__(self) -> None:
        checked(self.parser)
        options.check_guards(self.listen, tls=self.tls, insecure=self.insecure)


class BeatsSource(StreamListener[BeatsConfig]):
    """Listens. `run` in one thread, `stop` from any."""

    __slots__ = ()

    def handler(self) -> Serve:
        """Return what serves one Beat."""
        config, context = self.config, self.context
        mixed = Mixed(config.parser)
        store, blocks = Store(context.appender), ParsedBlocks(context.builder)

        async def one(connection: Connection) -> None:
            extra = marked("" if is_loopback(connection.peer) else connection.peer)
            read = partial(told_of_beat, mixed=mixed, extra=extra)
            try:
                await _Talk(config, connection, store, read, blocks).run()
            except ProtocolError as error:
                text = f"source {context.name}: {connection.peer} does not speak to us as a Beat: {error}"
                say("WARNING", text, f"{context.name} protocol")

        return one


@dataclass(slots=True)
class _Talk:
    """One Beat."""

    config: BeatsConfig
    connection: Connection
    store: Store
    read: Callable[[bytes], Told | None]
    blocks: ParsedBlocks
    version: int = ord("2")
    due: int = 0  # events until the window is full
    seen: int = 0  # the sequence of the last event that was read
    stored: int = 0  # and of the last one that is in the spool
    _group: list[tuple[int, bytes]] = field(default_factory=list)  # sequences and what was said
    _size: int = 0

    async def run(self) -> None:
        config = self.config
        frames = FrameReader(config.max_line_bytes)
        clock = asyncio.get_running_loop().time
        begun = 0.0  # when the frame began that is not whole yet; 0: there is none
        while chunk := await self.connection.read(
            min(config.idle_timeout, max(begun + _WHOLE - clock(), 0.0)) if begun else config.idle_timeout
        ):
            for frame in frames.feed(chunk):
                begun = 0.0
                if isinstance(frame, Window):
                    self.version, self.due = frame.version, frame.count
                    self.stored = 0
                    continue
                self.seen, self.due = frame.sequence, self.due - 1
                self._group.append((frame.sequence, frame.payload))
                self._size += len(frame.payload)
                if len(self._group) >= _GROUP or self._size >= _GROUP_BYTES or self.due <= 0:
                    await self._append()
                if self.due <= 0:
                    await self._acknowledge(self.seen)
            self.connection.busy = self.due > 0 or frames.pending
            begun = (begun or clock()) if frames.pending else 0.0
        await self._append()

    async def _append(self) -> None:
        """Append what was read, and tell the Beat meanwhile that we live."""
        group, self._group, self._size = self._group, [], 0
        told = [(sequence, one) for sequence, said in group if (one := self.read(said)) is not None]
        at = 0
        for events, taken in self.blocks.blocks([one for _, one in told]):
            while not await self.store.put(events, _TELL):
                await self._acknowledge(self.stored)
            at += taken
            self.stored = told[at - 1][0]
        self.stored = self.seen

    async def _acknowledge(self, sequence: int) -> None:
        await self.connection.write(acknowledgement(self.version, sequence), _SEND)
