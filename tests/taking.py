"""A source that others send to, in a thread, over a spool that a test can fill and look into."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from logferry.handlers.record import EventBuilder
from logferry.handlers.redaction import Redactor
from logferry.handlers.schema import Schema
from logferry.shipper.ports import SourceContext

__all__ = ["Kept", "context", "running", "until"]


class Kept:
    """Stands for the spool: keeps what is appended, and is full while `room` is False."""

    def __init__(self) -> None:
        self.frames: list[list[bytes]] = []
        self.room = True
        self.asked = 0  # how often somebody had something
        self.failure: Exception | None = None

    def append(
        self,
        lines: Sequence[bytes],
        position: bytes = b"",
        part: str = "",
        *,
        waiting: Callable[[], object] | None = None,
    ) -> int:
        if self.failure is not None:
            raise self.failure
        self.asked += 1
        while not self.room:
            time.sleep(0.01) if waiting is None else waiting()
        assert lines or position
        assert sum(map(len, lines)) < 300_000 or len(lines) == 1
        self.frames.append(list(lines))
        return len(self.frames)

    def last_position(self, source: str) -> bytes:
        return b""

    def positions(self) -> Mapping[str, bytes]:
        return {}

    @property
    def lines(self) -> list[bytes]:
        return [line for frame in list(self.frames) for line in frame]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]

    @property
    def messages(self) -> list[str]:
        return [event["message"] for event in self.events]


def context(kept: Kept, *, redactor: Redactor | None = None) -> SourceContext:
    """Return the surroundings of a source whose events go into `kept`."""
    return SourceContext("in", EventBuilder(Schema("here", host="agent"), redactor), kept)


def until(true: Callable[[], object], what: str = "", seconds: float = 30.0) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(0.005)


@contextmanager
def running(source: Any, ready: Callable[[], object] | None = None) -> Iterator[Any]:
    """Run a source in a thread until the block ends; what it raised is raised."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            source.run(once=False)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        until(lambda: failed or (source.address if ready is None else ready()), "listening")
        yield source
    finally:
        source.stop()
        thread.join(60)
        assert not thread.is_alive()
    if failed:
        raise failed[0]
