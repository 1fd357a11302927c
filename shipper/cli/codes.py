"""What the exit status of `logferry` means. Scripts rely on these numbers: they never change."""

from __future__ import annotations

from typing import Final

__all__ = ["CODES", "INTERRUPTED", "OK", "PIPE", "PROBLEMS", "UNAVAILABLE", "USAGE"]

OK: Final = 0
PROBLEMS: Final = 1
USAGE: Final = 2
UNAVAILABLE: Final = 3
INTERRUPTED: Final = 130
PIPE: Final = 141

CODES: Final = {
    OK: "done; with `run --once`: everything was delivered",
    PROBLEMS: "something was not delivered, not found, or is wrong",
    USAGE: "the command line or the configuration has a mistake",
    UNAVAILABLE: "something needed is missing: an extra, a file, a directory, a permission",
    INTERRUPTED: "interrupted with Ctrl-C",
    PIPE: "the reader of the output went away",
}
