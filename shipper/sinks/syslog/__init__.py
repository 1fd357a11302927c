"""The syslog sink: events as RFC 5424 messages over TCP, TLS (RFC 5425) or UDP.

`config` what a user may write · `message` an event as a message, and its frame · `window` what was sent last,
in case the connection breaks · `connection` a socket that is watched · `sink` the driver.

Syslog has no acknowledgement. What the sink takes for one, and what can be lost all the same, stands at the
top of `sink`.
"""

from __future__ import annotations

from ...ports import SinkKind
from .config import SyslogConfig
from .sink import SyslogSink

__all__ = ["SINK", "SyslogConfig", "SyslogSink"]

SINK = SinkKind("syslog", SyslogConfig, SyslogSink)
