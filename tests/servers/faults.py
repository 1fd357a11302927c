"""A server that misbehaves as told: raw sockets, one scripted behaviour for each connection or request.

    with FaultServer(answer(204), hang(), answer(429, b"slow down", {"Retry-After": "3"}), rest=reset()) as
    server: ... server.url, server.requests

Behaviours run in order, one for each request; `rest` is for all further ones. Each is a function of the
connection and the request, so that tests can write their own.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

__all__ = [
    "Behaviour",
    "FaultServer",
    "Request",
    "answer",
    "drip",
    "garbage",
    "hang",
    "huge",
    "reset",
    "silence",
]


@dataclass(frozen=True)
class Request:
    """What arrived. Header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Connection:
    """One connection; `stopping` is set when the server is to end: a behaviour that waits waits on it."""

    sock: socket.socket
    stopping: threading.Event


Behaviour = Callable[[Connection, Request], bool]
"""Acts on one request; True: the connection may carry another one."""


def answer(status: int = 204, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Behaviour:
    """Answer properly."""

    def act(connection: Connection, _request: Request) -> bool:
        lines = [f"HTTP/1.1 {status} Scripted"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if status != 204:
            lines.append(f"Content-Length: {len(body)}")
        connection.sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        return True

    return act


def hang() -> Behaviour:
    """Take the request and never answer."""

    def act(connection: Connection, _request: Request) -> bool:
        connection.stopping.wait(60)
        return False

    return act


def reset() -> Behaviour:
    """Cut the connection hard, with a RST."""

    def act(connection: Connection, _request: Request) -> bool:
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False

    return act


def silence() -> Behaviour:
    """Close the connection without an answer."""
    return lambda _connection, _request: False


def drip(content: bytes, every: float = 1.0) -> Behaviour:
    """Send `content` one byte at a time, `every` so many seconds."""

    def act(connection: Connection, _request: Request) -> bool:
        for byte in content:
            connection.sock.sendall(bytes((byte,)))
            if connection.stopping.wait(every):
                break
        return False

    return act


def garbage(content: bytes = b"\x00\xff not HTTP at all \r\n\r\n") -> Behaviour:
    """Answer with what is no HTTP."""

    def act(connection: Connection, _request: Request) -> bool:
        connection.sock.sendall(content)
        return False

    return act


def huge(status: int, size: int) -> Behaviour:
    """Answer with a body of `size` bytes."""

    def act(connection: Connection, _request: Request) -> bool:
        connection.sock.sendall(f"HTTP/1.1 {status} Huge\r\nContent-Length: {size}\r\n\r\n".encode())
        block = b"x" * 65536
        for _ in range(size // len(block)):
            connection.sock.sendall(block)
        connection.sock.sendall(b"x" * (size % len(block)))
        return True

    return act


@dataclass
class FaultServer:
    """Listens on a free loopback port; `requests` holds what arrived. With `tls`, speaks TLS."""

    script: tuple[Behaviour, ...]
    rest: Behaviour
    requests: list[Request] = field(default_factory=list)

    def __init__(
        self, *script: Behaviour, rest: Behaviour | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self.script, self.rest, self.requests = script, rest or answer(204), []
        self._tls = tls
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        # `close` does not wake a thread in `accept`; a connection does, on every system.
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            if self._stopping.is_set():
                sock.close()
                return
            self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        with self._lock:
            self._open.add(sock)
        try:
            # Whatever a client does to a server that misbehaves is right.
            with contextlib.suppress(OSError, ValueError):
                if self._tls is not None:
                    plain, sock = sock, self._tls.wrap_socket(sock, server_side=True)
                    with self._lock:
                        self._open.discard(plain)
                        self._open.add(sock)
                with sock.makefile("rb") as reader:
                    while (request := _read(reader)) is not None:
                        with self._lock:
                            number = len(self.requests)
                            self.requests.append(request)
                        act = self.script[number] if number < len(self.script) else self.rest
                        if not act(Connection(sock, self._stopping), request):
                            return
        finally:
            with self._lock:
                self._open.discard(sock)
            sock.close()


def _read(reader: object) -> Request | None:
    line = reader.readline().decode("latin-1").split()  # type: ignore[attr-defined]
    if len(line) < 2:
        return None
    headers: dict[str, str] = {}
    while header := reader.readline().decode("latin-1").strip():  # type: ignore[attr-defined]
        name, _, value = header.partition(":")
        headers[name.lower()] = value.strip()
    body = reader.read(int(headers.get("content-length", "0")))  # type: ignore[attr-defined]
    return Request(line[0], line[1], headers, body)
