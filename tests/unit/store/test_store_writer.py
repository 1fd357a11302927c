"""The store's writer: durable, once in effect, whole after a crash."""

from __future__ import annotations

import errno
import io
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logferry.shipper.model import Batch, Delivered, Retry
from logferry.shipper.store import writer as writer_module
from logferry.shipper.store.layout import Layout, Manifest
from logferry.shipper.store.writer import StoreWriter, frame, seal, whole

SPOOL = "ab" * 16


def batch(first: int, count: int, spool: str = SPOOL) -> Batch:
    numbers = range(first, first + count)
    return Batch(spool, numbers, [b'{"message":"m%d"}' % n for n in numbers])


def stored(layout: Layout, spool: str = SPOOL) -> list[int]:
    """Return the sequences in a store's fresh files, in the order of the files."""
    head = f'{{"event_id":"{spool}-'
    found = []
    for file in layout.list_fresh():
        if file.spool == spool:
            lines = file.path.read_text().splitlines()
            found += [int(line.removeprefix(head).partition('"')[0]) for line in lines]
    return found


def test_a_batch_is_framed_not_rebuilt() -> None:
    """The event id stands in front of the line, whose bytes stay as they were."""
    one = Batch(SPOOL, [7, 9], [b'{"a": 1 , "b":"%s"}', b"{}"])
    head = b'{"event_id":"' + SPOOL.encode()
    assert frame(one) == head + b'-7","a": 1 , "b":"%s"}\n' + head + b'-9"}\n'


def test_files_are_private(tmp_path: Path) -> None:
    """Directories are 0700 and files 0600."""
    layout = Layout(tmp_path / "store")
    StoreWriter(layout).write(batch(1, 3))
    layout.write_manifest(Manifest())
    layout.declare({"a": "string"})
    for path in [layout.path, *layout.path.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_retry_is_stored_once(tmp_path: Path) -> None:
    """The same batch again, or one that overlaps, adds only what is new; the rest counts as duplicates."""
    layout = Layout(tmp_path)
    writer = StoreWriter(layout)
    assert writer.write(batch(1, 5)) == Delivered()
    assert writer.write(batch(1, 5)) == Delivered(duplicates=5)
    assert writer.write(batch(4, 4)) == Delivered(duplicates=2)
    assert stored(layout) == [1, 2, 3, 4, 5, 6, 7]


def test_a_retry_after_a_restart_is_stored_once(tmp_path: Path) -> None:
    """Another writer knows from the files what is there: the open one, sealed ones, and the manifest."""
    layout = Layout(tmp_path)
    StoreWriter(layout).write(batch(1, 5))
    assert StoreWriter(layout).write(batch(3, 4)) == Delivered(duplicates=3)
    (file,) = layout.list_fresh()
    sealed = seal(file)
    assert sealed is not None
    assert sealed.last == 6
    assert StoreWriter(layout).write(batch(6, 2)) == Delivered(duplicates=1)
    layout.write_manifest(Manifest(high_water={SPOOL: (6, 0.0)}))
    sealed.path.unlink()
    assert stored(layout) == [7]
    assert StoreWriter(layout).write(batch(5, 5)) == Delivered(duplicates=3)
    assert stored(layout) == [7, 8, 9]


def test_a_file_sealed_under_the_writer_is_not_written_again(tmp_path: Path) -> None:
    """A writer notices that its file was sealed by the compactor, and begins the next one."""
    layout = Layout(tmp_path)
    writer = StoreWriter(layout)
    writer.write(batch(1, 5))
    assert seal(layout.list_fresh()[0]) is not None
    assert writer.write(batch(1, 7)) == Delivered(duplicates=5)
    assert [(file.first, file.last) for file in layout.list_fresh()] == [(1, 5), (6, None)]


def test_spools_have_files_of_their_own(tmp_path: Path) -> None:
    """Batches of several spools (an adopted one) go through one writer."""
    layout = Layout(tmp_path)
    writer = StoreWriter(layout)
    other = "cd" * 16
    writer.write(batch(1, 2))
    writer.write(batch(100, 2, other))
    writer.write(batch(3, 2))
    assert stored(layout) == [1, 2, 3, 4]
    assert stored(layout, other) == [100, 101]


def test_few_files_are_kept_open(tmp_path: Path) -> None:
    """Spools of many dead processes come by, and back again: all is stored once, in few open files."""
    layout = Layout(tmp_path)
    writer = StoreWriter(layout)
    spools = [f"{number:032x}" for number in range(30)]
    before = len(list(Path("/dev/fd").iterdir()))
    for _ in range(2):
        for spool in spools:
            assert isinstance(writer.write(batch(1, 3, spool)), Delivered)
    assert writer.write(batch(1, 3, spools[0])) == Delivered(duplicates=3)
    assert len(list(Path("/dev/fd").iterdir())) <= before + writer_module.OPEN_FILES
    assert all(stored(layout, spool) == [1, 2, 3] for spool in spools)
    writer.close()


@pytest.mark.parametrize("by", ["bytes", "age"])
def test_files_are_rolled(tmp_path: Path, by: str) -> None:
    """A file is sealed when it is large or old enough."""
    now = [0.0]
    layout = Layout(tmp_path)
    sealed: list[int] = []
    writer = StoreWriter(
        layout,
        roll_bytes=1 if by == "bytes" else 1 << 20,
        roll_age=10.0,
        clock=lambda: now[0],
        on_seal=lambda: sealed.append(1),
    )
    writer.write(batch(1, 2))
    if by == "age":
        assert not sealed
        now[0] = 10.0
    writer.write(batch(3, 2))
    assert [(f.first, f.last) for f in layout.list_fresh()] == (
        [(1, 2), (3, 4)] if by == "bytes" else [(1, 4)]
    )
    assert sealed


@given(cut=st.integers(0, 400), data=st.data())
@settings(max_examples=150)
def test_what_is_torn_is_found(cut: int, data: st.DataObject) -> None:
    """Wherever a file ends, or turns into zeros, exactly its whole lines before that are kept."""
    content = frame(batch(1, 8))
    torn = content[:cut]
    if data.draw(st.booleans()):
        torn += b"\0" * (len(content) - cut) + frame(batch(9, 1))
    good, last = whole(io.BytesIO(torn), SPOOL)
    assert content[:good] == torn[:good]
    assert last == torn[:cut].count(b"\n")
    assert good == content[:cut].rfind(b"\n") + 1


def test_what_others_have_put_away_is_let_go(tmp_path: Path) -> None:
    """A file that was sealed and removed meanwhile is not held open until there are too many of them."""
    layout = Layout(tmp_path)
    writer = StoreWriter(layout)
    for n in range(3):
        writer.write(Batch(f"{n:032x}", range(1, 2), [b'{"a":1}']))
    for file in layout.list_fresh():
        file.path.unlink()
    writer.write(batch(1, 1))
    held = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the listing's own
            held.append(str(link.readlink()))
    assert not [name for name in held if name.startswith(str(tmp_path)) and name.endswith("(deleted)")]
    writer.close()


def test_a_store_that_was_away_is_not_left_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever cannot be looked at while a file is opened: the next try has it."""
    layout = Layout(tmp_path)
    writer = StoreWriter(layout)
    assert writer.write(Batch("cd" * 16, range(1, 2), [b'{"a":1}'])) == Delivered()
    real = writer_module._is_still
    for calls in range(4):
        left = [True] * calls + [False]

        def still(fd: int, path: Path, left: list[bool] = left) -> bool:
            if left and not left.pop(0):
                raise NotADirectoryError(errno.ENOTDIR, "a file is in its place")
            return real(fd, path)

        with monkeypatch.context() as patch:
            patch.setattr(writer_module, "_is_still", still)
            writer.write(batch(calls + 1, 1))
        assert isinstance(writer.write(batch(calls + 1, 1)), Delivered)
        writer._forget(SPOOL)
    writer.close()


def test_a_torn_tail_is_cut_at_reopen(tmp_path: Path) -> None:
    """What a killed writer left unfinished is cut, and comes again with the retry."""
    layout = Layout(tmp_path)
    StoreWriter(layout).write(batch(1, 3))
    path = layout.list_fresh()[0].path
    with path.open("ab") as file:
        file.write(frame(batch(4, 2))[:-5])
    assert StoreWriter(layout).write(batch(4, 2)) == Delivered(duplicates=1)
    assert stored(layout) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("code", "pause", "told"), [(errno.ENOSPC, True, "disk is full"), (errno.EIO, False, "Input/output")]
)
@pytest.mark.parametrize("when", ["write", "sync"])
def test_a_failed_append_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, pause: bool, told: str, when: str
) -> None:
    """Half a write or a failed fsync leaves nothing of the batch; the retry stores it once."""
    layout = Layout(tmp_path)
    writer = StoreWriter(layout)
    writer.write(batch(1, 3))
    size = layout.list_fresh()[0].path.stat().st_size
    real = os.write

    def half(fd: int, data: Any) -> int:
        if len(data) < 40:
            raise OSError(code, os.strerror(code))
        return real(fd, data[: len(data) // 2])

    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        if when == "write":
            patch.setattr(os, "write", half)
        else:
            patch.setattr(writer_module, "_sync", fail)
        verdict = writer.write(batch(4, 3))
    assert isinstance(verdict, Retry)
    assert verdict.pause is pause
    assert told in verdict.reason
    assert layout.list_fresh()[0].path.stat().st_size == size
    assert writer.write(batch(4, 3)) == Delivered()
    assert stored(layout) == [1, 2, 3, 4, 5, 6]


def test_a_held_file_means_retry(tmp_path: Path) -> None:
    """While another process holds the spool's file nothing is written, and the batch is asked for again."""
    layout = Layout(tmp_path)
    writer, other = StoreWriter(layout), StoreWriter(layout)
    writer.write(batch(1, 1))
    held = other._hold(batch(2, 1))
    assert isinstance(writer.write(batch(2, 1)), Retry)
    os.close(held.fd)
    other._open.clear()
    assert writer.write(batch(2, 1)) == Delivered()


def test_a_place_that_cannot_be_made_means_pause(tmp_path: Path) -> None:
    """A file where the directory should be is something people have to mend."""
    (tmp_path / "store").write_text("")
    verdict = StoreWriter(Layout(tmp_path / "store")).write(batch(1, 1))
    assert isinstance(verdict, Retry)


def test_declared_fields_keep_their_first_type(tmp_path: Path) -> None:
    """Services that declare the same field differently do not change it under each other."""
    layout = Layout(tmp_path)
    layout.create()
    layout.declare({"a": "integer"})
    layout.declare({"a": "string", "b": "number"})
    assert layout.read_declared() == {"a": "integer", "b": "number"}
