"""The driver: one listener, one event loop, h11 on each connection."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import Final

from ...config.sections import listen_address
from ...ports import SourceContext
from ..listen.loop import Ending, bound
from ..listen.store import Store
from ..listen.streams import Connection, serve
from .config import HttpSourceConfig
from .exchange import Budget, Limits, converse
from .routes import Routes

__all__ = ["HttpSource"]

_AT_ONCE: Final = 4  # of the largest bodies that may be in the making at a time


@dataclass(slots=True)
class HttpSource:
    """Listens. `run` in one thread, `stop` from any."""

    config: HttpSourceConfig
    context: SourceContext
    address: tuple[str, int] | None = None  # where it listens, while it does
    _ending: Ending = field(default_factory=Ending)

    def run(self, *, once: bool) -> None:
        """Take what comes until `stop()`; with `once` nothing: what others may send has no end."""
        if not once:
            self._ending.run(self._main)

    async def _main(self) -> None:
        config, context = self.config, self.context
        tls = None if config.tls is None else config.tls.context()
        sock = bound(*listen_address(config.listen), socket.SOCK_STREAM, self._ending)
        self.address = sock.getsockname()[:2]
        routes = Routes(
            context.name,
            context.builder,
            Store(context.appender),
            self._ending,
            config.token.reveal() if config.token else "",
            config.max_request_bytes,
            config.wait,
        )
        limits = Limits(config.max_request_bytes, config.idle_timeout, config.request_timeout)
        budget = Budget(_AT_ONCE * config.max_request_bytes)

        async def one(connection: Connection) -> None:
            await converse(connection, routes.admit, routes.answer, limits, budget)

        await serve(sock, one, self._ending, name=context.name, most=config.max_connections, context=tls)

    def stop(self) -> None:
        """Ask `run` to return soon."""
        self._ending.tell()
