"""confluent-kafka: the trace in the headers of messages.

from logferry.handlers.integrations.confluent_kafka import TraceProducer, received   # a
confluent_kafka.Producer TraceProducer(settings).produce("orders", value)
with received(consumer.poll(1.0)): ...
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from .. import carry
from ..tracing import Incoming
from ._needs import missing

try:
    import confluent_kafka
except ImportError as error:
    raise missing("confluent_kafka", "kafka", error) from error

__all__ = ["TraceProducer", "received", "with_trace"]


def with_trace(headers: Any = None) -> list[tuple[str, Any]]:
    """Return a message's headers (a list of pairs, a dict or None) with the trace.

    For producers of other kinds.
    """
    pairs = list(headers.items()) if isinstance(headers, dict) else list(headers or ())
    return carry.inject_headers(pairs)


class TraceProducer(confluent_kafka.Producer):  # type: ignore[misc,unused-ignore] # the library has no types
    """A producer whose messages carry the trace in force."""

    def produce(self, topic: str, *args: Any, **options: Any) -> None:
        """Send a message; the arguments are `Producer.produce`'s."""
        if len(args) > 5:  # value, key, partition, on_delivery, timestamp, headers
            args = (*args[:5], with_trace(args[5]), *args[6:])
        else:
            options["headers"] = with_trace(options.get("headers"))
        super().produce(topic, *args, **options)


def received(message: Any, **fields: object) -> AbstractContextManager[Incoming]:
    """Handle one message in its own context; `fields` are bound as well."""
    return carry.received(message.headers(), f"receive {message.topic()}", **fields)
