"""Spans that have begun, as a sink keeps them: across restarts, in files, and when to close which.

Rules
- What a spool has told of is kept in a file of its own, `open-spans-<sink>-<spool>.json`. One process at a
  time delivers a spool, so a file has one writer, however many processes share a directory.
- Who begins to deliver a spool takes its file over: the ends that it will read belong to those beginnings.
- A spool that was delivered to its end before its owner was killed is delivered by nobody. So files of others
  are looked at: what is open there for longer than the time-out, and a little, nobody will close; the first
  who looks does. Where its writer lives after all and cannot reach the server, a span is closed twice, alike.
- Losing a file costs only the closing of its spans.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from .core.spans import OpenSpans, Span, oldest
from .durable import make_private

__all__ = ["Unfinished"]

_TICK: Final = 1.0  # seconds between looks at what is due
_OTHERS: Final = 60.0  # seconds between looks at the files of others, unless one is due before
_GRACE: Final = 1.0  # seconds that the writer of a file has to close what is due itself


class Unfinished:
    """The open spans of one sink, kept under `directory` (None: in memory only). Times are seconds."""

    def __init__(self, timeout: float, directory: Path | None, sink: str, now: float) -> None:
        self._open = OpenSpans(timeout)
        self._timeout = timeout
        self._directory = directory
        self._sink = sink
        self._ours: set[str] = set()  # spools
        self._changed: set[str] = set()  # of them
        self._looked = now
        self._look_at_others = now

    def __bool__(self) -> bool:
        """Whether any is open."""
        return len(self._open) > 0

    def reads(self, spool: str) -> None:
        """Note that a batch of this spool is in hand."""
        if spool not in self._ours:
            self._take(spool)

    def begin(self, span: Span, now: float, spool: str) -> None:
        """Note that it is open, which this spool has told."""
        self._open.begin(span, now, spool)
        self._changed.add(spool)

    def end(self, spans: Iterable[Span]) -> None:
        """Note that these have ended, or are closed; what is open still is written."""
        for span in spans:
            home = self._open.end(span)
            if home is not None:
                self._changed.add(home)
        for spool in self._changed:
            self._write(spool)
        self._changed.clear()

    def due(self, now: float, most: int) -> list[Span]:
        """Return, closed as unfinished, what is open for too long; `end` drops it. Looks once a second."""
        if abs(now - self._looked) < _TICK:
            return []
        self._looked = now
        if now >= self._look_at_others or self._look_at_others - now > _OTHERS:
            self._look_at_others = now + self._others(now)
        return self._open.due(now)[:most]

    def _others(self, now: float) -> float:
        """Take over files of others in which something is overdue; return how long to wait for the next."""
        wait = _OTHERS
        for spool, path in self._files():
            with suppress(OSError):
                since = oldest(path.read_bytes())
                left = 0.0 if since is None else self._timeout + _GRACE - abs(now - since)
                if left <= 0:
                    self._take(spool)
                else:
                    wait = min(wait, left)
        return max(wait, _TICK)

    def _files(self) -> Iterator[tuple[str, Path]]:
        if self._directory is not None:
            front = f"open-spans-{self._sink}-"
            with suppress(OSError):
                for path in list(self._directory.glob(f"{front}*.json")):
                    spool = path.name[len(front) : -len(".json")]
                    if spool not in self._ours and "-" not in spool:  # a sink's name may go on with a dash
                        yield spool, path

    def _path(self, spool: str) -> Path | None:
        return None if self._directory is None else self._directory / f"open-spans-{self._sink}-{spool}.json"

    def _take(self, spool: str) -> None:
        self._ours.add(spool)
        path = self._path(spool)
        if path is not None:
            with suppress(OSError):
                self._open.load(path.read_bytes(), spool)
                self._changed.add(spool)

    def _write(self, spool: str) -> None:
        """Write a spool's, whole or not at all. A disk that refuses is no reason to hold up deliveries."""
        path, data = self._path(spool), self._open.dump(spool)
        if path is None:
            return
        with suppress(OSError):
            if not data:
                path.unlink(missing_ok=True)
                return
            make_private(path.parent)
            part = path.with_suffix(".part")
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            with os.fdopen(os.open(part, flags, 0o600), "wb") as file:
                file.write(data)
            part.replace(path)
