"""The CloudWatch Logs sink: event lines become log events of PutLogEvents, each as it stands.

`config` what a user may write · `puts` which events go into which call, and the calls' bodies · `verdict`
what an answer means · `sink` the thin driver · `preparation` group, retention, tags, metric filters and saved
queries for `logferry setup` · `queries` what these filters and queries are.
"""

from __future__ import annotations

from ...ports import SinkKind
from .config import CloudWatchConfig
from .sink import CloudWatchSink

__all__ = ["SINK", "CloudWatchConfig", "CloudWatchSink"]

SINK = SinkKind(
    "cloudwatch", CloudWatchConfig, CloudWatchSink, needs=("botocore", "urllib3"), extra="cloudwatch"
)
