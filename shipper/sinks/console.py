"""Sink `console`: event lines on stdout or stderr, as they are.

Delivered means written to the stream. What a closed pipe would not take stays in the spool (`Retry`, paused).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..config.fields import setting
from ..model import Batch, Delivered, Limits, Retry, Verdict
from ..ports import SinkContext, SinkKind

__all__ = ["SINK", "ConsoleConfig", "ConsoleSink"]


@dataclass(frozen=True, slots=True)
class ConsoleConfig:
    """Options of the sink `console`."""

    stream: Literal["stdout", "stderr"] = setting("stdout", help="where the lines go")


class ConsoleSink:
    """Writes lines to the process's own stream, looked up at each batch (it may be replaced)."""

    def __init__(self, config: ConsoleConfig, _context: SinkContext | None = None) -> None:
        self._config = config

    @property
    def limits(self) -> Limits:
        """What one batch may hold: little, so that a slow terminal shows progress."""
        return Limits(max_events=1_000, max_bytes=256_000)

    def send(self, batch: Batch) -> Verdict:
        """Write the lines and flush."""
        stream = sys.stdout if self._config.stream == "stdout" else sys.stderr
        try:
            stream.write(b"\n".join([*batch.lines, b""]).decode("utf-8", "backslashreplace"))
            stream.flush()
        except (OSError, ValueError, AttributeError) as error:  # a broken pipe, a closed stream, no stream
            return Retry(f"{self._config.stream} cannot be written: {error}", pause=True)
        return Delivered()

    def check(self) -> Sequence[str]:
        """Say when there is no such stream."""
        stream = sys.stdout if self._config.stream == "stdout" else sys.stderr
        return () if stream and not stream.closed else (f"{self._config.stream} is closed",)

    def close(self) -> None:
        """Leave the stream open: it is the process's."""


SINK = SinkKind("console", ConsoleConfig, ConsoleSink)
