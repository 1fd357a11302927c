"""One kept-alive HTTP connection whose answers have a deadline and an end. For `transport`, on first use.

urllib3 makes the connection (names, TLS, verification). What follows is done by hand, because it is most of
what a delivery costs: a request leaves in one piece (a large one is not copied for it), and the answer that
everybody hopes for (a whole 204) is read in one piece. Any other answer is `http.client`'s to read, from the
first byte on. Rules:

- A socket's time-out bounds one read; a server that sends a byte at a time resets it for ever. So each read
  gets only what is left of the request's time.
- An answer ends `ANSWER_BYTES` beyond the body that is wanted, whatever part of it they are. Bounding the
  body alone is not enough: `http.client` reads any number of trailers and of `100 Continue`, and a chunk of
  size -1 whole into memory.
- A connection on which there is something to read, or that has ended, before the request is not used again.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import wait_for_read

if TYPE_CHECKING:
    import ssl

__all__ = ["ANSWER_BYTES", "Line", "Reply"]

ANSWER_BYTES: Final = 1 << 20
_READ: Final = 65_536
_LARGE: Final = 65_536
_MORE: Final[int] = getattr(socket, "MSG_MORE", 0)  # Linux alone has it


class Reply(NamedTuple):
    """An answer: header names are in lower case, `body` is cut."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Reader(io.RawIOBase):
    """The raw side of an answer's file: `first`, then what comes, while there are time and bytes left."""

    def __init__(self, sock: socket.socket, deadline: float, first: bytes, most: int) -> None:
        self._sock = sock
        self._deadline = deadline
        self._first = first
        self._left = most
        # The socket's own raw file keeps the socket open after `Connection: close`, until it is read.
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        if self._first:
            read = min(len(self._first), len(buffer))
            buffer[:read] = self._first[:read]
            self._first = self._first[read:]
            return read
        if self._left <= 0:
            raise http.client.HTTPException("an answer without an end")
        self._sock.settimeout(_left(self._deadline))
        got = self._raw.readinto(buffer)
        self._left -= got or 0
        return got

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, method: str, deadline: float, first: bytes, most: int) -> None:
        super().__init__(sock, method=method)
        self.fp.close()
        self.fp = io.BufferedReader(_Reader(sock, deadline, first, most))


def _left(deadline: float) -> float:
    """Return the seconds until the deadline; TimeoutError when there are none."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("no whole answer in time")
    return left


class Line:
    """A connection to `host`, with TLS when there is a `context`; made on first use, anew when it ended."""

    def __init__(self, host: str, port: int | None, context: ssl.SSLContext | None) -> None:
        if context is None:
            self._connection = HTTPConnection(host, port)
        else:
            self._connection = HTTPSConnection(
                host, port, ssl_context=context, assert_hostname=None if context.check_hostname else False
            )
        name = f"[{host}]" if ":" in host else host.encode("idna").decode("ascii")
        self._is_plain = context is None and bool(_MORE)
        weakref.finalize(self, self._connection.close)
        self._host = name if port in {None, self._connection.default_port} else f"{name}:{port}"

    def request(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes, seconds: float, limit: int
    ) -> Reply:
        """Send one request; return its answer, whose body is cut at `limit`. Raises what went wrong."""
        deadline = time.monotonic() + seconds
        sock = self._connected(deadline)
        sock.settimeout(_left(deadline))
        with suppress(BrokenPipeError):  # it may have answered before it had read all
            self._send(sock, self._head(method, target, headers, len(body)), body, deadline)
        sock.settimeout(_left(deadline))
        first = sock.recv(_READ)
        return _plain(first) or self._read(sock, method, deadline, first, limit)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def _send(self, sock: socket.socket, head: bytes, body: bytes, deadline: float) -> None:
        if len(body) < _LARGE or not self._is_plain:
            sock.sendall(head + body)
            return
        sock.sendall(head, _MORE)  # waits for the body, which is not copied to stand behind it
        sock.settimeout(_left(deadline))
        sock.sendall(body)

    def _connected(self, deadline: float) -> socket.socket:
        connection = self._connection
        if connection.sock is not None and wait_for_read(connection.sock, timeout=0.0):
            connection.close()
        if connection.sock is None:
            connection.timeout = _left(deadline)
            connection.connect()
        return connection.sock

    def _head(self, method: str, target: str, headers: Mapping[str, str], size: int) -> bytes:
        lines = [f"{method} {quote(target, safe=_SAFE)} HTTP/1.1", f"Host: {self._host}"]
        lines += ["Accept-Encoding: identity", f"Content-Length: {size}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a line break in a header")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _read(self, sock: socket.socket, method: str, deadline: float, first: bytes, limit: int) -> Reply:
        response = _Response(sock, method, deadline, first, ANSWER_BYTES + limit)
        try:
            response.begin()
            body = response.read(limit)
            headers = {name.lower(): value.strip() for name, value in response.headers.items()}
            if response.length and len(body) < limit:
                raise http.client.IncompleteRead(body, response.length)
            if response.will_close or len(body) >= limit:
                self.close()  # ended by the server, or not read to the answer's end
        finally:
            response.close()  # else its file would hold the socket open until it is collected
        return Reply(response.status, headers, body)


_SAFE: Final = "/%?&=+:@!$'()*,;~-._"


def _plain(data: bytes) -> Reply | None:
    """Return the answer if `data` is a whole 204 that keeps the connection; None: it takes more care."""
    if not data.startswith((b"HTTP/1.1 204 ", b"HTTP/1.1 204\r")) or data.find(b"\r\n\r\n") != len(data) - 4:
        return None
    headers = {}
    for line in data[:-4].decode("latin-1").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        headers[name.lower()] = value.strip()
        if not colon or line[0] in " \t":
            return None
    return None if "connection" in headers else Reply(204, headers, b"")
