"""Standard input: one event a line, until it ends.

There is no position to go back to: what has been read and not appended when the process is killed is lost
with the pipe. What is read is therefore appended at once, before the next read; only a record that may go on
in the next line waits for it, a second by default. Asked to stop, it reads on to
the end of the line: whoever reads on after it (another configuration) begins with a whole one.
"""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

import os
import select
import sys
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Final

from ..config.fields import Size, setting
from ..core.lines import LineSplitter
from ..ports import SourceContext, SourceKind
from .blocks import LineBlocks
from .parsers import (
    MULTILINE_HELP,
    PARSER_HELP,
    MultilineConfig,
    MultilineName,
    ParserConfig,
    ParserName,
    checked,
)
from .parsers.joiners import joiner_of, timeout_of

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SOURCE", "StdinConfig", "StdinSource"]

_CHUNK: Final = 256 * 1024
_WAIT: Final = 0.25  # seconds between looks at `stop`


@dataclass(frozen=True, slots=True)
class StdinConfig:
    """How the lines are read."""

    parser: ParserName | ParserConfig = setting("auto", help=PARSER_HELP)
    multiline: MultilineName | MultilineConfig | None = setting("auto", help=MULTILINE_HELP)
    max_line_bytes: Size = setting(Size(256 << 10), help="longer lines are cut and marked", minimum=64)

    def __post_init__(self) -> None:
        checked(self.parser)


@dataclass(slots=True)
class StdinSource:
    """Reads a stream into the spool. `run` in one thread, `stop` from any."""

    config: StdinConfig
    context: SourceContext
    stream: BinaryIO | None = None
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self, *, once: bool) -> None:  # noqa: ARG002, C901 - a pipe ends by itself, once or not
        """Read to the end of the stream, or until `stop()`."""
        stream = self.stream or sys.stdin.buffer
        limit = self.config.max_line_bytes
        splitter = LineSplitter(limit)
        joiner = joiner_of(self.config.parser, self.config.multiline, limit)
        patience = timeout_of(self.config.multiline)
        quiet = 0.0
        blocks = LineBlocks(self.context.builder, self.config.parser)

        def append(records: Sequence[bytes]) -> None:
            for block, _ in blocks.blocks(records):
                if block:
                    self.context.appender.append(block)

        def take(lines: Sequence[bytes]) -> None:
            if joiner is None or joiner.passes(lines):
                append(lines)
            else:
                append([record for record, _ in joiner.feed_all(lines)])

        def end() -> None:
            append([record for record, _ in joiner.flush()] if joiner else ())

        number = stream.fileno()
        while not self._stop.is_set():
            ready, _, _ = select.select([number], [], [], _WAIT)
            if not ready:
                quiet += _WAIT
                if quiet >= patience:
                    end()
                continue
            quiet = 0.0
            chunk = os.read(number, _CHUNK)
            if not chunk:
                break
            take(splitter.feed(chunk))
        take(splitter.feed(_rest_of_line(number)) if splitter.pending else ())
        take(splitter.flush())
        end()

    def stop(self) -> None:
        """Ask `run` to return soon."""
        self._stop.set()


def _rest_of_line(number: int) -> bytes:
    """Read to the end of the line, of the stream, or until nothing came for a second."""
    rest = bytearray()
    while not rest.endswith(b"\n") and select.select([number], [], [], 1.0)[0]:
        byte = os.read(number, 1)
        if not byte:
            break
        rest += byte
    return bytes(rest)


def _build(config: StdinConfig, context: SourceContext, /) -> StdinSource:
    return StdinSource(config, context)


SOURCE: Final = SourceKind("stdin", StdinConfig, _build)
