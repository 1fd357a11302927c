"""Segments are read in blocks of bounded size: with the same result as read whole, and with little memory."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable

import pytest

from logferry.shipper.core.framing import EVENT, LINES, encode, parse, resync, salt_of
from logferry.shipper.ports import Outcome
from logferry.shipper.spool import Spool, SpoolSet, blocks
from logferry.shipper.spool.directory import Home
from logferry.shipper.spool.scan import frames
from logferry.shipper.spool.segment import DATA, MemorySegment

SPOOL = bytes(16)


def _segment(chance: random.Random) -> MemorySegment:
    """Make a segment of frames of all sizes, rubbish and zeros among them."""
    made, salt = MemorySegment(7, SPOOL, 20_000, 1, 0), salt_of(SPOOL, 7)
    at = DATA
    for sequence in range(1, 60):
        kind = chance.choice((EVENT, LINES))
        frame = bytearray(encode(salt, kind, 0, chance.randbytes(chance.randrange(500)), sequence, 1))
        if chance.random() < 0.2:
            frame[chance.randrange(len(frame))] ^= 1 << chance.randrange(8)
        junk = b"\x1e\1" * chance.randrange(40) if chance.random() < 0.2 else b""
        gap = bytes(chance.randrange(200)) if chance.random() < 0.1 else b""
        made.buffer[at : at + len(junk + gap + frame)] = junk + gap + frame
        at += len(junk + gap + frame)
    return made


@pytest.mark.parametrize("size", [24, 61, 256, 4096, 1 << 17])
def test_blocks_of_any_size_give_the_same(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames, the places to go on at and the ends of what is there are those of the segment read whole."""
    monkeypatch.setattr(blocks, "BLOCK", size)
    monkeypatch.setattr(blocks, "_PEEK", 24)
    chance = random.Random(size)
    salt = salt_of(SPOOL, 7)
    for _ in range(5):
        segment = _segment(chance)
        whole = bytes(segment.buffer)
        expected, at = [], DATA
        while (at := resync(whole, at, salt)) >= 0:
            frame = parse(whole, at, salt)
            assert frame is not None
            expected.append((frame.sequence, whole[frame.start : frame.stop], frame.stop))
            at = frame.stop
        home = Home.__new__(Home)
        home.__dict__.update(id=SPOOL.hex(), memory={7: segment}, dir_fd=-1, lock_fd=-1)
        found = [
            (f.frame.sequence, f.block[f.frame.start : f.frame.stop], f.base + f.frame.stop)
            for f in frames(home, 7)
        ]
        assert found == expected
        for at in range(DATA, len(whole), 97):
            assert blocks.search(segment, at, salt) == resync(whole, at, salt)
            stop = min(len(whole), at + chance.randrange(1, 9000))
            assert blocks.end_of_content(segment, at, stop) == at + len(whole[at:stop].rstrip(b"\0"))


def test_a_large_spool_is_taken_over_with_little_memory(make_spool: Callable[..., Spool]) -> None:
    """Adoption, death notice, reading to the end and putting away never hold a large part of a segment."""
    spool = make_spool()
    line = b'{"message":"%s"}' % (b"x" * 400)
    while not spool._segment.capacity >= 8 << 20:
        spool.offer(line)
    for _ in range(100):
        spool.offer(line)
    spool.close(clean=False)
    spool.home.close()
    tracemalloc.start()
    spools = SpoolSet(spool.settings)
    (adopted,) = spools.adopt()
    assert adopted.death is not None
    cursor = adopted.cursor("a")
    while (batch := cursor.read(200, 1 << 18)) is not None:
        cursor.commit(batch.sequences[-1], Outcome(delivered=len(batch)))
    spools.reclaim(["a"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert spools.adopted == []
    assert peak < 1 << 20, f"{peak >> 10} KiB"
