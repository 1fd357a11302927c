"""The same for servers that do not speak HTTP: a proxy of TCP connections, and what can go wrong with them.

    with StreamProxy("127.0.0.1:9092") as proxy:
        proxy.strike(STREAM_FAULTS["hanging"])

A fault is a function of one `Stream` and of a piece that the client has just sent. True: it lets the piece
pass, and has not struck. False: it has, and both sides get a RST. So do they whenever one side ends while the
other's bytes are under way: only a server that has read everything may be seen to end well.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from .proxy import FaultProxy

__all__ = ["STREAM_FAULTS", "Stream", "StreamFault", "StreamProxy"]

_SMALL = 800
"""Pieces that are no batch: greetings, questions."""


@dataclass
class Stream:
    """One connection. `over` is set when the fault ends, `asked` when all that the client says is passed on.

    Who sets `mute` keeps the server's next words from the client; `muted` is set when they have come.
    """

    client: socket.socket
    server: socket.socket
    over: threading.Event = field(default_factory=threading.Event)
    asked: threading.Event = field(default_factory=threading.Event)
    mute: threading.Event = field(default_factory=threading.Event)
    muted: threading.Event = field(default_factory=threading.Event)


StreamFault: TypeAlias = Callable[[Stream, bytes], bool]


def cut_in_piece(stream: Stream, piece: bytes) -> bool:
    """Let the server have half of what is long enough to be a batch."""
    if len(piece) <= _SMALL:
        return True
    stream.server.sendall(piece[: len(piece) // 2])
    return False


def cut_before_answer(stream: Stream, piece: bytes) -> bool:
    """Let the server have all of it, and the client nothing of what the server says to it."""
    if len(piece) <= _SMALL:
        return True
    stream.mute.set()
    stream.server.sendall(piece)
    stream.muted.wait(1.0)
    return False


def hang(stream: Stream, _piece: bytes) -> bool:
    stream.over.wait()
    return False


def one_byte_a_second(stream: Stream, piece: bytes) -> bool:
    for at in range(len(piece)):
        stream.server.sendall(piece[at : at + 1])
        if stream.over.wait(1.0):
            break
    return False


def says(*pieces: bytes) -> StreamFault:
    """Answer with these bytes, whatever they mean."""

    def act(stream: Stream, _piece: bytes) -> bool:
        for piece in pieces:
            stream.client.sendall(piece)
        return False

    return act


def endless(head: bytes, piece: bytes) -> StreamFault:
    """Answer with `piece` for ever, or until nobody reads it."""

    def act(stream: Stream, _piece: bytes) -> bool:
        stream.client.settimeout(0.1)
        block = head
        while not stream.over.is_set():
            with contextlib.suppress(TimeoutError):
                stream.client.sendall(block)
                block = piece
        return False

    return act


STREAM_FAULTS: Mapping[str, StreamFault] = {
    "cut": cut_in_piece,
    "cut before the answer": cut_before_answer,
    "hanging": hang,
    "one byte a second": one_byte_a_second,
    "no protocol": says(b"\x00\xff\x16\x03 not what you think \r\n\r\n"),
    "HTTP": says(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
    "endless zeros": endless(b"\0", b"\0" * 65536),
    # To Kafka that is the length of the answer: two gigabytes.
    "endless answer": endless(b"\x7f\xff\xff\xf0\x00\x00\x00\x01", b"\0" * 65536),
}


def _reset(*sockets: socket.socket) -> None:
    for sock in sockets:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # A thread that reads from it wakes; what is closed in the end is reset all the same.
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RD)


class StreamProxy(FaultProxy):
    """`upstream` is host:port. `struck` counts the pieces that a fault has met, `passed` the others."""

    def _talk(self, served: socket.socket) -> None:
        host, _, port = self.upstream.rpartition(":")
        with socket.create_connection((host, int(port)), 10) as server:
            server.settimeout(None)
            self._between(Stream(served, server))

    def _cut_all(self) -> None:
        with self._lock:
            _reset(*self._open)

    def _between(self, stream: Stream) -> None:
        back = threading.Thread(target=self._back, args=(stream,), daemon=True)
        back.start()
        try:
            while piece := stream.client.recv(65536):
                fault, stream.over = self._fault, self._over
                if fault is not None:
                    self.struck += 1
                    if not fault(stream, piece):
                        raise ConnectionError("struck")
                    self.struck -= 1
                stream.server.sendall(piece)
                self.passed += 1
            stream.asked.set()
            stream.server.shutdown(socket.SHUT_WR)
        except (OSError, ValueError):
            _reset(stream.client, stream.server)
        back.join()

    @staticmethod
    def _back(stream: Stream) -> None:
        try:
            while piece := stream.server.recv(65536):
                if stream.mute.is_set():
                    stream.muted.set()
                    raise ConnectionError("not passed on")
                stream.client.sendall(piece)
            if not stream.asked.is_set():
                raise ConnectionError("the server ended first")
        except (OSError, ValueError):
            _reset(stream.client, stream.server)
