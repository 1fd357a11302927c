"""Connections to a source: accepted one by one, bounded in number, each served by one task.

Rules

- Above `most` connections the next one is closed at once, and it is said. (Left in the system's queue it
  would look to its sender as if it were heard.) But one that has said nothing since it came makes room for
  it, after a while: nothing is lost with that one, and connections that only stand there shut nobody out.
- Who speaks TLS where we do not is told apart from garbage, and it is said.
- Asked to end, nobody is accepted any more. Each connection gets `_LAST` seconds to come to the end of what
  it is at (`busy`), is read no further, and ends when what was read is in the spool, within `_GRACE` seconds.
- What a connection does costs only this one: a reset, a TLS error, garbage.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from ...diagnostics import say
from .loop import Ending

__all__ = ["Connection", "serve"]

_READ: Final = 64 * 1024
_ARRIVED: Final = 4 * _READ  # what a reader holds at most, and some
_HANDSHAKE: Final = 10.0
_LAST: Final = 1.0
_GRACE: Final = 30.0  # the pipeline waits for no longer than its own bound
_TURN: Final = 0.01
_CROWDED: Final = 1.0  # seconds to wait when there are no descriptors left
_SILENT: Final = 2.0  # seconds that a connection may say nothing while others want in
_HELLO: Final = b"\x16\x03"  # how TLS begins
_USUAL: Final = (OSError, ssl.SSLError, asyncio.IncompleteReadError, TimeoutError)


class _TlsError(Exception):
    """TLS is spoken where we speak none."""


@dataclass(slots=True, eq=False)
class Connection:
    """One sender. `busy`: it is in the middle of something, and wants to read on."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    peer: str  # its address; empty for this machine
    since: float = 0.0  # when it came, by the loop's clock
    heard: bool = False  # it has said something
    busy: bool = False
    ended: bool = False  # only what has arrived is read
    _rest: int = _ARRIVED
    _reading: asyncio.Task[Any] | None = None

    async def read(self, seconds: float | None = None) -> bytes:
        """Return what comes next; empty at the end. `TimeoutError`: nothing within `seconds`."""
        if self.is_ended():
            return await self._read_rest()
        task = self._reading = asyncio.current_task()
        try:
            async with asyncio.timeout(seconds):
                data = await self.reader.read(_READ)
            if not self.heard:
                self.heard = True
                if data.startswith(_HELLO) and self.writer.get_extra_info("ssl_object") is None:
                    raise _TlsError
            return data
        except asyncio.CancelledError:
            if not self.is_ended() or task is None or task.uncancel():
                raise
        finally:
            self._reading = None
        return await self._read_rest()

    def is_ended(self) -> bool:
        """Whether only what has arrived is read; a call, as it changes while others run."""
        return self.ended

    async def _read_rest(self) -> bytes:
        """Return what has arrived already."""
        if self._rest <= 0:
            return b""
        with suppress(TimeoutError):
            async with asyncio.timeout(0):
                data = await self.reader.read(_READ)
                self._rest -= len(data)
                return data
        return b""

    async def write(self, data: bytes, seconds: float) -> None:
        """Send, and wait until there is room for more. `TimeoutError`: it is not taken."""
        self.writer.write(data)
        async with asyncio.timeout(seconds):
            await self.writer.drain()

    def end(self) -> None:
        """Read no more than what has arrived."""
        if not self.ended:
            self.ended = True
            if self._reading is not None:
                self._reading.cancel()


Serve = Callable[[Connection], Awaitable[None]]


@dataclass(slots=True)
class _Listener:
    """The state of one `serve`."""

    name: str
    handle: Serve
    most: int
    context: ssl.SSLContext | None
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    open: dict[Connection, None] = field(default_factory=dict)
    silent: dict[Connection, None] = field(default_factory=dict)  # some of them may have spoken since
    ending: bool = False
    failure: BaseException | None = None
    failed: asyncio.Event = field(default_factory=asyncio.Event)

    def listen(self, listener: socket.socket) -> None:
        """Accept from now on. A callback: an accept that is cancelled would take a connection with it."""
        if not self.ending:
            asyncio.get_running_loop().add_reader(listener, self.accept, listener)

    def accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            sock, address = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            say("WARNING", f"source {self.name}: cannot accept: {error.strerror}", f"{self.name} accept")
            loop.remove_reader(listener)
            loop.call_later(_CROWDED, self.listen, listener)
            return
        if len(self.tasks) >= self.most:
            made_room = self.make_room()
            which = "one that had said nothing" if made_room else "one"
            text = f"source {self.name}: more than {self.most} connections: {which} was closed"
            say("WARNING", text, f"{self.name} connections")
            if not made_room:
                sock.close()
                return
        sock.setblocking(False)
        peer = address[0] if isinstance(address, tuple) else ""
        task = loop.create_task(self.one(sock, peer))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def make_room(self) -> bool:
        """End the connection that has said nothing for the longest; False: none has for long enough."""
        while self.silent:
            oldest = next(iter(self.silent))
            if oldest.heard:
                del self.silent[oldest]
            elif asyncio.get_running_loop().time() - oldest.since < _SILENT:
                return False
            else:
                del self.silent[oldest]
                oldest.writer.transport.abort()
                return True
        return False

    async def one(self, sock: socket.socket, peer: str) -> None:
        """Serve one connection to its end."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_READ, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        try:
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            wait = _HANDSHAKE if self.context else None
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, sock, ssl=self.context, ssl_handshake_timeout=wait
            )
        except _USUAL as error:
            sock.close()
            if self.context is not None:
                say(
                    "WARNING", f"source {self.name}: no TLS with {peer}: {_reason(error)}", f"{self.name} tls"
                )
            return
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        connection = Connection(reader, writer, peer, loop.time())
        self.open[connection] = self.silent[connection] = None
        if self.ending:  # it came at the last moment
            connection.end()
        try:
            await self.handle(connection)
        except _USUAL:
            pass  # the sender's end, or nothing came in time
        except _TlsError:
            text = f"source {self.name}: {peer or 'a sender'} speaks TLS, and this source does not: set tls"
            say("WARNING", text, f"{self.name} tls")
        except Exception as error:  # noqa: BLE001 - raised by `serve`
            self.failure = self.failure or error
            self.failed.set()
        finally:
            self.open.pop(connection, None)
            self.silent.pop(connection, None)
            writer.close()
            with suppress(*_USUAL):
                async with asyncio.timeout(_LAST):
                    await writer.wait_closed()
            transport.abort()

    async def finish(self) -> None:
        """End all connections."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _LAST
        while any(connection.busy for connection in self.open) and loop.time() < deadline:
            for connection in list(self.open):
                if not connection.busy:
                    connection.end()
            await asyncio.sleep(_TURN)
        for connection in list(self.open):
            connection.end()
        if self.tasks:
            _, late = await asyncio.wait(self.tasks, timeout=_GRACE)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


async def serve(
    listener: socket.socket,
    handle: Serve,
    ending: Ending,
    *,
    name: str,
    most: int,
    context: ssl.SSLContext | None = None,
) -> None:
    """Serve connections with `handle` until it is to end. Raises what `handle` raised that is no I/O."""
    state = _Listener(name, handle, most, context)
    waiting = asyncio.create_task(ending.wait())
    failing = asyncio.create_task(state.failed.wait())
    state.listen(listener)
    try:
        await asyncio.wait({waiting, failing}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        state.ending = True
        asyncio.get_running_loop().remove_reader(listener)
        listener.close()
        waiting.cancel()
        failing.cancel()
        await asyncio.gather(waiting, failing, return_exceptions=True)
        await state.finish()
    if state.failure is not None:
        raise state.failure


def _reason(error: BaseException) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return str(error) or type(error).__name__
