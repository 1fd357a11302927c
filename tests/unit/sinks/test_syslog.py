"""Syslog messages held against the RFC's grammar, frames, the window, and connections that break."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers.syslog import frames, parse

from logferry.handlers.schema import Schema
from logferry.shipper.config.fields import Duration, Size
from logferry.shipper.model import Batch, Delivered, Partial, Rejected, Retry
from logferry.shipper.ports import SinkContext
from logferry.shipper.sinks.syslog import SyslogConfig, SyslogSink
from logferry.shipper.sinks.syslog.message import Composer, frame
from logferry.shipper.sinks.syslog.window import Window

SPOOL = "cd" * 16
EVENT = {"timestamp": "2026-01-02T03:04:05.678901Z", "level": "ERROR", "service": "shop", "message": "a\nb"}


def composer(**options: Any) -> Composer:
    return Composer(
        **{
            "facility": "local0",
            "app_name": "{service}",
            "msgid": "{kind}",
            "sd_id": "logferry@32473",
            "structured_data": ("trace_id", "user_id"),
            "whole": True,
            "bom": False,
            "host": "fallback",
            **options,
        }
    )


VALUE = st.none() | st.text() | st.integers() | st.lists(st.text(), max_size=2)


@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("timestamp", "level", "host", "service", "process", "kind", "trace_id", "user_id", "message"),
            VALUE,
        ),
    )
)
def test_whatever_an_event_holds_the_message_is_a_message(event: dict[str, Any]) -> None:
    """The grammar of RFC 5424 holds for any text in any field, and MSG is the event as it was."""
    line = orjson.dumps(event, default=str) if _fits(event) else b"{}"
    made = composer().message(line, "id-1")
    assert made is not None
    parts = parse(made)
    assert parts["msg"] == line
    assert b'event_id="id-1"' in parts["sd"]


def _fits(event: dict[str, Any]) -> bool:
    try:
        orjson.dumps(event)
    except orjson.JSONEncodeError:  # integers beyond 64 bits
        return False
    return True


def test_a_message() -> None:
    """Priority, header, structured data, escapes."""
    event = {**EVENT, "host": "web 3", "process": 12, "kind": "access", "trace_id": 'a"]\\b', "user_id": None}
    made = composer(whole=False, bom=True).message(orjson.dumps(event), "id-1")
    assert made == (
        b"<131>1 2026-01-02T03:04:05.678901Z web_3 shop 12 access "
        b'[logferry@32473 event_id="id-1" trace_id="a\\"\\]\\\\b"] \xef\xbb\xbfa\nb'
    )
    assert composer(facility="kern", app_name="x-{logger}").message(b'{"level":"odd"}', "i") == (
        b'<5>1 - fallback x- - - [logferry@32473 event_id="i"] {"level":"odd"}'
    )
    assert composer().message(b"[]", "i") is None


@given(st.lists(st.binary(min_size=1, max_size=200), max_size=8), st.integers(1, 40))
def test_frames_can_be_told_apart_however_they_are_cut(messages: list[bytes], size: int) -> None:
    """Octet counting: whole or in pieces, the receiver finds the same messages."""
    data, rest, found = b"".join(frame(m, "octet_counting") for m in messages), b"", []
    for at in range(0, len(data), size):
        whole, rest = frames(rest + data[at : at + size])
        found += whole
    assert (found, rest) == (messages, b"")


def test_a_line_break_ends_a_frame_without_counting() -> None:
    """Newline framing leaves none inside."""
    assert frame(b"a\nb\r\nc", "newline") == b"a b  c\n"


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 30)), max_size=30))
def test_the_window_is_bounded_and_keeps_the_newest(steps: list[tuple[int, int]]) -> None:
    """Never more than its bytes, never older than its age, in order, without a gap."""
    window, now, everything = Window(60, 7.0), 0.0, []
    for number, (pause, size) in enumerate(steps):
        now += pause
        piece = b"%d:" % number + b"x" * size
        window.sent([piece], now)
        everything.append((now, piece))
        kept = window.pending(now)
        assert sum(map(len, kept)) <= 60
        assert kept == [p for _, p in everything][len(everything) - len(kept) :]
        assert all(at >= now - 7.0 for at, p in everything if p in kept)
        young = [p for at, p in everything if at >= now - 7.0]
        if sum(map(len, young)) <= 60:
            assert kept == young


class Receiver:
    """A listener whose connections a test reads and breaks by hand."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(5)
        self.port = int(self.listener.getsockname()[1])

    def accept(self) -> socket.socket:
        sock, _ = self.listener.accept()
        sock.settimeout(5)
        return sock


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.listener.close()


def sink_of(receiver: Receiver, **options: Any) -> SyslogSink:
    config = SyslogConfig(host="127.0.0.1", port=receiver.port, **{"timeout": Duration(2.0), **options})
    return SyslogSink(config, SinkContext("s", Schema("shop")))


def batch(first: int, count: int = 2) -> Batch:
    return Batch(SPOOL, range(first, first + count), [orjson.dumps(EVENT)] * count)


def read(sock: socket.socket, count: int) -> list[str]:
    """Return the ids of so many messages."""
    rest, found = b"", []
    while len(found) < count and (data := sock.recv(65536)):
        whole, rest = frames(rest + data)
        found += [
            parse(message)["sd"].split(b'event_id="')[1].split(b'"')[0].decode()[33:] for message in whole
        ]
    return found


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()


def closing(sink: SyslogSink, sock: socket.socket) -> None:
    """Close as a receiver lets one: it hangs up when it has read to the end."""
    thread = threading.Thread(target=sink.close)
    thread.start()
    while sock.recv(65536):
        pass
    sock.close()
    thread.join()


@pytest.mark.parametrize("breaking", [reset, socket.socket.close])
def test_what_was_sent_before_a_break_is_sent_again_first(receiver: Receiver, breaking: Any) -> None:
    """A connection that broke between two batches: found before the write; the window, then the batch."""
    sink = sink_of(receiver)
    assert sink.send(batch(1)) == Delivered()
    breaking(receiver.accept())
    assert sink.send(batch(3)) == Delivered()
    again = receiver.accept()
    assert read(again, 4) == ["1", "2", "3", "4"]
    closing(sink, again)


def test_what_is_too_old_is_not_sent_again(receiver: Receiver) -> None:
    """A receiver that hangs up idle connections does not get everything twice."""
    now = [100.0]
    config = SyslogConfig(host="127.0.0.1", port=receiver.port, resend_age=Duration(10.0))
    sink = SyslogSink(config, SinkContext("s", Schema("shop")), clock=lambda: now[0])
    sink.send(batch(1))
    receiver.accept().close()
    now[0] += 11
    sink.send(batch(3))
    again = receiver.accept()
    assert read(again, 2) == ["3", "4"]
    closing(sink, again)


def test_the_last_messages_are_sent_again_at_the_end(receiver: Receiver) -> None:
    """A receiver that dies before it has read gets the window once more when the sink is closed."""
    sink = sink_of(receiver)
    sink.send(batch(1))
    reset(receiver.accept())
    thread = threading.Thread(target=sink.close)
    thread.start()
    again = receiver.accept()
    assert read(again, 2) == ["1", "2"]
    again.close()
    thread.join()


def test_close_confirms_only_what_was_read_to_the_end(receiver: Receiver) -> None:
    """`confirm: close`: a reset, or no hanging up, is a retry of the batch."""
    sink = sink_of(receiver, confirm="close", timeout=Duration(0.4))
    verdicts: list[Any] = []

    def send() -> threading.Thread:
        thread = threading.Thread(target=lambda: verdicts.append(sink.send(batch(1))))
        thread.start()
        return thread

    thread = send()
    reset(receiver.accept())
    thread.join()
    thread = send()
    silent = receiver.accept()
    thread.join()
    silent.close()
    thread = send()
    good = receiver.accept()
    assert read(good, 2) == ["1", "2"]
    assert good.recv(1) == b""
    good.close()
    thread.join()
    assert [type(verdict) for verdict in verdicts] == [Retry, Retry, Delivered]


@pytest.mark.parametrize("size", [30_000, 3_900_000])
def test_a_receiver_that_reads_nothing_costs_the_timeout(receiver: Receiver, size: int) -> None:
    """What the receiver's system has not acknowledged is not delivered, be it still in our own buffers."""
    receiver.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sink = sink_of(receiver, timeout=Duration(0.4), max_message_bytes=Size(4 << 20))
    big = Batch(SPOOL, [1], [b'{"message":"' + b"x" * size + b'"}'])
    begun = time.monotonic()
    verdict = sink.send(big)
    assert isinstance(verdict, Retry)
    assert "within 0.4 s" in verdict.reason
    assert time.monotonic() - begun < 2
    sink.close()


def test_one_bad_line_and_one_too_long_leave_the_others(receiver: Receiver) -> None:
    """Dead letters with the reason; the rest is sent."""
    sink = sink_of(receiver, max_message_bytes=Size(480))
    lines = [orjson.dumps(EVENT), b"no json", orjson.dumps({**EVENT, "x": "y" * 500})]
    verdict = sink.send(Batch(SPOOL, [1, 2, 3], lines))
    assert isinstance(verdict, Partial)
    assert verdict.refused[1] == Rejected("not a JSON object")
    assert "max_message_bytes" in verdict.refused[2].reason
    sock = receiver.accept()
    assert read(sock, 1) == ["1"]
    closing(sink, sock)


def test_datagrams() -> None:
    """One message each; that nobody listens is found with the second."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = int(sock.getsockname()[1])
        sink = SyslogSink(
            SyslogConfig(host="127.0.0.1", port=port, protocol="udp"), SinkContext("s", Schema("x"))
        )
        assert sink.check() == []
        assert sink.send(batch(1)) == Delivered()
        assert [parse(sock.recv(65536))["app"] for _ in range(2)] == [b"shop"] * 2
    verdicts = [sink.send(batch(3, 50)) for _ in range(2)]
    assert any(isinstance(verdict, (Partial, Retry)) for verdict in verdicts)
    sink.close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"host": "a b"}, "host"),
        ({"sd_id": "a=b@1"}, "sd_id"),
        ({"sd_id": "mine"}, "enterprise number"),
        ({"app_name": "{a.b}"}, "app_name"),
        ({"msgid": "{"}, "msgid"),
        ({"structured_data": ("a b", "a_b")}, "same name"),
        ({"structured_data": ("event_id",)}, "same name"),
        ({"protocol": "udp", "confirm": "close"}, "confirm"),
        ({"protocol": "udp", "max_message_bytes": Size(70_000)}, "max_message_bytes"),
    ],
)
def test_what_cannot_work_is_refused(options: dict[str, Any], words: str) -> None:
    """At the start, with the key's name."""
    with pytest.raises(ValueError, match=words):
        SyslogConfig(**{"host": "h", **options})
