"""Lines of somebody else's log → events of ours, one by one (`blocks.py`: many at once).

Time, level, service and ids are taken over when they are well formed; the source's transforms see what was
understood; then everything goes through the schema and the redaction like what an application logs.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from ...handlers.failure import describe_foreign
from ...handlers.pattern import FAILS
from ..builder import SourceBuilder, count_unparsed
from ..core.parse import Parsed, Parser, parse
from .transformed import transform

if TYPE_CHECKING:
    from ...handlers.record import EventBuilder

__all__ = ["NUMBERS", "TEXTS", "compose", "event_of", "is_left_out"]

# What the line knows better than this process. The ids are taken only when `parse` found them well formed.
TEXTS: Final = ("module", "function", "thread", "task", "environment", "version", "host", "parent_id")
NUMBERS: Final = ("line", "process")
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


def compose(builder: EventBuilder, parsed: Parsed) -> bytes:
    """Return the event of a parsed line; an empty one when transforms leave it out."""
    if isinstance(builder, SourceBuilder) and builder.transforms:
        builder.left_out = transform(builder, parsed)
        if builder.left_out:
            return b""
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
    """Return the event of one line or joined record, with `extra` fields; None for a blank one.

    It is empty when transforms leave it out.
    """
    parsed = _parsed(line, parser, extra)
    if parsed is None:
        return None
    if parser == "json" and "parse_error" in parsed.fields:
        count_unparsed(builder, 1)
    return compose(builder, parsed)


def is_left_out(builder: SourceBuilder, line: bytes, parser: Parser, extra: Mapping[str, Any]) -> bool:
    """Whether transforms leave a line out; a blank one is not."""
    parsed = _parsed(line, parser, extra)
    return parsed is not None and transform(builder, parsed) != ""


def _parsed(line: bytes, parser: Parser, extra: Mapping[str, Any]) -> Parsed | None:
    parsed = parse(line, parser)
    if parsed is not None:
        for name, value in extra.items():
            parsed.fields.setdefault(name, value)
    return parsed
