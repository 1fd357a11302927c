"""Puts what was measured into the documentation.

    python benchmarks/page.py build/bench.json [build/bench-peers.json ...]      # make bench-docs

docs/performance.md and README.md hold places `<!-- begin: NAME, made by benchmarks/page.py -->` to
`<!-- end -->`; NAME is a section of the rows, `budgets` or `summary` (the README's short table). A place for
which the given runs have nothing stays as it is. Each table says when and where it was made.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import record
from budgets import told
from rows import Row, load, markdown

__all__ = ["PAGES", "PLACE", "SUMMARY", "fill"]

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "docs" / "performance.md", ROOT / "README.md")
PLACE = re.compile(
    r"(?P<begin><!-- begin: (?P<name>[\w ]+), made by benchmarks/page\.py -->\n)"
    r"(?P<held>.*?)(?P<end><!-- end -->)",
    re.DOTALL,
)
# The rows of the README's table, in its words.
SUMMARY = {
    "floor": "floor: the standard library's call",
    "event made and redacted": "event made and redacted",
    f"{record.DISK} → memory": "… spooled on disk and delivered to memory",
    f"{record.DISK} → local store": "… to the local store, durable",
    f"{record.DISK} → Loki": "… to Loki (protobuf + snappy over HTTP)",
    record.PROCESS: "… to Loki, `delivery: process`: what is left in the application",
}


def made(run: dict[str, Any]) -> str:
    """Return the line that says when and where a run was made."""
    machine = run["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    load_now = machine["load"][0]
    return (
        f"Made on {run['measured'][:10]}, {machine['python']}, {machine['system']} {machine['machine']},"
        f" {machine['processors']} processors, load {load_now:.1f}; {versions}."
    )


def summary(rows: Sequence[Row]) -> str:
    """Return the README's table."""
    held = {row.name: row.figures for row in rows if row.section == "way of a record"}
    lines = ["| | µs | x floor |", "|---|---:|---:|"]
    lines += [
        f"| {words} | {held[name]['cpu']:.1f} | {held[name]['ratio']:.1f} |"
        for name, words in SUMMARY.items()
        if name in held
    ]
    return "\n".join(lines)


def budgets(rows: Sequence[Row]) -> str:
    """Return the table of the budgets."""
    lines = ["| budget | bound | measured | |", "|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(line)} |" for line in told(rows))])


def fill(page: str, tables: dict[str, str]) -> str:
    """Return a page with its tables put into their places."""

    def put(found: re.Match[str]) -> str:
        table = tables.get(found["name"])
        return found[0] if table is None else f"{found['begin']}\n{table}\n\n{found['end']}"

    return PLACE.sub(put, page)


def tables_of(runs: Sequence[Path]) -> dict[str, str]:
    """Return the tables that runs have, by name."""
    tables: dict[str, str] = {}
    everything: list[Row] = []
    for path in runs:
        run, rows = load(path)
        everything += rows
        for section in dict.fromkeys(row.section for row in rows):
            some = [row for row in rows if row.section == section]
            tables[section] = f"{markdown(some)}\n\n{made(run)}"
        if any(row.section == "way of a record" for row in rows):
            tables["summary"] = summary(rows)
    if "summary" in tables:
        tables["budgets"] = budgets(everything)
    return tables


def main() -> int:
    """Fill the pages."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("runs", type=Path, nargs="+")
    tables = tables_of([path for path in parser.parse_args().runs if path.exists()])
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        path.write_text(fill(text, tables), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
