"""The beats source: Filebeat and its like ship to the agent in Logstash's place, by lumberjack.

`frames` the protocol: bytes in, frames out · `event` what a Beat says, as an event · `source` the driver,
with the rules of acknowledgement.
"""

from __future__ import annotations

from ...ports import SourceKind
from .source import BeatsConfig, BeatsSource

__all__ = ["SOURCE", "BeatsConfig", "BeatsSource"]

SOURCE = SourceKind("beats", BeatsConfig, BeatsSource)
