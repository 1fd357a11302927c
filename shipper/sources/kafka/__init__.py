"""The Kafka source: a member of a consumer group that feeds this pipeline.

`config` what a user may write · `offsets` from where to read on, and what may be committed · `messages` what
becomes of a message · `source` the driver over librdkafka's consumer, with the rules of commits.
"""

from __future__ import annotations

from ...ports import SourceKind
from .config import KafkaSourceConfig
from .source import KafkaSource

__all__ = ["SOURCE", "KafkaSource", "KafkaSourceConfig"]

SOURCE = SourceKind("kafka", KafkaSourceConfig, KafkaSource)
