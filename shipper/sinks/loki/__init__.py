"""The Loki sink: event lines are framed for Loki's push interface, never re-encoded.

`config` what a user may write · `heads` the few values read from each line · `metadata` structured metadata ·
`labels` streams and the cardinality guard · `timestamps` nanoseconds and what is too old · `routing` which
event goes into which push · `express` all of that in one pass for the usual batch, with `seen` and `loop` ·
`protobuf`, `jsonpush` the two encodings · `verdict` what an answer means · `sink` the thin driver over HTTP.
"""

from __future__ import annotations

from ...ports import SinkKind
from .config import LokiConfig
from .sink import LokiSink

__all__ = ["SINK", "LokiConfig", "LokiSink"]

SINK = SinkKind("loki", LokiConfig, LokiSink, needs=("urllib3", "cramjam"), extra="loki")
