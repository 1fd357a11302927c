"""The http sink: event lines as NDJSON or as one JSON array, to any URL.

`config` what a user may write · `request` body and headers · `numbered` ids for many lines at once ·
`verdict` what a status means · `sink` the driver.
"""

from __future__ import annotations

from ...ports import SinkKind
from .config import HttpConfig
from .sink import HttpSink

__all__ = ["SINK", "HttpConfig", "HttpSink"]

SINK = SinkKind("http", HttpConfig, HttpSink, needs=("urllib3",), extra="http")
