"""Spans beside the spool: what goes there, and that what cannot goes through the spool."""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from logferry.handlers.outlet import Violation
from logferry.shipper.core.span_target import FileTarget, SpanTarget, UdpTarget, span_target, wrong_target
from logferry.shipper.span_outlet import SpanOutlet, with_spans_to

SPAN = b'{"message":"db.query","kind":"span","trace_id":"' + b"a" * 32 + b'"}'
START = SPAN.replace(b'"span"', b'"span_start"')


class Kept(list[bytes]):
    """A spool that keeps what it is offered."""

    def offer(self, event: bytes, /) -> bool:
        self.append(event)
        return True


def outlet_to(target: SpanTarget, spool: Kept) -> SpanOutlet:
    made = with_spans_to(target, spool)
    assert isinstance(made, SpanOutlet)
    return made


@pytest.fixture
def port() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(10)
        yield sock


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("spool", None),
        ("udp://127.0.0.1:9411", UdpTarget("127.0.0.1", 9411)),
        ("udp://localhost:1/", UdpTarget("127.0.0.1", 1)),
        ("udp://[::1]:9411", UdpTarget("::1", 9411)),
        ("file:///var/log/my%20spans", FileTarget(Path("/var/log/my spans"))),
    ],
)
def test_targets(text: str, target: SpanTarget) -> None:
    assert span_target(text) == target
    assert wrong_target(text) == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("udp://collector:9411", "not looked up"),
        ("udp://127.0.0.1", "port"),
        ("udp://127.0.0.1:99999", "not spool"),
        ("udp://u@127.0.0.1:1", "not spool"),
        ("file://host/path", "not spool"),
        ("file:///", "not spool"),
        ("tcp://127.0.0.1:1", "not spool"),
        ("", "not spool"),
    ],
)
def test_what_is_no_target(text: str, words: str) -> None:
    assert words in wrong_target(text)


def test_spans_are_datagrams_and_all_else_goes_through_the_spool(port: socket.socket) -> None:
    spool = Kept()
    outlet = outlet_to(UdpTarget(*port.getsockname()), spool)
    others = [
        b'{"message":"a \\"kind\\":\\"span\\" in words","kind":"log"}',
        b'{"message":"inside","cart":{"kind":"span"}}',
        SPAN.replace(b'"span"', b'"spanner"'),
        b'{"kind":"span"',
        Violation(SPAN, "wrong"),
        SPAN + b" " * 70_000,  # no datagram is so long
    ]
    assert all(outlet.offer(event) for event in (SPAN, *others, START))
    assert [port.recv(1 << 16), port.recv(1 << 16)] == [SPAN, START]
    assert spool == others
    access = SPAN.replace(b'"span"', b'"access"')
    assert outlet.offer(access)  # a log line as well: it goes both ways
    assert (port.recv(1 << 16), spool[-1]) == (access, access)
    outlet.close()
    assert outlet.offer(SPAN)
    assert spool[-1] == SPAN


def test_where_nobody_listens_one_is_lost_and_the_others_go_through_the_spool() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        place = sock.getsockname()
    spool = Kept()
    outlet = outlet_to(UdpTarget(*place), spool)
    for _ in range(50):
        outlet.offer(SPAN)
    outlet.close()
    assert len(spool) >= 48


def test_lines_of_a_file_that_is_moved_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("logferry.shipper.span_outlet.time.monotonic", lambda: now[0])
    path, spool = tmp_path / "spans.ndjson", Kept()
    outlet = outlet_to(FileTarget(path), spool)
    outlet.offer(SPAN)
    path.rename(tmp_path / "old")
    outlet.offer(SPAN)
    now[0] += 1
    outlet.offer(START)
    assert (tmp_path / "old").read_bytes() == SPAN + b"\n" + SPAN + b"\n"
    assert path.read_bytes() == START + b"\n"
    assert path.stat().st_mode & 0o777 == 0o600
    path.unlink()
    path.mkdir()
    now[0] += 1
    outlet.offer(SPAN)  # no file any more: the one that was open is held on to until there is one
    assert spool == [SPAN]
    outlet.close()


def test_a_file_that_cannot_be_had_is_said_once_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [100.0]
    monkeypatch.setattr("logferry.shipper.span_outlet.time.monotonic", lambda: now[0])
    path, spool = tmp_path / "no" / "spans", Kept()
    outlet = outlet_to(FileTarget(path), spool)
    assert str(path) in caplog.text
    for _ in range(3):
        outlet.offer(SPAN)
    assert spool == [SPAN] * 3
    path.parent.mkdir()
    now[0] += 1
    outlet.offer(START)
    assert path.read_bytes() == START + b"\n"
    outlet.close()
    outlet.offer(SPAN)
    assert len(spool) == 4


def test_a_pipe_that_nobody_reads_holds_up_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    spool = Kept()
    outlet = outlet_to(FileTarget(tmp_path / "pipe"), spool)
    assert outlet.offer(SPAN)
    assert spool == [SPAN]
    outlet.close()


@pytest.mark.skipif(sys.platform != "linux", reason="a limit of a file's size")
def test_a_part_of_a_line_ends_before_the_next(tmp_path: Path) -> None:
    """On a full disk a write takes what fits."""
    spool, path = Kept(), tmp_path / "spans"
    outlet = outlet_to(FileTarget(path), spool)
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.getsignal(signal.SIGXFSZ)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(SPAN) + 20, limits[1]))
    try:
        for _ in range(3):
            outlet.offer(SPAN)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert spool == [SPAN] * 2
    outlet.offer(START)
    outlet.close()
    whole, part, last = path.read_bytes().splitlines()
    assert (whole, last) == (SPAN, START)
    assert SPAN.startswith(part)
    assert orjson.loads(last)["kind"] == "span_start"
