"""aio-pika: the trace in the headers of RabbitMQ's messages.

    from logferry.handlers.integrations import aio_pika as traced
    traced.install()                                  # every publish of the process carries the trace
    async for message in queue.iterator():
        with traced.received(message): ...

Without `install`: ``await exchange.publish(traced.with_trace(message), key)``.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, TypeVar

from .. import carry
from ..tracing import Incoming
from ._needs import missing
from ._patch import Patches

try:
    import aio_pika
except ImportError as error:
    raise missing("aio_pika", "aio-pika", error) from error

__all__ = ["install", "received", "uninstall", "with_trace"]

M = TypeVar("M", bound=aio_pika.abc.AbstractMessage)
_patches = Patches()


def with_trace(message: M) -> M:
    """Add the trace to a message's headers, and return it."""
    message.headers = carry.inject_headers(dict(message.headers or {}))
    return message


def received(message: Any, **fields: object) -> AbstractContextManager[Incoming]:
    """Handle one message in its own context; `fields` are bound as well."""
    return carry.received(message.headers, f"receive {message.routing_key or ''}".strip(), **fields)


def install() -> None:
    """Put the trace into every message that this process publishes."""
    uninstall()

    def make(original: Any) -> Any:
        def publish(exchange: Any, message: Any, *args: Any, **kwargs: Any) -> Any:
            return original(exchange, with_trace(message), *args, **kwargs)

        return publish

    _patches.replace(aio_pika.Exchange, "publish", make)


def uninstall() -> None:
    """Undo `install`."""
    _patches.undo()
