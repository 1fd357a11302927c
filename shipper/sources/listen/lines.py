"""Connections that bring lines and syslog messages: read, split, appended, block by block."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol

from ..parsers import ParserConfig, ParserName
from ..syslog.frames import FrameSplitter
from .address import is_loopback
from .intake import Format, Intake
from .store import Store
from .streams import Connection

if TYPE_CHECKING:
    from ...ports import SourceContext

__all__ = ["line_server"]


class LineConfig(Protocol):
    """The options of a source whose connections bring lines."""

    @property
    def format(self) -> Format: ...
    @property
    def parser(self) -> ParserName | ParserConfig: ...
    @property
    def max_line_bytes(self) -> int: ...
    @property
    def idle_timeout(self) -> float: ...


def line_server(config: LineConfig, context: SourceContext) -> Callable[[Connection], Awaitable[None]]:
    """Return what takes all that one connection brings."""
    intake, store = Intake(context.builder, config.format, config.parser), Store(context.appender)
    splitter = partial(FrameSplitter, config.max_line_bytes, syslog=config.format in {"auto", "syslog"})

    async def one(connection: Connection) -> None:
        sender = "" if is_loopback(connection.peer) else connection.peer
        try:
            await _read_lines(connection, splitter(), intake, store, sender, config.idle_timeout)
        finally:
            connection.busy = False

    return one


async def _read_lines(
    connection: Connection, frames: FrameSplitter, intake: Intake, store: Store, sender: str, idle: float
) -> None:
    """Take what one connection brings, to its end; a last line without an end is a line."""
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
