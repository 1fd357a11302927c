"""The file in which spans that have begun outlive the process. Losing it costs only their closing."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ...core.spans import OpenSpans
from ...durable import make_private

__all__ = ["StateFile"]


class StateFile:
    """Keeps the open spans of one sink under `directory`; None keeps them in memory only."""

    def __init__(self, directory: Path | None, sink: str) -> None:
        self._path = None if directory is None else directory / f"open-spans-{sink}.json"

    def read(self, spans: OpenSpans) -> None:
        """Take back what was written last."""
        if self._path is not None:
            with suppress(OSError):
                spans.load(self._path.read_bytes())

    def write(self, spans: OpenSpans) -> None:
        """Write them, whole or not at all. A disk that refuses is no reason to hold up deliveries."""
        if self._path is None:
            return
        part = self._path.with_suffix(".part")
        with suppress(OSError):
            make_private(self._path.parent)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            with os.fdopen(os.open(part, flags, 0o600), "wb") as file:
                file.write(spans.dump())
            part.replace(self._path)
