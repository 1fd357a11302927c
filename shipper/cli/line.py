"""An event as a line for people: time, level, service, message, error, then its own fields.

Rules:
- Times are the reader's: what is shown can be given to `--since`.
- What is shown of a field can be copied into a query; what the message says already is left out.
- On a terminal a line that is too long goes on below its message, broken between words and fields.
- A message of thousands of characters is cut, and says so: JSON has it whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import click

from .table import SHADES, harmless, plain_cell, width_of

__all__ = ["event_line"]

# What every line has in front, or nobody reads in a list.
_HIDDEN: Final = frozenset(
    {
        *("timestamp", "level", "service", "message", "trace_id", "span_id", "parent_id", "logger", "module"),
        *("function", "line", "environment", "version", "host", "process", "thread", "task", "error"),
        *("event_id", "origin_id", "duration_le", "error_pattern", "log_file", "started", "user_agent"),
        "color_message",
    }
)
# What an access event's or a span's message says already.
_SAID: Final = {
    "access": frozenset({"kind", "method", "path", "status_code"}),
    "span": frozenset({"kind", "span_kind", "name", "tags"}),
    "job": frozenset({"kind", "name"}),
}
_NARROW: Final = 100  # columns of a terminal below which the date of today goes without saying
_ROOM: Final = 30  # columns that a message needs beside what is in front of it
_MOST: Final = 2_000  # characters of a message
_WORD: Final = re.compile(r"✗ \S+\s*|\S+\s*|\s+")


def event_line(event: Mapping[str, Any], *, colour: bool, width: int = 0, in_trace: bool = False) -> str:
    """Return an event as text. `width`: the terminal's (0: one line, however long).

    `in_trace`: where all of it is one trace, whose id and date stand elsewhere.
    """
    level = str(event.get("level", ""))
    head = f"{_moment(str(event.get('timestamp', '')), width, in_trace=in_trace)} {level:<8}"
    service = harmless(str(event.get("service", ""))).ljust(10)
    before = [(harmless(head), SHADES.get(level, "")), (service, "cyan")]
    message = _message(event)
    fields = list(_fields(event, in_trace=in_trace))
    indent = width_of(f"{before[0][0]} {service} ")
    parts = [(message, ""), (" " + " ".join(fields), "bright_black")]
    long = bool(width) and indent + sum(width_of(text) + 1 for text, _ in parts) - 1 > width
    if not long:
        line = " ".join(_styled(text, shade, colour) for text, shade in [*before, *parts])
        return line if colour else line.rstrip()
    if width - indent < _ROOM:
        indent = 4
    lines = _broken(message, fields, width, (width_of(f"{before[0][0]} {service} "), indent))
    shown = "\n".join(
        (" " * indent if number else "") + " ".join(_styled(text, shade, colour) for text, shade in line)
        for number, line in enumerate(lines)
    )
    return " ".join([*(_styled(text, shade, colour) for text, shade in before), shown])


def _styled(text: str, shade: str, colour: bool) -> str:  # noqa: FBT001 - two letters in a row of texts
    return click.style(text, fg=shade) if colour and shade else text


def _moment(stamp: str, width: int, *, in_trace: bool) -> str:
    """Return the time in the reader's zone, as `--since` takes it and the page shows it; JSON says UTC."""
    try:
        moment = datetime.fromisoformat(stamp).astimezone()
    except (ValueError, OverflowError):
        return stamp[:23].replace("T", " ")
    day, clock = f"{moment:%Y-%m-%d}", f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03}"
    if in_trace:
        return clock
    if not 0 < width < _NARROW:
        return f"{day} {clock}"
    if day == f"{datetime.now().astimezone():%Y-%m-%d}":
        return clock
    return f"{day[5:]} {clock[:8]}"


def _message(event: Mapping[str, Any]) -> str:
    text = str(event.get("message") if event.get("message") is not None else "")
    shown = plain_cell(text[:_MOST])
    if len(text) > _MOST:
        shown += f"… ({len(text):,} characters: --format json has all)"
    error = event.get("error")
    if isinstance(error, Mapping):
        kind, words = str(error.get("type") or ""), str(error.get("message") or "")
        told = kind if words and words in text else f"{kind}: {words[:_MOST]}".strip(": ")
        shown += f"  ✗ {plain_cell(told)}" if told and told not in text else ""
    return shown


def _fields(event: Mapping[str, Any], *, in_trace: bool) -> Iterator[str]:
    hidden = _HIDDEN | _SAID.get(str(event.get("kind")), frozenset())
    if event.get("request_id") == event.get("trace_id"):
        hidden |= {"request_id"}
    if event.get("kind") == "access" and event.get("endpoint") == event.get("path"):
        hidden |= {"endpoint"}
    if event.get("kind") in _SAID and event.get("failed") is False:
        hidden |= {"failed"}
    for name, value in event.items():
        if name not in hidden and value is not None:
            yield f"{harmless(name)}={_as_filtered(value)}"
    tags = event.get("tags")
    if event.get("kind") == "span" and isinstance(tags, Mapping):
        yield from (f"{harmless(str(name))}={_as_filtered(value)}" for name, value in tags.items())
    trace = str(event.get("trace_id") or "")
    if trace and not in_trace:
        yield f"trace={harmless(trace)}"


def _as_filtered(value: object) -> str:
    """Return a field's value as a filter takes it: what is shown can be copied into a query."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        import orjson

        return plain_cell(orjson.dumps(value, default=str).decode())
    if type(value) in {int, float}:
        return str(value)
    text = plain_cell(value)
    return f'"{text}"' if " " in text and '"' not in text else text


def _broken(
    message: str, fields: list[str], width: int, indents: tuple[int, int]
) -> Iterator[list[tuple[str, str]]]:
    """Yield lines of texts with their shades: words and fields that are not torn apart."""
    at, indent = indents
    held: dict[str, list[str]] = {"": [], "bright_black": []}

    def line() -> list[tuple[str, str]]:
        made = [("".join(held[""]).rstrip(), ""), (" ".join(held["bright_black"]), "bright_black")]
        for texts in held.values():
            texts.clear()
        return [(text, shade) for text, shade in made if text]

    room = width - at
    words = [(word, "") for word in _WORD.findall(message)]
    count = len(words)
    for one in fields:  # one that no line can hold is broken between its words, too
        parts = [one] if width_of(one) <= width - indent else one.split(" ")
        words += [(part, "bright_black") for part in parts]
    for number, (word, shade) in enumerate(words):
        first_field = number == count
        gap = 2 if first_field else 1 if shade and held[shade] else 0
        takes = width_of(word.rstrip()) + gap
        if takes > room and (any(held.values()) or room < width - indent):
            yield line()
            room = width - indent
            takes = width_of(word)
        elif first_field and held[""]:
            held["bright_black"].append("")  # two blanks between message and fields
        held[shade].append(word)
        room -= takes if shade else width_of(word)
    yield line()
