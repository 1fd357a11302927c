"""What is longer than the terminal goes through the user's pager.

Rules:
- Only where both standard input and output are a terminal, and the text is taller than it.
- `LOGFERRY_PAGER`, else `PAGER`, else `less`; `cat` or nothing means none. One that is not there is no error.
- `less` shows colours as they are; what a log line holds was made harmless before.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

__all__ = ["paged"]


def paged(text: str, *, from_end: bool = False) -> bool:
    """Show `text` in the pager if that is wanted here; False: it is still to be written.

    `from_end`: begin with its last lines, where the newest stand.
    """
    if not (sys.stdout.isatty() and sys.stdin.isatty()):
        return False
    if text.count("\n") < shutil.get_terminal_size().lines:
        return False
    command = shlex.split(os.environ.get("LOGFERRY_PAGER", os.environ.get("PAGER", "less")))
    if not command or command[0] == "cat" or shutil.which(command[0]) is None:
        return False
    if Path(command[0]).name == "less":
        command += ["-R", *(["+G"] if from_end else [])]
    # Ctrl-C is the pager's as long as it runs.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        subprocess.run(command, input=text, text=True, errors="replace", check=False)  # noqa: S603 - the user's
    except OSError:
        return False
    finally:
        signal.signal(signal.SIGINT, before)
    return True
