"""A command's real output on a terminal as a picture: run under a pseudo-terminal, drawn by the browser.

What the program sends is taken as the terminal would take it, as far as these commands go: colours, lines
that are broken at the terminal's width, and a screen that is drawn anew from its upper left corner.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from html import escape
from io import StringIO
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

__all__ = ["page", "spoken"]

PATIENCE = 120.0
_WIDE = re.compile("[\u2e80-\u9fff\uff00-\uff60]")
THEME = TerminalTheme(
    (22, 24, 29),
    (213, 217, 224),
    [
        *((60, 64, 74), (240, 113, 120), (134, 200, 130), (229, 192, 105)),
        *((110, 160, 250), (200, 146, 234), (94, 192, 204), (213, 217, 224)),
    ],
    [
        *((124, 131, 144), (255, 140, 145), (160, 225, 150), (250, 215, 130)),
        *((140, 185, 255), (220, 170, 250), (130, 215, 225), (240, 242, 246)),
    ],
)
STYLE = """
body { margin: 0; background: #fff; }
#shot { display: inline-block; padding: 14px 18px 16px; background: #16181d; color: #d5d9e0; }
pre { margin: 0; font: 13px/18px "JetBrains Mono", monospace; font-variant-ligatures: none; }
i { display: inline-block; width: 2ch; font-style: normal; }
b.prompt { color: #7c8390; font-weight: 400; } b.typed { color: #f0f2f6; font-weight: 700; }
"""


def spoken(words: Sequence[str], where: Path, width: int, height: int, seconds: float | None = None) -> str:
    """Run `logferry WORDS` on a terminal; return what it wrote. `seconds`: when it is ended."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    environ: Mapping[str, str] = {
        **{name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "COLUMNS", "LINES"}},
        "TERM": "xterm-256color",
    }
    process = subprocess.Popen(  # noqa: S603 - a command of ours
        [sys.executable, "-m", "logferry", *words],
        cwd=where,
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env=environ,
        start_new_session=True,
    )
    os.close(theirs)
    said, deadline = b"", time.monotonic() + PATIENCE
    end = None if seconds is None else time.monotonic() + seconds
    while time.monotonic() < deadline:
        if end is not None and time.monotonic() > end:
            process.send_signal(signal.SIGINT)
            end = None
        if not select.select([ours], [], [], 0.1)[0]:
            continue
        try:
            more = os.read(ours, 65_536)
        except OSError:  # the program has ended, and its terminal with it
            break
        if not more:
            break
        said += more
    os.close(ours)
    process.wait(10)
    return said.decode()


def _lines(said: str, width: int) -> list[Text]:
    """Return what a terminal of this width shows; of a screen that is drawn anew, the last one."""
    shown = said.replace("\r\n", "\n")
    if "\x1b[?1049h" in shown:
        pages = shown.partition("\x1b[?1049h")[2].partition("\x1b[?1049l")[0].split("\x1b[H")
        shown = next(one for one in reversed(pages) if one.count("\n") > 3)
    lines = []
    for line in shown.rstrip().split("\n"):
        text = Text.from_ansi(line)
        while cell_len(text.plain) > width:
            at = next(n for n in range(len(text.plain) + 1) if cell_len(text.plain[: n + 1]) > width)
            first, text = text.divide([at])
            lines.append(first)
        lines.append(text)
    return lines


def page(typed: str, said: str, width: int) -> str:
    """Return the page that shows a command and its output."""
    console = Console(record=True, width=width + 2, file=StringIO(), force_terminal=True)
    lines = _lines(said, width)
    while lines and not lines[-1].plain.strip():
        lines.pop()
    for line in lines:
        console.print(line, no_wrap=True, overflow="ignore", crop=False, highlight=False)
    code = console.export_html(theme=THEME, code_format="{code}", inline_styles=True)
    code = _WIDE.sub(r"<i>\g<0></i>", code)  # two columns, as on every terminal
    return (
        f"<!doctype html><meta charset=utf-8><style>{STYLE}</style><div id=shot><pre>"
        f"<b class=prompt>$ </b><b class=typed>{escape(typed)}</b>\n{code}</pre></div>"
    )
