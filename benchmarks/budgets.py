"""The budgets that the design sets, as figures of rows, and which of them a run meets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rows import Row

__all__ = ["BUDGETS", "Budget", "Finding", "judge", "told"]


@dataclass(frozen=True, slots=True)
class Budget:
    """`figure` of every row whose key matches `rows` may be at most `bound`, written with `unit`."""

    what: str
    rows: str
    figure: str
    bound: float
    unit: str = "x the floor"
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Finding:
    """A budget beside what one row needs; `row` is empty where the run did not measure it."""

    budget: Budget
    row: str
    value: float

    @property
    def met(self) -> bool:
        """Say whether the row stays within its budget."""
        return self.value <= self.budget.bound


BUDGETS = (
    Budget(
        "application: log call to acknowledged Loki delivery, disk spool, CPU",
        r"way of a record: disk spool → Loki",
        "ratio",
        2.3,
    ),
    Budget(
        "application: a record with a five-frame traceback (30 µs where the floor is 5)",
        r"one record: traceback of five frames",
        "ratio",
        6.0,
    ),
    Budget("structlog's own loggers, to the outlet", r"one record: structlog's own logger", "ratio", 1.6),
    Budget("time inside the log call, p50", r"time in the call: (?!floor).*(?<!process)", "p50_ratio", 2.0),
    Budget(
        "time inside the log call, p99 (6 x the floor's p50 or 2 x its p99)",
        r"time in the call: (?!floor).*(?<!process)",
        "p99_share",
        1.0,
        "of its bound",
    ),
    Budget(
        "delivery: process: CPU per record in the application",
        r"way of a record: disk spool → Loki, delivery: process",
        "ratio",
        2.0,
    ),
    Budget(
        "delivery: process: time inside the log call, p99.9",
        r"time in the call: .*delivery: process",
        "p99.9_ratio",
        2.0,
    ),
    Budget("application: memory added after a million records", r"memory: .*", "memory", 40, "MiB"),
    Budget(
        "agent: file → schema → redaction → Loki, CPU a line (2.5 µs where the floor is 4)",
        r"agent: file → Loki.*",
        "ratio",
        0.625,
    ),
    Budget("agent: memory, any backlog", r"agent: .*", "memory", 120, "MiB"),
    Budget("start of logferry run", r"start: logferry run.*", "seconds", 0.5, "s"),
    Budget("import of logferry.handlers", r"start: import logferry\.handlers.*", "cpu", 60, "ms", 1e-3),
    Budget(
        "ASGI middleware with its access event, added to a request (30 µs where the floor is 5)",
        r"middleware: .*",
        "ratio",
        6.0,
    ),
    Budget("local store: a panel over ten million events", r"panels: panel .*", "seconds", 1.0, "s"),
)


def judge(rows: Sequence[Row], budgets: Iterable[Budget] = BUDGETS) -> Iterator[Finding]:
    """Compare each budget with every row that it is for."""
    for budget in budgets:
        for row in rows:
            if re.fullmatch(budget.rows, row.key) and budget.figure in row.figures:
                yield Finding(budget, row.name, row.figures[budget.figure] * budget.scale)


def told(rows: Sequence[Row]) -> list[tuple[str, str, str, str]]:
    """Return for each budget what it is, its bound, what the worst of its rows needs, and the verdict."""
    lines = []
    for budget in BUDGETS:
        found = list(judge(rows, [budget]))
        bound = f"≤ {budget.bound:g} {budget.unit}"
        if not found:
            lines.append((budget.what, bound, "", "not measured in this run"))
            continue
        worst = max(found, key=lambda finding: finding.value)
        several = f" ({worst.row})" if len(found) > 1 else ""
        over = sum(not finding.met for finding in found)
        part = f", {over} of {len(found)}" if over and len(found) > 1 else ""
        verdict = f"not met{part}" if over else "met"
        lines.append((budget.what, bound, f"{worst.value:.2f}{several}", verdict))
    return lines
