"""Records of several lines that begin in one file and end in the next: one event, also across kills."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from programs.followed import Kept, KilledError, followed, source, until

from logferry.shipper.config.fields import Duration
from logferry.shipper.core.tail import predecessors
from logferry.shipper.sources.parsers import MultilineConfig

PYTHON = """\
2026-11-21 08:00:00,000 ERROR shop: order 7 failed
Traceback (most recent call last):
  File "shop.py", line 7, in pay
    charge(card)
ValueError: no such card

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "shop.py", line 9, in order
    pay()
RuntimeError: not paid
"""
JAVA = """\
2026-11-21 08:00:00.000 ERROR [main] Shop - order 7 failed
java.lang.IllegalStateException: not paid
\tat shop.Order.pay(Order.java:7)
\tat shop.Main.main(Main.java:9)
Caused by: java.io.IOException: no such card
\tat shop.Card.charge(Card.java:3)
\t... 2 more
"""
BEFORE = "2026-11-21 07:59:59,000 INFO shop: before\n"
PATIENT = MultilineConfig(start="^2026-", timeout=Duration(60.0))  # a slow machine is no end of a record
AFTER = "2026-11-21 08:00:01,000 INFO shop: after\n"
CUTS = [(text, cut) for text in (PYTHON, JAVA) for cut in range(1, text.count("\n"))]


def halves(text: str, cut: int) -> tuple[str, str]:
    lines = text.splitlines(keepends=True)
    return "".join(lines[:cut]), "".join(lines[cut:])


def alike(kept: Kept) -> list[dict[str, Any]]:
    """Return the events without the names of their files."""
    return [{**json.loads(line), "log_file": ""} for line in kept.lines]


def whole(place: Path, text: str) -> list[dict[str, Any]]:
    """Return the events of a text that nobody rotated."""
    (place / "whole.txt").write_text(text)
    kept = Kept()
    source(kept, place / "whole.txt").run(once=True)
    assert len(kept.lines) == 3
    return alike(kept)


class Mortal(Kept):
    """Dies at the n-th append, with lines or without."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 0

    def append(self, lines: Sequence[bytes], position: bytes = b"", part: str = "") -> int:
        self.left -= 1
        if self.left < 0:
            raise KilledError
        return super().append(lines, position, part)


@pytest.mark.parametrize(("text", "cut"), CUTS)
def test_read_once_with_a_kill_at_each_append(tmp_path: Path, text: str, cut: int) -> None:
    """`app.log.1` and `app.log`: the positions of both are moved by the append of what they share."""
    first, second = halves(text, cut)
    (tmp_path / "app.log.1").write_text(BEFORE + first)
    (tmp_path / "app.log").write_text(second + AFTER)
    os.utime(tmp_path / "app.log.1", (1e9, 1e9))
    expected = whole(tmp_path, BEFORE + text + AFTER)
    for lives in range(6):
        kept, runs = Mortal(), 0
        while True:
            kept.left, runs = lives if runs == 0 else 1_000, runs + 1
            try:
                source(kept, tmp_path / "app.log*").run(once=True)
                break
            except KilledError:
                continue
        assert alike(kept) == expected, lives


def write(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def was_read(running: Any, path: Path) -> None:
    until(lambda: [t.at for t in running._tails.values()] == [path.stat().st_size], lambda: running._tails)


def renamed(path: Path) -> None:
    path.rename(f"{path}.1")


def copied(path: Path) -> None:
    shutil.copy(path, f"{path}.1")
    os.truncate(path, 0)


def truncated(path: Path) -> None:
    os.truncate(path, 0)


def removed(path: Path) -> None:
    path.unlink()


def moved_link(path: Path) -> None:
    target = path.parent / "another"
    target.touch()
    (path.parent / "next").symlink_to(target)
    (path.parent / "next").rename(path)


@pytest.mark.parametrize("rotate", [renamed, copied, truncated, removed, moved_link])
@pytest.mark.parametrize("text", [PYTHON, JAVA])
def test_rotated_within_a_record(tmp_path: Path, rotate: Callable[[Path], None], text: str) -> None:
    """The file is rotated while it is followed, and its writer goes on in the next one."""
    path, kept = tmp_path / "app.log", Kept()
    first, second = halves(text, 3)
    path.write_text(BEFORE + first)
    expected = whole(tmp_path, BEFORE + text + AFTER)
    with followed(kept, tmp_path / "app.log*", multiline=PATIENT, close_after=0.3) as running:
        was_read(running, path)
        rotate(path)
        with path.open("a") as file:
            for line in (second + AFTER).splitlines(keepends=True):
                file.write(line)
                file.flush()
        until(lambda: len(kept.lines) >= 2, lambda: kept.lines)
    source(kept, tmp_path / "app.log*").run(once=True)  # what waited for more when it was stopped
    assert alike(kept) == expected


def test_with_a_date_in_the_name(tmp_path: Path) -> None:
    """rotatelogs and its like go on in a file with another name."""
    old, new, kept = tmp_path / "app-2026-11-20.log", tmp_path / "app-2026-11-21.log", Kept()
    first, second = halves(JAVA, 3)
    old.write_text(BEFORE + first)
    expected = whole(tmp_path, BEFORE + JAVA + AFTER)
    with followed(kept, tmp_path / "app-*.log", multiline=PATIENT) as running:
        was_read(running, old)
        new.write_text(second + AFTER)
        until(lambda: len(kept.lines) >= 2, lambda: kept.lines)
    source(kept, tmp_path / "app-*.log").run(once=True)
    assert alike(kept) == expected


@pytest.mark.parametrize("rotate", [renamed, copied])
def test_stopped_between_the_halves(tmp_path: Path, rotate: Callable[[Path], None]) -> None:
    """Nobody is there when the file is rotated; the names say afterwards what was before."""
    path, kept = tmp_path / "app.log", Kept()
    first, second = halves(PYTHON, 5)
    path.write_text(BEFORE + first)
    expected = whole(tmp_path, BEFORE + PYTHON + AFTER)
    with followed(kept, tmp_path / "app.log*", multiline=PATIENT) as running:
        was_read(running, path)
    rotate(path)
    with path.open("a") as file:
        file.write(second + AFTER)
    with followed(kept, tmp_path / "app.log*", multiline=PATIENT):
        until(lambda: len(kept.lines) >= 2, lambda: kept.lines)
    source(kept, tmp_path / "app.log*").run(once=True)
    assert alike(kept) == expected


@pytest.mark.parametrize("ending", [".1", ".1.gz"])
def test_a_copy_that_comes_late(tmp_path: Path, ending: str) -> None:
    """It shows when the next file has taken the record over already: it goes on behind that."""
    path, kept = tmp_path / "app.log", Kept()
    first, second = halves(PYTHON, 5)
    many = "".join(BEFORE.replace("before", f"before {number}") for number in range(10))
    path.write_text(many + first)
    with followed(kept, tmp_path / "app.log*", multiline=PATIENT, close_after=30.0) as running:
        was_read(running, path)
        content = path.read_bytes()
        (tmp_path / "copy").write_bytes(gzip.compress(content) if ending == ".1.gz" else content)
        os.truncate(path, 0)
        path.write_text(second)
        until(lambda: any(tail.debts for tail in running._tails.values()), lambda: running._tails)
        (tmp_path / "copy").rename(tmp_path / f"app.log{ending}")
        until(lambda: len(kept.lines) == 11, lambda: kept.lines)  # settled, for nobody may have it twice
        write(path, AFTER)
    source(kept, tmp_path / "app.log*").run(once=True)
    assert alike(kept)[10:] == whole(tmp_path, BEFORE + PYTHON + AFTER)[1:]


@pytest.mark.parametrize("first", ["packed", "truncated"])
def test_compressed_while_a_record_waits(tmp_path: Path, first: str) -> None:
    """Copied, compressed and truncated: what waited for more is in the archive, and comes once."""
    path, packed, kept = tmp_path / "app.log", tmp_path / "app.log.1.gz", Kept()
    more = "".join(BEFORE.replace("before", f"before {number}") for number in range(10))
    path.write_text(more + PYTHON)
    with followed(kept, tmp_path / "app.log*", multiline=PATIENT, close_after=0.1):
        until(lambda: len(kept.lines) == 10, lambda: kept.lines)
        with path.open("a") as file:
            file.write("    and a note\n")
        archive = gzip.compress(path.read_bytes())
        if first == "packed":
            packed.write_bytes(archive)
        os.truncate(path, 0)
        if first == "truncated":
            packed.write_bytes(archive)
        path.write_text(AFTER * 2)
        until(lambda: len(kept.lines) >= 12, lambda: kept.lines)
    source(kept, tmp_path / "app.log*").run(once=True)
    assert len(kept.lines) == 13
    assert [line.count(b"and a note") for line in kept.lines].count(1) == 1


def test_what_is_no_continuation_waits_for_nobody(tmp_path: Path) -> None:
    """The next file begins with a record of its own: the one before may still get its last lines."""
    path, kept = tmp_path / "app.log", Kept()
    first, second = halves(PYTHON, 5)
    path.write_text(BEFORE + first)
    with followed(kept, tmp_path / "app.log*", multiline=PATIENT) as running:
        was_read(running, path)
        with path.open("a") as old:
            path.rename(tmp_path / "app.log.1")
            path.write_text(AFTER * 2)
            until(lambda: len(kept.lines) == 2, lambda: kept.lines)
            old.write(second)
    source(kept, tmp_path / "app.log*").run(once=True)
    expected = whole(tmp_path, BEFORE + PYTHON + AFTER)
    assert sorted(map(str, alike(kept))) == sorted(map(str, [*expected, expected[2]]))


def test_names_that_rotation_makes() -> None:
    """Numbers and dates, of the files that are there; other endings say nothing."""
    names = ["app.log", "app.log.1", "app.log.2", "b.log", "b.log.2", "d.log.err", "d.log"]
    dated = ["c.log", "c-2026-11-20.log", "c-2026-11-21.log", "e.log-20261121", "e.log-20261119", "e.log"]
    assert predecessors([*names, *dated, "f.2026-11-21_10", "f"]) == {
        "app.log": "app.log.1",
        "app.log.1": "app.log.2",
        "c.log": "c-2026-11-21.log",
        "c-2026-11-21.log": "c-2026-11-20.log",
        "e.log": "e.log-20261121",
        "e.log-20261121": "e.log-20261119",
        "f": "f.2026-11-21_10",
    }
    assert predecessors(["job-12345678.log", "job-12345679.log", "job-2026112101.log"]) == {}
    assert predecessors(["/v/2026-11-20.log", "/v/2026-11-21.log"]) == {}
