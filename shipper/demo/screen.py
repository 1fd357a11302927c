"""The demo's live screen: a panel drawn with rich on a terminal, a plain line every few seconds on a pipe."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TextIO

from .live import percentile, sparkline

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live as RichLive

    from ..model import Account
    from .live import Live

__all__ = ["Frame", "PlainScreen", "RichScreen", "Screen", "open_screen"]

PLAIN_EVERY = 5.0  # seconds between two lines on a pipe


@dataclass(frozen=True, slots=True)
class Frame:
    """What one picture shows; times in seconds."""

    passed: float
    duration: float
    live: Live
    account: Account


class Screen(Protocol):
    """Shows the demo's progress."""

    def say(self, text: str) -> None:
        """Tell one thing that happened."""
        ...

    def draw(self, frame: Frame) -> None:
        """Show the present state."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was."""
        ...


def figures(frame: Frame) -> dict[str, float]:
    """Return rates over the last five whole seconds (per second), and P95 in milliseconds over ten."""
    seconds = frame.live.seconds()
    last = seconds[-5:]
    durations = [d for s in seconds[-10:] for d in s.durations]
    requests = sum(s.requests.total() for s in last)
    return {
        "events": sum(s.events for s in last) / max(len(last), 1),
        "requests": requests / max(len(last), 1),
        "p50": percentile(durations, 0.50),
        "p95": percentile(durations, 0.95),
        "p99": percentile(durations, 0.99),
        "errors": 100 * sum(s.failed for s in last) / max(requests, 1),
    }


class PlainScreen:
    """For pipes and logs."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._next = 0.0

    def say(self, text: str) -> None:
        """Write one line."""
        self._out.write(f"· {text}\n")
        self._out.flush()

    def draw(self, frame: Frame) -> None:
        """Write the figures, at most every few seconds."""
        if frame.passed >= self._next:
            self._next = frame.passed + PLAIN_EVERY
            f, a = figures(frame), frame.account
            self.say(
                f"{frame.passed:4.0f} s  {f['requests']:.0f} requests/s  P95 {f['p95']:.0f} ms  "
                f"failed {f['errors']:.1f} %  accepted {a.accepted:,}  delivered {a.delivered:,}  "
                f"in the spool {a.pending:,}"
            )

    def close(self) -> None:
        """Nothing to restore."""


class RichScreen:
    """For people."""

    def __init__(self, console: Console) -> None:
        from rich.live import Live as RichLive

        self._console = console
        self._live: RichLive = RichLive(console=console, refresh_per_second=4, transient=True)
        self._live.start()

    def say(self, text: str) -> None:
        """Print a line above the panel."""
        self._console.print(f"[dim]{time.strftime('%H:%M:%S')}[/dim] ", text, highlight=False, markup=True)

    def draw(self, frame: Frame) -> None:
        """Draw the panel."""
        self._live.update(panel(frame))

    def close(self) -> None:
        """Take the panel away."""
        self._live.stop()


def panel(frame: Frame) -> RenderableType:
    """Make the live panel of one frame."""
    from rich import box
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    f, a, seconds = figures(frame), frame.account, frame.live.seconds()
    table = Table.grid(padding=(0, 2))
    for _ in range(3):
        table.add_column(no_wrap=True)
    rows: list[tuple[str, str, list[float], str]] = [
        ("requests/s", f"{f['requests']:.0f}", [float(s.requests.total()) for s in seconds], "cyan"),
        ("P95 ms", f"{f['p95']:.0f}", [percentile(s.durations, 0.95) for s in seconds], "yellow"),
        ("failed", f"{f['errors']:.1f} %", [float(s.failed) for s in seconds], "red"),
        ("events/s", f"{f['events']:.0f}", [float(s.events) for s in seconds], "green"),
    ]
    for name, value, line, colour in rows:
        table.add_row(
            Text(name, style="bold"), Text(value, justify="right"), Text(sparkline(line), style=colour)
        )
    books = Text.assemble(
        ("accepted ", "dim"), f"{a.accepted:,}", ("   delivered ", "dim"), (f"{a.delivered:,}", "green"),
        ("   in the spool ", "dim"), f"{a.pending:,}", ("   dropped ", "dim"), f"{sum(a.dropped.values()):,}",
        ("   unaccounted ", "dim"), (f"{a.balance:,}", "red" if a.balance else "green"),
    )  # fmt: skip
    errors = Text(
        "\n".join(frame.live.errors) or "no errors yet", style="red", overflow="ellipsis", no_wrap=True
    )
    left = max(frame.duration - frame.passed, 0)
    return Panel(
        Group(table, Text(), books, Text(), errors),
        title=f"logferry demo · {left:.0f} s left",
        title_align="left",
        box=box.ROUNDED,
    )


def open_screen(out: TextIO) -> Screen:
    """Return the screen that suits `out`."""
    if out.isatty():
        from rich.console import Console

        return RichScreen(Console(file=out))
    return PlainScreen(out)
