"""What every source that listens is: a loop in the source's thread, which `stop` ends from any thread.

A source of this kind says how one connection is served (`StreamListener.handler`), or what is done with its
socket (`Listener.listen`); the address, TLS, the bound on connections and the end are the same for all.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from ...config.sections import listen_address
from ...ports import SourceContext
from .address import ServerTls
from .loop import Ending, bound
from .streams import Serve, serve

__all__ = ["Listener", "StreamListener"]


class StreamConfig(Protocol):
    """The options that a source of connections has."""

    @property
    def listen(self) -> str: ...
    @property
    def tls(self) -> ServerTls | None: ...
    @property
    def max_connections(self) -> int: ...


C = TypeVar("C")
S = TypeVar("S", bound=StreamConfig)


@dataclass(slots=True)
class Listener(Generic[C]):
    """Listens. `run` in one thread, `stop` from any."""

    config: C
    context: SourceContext
    address: tuple[str, int] | None = None  # where it listens, while it does
    _ending: Ending = field(default_factory=Ending)

    def run(self, *, once: bool) -> None:
        """Take what comes until `stop()`; with `once` nothing: what others may send has no end."""
        if not once:
            self._ending.run(self.listen)

    def stop(self) -> None:
        """Ask `run` to return soon."""
        self._ending.tell()

    async def listen(self) -> None:
        """Take what comes, until it is to end."""
        raise NotImplementedError

    def bound(self, listen: str, kind: socket.SocketKind) -> socket.socket:
        """Return the socket, whose address is then known."""
        sock = bound(*listen_address(listen), kind, self._ending)
        self.address = sock.getsockname()[:2]
        return sock


@dataclass(slots=True)
class StreamListener(Listener[S]):
    """Listens for connections."""

    def handler(self) -> Serve:
        """Return what serves one connection."""
        raise NotImplementedError

    async def listen(self) -> None:
        """Serve connections, until it is to end."""
        config = self.config
        tls = None if config.tls is None else config.tls.context()
        sock = self.bound(config.listen, socket.SOCK_STREAM)
        name, most = self.context.name, config.max_connections
        await serve(sock, self.handler(), self._ending, name=name, most=most, context=tls)
