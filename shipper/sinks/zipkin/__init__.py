"""The zipkin sink: spans, access events and jobs as Zipkin's spans, in its JSON format, version 2.

`config` what a user may write · `request` a span as Zipkin has it · `verdict` what an answer means · `sink`
the driver. What an event says as a span: `core/spans.py`; those that have begun: `unfinished.py`.
"""

from __future__ import annotations

from ...core.spans import ROUTE
from ...ports import SinkKind
from .config import ZipkinConfig
from .sink import ZipkinSink

__all__ = ["SINK", "ZipkinConfig", "ZipkinSink"]

SINK = SinkKind("zipkin", ZipkinConfig, ZipkinSink, needs=("urllib3",), extra="http", match=ROUTE)
