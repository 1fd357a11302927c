"""Rows as an aligned table for a terminal: pure text, as wide as the terminal, coloured by what a cell means.

Rules:
- Numbers stand to the right and are never cut, nor are names and ids: they are there to be copied.
- What is too wide for the terminal is cut in its widest texts, marked with an ellipsis.
- Wide characters (CJK, emoji) count two columns, combining ones none.
- Colour says what needs a look: lost and refused red, waiting yellow, nothing (0) dim.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

__all__ = ["SHADES", "cut_to", "harmless", "plain_cell", "table_lines", "width_of"]

SHADES: Final = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "magenta", "DEBUG": "bright_black"}
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_WHOLE: Final = frozenset({"id", "event_id", "trace_id", "spool", "service", "sink", "state"})
_LEAST: Final = 12  # columns that a text keeps, however narrow the terminal
_STATES: Final = {
    "alive": "green",
    "delivered": "green",
    "shut down": "bright_black",
    "filtered": "bright_black",
    "killed": "red",
    "dropped": "red",
    "dead-lettered": "red",
    "pending": "yellow",
    "unknown": "yellow",
    "passed": "yellow",
    "in doubt": "yellow",
    "ok": "green",
    "retrying": "yellow",
    "paused": "red",
    "nobody delivers": "red",
    "at rest": "bright_black",
}
_BAD: Final = frozenset(
    {"dead", "dead_lettered", "dropped", "unaccounted", "damaged", "damaged_bytes", "left"}
)
_WAITING: Final = frozenset({"pending"})


def harmless(text: str) -> str:
    """Return `text` with its control characters made visible; line breaks and tabs stay."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def plain_cell(value: object) -> str:
    """Return a value as one line of text that does nothing to a terminal."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.3f}".rstrip("0").rstrip(".")
    text = "" if value is None else str(value)
    return harmless(text).replace("\n", "⏎").replace("\t", " ")


def table_lines(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, width: int = 0, colour: bool = False
) -> list[str]:
    """Return heading and rows as lines. `width` is the terminal's; 0: as wide as it takes."""
    right = [
        bool(rows) and all(isinstance(row.get(column), int | float | None) for row in rows)
        for column in columns
    ]
    heads = list(columns)
    texts = [[plain_cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(width_of(text[i]) for text in [heads, *texts]) for i in range(len(columns))]
    if width:
        fixed = [r or column in _WHOLE for r, column in zip(right, columns, strict=True)]
        widths = _fitted(widths, fixed, width)
    heading = _line(heads, widths, right, [])
    lines = [click.style(heading, bold=True) if colour else heading]
    for row, text in zip(rows, texts, strict=True):
        shades = [_shade(column, row.get(column)) for column in columns] if colour else []
        lines.append(_line(text, widths, right, shades))
    return lines


def _line(texts: Sequence[str], widths: Sequence[int], right: Sequence[bool], shades: Sequence[str]) -> str:
    cells = []
    for i, (text, width) in enumerate(zip(texts, widths, strict=True)):
        cut = cut_to(text, width)
        gap = " " * (width - width_of(cut))
        shade = shades[i] if shades else ""
        shown = (
            click.style(cut, bold=True)
            if shade == "heading"
            else click.style(cut, fg=shade)
            if shade
            else cut
        )
        cells.append(gap + shown if right[i] else shown + gap)
    return "  ".join(cells).rstrip()


def _shade(column: str, value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not value:
            return "bright_black"
        return "red" if column in _BAD else "yellow" if column in _WAITING else ""
    if column == "state":
        return _STATES.get(str(value), "")
    return (
        SHADES.get(str(value), "") if column == "level" else "cyan" if column in {"service", "sink"} else ""
    )


def _fitted(widths: Sequence[int], fixed: Sequence[bool], width: int) -> list[int]:
    """Return widths that fit, the widest texts made narrower first."""
    fitted = list(widths)
    spare = sum(fitted) + 2 * (len(fitted) - 1) - width
    while spare > 0:
        loose = [i for i, own in enumerate(fitted) if not fixed[i] and own > _LEAST]
        if not loose:
            break
        widest = max(loose, key=lambda i: fitted[i])
        others = [fitted[i] for i in loose if fitted[i] < fitted[widest]]
        step = min(spare, max(1, fitted[widest] - max([_LEAST, *others])))
        fitted[widest] -= step
        spare -= step
    return fitted


def width_of(text: str) -> int:
    """Return how many columns of a terminal `text` takes."""
    if text.isascii():
        return len(text)
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in {"Cf", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut_to(text: str, width: int) -> str:
    """Return `text` in at most `width` columns, cut with an ellipsis."""
    if width_of(text) <= width:
        return text
    kept, left = [], width - 1
    for character in text:
        left -= _columns(character)
        if left < 0:
            break
        kept.append(character)
    return "".join(kept) + "…"
