"""The S3 sink: an archive of compressed NDJSON or Parquet objects by service and hour.

`config` what a user may write · `objects` which events go into which object, its key and its bytes ·
`parquet` its bytes as Parquet · `sink` the thin driver.
"""

from __future__ import annotations

from ...ports import SinkKind
from .config import S3Config
from .sink import S3Sink

__all__ = ["SINK", "S3Config", "S3Sink"]

SINK = SinkKind("s3", S3Config, S3Sink, needs=("botocore", "urllib3"), extra="s3")
