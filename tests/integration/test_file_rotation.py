"""Rotation of every kind, followed and found after a restart: every line once."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import shutil
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from backports import zstd
from programs.followed import Kept, followed, source, until

from logferry.shipper.config.fields import Duration
from logferry.shipper.sources.file_watch import Inotify, Noticed

pytestmark = pytest.mark.integration


def came(kept: Kept, *messages: str) -> None:
    """Wait until all of these are there, and see that nothing else is."""
    until(lambda: len(kept.messages) >= len(messages), lambda: kept.messages)
    assert sorted(kept.messages) == sorted(messages)


@pytest.fixture(params=["auto", "poll"])
def watch(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


def scans(running: Any, times: int) -> None:
    """Wait until it has looked for files so many times."""
    entrance, seen = running._entrance, []
    found = entrance.forget  # called at the end of each look

    def forget(here: Any) -> None:
        seen.append(here)
        found(here)

    running._entrance = Spy(entrance, forget)
    for number in range(times):
        running._scan_at = 0.0
        until(lambda number=number: len(seen) > number, lambda: "no scan")  # type: ignore[misc]
    running._entrance = entrance


class Spy:
    """Another's attributes, but one."""

    def __init__(self, of: Any, forget: Callable[[Any], None]) -> None:
        self._of, self.forget = of, forget

    def __getattr__(self, name: str) -> Any:
        return getattr(self._of, name)


LONG = [f"line {number} {'x' * 40}" for number in range(40)]
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "xz": lzma.compress,
    "zst": zstd.compress,
}


def write(path: Path, *lines: str, mode: str = "a") -> None:
    with path.open(mode) as file:
        file.write("".join(f"{line}\n" for line in lines))


def test_a_truncated_file_that_has_grown_beyond_its_old_end(tmp_path: Path, watch: str) -> None:
    """Not its length, its content shows that it is another one."""
    path, kept = tmp_path / "app.log", Kept()
    write(path, "one", "two")
    with followed(kept, path, watch=watch):
        came(kept, "one", "two")
        with path.open("r+") as file:
            file.truncate()
            file.write("three\nfour\nfive\n")
        came(kept, "one", "two", "three", "four", "five")


def test_copy_and_truncate_while_it_is_followed(tmp_path: Path, watch: str) -> None:
    """The copy is no new file; what had been read of its last line is read there to its end."""
    path, kept = tmp_path / "app.log", Kept()
    write(path, *LONG)
    with followed(kept, tmp_path / "app.log*", watch=watch, close_after=30.0) as running:
        came(kept, *LONG)
        with path.open("a") as file:
            file.write("a line wi")
        until(lambda: [t.at for t in running._tails.values()] == [path.stat().st_size], lambda: "unread")
        with path.open("a") as file:
            file.write("th an end\n")
            file.flush()
            shutil.copy(path, tmp_path / "app.log.1")
            os.truncate(path, 0)
        write(path, "new")
        came(kept, *LONG, "a line with an end", "new")
        write(path, "newer")
        came(kept, *LONG, "a line with an end", "new", "newer")


def test_truncated_within_a_line_without_a_copy(tmp_path: Path) -> None:
    """What had been read of the line is not kept back for ever."""
    path, kept = tmp_path / "app.log", Kept()
    path.write_text("one\nhal")
    with followed(kept, path, close_after=0.2) as running:
        until(lambda: [tail.at for tail in running._tails.values()] == [7], lambda: kept.messages)
        path.write_text("new\n")
        came(kept, "one", "hal", "new")


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
def test_nothing_is_watched_on_a_network_file_system(tmp_path: Path) -> None:
    """Nobody would tell what another machine writes there."""
    inotify_simple = pytest.importorskip("inotify_simple")
    for local in (True, False):
        watch = Inotify(inotify_simple.INotify(), lambda _path, local=local: local)
        assert watch.watch_directories({str(tmp_path)}) is local
        write(tmp_path / "a", "one")
        assert watch.watch_file(str(tmp_path / "a"), 7) is local
        write(tmp_path / "a", "two")
        assert watch.wait(0) == (Noticed(frozenset([7]), names=True) if local else Noticed())
        (tmp_path / "a").unlink()
        watch.close()


def test_a_copy_that_is_never_truncated_is_not_read(tmp_path: Path, watch: str) -> None:
    """`cp app.log app.log.bak`; but another file that begins alike is read as soon as it differs."""
    path, kept = tmp_path / "app.log", Kept()
    write(path, *LONG)
    with followed(kept, tmp_path / "*.log*", watch=watch):
        came(kept, *LONG)
        shutil.copy(path, tmp_path / "app.log.bak")
        write(tmp_path / "app.log.2", *LONG, "differs")
        write(path, "new")
        came(kept, *LONG, *LONG, "differs", "new")


def test_a_copy_in_the_making(tmp_path: Path, watch: str) -> None:
    """Empty, shorter than what a beginning is told by, half: it waits, and so does an archive."""
    path, kept = tmp_path / "app.log", Kept()
    write(path, *LONG)
    content = path.read_bytes()
    archive = gzip.compress(b"".join(b"archived %d\n" % number for number in range(300)))
    with followed(kept, tmp_path / "*.log*", watch=watch) as running:
        came(kept, *LONG)
        with (tmp_path / "app.log.1").open("wb", buffering=0) as copy:
            for at, end in ((0, 0), (0, 7), (7, 500), (500, len(content))):
                copy.write(content[at:end])
                scans(running, 2)
        with (tmp_path / "old.log.gz").open("wb", buffering=0) as packed:
            for at, end in ((0, 0), (0, 1), (1, len(archive))):
                packed.write(archive[at:end])
                scans(running, 2)
        os.truncate(path, 0)
        write(path, "new")
        came(kept, *LONG, "new", *[f"archived {number}" for number in range(300)])


def test_two_files_with_the_same_content_are_two(tmp_path: Path) -> None:
    """Equal files are copies only under names that rotation makes."""
    kept = Kept()
    write(tmp_path / "web-1.log", "starting")
    write(tmp_path / "web-2.log", "starting")
    with followed(kept, tmp_path / "*.log"):
        came(kept, "starting", "starting")


def test_a_file_that_is_removed_and_made_again(tmp_path: Path, watch: str) -> None:
    """What stood in it before it was removed is read, and the new one from its start."""
    path, kept = tmp_path / "app.log", Kept()
    write(path, "one")
    with followed(kept, path, watch=watch):
        came(kept, "one")
        with path.open("a") as file:
            path.unlink()
            write(path, "three")
            file.write("two\n")
        came(kept, "one", "two", "three")


def test_an_inode_that_is_used_again(tmp_path: Path) -> None:
    """The inode of a removed file, in a new one: its content decides."""
    path, kept = tmp_path / "app.log", Kept()
    write(path, "one")
    source(kept, path).run(once=True)
    with path.open("r+") as file:  # the same inode in any file system: as good as another file
        file.truncate()
        file.write("another\nand more\n")
    source(kept, path).run(once=True)
    assert kept.messages == ["one", "another", "and more"]


def test_a_date_in_the_name_and_a_link_that_moves(tmp_path: Path, watch: str) -> None:
    """A new file every day, and `current.log`, which leads to the newest: each is read once."""
    kept, link = Kept(), tmp_path / "current.log"
    write(tmp_path / "app-2026-11-20.log", "one")
    link.symlink_to("app-2026-11-20.log")
    with followed(kept, tmp_path / "*.log", watch=watch):
        came(kept, "one")
        write(tmp_path / "app-2026-11-21.log", "two")
        link.unlink()
        link.symlink_to("app-2026-11-21.log")
        came(kept, "one", "two")
        write(link, "three")
        write(tmp_path / "app-2026-11-20.log", "late")
        came(kept, "one", "two", "three", "late")


def test_only_a_link_that_moves(tmp_path: Path, watch: str) -> None:
    """The pattern finds the link alone."""
    kept, link = Kept(), tmp_path / "current.log"
    for name in ("a", "b"):
        write(tmp_path / name, f"in {name}")
    link.symlink_to("a")
    with followed(kept, link, watch=watch):
        came(kept, "in a")
        (tmp_path / "next").symlink_to("b")
        (tmp_path / "next").rename(link)
        came(kept, "in a", "in b")
        write(tmp_path / "b", "more")
        came(kept, "in a", "in b", "more")


@pytest.mark.parametrize("kind", PACKERS)
def test_a_compressed_predecessor_is_not_read_again(tmp_path: Path, kind: str) -> None:
    """Rotated and compressed while nobody looked: only what had not been read is read from it, once."""
    path, kept = tmp_path / "app.log", Kept()
    write(path, *LONG[:30])
    source(kept, tmp_path / "app.log*").run(once=True)
    write(path, *LONG[30:])
    packed = tmp_path / f"app.log.2.{kind}"
    packed.write_bytes(PACKERS[kind](path.read_bytes()))
    path.unlink()
    write(path, "new")
    for _ in range(2):
        source(kept, tmp_path / "app.log*").run(once=True)
        assert sorted(kept.messages) == sorted([*LONG, "new"])
    packed.rename(tmp_path / f"app.log.3.{kind}")
    source(kept, tmp_path / "app.log*").run(once=True)
    assert len(kept.messages) == len(LONG) + 1


def test_compressed_while_it_is_followed(tmp_path: Path, watch: str) -> None:
    """rename, compress, remove, as logrotate does it."""
    path, kept = tmp_path / "app.log", Kept()
    write(path, *LONG)
    patient = Duration(30.0)  # what is being compressed must not be taken for broken on a busy machine
    with followed(kept, tmp_path / "app.log*", watch=watch, close_after=patient):
        came(kept, *LONG)
        path.rename(tmp_path / "app.log.1")
        write(path, "new")
        content = gzip.compress((tmp_path / "app.log.1").read_bytes())
        (tmp_path / "app.log.1.gz").write_bytes(content[:100])
        came(kept, *LONG, "new")
        (tmp_path / "app.log.1.gz").write_bytes(content)
        (tmp_path / "app.log.1").unlink()
        (tmp_path / "old.log.gz").write_bytes(content)
        write(path, "newer")
        came(kept, *LONG, "new", "newer")
        time.sleep(0.3)  # nothing more may come
        came(kept, *LONG, "new", "newer")


def test_archives_of_before_are_read_whole(tmp_path: Path) -> None:
    """Several streams behind one another, an end that is missing, and what is no archive at all."""
    kept = Kept()
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"one\ntw") + gzip.compress(b"o\nthree"))
    (tmp_path / "b.xz").write_bytes(lzma.compress(b"four\n" * 3))
    (tmp_path / "c.zst").write_bytes(zstd.compress(b"five\n") + zstd.compress(b"six\n"))
    (tmp_path / "d.bz2").write_bytes(bz2.compress(b"seven\n"))
    source(kept, tmp_path / "*").run(once=True)
    assert kept.messages == ["one", "two", "three", "four", "four", "four", "five", "six"]
    (tmp_path / "e.gz").write_bytes(gzip.compress("".join(LONG).encode())[:-9])
    (tmp_path / "f.gz").write_bytes(b"\x1f\x8b\x08\x00garbage")
    with pytest.raises(Exception, match=r"e\.gz ends in the middle.*f\.gz"):
        source(kept, tmp_path / "*").run(once=True)


def test_a_bomb_is_taken_in_pieces(tmp_path: Path) -> None:
    """A line of 64 MiB in an archive of 64 KiB: cut, in bounded memory."""
    kept = Kept()
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"x" * (64 << 20) + b"\nend\n"))
    tracemalloc.start()
    source(kept, tmp_path / "a.gz").run(once=True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept.messages[1:] == ["end"]
    assert json.loads(kept.lines[0])["line_cut_bytes"] == (64 << 20) - (256 << 10)
    assert peak < 8 << 20


def test_encodings(tmp_path: Path) -> None:
    """UTF-16 by its mark or by name, latin-1, and bytes that are none: nothing is dropped or guessed."""
    kept = Kept()
    (tmp_path / "a").write_bytes("größe\n€ 3\n😀".encode("utf-16"))
    (tmp_path / "b").write_bytes("\ufefföl\n".encode())
    (tmp_path / "c").write_bytes(b"bad \xff byte\n")
    source(kept, tmp_path / "?").run(once=True)
    assert kept.messages == ["größe", "€ 3", "😀", "öl", "bad \ufffd byte"]
    with (tmp_path / "a").open("ab") as file:
        file.write("\nlater\n".encode("utf-16-le"))
    source(kept, tmp_path / "a").run(once=True)
    assert kept.messages[5:] == ["later"]
    other = Kept()
    (tmp_path / "d").write_bytes("grün\n".encode("utf-16-le"))
    source(other, tmp_path / "d", encoding="utf-16").run(once=True)
    (tmp_path / "e").write_bytes("grün\n".encode("latin-1"))
    source(other, tmp_path / "e", encoding="latin-1").run(once=True)
    assert other.messages == ["grün", "grün"]


def test_what_is_older_is_begun_at_its_end(tmp_path: Path) -> None:
    """`ignore_older` is about files that are new to it."""
    kept = Kept()
    write(tmp_path / "old.log", "old")
    write(tmp_path / "new.log", "new")
    os.utime(tmp_path / "old.log", (1e9, 1e9))
    (tmp_path / "old.log.1.gz").write_bytes(gzip.compress(b"older\n"))
    os.utime(tmp_path / "old.log.1.gz", (1e9, 1e9))
    with followed(kept, tmp_path / "*.log*", ignore_older=3600.0):
        came(kept, "new")
        write(tmp_path / "old.log", "newer")
        came(kept, "new", "newer")


def test_a_flood_does_not_keep_a_trickle_waiting(tmp_path: Path) -> None:
    """A line that is written while much waits in another file comes after a bounded part of that."""
    whole = 1 << 21

    class Counting(Kept):
        before = 0  # lines before the trickle's

        def append(self, lines: Sequence[bytes], position: bytes = b"", part: str = "") -> int:
            if not self.places:
                write(tmp_path / "trickle.log", "trickle")
            if len(self.places) < 2:
                self.before += len(lines)
            return super().append([], position, part)

    kept = Counting()
    (tmp_path / "flood.log").write_bytes(b"flood, flood, flood\n" * whole)
    with followed(kept, tmp_path / "*.log"):
        until(lambda: len(kept.places) == 2, lambda: kept.before)
    assert kept.before < whole // 2
