"""The floor: one thread computes, who asked first is next, and nobody waits while holding it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from programs.followed import Kept, source, until

from logferry.shipper.floor import FLOOR, Floor
from logferry.shipper.spool import Spool, SpoolSettings
from logferry.shipper.turns import Turns


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[Floor]:
    monkeypatch.setattr(FLOOR, "shared", True)
    yield FLOOR
    assert not FLOOR.held


def test_who_asked_first_is_next() -> None:
    """Also when the one who had it asks again at once."""
    floor, had = Floor(), list[int]()
    floor.share()
    waiting = list[threading.Thread]()

    def take(number: int) -> None:
        with floor:
            had.append(number)

    with floor:
        for number in range(20):
            waiting.append(threading.Thread(target=take, args=(number,)))
            waiting[-1].start()
            until(lambda: len(floor._queue) == len(waiting) + 1, lambda: len(waiting))
        had.append(-1)
    take(-2)
    for thread in waiting:
        thread.join()
    assert had == [-1, *range(20), -2]
    assert not floor.held


def test_one_at_a_time_whatever_it_raises() -> None:
    """No two are in it together; an exception leaves it free."""
    floor, inside, most = Floor(), list[int](), list[int]()
    floor.share()

    def work() -> None:
        for turn in range(200):
            try:
                with floor:
                    inside.append(1)
                    most.append(len(inside))
                    sum(range(50))
                    inside.pop()
                    if turn % 3:
                        raise LookupError
            except LookupError:
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (max(most), len(most), floor.held) == (1, 800, False)


def test_before_it_is_shared_it_is_everybodys() -> None:
    """An application's threads do not wait for each other; who was inside when it was shared leaves it so."""
    floor = Floor()
    with floor:
        with floor:
            assert not floor.held
        floor.share()
    with floor:
        assert floor.held
    assert not floor.held


def test_who_waits_for_room_leaves_it(tmp_path: Path, shared: Floor) -> None:
    """A full spool makes who appends wait for the worker, who needs the floor; then it is taken again."""

    class RoomError(Exception):
        pass

    waits = list[float]()

    def wait(seconds: float) -> None:
        assert not shared.held
        waits.append(seconds)
        if len(waits) == 3:
            raise RoomError

    settings = SpoolSettings(tmp_path, "shop", max_bytes=1 << 20)
    spool = Spool(settings, sleep=wait)
    spool.cursor("out")
    with shared:
        for number in range(1000):
            try:
                spool.append([b"%06d" % number * 1000] * 4, b"", "app")
            except RoomError:
                break
            assert shared.held
        assert shared.held
    spool.close()
    assert len(waits) == 3


def test_a_source_keeps_it_for_what_it_has_read(tmp_path: Path, shared: Floor) -> None:
    """Each block of a chunk is made and appended in one turn."""

    class Watched(Kept):
        def append(self, *given: Any) -> int:
            held.append(shared.held)
            return super().append(*given)

    held = list[bool]()
    kept = Watched()
    (tmp_path / "app.log").write_text("".join(f"line {number}\n" for number in range(3000)))
    source(kept, tmp_path / "app.log").run(once=True)
    assert len(kept.lines) == 3000
    assert len(held) > 3
    assert all(held[:-1])  # the last line, which might have gone on, comes by itself


@pytest.mark.usefixtures("shared")
def test_nobody_rests_for_an_application_that_is_not_there() -> None:
    slept = list[float]()
    turns = Turns(sleep=slept.append)
    turns.rest()
    assert slept == []
