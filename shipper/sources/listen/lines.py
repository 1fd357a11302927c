"""Connections that bring lines and syslog messages: read, split, appended, block by block."""

from __future__ import annotations

from functools import partial

from ..syslog.frames import FrameSplitter
from .address import is_loopback
from .intake import Intake
from .store import Store
from .streams import Connection, Serve

__all__ = ["line_server"]


def line_server(intake: Intake, store: Store, limit: int, idle: float) -> Serve:
    """Return what takes all that one connection brings."""
    splitter = partial(FrameSplitter, limit, syslog=intake.format in {"auto", "syslog"})

    async def one(connection: Connection) -> None:
        sender = "" if is_loopback(connection.peer) else connection.peer
        try:
            await _read_lines(connection, splitter(), intake, store, sender, idle)
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
