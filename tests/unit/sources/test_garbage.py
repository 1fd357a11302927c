"""Any bytes into any listener: none ends, each takes the next sender, and nothing piles up."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from taking import Kept, context, running, until

from logferry.shipper.config.fields import Size
from logferry.shipper.sources.beats import BeatsConfig, BeatsSource
from logferry.shipper.sources.tcp import TcpConfig, TcpSource
from logferry.shipper.sources.udp import UdpConfig, UdpSource
from logferry.shipper.sources.unix import UnixConfig, UnixSource

ROUNDS = 30
PARTS = [
    b"<13>1 ",
    b"<13>",
    b"99999 <1>",
    b"{",
    b'{"a":',
    b"\n",
    b"\0",
    b"\r\n",
    b"\xff\xfe",
    b"2J",
    b"2C\0\0\0\x09",
]
PARTS += [
    b"2W\0\0\0\x01",
    b"Traceback (most recent call last):\n",
    b'[x y="',
    b"\xef\xbb\xbf",
    b"1 - - - - - [a",
]


def garbage(chance: random.Random) -> bytes:
    """Return bytes of which some look like something."""
    some = (
        chance.choice(PARTS) if chance.random() < 0.6 else chance.randbytes(chance.randrange(1, 40))
        for _ in range(chance.randrange(1, 25))
    )
    return b"".join(some) + b"y" * chance.choice([0, 0, 3000])


def send(kind: socket.SocketKind, family: int, address: Any, data: bytes) -> None:
    with socket.socket(family, kind) as sock, suppress(ConnectionError):
        sock.settimeout(20)
        sock.connect(address)
        sock.sendall(data)
        if kind == socket.SOCK_STREAM:
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(10_000):
                pass


@pytest.mark.parametrize("name", ["tcp", "udp", "unix", "unix datagram", "beats"])
def test_any_bytes_into_a_listener(name: str, tmp_path: Path) -> None:
    """After each of many rounds it is there, and what is sound arrives."""
    kept, small = Kept(), Size(1024)
    path = tmp_path / "sock"
    sound = b"sound\n"
    kind, family = socket.SOCK_STREAM, socket.AF_INET
    source: Any
    ready: Callable[[], object] | None = None
    if name == "tcp":
        source = TcpSource(TcpConfig("127.0.0.1:0", max_line_bytes=small), context(kept))
    elif name == "beats":
        source = BeatsSource(BeatsConfig("127.0.0.1:0", max_line_bytes=small), context(kept))
        body = b'{"message":"sound"}'
        sound = b"2W\0\0\0\x012J" + struct.pack(">II", 1, len(body)) + body
    elif name == "udp":
        source = UdpSource(UdpConfig("127.0.0.1:0", max_line_bytes=small), context(kept))
        kind = socket.SOCK_DGRAM
    else:
        stream = name == "unix"
        source = UnixSource(
            UnixConfig(path, "stream" if stream else "datagram", max_line_bytes=small), context(kept)
        )
        kind = socket.SOCK_STREAM if stream else socket.SOCK_DGRAM
        family, ready = socket.AF_UNIX, path.exists
    chance = random.Random(name)
    with running(source, ready):
        address = str(path) if family == socket.AF_UNIX else source.address
        for number in range(ROUNDS):
            until(lambda: kind == socket.SOCK_STREAM or len(kept.lines) >= number, "taken")  # noqa: B023
            send(kind, family, address, garbage(chance))
            send(kind, family, address, sound)
            until(lambda: kept.messages.count("sound") > number, f"{name}, round {number}")  # noqa: B023
    assert all(len(line) < 5000 for line in kept.lines)
