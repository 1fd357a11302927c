"""The demo's page: opened with the shop's first events, and served until somebody has seen enough."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ..store import StoreError
from ..store.compact import Compactor
from ..store.layout import Layout
from ..ui import PageServer, open_browser

__all__ = ["Page"]

APPEAR = 20.0  # seconds that the first event may take to arrive in the store


class Page:
    """Serves the store at `logs` on a free loopback port, once there is one."""

    def __init__(self, logs: Path, spool: Path) -> None:
        self._logs, self._spool = logs, spool
        self._server: PageServer | None = None
        self._begun = f"{datetime.now(UTC) - timedelta(seconds=5):%Y-%m-%dT%H:%M:%SZ}"

    def open(self, say: Callable[[str], None]) -> None:
        """Serve it, and open a browser where there is one. Without a store there is nothing to look at."""
        deadline = time.monotonic() + APPEAR
        while self._server is None and time.monotonic() < deadline:
            with suppress(StoreError):
                self._server = PageServer(self._logs, spool=self._spool)
                continue
            time.sleep(0.1)
        if self._server is None:
            return
        threading.Thread(target=self._server.serve_forever, name="demo-page", daemon=True).start()
        say(f"the page: {self.url}")
        open_browser(self.url)

    @property
    def url(self) -> str:
        """Where it is, live and from the demo's beginning on; empty when it is not served."""
        return "" if self._server is None else f"{self._server.url}#since={self._begun}&live=1"

    def stay(self, say: Callable[[str], None]) -> None:
        """Serve until Ctrl-C."""
        if self._server is None:
            return
        # Everybody has stopped writing: what waits for the next round of compaction is done now.
        with suppress(OSError, StoreError):
            Compactor(Layout(self._logs), settle=0, idle=0, patience=0.2).run()
        say(f"\nLook at it: {self.url}   (Ctrl-C ends)")
        with suppress(KeyboardInterrupt):
            threading.Event().wait()

    def close(self) -> None:
        """Serve no longer."""
        if self._server is not None:
            self._server.end()
            self._server = None
