"""Pages of the map are there before a log call needs them, and given back when none will."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from logferry.shipper.spool import Spool
from logferry.shipper.spool.settings import SpoolSettings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pages are asked for on Linux only")
LINE = b'{"message":"' + b"x" * 480 + b'"}'
KIB = 1024


def resident(path: Path) -> int:
    """Return the bytes of a file that this process has in memory through a map that it can store into."""
    found = 0
    mapping = ""
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        if line.startswith("Rss:") and mapping == str(path):
            found += int(line.split()[1]) * KIB
        elif "-" in line.split(" ", 1)[0]:
            mapping = line.split(maxsplit=5)[5] if line.count("/") else ""
    return found


def fill(spool: Spool, size: int) -> None:
    for _ in range(size // len(LINE)):
        assert spool.offer(LINE)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(SpoolSettings(tmp_path, "svc"))


def segment(spool: Spool, place: int) -> Path:
    return spool.home.path / f"{sorted(spool.numbers())[place]:08d}.seg"


def test_a_segment_made_ahead_is_there_as_a_whole(spool: Spool) -> None:
    """The log calls that fill it meet no page for the first time."""
    fill(spool, 32 * KIB)
    spool.prepare()
    ahead = segment(spool, -1)
    assert resident(ahead) == ahead.stat().st_size == 128 * KIB
    spool.close()


def test_a_filled_segment_gives_its_pages_back_and_loses_nothing(spool: Spool) -> None:
    """What is read of it comes from the file."""
    fill(spool, 32 * KIB)
    first = segment(spool, 0)
    assert resident(first) >= 32 * KIB
    fill(spool, 64 * KIB)
    spool.prepare()
    assert resident(first) == 0
    batch = spool.cursor("here").read(1000, 1 << 20)
    assert batch is not None
    assert list(batch.lines) == [LINE] * len(batch.lines)
    spool.close()


def test_what_is_filled_while_a_sync_hangs_gives_its_pages_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that does that waits for the disk: a second of it took 60 MiB of memory."""
    spool = Spool(SpoolSettings(tmp_path, "svc", max_bytes=8 << 20))
    hangs, goes_on = threading.Event(), threading.Event()

    def slow(_file: int) -> None:
        hangs.set()
        assert goes_on.wait(60)

    monkeypatch.setattr(os, "fdatasync", slow)
    fill(spool, 256 * KIB)
    thread = threading.Thread(target=spool.sync)
    thread.start()
    assert hangs.wait(60)
    fill(spool, 4 << 20)
    filled = [resident(segment(spool, place)) for place in range(len(spool.numbers()) - 2)]
    goes_on.set()
    thread.join(60)
    spool.close()
    assert len(filled) >= 5
    assert sum(filled) == 0


def test_a_sync_touches_what_will_be_needed_until_the_next(spool: Spool) -> None:
    """By half more than since the last; without records nothing more is dirtied."""
    for _ in range(4):  # to a segment that is larger than what is touched in it
        fill(spool, 64 * KIB)
        spool.prepare()
    spool.sync()
    fill(spool, 16 * KIB)
    current, at = spool._segment, spool._segment.pos
    touched: list[int] = []
    current_warm = type(current).warm

    def warm(segment: object, end: int) -> None:
        touched.append(end)
        current_warm(segment, end)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(current), "warm", warm)
        spool.sync()
        spool.sync()
    assert len(touched) == 1
    assert at + 16 * KIB < touched[0] < at + 2 * 16 * KIB + 4096
    spool.close()


def test_a_new_segment_is_touched_for_what_was_written_to_both(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync protects the pages of one that was made ahead, too: how far it is filled so far says little."""
    for _ in range(4):
        fill(spool, 64 * KIB)
        spool.prepare()
    spool.sync()
    before = spool._segment
    left = before.capacity - before.pos
    fill(spool, left + 8 * KIB)
    current = spool._segment
    assert current is not before
    touched: list[int] = []
    monkeypatch.setattr(type(current), "warm", lambda _segment, end: touched.append(end))
    spool.sync()
    assert touched
    assert touched[0] >= current.pos + left
    spool.close()
