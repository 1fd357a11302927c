"""Compares a run with what was kept and with the design's budgets; fails when something got worse.

    python benchmarks/check.py build/bench.json         # a run of `make bench`
    python benchmarks/check.py --short                  # measures the short form first: `make bench-check`
    python benchmarks/check.py build/bench.json --keep  # what is measured is what is expected from now on

What is kept stands in `benchmarks/expected.json`, for each size of a run: ratios to the floor of the same
run, never times, for machines differ. A figure is worse when it is more than its expected value and the
margin of its kind below: `expected * (1 + share) + slack`. `--short` measures sections in
which something is worse twice again and takes the smallest figures: noise only ever adds, so that what stays
worse is worse.

A budget that is not met today fails nothing by itself: it is printed as it is, and its figure is guarded like
all others. Exit status: 0 nothing is worse, 1 something is, or not everything was delivered.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import show, take
from budgets import BUDGETS, judge
from machine import describe, write
from rows import Row, load, plain

__all__ = ["KEPT", "MARGINS", "Margin", "Worse", "kept", "lower", "worse"]

KEPT = Path(__file__).parent / "expected.json"


@dataclass(frozen=True, slots=True)
class Margin:
    """How much worse a figure may be: a share of what is expected, and a constant for small ones."""

    share: float
    slack: float = 0.0

    def bound(self, expected: float) -> float:
        """Return the largest figure that is not worse."""
        return expected * (1 + self.share) + self.slack


# section → figure → margin. In turns within one process little comes from other work; between processes more;
# tails and starts on a machine that others use, most.
MARGINS: Mapping[str, Mapping[str, Margin]] = {
    "way of a record": {"ratio": Margin(0.25)},
    "one record": {"ratio": Margin(0.15)},
    "stage": {"ratio": Margin(0.20, 0.08)},
    "time in the call": {"p50_ratio": Margin(0.30), "p99_share": Margin(1.50)},
    "memory": {"memory": Margin(0.25, 5.0)},
    "agent": {"ratio": Margin(0.30), "memory": Margin(0.15, 5.0)},
    "start": {"ratio": Margin(0.30, 0.10)},
    "middleware": {"ratio": Margin(0.20)},
}


@dataclass(frozen=True, slots=True)
class Worse:
    """One figure that is more than it may be."""

    row: str
    figure: str
    value: float
    expected: float
    bound: float

    def __str__(self) -> str:
        said = f"{self.row}, {self.figure}: {self.value:.2f}"
        return f"{said}, expected {self.expected:.2f}, at most {self.bound:.2f}"


def kept(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Return what is guarded of a run, as `expected.json` has it."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        for figure in MARGINS.get(row.section, {}):
            if figure in row.figures and not row.name.startswith(("floor", "the interpreter")):
                found.setdefault(row.key, {})[figure] = round(row.figures[figure], 3)
    return found


def worse(rows: Sequence[Row], expected: Mapping[str, Mapping[str, float]]) -> list[Worse]:
    """Return every guarded figure that is more than it may be, and every delivery that is not whole."""
    found = []
    for row in rows:
        for figure, held in expected.get(row.key, {}).items():
            bound = MARGINS[row.section][figure].bound(held)
            if row.figures[figure] > bound:
                found.append(Worse(row.key, figure, row.figures[figure], held, bound))
        if row.figures.get("delivered", 1.0) < 1.0 and row.section != "peers":
            found.append(Worse(row.key, "delivered", row.figures["delivered"], 1.0, 1.0))
    return found


def missing(rows: Sequence[Row], expected: Mapping[str, object]) -> list[str]:
    """Return what is expected and was not measured: a row that is gone guards nothing."""
    return sorted(expected.keys() - {row.key for row in rows})


def lower(
    rows: Sequence[Row], again: Sequence[Row], better: Callable[[float, float], float] = min
) -> list[Row]:
    """Return rows with the smaller of each figure; of what was delivered too.

    With `max` the larger: what is kept must not be what a disturbed floor made small.
    """
    second = {row.key: row.figures for row in again}
    return [
        Row(row.section, row.name, {k: better(v, second[row.key].get(k, v)) for k, v in row.figures.items()})
        if row.key in second
        else row
        for row in rows
    ]


def short(expected: Mapping[str, Mapping[str, float]]) -> list[Row]:
    """Measure the short form; what seems worse twice again."""
    found = take("short", SHORT)
    for _ in range(2):
        doubtful = [name for name, rows in found.items() if worse(rows, expected)]
        if not doubtful:
            break
        print(f"· once more: {', '.join(doubtful)}", file=sys.stderr)
        for name, again in take("short", doubtful).items():
            found[name] = lower(found[name], again)
    return [row for rows in found.values() for row in rows]


SHORT = ("ways", "stages", "calls", "agent", "start", "middleware")


def keep(size: str, rows: Sequence[Row]) -> None:
    """Make a run what is expected."""
    held: dict[str, Any] = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    held[size] = {"machine": describe(), "rows": kept(rows)}
    KEPT.write_text(json.dumps(held, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


def main() -> int:
    """Compare, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("run", type=Path, nargs="?", help="JSON of a run of benchmarks/bench.py")
    parser.add_argument("--short", action="store_true", help="measure the short form")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/expected.json")
    parser.add_argument("--json", type=Path, help="with --short: keep what was measured")
    given = parser.parse_args()
    if bool(given.run) == given.short:
        parser.error("a run, or --short")
    held = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    if given.short and given.keep:
        size, rows = "short", lower(short({}), short({}), max)
    elif given.short:
        size, rows = "short", short(held.get("short", {}).get("rows", {}))
    else:
        run, rows = load(given.run)
        size = run["size"]
    show(rows)
    if given.json:
        write(given.json, {"size": size, "rows": plain(rows)})
    if given.keep:
        keep(size, rows)
        print(f"\nkept in {KEPT.name}: what is measured is expected from now on")
        return 0
    if size not in held:
        print(f"\n{KEPT.name} holds nothing for a run of this size: --keep it first")
        return 1
    return said(rows, held[size]["rows"])


def said(rows: Sequence[Row], expected: Mapping[str, Mapping[str, float]]) -> int:
    """Print the verdict; return the exit status."""
    bad = worse(rows, expected)
    gone = missing(rows, expected)
    over = {finding.budget.what for finding in judge(rows) if not finding.met}
    print(f"\n{len(BUDGETS)} budgets; not met today: {'; '.join(sorted(over)) or 'none'}")
    for line in gone:
        print(f"NOT MEASURED {line}")
    for each in bad:
        print(f"WORSE {each}")
    guarded = sum(map(len, expected.values()))
    print(f"{guarded} figures guarded, {len(bad)} worse than their margin, {len(gone)} rows not measured")
    return 1 if bad or gone else 0


if __name__ == "__main__":
    sys.exit(main())
