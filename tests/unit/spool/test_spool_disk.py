"""Where a spool lies: file systems, syncing, being killed between two steps, files that cannot be read."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from logferry.shipper.model import Account
from logferry.shipper.ports import Cursor, Outcome
from logferry.shipper.spool import Spool, SpoolSet, SpoolSettings, audit
from logferry.shipper.spool.books import SLOT, Books, BooksFile
from logferry.shipper.spool.directory import Home, file_name, name_of
from logferry.shipper.spool.mounts import maps_are_safe
from logferry.shipper.spool.segment import WritableFile

MOUNTS = r"""
21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
22 21 0:20 / /mnt/nfs rw - nfs4 server:/export rw
23 21 0:21 / /mnt/with\040space rw - fuse.sshfs host:/ rw
24 21 0:22 / /mnt/nfs/local rw - xfs /dev/vdb rw
"""


@pytest.mark.parametrize(
    ("path", "safe"),
    [
        ("/var/lib/logferry", True),
        ("/mnt/nfs/spool", False),
        ("/mnt/nfsx", True),
        ("/mnt/with space/spool", False),
        ("/mnt/nfs/local/spool", True),
    ],
)
def test_only_local_file_systems_are_mapped(path: str, safe: bool) -> None:
    """The innermost mount decides; network, FUSE and unknown ones are written, not mapped."""
    assert maps_are_safe(Path(path), MOUNTS) is safe


@pytest.mark.parametrize("sync", ["always", 1.0])
@pytest.mark.parametrize("mapped", [True, False])
def test_written_or_mapped_is_the_same(make_spool: Callable[..., Spool], mapped: bool, sync: str) -> None:
    """With `pwrite` instead of a map, synced at once or later, the same events come out."""
    spool = make_spool(sync=sync, options={"mapped": lambda _: mapped})
    sent = [b"%d" % n * 100 for n in range(100)]
    assert all(spool.offer(line) for line in sent)
    spool.sync()
    segment = spool._segment
    assert isinstance(segment, WritableFile)
    assert segment.mapped is mapped
    batch = spool.cursor("a").read(1000, 1 << 20)
    assert batch is not None
    assert list(batch.lines) == sent


def _drain(cursor: Cursor) -> list[bytes]:
    lines: list[bytes] = []
    while (batch := cursor.read(1000, 1 << 20)) is not None:
        lines += batch.lines
        cursor.commit(batch.sequences[-1], Outcome(delivered=len(batch)))
    return lines


@contextmanager
def _largest_file(size: int) -> Iterator[None]:
    """Let no file of this process be written beyond `size`: what crosses it is a short write, then EFBIG."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("kind", ["event", "lines"])
@pytest.mark.parametrize("torn", [0, 10, 24, 300])
def test_a_write_that_fails_burns_no_sequence(make_spool: Callable[..., Spool], torn: int, kind: str) -> None:
    """Refused in the middle of a frame, an event is delivered once, and nothing is counted as lost."""
    spool = make_spool(options={"mapped": lambda _: False})
    sent = [b"%04d" % n * 100 for n in range(150)]
    for line in sent[:100]:
        spool.offer(line)
    with _largest_file(spool._segment.pos + torn):
        for line in sent[100:]:
            assert spool.offer(line) if kind == "event" else spool.append([line], b"p", "s")
    assert spool.accepted == len(sent)
    cursor = spool.cursor("a")
    spool.close()  # of a living owner a reader would wait for the end of what is torn
    assert _drain(cursor) == sent
    expected = Account(accepted=150, delivered=150)
    assert cursor.account() == expected
    report = audit(spool.home.path.parent.parent)
    assert report.problems == []
    assert report.accounts["shop", "a"] == expected


def test_a_sync_that_fails_delivers_once(
    make_spool: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under `sync: always` the frame is there when the disk says no; it is not there twice."""
    spool = make_spool(sync="always")
    spool.offer(b"first")
    real, left = WritableFile.sync, [OSError(errno.EIO, "no")]

    def sync(segment: WritableFile) -> None:
        if left:
            raise left.pop()
        real(segment)

    monkeypatch.setattr(WritableFile, "sync", sync)
    assert spool.offer(b"second")
    assert spool.offer(b"third")
    cursor = spool.cursor("a")
    assert _drain(cursor) == [b"first", b"second", b"third"]
    assert cursor.account() == Account(accepted=3, delivered=3)


def test_a_cursor_file_that_was_never_written_is_no_damage(make_spool: Callable[..., Spool]) -> None:
    """Killed after the file was made and before its first books: all is pending, and nothing is wrong."""
    spool = make_spool()
    spool.offer(b"{}")
    path = spool.home.path
    spool.close()
    (path / "cursors").mkdir()
    for size in (0, 2 * SLOT):
        (path / "cursors" / "a").write_bytes(bytes(size))
        report = audit(path.parent.parent)
        assert report.problems == []
        assert report.accounts["shop", "a"] == Account(accepted=1, pending=1)
    (adopted,) = SpoolSet(spool.settings).adopt()
    assert _drain(adopted.cursor("a")) == [b"{}"]
    adopted.close()


def test_killed_between_ledger_and_removal_counts_once(
    make_spool: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spool that is in the ledger and still there is removed, not counted again."""
    spool = make_spool()
    spool.offer(b"{}")
    cursor = spool.cursor("a")
    assert cursor.read(1, 10) is not None
    cursor.commit(1, Outcome(delivered=1))
    spool.close()
    with monkeypatch.context() as patch:
        patch.setattr(Home, "remove", lambda _self: None)
        SpoolSet(spool.settings, spool).reclaim(["a"])
    spool.home.close()
    spools = SpoolSet(spool.settings)
    expected = Account(accepted=1, delivered=1)
    assert spools.accounts(["a"])["a"] == expected
    assert spools.adopt() == []
    assert not Path(spool.home.path).exists()
    assert spools.accounts(["a"])["a"] == expected


def test_a_ledger_that_cannot_be_read_is_kept_aside(
    make_spool: Callable[..., Spool], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rubbish in the ledger raises nothing, is reported, and is not overwritten."""
    service = tmp_path / "spool" / "shop"
    service.mkdir(parents=True)
    (service / "ledger.json").write_bytes(b"rubbish")
    spool = make_spool()
    spool.offer(b"{}")
    cursor = spool.cursor("a")
    assert cursor.read(1, 10) is not None
    cursor.commit(1, Outcome(delivered=1))
    spool.close()
    spools = SpoolSet(spool.settings, spool)
    spools.reclaim(["a"])
    assert (service / "ledger.json.damaged").read_bytes() == b"rubbish"
    assert spools.accounts(["a"])["a"].delivered == 1


def test_a_torn_cursor_slot_leaves_the_one_before(tmp_path: Path) -> None:
    """Whatever is cut off or changed in the newer slot, the older one is read."""
    home = Home.create(tmp_path / "spool", "shop", "ab" * 16, group=None, started=0.0)
    file = BooksFile("a")
    for sequence in (1, 2, 3):
        assert file.save(home, Books(sequence=sequence))
    path = home.path / "cursors" / "a"
    whole = path.read_bytes()
    for at in range(SLOT, SLOT + 150):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        books = BooksFile("a").load(home)
        assert books is not None
        assert books.sequence in (2, 3)
    home.close()


@pytest.mark.parametrize("name", ["a", "../x", "..", ".", "", "a/b", "ä b", "%", "lock", ".lock"])
def test_names_become_one_component_and_back(name: str) -> None:
    """Service and sink names never leave their directory, and can be read back."""
    component = file_name(name)
    assert component not in ("", ".", "..")
    assert "/" not in component
    assert not component.startswith(".")
    assert name_of(component) == name


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    """A spool's whole life leaves no descriptor behind."""
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - counts only
    for _ in range(3):
        spool = Spool(SpoolSettings(tmp_path / "spool", "shop"))
        for _ in range(1000):
            spool.offer(b"x" * 400)
        cursor = spool.cursor("a")
        while (batch := cursor.read(100, 1 << 20)) is not None:
            cursor.commit(batch.sequences[-1], Outcome(delivered=len(batch)))
        spool.sync()
        spool.close()
        spools = SpoolSet(spool.settings, spool)
        spools.reclaim(["a"])
        cursor.close()
        spools.close()
    assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208 - counts only
