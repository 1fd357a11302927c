"""The otlp sink: events as OpenTelemetry log records and spans over HTTP, in protobuf that is framed by hand.

`config` what a user may write · `protobuf` values and messages as bytes · `record` an event as a log record
and its resource · `span` a span as one · `parcel` a batch sorted into both · `verdict` what an answer means ·
`reception` whether the receiver takes spans · `sink` the driver. What an event says as a span:
`core/spans.py`; those that have begun: `unfinished.py`.
"""

from __future__ import annotations

from ...core.spans import ROUTE
from ...ports import SinkKind
from .config import OtlpConfig
from .sink import OtlpSink

__all__ = ["SINK", "OtlpConfig", "OtlpSink"]


def _match(config: OtlpConfig) -> str:
    return ROUTE if config.signals == "traces" else ""


SINK = SinkKind("otlp", OtlpConfig, OtlpSink, needs=("urllib3",), extra="otlp", match=_match)
