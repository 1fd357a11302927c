"""The writer's number at the end of a spool's id: no two spools of a service in one place have the same."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from logferry.shipper.model import writer_of
from logferry.shipper.spool import Spool, SpoolSettings
from logferry.shipper.spool.directory import spool_directories
from logferry.shipper.spool.numbers import with_free_number


def numbers(place: Path) -> list[int]:
    return sorted(writer_of(spool.name) for spool in spool_directories(place))


def opened(path: Path) -> Any:
    spool = Spool(SpoolSettings(path, "shop", max_bytes=64 << 20))
    assert spool.offer(b'{"message":"one"}')
    return spool


def test_numbers_are_the_lowest_that_are_free_and_used_again(tmp_path: Path) -> None:
    spools = [opened(tmp_path) for _ in range(4)]
    assert numbers(tmp_path / "shop") == [0, 1, 2, 3]
    gone = next(path for path in spool_directories(tmp_path / "shop") if writer_of(path.name) == 1)
    for spool in spools:
        spool.close()
    for path in sorted(gone.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    gone.rmdir()
    opened(tmp_path).close()
    assert numbers(tmp_path / "shop") == [0, 1, 2, 3]


def test_those_who_begin_in_the_same_moment_get_different_ones(tmp_path: Path) -> None:
    together, spools = threading.Barrier(12), []

    def begin() -> None:
        together.wait()
        spools.append(opened(tmp_path))

    threads = [threading.Thread(target=begin) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = numbers(tmp_path / "shop")
    assert len(found) == 12
    assert len(set(found)) == 12
    for spool in spools:
        spool.close()


def test_with_all_numbers_taken_an_id_stays_as_it_is(tmp_path: Path) -> None:
    for number in range(256):
        (tmp_path / f"{'0' * 30}{number:02x}").mkdir()
    assert with_free_number("ab" * 16, tmp_path, 1) == "ab" * 16
