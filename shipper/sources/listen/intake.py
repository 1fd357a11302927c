"""Lines and syslog messages, as they came from a sender, as events: in order, block by block."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from ..blocks import LineBlocks
from ..parsed_blocks import ParsedBlocks
from ..parsers import ParserSetting
from ..syslog.message import told_of_message
from .identity import blocks_with_ids

if TYPE_CHECKING:
    from ....handlers.record import EventBuilder

__all__ = ["Format", "Intake", "marked"]

Format: TypeAlias = Literal["auto", "json", "text", "syslog"]

_SENDERS: Final = 64  # whose lines are told apart at a time
_NOTHING: Final[Mapping[str, str]] = {}


@dataclass(slots=True)
class Intake:
    """Makes events. One thread uses it; many connections may share it."""

    builder: EventBuilder
    format: Format
    parser: ParserSetting = "auto"
    clock: Callable[[], float] = time.time
    _parsed: ParsedBlocks = field(init=False)
    _blocks: dict[str, LineBlocks] = field(default_factory=dict)  # by sender, the latest last

    def __post_init__(self) -> None:
        self._parsed = ParsedBlocks(self.builder)

    def events(self, records: Sequence[bytes], sender: str = "") -> Iterator[Sequence[bytes]]:
        """Yield the events of lines and messages that came from `sender` (empty: from this machine)."""
        extra = marked(sender)
        if self.format in {"auto", "syslog"}:
            yield from self._mixed(records, extra, sender)
        else:
            yield from blocks_with_ids(records, self._lines(sender, extra))

    def _mixed(
        self, records: Sequence[bytes], extra: Mapping[str, str], sender: str
    ) -> Iterator[Sequence[bytes]]:
        """Yield the events of records of which some, or all, are syslog messages."""
        always = self.format == "syslog"
        if not always and not any(record.startswith(b"<") for record in records):
            yield from blocks_with_ids(records, self._lines(sender, extra))
            return
        at = 0
        while at < len(records):
            start = at
            if always or records[at].startswith(b"<"):
                while at < len(records) and (always or records[at].startswith(b"<")):
                    at += 1
                now = self.clock()
                some = (told_of_message(one, now, extra) for one in records[start:at])
                for events, _ in self._parsed.blocks([one for one in some if one is not None]):
                    yield events
            else:
                while at < len(records) and not records[at].startswith(b"<"):
                    at += 1
                yield from blocks_with_ids(records[start:at], self._lines(sender, extra))

    def _lines(self, sender: str, extra: Mapping[str, str]) -> LineBlocks:
        found = self._blocks.pop(sender, None)
        if found is None:
            parser = self.parser if self.format in {"auto", "syslog"} else self.format
            found = LineBlocks(self.builder, parser, extra, guess=False)
            if len(self._blocks) >= _SENDERS:
                del self._blocks[next(iter(self._blocks))]
        self._blocks[sender] = found
        return found


def marked(sender: str) -> Mapping[str, str]:
    """Return the fields that say from which other machine something came."""
    return {"sender": sender} if sender else _NOTHING
