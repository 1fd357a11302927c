"""One event loop in a source's thread, which `stop` ends from any thread."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from ..errors import SourceError

__all__ = ["Ending", "bound"]

_PATIENCE: Final = 3.0  # seconds for whoever had the address before (another configuration) to leave it
_TURN: Final = 0.05
_BACKLOG: Final = 128


@dataclass(slots=True)
class Ending:
    """Tells a loop that it is to end; may be told before there is a loop."""

    _told: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _loop: asyncio.AbstractEventLoop | None = None
    _woken: asyncio.Event | None = None

    def tell(self) -> None:
        """End the loop, from any thread."""
        self._told.set()
        with self._lock:
            if self._loop is not None and self._woken is not None:
                self._loop.call_soon_threadsafe(self._woken.set)

    @property
    def told(self) -> bool:
        """Whether it is to end."""
        return self._told.is_set()

    async def wait(self) -> None:
        """Wait, within the loop, until it is to end."""
        assert self._woken is not None
        await self._woken.wait()

    def run(self, main: Callable[[], Awaitable[None]]) -> None:
        """Run `main` in a loop of its own; it ends after it was told to."""
        asyncio.run(self._within(main))

    async def _within(self, main: Callable[[], Awaitable[None]]) -> None:
        with self._lock:
            self._loop, self._woken = asyncio.get_running_loop(), asyncio.Event()
        if self.told:
            self._woken.set()
        try:
            await main()
        finally:
            with self._lock:
                self._loop = None


def bound(host: str, port: int, kind: socket.SocketKind, ending: Ending) -> socket.socket:
    """Return a socket at the address, listening if it is one for streams. `SourceError`: it cannot be had."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return _bound(host, port, kind)
        except OSError as error:
            busy = error.errno == errno.EADDRINUSE
            if not busy or ending.told or time.monotonic() > deadline:
                text = "something else listens there" if busy else error.strerror or str(error)
                raise SourceError(f"cannot listen on {host}:{port}: {text}") from None
            time.sleep(_TURN)


def _bound(host: str, port: int, kind: socket.SocketKind) -> socket.socket:
    family, _, _, _, place = socket.getaddrinfo(host, port, type=kind, flags=socket.AI_PASSIVE)[0]
    sock = socket.socket(family, kind)
    try:
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(place)
        if kind == socket.SOCK_STREAM:
            sock.listen(_BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock
