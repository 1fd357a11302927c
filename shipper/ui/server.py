"""The page's server: files of its own, questions to the store, and a stream of what arrives.

Rules

- On the loopback without more ado; on any other address only with a token (`guard.py`).
- One thread a connection, at most 32 at a time; a request is at most 16 KiB of headers and no body.
- The live stream (`/api/live`, server-sent events) ends when the browser goes away or after an hour.
- What a user mistypes in a filter is 400 with the words of the mistake and its column, never a page of code.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from ..core.filter import FilterError
from ..diagnostics import say
from ..store import Store, StoreError
from .answers import Answers, plain
from .guard import COOKIE, HEADERS, is_loopback, refusal

__all__ = ["PageServer"]

_KINDS: Final[Mapping[str, str]] = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_PAGE: Final = files(__package__) / "page"
# Only what is there by name: no path of a request is ever put together with a directory.
_FILES: Final[Mapping[str, tuple[str, str]]] = {
    ("/" if one.name == "index.html" else f"/{one.name}"): (
        one.name,
        _KINDS["." + one.name.rpartition(".")[2]],
    )
    for one in _PAGE.iterdir()
    if "." + one.name.rpartition(".")[2] in _KINDS
}
_AT_ONCE: Final = 32
_LIVE: Final = 3600.0
_PATIENCE: Final = 10.0  # seconds that answers may take to end with the server
_LIVE_RATE: Final = 200  # events a second that a browser is shown


class PageServer(ThreadingHTTPServer):
    """Serves the page for one store. `token` must be given where `host` is no loopback address."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self,
        store: Path | str,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        token: str = "",
        spool: Path | None = None,
    ) -> None:
        if not is_loopback(host) and not token:
            raise ValueError(f"{host} is no loopback address: others may ask only with a token")
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.store = Store(store)
        self.answers = Answers(self.store, spool)
        self.token = token
        self.ending = threading.Event()
        self.places = threading.BoundedSemaphore(_AT_ONCE)
        super().__init__((host, port), _Handler)

    @property
    def url(self) -> str:
        """Where the page is, with the token if there is one."""
        host, port = self.server_address[:2]
        name = f"[{host!s}]" if ":" in str(host) else str(host)
        return f"http://{name}:{port}/" + (f"?token={self.token}" if self.token else "")

    def end(self) -> None:
        """Stop serving; streams end, too."""
        self.ending.set()
        self.shutdown()
        self.server_close()
        # A question under way is given up: its thread must be out of DuckDB before that is closed.
        deadline, free = time.monotonic() + _PATIENCE, 0
        while free < _AT_ONCE and time.monotonic() < deadline:
            self.store.interrupt()
            free += self.places.acquire(timeout=0.05)
        if free == _AT_ONCE:
            self.store.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a browser that goes away is no error."""


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    protocol_version = "HTTP/1.1"
    server_version = "logferry"
    sys_version = ""
    timeout = 30

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Log nothing: requests hold what people look for."""

    def do_GET(self) -> None:
        """Answer."""
        if not self.server.places.acquire(blocking=False):
            self._send(503, b"too many at once", "text/plain")
            return
        try:
            self._answer()
        finally:
            self.server.places.release()

    def __getattr__(self, name: str) -> Any:
        # Whatever the method, the guard decides.
        if name.startswith("do_"):
            return self.do_GET
        raise AttributeError(name)

    def _answer(self) -> None:
        target = urlsplit(self.path)
        asked = {name: found[-1] for name, found in parse_qs(target.query, keep_blank_values=True).items()}
        token = self.server.token
        if token and target.path == "/" and asked.get("token") == token:
            cookie = f"{COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/"
            self._send(303, b"", "text/plain", {"Location": "/", "Set-Cookie": cookie})
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        refused = refusal(self.command, target.path, headers, token=token)
        if refused is not None:
            self._send(refused[0], refused[1].encode(), "text/plain; charset=utf-8")
            return
        if target.path in _FILES:
            name, kind = _FILES[target.path]
            self._send(200, (_PAGE / name).read_bytes(), kind)
            return
        try:
            self._ask(target.path, asked)
        except FilterError as error:
            self._send(400, plain({"error": str(error)}), "application/json")
        except (ValueError, KeyError, OverflowError) as error:
            self._send(400, plain({"error": str(error)}), "application/json")
        except StoreError as error:
            self._send(503, plain({"error": str(error)}), "application/json")
        except Exception as error:  # noqa: BLE001 - a defect of ours is said, to the browser and here
            say("ERROR", f"page: {target.path}: {type(error).__name__}: {error}")
            self._send(500, plain({"error": f"{type(error).__name__}: {error}"}), "application/json")

    def _ask(self, path: str, asked: Mapping[str, str]) -> None:
        answers = self.server.answers
        since, until, words = asked.get("since", ""), asked.get("until", ""), asked.get("filter", "")
        place = int(asked.get("first", "0"))
        questions: Mapping[str, Callable[[], object]] = {
            "/api/about": answers.about,
            "/api/check": lambda: answers.check(words),
            "/api/rows": lambda: answers.rows(
                since, until, words, place, int(asked.get("count", "200")), int(asked.get("total", "0"))
            ),
            "/api/find": lambda: answers.find(
                since, until, words, asked["text"], asked.get("before", ""), asked.get("after", "")
            ),
            "/api/place": lambda: answers.place(since, until, words, asked["id"]),
            "/api/context": lambda: answers.context(
                asked.get("service", ""), asked["at"], int(asked.get("count", "25"))
            ),
            "/api/trace": lambda: answers.trace(asked["id"]),
            "/api/similar": lambda: answers.similar(since, until, words),
            "/api/why": lambda: answers.why_empty(since, until, words),
            "/api/elsewhere": lambda: answers.elsewhere(asked["panel"], since, until, words),
            "/api/pipeline": answers.pipeline,
            "/api/values": lambda: answers.values(asked["field"], since, until),
        }
        if path in questions:
            self._send(200, plain(questions[path]()), "application/json")
        elif path == "/api/panels":
            self._stream(
                _panels(answers, since, until, words, asked.get("by", "level")), "application/x-ndjson", {}
            )
        elif path == "/api/live":
            self._live(words)
        elif path == "/api/export":
            form = "csv" if asked.get("form") == "csv" else "ndjson"
            kind = "text/csv; charset=utf-8" if form == "csv" else "application/x-ndjson"
            name = {"Content-Disposition": f'attachment; filename="logferry.{form}"'}
            self._stream(answers.export(since, until, words, form), kind, name)
        else:
            self._send(404, b"there is nothing here", "text/plain")

    def _live(self, words: str) -> None:
        wanted = self.server.store.parse(words)
        until = time.monotonic() + _LIVE

        def over() -> bool:
            return self.server.ending.is_set() or time.monotonic() > until or self._gone()

        left_out = 0

        def left() -> bytes:
            nonlocal left_out
            told, left_out = b"event: left\ndata: %d\n\n" % left_out, 0
            return told

        def idle() -> None:
            if left_out:  # between two events: this thread writes nothing else meanwhile
                self.wfile.write(left())

        def events() -> Iterable[bytes]:
            nonlocal left_out
            yield b"retry: 1000\n\n"
            second, shown = 0, 0
            for event in self.server.store.tail(wanted, over, idle):
                now = int(time.monotonic())
                if now != second:
                    if left_out:
                        yield left()
                    second, shown = now, 0
                shown += 1
                if shown > _LIVE_RATE:
                    left_out += 1
                    continue
                yield b"data: " + plain(event) + b"\n\n"

        self._stream(events(), "text/event-stream", {})

    def _gone(self) -> bool:
        """Tell whether the browser has closed the connection: it sends nothing more on this one."""
        try:
            readable, _, _ = select.select([self.connection], [], [], 0)
            return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)
        except (OSError, ValueError):
            return True

    def _send(self, status: int, body: bytes, kind: str, more: Mapping[str, str] | None = None) -> None:
        with suppress(OSError):
            self.send_response(status, HTTPStatus(status).phrase)
            for name, value in {**HEADERS, **(more or {}), "Content-Type": kind}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            if self.command not in {"GET", "HEAD"}:
                self.close_connection = True  # a body may follow, which nobody reads
                self.send_header("Connection", "close")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    def _stream(self, parts: Iterable[bytes], kind: str, more: Mapping[str, str]) -> None:
        iterator = iter(parts)
        first = next(iterator, b"")  # what is wrong with the question is said before the answer begins
        self.close_connection = True
        with suppress(OSError):
            self.send_response(200)
            for name, value in {**HEADERS, **more, "Content-Type": kind, "Connection": "close"}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            self.wfile.write(first)
            for part in iterator:
                if self.server.ending.is_set():
                    return
                self.wfile.write(part)


def _panels(answers: Answers, since: str, until: str, words: str, by: str) -> Iterator[bytes]:
    """Yield a line for each panel; what goes wrong after the first is a line, too: the answer has begun."""
    begun = False
    try:
        for one in answers.panels(since, until, words, by):
            yield plain(one) + b"\n"
            begun = True
    except (ValueError, StoreError) as error:
        if not begun:
            raise
        yield plain({"name": "problem", "error": str(error)}) + b"\n"
