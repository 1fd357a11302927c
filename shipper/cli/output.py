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
from typing import IO, TYPE_CHECKING, Any, Final

import click

from .table import SHADES, harmless, plain_cell, table_lines

if TYPE_CHECKING:
    from ..model import Account

__all__ = ["Output", "account_row", "account_values", "event_line", "harmless", "stdout", "warn"]

# What every line has in front, or nobody reads in a list.
_HIDDEN: Final = frozenset(
    {
        *("timestamp", "level", "service", "message", "trace_id", "span_id", "parent_id", "logger", "module"),
        *("function", "line", "environment", "version", "host", "process", "thread", "task", "error"),
        *("event_id", "duration_le", "error_pattern", "log_file"),
    }
)


def warn(text: str) -> None:
    """Tell the user something that is not a result."""
    click.echo(harmless(text), err=True)


# What an access event's message says already.
_IN_ACCESS: Final = frozenset({"kind", "method", "path", "status_code"})


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


def _as_filtered(value: object) -> str:
    """Return a field's value as a filter takes it: what is shown can be copied into a query."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if type(value) in {int, float} else plain_cell(value)


def event_line(event: Mapping[str, Any], *, colour: bool) -> str:
    """Return an event as one line: time, level, service, message, then its own fields."""
    level = str(event.get("level", ""))
    shade = SHADES.get(level)
    head = f"{str(event.get('timestamp', ''))[:23].replace('T', ' ')} {level:<8}"
    message = plain_cell(event.get("message"))
    error = event.get("error")
    if isinstance(error, Mapping):
        told = f"{error.get('type', '')}: {error.get('message', '')}".strip(": ")
        message += f"  ✗ {plain_cell(told)}" if told and told not in message else ""
    hidden = _HIDDEN | _IN_ACCESS if event.get("kind") == "access" else _HIDDEN
    if event.get("request_id") == event.get("trace_id"):
        hidden |= {"request_id"}
    fields = " ".join(
        f"{name}={_as_filtered(value)}"
        for name, value in event.items()
        if name not in hidden and value is not None
    )
    trace = str(event.get("trace_id") or "")
    fields += f" trace={trace}" if trace else ""
    service = harmless(str(event.get("service", "")))
    if not colour:
        return f"{harmless(head)} {service:<10} {message}  {fields}".rstrip()
    dim = click.style(fields.strip(), fg="bright_black")
    named = click.style(service.ljust(10), fg="cyan")
    return f"{click.style(harmless(head), fg=shade)} {named} {message}  {dim}"


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
