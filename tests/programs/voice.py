"""For programs that log and are killed: a configuration, and voices that keep book of what was logged.

A voice numbers its records from 1. After the log call has *returned*, the number is put into a mapped file of
the voice's own, `<directory>/said/<name>`: what is there survives SIGKILL, and a test holds it against what
arrived. A voice belongs to one thread of one process; a signal handler or finaliser, which may interrupt
itself, has one of its own, whose book is right when the outermost call has returned.
"""

from __future__ import annotations

import itertools
import logging
import mmap
import os
import threading
import time
from pathlib import Path
from typing import Any

import logferry

__all__ = ["Voice", "configuration", "configure", "load"]

_log = logging.getLogger("voice")


def configuration(directory: Path, **changes: Any) -> dict[str, Any]:
    """Return a configuration that ships to a local store in `directory`, with `changes` merged in."""
    made: dict[str, Any] = {
        "service": "voices",
        "environment": "test",
        "logging": {"level": "INFO", "console": "off"},
        "schema": {"fields": {"voice": "string", "n": "integer"}},
        "spool": {"path": str(directory / "spool")},
        "shutdown_timeout": 30,  # what is judged here is what an end loses, not how long it takes
        "sinks": {"here": {"type": "local", "path": str(directory / "store"), "compact": "off"}},
    }
    for name, value in changes.items():
        made[name] = {**made.get(name, {}), **value} if isinstance(value, dict) else value
    return made


def configure(directory: str | Path, **changes: Any) -> Any:
    """Configure logferry for `directory`; return the pipeline."""
    return logferry.configure(configuration(Path(directory), **changes))


class Voice:
    """Logs numbered records; see the top of the module."""

    def __init__(self, directory: str | Path, name: str, padding: int = 0) -> None:
        self.name = f"{name}-{os.getpid()}-{time.time_ns():x}"  # process ids come again
        self.n = 0
        self._numbers = itertools.count(1)
        self._padding = {"padding": "x" * padding} if padding else {}
        said = Path(directory) / "said"
        said.mkdir(exist_ok=True)
        fd = os.open(said / self.name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.ftruncate(fd, 8)
        self._said = mmap.mmap(fd, 8)
        os.close(fd)

    def __call__(self, **fields: Any) -> int:
        """Log the next record, then put its number into the book; return it."""
        n = next(self._numbers)
        _log.info("said", extra={"voice": self.name, "n": n, **self._padding, **fields})
        self.n = max(n, self.n)
        self._said[:] = self.n.to_bytes(8, "little")
        return n

    def many(self, count: int) -> None:
        """Log `count` records."""
        for _ in range(count):
            self()


def load(
    directory: str | Path, threads: int, *, padding: int = 0, rest: float = 0.002, burst: int = 50
) -> list[threading.Thread]:
    """Start daemon threads that log `burst` records and rest, for ever; return them."""

    def run(name: str) -> None:
        voice = Voice(directory, name, padding)
        while True:
            voice.many(burst)
            time.sleep(rest)

    made = [threading.Thread(target=run, args=(f"load{i}",), daemon=True) for i in range(threads)]
    for thread in made:
        thread.start()
    return made
