"""Fresh lines that a reader keeps as Parquet: what is read is what is in the files."""

from __future__ import annotations

import errno
import functools
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logferry.shipper.model import Batch, Delivered
from logferry.shipper.store import Store, query
from logferry.shipper.store.compact import Compactor
from logferry.shipper.store.layout import Layout
from logferry.shipper.store.pieces import Pieces
from logferry.shipper.store.writer import StoreWriter

SPOOL = "ab" * 16
COLUMNS = {"event_id": "string"}

STEPS = st.one_of(
    st.tuples(st.just("append"), st.text("abc\n", min_size=1, max_size=9)),
    st.tuples(st.just("cut"), st.integers(1, 12)),
    st.tuples(st.just("seal"), st.none()),
    st.tuples(st.just("gone"), st.none()),
)


def _copied(lines: Path, target: Path) -> None:
    shutil.copyfile(lines, target)


@settings(max_examples=40)
@given(st.lists(STEPS, min_size=2, max_size=12))
def test_pieces_and_lines_are_the_file(steps: list[tuple[str, Any]]) -> None:
    """Whatever is appended, cut, written anew, sealed or deleted between two looks."""
    with TemporaryDirectory() as name:
        place = Path(name)
        scratch = place / "scratch"
        scratch.mkdir()
        pieces = Pieces(scratch, (), least=1)
        file = place / f"{SPOOL}-000000000001.ndjson"
        for kind, what in steps:
            there = file.read_bytes() if file.exists() else b""
            if kind == "append":
                file.write_bytes(there + what.encode())
            elif kind == "cut" and file.exists():
                # What is written in its place differs: each line of the store has a number of its own.
                file.write_bytes(there[:-what] + b"z" * (what % 3))
            elif kind == "gone":
                file.unlink(missing_ok=True)
            elif file.exists() and file.name.count("-") == 1:
                file = file.rename(place / f"{SPOOL}-000000000001-000000000009.ndjson")
            given_files = [file] if file.exists() else []
            for _ in range(2):  # a second time: what is asked for again becomes a piece
                with pieces.look(given_files, COLUMNS, _copied) as found:
                    made, lines = found
                    read = b"".join(one.read_bytes() for one in (*made, *lines))
                    assert read == (file.read_bytes() if given_files else b"")
                    assert all(one.read_bytes().endswith(b"\n") for one in made)
            assert {one.name for one in scratch.iterdir()} == {one.name for one in made}


def write(layout: Layout, first: int, count: int) -> None:
    """Append events to the store's open file."""
    events = [
        orjson.dumps({"timestamp": f"2026-11-21T10:00:{n % 60:02}.{n:06}Z", "level": "INFO", "order": n})
        for n in range(first, first + count)
    ]
    writer = StoreWriter(layout)
    assert isinstance(writer.write(Batch(SPOOL, range(first, first + count), events)), Delivered)
    writer.close()


def test_a_store_in_use_sees_what_comes_and_what_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New lines, a field declared later, and compaction, in a store whose lines have become pieces."""
    monkeypatch.setattr(query, "Pieces", functools.partial(Pieces, least=1))
    layout = Layout(tmp_path)
    layout.create()
    write(layout, 1, 100)
    with Store(tmp_path) as store:
        for asked in range(1, 4):
            write(layout, 100 * asked + 1, 100)
            assert store.sql("SELECT count(*), count(DISTINCT event_id) FROM events").rows == [
                (100 * asked + 100, 100 * asked + 100)
            ]
        assert store._connected is not None
        scratch = store._connected[1]._scratch
        assert any(one.suffix == ".parquet" for one in scratch.iterdir())
        assert [event["order"] for event in store.query("order=250")] == [250]
        layout.declare({"order": "integer"})
        assert store.sql('SELECT max("order"), sum("order") FROM events').rows == [(400, 400 * 401 // 2)]
        Compactor(layout, settle=0, idle=0, patience=0.2).run()
        assert store.sql("SELECT count(*) FROM events").rows == [(400,)]
        assert not [*scratch.iterdir()]


def test_without_room_for_pieces_lines_are_read(tmp_path: Path) -> None:
    """A full disk under the scratch directory costs time, no answers."""
    scratch, file = tmp_path / "scratch", tmp_path / f"{SPOOL}-000000000001.ndjson"
    scratch.mkdir()
    file.write_bytes(b"a\nb\n")
    pieces = Pieces(scratch, (duckdb.Error,), least=1)

    def full(_: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "no space left on device")

    for _ in range(3):
        with pieces.look([file], COLUMNS, full) as found:
            assert found == ((), (file,))
    assert not [*scratch.iterdir()]
