"""One source in a thread of its own: begun again when it fails, alone where only one may read."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

from ..handlers.forward import suppress_thread
from .diagnostics import say
from .ports import Source
from .spool.writer import SpoolClosedError

__all__ = ["Feeder"]

_ELSEWHERE: Final = 0.5  # seconds between two looks whether a source's other reader has ended


class Feeder:
    """One source in a thread. A source that fails is started again, ever more slowly.

    `alone`: what holds the right to read it, given what waits for that; `waited` is called when it has come.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        *,
        once: bool,
        alone: Callable[[Callable[[], bool]], AbstractContextManager[bool]],
        waited: Callable[[], None],
    ) -> None:
        self.name = name
        self._source = source
        self._once = once
        self._alone = alone
        self._waited = waited
        self._stopping = threading.Event()
        self.error = ""
        self.thread = threading.Thread(target=self._run, name=f"logferry-source-{name}", daemon=True)

    def stop(self) -> None:
        """Ask it to end."""
        self._stopping.set()
        self._source.stop()

    def _run(self) -> None:
        suppress_thread()
        with self._alone(self._wait) as may:
            if not may:
                return
            if self.error:
                self.error = ""
                self._waited()
            self._read()

    def _wait(self) -> bool:
        """Wait a moment for who reads it now; False: no longer."""
        self.error = "another process reads it: one with the same spool, service and name of the source"
        say("WARNING", f"source {self.name}: {self.error}", f"source {self.name} elsewhere")
        return not self._once and not self._stopping.wait(_ELSEWHERE)

    def _read(self) -> None:
        wait = 1.0
        while not self._stopping.is_set():
            try:
                self._source.run(once=self._once)
            except SpoolClosedError:
                return  # at the end it waited for room; what it held is read again, or was taken by the heir
            except Exception as error:  # noqa: BLE001 - one source's trouble is not the others'
                self.error = f"{type(error).__name__}: {error}"
                say("ERROR", f"source {self.name}: {self.error}", f"source {self.name}")
            else:
                self.error = ""
                return
            if self._once:
                return
            self._stopping.wait(wait)
            wait = min(60.0, wait * 2)
