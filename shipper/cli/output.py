"""What the commands print: for people on a terminal, JSON lines on a pipe.

Rules:
- Decided by standard output alone; `NO_COLOR`, or a terminal that is `dumb`, takes the colours away.
- What a log line holds never steers the terminal: control characters are shown, not sent.
- Messages to the user go to stderr, results to stdout.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import click

from .line import event_line
from .table import harmless, table_lines

if TYPE_CHECKING:
    from ..model import Account

__all__ = ["Output", "account_row", "account_values", "event_line", "harmless", "stdout", "warn"]


def warn(text: str) -> None:
    """Tell the user something that is not a result."""
    click.echo(harmless(text), err=True)


@dataclass(frozen=True, slots=True)
class Output:
    """Where results go. `people`: a terminal; `colour`: it has colours; `width`: its columns (0: any)."""

    people: bool
    colour: bool
    stream: IO[str]
    width: int = 0

    def json(self, row: Mapping[str, Any] | bytes) -> None:
        """Write one JSON line."""
        import orjson

        text = row if isinstance(row, bytes) else orjson.dumps(row, default=str)
        self.stream.write(text.decode("utf-8", "replace") + "\n")

    def line(self, text: str = "", colour: str | None = None, *, bold: bool = False) -> None:
        """Write one line for people."""
        if self.colour and (colour or bold):
            text = click.style(text, fg=colour, bold=bold)
        self.stream.write(text + "\n")

    def rows(self, rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None) -> int:
        """Write rows: a table for people, JSON lines otherwise; return how many."""
        if not self.people:
            count = 0
            for row in rows:
                self.json(row)
                count += 1
            return count
        held = list(rows)
        if not held:
            return 0
        self.table(held, columns or (list(held[0]) if held else []))
        return len(held)

    def table(self, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
        """Write an aligned table."""
        for line in table_lines(rows, columns, width=self.width, colour=self.colour):
            self.stream.write(line + "\n")

    def flush(self) -> None:
        """Send what was written on its way."""
        self.stream.flush()


def stdout() -> Output:
    """Return the standard output as it is now."""
    stream = sys.stdout
    people = stream.isatty()
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    width = shutil.get_terminal_size().columns if people else 0
    return Output(people, people and not plain, stream, width)


def account_values(account: Account) -> dict[str, Any]:
    """Return an account for JSON."""
    return {
        "accepted": account.accepted,
        "delivered": account.delivered,
        "pending": account.pending,
        "dead_lettered": account.dead_lettered,
        "filtered": dict(account.filtered),
        "dropped": dict(account.dropped),
        "retried": account.retried,
        "duplicates": account.duplicates,
        "replayed": account.replayed,
        "unaccounted": account.balance,
    }


def account_row(account: Account) -> dict[str, Any]:
    """Return an account as a row of a table: sums, and the reasons in words."""
    row = account_values(account)
    reasons = [f"{name} {count:,}" for part in ("filtered", "dropped") for name, count in row[part].items()]
    if account.replayed:
        reasons.append(f"{account.replayed:,} dead letters replayed")
    return {
        **row,
        "filtered": sum(account.filtered.values()),
        "dropped": sum(account.dropped.values()),
        "reasons": ", ".join(reasons),
    }
