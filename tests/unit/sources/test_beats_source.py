"""Lumberjack: frames in any pieces, acknowledgements only for what is stored, events of Beats, garbage."""

from __future__ import annotations

import json
import socket
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from taking import Kept, context, running

from logferry.shipper.config.fields import Size
from logferry.shipper.core.lines import CutLine
from logferry.shipper.sources.beats import BeatsConfig, BeatsSource
from logferry.shipper.sources.beats.frames import FrameReader, Item, ProtocolError, Window


def window(count: int, version: bytes = b"2") -> bytes:
    return version + b"W" + struct.pack(">I", count)


def item(sequence: int, content: Any) -> bytes:
    payload = content if isinstance(content, bytes) else json.dumps(content).encode()
    return b"2J" + struct.pack(">II", sequence, len(payload)) + payload


def packed(*frames: bytes) -> bytes:
    body = zlib.compress(b"".join(frames))
    return b"2C" + struct.pack(">I", len(body)) + body


def data(sequence: int, **pairs: str) -> bytes:
    out = b"1D" + struct.pack(">II", sequence, len(pairs))
    for pair in pairs.items():
        for text in pair:
            out += struct.pack(">I", len(text)) + text.encode()
    return out


def filebeat(message: str, offset: int, **more: Any) -> dict[str, Any]:
    """Return what Filebeat 8 sends for a line."""
    return {
        "@timestamp": "2026-01-02T03:04:05.678Z",
        "@metadata": {"beat": "filebeat", "type": "_doc", "version": "8.19.0"},
        "message": message,
        "log": {"offset": offset, "file": {"path": "/var/log/app.log"}},
        "input": {"type": "filestream"},
        "ecs": {"version": "8.0.0"},
        "host": {"name": "box"},
        "agent": {"type": "filebeat", "id": "a", "ephemeral_id": "e", "version": "8.19.0", "name": "box"},
        **more,
    }


def source(kept: Kept, **options: Any) -> BeatsSource:
    return BeatsSource(BeatsConfig("127.0.0.1:0", **options), context(kept))


def acknowledged(sock: socket.socket) -> int:
    got = b""
    while len(got) < 6:
        more = sock.recv(6 - len(got))
        assert more
        got += more
    assert got[1:2] == b"A"
    return int(struct.unpack(">I", got[2:])[0])


def test_windows_are_acknowledged_when_they_are_stored() -> None:
    """Plain and packed frames, one window after the other, an empty one, and version 1."""
    kept = Kept()
    with running(source(kept)) as beats, socket.create_connection(beats.address, 10) as sock:
        sock.sendall(window(2) + item(1, filebeat("one", 0)) + item(2, filebeat("two", 4)))
        assert acknowledged(sock) == 2
        assert kept.messages == ["one", "two"]
        sock.sendall(window(3) + packed(*(item(n, filebeat(f"n{n}", 10 * n)) for n in (1, 2, 3))))
        assert acknowledged(sock) == 3
        assert len(kept.lines) == 5
        sock.sendall(window(1, b"1") + data(7, line="old", host="h7"))
        assert acknowledged(sock) == 7
    assert kept.messages[5:] == ["old"]
    first = kept.events[0]
    assert (first["host"], first["log_file"], first["timestamp"]) == (
        "box",
        "/var/log/app.log",
        "2026-01-02T03:04:05.678000Z",
    )
    assert not {"agent", "ecs", "input", "@metadata", "@timestamp"} & set(first)
    assert len({event["event_id"] for event in kept.events[:5]}) == 5


def test_a_line_that_filebeat_decoded_is_the_line() -> None:
    """Its own time counts, with nothing left of Filebeat's; fields with names that mean something stay."""
    line = {"level": "ERROR", "event": "checkout", "msg": "m", "ecs": "x", "input": "form", "host": "web-7"}
    stamps = {"timestamp": "2026-01-02T03:04:05.678901Z", "@timestamp": "2026-01-02T03:04:05.678Z"}
    read = {"@timestamp": "2026-03-04T05:06:07.000Z", "agent": "Mozilla/5.0"}  # when it read the line
    sent = [
        {"message": "paid", "@metadata": {"beat": "filebeat"}, **line, **stamps},
        {"message": "paid", "@metadata": {"beat": "filebeat"}, **line, **stamps, **read},
        {"message": "paid", "@timestamp": "2026-01-02T03:04:05.678Z", **line, "timestamp": "soon"},
    ]
    kept = Kept()
    with running(source(kept)) as beats, socket.create_connection(beats.address, 10) as sock:
        sock.sendall(window(3) + b"".join(item(at, one) for at, one in enumerate(sent, 1)))
        assert acknowledged(sock) == 3
    for event in kept.events:
        assert event["message"] == "paid"
        assert {name: event.get(name) for name in line} == line
        assert "@timestamp" not in event
    assert [event["timestamp"][20:26] for event in kept.events] == ["678901", "678901", "678000"]
    assert kept.events[1]["agent"] == "Mozilla/5.0"


def test_nothing_is_acknowledged_while_the_spool_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """But the Beat hears that we live; sent again, a line has the same id."""
    monkeypatch.setattr("logferry.shipper.sources.beats.source._TELL", 0.05)
    kept = Kept()
    kept.room = False
    sent = window(2) + item(1, filebeat("one", 0)) + item(2, filebeat("two", 4))
    with running(source(kept)) as beats:
        with socket.create_connection(beats.address, 10) as sock:
            sock.sendall(sent)
            assert [acknowledged(sock) for _ in range(3)] == [0, 0, 0]
            assert not kept.frames
            kept.room = True
            while acknowledged(sock) != 2:
                pass
        with socket.create_connection(beats.address, 10) as sock:
            sock.sendall(sent)
            assert acknowledged(sock) == 2
    assert kept.lines[:2] == kept.lines[2:]
    assert len(kept.lines) == 4


def test_what_a_line_says_counts_more_than_the_beat() -> None:
    """JSON in the message, decoded fields beside it, a long event, one that is none."""
    kept = Kept()
    line = '{"message": "inner", "level": "error", "order": 7, "timestamp": "2026-05-05T05:05:05Z"}'
    decoded = filebeat("x", 9, order=8, log={"level": "warn"}, fields={"team": "a"}, tags=["b"])
    beats = source(kept, max_line_bytes=Size(1024))
    with running(beats), socket.create_connection(beats.address, 10) as sock:
        some = (item(1, filebeat(line, 5)), item(2, decoded), item(3, b"x" * 5000), item(4, b"[1]"))
        sock.sendall(window(4) + packed(*some))
        assert acknowledged(sock) == 4
    one, two, three, four = kept.events
    assert (one["message"], one["level"], one["order"]) == ("inner", "ERROR", 7)
    assert one["timestamp"] == "2026-05-05T05:05:05.000000Z"
    assert (two["level"], two["order"], two["fields"], two["tags"]) == ("WARNING", 8, {"team": "a"}, ["b"])
    assert three["line_cut_bytes"] == 5000 - 1024
    assert four["parse_error"]


def test_a_configured_parser_reads_the_messages() -> None:
    """nginx's access log through Filebeat."""
    kept = Kept()
    line = '203.0.113.9 - - [02/Jan/2026:03:04:05 +0000] "GET /a?b=1 HTTP/1.1" 404 12 "-" "curl/8"'
    with running(source(kept, parser="nginx")) as beats, socket.create_connection(beats.address, 10) as sock:
        sock.sendall(window(1) + item(1, filebeat(line, 5)))
        assert acknowledged(sock) == 1
    event = kept.events[0]
    assert (event["status_code"], event["method"], event["host"]) == (404, "GET", "box")


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"2X\0\0\0\0",
        b"2C\0\0\0\5hello",
        b"2W\0\0",
        b"2C\0\0\0\0",
        b"2D" + b"\xff" * 8,
    ],
)
def test_who_does_not_speak_it_is_let_go(garbage: bytes) -> None:
    """And the next one is served."""
    kept = Kept()
    with running(source(kept)) as beats:
        with socket.create_connection(beats.address, 10) as sock:
            sock.sendall(garbage)
            sock.shutdown(socket.SHUT_WR)
            try:
                while sock.recv(100):
                    pass
            except ConnectionResetError:
                pass
        with socket.create_connection(beats.address, 10) as sock:
            sock.sendall(window(1) + item(1, filebeat("x", 0)))
            assert acknowledged(sock) == 1


def read(pieces: list[bytes], limit: int = 64) -> list[Any]:
    reader = FrameReader(limit)
    found: list[Any] = []
    try:
        for piece in pieces:
            for frame in reader.feed(piece):
                lost = (
                    frame.payload.lost
                    if isinstance(frame, Item) and isinstance(frame.payload, CutLine)
                    else 0
                )
                found.append((frame, lost))
    except ProtocolError:
        found.append("error")
    return found


FRAMES = st.one_of(
    st.integers(0, 9).map(window),
    st.binary(max_size=100).map(lambda payload: item(3, payload)),
    st.lists(st.binary(max_size=100).map(lambda payload: item(4, payload)), min_size=1, max_size=3).map(
        lambda items: packed(*items)
    ),
    st.just(data(5, line="x")),
    st.binary(max_size=6),
)


@settings(max_examples=80)
@given(st.lists(FRAMES, max_size=4).map(b"".join))
def test_pieces_do_not_matter(sent: bytes) -> None:
    """Whole or byte by byte, sound or not: the same frames."""
    assert read([sent[at : at + 1] for at in range(len(sent))]) == read([sent])


def test_a_bomb_is_unpacked_piece_by_piece() -> None:
    """A hundred megabytes of one event in a hundred kilobytes are cut, and never held."""
    stream = zlib.compressobj()
    size = 100_000_000
    body = stream.compress(b"2J" + struct.pack(">II", 1, size))
    for _ in range(size // 1_000_000):
        body += stream.compress(b"x" * 1_000_000)
    body += stream.flush()
    reader = FrameReader(1024)
    found: list[Any] = []
    for frame in reader.feed(window(1) + b"2C" + struct.pack(">I", len(body)) + body):
        found.append(frame)
        assert len(reader._rest) < 1_000_000
    assert found[0] == Window(ord("2"), 1)
    assert (len(found[1].payload), found[1].payload.lost) == (1024, size - 1024)
