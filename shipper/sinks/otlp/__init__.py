"""The otlp sink: events as OpenTelemetry log records over HTTP, in protobuf that is framed by hand.

`config` what a user may write · `protobuf` values and messages as bytes · `record` an event as a log record
and its resource · `verdict` what an answer means · `sink` the driver.
"""

from __future__ import annotations

from ...ports import SinkKind
from .config import OtlpConfig
from .sink import OtlpSink

__all__ = ["SINK", "OtlpConfig", "OtlpSink"]

SINK = SinkKind("otlp", OtlpConfig, OtlpSink, needs=("urllib3",), extra="otlp")
