"""Spans that have begun, as a sink keeps them: across restarts, in a file, and when to close which.

Losing the file costs only their closing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from .core.spans import OpenSpans, Span
from .durable import make_private

__all__ = ["Unfinished"]

_TICK: Final = 1.0  # seconds between looks at what is due


class Unfinished:
    """The open spans of one sink, kept under `directory` (None: in memory only). Times are seconds."""

    def __init__(self, timeout: float, directory: Path | None, sink: str, now: float) -> None:
        self._open = OpenSpans(timeout)
        self._path = None if directory is None else directory / f"open-spans-{sink}.json"
        self._changed = False
        self._looked = now
        if self._path is not None:
            with suppress(OSError):
                self._open.load(self._path.read_bytes())

    def begin(self, span: Span, now: float) -> None:
        """Note that it is open."""
        self._open.begin(span, now)
        self._changed = True

    def end(self, spans: Iterable[Span]) -> None:
        """Note that these have ended, or are closed; what is open still is written."""
        before = len(self._open)
        for span in spans:
            self._open.end(span)
        if self._changed or len(self._open) != before:
            self._write()

    def due(self, now: float, most: int) -> list[Span]:
        """Return, closed as unfinished, what is open for too long; `end` drops it. Looks once a second."""
        if abs(now - self._looked) < _TICK:
            return []
        self._looked = now
        return self._open.due(now)[:most]

    def _write(self) -> None:
        """Write them, whole or not at all. A disk that refuses is no reason to hold up deliveries."""
        self._changed = False
        if self._path is None:
            return
        part = self._path.with_suffix(".part")
        with suppress(OSError):
            make_private(self._path.parent)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            with os.fdopen(os.open(part, flags, 0o600), "wb") as file:
                file.write(self._open.dump())
            part.replace(self._path)
