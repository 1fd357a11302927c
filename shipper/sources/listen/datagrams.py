r"""Datagrams into the spool: read in rounds, as many as there are.

Rules

- A datagram is one syslog message, or one text of any number of lines (a traceback stays together). One that
  begins with `{` may hold several lines of JSON.
- While the spool is full none is read. Over UDP the system then drops what comes, and says how many: that is
  told. Over a Unix socket the senders wait.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ...core.lines import CutLine
from ...diagnostics import say
from .address import is_loopback
from .intake import Intake
from .loop import Ending
from .store import Store

__all__ = ["Datagrams", "records_of"]

_LARGEST: Final = 256 * 1024  # a Unix socket's may be larger than UDP's 65,507
_ROUND: Final = 256
_ROUND_BYTES: Final = 1 << 20
_DROPS: Final = 40  # SO_RXQ_OVFL of Linux, which Python's socket module does not name
_SPACE: Final = socket.CMSG_SPACE(4)


def records_of(datagram: bytes, limit: int) -> list[bytes]:
    """Return the lines, or the one message, that a datagram holds."""
    body = datagram.strip(b"\r\n\0")
    if body.startswith(b"{") and b"\n" in body:
        records = [line for line in body.split(b"\n") if line]
    else:
        records = [body] if body else []
    return [one if len(one) <= limit else CutLine(one[:limit], len(one) - limit) for one in records]


@dataclass(slots=True)
class Datagrams:
    """Reads one socket until it is to end."""

    name: str
    sock: socket.socket
    intake: Intake
    store: Store
    limit: int
    dropped: int = 0  # by the system, as far as it is known

    def __post_init__(self) -> None:
        if sys.platform == "linux" and self.sock.family != socket.AF_UNIX:
            self.sock.setsockopt(socket.SOL_SOCKET, _DROPS, 1)

    async def run(self, ending: Ending) -> None:
        """Read; what is there when it is to end is read, too."""
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        waiting = asyncio.create_task(ending.wait())
        try:
            while not ending.told:
                loop.add_reader(self.sock, ready.set)
                asking = asyncio.create_task(ready.wait())
                await asyncio.wait({asking, waiting}, return_when=asyncio.FIRST_COMPLETED)
                loop.remove_reader(self.sock)
                asking.cancel()
                ready.clear()
                while await self._round() and not ending.told:
                    pass
            await self._round()
        finally:
            loop.remove_reader(self.sock)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)

    async def _round(self) -> bool:
        """Append what is there, up to a bound; False: there was nothing."""
        found = False
        for sender, records in self._read():
            found = True
            for events in self.intake.events(records, sender):
                await self.store.put(events)
        return found

    def _read(self) -> Iterator[tuple[str, list[bytes]]]:
        """Yield what came, joined where one sender sent several in a row."""
        sender, records, size = "", list[bytes](), 0
        for _ in range(_ROUND):
            try:
                data, extra, _, address = self.sock.recvmsg(_LARGEST, _SPACE)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:  # an earlier answer of ours was refused: nothing that concerns what comes
                continue
            self._count(extra)
            peer = address[0] if isinstance(address, tuple) else ""
            peer = "" if not peer or is_loopback(peer) else peer
            if peer != sender and records:
                yield sender, records
                records = []
            sender = peer
            records += records_of(data, self.limit)
            size += len(data)
            if size > _ROUND_BYTES:
                break
        if records:
            yield sender, records

    def _count(self, extra: list[tuple[int, int, bytes]]) -> None:
        for level, kind, data in extra:
            if level == socket.SOL_SOCKET and kind == _DROPS and len(data) >= 4:
                dropped = struct.unpack("I", data[:4])[0]
                if dropped > self.dropped:
                    text = (
                        f"source {self.name}: {dropped - self.dropped} datagrams came faster than they were"
                    )
                    say("WARNING", f"{text} read; the system dropped them", f"{self.name} drops")
                self.dropped = dropped
