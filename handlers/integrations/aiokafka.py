"""aiokafka: the trace in the headers of messages.

from logferry.handlers.integrations.aiokafka import TraceProducer, received   # an aiokafka.AIOKafkaProducer
await TraceProducer(bootstrap_servers=...).send_and_wait("orders", value)
async for message in consumer:
    with received(message): ...
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from .. import carry
from ..tracing import Incoming
from ._needs import missing

try:
    import aiokafka
except ImportError as error:
    raise missing("aiokafka", "aiokafka", error) from error

__all__ = ["TraceProducer", "received"]


class TraceProducer(aiokafka.AIOKafkaProducer):  # type: ignore[misc,unused-ignore] # the library has no types
    """A producer whose messages carry the trace in force."""

    async def send(self, topic: str, *args: Any, **options: Any) -> Any:
        """Send a message; the arguments are `AIOKafkaProducer.send`'s (`send_and_wait` comes here, too)."""
        if len(args) > 4:  # value, key, partition, timestamp_ms, headers
            args = (*args[:4], carry.inject_headers(list(args[4] or ())))
        else:
            options["headers"] = carry.inject_headers(list(options.get("headers") or ()))
        return await super().send(topic, *args, **options)


def received(message: Any, **fields: object) -> AbstractContextManager[Incoming]:
    """Handle one message in its own context; `fields` are bound as well."""
    return carry.received(message.headers, f"receive {message.topic}", **fields)
