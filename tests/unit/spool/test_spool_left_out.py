"""What transforms left out is in the books of every sink, in the same append as the lines around it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from logferry.handlers.outlet import Violation
from logferry.shipper.core.block import Block
from logferry.shipper.ports import Outcome
from logferry.shipper.spool import Spool, SpoolSet, SpoolSettings, audit, verify


def line(number: int) -> bytes:
    return b'{"n":%d}' % number


@pytest.mark.parametrize("memory", [False, True])
def test_left_out_lines_are_filtered_for_every_sink(make_spool: Callable[..., Spool], memory: bool) -> None:
    """Blocks of any mixture, also of nothing but left out lines, at the end too: the books balance."""
    chance = random.Random(7)
    spool = make_spool(memory=memory)
    appender = spool.appender("app")
    sent: list[bytes] = []
    left_out = 0
    for number in range(300):
        kept = [line(number * 10 + n) for n in range(chance.choice((0, 0, 1, 5)))]
        out = chance.choice((0, 1, 3))
        left_out += out
        sent += kept
        lines = kept + [b""] * out
        if chance.random() < 0.5:
            appender.append(Block(b"\n".join(kept), len(kept), out), b"%d" % number)
        else:
            chance.shuffle(lines)
            sent[len(sent) - len(kept) :] = [one for one in lines if one]
            appender.append(lines, b"%d" % number)
    appender.append([b"", b""], b"the end")
    for size in (1, 3, 1000):
        cursor = spool.cursor(f"sink-{size}")
        took: list[bytes] = []
        while (batch := cursor.read(size, 1 << 20)) is not None:
            assert list(batch.sequences) == list(range(batch.sequences[0], batch.sequences[-1] + 1))
            took += batch.lines
            cursor.commit(batch.sequences[-1], Outcome(delivered=len(batch)))
        account = cursor.account()
        assert took == sent
        assert account.filtered == {"transforms": left_out + 2}
        assert (account.accepted, account.balance, account.pending) == (len(sent) + left_out + 2, 0, 0)
    assert spool.last_position("app") == b"the end"


def test_a_restart_within_a_frame_counts_what_was_left_out_once(tmp_path: Path) -> None:
    """Whichever part of a frame was committed before the end, the next process goes on behind it."""
    for committed in range(6):
        settings = SpoolSettings(tmp_path / str(committed), "shop")
        spool = Spool(settings)
        spool.appender("app").append([line(0), line(1), b"", line(2), b""], b"p")
        spool.appender("app").append([line(3)], b"q")
        cursor = spool.cursor("a")
        taken: list[bytes] = []
        for _ in range(committed):
            batch = cursor.read(1, 1 << 20)
            if batch is not None:
                taken += batch.lines
                cursor.commit(batch.sequences[-1], Outcome(delivered=1))
        cursor.close()
        spool.close()
        report = audit(settings.path or tmp_path)
        assert report.problems == []
        if committed:
            assert report.accounts["shop", "a"].filtered.get("transforms", 0) == 2
        assert [one.missing for one in verify(settings.path or tmp_path)] == [{}]
        spool.home.close()
        spools = SpoolSet(settings)
        for adopted in spools.adopt():
            later = adopted.cursor("a")
            while not later.drained:
                batch = later.read(10, 1 << 20)
                if batch is not None:
                    taken += batch.lines
                    later.commit(batch.sequences[-1], Outcome(delivered=len(batch)))
            assert later.account().filtered == {"transforms": 2}
            assert later.account().balance == 0
        spools.close()
        assert taken == [line(0), line(1), line(2), line(3)]


@pytest.mark.parametrize("as_block", [False, True])
def test_lines_of_a_source_that_broke_the_schema(
    make_spool: Callable[..., Spool],
    as_block: bool,
) -> None:
    """They come out as they went in, with their reasons, beside lines that were left out, batch by batch."""
    lines = [line(0), Violation(line(1), "bad\0\nreason"), b"", line(2), Violation(line(3), "worse")]
    spool = make_spool()
    kept = [one for one in lines if one]
    broken = {at: one.reason for at, one in enumerate(kept) if isinstance(one, Violation)}
    given = Block(b"\n".join(kept), len(kept), 1, broken) if as_block else lines
    for _ in range(3):
        spool.appender("app").append(given, b"p")
    for size in (1, 2, 100):
        cursor = spool.cursor(f"sink-{size}")
        took: list[bytes] = []
        reasons: list[str] = []
        while (batch := cursor.read(size, 1 << 20)) is not None:
            took += batch.lines
            violations = cursor.violations()
            assert set(violations) <= set(batch.sequences)
            for sequence, reason in violations.items():
                assert batch.lines[sequence - batch.sequences[0]] in {line(1), line(3)}
                reasons.append(reason)
            cursor.commit(batch.sequences[-1], Outcome(delivered=len(batch)))
        assert took == [line(0), line(1), line(2), line(3)] * 3
        assert reasons == ["bad  reason", "worse"] * 3
        assert cursor.account().filtered == {"transforms": 3}
