"""The Kafka sink: one event, one message; its value is the event's line, byte for byte.

`config` what a user may write · `keys` the key of each message · `verdict` what a refusal means · `sink` the
driver over librdkafka's producer · `topic` what `check` and `setup` ask and do at the cluster.
"""

from __future__ import annotations

from ...ports import SinkKind
from .config import KafkaConfig
from .sink import KafkaSink

__all__ = ["SINK", "KafkaConfig", "KafkaSink"]

SINK = SinkKind("kafka", KafkaConfig, KafkaSink, needs=("confluent_kafka",), extra="kafka")
