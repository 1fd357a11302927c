"""A file source over a spool that a test can look into."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from logferry.handlers.record import EventBuilder
from logferry.handlers.schema import Schema
from logferry.shipper.config.fields import Duration
from logferry.shipper.ports import SourceContext
from logferry.shipper.sources.file import FileConfig, FileSource

__all__ = ["Kept", "KilledError", "followed", "source", "until"]


class Kept:
    """An appender that keeps lines and position in one step, as the spool does."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.places: dict[str, bytes] = {}
        self.fail_after: int | None = None

    def append(self, lines: Sequence[bytes], position: bytes = b"", part: str = "") -> int:
        if self.fail_after is not None and lines:
            self.fail_after -= 1
            if self.fail_after < 0:
                raise KilledError
        self.lines += lines
        self.places[part] = position
        return len(self.lines)

    def last_position(self, source: str) -> bytes:
        return self.places.get("", b"")

    def positions(self) -> dict[str, bytes]:
        return dict(self.places)

    @property
    def messages(self) -> list[str]:
        return [json.loads(line)["message"] for line in self.lines]


class KilledError(Exception):
    """Stands for SIGKILL between two appends."""


def source(kept: Kept, *include: Path, **options: Any) -> FileSource:
    builder = EventBuilder(Schema("files", host="h"))
    quick: dict[str, Any] = {
        "poll_interval": Duration(0.01),
        "scan_interval": Duration(0.02),
        "close_after": Duration(0.05),
        **options,
    }
    return FileSource(FileConfig(include, **quick), SourceContext("app", builder, kept))


@contextmanager
def followed(kept: Kept, *include: Path, **options: Any) -> Iterator[FileSource]:
    """Follow files until the end of the block."""
    running = source(kept, *include, **options)
    thread = threading.Thread(target=running.run, kwargs={"once": False})
    thread.start()
    try:
        yield running
    finally:
        running.stop()
        thread.join(60)
        assert not thread.is_alive()


def until(condition: Callable[[], bool], what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60  # a machine may be busy; none of this takes long by itself
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.005)
