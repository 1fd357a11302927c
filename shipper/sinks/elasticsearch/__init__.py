"""The Elasticsearch sink: event lines are framed for the bulk interface, never re-encoded.

`config` what a user may write · `framing` lines into a bulk body · `verdict` what an answer and each of its
items mean · `template` the index template made from the schema · `server` who answers and how to talk to it ·
`cluster` several hosts behind the elasticsearch package's transport · `install` what `logferry setup` and the
first use make at the server · `sink` the thin driver.
"""

from __future__ import annotations

from ...ports import SinkKind
from .config import ElasticsearchConfig
from .sink import ElasticsearchSink

__all__ = ["SINK", "ElasticsearchConfig", "ElasticsearchSink"]

SINK = SinkKind(
    "elasticsearch",
    ElasticsearchConfig,
    ElasticsearchSink,
    needs=("elastic_transport", "urllib3", "cramjam"),
    extra="elasticsearch",
)
