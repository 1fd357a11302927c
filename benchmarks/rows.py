"""Rows of the one table: what was measured, under which name, and how a run is kept.

A row's figures are numbers by name. Times are µs (of CPU where nothing else is said), memory is MiB, `ratio`
is the share to the floor of the same run. What a section cannot measure is not there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["COLUMNS", "Row", "load", "markdown", "plain", "text"]

# figure → (head of its column, how it is written)
COLUMNS = {
    "cpu": ("CPU µs", ".1f"),
    "ratio": ("x floor", ".2f"),
    "loki_ratio": ("x Loki", ".1f"),
    "call": ("in the call", ".1f"),
    "helper": ("other process", ".1f"),
    "p50": ("p50 µs", ".1f"),
    "p99": ("p99 µs", ".1f"),
    "p99.9": ("p99.9 µs", ".0f"),
    "max": ("max µs", ".0f"),
    "p50_ratio": ("p50 x floor", ".2f"),
    "p99_share": ("p99 of its bound", ".2f"),
    "p99.9_ratio": ("p99.9 x floor", ".2f"),
    "idle": ("idle µs/s", ".0f"),
    "seconds": ("s", ".3f"),
    "frame_p50": ("frame p50 ms", ".1f"),
    "frame_p95": ("p95 ms", ".1f"),
    "frame_max": ("longest ms", ".0f"),
    "memory": ("memory MiB", ".1f"),
    "size": ("installed MiB", ".1f"),
    "packages": ("packages", ".0f"),
    "delivered": ("delivered", ".1%"),
    "records": ("records", ",.0f"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    section: str
    name: str
    figures: dict[str, float]

    @property
    def key(self) -> str:
        """Return what `expected.json` calls it."""
        return f"{self.section}: {self.name}"


def load(path: Path) -> tuple[dict[str, Any], list[Row]]:
    """Return a run: what is known of it, and its rows."""
    run = json.loads(path.read_text(encoding="utf-8"))
    return run, [Row(**row) for row in run.pop("rows")]


def plain(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Return rows as JSON has them."""
    return [asdict(row) for row in rows]


def cells(rows: Sequence[Row]) -> list[list[str]]:
    """Return head and lines of a table that has the columns which the rows need."""
    used = [name for name in COLUMNS if any(name in row.figures for row in rows)]
    lines = [["what", *(COLUMNS[name][0] for name in used)]]
    for row in rows:
        held = [f"{row.figures[name]:{COLUMNS[name][1]}}" if name in row.figures else "" for name in used]
        lines.append([row.name, *held])
    return lines


def text(rows: Sequence[Row]) -> str:
    """Return the table for a terminal: one block for each section."""
    blocks = []
    for section in dict.fromkeys(row.section for row in rows):
        lines = cells([row for row in rows if row.section == section])
        lines[0][0] = section
        widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
        blocks.append(
            "\n".join(
                "  ".join(
                    cell.ljust(width) if at == 0 else cell.rjust(width)
                    for at, (cell, width) in enumerate(zip(line, widths, strict=True))
                )
                for line in lines
            )
        )
    return "\n\n".join(blocks)


def markdown(rows: Sequence[Row]) -> str:
    """Return the table of one section for the documentation."""
    lines = cells(rows)
    lines.insert(1, ["---", *["---:"] * (len(lines[0]) - 1)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
