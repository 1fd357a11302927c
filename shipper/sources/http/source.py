"""The driver: one listener, one event loop, h11 on each connection."""

from __future__ import annotations

from typing import Final

from ..listen.listener import StreamListener
from ..listen.store import Store
from ..listen.streams import Connection, Serve
from .config import HttpSourceConfig
from .exchange import Budget, Limits, converse
from .routes import Routes

__all__ = ["HttpSource"]

_AT_ONCE: Final = 4  # of the largest bodies that may be in the making at a time


class HttpSource(StreamListener[HttpSourceConfig]):
    """Listens. `run` in one thread, `stop` from any."""

    __slots__ = ()

    def handler(self) -> Serve:
        """Return what serves one connection."""
        config, context = self.config, self.context
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
            await converse(connection, routes.admit, routes.answer, limits, budget, context.name)

        return one
