"""Compaction, retention, and what readers see of them."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logferry.shipper.model import Batch, Delivered
from logferry.shipper.store import Store, StoreError
from logferry.shipper.store.compact import Compactor, main
from logferry.shipper.store.layout import FreshFile, Layout, ParquetFile
from logferry.shipper.store.merging import mergeable
from logferry.shipper.store.moments import parse_moment
from logferry.shipper.store.panels import PANELS, step_for
from logferry.shipper.store.retention import Limits, expired_fresh, expired_parquet
from logferry.shipper.store.rewrite import Rewriter, columns
from logferry.shipper.store.writer import StoreWriter

SPOOL = "ab" * 16
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def lines(first: int, count: int, day: int = 21, **fields: Any) -> list[bytes]:
    return [
        orjson.dumps(
            {
                "timestamp": f"2026-11-{day:02}T08:{n // 60 % 60:02}:{n % 60:02}.{n % 10**6:06}Z",
                "level": "ERROR" if n % 10 == 0 else "INFO",
                "service": f"s{n % 3}",
                "trace_id": f"{n // 5:032x}",
                "span_id": f"{n:016x}",
                "message": f"event {n}",
                **fields,
            }
        )
        for n in range(first, first + count)
    ]


def write(layout: Layout, first: int, events: Sequence[bytes], spool: str = SPOOL) -> None:
    writer = StoreWriter(layout)
    verdict = writer.write(Batch(spool, range(first, first + len(events)), events))
    assert isinstance(verdict, Delivered)
    writer.close()
    for file in layout.list_fresh():  # written before any of the times that tests give, whatever the date is
        os.utime(file.path, (1e9, 1e9))


def compact(layout: Layout, limits: Limits = Limits(), **more: Any) -> Any:  # noqa: B008 - a frozen value
    return Compactor(layout, limits, settle=0, idle=0, patience=0.2, **more).run()


def ids(store: Store) -> list[str]:
    return sorted(row[0] for row in store.sql("SELECT event_id FROM events").rows)


def test_events_come_back_as_they_were_logged(tmp_path: Path) -> None:
    """A query returns the same event before and after compaction, nested and undeclared values too."""
    layout = Layout(tmp_path)
    layout.create()
    layout.declare({"order_id": "integer", "Level": "string"})
    fields = {
        "order_id": 7,
        "Level": "own",
        "cart": {"items": [1, 2.5, {"b": "x"}], "ü": "é"},
        "error": {"type": "E", "message": "m", "causes": []},
        "extra": {"level": 3},
        "duration_ms": 12,
        "failed": False,
        "date": "mine",
        "fields": {"f": 1},
    }
    write(layout, 1, lines(1, 3, **fields))
    with Store(tmp_path) as store:
        fresh = list(store.query(order="asc"))
        expected = [{"event_id": f"{SPOOL}-{n}"} | orjson.loads(lines(n, 1, **fields)[0]) for n in (1, 2, 3)]
        assert fresh == expected
        assert compact(layout).events == 3
        assert not layout.list_fresh()
        assert list(store.query(order="asc")) == expected
        assert store.get(f"{SPOOL}-2") == expected[1]
        assert store.get(f"{SPOOL}-9") is None


def test_what_does_not_fit_its_column_is_kept(tmp_path: Path) -> None:
    """A value of another type than its column's, and a time that is none, survive compaction."""
    layout = Layout(tmp_path)
    layout.create()
    layout.declare({"order_id": "integer"})
    odd = b'{"timestamp":"yesterday","level":"INFO","message":"m","order_id":"none","line":9999999999999999}'
    write(layout, 1, [odd])
    compact(layout)
    with Store(tmp_path) as store:
        (event,) = store.query()
    assert event["order_id"] == "none"
    assert event["message"] == "m"


@given(
    st.dictionaries(st.text(max_size=8), st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5))
)
def test_rewriting_loses_nothing(extras: dict[str, Any]) -> None:
    """Every value that is not null is in the row or in its `fields`."""
    event = {"event_id": "x-1", "timestamp": "2026-11-21T08:00:00.000000Z", **extras}
    made = Rewriter(columns({"a": "integer"})).row(orjson.dumps(event), "2026-01-01T00:00:00.000000Z")
    if made is None:
        assert type(event["event_id"]) is not str
        return
    row = orjson.loads(made[1])
    rest = row.pop("fields", {})
    found = rest | {name: value for name, value in row.items() if name not in rest}
    if "timestamp" in rest or event["timestamp"] is None:
        found.pop("timestamp") if event["timestamp"] is None else None
    assert found == {name: value for name, value in event.items() if value is not None}


def test_a_line_that_is_no_event_breaks_nothing(tmp_path: Path) -> None:
    """Malformed lines are passed over by queries, set aside by compaction, and counted."""
    layout = Layout(tmp_path)
    write(layout, 1, [*lines(1, 2), b'{"broken', b"[1]", *lines(5, 1)])
    with Store(tmp_path) as store:
        assert ids(store) == [f"{SPOOL}-1", f"{SPOOL}-2", f"{SPOOL}-5"]
        assert store.panel("volume")
        assert compact(layout).damaged == 2
        assert ids(store) == [f"{SPOOL}-1", f"{SPOOL}-2", f"{SPOOL}-5"]
        assert store.stats().damaged == 2
    assert layout.damaged.read_bytes().count(b"\n") == 2
    assert stat.S_IMODE(layout.damaged.stat().st_mode) == 0o600


def test_a_line_being_written_is_not_seen(tmp_path: Path) -> None:
    """A reader that meets a half-written line sees all others."""
    layout = Layout(tmp_path)
    write(layout, 1, lines(1, 2))
    with layout.list_fresh()[0].path.open("ab") as file:
        file.write(b'{"event_id":"' + SPOOL.encode() + b'-3","timest')
    with Store(tmp_path) as store:
        assert len(ids(store)) == 2


def test_partitioned_by_date_and_sorted(tmp_path: Path) -> None:
    """Parquet files lie under the UTC date of their events, in order of time, private."""
    import pandas as pd  # here: other workers need not have it

    layout = Layout(tmp_path)
    write(layout, 1, lines(1, 5, day=20) + lines(6, 5, day=19))
    compact(layout)
    paths = sorted(layout.events.rglob("*.parquet"))
    assert [path.parent.name for path in paths] == ["date=2026-11-19", "date=2026-11-20"]
    for path in paths:
        times = pd.read_parquet(path)["timestamp"]
        assert times.is_monotonic_increasing
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_plain_duckdb_and_pandas_read_it(tmp_path: Path) -> None:
    """Both halves are readable without any code of ours, as docs/local-store.md says."""
    import pandas as pd

    layout = Layout(tmp_path)
    write(layout, 1, lines(1, 10, order_id=5))
    compact(layout)
    write(layout, 11, lines(11, 4, order_id=5))
    fresh = duckdb.sql(
        f"SELECT event_id, message FROM read_json_auto('{tmp_path}/fresh/*.ndjson')"
    ).fetchall()
    files = f"read_parquet('{tmp_path}/events/**/*.parquet', hive_partitioning=true)"
    rows = duckdb.sql(f"SELECT event_id, message, fields->>'order_id', date FROM {files}").fetchall()
    assert len({row[0] for row in fresh + rows}) == 14
    assert {row[2] for row in rows} == {"5"}
    frame = pd.read_parquet(tmp_path / "events")
    assert len(frame) == 10
    assert str(frame["timestamp"].dtype).startswith("datetime64")
    assert json.loads(frame["fields"].iloc[0]) == {"order_id": 5}
    path = layout.list_fresh()[0].path
    assert len(pd.read_json(path, lines=True)) == 4


def test_small_files_are_merged(tmp_path: Path) -> None:
    """Many small files of a date become one, and every event stays there once."""
    layout = Layout(tmp_path)
    for number in range(9):
        write(layout, 1 + number * 3, lines(1 + number * 3, 3))
        compact(layout, now=lambda: NOW.timestamp() - 9 * 3600)
    with Store(tmp_path) as store:
        assert len(ids(store)) == len(set(ids(store))) == 27
        assert store.stats().parquet_files < 9
        compact(layout, now=lambda: NOW.timestamp() + 86_400)
        assert store.stats().parquet_files == 1
        assert len(ids(store)) == 27
    assert len(list(layout.events.rglob("*.parquet"))) == 1


def test_a_backlog_becomes_files_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file holds as many rows as can be sorted in memory, and is merged with the others after that."""
    monkeypatch.setattr("logferry.shipper.store.compact._PART_ROWS", 10)
    layout = Layout(tmp_path)
    write(layout, 1, lines(0, 35))
    write(layout, 36, lines(35, 5, day=20))
    report = compact(layout)
    assert (report.events, report.merged) == (40, 4)
    assert not list(layout.staging.iterdir())
    with Store(tmp_path) as store:
        assert ids(store) == sorted(f"{SPOOL}-{n}" for n in range(1, 41))


def test_only_one_compacts(tmp_path: Path) -> None:
    """A second compactor finds the lock held and leaves."""
    layout = Layout(tmp_path)
    write(layout, 1, lines(1, 3))
    other: list[str] = []
    compact(layout, step=lambda _: other.append(compact(layout).skipped))
    assert set(other) == {"another process is compacting"}


@pytest.mark.parametrize("late", ["split", "parquet", "placed", "manifest", "deleting"])
def test_readers_see_every_event_once_at_every_step(tmp_path: Path, late: str) -> None:
    """Whatever point compaction has reached, a query sees each event exactly once."""
    layout = Layout(tmp_path)
    write(layout, 1, lines(1, 5))
    write(layout, 1, lines(50, 5), "cd" * 16)
    seen: list[int] = []
    with Store(tmp_path) as store:
        compact(layout, step=lambda step: seen.append(len(ids(store))) if step == late else None)
        assert len(ids(store)) == 10
    assert seen == [10]


def test_retention_by_age_spares_what_has_just_come(tmp_path: Path) -> None:
    """Old events shipped today are kept for the age counted from today; later they go."""
    layout = Layout(tmp_path)
    write(layout, 1, lines(1, 5, day=1))
    now = [NOW.timestamp()]
    limits = Limits(age=7 * 86_400.0)
    assert compact(layout, limits, now=lambda: now[0]).expired == 0
    now[0] += 8 * 86_400
    assert compact(layout, limits, now=lambda: now[0]).expired == 5
    with Store(tmp_path) as store:
        assert ids(store) == []
        assert store.stats().expired == 5
    assert not list(layout.events.iterdir())
    # What retention removed is not stored again by a late retry.
    writer = StoreWriter(layout)
    assert writer.write(Batch(SPOOL, range(1, 6), lines(1, 5))) == Delivered(duplicates=5)


def test_retention_by_bytes_removes_the_oldest(tmp_path: Path) -> None:
    """When the store takes too much, the oldest files go until it fits."""
    layout = Layout(tmp_path)
    for number, day in enumerate((18, 19, 20)):
        write(layout, 1 + number * 100, lines(1 + number * 100, 100, day=day))
    compact(layout)
    with Store(tmp_path) as store:
        total = store.stats().parquet_bytes
        compact(layout, Limits(bytes=total - 1))
        assert store.stats().oldest.startswith("2026-11-19")
        assert len(ids(store)) == 200


def test_a_store_without_compaction_is_bounded_too(tmp_path: Path) -> None:
    """Sealed NDJSON files go, the oldest first, without DuckDB."""
    layout = Layout(tmp_path)
    writer = StoreWriter(layout, roll_bytes=1)
    for number in range(4):
        first = 1 + number * 100
        writer.write(Batch(SPOOL, range(first, first + 100), lines(first, 100)))
    size = sum(file.path.stat().st_size for file in layout.list_fresh())
    Compactor(layout, Limits(bytes=size // 2 + 2_000), patience=0).retain()
    assert [file.first for file in layout.list_fresh()] == [201, 301]


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(1, 1000)), max_size=20), st.integers(0, 5000))
def test_retention_keeps_within_bounds(ages: list[tuple[int, int]], bound: int) -> None:
    """What is left fits, and nothing older than what went is left."""
    files = []
    for number, (days, size) in enumerate(ages):
        newest = (NOW - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        files.append(ParquetFile(f"{number}", 1, size, newest, newest, NOW.timestamp() - days * 86_400))
    gone = expired_parquet(files, 0, Limits(50 * 86_400.0, bound), NOW.timestamp())
    left = [file for file in files if file not in gone]
    assert sum(file.bytes for file in left) <= bound
    assert all(file.stored >= NOW.timestamp() - 50 * 86_400 for file in left)
    assert not left or not gone or min(f.newest for f in left) >= max(f.newest for f in gone)


def test_open_files_do_not_expire() -> None:
    """A file that is being written is never removed."""
    file = FreshFile(Path("x"), SPOOL, 1, None)
    assert expired_fresh([(file, 100, 0.0)], Limits(1.0, 1), 1e9) == []


def test_merging_leaves_large_files_alone() -> None:
    """Large files, and a few small ones of today, are not rewritten."""
    large = [ParquetFile(f"date=2026-11-20/{n}", 1, 100 << 20, "", "", 0.0) for n in range(20)]
    few = [ParquetFile(f"date=2026-11-21/{n}", 1, 1000, "", "", 0.0) for n in range(7)]
    assert mergeable([*large, *few], "date=2026-11-21") == []
    assert len(mergeable([*large, *few], "date=2026-11-22")) == 7


def test_sql_reads_only(tmp_path: Path) -> None:
    """`sql` answers SELECT, and neither writes nor reads anything but the store's events."""
    layout = Layout(tmp_path / "store")
    write(layout, 1, lines(1, 3))
    (tmp_path / "secret.csv").write_text("a,b\n1,2\n")
    with Store(layout.path) as store:
        assert store.sql("FROM events SELECT count(*) AS n").columns == ("n",)
        assert store.sql("SELECT count(*) FROM events WHERE service = ?", ["s1"]).rows == [(1,)]
        for text in (
            f"COPY events TO '{tmp_path}/out.csv'",
            f"COPY events TO '{layout.fresh}/out.csv'",
            f"SELECT * FROM read_csv('{tmp_path}/secret.csv')",
            f"SELECT * FROM read_text('{layout.manifest}')",
            "SET enable_external_access=true",
            "SELECT 1; SELECT 2",
            "INSTALL httpfs",
            "CREATE TABLE t(a INTEGER)",
            "SELECT nothing FROM events",
            "not sql",
        ):
            with pytest.raises(StoreError):
                store.sql(text)


def test_no_store_is_said_so(tmp_path: Path) -> None:
    """A path without a store is an error that tells the path."""
    with pytest.raises(StoreError, match="no local store"):
        Store(tmp_path)


def test_order_limit_and_range(tmp_path: Path) -> None:
    """Queries honour order, limit, since (included) and until (not), over both halves."""
    layout = Layout(tmp_path)
    write(layout, 1, lines(1, 30))
    compact(layout)
    write(layout, 31, lines(31, 30))
    with Store(tmp_path, now=lambda: NOW) as store:
        newest = [event["message"] for event in store.query(limit=3)]
        assert newest == ["event 60", "event 59", "event 58"]
        assert [e["message"] for e in store.query(limit=2, order="asc")] == ["event 1", "event 2"]
        some = store.query(
            since="2026-11-21T08:00:29.000029+00:00",
            until=datetime(2026, 11, 21, 8, 0, 33, tzinfo=UTC),
            order="asc",
        )
        assert [e["message"] for e in some] == ["event 29", "event 30", "event 31", "event 32"]
        assert len(list(store.query(limit=None))) == 60
        assert len(list(store.query("level=ERROR", since="5h"))) == 6
        assert list(store.query(since="1m")) == []
        assert [e["message"] for e in store.trace(f"{8:032X}")] == [f"event {n}" for n in range(40, 45)]
        with pytest.raises(ValueError, match="write 15m"):
            store.query(since="noonish")


def test_panels_count_what_is_there(tmp_path: Path) -> None:
    """Every panel gives the numbers that were put in, from both halves together."""
    layout = Layout(tmp_path)
    access = {"kind": "access", "endpoint": "/a", "duration_ms": 7, "duration_le": "10"}
    write(layout, 1, lines(1, 8, **access, status_code=200, failed=False))
    compact(layout)
    write(
        layout, 9, lines(9, 2, **access, status_code=503) + lines(11, 2, **{**access, "duration_le": "+Inf"})
    )
    write(layout, 1, lines(20, 1, error={"type": "E", "message": "m"}), "cd" * 16)
    with Store(tmp_path, now=lambda: NOW) as store:
        assert sum(row["value"] * 60 for row in store.panel("qps", step=60)) == pytest.approx(12)
        assert [(r["duration_le"], r["count"]) for r in store.panel("heatmap", step=3600)] == [
            ("10", 10),
            ("+Inf", 2),
        ]
        (latency,) = store.panel("latency", step=3600)
        assert latency["p95"] == pytest.approx(7)
        worst = store.panel("top_errors", limit=1, filter="service=s0")
        assert worst == [
            {"service": "s0", "endpoint": "/a", "requests": 4, "failed": 1, "rate": pytest.approx(0.25)}
        ]
        assert len(store.panel("slowest")) == 3
        volume = {row["level"]: row["count"] for row in store.panel("volume", step=3600)}
        assert volume == {"ERROR": 2, "INFO": 11}
        assert {row["error"] for row in store.panel("errors")} == {"E: m", "event 10"}
        for name in PANELS:
            assert store.panel(name, since="1m") == []
        with pytest.raises(ValueError, match="one of qps"):
            store.panel("cpu")


def test_steps_suit_the_range() -> None:
    """A panel has at most 120 points, and its step is a round number."""
    assert [step_for(seconds) for seconds in (60, 3600, 86_400, 7 * 86_400, 400 * 86_400)] == [
        1,
        30,
        900,
        7200,
        4 * 86_400,
    ]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("now", NOW),
        ("15m", NOW - timedelta(minutes=15)),
        ("1h30m", NOW - timedelta(minutes=90)),
        ("2d ago", NOW - timedelta(days=2)),
        ("today", NOW.replace(hour=0)),
        ("yesterday", NOW.replace(hour=0, day=20)),
        ("08:30", NOW.replace(hour=8, minute=30)),
        ("18:30", NOW.replace(day=20, hour=18, minute=30)),
        ("2026-11-20", NOW.replace(hour=0, day=20)),
        ("2026-11-20T01:00+01:00", NOW.replace(hour=0, day=20)),
    ],
)
def test_times_as_people_write_them(text: str, meant: datetime) -> None:
    """Relative, by name, by the clock, and ISO 8601."""
    assert parse_moment(text, NOW) == meant


def test_tail_follows_through_sealing_and_compaction(tmp_path: Path) -> None:
    """What is written after the call is yielded once, though files are sealed and compacted meanwhile."""
    layout = Layout(tmp_path)
    write(layout, 1, lines(1, 5))
    moments = iter(range(6))

    def wait(_: float) -> None:
        match next(moments):
            case 0:
                write(layout, 6, lines(6, 5))
            case 1:
                compact(layout)
            case 2:
                write(layout, 11, lines(11, 5))
                with layout.list_fresh()[0].path.open("ab") as file:
                    file.write(b'{"event_id":"' + SPOOL.encode() + b'-16","message":"torn')

    from logferry.shipper.store.tail import follow

    with Store(tmp_path) as store:
        turns = iter([False, False, False, True])
        found = follow(layout, store.parse("event"), lambda: next(turns), wait=wait)
        assert [event["message"] for event in found] == [f"event {n}" for n in range(6, 16)]


def test_the_command_leaves_its_outcome(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What compaction did, or why it failed, is there to be asked for."""
    layout = Layout(tmp_path)
    write(layout, 1, lines(1, 5))
    assert main([str(tmp_path), "--now"]) == 0
    with Store(tmp_path) as store:
        assert (store.stats().compaction or {})["events"] == 5
        layout.manifest.write_text("nonsense")
        assert main([str(tmp_path)]) == 1
    assert "not a manifest" in capsys.readouterr().err


def test_a_limit_is_filled_from_many_files(tmp_path: Path) -> None:
    """A limited query looks no further than it must, and finds the right events wherever they lie."""
    layout = Layout(tmp_path)
    for number, day in enumerate(range(10, 20)):
        write(layout, 1 + number * 10, lines(1 + number * 10, 10, day=day))
        compact(layout)
    write(layout, 101, lines(101, 10, day=15))
    expected = [f"{SPOOL}-{n}" for n in [*range(1, 61), *range(101, 111), *range(61, 101)]]
    with Store(tmp_path) as store:
        assert store.stats().parquet_files == 10
        for limit in (1, 10, 11, 65, 109, 500):
            asc = [event["event_id"] for event in store.query(limit=limit, order="asc")]
            assert asc == expected[:limit]
            desc = [event["event_id"] for event in store.query(limit=limit)]
            assert desc == expected[::-1][:limit]
        errors = [event["event_id"] for event in store.query("level=ERROR", limit=4)]
        assert errors == [f"{SPOOL}-{n}" for n in (100, 90, 80, 70)]
