"""Lines of somebody else's log → events of ours, appended in frames with the position behind them.

Time, level, service and ids are taken over when they are well formed; everything else goes through the schema
and the redaction like what an application logs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from ...handlers.failure import describe_foreign
from ...handlers.pattern import FAILS
from ..core.parse import Parsed, Parser, parse

if TYPE_CHECKING:
    from ...handlers.record import EventBuilder
    from ..ports import Appender

__all__ = ["MAX_BYTES", "MAX_EVENTS", "NUMBERS", "TEXTS", "EventBatch", "compose", "event_of"]

# One frame: large enough that its cost vanishes, small enough to fit the smallest spool.
MAX_EVENTS: Final = 1_000
MAX_BYTES: Final = 256 * 1024
# What the line knows better than this process. The ids are taken only when `parse` found them well formed.
TEXTS: Final = ("module", "function", "thread", "task", "environment", "version", "host", "parent_id")
NUMBERS: Final = ("line", "process")
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


def compose(builder: EventBuilder, parsed: Parsed) -> bytes:
    """Return the event of a parsed line."""
    fields = parsed.fields
    source: dict[str, Any] = {}
    for names, kind in ((TEXTS, str), (NUMBERS, int)):
        for name in names:
            if name in fields and type(fields[name]) is kind:
                source[name] = fields.pop(name)
    if fields.get("kind") == "access" and type(fields.get("duration_ms")) in {int, float}:
        fields.pop("duration_le", None)  # an event of ours: it follows from the duration
    if parsed.level in FAILS:
        fields.pop("error_pattern", None)  # from the message
    for name in ("service", "trace_id", "span_id"):
        value = getattr(parsed, name)
        if value:
            source[name] = value
    return builder.compose(
        level=parsed.level,
        message=parsed.message,
        logger=parsed.logger,
        timestamp=parsed.timestamp,
        fields=fields,
        exc_info=describe_foreign(parsed.error) if parsed.error else None,
        source=source,
    )


def event_of(
    builder: EventBuilder, line: bytes, parser: Parser = "auto", extra: Mapping[str, Any] = _NOTHING
) -> bytes | None:
    """Return the event of one line or joined record, with `extra` fields; None for a blank one."""
    parsed = parse(line, parser)
    if parsed is None:
        return None
    for name, value in extra.items():
        parsed.fields.setdefault(name, value)
    return compose(builder, parsed)


@dataclass(slots=True)
class EventBatch:
    """Events on their way into the spool. `position()` is asked at each append, for what has been added.

    `part` names what the position is for, where a source has many.
    """

    builder: EventBuilder
    appender: Appender
    position: Callable[[], bytes]
    parser: Parser = "auto"
    extra: dict[str, Any] = field(default_factory=dict)
    part: str = ""
    added: int = 0
    _events: list[bytes] = field(default_factory=list)
    _bytes: int = 0
    _since: float = 0.0

    def add(self, line: bytes) -> bool:
        """Take one line or joined record; True when the batch should be flushed now."""
        event = event_of(self.builder, line, self.parser, self.extra)
        if event is None:
            return False
        if not self._events:
            self._since = time.monotonic()
        self._events.append(event)
        self._bytes += len(event)
        self.added += 1
        return len(self._events) >= MAX_EVENTS or self._bytes >= MAX_BYTES

    def flush(self) -> None:
        """Append what is there together with the position behind it; waits while the spool is full."""
        if not self._events:
            return
        events, self._events, self._bytes = self._events, [], 0
        self.appender.append(events, self.position(), self.part)
