"""Follows what is written to a store, without DuckDB: new whole lines of the fresh files, as they come.

A file is known by its spool and first sequence, which stay the same when it is sealed, and it is held open,
so what is written before it is compacted away is read to its end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import IO, Any, Final

import orjson

from ..core.filter import Filter
from .layout import Layout

__all__ = ["follow"]

_CHUNK: Final = 1 << 20


def follow(
    layout: Layout,
    wanted: Filter,
    stop: Callable[[], bool],
    *,
    wait: Callable[[float], None] = time.sleep,
    interval: float = 0.2,
) -> Iterator[dict[str, Any]]:
    """Return the events that are written after this call and satisfy `wanted`, as they come, until `stop()`.

    Looks every `interval` seconds, and looks once more after `stop()` has become true. Lines that are no
    events are passed over.
    """
    follower = _Follower(layout)
    follower.look(from_start=False)  # now, not when the first event is asked for
    return _events(follower, wanted, stop, wait, interval)


def _events(
    follower: _Follower,
    wanted: Filter,
    stop: Callable[[], bool],
    wait: Callable[[float], None],
    interval: float,
) -> Iterator[dict[str, Any]]:
    try:
        while True:
            last = stop()
            follower.look(from_start=True)
            for line in follower.lines():
                event = _decoded(line)
                if event is not None and wanted.matches(event):
                    yield event
            if last:
                return
            wait(interval)
    finally:
        follower.close()


def _decoded(line: bytes) -> dict[str, Any] | None:
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return event if isinstance(event, dict) else None


class _Follower:
    """The files being followed: each open, with the part of a line that was read so far."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._files: dict[tuple[str, int], tuple[IO[bytes], bytearray]] = {}
        self._gone: set[tuple[str, int]] = set()

    def look(self, *, from_start: bool) -> None:
        """Open files that are new, and note those that are gone: they are closed once they are read."""
        listed = {(file.spool, file.first): file for file in self._layout.list_fresh()}
        for key, file in listed.items():
            if key in self._files:
                continue
            try:
                opened = file.path.open("rb", buffering=0)
            except FileNotFoundError:  # sealed just now: found under its new name at the next look
                continue
            if not from_start:
                opened.seek(0, 2)
            self._files[key] = opened, bytearray()
        self._gone = self._files.keys() - listed.keys()

    def lines(self) -> Iterator[bytes]:
        """Yield the whole lines written since the last time."""
        for key, (file, part) in list(self._files.items()):
            while chunk := file.read(_CHUNK):
                *lines, rest = (bytes(part) + chunk).split(b"\n")
                part[:] = rest
                yield from lines
            if key in self._gone:
                file.close()
                del self._files[key]

    def close(self) -> None:
        for file, _ in self._files.values():
            file.close()
        self._files.clear()
