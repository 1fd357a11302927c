"""What is written beside the lines of a frame comes out with them, whatever a reader takes at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from logferry.shipper.core.block import Block
from logferry.shipper.core.framing import COLUMNED, LINES, encode, parse
from logferry.shipper.model import Batch
from logferry.shipper.ports import Outcome
from logferry.shipper.spool import Spool, SpoolSet
from logferry.shipper.spool.scan import frames, positions_of

# A frame of lines as version 0.1 wrote it: salt 1234, source `app` at `at`, sequence 7.
FRAME_OF_0_1 = bytes.fromhex(
    "1e030600150000000700000000000000020000002ef11bbb6170700061747b2261223a317d0a7b2261223a327d"
)


def block(first: int, count: int, columns: bytes) -> Block:
    lines = [b'{"n":%d}' % n for n in range(first, first + count)]
    return Block(b"\n".join(lines), count, columns=columns)


def fill(spool: Spool) -> None:
    """Append 40 events: frames with columns and without, of one line and of many."""
    spool.append(block(1, 10, b"one\n\0\x1e"), b"p1", "app")
    spool.append(block(11, 5, b""), b"p2", "app")
    spool.offer(b'{"n":16}')
    spool.append(block(17, 1, b"two"), b"p3", "app")
    spool.append(block(18, 23, b"three"))


def beside_of(batch: Batch) -> list[bytes]:
    """Return the columns that go with each line of a batch."""
    found = []
    for sequence in batch.sequences:
        held = [one.columns for one in batch.beside if one.first <= sequence < one.first + one.size]
        found.append(held[0] if held else b"")
        assert len(held) < 2
    return found


EXPECTED = [b"one\n\0\x1e"] * 10 + [b""] * 6 + [b"two"] + [b"three"] * 23


@pytest.mark.parametrize("size", [1, 3, 7, 10, 1000])
def test_columns_come_out_with_their_lines(make_spool: Callable[..., Spool], size: int) -> None:
    """Read a few at a time, and again from the middle."""
    spool = make_spool()
    fill(spool)
    cursor = spool.own_cursor("a")
    found, lines = [], []
    while (batch := cursor.read(size, 1 << 20)) is not None:
        found += beside_of(batch)
        lines += batch.lines
        cursor.commit(batch.sequences[0], Outcome(delivered=1))
        if len(batch) > 1:  # all but the first line again
            cursor.rewind()
            again = cursor.read(len(batch) - 1, 1 << 20)
            assert again is not None
            assert beside_of(again) == found[-len(batch) + 1 :]
            assert again.lines == batch.lines[1:]
            cursor.commit(again.sequences[-1], Outcome(delivered=len(again)))
    assert lines == [b'{"n":%d}' % n for n in range(1, 41)]
    assert found == EXPECTED


def test_who_takes_a_spool_over_has_the_columns_and_the_positions(make_spool: Callable[..., Spool]) -> None:
    """A dead owner's frames: lines, columns, positions and death notice."""
    spool = make_spool()
    fill(spool)
    spool.close(clean=False)
    spool.home.close()
    spools = SpoolSet(spool.settings)
    (adopted,) = spools.adopt()
    assert adopted.death is not None
    batch = adopted.cursor("a").read(100, 1 << 20)
    assert batch is not None
    assert beside_of(batch) == EXPECTED


def test_frames_of_lines_are_known_by_all_who_read_them(make_spool: Callable[..., Spool]) -> None:
    """Positions are found in frames with columns too; violations and lines left out have no columns."""
    spool = make_spool()
    fill(spool)
    assert positions_of(spool) == {"app": b"p3"}
    kinds = [found.frame.kind for found in frames(spool, spool.numbers()[0])]
    assert kinds.count(COLUMNED) == 3
    assert kinds.count(LINES) == 1
    marked = Block(b'{"n":1}', 1, violations={0: "no"}, columns=b"x")
    spool.append(marked, b"p4", "app")
    spool.append(Block(b'{"n":1}', 1, left_out=2, columns=b"x"), b"p5", "app")
    cursor = spool.own_cursor("a")
    found = []
    while (batch := cursor.read(100, 1 << 20)) is not None:
        found += beside_of(batch)
        cursor.commit(batch.sequences[-1], Outcome(delivered=len(batch)))
    assert found == [*EXPECTED, b"", b""]


def test_frames_of_the_version_before_are_read_as_they_were() -> None:
    """The bytes that 0.1 wrote for lines are a sound frame, and are what is written for them now."""
    frame = parse(FRAME_OF_0_1, 0, 1234)
    assert frame is not None
    assert (frame.kind, frame.sequence, frame.events) == (LINES, 7, 2)
    assert encode(1234, LINES, 6, FRAME_OF_0_1[24:], 7, 2) == FRAME_OF_0_1


@pytest.mark.parametrize(("room", "count"), [(26, 2), (27, 3), (36, 4), (81, 9)])
def test_a_batch_holds_as_many_bytes_as_asked_for(
    make_spool: Callable[..., Spool], room: int, count: int
) -> None:
    """A line's own bytes and the overhead count, its line break does not."""
    spool = make_spool()
    fill(spool)  # the first lines have 7 bytes
    batch = spool.own_cursor("a").read(100, room, 2)
    assert batch is not None
    assert len(batch) == count
    assert batch.longest >= 7


def test_lines_of_large_frames_are_cut_as_asked_for(make_spool: Callable[..., Spool]) -> None:
    """By number and by bytes; none is longer than the batch says, and that is little for usual ones."""
    spool = make_spool(max_bytes=16 << 20)
    usual = [b'{"n":%d,"x":"%s"}' % (n, b"x" * (n % 300)) for n in range(2000)]
    longest = b'{"x":"' + b"x" * 250_000 + b'"}'
    for lines in (usual, [*usual[:100], longest, *usual[100:200]]):
        spool.append(lines, b"p", "app")
    sent = [*usual, *usual[:100], longest, *usual[100:200]]
    for most, room in ((700, 1 << 20), (1900, 1 << 20), (5000, 100_000), (700, 100_000)):
        cursor = spool.cursor(f"{most}-{room}")
        found: list[bytes] = []
        while (batch := cursor.read(most, room, 80)) is not None:
            found += batch.lines
            assert batch.longest >= max(map(len, batch.lines))
            assert batch.longest <= 200_000 or longest in batch.lines
            assert len(batch) == 1 or sum(map(len, batch.lines)) + 80 * len(batch) <= room
            assert len(batch) <= most
            cursor.commit(batch.sequences[-1], Outcome(delivered=len(batch)))
        assert found == sent
