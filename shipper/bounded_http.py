"""urllib3 connections whose answers have a deadline. Imported by `transport` on first use.

A socket's time-out bounds one read; a server that sends a byte at a time resets it for ever. So the file that
`http.client` reads an answer from is replaced by one that gives each read only what is left of the request's
time. The deadline is kept per thread: one thread drives a transport.

It also ends an answer at `ANSWER_BYTES`, whatever part of it they are. Bounding the body alone is not enough:
`http.client` reads any number of trailers and of `100 Continue`, and a chunk of size -1 whole into memory.
"""

from __future__ import annotations

import http.client
import io
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

if TYPE_CHECKING:
    import ssl

__all__ = ["ANSWER_BYTES", "open_pool", "set_deadline"]

ANSWER_BYTES: Final = 1 << 20

_clock = threading.local()


def set_deadline(seconds: float) -> None:
    """Give this thread's next answer `seconds` from now, headers and body together."""
    _clock.deadline = time.monotonic() + seconds


class _DeadlineReader(io.RawIOBase):
    """The raw side of an answer's file: each read may take what is left, of the time and of the bytes."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._left = ANSWER_BYTES
        # The socket's own raw file keeps the socket open after `Connection: close`, until it is read.
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        left = _clock.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no whole answer in time")
        if self._left <= 0:
            raise http.client.HTTPException("an answer without an end")
        self._sock.settimeout(left)
        read = self._raw.readinto(buffer)
        self._left -= read or 0
        return read

    def close(self) -> None:
        self._raw.close()
        super().close()


class _DeadlineResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self.fp = io.BufferedReader(_DeadlineReader(sock))


class _Connection(HTTPConnection):
    response_class = _DeadlineResponse


class _TlsConnection(HTTPSConnection):
    response_class = _DeadlineResponse

    def connect(self) -> None:
        super().connect()
        # `verify: false` was asked for in writing; a warning on each connection would only reach
        # the log stream.
        self.is_verified = True


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


def open_pool(host: str, port: int | None, context: ssl.SSLContext | None) -> urllib3.HTTPConnectionPool:
    """Return a pool of one connection to `host`, with TLS when there is a `context`; no I/O yet."""
    if context is None:
        return _Pool(host, port, maxsize=1)
    return _TlsPool(
        host, port, maxsize=1, ssl_context=context, assert_hostname=None if context.check_hostname else False
    )
