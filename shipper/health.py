"""`/metrics`, `/healthz` and `/readyz` over HTTP, on a port of its own, when configured.

- `/healthz`: 200 while every thread of the pipeline runs, else 503: restart the process.
- `/readyz`: 200 while every sink delivers, else 503 with the reason for each sink.
- `/metrics`: Prometheus text.

It answers GET only, keeps no connection open, and says nothing about events. Meant for loopback: there is no
authentication.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol

import orjson

from ..handlers.forward import suppress_thread
from .metrics import CONTENT_TYPE, render
from .model import Account
from .worker import SinkState

__all__ = ["HealthServer", "Observed"]

_JSON = "application/json"


class Observed(Protocol):
    """What is looked at."""

    def accounts(self) -> dict[str, Account]:
        """Return the books by sink."""
        ...

    def states(self) -> dict[str, SinkState]:
        """Return how each sink is."""
        ...

    def unparsed(self) -> dict[str, int]:
        """Return by source how many lines it has not understood."""
        ...

    def stopped_threads(self) -> list[str]:
        """Return the names of threads that should run and don't."""
        ...


def _metrics(observed: Observed) -> tuple[int, str, bytes]:
    return 200, CONTENT_TYPE, render(observed.accounts(), observed.states(), observed.unparsed()).encode()


def _healthz(observed: Observed) -> tuple[int, str, bytes]:
    stopped = observed.stopped_threads()
    return (503 if stopped else 200), _JSON, orjson.dumps({"ok": not stopped, "stopped": stopped})


def _readyz(observed: Observed) -> tuple[int, str, bytes]:
    troubles = {name: s.error for name, s in observed.states().items() if s.state != "ok"}
    return (503 if troubles else 200), _JSON, orjson.dumps({"ok": not troubles, "sinks": troubles})


_PAGES: Mapping[str, Callable[[Observed], tuple[int, str, bytes]]] = {
    "/metrics": _metrics,
    "/healthz": _healthz,
    "/readyz": _readyz,
}


class HealthServer:
    """Serves the pages from daemon threads. Raises OSError when the address cannot be had."""

    def __init__(self, listen: tuple[str, int], observed: Observed) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = 10  # seconds that a silent client is kept

            def do_GET(self) -> None:
                suppress_thread()
                page = _PAGES.get(self.path.partition("?")[0])
                status, kind, body = page(observed) if page else (404, "text/plain", b"not found\n")
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args: object) -> None:
                """Stay silent: a scrape every few seconds is no news."""

        ThreadingHTTPServer.daemon_threads = True
        self._server = ThreadingHTTPServer(listen, Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.5},
            name="logferry-health",
            daemon=True,
        )
        self._thread.start()

    @property
    def address(self) -> tuple[str, int]:
        """The host and port that are listened on."""
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(1.0)

    def release(self) -> None:
        """Close the inherited socket in a forked child, where no thread serves."""
        self._server.socket.close()
