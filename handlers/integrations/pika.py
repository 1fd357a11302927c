"""pika: the trace in the headers of RabbitMQ's messages.

    from logferry.handlers.integrations import pika as traced
    traced.install()                                  # every basic_publish of the process carries the trace
    channel.basic_consume("orders", traced.consumer(on_message))

Without `install`: ``channel.basic_publish(exchange, key, body, traced.with_trace(properties))``.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from .. import carry
from ..tracing import Incoming
from ._needs import missing
from ._patch import Patches

try:
    import pika
    from pika.adapters.blocking_connection import BlockingChannel
    from pika.channel import Channel
except ImportError as error:
    raise missing("pika", "pika", error) from error

__all__ = ["consumer", "install", "received", "uninstall", "with_trace"]

_patches = Patches()


def with_trace(properties: Any = None) -> Any:
    """Return a message's properties with the trace in their headers; the given ones are not changed."""
    made = pika.BasicProperties() if properties is None else copy.copy(properties)
    made.headers = carry.inject_headers(dict(made.headers or {}))
    return made


def received(properties: Any, name: str = "receive", **fields: object) -> AbstractContextManager[Incoming]:
    """Handle one message in its own context; `fields` are bound as well."""
    return carry.received(getattr(properties, "headers", None), name, **fields)


def consumer(callback: Callable[..., Any]) -> Callable[..., Any]:
    """Return a callback for `basic_consume` that runs in its message's context."""

    @functools.wraps(callback)
    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> Any:
        with received(properties, f"receive {method.routing_key}"):
            return callback(channel, method, properties, body)

    return on_message


def install() -> None:
    """Put the trace into every message that this process publishes."""
    uninstall()

    def make(original: Any) -> Any:
        def basic_publish(
            channel: Any,
            exchange: str,
            routing_key: str,
            body: bytes,
            properties: Any = None,
            *args: Any,
            **kwargs: Any,
        ) -> Any:
            return original(channel, exchange, routing_key, body, with_trace(properties), *args, **kwargs)

        return basic_publish

    _patches.replace(Channel, "basic_publish", make)
    _patches.replace(BlockingChannel, "basic_publish", make)


def uninstall() -> None:
    """Undo `install`."""
    _patches.undo()
