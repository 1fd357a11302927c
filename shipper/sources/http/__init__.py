"""The http source: one listener for who speaks to Loki, Elasticsearch, an OTLP collector, or plainly.

`config` what a user may write · `exchange` requests and answers on a connection, over h11 · `bodies` what is
packed, unpacked within bounds · `wire` protobuf as it is read · `loki`, `otlp`, `bulk` what bodies hold ·
`records` what entries say · `labels` streams' labels before their lines · `routes` which path is whose ·
`source` the driver.

Rules

- 200 and its like mean: appended to the spool. What is not appended is not said to be.
- A request that is malformed is refused as a whole, before anything of it is appended.
- Is the spool full, a request waits up to `wait`; then it is refused with 429 or 503 and Retry-After. Parts
  of it may have been appended by then, and the sender repeats them. Events that bring an id keep it: a store
  which knows ids takes them once. Elasticsearch's clients are told which items to repeat.
- The token is asked for before a byte of the body is read.
"""

from __future__ import annotations

from ...ports import SourceKind
from .config import HttpSourceConfig
from .source import HttpSource

__all__ = ["SOURCE", "HttpSource", "HttpSourceConfig"]

SOURCE = SourceKind("http", HttpSourceConfig, HttpSource, needs=("h11", "cramjam"), extra="receive")
