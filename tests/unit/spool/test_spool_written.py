"""In a process that is nothing else than an agent segments are written, not mapped; all of it comes out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from logferry.shipper.core.block import Block
from logferry.shipper.floor import FLOOR
from logferry.shipper.ports import Outcome
from logferry.shipper.spool import Spool, SpoolSet


def _maps_of_segments() -> list[str]:
    maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    return [line for line in maps if line.endswith(".seg")]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="who maps what is told on Linux only")
def test_an_agent_maps_no_segment(make_spool: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither for blocks of lines nor for an event of its own; an application does."""
    before = len(_maps_of_segments())
    monkeypatch.setattr(FLOOR, "shared", True)
    spool = make_spool()
    spool.append([b'{"n":1}', b'{"n":2}'], b"p", "app")
    assert spool.offer(b'{"n":3}')
    spool.sync()
    spool.prepare()
    assert len(_maps_of_segments()) == before
    batch = spool.own_cursor("a").read(10, 1 << 20)
    assert batch is not None
    assert list(batch.lines) == [b'{"n":1}', b'{"n":2}', b'{"n":3}']
    monkeypatch.setattr(FLOOR, "shared", False)
    application = make_spool()
    application.offer(b'{"n":1}')
    assert len(_maps_of_segments()) > before


@pytest.mark.parametrize("taken", [0, 1, 23, 24, 30, 1000])
def test_a_disk_that_takes_a_part_gets_the_rest(
    make_spool: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    """Wherever a write of several parts ends."""

    def some(fd: int, parts: Sequence[bytes], at: int) -> int:
        whole = b"".join(parts)
        return os.pwrite(fd, whole[:taken], at)

    monkeypatch.setattr(os, "pwritev", some)
    monkeypatch.setattr(FLOOR, "shared", True)
    spool = make_spool()
    for number in range(3):
        lines = b'{"n":%d}\n{"m":%d}' % (number, number)
        spool.append(Block(lines, 2, columns=b"told" * 9), b"position", "app")
    batch = spool.own_cursor("a").read(10, 1 << 20)
    assert batch is not None
    expected = [(b'{"n":%d}' % number, b'{"m":%d}' % number) for number in range(3)]
    assert list(batch.lines) == [line for pair in expected for line in pair]
    assert [one.columns for one in batch.beside] == [b"told" * 9] * 3


def test_the_smallest_spool_has_room_for_the_largest_blocks(make_spool: Callable[..., Spool]) -> None:
    """One after the other, as a sink takes them: no frame waits for room that there never will be."""
    spool = make_spool(max_bytes=1 << 20, when_full="block")
    cursor, spools = spool.own_cursor("a"), SpoolSet(spool.settings, spool)
    line = b'{"note":"%s"}' % (b"x" * 370)
    count = 384 * 1024 // (len(line) + 1)
    taken: list[int] = []
    until = time.monotonic() + 20

    def take() -> None:
        while (batch := cursor.read(5_000, 8 << 20)) is not None:
            taken.extend(batch.sequences)
            cursor.commit(batch.sequences[-1], Outcome(delivered=len(batch)))
        spools.reclaim(["a"])
        assert time.monotonic() < until, "the spool is full, and all of it is taken"
        time.sleep(0.01)

    for _ in range(6):
        block = Block(b"\n".join([line] * count), count, columns=bytes(80 * 1024))
        spool.append(block, b"position", "app", take)
    take()
    assert len(taken) == 6 * count
