"""Senders that are silent, slow, torn, mistaken or strangers harm themselves only; and it is said."""

from __future__ import annotations

import socket
import ssl
import struct
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from certificates import make_certificates
from effort import effort
from taking import Kept, context, running, until

from logferry.shipper.config.fields import Duration, Secret, Size
from logferry.shipper.sources.beats import BeatsConfig, BeatsSource
from logferry.shipper.sources.http import HttpSource, HttpSourceConfig
from logferry.shipper.sources.listen.address import ServerTls
from logferry.shipper.sources.tcp import TcpConfig, TcpSource

KINDS = ("tcp", "http", "beats")
STREAMS = "logferry.shipper.sources.listen.streams"


def make(kind: str, kept: Kept, **options: Any) -> Any:
    if kind == "tcp":
        return TcpSource(TcpConfig("127.0.0.1:0", **options), context(kept))
    if kind == "http":
        return HttpSource(HttpSourceConfig("127.0.0.1:0", **options), context(kept))
    return BeatsSource(BeatsConfig("127.0.0.1:0", **options), context(kept))


def message(kind: str, text: bytes, *more: bytes) -> bytes:
    if kind == "tcp":
        return text + b"\n"
    if kind == "http":
        head = [b"POST / HTTP/1.1", b"Host: x", b"Content-Length: %d" % len(text), *more]
        return b"\r\n".join([*head, b"", text])
    body = b'{"message":"%b"}' % text
    return b"2W\0\0\0\x012J" + struct.pack(">II", 1, len(body)) + body


def answer(sock: socket.socket) -> bytes:
    """Return what comes until the other side ends, or has answered."""
    with suppress(ConnectionError):
        return sock.recv(4096)
    return b""


def is_taken(kind: str, address: Any, text: bytes, kept: Kept, tls: ssl.SSLContext | None = None) -> bool:
    """Send a message as a sound sender does; say whether it arrived."""
    with suppress(OSError), socket.create_connection(address, 30) as plain:
        if tls is not None:
            with tls.wrap_socket(plain, server_hostname="127.0.0.1") as sock:
                sock.sendall(message(kind, text))
                until(lambda: text.decode() in kept.messages)
        else:
            plain.sendall(message(kind, text))
            if kind == "tcp":
                plain.shutdown(socket.SHUT_WR)
            plain.recv(4096)
    return text.decode() in kept.messages


@dataclass
class Said:
    """What logferry said of its own, whatever it said lately."""

    lines: list[str] = field(default_factory=list)

    def __call__(self, level: str, text: str, key: str = "") -> bool:
        self.lines.append(text)
        return True

    def heard(self, part: str) -> bool:
        return any(part in line for line in self.lines)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Said:
    heard = Said()
    for module in (STREAMS, *(f"logferry.shipper.sources.{one}" for one in ("http.exchange", "http.routes"))):
        monkeypatch.setattr(f"{module}.say", heard)
    monkeypatch.setattr("logferry.shipper.sources.beats.source.say", heard)
    return heard


def torn(sock: socket.socket) -> None:
    """End a connection as a process that was killed on another machine does."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@contextmanager
def held_memory(most: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        yield
        assert tracemalloc.get_traced_memory()[1] - before < most
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", KINDS)
def test_silent_connections_shut_nobody_out(kind: str, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many come: they are bounded, one goes when somebody wants in, and one who spoke stays."""
    monkeypatch.setattr(f"{STREAMS}._SILENT", 0.05)
    kept = Kept()
    with (
        running(make(kind, kept, max_connections=20)) as source,
        held_memory(8 << 20),
        socket.create_connection(source.address, 30) as spoke,
    ):
        spoke.sendall(message(kind, b"first"))
        until(lambda: "first" in kept.messages)
        for _ in range(effort(1)):
            with ExitStack() as stack:
                for _ in range(150):
                    stack.enter_context(socket.create_connection(source.address, 30))
                until(lambda: is_taken(kind, source.address, b"heard", kept), "a way in")
                kept.frames.pop()
        spoke.sendall(message(kind, b"last"))
        until(lambda: "last" in kept.messages)
    assert said.heard("more than 20 connections: one that had said nothing was closed")


@pytest.mark.parametrize("kind", KINDS)
def test_tls_where_there_is_none(kind: str, said: Said) -> None:
    """It becomes no event, and it is said what is missing."""
    kept = Kept()
    with running(make(kind, kept)) as source:
        speaks = ssl.create_default_context()
        with socket.create_connection(source.address, 30) as plain, pytest.raises((ssl.SSLError, OSError)):
            speaks.wrap_socket(plain, server_hostname="localhost")
        assert is_taken(kind, source.address, b"sound", kept)
    assert kept.messages == ["sound"]
    assert said.heard("speaks TLS, and this source does not: set tls")


@pytest.mark.parametrize("kind", KINDS)
def test_no_tls_where_it_is_asked_for(kind: str, said: Said, tmp_path: Path) -> None:
    """Plain words, garbage and silence that ends: each is told, and the next sender is served."""
    files = make_certificates(tmp_path)
    kept = Kept()
    tls = ServerTls(files / "good.pem", files / "good.key")
    trusts = ssl.create_default_context(cafile=str(files / "good.pem"))
    with running(make(kind, kept, tls=tls)) as source:
        for wrong in (message(kind, b"plain"), b"\x16\x03\x01\x02\x00" + b"\xff" * 700, b"\0", b""):
            with socket.create_connection(source.address, 30) as sock:
                sock.sendall(wrong)
                sock.shutdown(socket.SHUT_WR)
                while answer(sock):
                    pass
        assert is_taken(kind, source.address, b"sound", kept, trusts)
    assert kept.messages == ["sound"]
    assert said.heard("no TLS with 127.0.0.1")


def beginnings(kind: str) -> bytes:
    """Return a message that never ends, as a slow sender sends it."""
    return message(kind, b"x" * 10_000)[: 400 if kind == "beats" else 10_000].replace(b"\r\n\r\n", b"\r\nX: ")


@pytest.mark.parametrize("kind", KINDS)
def test_slow_senders_are_bounded(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sends a byte now and then has no more time than others, and others need not wait for it."""
    monkeypatch.setattr("logferry.shipper.sources.beats.source._WHOLE", 0.5)
    kept = Kept()
    options = {"http": {"request_timeout": Duration(0.5)}, "tcp": {"idle_timeout": Duration(0.5)}}
    with running(make(kind, kept, **options.get(kind, {}))) as source, ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(source.address, 30)) for _ in range(20)]
        dribble = beginnings(kind)
        for sock in slow:
            sock.settimeout(0)
            sock.sendall(dribble[:20])
        at, ended = 20, set[socket.socket]()
        assert is_taken(kind, source.address, b"sound", kept)
        deadline = time.monotonic() + 30
        while len(ended) < len(slow):
            assert time.monotonic() < deadline, f"{len(ended)} of {len(slow)} were ended"
            time.sleep(0.02)
            at += 1
            for sock in slow:
                with suppress(BlockingIOError):
                    try:
                        if kind != "tcp":  # a line may grow as slowly as its program writes it
                            sock.send(dribble[at : at + 1])
                        if sock.recv(1000) == b"":
                            ended.add(sock)
                    except ConnectionError:
                        ended.add(sock)
        assert is_taken(kind, source.address, b"after", kept)
    assert [one for one in kept.messages if not one.startswith("x")] == ["sound", "after"]


def test_who_dies_in_the_middle_costs_nothing_that_stays() -> None:
    """Half a body gives its room back; half a Beat's frame is nothing; a line without its end is one."""
    kept = Kept()
    with running(make("http", kept, max_request_bytes=Size(1 << 20))) as source:
        with held_memory(40 << 20):
            for _ in range(8):  # more than all of them may have together
                with socket.create_connection(source.address, 30) as sock:
                    sock.sendall(message("http", b"y" * (1 << 20))[:-5])
                    sock.shutdown(socket.SHUT_WR)  # all of it is read
                    answer(sock)
                    torn(sock)
        with socket.create_connection(source.address, 30) as sock:
            sock.sendall(message("http", b"z" * 1_000_000))
            assert answer(sock).startswith(b"HTTP/1.1 204")
    for kind, left in (("beats", []), ("tcp", ["begun"])):
        kept = Kept()
        with running(make(kind, kept)) as source:
            with socket.create_connection(source.address, 30) as sock:
                sock.sendall(b"begun" if kind == "tcp" else message(kind, b"begun")[:-3])
                time.sleep(0.05)  # read before the reset, which may take with it what was not
                sock.shutdown(socket.SHUT_WR)
                answer(sock)
                torn(sock)
            assert is_taken(kind, source.address, b"sound", kept)
        assert kept.messages == [*left, "sound"]


def test_a_giant_head_is_refused(said: Said) -> None:
    """One header, many of them, or a line that never ends: 431 or 400, and nothing piles up."""
    kept = Kept()
    heads: list[Callable[[], Iterator[bytes]]] = [
        lambda: iter([b"POST / HTTP/1.1\r\nX: ", *[b"x" * 65_536] * 50]),
        lambda: iter([b"POST / HTTP/1.1\r\n", *[b"X: y\r\n" * 10_000] * 50]),
        lambda: iter([b"x" * 65_536] * 50),
    ]
    with running(make("http", kept)) as source, held_memory(8 << 20):
        for head in heads:
            with socket.create_connection(source.address, 30) as sock:
                with suppress(ConnectionError):
                    for part in head():
                        sock.sendall(part)
                assert answer(sock)[:12] in {b"HTTP/1.1 431", b"HTTP/1.1 400", b""}
        assert is_taken("http", source.address, b"sound", kept)
    assert said.heard("is no whole request")


def test_many_wrong_tokens(said: Said) -> None:
    """Each is refused, none is remembered, and who has the right one is served between them."""
    kept = Kept()
    right = b"Authorization: Bearer s3cret"
    with running(make("http", kept, token=Secret("s3cret"))) as source, held_memory(8 << 20):
        for number in range(effort(40)):
            with socket.create_connection(source.address, 30) as sock:
                sock.sendall(message("http", b"x", b"Authorization: Bearer %d" % number))
                assert answer(sock).startswith(b"HTTP/1.1 401")
            if number % 20 == 0:
                with socket.create_connection(source.address, 30) as sock:
                    sock.sendall(message("http", b"mine", right))
                    assert answer(sock).startswith(b"HTTP/1.1 204")
    assert set(kept.messages) == {"mine"}
    assert said.heard("without the token, or with a wrong one")
