"""A trace's waterfall on a terminal: spans as bars in time, then the lines with their place in it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from ..core.waterfall import SpanRow, Waterfall
from .output import Output, event_line, harmless
from .table import width_of

__all__ = ["show_waterfall"]

_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"
_NARROWEST: Final = 60


def show_waterfall(out: Output, trace_id: str, fall: Waterfall, *, lines: bool) -> None:
    """Write the waterfall, and below it, when asked for, what was logged."""
    spans, services = len(fall.rows), [harmless(name) for name in fall.services if name]
    errors = f" · {fall.errors} error{'s' if fall.errors != 1 else ''}" if fall.errors else ""
    took = f" · {_duration(fall.length)}" if fall.rows else ""
    start = datetime.fromtimestamp(fall.start / 1e6, UTC).astimezone()
    begun = f"{start:%Y-%m-%d %H:%M:%S %Z} · " if fall.rows else ""
    head = f"trace {harmless(trace_id)} · {begun}{', '.join(services)} · {spans} spans{took}{errors}"
    for line in _folded(head, out.width):
        out.line(line, "red" if fall.errors else None, bold=True)
    width = max(out.width or 100, _NARROWEST)
    left = min(max((len(_name(row)) for row in fall.rows), default=0), width // 2)
    service = min(max((len(row.span.service) for row in fall.rows), default=0), 16)
    bar = max(width - left - service - 16, 10)
    for row in fall.rows:
        name = _cut(_name(row), left).ljust(left)
        where = _cut(harmless(row.span.service), service).ljust(service)
        took = "open" if row.open else _duration(row.length)
        colour = "red" if row.span.failed else "yellow" if row.open else "cyan"
        failed = " ✗" if row.span.failed else ""
        out.line(f"{where} {name} {_bar(row, fall, bar)} {took}{failed}", colour)
    if lines and fall.lines:
        out.line()
        for event in fall.lines:
            before = f"{_after(event, fall):>10} " if fall.rows else ""
            room = max(out.width - len(before), 0)
            text = event_line(event, colour=out.colour, width=room, in_trace=True)
            out.line(before + text.replace("\n", "\n" + " " * len(before)))


def _folded(head: str, width: int) -> list[str]:
    """Return the head in lines that fit, broken at its dots."""
    lines: list[str] = []
    for part in head.split(" · "):
        if lines and (not width or width_of(f"{lines[-1]} · {part}") <= width):
            lines[-1] += f" · {part}"
        else:
            lines.append(part)
    return lines


def _name(row: SpanRow) -> str:
    tip = "└ " if row.depth else "… " if row.orphan else ""
    return "  " * max(row.depth - 1, 0) + tip + harmless(row.span.name)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def _bar(row: SpanRow, fall: Waterfall, width: int) -> str:
    """Return a bar in eighths of a character, never empty."""
    whole = max(fall.length, 1)
    begin = min(max(row.offset * width * 8 // whole, 0), width * 8 - 1)
    size = min(max(row.length * width * 8 // whole, 1), width * 8 - begin)
    full, rest = divmod(size, 8)
    blocks = "█" * full + (_EIGHTHS[rest] if rest else "")
    return (" " * (begin // 8) + blocks)[:width].ljust(width)


def _duration(microseconds: int) -> str:
    if microseconds < 1_000:
        return f"{microseconds} µs"
    if microseconds < 1_000_000:
        return f"{microseconds / 1_000:.1f} ms"
    return f"{microseconds / 1_000_000:.2f} s"


def _after(event: Mapping[str, Any], fall: Waterfall) -> str:
    try:
        moment = datetime.fromisoformat(str(event.get("timestamp")))
    except ValueError:
        return ""
    return f"+{(moment.timestamp() * 1e6 - fall.start) / 1000:.1f} ms"
