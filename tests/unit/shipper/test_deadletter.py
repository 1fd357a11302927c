"""Dead letters on disk."""

from __future__ import annotations

import os
import stat
import threading
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from logferry.shipper.deadletter import DeadLetter, DeadLetters


def letter(n: int, event: bytes = b'{"message":"m"}') -> tuple[str, str, bytes]:
    return f"{'ab' * 16}-{n}", "too old", event


@pytest.fixture(params=["disk", "memory"])
def letters(request: pytest.FixtureRequest, tmp_path: Path) -> DeadLetters:
    return DeadLetters(tmp_path / "dead-letters" if request.param == "disk" else None, "loki", 10_000)


def test_a_letter_comes_back_as_it_was(letters: DeadLetters) -> None:
    """Id, sink, reason, moment, and the event's own bytes: big integers and order are not touched."""
    event = b'{"b":123456789012345678901234567890,"a":1.0,"reason":",\\"event\\":"}'
    assert letters.add([letter(1, event)], 0.0) == 1
    expected = DeadLetter(f"{'ab' * 16}-1", "loki", "too old", "1970-01-01T00:00:00.000000Z", event)
    assert list(letters.read()) == [expected]
    assert letters.get(expected.id) == expected
    assert letters.get("?") is None


def test_each_letter_is_one_line_of_json(tmp_path: Path) -> None:
    """Any tool can read the file, whatever the event holds; the file is private."""
    letters = DeadLetters(tmp_path / "d", "loki", 10_000)
    letters.add([letter(1), letter(2, b'{"a":\n1}'), letter(3, b"\xff no json\n")], 0.0)
    assert letters.path is not None
    lines = letters.path.read_bytes().splitlines()
    assert [orjson.loads(line)["event"] for line in lines] == [{"message": "m"}, {"a": 1}, "\\xff no json\n"]
    assert stat.S_IMODE(letters.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(letters.path.parent.stat().st_mode) == 0o700


def test_the_bound_holds(letters: DeadLetters) -> None:
    """What does not fit is refused from the first that does not, and what is there stays."""
    letters.max_bytes = 500
    kept = letters.add([letter(n) for n in range(10)], 0.0)
    assert 0 < kept < 10
    assert letters.size <= 500
    assert letters.add([letter(11)], 0.0) == 0
    assert [one.id[33:] for one in letters.read()] == [str(n) for n in range(kept)]


def test_a_letter_that_was_written_twice_is_one(letters: DeadLetters) -> None:
    """A crash between letter and commit repeats the letter; it is seen once."""
    letters.add([letter(1), letter(2)], 0.0)
    letters.add([letter(1)], 1.0)
    assert [one.id[33:] for one in letters.read()] == ["1", "2"]


def test_edit_and_remove(letters: DeadLetters) -> None:
    """A letter can be mended or taken out; the others stay as they are."""
    assert letters.remove({"?"}) == 0
    letters.add([letter(1), letter(2), letter(3)], 0.0)
    first, second, third = letters.read()
    assert letters.rewrite(lambda one: replace(one, event=b"{}") if one == second else one) == 1
    assert letters.remove({third.id}) == 1
    assert list(letters.read()) == [first, replace(second, event=b"{}")]


@pytest.mark.parametrize("size", [3, 70_000, 200_000])
def test_a_torn_line_is_cut_off(tmp_path: Path, size: int) -> None:
    """What a crash left unfinished neither hides older letters nor spoils the next one."""
    letters = DeadLetters(tmp_path, "loki", 10_000_000)
    letters.add([letter(1)], 0.0)
    assert letters.path is not None
    with letters.path.open("ab") as file:
        file.write(b'{"id"' + b"x" * size)
    assert [one.id[33:] for one in letters.read()] == ["1"]
    letters.add([letter(2)], 0.0)
    assert [one.id[33:] for one in letters.read()] == ["1", "2"]
    assert len(letters.path.read_bytes().splitlines()) == 2


def test_writers_and_a_rewriter_do_not_lose_each_others_letters(tmp_path: Path) -> None:
    """Removal while others add: nothing but what was removed is gone."""
    letters = DeadLetters(tmp_path, "loki", 10_000_000)

    def write(start: int) -> None:
        own = DeadLetters(tmp_path, "loki", 10_000_000)
        for n in range(start, start + 25):
            own.add([letter(n)], 0.0)

    threads = [threading.Thread(target=write, args=(n * 100,)) for n in (1, 2)]
    for thread in threads:
        thread.start()
    removed = 0
    while any(thread.is_alive() for thread in threads):
        removed += letters.remove({one.id for one in list(letters.read())[:2]})
    for thread in threads:
        thread.join()
    assert removed + len(list(letters.read())) == 50


def test_a_disk_that_refuses_is_an_error(tmp_path: Path) -> None:
    """The caller must know: it may not count what is not there."""
    if os.geteuid() == 0:
        (tmp_path / "d").write_text("a file where the directory should be")
    else:
        tmp_path.chmod(0o500)
    with pytest.raises(OSError):
        DeadLetters(tmp_path / "d", "loki", 1000).add([letter(1)], 0.0)
