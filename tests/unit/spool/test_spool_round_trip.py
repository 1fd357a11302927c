"""What goes into a spool comes out of it, in order, once, and in the books."""

from __future__ import annotations

import importlib
import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from logferry.handlers.outlet import Violation
from logferry.shipper.ports import Cursor, Outcome
from logferry.shipper.spool import Spool, SpoolSet, SpoolSettings, audit, list_spools, verify
from logferry.shipper.spool.directory import Home


def take_all(cursor: Cursor, *, commit: bool = True, size: int = 7) -> list[bytes]:
    lines: list[bytes] = []
    expected = None
    while (batch := cursor.read(size, 1 << 20)) is not None:
        assert len(batch.sequences) == len(batch.lines)
        assert batch.longest >= max(map(len, batch.lines))
        if expected is not None:
            assert batch.sequences[0] >= expected
        expected = batch.sequences[-1] + 1
        lines += batch.lines
        if commit:
            cursor.commit(batch.sequences[-1], Outcome(delivered=len(batch)))
    if commit:
        assert cursor.account().balance == 0
    return lines


def event(number: int, size: int = 0) -> bytes:
    return b'{"n":%d,"x":"%s"}' % (number, b"x" * size)


@pytest.mark.parametrize("memory", [False, True])
def test_events_come_out_as_they_went_in(make_spool: Callable[..., Spool], memory: bool) -> None:
    """Over many segments, on disk and in memory, every event comes out once and in order."""
    spool = make_spool(memory=memory)
    sent = [event(n, n % 700) for n in range(3000)]
    assert all(spool.offer(line) for line in sent)
    cursor = spool.cursor("a")
    assert take_all(cursor) == sent
    assert cursor.account().accepted == cursor.account().delivered == 3000
    assert spool.stats()["segments"] > 3


def test_nothing_on_disk_before_the_first_record(make_spool: Callable[..., Spool], tmp_path: Path) -> None:
    """A spool that takes nothing leaves nothing."""
    spool = make_spool()
    cursor = spool.cursor("a")
    assert cursor.read(1, 1) is None
    spool.close()
    assert list(tmp_path.iterdir()) == []


def test_a_batch_keeps_its_limits(make_spool: Callable[..., Spool]) -> None:
    """Counts and bytes, overhead included, are never exceeded, but one event is always given."""
    spool = make_spool()
    for _n in range(10):
        spool.offer(b"x" * 100)
    cursor = spool.cursor("a")
    assert len(cursor.read(3, 10_000)) == 3
    assert len(cursor.read(100, 350, 10)) == 3
    assert len(cursor.read(100, 1)) == 1
    spool.append([b"y" * 100] * 5)
    assert len(cursor.read(100, 10_000)) == 8
    assert cursor.read(100, 10_000) is None


def test_rewind_gives_the_same_again(make_spool: Callable[..., Spool]) -> None:
    """What was read and not committed comes again, also from within a frame of many lines."""
    spool = make_spool()
    spool.append([b"1", b"2", b"3", b"4"])
    spool.offer(b"5")
    cursor = spool.cursor("a")
    assert list(cursor.read(3, 100).lines) == [b"1", b"2", b"3"]
    cursor.commit(2, Outcome(delivered=2))
    cursor.rewind()
    batch = cursor.read(10, 100)
    assert (list(batch.sequences), list(batch.lines)) == ([3, 4, 5], [b"3", b"4", b"5"])
    assert cursor.account().pending == 3
    assert cursor.account().balance == 0


def test_a_violation_keeps_its_reason(make_spool: Callable[..., Spool]) -> None:
    """A violation is read like an event, with the reason beside it."""
    spool = make_spool()
    spool.offer(b"{}")
    assert spool.offer(Violation(b'{"bad":1}', "order_id is no integer"))
    batch = (cursor := spool.cursor("a")).read(10, 100)
    assert list(batch.lines) == [b"{}", b'{"bad":1}']
    assert cursor.violations() == {2: "order_id is no integer"}


def test_each_sink_has_its_own_pace(make_spool: Callable[..., Spool]) -> None:
    """One sink's commits move only its own cursor, and a segment goes when both passed it."""
    spool = make_spool()
    for n in range(1000):
        spool.offer(event(n, 400))
    spools = SpoolSet(spool.settings, spool)
    fast, slow = spool.cursor("fast"), spool.cursor("slow")
    assert len(take_all(fast)) == 1000
    assert spools.reclaim(["fast", "slow"]) == 0
    before = spool.stats()["segments"]
    assert len(take_all(slow)) == 1000
    assert spools.reclaim(["fast", "slow"]) == before - 1
    assert spool.stats()["segments"] == 1


def test_a_new_sink_starts_at_what_is_left(make_spool: Callable[..., Spool]) -> None:
    """What was delivered and deleted before a sink existed is `before` in its books, not lost."""
    spool = make_spool()
    for n in range(1000):
        spool.offer(event(n, 400))
    take_all(spool.cursor("old"))
    SpoolSet(spool.settings, spool).reclaim(["old"])
    late = spool.cursor("new")
    lines = take_all(late)
    account = late.account()
    assert 0 < len(lines) < 1000
    assert account.filtered == {"before": 1000 - len(lines)}
    assert not account.dropped


def test_an_event_larger_than_any_segment(make_spool: Callable[..., Spool]) -> None:
    """A huge event gets a segment of its own size."""
    spool = make_spool()
    big = b"x" * (20 << 20)
    assert spool.offer(b"1")
    assert spool.offer(big)
    assert spool.offer(b"2")
    cursor = spool.cursor("a")
    assert [len(line) for line in take_all(cursor)] == [1, len(big), 1]


def test_a_restart_goes_on_where_the_last_one_stopped(
    make_spool: Callable[..., Spool], tmp_path: Path
) -> None:
    """A closed spool is adopted by the next process, which delivers the rest; then the ledger is left."""
    first = make_spool()
    for n in range(10):
        first.offer(event(n))
    cursor = first.cursor("a")
    cursor.read(4, 1000)
    cursor.commit(4, Outcome(delivered=3, dead_lettered=1))
    cursor.close()
    first.close()
    first.home.close()
    second = make_spool()
    spools = SpoolSet(second.settings, second)
    (adopted,) = spools.adopt()
    assert spools.adopt() == []
    assert adopted.death is None
    rest = take_all(adopted.cursor("a"))
    assert rest == [event(n) for n in range(4, 10)]
    assert adopted.cursor("a").drained
    assert spools.accounts(["a"])["a"].delivered == 9
    spools.reclaim(["a"])
    account = spools.accounts(["a"])["a"]
    assert (account.accepted, account.delivered, account.dead_lettered, account.balance) == (10, 9, 1, 0)
    assert list_spools(tmp_path / "spool") == []
    assert audit(tmp_path / "spool", "shop").accounts["shop", "a"] == account


@pytest.mark.parametrize("own", [True, False])
def test_books_that_no_disk_took_are_in_the_ledger(
    make_spool: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch, own: bool
) -> None:
    """The disk was too full for a cursor file: what the worker knows counts when the spool is put away."""
    spool = make_spool()
    for n in range(10):
        spool.offer(event(n))
    monkeypatch.setattr("logferry.shipper.spool.books.BooksFile.save", lambda *_: False)
    if own:
        take_all(spool.cursor("a"))
        spool.close()
        spools = SpoolSet(spool.settings, spool)
    else:
        spool.close()
        spools = SpoolSet(spool.settings)
        (adopted,) = spools.adopt()
        take_all(adopted.cursor("a"))
    spools.reclaim(["a"])
    path = spool.settings.path or Path()
    assert list_spools(path) == []
    account = audit(path).accounts["shop", "a"]
    assert (account.accepted, account.delivered, account.pending) == (10, 10, 0)


def test_an_audit_that_meets_a_spool_being_put_away_looks_again(
    make_spool: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its cursor file is gone between two looks, and its books are in the ledger: counted once."""
    first = make_spool()
    for n in range(10):
        first.offer(event(n))
    take_all(first.cursor("a"))
    first.close()
    spools = SpoolSet(first.settings, first)
    module = importlib.import_module("logferry.shipper.spool.audit")
    given = module.given_out

    def meanwhile(home: Home) -> int:
        known = given(home)
        spools.reclaim(["a"])
        return known

    monkeypatch.setattr(module, "given_out", meanwhile)
    report = audit(first.settings.path or Path())
    assert report.problems == []
    assert report.accounts["shop", "a"].delivered == report.accounts["shop", "a"].accepted == 10
    assert list_spools(first.settings.path or Path()) == []


def test_positions_survive_restarts_and_reclaim(make_spool: Callable[..., Spool]) -> None:
    """A source finds its newest position in its own process, in a later one, and when the spool is gone."""
    first = make_spool()
    source = first.appender("nginx")
    for n in range(500):
        source.append([event(n, 500)] * 2, b"at %d" % n)
    first.append([b"x"], b"other", "app")
    assert source.last_position("nginx") == b"at 499"
    take_all(first.cursor("a"))
    first.close()
    spools = SpoolSet(first.settings, first)
    spools.reclaim(["a"])
    second = make_spool()
    assert second.last_position("nginx") == b"at 499"
    assert second.last_position("app") == b"other"
    assert second.last_position("none") == b""
    assert list_spools(first.settings.path) == []


def test_positions_survive_an_owner_that_dies_with_a_segment_made_ahead(
    make_spool: Callable[..., Spool],
) -> None:
    """The next process delivers everything and deletes what it passed: the position is still there."""
    first = make_spool()
    source = first.appender("kafka")
    for n in range(40):
        source.append([event(n, 1000)], b"at %d" % n, "topic/0")
    first.prepare()
    unused = first.home.numbers()[-1]
    first.home.close()  # as a kill does
    second = make_spool()
    spools = SpoolSet(second.settings, second)
    (adopted,) = spools.adopt()
    adopted.told = False  # the death is yet to be told: the spool stays, its segments may go
    cursor = adopted.own_cursor("a")
    assert take_all(cursor) == [event(n, 1000) for n in range(40)]
    assert cursor.done
    spools.reclaim(["a"])
    assert cursor.segment < unused, "the last segment with frames was passed"
    assert make_spool().appender("kafka").positions() == {"topic/0": b"at 39"}
    adopted.told = True
    spools.reclaim(["a"])
    assert list_spools(second.settings.path) == []
    assert make_spool().appender("kafka").positions() == {"topic/0": b"at 39"}


@pytest.mark.parametrize("ahead", [False, True])
def test_a_segment_is_in_use_when_it_holds_the_positions_and_not_before(
    make_spool: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch, ahead: bool
) -> None:
    """Killed between the steps that bring a segment into use: the segment before it keeps the position."""
    spool = make_spool()
    source = spool.appender("file")
    source.append([event(0, 40_000)], b"at 0")
    if ahead:
        spool.prepare()
    before = spool.home.numbers()[0]

    def dies(*_: object) -> None:
        raise SystemExit

    monkeypatch.setattr(type(spool._supply), "_begin", dies)
    monkeypatch.setattr(type(spool._supply), "discard", lambda *_: None)  # a killed process clears nothing up
    monkeypatch.setattr("logferry.shipper.spool.directory.Home.remove_segment", lambda *_: True)
    with pytest.raises(SystemExit):
        source.append([event(1, 60_000)], b"at 1")
    monkeypatch.undo()
    spool.home.close()
    second = make_spool()
    spools = SpoolSet(second.settings, second)
    (adopted,) = spools.adopt()
    adopted.told = False
    cursor = adopted.own_cursor("a")
    assert take_all(cursor) == [event(0, 40_000)]
    spools.reclaim(["a"])
    assert cursor.segment == before
    assert make_spool().last_position("file") == b"at 0"


def test_an_own_spool_that_is_drained_and_closed_leaves_no_directory(
    make_spool: Callable[..., Spool], tmp_path: Path
) -> None:
    """A thousand short-lived workers leave one ledger, not a thousand directories."""
    for _ in range(5):
        spool = make_spool()
        spool.offer(b"{}")
        take_all(spool.cursor("a"))
        spool.close()
        SpoolSet(spool.settings, spool).reclaim(["a"])
    assert sorted(entry.name for entry in (tmp_path / "spool" / "shop").iterdir()) == [
        "ledger.json",
        "ledger.lock",
    ]
    account = SpoolSet(spool.settings).accounts(["a"])["a"]
    assert (account.accepted, account.delivered) == (5, 5)


def test_modes_do_not_depend_on_the_umask(make_spool: Callable[..., Spool], tmp_path: Path) -> None:
    """Directories are 0700 and files 0600 under any umask."""
    old = os.umask(0)
    try:
        spool = make_spool()
        spool.offer(b"{}")
        take_all(spool.cursor("a"))
    finally:
        os.umask(old)
    for path in (tmp_path / "spool").rglob("*"):
        expected = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == expected, path


@pytest.mark.parametrize("place", ["spool", "spool/shop"])
@pytest.mark.parametrize("whose", ["a link", "another user's"])
def test_a_directory_that_somebody_else_laid_there_is_refused(tmp_path: Path, place: str, whose: str) -> None:
    """In the place of the path or of the service's directory: events stay in memory."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / place).parent.mkdir(exist_ok=True)
    if whose == "a link":
        (tmp_path / place).symlink_to(tmp_path / "elsewhere")
    elif os.geteuid() != 0:
        pytest.skip("another user can be had by root only")
    else:
        (tmp_path / place).mkdir()
        os.chown(tmp_path / place, 12001, 12001)
    spool = Spool(SpoolSettings(tmp_path / "spool", "shop"))
    assert spool.offer(b"{}")
    assert spool.state == "degraded"
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert not list((tmp_path / place).rglob("*.seg"))


def test_verify_counts_frames(make_spool: Callable[..., Spool], tmp_path: Path) -> None:
    """A sound spool verifies with as many events as were offered."""
    spool = make_spool()
    for n in range(100):
        spool.offer(event(n))
    (found,) = verify(tmp_path / "spool")
    assert (found.events, found.damaged, found.missing) == (100, 0, {})
    (info,) = list_spools(tmp_path / "spool")
    assert (info.alive, info.last_sequence, info.owner.pid) == (True, 100, os.getpid())


def test_a_removal_that_was_cut_off_is_finished_by_the_next(tmp_path: Path) -> None:
    """Killed between the lock and the directory: the ledger has its books, so it goes at once."""
    spool = Spool(SpoolSettings(tmp_path, "shop"))
    spool.offer(b"{}")
    spool.close()
    first = SpoolSet(SpoolSettings(tmp_path, "shop"))
    (adopted,) = first.adopt()
    cursor = adopted.cursor("a")
    while (batch := cursor.read(10, 1 << 20)) is not None:
        cursor.commit(batch.sequences[-1], Outcome(delivered=len(batch)))
    first.reclaim(["a"])
    assert not adopted.directory.exists()
    left, fresh = tmp_path / "shop" / adopted.id, tmp_path / "shop" / ("ab" * 16)
    left.mkdir()
    fresh.mkdir()
    assert SpoolSet(SpoolSettings(tmp_path, "shop")).adopt() == []
    assert not left.exists()
    assert fresh.exists()  # another process may be making it


def test_a_segment_that_was_made_and_not_used_stops_nobody_before_long_frames(
    make_spool: Callable[..., Spool],
) -> None:
    """Made ahead, it may lose its place to a later one, whose first frame may be longer than a block."""
    spool = make_spool(max_bytes=8 << 20)
    cursor, appender = spool.cursor("a"), spool.appender("in")
    appender.append([event(0)])
    assert take_all(cursor) == [event(0)]
    spool._supply._new_file(spool.home, 1 << 16, 0)  # what `prepare` does while another segment is made
    long = [event(number, 1000) for number in range(200)]
    appender.append(long)
    appender.append(long)
    assert take_all(cursor) == [*long, *long]


def test_a_death_notice_names_what_was_open(make_spool: Callable[..., Spool]) -> None:
    """Neither requests with an access event nor messages whose span has ended."""
    spool = make_spool()
    ends = {
        "r-1": {"kind": "access"},
        "r-2": {"kind": "span", "span_kind": "consumer"},
        "r-3": {"kind": "span", "span_kind": "client"},
        "r-4": {"kind": "span_start", "span_kind": "consumer"},
    }
    for request, end in ends.items():
        spool.offer(json.dumps({"message": "in", "request_id": request}).encode())
        spool.offer(json.dumps({"message": "out", "request_id": request, **end}).encode())
    spool.close(clean=False)
    spool.home.close()
    (adopted,) = SpoolSet(spool.settings).adopt()
    assert adopted.death is not None
    assert adopted.death.open_requests == ("r-3", "r-4")


def test_a_segment_that_is_filled_while_another_is_released_stays_known(
    make_spool: Callable[..., Spool],
) -> None:
    """A sink's thread may delete what was read at the same moment: the list keeps what comes to it."""
    released: list[int] = []

    def clock() -> float:
        if released and sys._getframe(1).f_code.co_name == "placed":
            spool.release(released.pop())
        return 1000.0

    spool = make_spool(options={"clock": clock})
    for _ in range(2):
        spool.offer(b"{}")
        spool.look_again()  # what comes next goes into a new segment
    spool.offer(b"{}")
    released.append(spool.numbers()[0])
    spool.look_again()
    spool.offer(b"{}")
    assert [entry.number for entry in spool._supply.sealed] == spool.numbers()[:-1]
    assert len(spool.numbers()) == 3
