"""A file's bytes, in chunks of any size, become the events of its lines, and each block says what it took."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any, Literal

import pytest
from odd_lines import BUILDER, ODD, entry, value

from logferry.shipper.config.fields import Size
from logferry.shipper.core.lines import LineSplitter
from logferry.shipper.sources.file_config import FileConfig
from logferry.shipper.sources.file_feed import Feed
from logferry.shipper.sources.foreign import event_of
from logferry.shipper.sources.parsers.joiners import joiner_of

EXTRA = {"log_file": "/var/log/app.log"}
TRACEBACK = [b"Traceback (most recent call last):", b'  File "a.py", line 1, in f', b"ValueError: no"]


def stream_of(kind: str, chance: random.Random) -> bytes:
    """Return lines that begin with usual ones."""
    usual = [json.dumps(entry(i, note="x" * chance.randrange(200))).encode() for i in range(600)]
    lines = list(usual)
    if kind == "short":
        lines = [b'{"message":"a%d"}' % i for i in range(1200)]
    elif kind == "odd":
        odd = [line for line in ODD.values() if type(line) is bytes and b"\n" not in line]
        lines += [*odd, *usual[:300], *TRACEBACK, *usual[:300], *odd, b"", b"{}{}", *TRACEBACK]
    elif kind in {"long", "cut"}:
        for length in (30_000, 65_000, 66_000, 140_000, 270_000):
            lines += [json.dumps(entry(1, note="y" * length)).encode(), *usual[:40]]
    elif kind == "crlf":
        lines = [line + b"\r" for line in lines]
    return b"\n".join(lines) + b"\nno end"


def events_of(stream: bytes, limit: int) -> list[bytes]:
    """Return what each record is by itself."""
    joiner = joiner_of("auto", "auto", limit)
    assert joiner is not None
    groups = joiner.feed_all(LineSplitter(limit).feed(stream)) + joiner.flush()
    events = [event_of(BUILDER, record, "auto", EXTRA) for record, _ in groups]
    return [event for event in events if event is not None]


def timeless(event: bytes) -> Any:
    return {**value(event), "timestamp": 0}


@pytest.mark.parametrize("kind", ["usual", "short", "odd", "long", "cut", "crlf"])
@pytest.mark.parametrize("longest", [3_000, 256 << 10])
def test_chunks_of_any_size(kind: str, longest: int, taken: list[bytes]) -> None:
    """Events, places and the sizes of blocks are right however the bytes come."""
    chance = random.Random(f"{kind} {longest}")
    limit = 40_000 if kind == "cut" else 256 << 10
    stream = stream_of(kind, chance)
    config = FileConfig((Path("/var/log/app.log"),), max_line_bytes=Size(limit))
    feed, found, fed, took = Feed(config, BUILDER, EXTRA, "utf-8"), list[bytes](), 0, 0
    while fed < len(stream):
        chunk = stream[fed : fed + (longest if longest > 9_999 else chance.randint(1, longest))]
        fed += len(chunk)
        for block, size in feed.feed(chunk):
            lines = list(block)
            assert len(lines) == len(block) <= 1000
            assert len(block.payload) <= 384 << 10 or len(lines) == 1
            found += lines
            took += size
            if kind != "odd":  # where a traceback is one record, and a blank line none
                assert stream.count(b"\n", 0, took) == len(found)
    rest = list(feed.joined())
    found += [line for block, _ in rest for line in block]
    took += sum(size for _, size in rest)
    assert stream[took:] == b"no end"
    assert list(map(timeless, found)) == list(map(timeless, events_of(stream, limit)))
    very_long = [line for line in stream.split(b"\n") if 64 << 10 < len(line) <= limit]
    assert not very_long or set(very_long) <= set(taken)  # where events have bounds, each line is looked at


@pytest.mark.parametrize("multiline", ["auto", "off"])
def test_a_line_is_an_object(multiline: Literal["auto", "off"]) -> None:
    """Also where nobody asks whether lines belong together: one over two lines, and two in one."""
    usual = [json.dumps(entry(i)).encode() for i in range(40)]
    half = usual[0].index(b'"level"')
    lines = [*usual, usual[0][:half], usual[0][half:], usual[1] + usual[2], *usual]
    feed = Feed(FileConfig((Path("/a"),), multiline=multiline), BUILDER, EXTRA, "utf-8")
    for _ in range(3):  # by the second time it has learned
        found = [line for block, _ in feed.feed(b"\n".join([*lines, b""])) for line in block]
        expected = [event_of(BUILDER, line, "auto", EXTRA) or b"" for line in lines]
        assert list(map(timeless, found)) == list(map(timeless, expected))


@pytest.mark.parametrize("length", [300, 340, 700])
def test_a_whole_chunk_has_its_columns(length: int) -> None:
    """Without them each sink decodes each line: they have room beside as many lines as a chunk completes."""
    chance = random.Random(length)
    lines: list[bytes] = []
    while sum(map(len, lines)) < (256 << 10) - length:
        event = entry(
            len(lines), trace_id=f"{chance.getrandbits(128):032x}", duration_ms=chance.randrange(999) + 0.25
        )
        event["note"] = "x" * (length - len(json.dumps({**event, "note": ""})))
        lines.append(json.dumps(event).encode() + b"\n")
    extra = {"log_file": "/var/log/" + "a" * 20 + "/app.log"}
    feed, chunk = Feed(FileConfig((Path("/a"),)), BUILDER, extra, "utf-8"), b"".join(lines)
    for _ in range(3):  # by the second time it has learned
        found = [block for block, _ in feed.feed(chunk)]
    assert all(block.columns for block in found)
