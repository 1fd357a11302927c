"""A web server (and proxy) on loopback that keeps what it was sent, for tests of HTTP clients.

``/redirect?to=URL`` redirects (307), ``/status/503`` answers with that status; everything else is 200 with
``{"ok": true}``. As a proxy it answers itself, whoever was asked for.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

__all__ = ["Seen", "WebServer"]


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it arrived; header names in lower case."""

    host: str
    path: str
    headers: dict[str, str]
    body: bytes


class WebServer:
    """Serves until the block ends."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        seen = self.seen

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                url = urlsplit(self.path)
                seen.append(Seen(url.hostname or headers["host"].partition(":")[0], self.path, headers, body))
                status, answer = 200, b'{"ok": true}'
                if url.path == "/redirect":
                    status = 307
                elif url.path.startswith("/status/"):
                    status = int(url.path.rpartition("/")[2])
                self.send_response(status)
                if status == 307:
                    self.send_header("Location", parse_qs(url.query)["to"][0])
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST = _answer  # noqa: N815 - the library's names

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
