"""TCP, UDP and Unix sockets: what arrives is in the spool, in order; while it is full nothing is dropped."""

from __future__ import annotations

import asyncio
import json
import logging
import logging.handlers
import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from certificates import make_certificates
from taking import Kept, context, running, until

from logferry.shipper.config.fields import Duration, Size
from logferry.shipper.sources.errors import SourceError
from logferry.shipper.sources.listen.address import ServerTls
from logferry.shipper.sources.listen.streams import Connection, _Listener
from logferry.shipper.sources.tcp import TcpConfig, TcpSource
from logferry.shipper.sources.udp import UdpConfig, UdpSource
from logferry.shipper.sources.unix import UnixConfig, UnixSource


def tcp(kept: Kept, **options: Any) -> TcpSource:
    return TcpSource(TcpConfig("127.0.0.1:0", **options), context(kept))


def connect(source: Any) -> socket.socket:
    assert source.address is not None
    return socket.create_connection(source.address, 10)


def test_lines_messages_and_json_over_one_connection() -> None:
    """Each as it begins, in order, the last without an end too; and our end comes after all is stored."""
    kept = Kept()
    with running(tcp(kept)) as source, connect(source) as sock:
        sock.sendall(
            b'one\n{"msg": "two", "n": 2}\n<11>Nov  1 02:03:04 box app[5]: three\n12 <14>1 four\n\nfive'
        )
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""
        assert kept.messages == ["one", "two", "three", "1 four", "five"]
    assert kept.events[1]["n"] == 2
    assert (kept.events[2]["host"], kept.events[2]["level"]) == ("box", "ERROR")


def test_byte_by_byte_is_the_same() -> None:
    """What arrives in pieces becomes the same events."""
    sent = b'{"message": "a"}\n<13>Nov  1 02:03:04 b: c\n8 <13>d\ne\xff\nf\n'
    found = []
    for pieces in ([sent], [sent[at : at + 1] for at in range(len(sent))]):
        kept = Kept()
        with running(tcp(kept)) as source, connect(source) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in pieces:
                sock.sendall(piece)
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(1) == b""
        found.append([{**event, "timestamp": ""} for event in kept.events])
    assert found[0] == found[1]
    assert [event["message"] for event in found[0]] == ["a", "c", "d\ne\ufffd", "f"]


def test_a_full_spool_stops_the_sender_and_loses_nothing() -> None:
    """Nothing is read while there is no room; with room all of it arrives, in order."""
    kept = Kept()
    kept.room = False
    number, sent = 40_000, threading.Event()
    with running(tcp(kept, max_connections=2)) as source, connect(source) as sock:

        def send() -> None:
            for start in range(0, number, 100):
                sock.sendall(b"".join(b"line %d %s\n" % (n, b"x" * 400) for n in range(start, start + 100)))
            sock.shutdown(socket.SHUT_WR)
            sent.set()

        thread = threading.Thread(target=send)
        thread.start()
        assert not sent.wait(0.5), "16 MB fit into a sender's and a receiver's buffers"
        assert not kept.frames
        with connect(source) as other:  # others are still let in, and one too many is not
            other.sendall(b"other\n")
            with connect(source) as third:
                assert third.recv(1) == b""
        kept.room = True
        assert sent.wait(60)
        thread.join()
        until(lambda: len(kept.lines) == number + 1)
    got = [int(message.split()[1]) for message in kept.messages if message != "other"]
    assert got == list(range(number))


def test_stop_appends_what_has_arrived_and_waits_for_the_end_of_a_line() -> None:
    """A line in the middle gets its time; what comes within it is whole."""
    kept = Kept()
    source = tcp(kept)
    with running(source), connect(source) as sock:
        sock.sendall(b"first\nsec")
        until(lambda: kept.lines)
        source.stop()
        sock.sendall(b"ond\n")
        assert sock.recv(1) == b""
    assert kept.messages == ["first", "second"]
    with pytest.raises(OSError):
        connect(source).close()


def test_one_connection_too_many_is_closed() -> None:
    """The others go on."""
    kept = Kept()
    with running(tcp(kept, max_connections=2)) as source:
        with connect(source) as one, connect(source) as two:
            for sock in (one, two):
                sock.sendall(b"x\n")
            until(lambda: len(kept.lines) == 2)
            with connect(source) as three:
                assert three.recv(1) == b""
            one.sendall(b"y\n")
            until(lambda: len(kept.lines) == 3)

        def again() -> bool:
            with connect(source) as four:
                four.settimeout(0.2)
                four.sendall(b"z\n")
                try:
                    return four.recv(1) != b""
                except TimeoutError:
                    return True
                except OSError:
                    return False

        until(again, "room again")
        until(lambda: "z" in kept.messages)


def test_a_silent_connection_is_closed() -> None:
    """After `idle_timeout`."""
    with running(tcp(Kept(), idle_timeout=Duration(0.05))) as source, connect(source) as sock:
        assert sock.recv(1) == b""


def test_a_spool_that_is_closed_ends_the_source() -> None:
    """The exception is raised by `run`, and connections end."""
    kept = Kept()
    kept.failure = RuntimeError("closed")
    with (  # noqa: PT012 - `run` raises when the block has ended
        pytest.raises(RuntimeError, match="closed"),
        running(tcp(kept)) as source,
        connect(source) as sock,
    ):
        sock.sendall(b"x\n")
        assert sock.recv(1) == b""


def test_who_comes_at_the_last_moment_is_let_go() -> None:
    """A connection that was accepted while the source ended holds nothing up."""

    async def hear(connection: Connection) -> None:
        while await connection.read():
            pass

    async def main() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            listener = _Listener("in", hear, 1, None, ending=True)
            async with asyncio.timeout(20):
                await listener.one(ours, "")

    asyncio.run(main())


def test_long_lines_are_cut() -> None:
    """With what was lost."""
    kept = Kept()
    with running(tcp(kept, max_line_bytes=Size(64))) as source, connect(source) as sock:
        sock.sendall(b"x" * 1000 + b"\nshort\n")
        until(lambda: len(kept.lines) == 2)
    assert [event.get("line_cut_bytes") for event in kept.events] == [936, None]


@pytest.mark.parametrize("listen", ["0.0.0.0:5140", "[::]:5140", "192.0.2.1:5140", "logs.example.com:5140"])
def test_beyond_loopback_only_when_it_is_meant(listen: str) -> None:
    """An open door is a mistake of the configuration."""
    own = Path("/cert.pem")
    with pytest.raises(ValueError, match="anybody who reaches"):
        TcpConfig(listen)
    with pytest.raises(ValueError, match="anybody who reaches"):
        TcpConfig(listen, tls=ServerTls(own))  # who may write is not asked
    with pytest.raises(ValueError, match="neither certificates"):
        UdpConfig(listen)
    TcpConfig(listen, tls=ServerTls(own, client_ca_file=own))
    TcpConfig(listen, insecure=True)
    UdpConfig(listen, insecure=True)


def test_tls_with_certificates_of_senders(tmp_path: Path) -> None:
    """Who has one is let in; who has none, or speaks no TLS, is not."""
    files = make_certificates(tmp_path)
    own, key = files / "good.pem", files / "good.key"
    tls = ServerTls(own, key, own)
    kept = Kept()
    with running(tcp(kept, tls=tls)) as source:
        trusting = ssl.create_default_context(cafile=str(own))
        with connect(source) as raw, suppress(OSError):  # noqa: SIM117 - may be refused at either
            with trusting.wrap_socket(raw, server_hostname="127.0.0.1") as sock:
                sock.sendall(b"stranger\n")
                assert sock.recv(1) == b""
        with connect(source) as raw:
            raw.sendall(b"no TLS at all\n")
            while raw.recv(100):
                pass
        trusting.load_cert_chain(own, key)
        with connect(source) as raw, trusting.wrap_socket(raw, server_hostname="127.0.0.1") as sock:
            sock.sendall(b"friend\n")
            until(lambda: kept.lines)
    assert kept.messages == ["friend"]


def test_two_on_one_port_are_told() -> None:
    """The second says what is wrong."""
    with running(tcp(Kept())) as source:
        assert source.address is not None
        other = TcpSource(TcpConfig(f"127.0.0.1:{source.address[1]}"), context(Kept()))
        thread = threading.Timer(0.1, other.stop)
        thread.start()
        with pytest.raises(SourceError, match="something else listens there"):
            other.run(once=False)


def test_datagrams_over_udp() -> None:
    """Messages of logging's own handler, lines of JSON, text of several lines."""
    kept = Kept()
    with running(UdpSource(UdpConfig("127.0.0.1:0"), context(kept))) as source:
        handler = logging.handlers.SysLogHandler(source.address)
        handler.ident = "shop[7]: "
        handler.emit(logging.LogRecord("a", logging.WARNING, "f", 1, "hello %s", ("you",), None))
        handler.close()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for data in (b'{"message": "a"}\n{"message": "b"}\n', b"one\n  two\n", b"\n", b"", b"end"):
                sock.sendto(data, source.address)
        until(lambda: len(kept.lines) == 5)
    assert kept.messages == ["hello you", "a", "b", "one\n  two", "end"]
    assert (kept.events[0]["level"], kept.events[0]["service"]) == ("WARNING", "shop")


@pytest.mark.parametrize("kind", ["stream", "datagram"])
def test_a_unix_socket(kind: Any, tmp_path: Path) -> None:
    """Python's handler over both kinds; the file has its mode, a dead one is replaced, it goes at the end."""
    path, kept = tmp_path / "log.sock", Kept()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    source = UnixSource(UnixConfig(path, kind, mode="0600"), context(kept))
    with running(source, lambda: (path.stat().st_mode & 0o777) == 0o600):
        handler = logging.handlers.SysLogHandler(str(path))
        for number in range(3):
            handler.emit(logging.LogRecord("a", logging.ERROR, "f", 1, f"n {number}", (), None))
        handler.close()
        until(lambda: len(kept.lines) == 3)
        other = UnixSource(UnixConfig(path), context(Kept()))
        threading.Timer(0.1, other.stop).start()
        with pytest.raises(SourceError, match="something else listens"):
            other.run(once=False)
    assert kept.messages == ["n 0", "n 1", "n 2"]
    assert not path.exists()
    path.write_text("mine")
    with pytest.raises(SourceError, match="no socket"):
        UnixSource(UnixConfig(path), context(kept)).run(once=False)
    assert path.read_text() == "mine"


def test_secrets_are_redacted() -> None:
    """What comes from outside goes through the redaction like anything else."""
    from logferry.handlers.redaction import Redactor

    kept = Kept()
    source = TcpSource(TcpConfig("127.0.0.1:0"), context(kept, redactor=Redactor()))
    with running(source), connect(source) as sock:
        sock.sendall(b'<13>Nov  1 02:03:04 a: password=hunter22\n{"message": "x", "password": "hunter22"}\n')
        until(lambda: len(kept.lines) == 2)
    assert b"hunter22" not in b"".join(kept.lines)
    assert json.loads(kept.lines[0])["message"].startswith("password=")
