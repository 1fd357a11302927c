"""A real TCP proxy in front of a real server, which misbehaves as told and lets everything pass otherwise.

    with FaultProxy(loki.url) as proxy:
        proxy.strike(wire.cut_in_answer)     # every request from now on
        … proxy.struck …                     # how many it has met
        proxy.heal()                         # what hangs lets go, and everything passes again

A fault is a function of one `Exchange`: it may read as much of the request as it likes, forward it to the
server, answer what it likes, and cut. True: the connection may carry another request. `refuse` closes the
port itself; nothing else can take the number meanwhile.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Mapping
from typing import Self
from urllib.parse import urlsplit

__all__ = ["Exchange", "FaultProxy", "WireFault"]

_HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}


class Exchange:
    """One request of a client. `over` is set when the fault ends: what waits waits on it."""

    def __init__(self, sock: socket.socket, begun: bytes, upstream: str, over: threading.Event) -> None:
        self.sock, self.over, self._upstream = sock, over, upstream
        self._rest = begun
        while b"\r\n\r\n" not in self._rest:
            self._rest += self._receive()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.method, self.path, _ = first.split(" ", 2)
        pairs = (line.partition(":") for line in lines)
        self.headers: Mapping[str, str] = {name.lower(): value.strip() for name, _, value in pairs}
        self.length = int(self.headers.get("content-length", "0"))

    def _receive(self, size: int = 65536) -> bytes:
        data = self.sock.recv(size)
        if not data:
            raise ConnectionError("the client has gone")
        return data

    def body(self, part: float = 1.0) -> bytes:
        """Read the body, or only a part of it."""
        wanted = int(self.length * part)
        while len(self._rest) < wanted:
            self._rest += self._receive()
        return self._rest[:wanted]

    def forward(self) -> bytes:
        """Give the whole request to the server; return its answer as it goes over the wire."""
        parts = urlsplit(self._upstream)
        server = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
        try:
            headers = {name: value for name, value in self.headers.items() if name not in _HOP_BY_HOP}
            server.request(self.method, self.path, self.body(), headers)
            answer = server.getresponse()
            content = answer.read()
            lines = [f"HTTP/1.1 {answer.status} {answer.reason}"]
            lines += [f"{k}: {v}" for k, v in answer.getheaders() if k.lower() not in _HOP_BY_HOP]
            if answer.status != 204:
                lines.append(f"Content-Length: {len(content)}")
            return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + content
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error  # it was killed in the middle
        finally:
            server.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.sock.sendall(data)

    def hold(self, seconds: float = 3600) -> bool:
        """Do nothing until the fault ends; True when it has ended."""
        return self.over.wait(seconds)

    def reset(self) -> None:
        """Cut hard: what is under way is lost, and the client gets a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


WireFault = Callable[[Exchange], bool]


def _pass_on(exchange: Exchange) -> bool:
    exchange.send(exchange.forward())
    return True


class FaultProxy:
    """Listens on a loopback port (0: a free one) for the server at `upstream`.

    With `tls` it speaks TLS to clients.
    """

    def __init__(self, upstream: str, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.upstream, self.tls = upstream, tls
        self.struck = 0
        self.passed = 0
        self._fault: WireFault | None = None
        self._over = threading.Event()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._listener = socket.create_server(("127.0.0.1", port), backlog=64)
        self.port = int(self._listener.getsockname()[1])
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._over.set()
        self._stop_listening()
        self._cut_all()

    def strike(self, fault: WireFault) -> None:
        """Have `fault` meet every request from now on, on connections that are open too."""
        self.heal()
        self.struck = 0
        self._over = threading.Event()
        self._fault = fault

    def refuse(self) -> None:
        """Refuse connections, and cut those that are open."""
        self.heal()
        self._stop_listening()
        # Bound and not listening: the kernel refuses, and the number stays ours.
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", self.port))
        self._refusing = True
        self._cut_all()

    _refusing = False

    def heal(self) -> None:
        """Let everything pass again, and let go of what was held."""
        self._fault = None
        self._over.set()
        if self._refusing:
            self._refusing = False
            self._listener.listen(64)
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _stop_listening(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread in `accept`, on Linux
        self._listener.close()

    def _cut_all(self) -> None:
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        while not self._closed:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with self._lock:
            self._open.add(sock)
        served = sock
        # Whatever a client, or a server that was killed, does to a proxy ends this connection only.
        with contextlib.suppress(OSError, ValueError):
            if self.tls is not None:
                sock.settimeout(10)
                served = self.tls.wrap_socket(sock, server_side=True)
                served.settimeout(None)
                with self._lock:
                    self._open.discard(sock)
                    self._open.add(served)
            self._talk(served)
        with self._lock:
            self._open.discard(served)
        served.close()

    def _talk(self, served: socket.socket) -> None:
        """Take requests of a client, each on its way or to its fault, until one ends the connection."""
        while begun := served.recv(65536):
            fault, over = self._fault, self._over
            exchange = Exchange(served, begun, self.upstream, over)
            if fault is None:
                again = _pass_on(exchange)
                self.passed += 1
            else:
                self.struck += 1
                again = fault(exchange)
            if not again:
                break

    def wait_until_struck(self, times: int, seconds: float = 20) -> None:
        """Wait until so many requests have met the fault; AssertionError when they do not come."""
        deadline = time.monotonic() + seconds
        while self.struck < times:
            assert time.monotonic() < deadline, f"only {self.struck} of {times} requests came"
            time.sleep(0.01)
