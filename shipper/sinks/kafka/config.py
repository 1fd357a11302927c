"""What a user may write under `sinks: {…: {type: kafka, …}}`, and what of it cannot work."""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from ...config.fields import Duration, Size, setting
from ...config.tls import TlsConfig
from ...kafka import KafkaSasl, brokers_problem, client_settings, options_problem

__all__ = ["KafkaConfig"]

_TOPIC: Final = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,249}")


@dataclass(frozen=True, slots=True)
class KafkaConfig:
    """Which topic at which brokers, and how much of it at once."""

    brokers: tuple[str, ...] = setting(
        help="brokers to begin with, as host:port; the others are found through them",
        example="[localhost:9092]",
    )
    topic: str = setting(help="where the events go; it must exist", example="logs")
    key: Literal["trace_id", "service", "none"] = setting(
        "trace_id",
        help="trace_id: a trace in one partition, in order (without one: the service); none: spread evenly",
    )
    compression: Literal["lz4", "zstd", "snappy", "gzip", "none"] = setting(
        "lz4", help="of whole batches, between us and the consumers"
    )
    tls: TlsConfig | None = setting(None, help="speak TLS; `tls: {}` trusts the system's certificates")
    sasl: KafkaSasl | None = setting(None, help="user and password")
    timeout: Duration = setting(
        Duration(10.0), help="how long to wait for the brokers at a time", minimum=0.1, maximum=300
    )
    max_batch_events: int = setting(5_000, help="events of one batch", minimum=1, maximum=50_000)
    max_batch_bytes: Size = setting(Size(2 << 20), help="bytes of one batch", minimum=1024, maximum=64 << 20)
    max_message_bytes: Size = setting(
        Size(1_000_000), help="a larger event is dead-lettered; the topic's max.message.bytes", minimum=1024
    )
    partitions: int = setting(12, help="of the topic, when `logferry setup` makes it", minimum=1)
    replication: int = setting(3, help="copies of the topic, when `logferry setup` makes it", minimum=1)
    options: Mapping[str, str] = setting(
        factory=dict, help="further settings of librdkafka", example="{linger.ms: '20'}"
    )

    def __post_init__(self) -> None:
        problem = brokers_problem(self.brokers) or options_problem(self.options)
        if not problem and _TOPIC.fullmatch(self.topic) is None:
            problem = "topic: letters, digits, '.', '_' and '-', at most 249"
        if problem:
            raise ValueError(problem)

    def connection(self) -> dict[str, Any]:
        """Return librdkafka's settings for any client."""
        return client_settings(self.brokers, self.tls, self.sasl, self.options)

    def producer(self) -> dict[str, Any]:
        """Return librdkafka's settings for the producer."""
        return {
            "partitioner": "murmur2_random",  # what Java's clients do with the same key
            "topic.metadata.propagation.max.ms": "5000",  # then a topic that is not there is said so
            **self.connection(),
            "enable.idempotence": True,
            "acks": "all",
            # The spool keeps what is not delivered, and librdkafka must not give up before it: no time-out.
            "message.timeout.ms": "0",
            "compression.type": self.compression,
            # Room for keys and headers; the broker has the last word.
            "message.max.bytes": str(self.max_message_bytes + 4096),
        }
