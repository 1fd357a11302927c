"""What `logferry top` draws on a terminal: one block for each service. Pure text, and a screen to put it on.

With rich (the extra `ui`) the screen is rich's, on the terminal's other page; without it the page is drawn
anew with a few control sequences. `q`, Escape and Ctrl-C end it, and the terminal is as it was.
"""

from __future__ import annotations

import os
import select
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from .table import harmless, plain_cell, table_lines

if TYPE_CHECKING:
    from .output import Output

__all__ = ["lines", "watch"]

_COLUMNS: Final = (
    *("sink", "state", "delivered/s", "delivered", "pending", "oldest", "retried", "dead"),
    *("dropped", "error"),
)
_WIDE: Final = 110  # columns of a terminal from which on all of these fit
_NARROW: Final = ("sink", "state", "delivered/s", "pending", "oldest", "dead", "dropped", "error")
_ENDS: Final = frozenset("qQ\x1b\x03\x04")
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def lines(rows: Sequence[Mapping[str, Any]], *, width: int, colour: bool, now: float) -> list[str]:
    """Return the blocks of all services. `now`: the wall clock."""
    out: list[str] = []
    for row in rows:
        out += ["", *_service(row, width=width, colour=colour, now=now)]
    return out[1:] or ["no pipelines here yet: nothing has been logged or read"]


def _service(row: Mapping[str, Any], *, width: int, colour: bool, now: float) -> Iterator[str]:
    def styled(text: str, **style: Any) -> str:
        return click.style(text, **style) if colour else text

    rate = row["accepted_per_second"]
    name = styled(harmless(row["service"]), fg="cyan", bold=True)
    figures = f"accepted {row['accepted']:,}" + ("" if rate is None else f", {plain_cell(_figure(rate))}/s")
    spools = f"spools {row['spools']} ({row['living']} in use), {_size(row['bytes'])}"
    yield f"{name}  {figures}  ·  {spools}  ·  {_processes(row['processes'])}"
    if row["sources"]:
        table = [
            {
                "source": one["source"],
                "events/s": _figure(one["per_second"]),
                "files": one["parts"],
                "unread": "" if one["behind_bytes"] is None else _size(one["behind_bytes"]),
                "unparsed": one["unparsed"] or "",
                "error": one["error"],
            }
            for one in row["sources"]
        ]
        columns: Sequence[str] = ("source", "events/s", "files", "unread", "unparsed", "error")
        yield from _table(table, columns, width, colour=colour)
    sinks = [_sink(one) for one in row["sinks"] if one["state"] != "removed" or one["pending"]]
    if sinks:
        columns = _COLUMNS if not width or width >= _WIDE else _NARROW
        yield from _table(sinks, columns, width, colour=colour)
    if row["last_error"]:
        text = f"last error, {_age(now - row['last_error_at'])} ago: {row['last_error']}"
        yield "  " + styled(
            harmless(" ".join(text.split()))[: max(20, width - 2) if width else None], fg="yellow"
        )


def _table(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], width: int, *, colour: bool
) -> Iterator[str]:
    # Without a width (a pipe) it is as wide as it takes.
    for line in table_lines(rows, columns, width=max(0, width - 2), colour=colour):
        yield "  " + line


def _sink(one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **one,
        "delivered/s": _figure(one["delivered_per_second"]),
        "oldest": "" if one["oldest_seconds"] is None else _age(one["oldest_seconds"]),
        "dead": one["dead_lettered"],
        "dropped": sum(one["dropped"].values()),
    }


def _processes(processes: Sequence[Mapping[str, Any]]) -> str:
    kinds = Counter(one["kind"] for one in processes)
    plural = {"delivery process": "delivery processes"}
    told = [
        f"{count} {kind if count == 1 else plural.get(kind, kind + 's')}" for kind, count in kinds.items()
    ]
    return ", ".join(told) or "nobody at work"


def _figure(value: float | None) -> float | None:
    return value if value is None or 0 < value < 10 else round(value)


def _size(count: int) -> str:
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if count >= 1024**power:
            return f"{count / 1024**power:.1f} {unit}"
    return f"{count} B"


def _age(seconds: float) -> str:
    for size, unit in _UNITS:
        if seconds >= size * (2 if size > 1 else 1):
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0.0):.1f} s"


def watch(
    out: Output, look: Callable[[], Sequence[Mapping[str, Any]]], interval: float, paths: Sequence[Path]
) -> None:
    """Draw what `look` returns, again and again, until a key ends it."""
    where = ", ".join(map(str, paths))
    with _keys() as pressed, _screen(out) as draw:
        while True:
            width, height = shutil.get_terminal_size()
            head = f"logferry top  {time.strftime('%H:%M:%S')}  {where}"
            body = lines(look(), width=width, colour=out.colour, now=time.time())
            page = [click.style(head[:width], bold=True) if out.colour else head[:width], "", *body]
            if len(page) > height - 1:
                page = [
                    *page[: height - 2],
                    f"… {len(page) - height + 2} more lines: a higher window shows them",
                ]
            draw([*page, *[""] * (height - 1 - len(page)), "q ends"])
            if pressed(interval):
                return


def _no_keys(seconds: float) -> bool:
    time.sleep(seconds)
    return False


@contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """Give what waits and says whether a key was pressed that ends the screen."""
    import termios
    import tty

    if not sys.stdin.isatty():
        yield _no_keys
        return
    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)

    def pressed(seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if select.select([number], [], [], left)[0]:
                data = os.read(number, 64)
                if not data or _ENDS & set(data.decode("latin-1")):
                    return True
        return False

    try:
        tty.setcbreak(number)
        yield pressed
    finally:
        with suppress(termios.error):
            termios.tcsetattr(number, termios.TCSADRAIN, before)


@contextmanager
def _screen(out: Output) -> Iterator[Callable[[Sequence[str]], None]]:
    """Give what draws a page; rich's screen where it is installed."""
    try:
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text
    except ImportError:
        with _plain_screen(out) as draw:
            yield draw
        return
    console = Console(file=out.stream, highlight=False)
    with Live(console=console, screen=True, auto_refresh=False) as live:

        def draw(page: Sequence[str]) -> None:
            text = Text.from_ansi("\n".join(page), no_wrap=True, overflow="ellipsis")
            live.update(text, refresh=True)

        yield draw


@contextmanager
def _plain_screen(out: Output) -> Iterator[Callable[[Sequence[str]], None]]:
    def draw(page: Sequence[str]) -> None:
        text = "".join(f"{line}\x1b[K\r\n" for line in page[:-1])
        out.stream.write(f"\x1b[H{text}{page[-1]}\x1b[J")
        out.stream.flush()

    out.stream.write("\x1b[?1049h\x1b[?25l\x1b[?7l")  # the other page, without a cursor; no line is broken
    try:
        yield draw
    finally:
        out.stream.write("\x1b[?7h\x1b[?25h\x1b[?1049l")
        out.stream.flush()
