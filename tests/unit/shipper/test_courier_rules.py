"""Delivery out of the process: when it ends, who gives way, when it is started, what is handed over."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logferry.shipper.config import ConfigError, load
from logferry.shipper.config.transfer import dump, restore
from logferry.shipper.courier.board import ASKED_FOR, Board, Notice, SinkNotice
from logferry.shipper.courier.keeper import Keeper
from logferry.shipper.courier.launch import BUSY
from logferry.shipper.courier.stay import Stay
from logferry.shipper.spool.claim import Claim, delivery_is_claimed, prepare_claim
from logferry.shipper.spool.left import trusted

SINK = {"out": {"type": "memory"}}


def test_it_stays_while_somebody_lives() -> None:
    """An owner keeps it, whatever is pending and for however long."""
    stay = Stay(linger=5, patience=60)
    assert not any(stay.over(now, living=1, pending=0) for now in range(0, 10_000, 10))


def test_it_lingers_when_all_is_done() -> None:
    """Recycled workers find it still there; afterwards it ends."""
    stay = Stay(linger=5, patience=60)
    assert not stay.over(0.0, living=0, pending=0)
    assert not stay.over(4.9, living=0, pending=0)
    assert not stay.over(5.0, living=1, pending=0)  # somebody came
    assert not stay.over(6.0, living=0, pending=0)
    assert stay.over(11.0, living=0, pending=0)


def test_what_cannot_be_delivered_keeps_it_for_its_patience() -> None:
    """Progress begins the patience anew; without any it ends, and the next start delivers."""
    stay = Stay(linger=5, patience=60)
    assert not stay.over(0.0, living=0, pending=100)
    assert not stay.over(59.0, living=0, pending=100)
    assert not stay.over(100.0, living=0, pending=99)
    assert not stay.over(159.0, living=0, pending=99)
    assert stay.over(160.0, living=0, pending=99)


def test_only_a_newer_and_different_configuration_takes_over() -> None:
    """Two groups of workers do not take turns."""
    mine = Notice(1, "a", 10.0)
    assert mine.gives_way_to(Notice(2, "b", 11.0))
    assert not mine.gives_way_to(Notice(2, "b", 9.0))
    assert not mine.gives_way_to(Notice(2, "a", 11.0))
    assert not mine.gives_way_to(None)


def test_the_board_keeps_what_is_said(tmp_path: Path) -> None:
    """Notices come back as they were; damaged files and old wishes are nothing."""
    board = Board(tmp_path)
    assert board.read() is None
    notice = Notice(7, "d", 1.5, 0.0, {"out": SinkNotice("paused", "401", 3.0)})
    board.write(notice)
    assert board.read() == notice
    assert (tmp_path / "delivery.json").stat().st_mode & 0o777 == 0o600
    board.ask(Notice(8, "e", 2.0, at=100.0))
    assert board.asked(100.0 + ASKED_FOR - 1) is not None
    assert board.asked(100.0 + ASKED_FOR + 1) is None
    board.withdraw()
    assert board.asked(100.0) is None
    (tmp_path / "delivery.json").write_bytes(b'{"pid":')
    assert board.read() is None


def test_a_claim_excludes_others(tmp_path: Path) -> None:
    """There is one; looking whether it is held does not take it."""
    assert not delivery_is_claimed(tmp_path)
    prepare_claim(tmp_path, None)
    claim = Claim.take(tmp_path)
    assert claim is not None
    assert delivery_is_claimed(tmp_path)
    assert Claim.take(tmp_path) is None
    claim.release()
    assert not delivery_is_claimed(tmp_path)
    again = Claim.take(tmp_path)
    assert again is not None
    again.release()


class Starts:
    """Counts the starts; nothing is claimed by them."""

    def __init__(self, status: int = 0) -> None:
        self.jobs: list[Mapping[str, Any]] = []
        self.status = status

    def __call__(self, job: Mapping[str, Any]) -> int:
        self.jobs.append(job)
        return self.status


def test_a_process_that_dies_is_started_ever_more_slowly(tmp_path: Path) -> None:
    """Back-off up to a minute, and from the beginning after one that lived."""
    starts = Starts()
    keeper = Keeper(tmp_path, {}, Notice(digest="a"), start=starts)
    times = []
    for tenth in range(3000):
        before = len(starts.jobs)
        keeper.look(tenth / 10)
        if len(starts.jobs) > before:
            times.append(tenth / 10)
    gaps = [b - a for a, b in pairwise(times)]
    assert times[0] == 0.0
    assert gaps[:4] == [0.5, 1.0, 2.0, 4.0]
    assert max(gaps) == 60.0
    prepare_claim(tmp_path, None)
    claim = Claim.take(tmp_path)
    assert claim is not None
    keeper.look(1000.0)  # it lives
    claim.release()
    before = len(starts.jobs)
    keeper.look(1000.1)
    keeper.look(1000.7)
    assert len(starts.jobs) == before + 2


def test_one_worker_starts_it(tmp_path: Path) -> None:
    """While one is at it the others leave it to him."""
    inner = Starts(BUSY)
    second = Keeper(tmp_path, {}, Notice(), start=inner)

    def start(_job: Mapping[str, Any]) -> int:
        second.look(0.0)
        return 0

    Keeper(tmp_path, {}, Notice(), start=start).look(0.0)
    assert inner.jobs == []
    second.look(0.1)
    assert len(inner.jobs) == 1


@pytest.mark.parametrize(("theirs", "taken_over"), [(5.0, True), (20.0, False)])
def test_an_older_configuration_is_replaced(tmp_path: Path, theirs: float, *, taken_over: bool) -> None:
    """The application asks for a take-over only where its own configuration was loaded later."""
    prepare_claim(tmp_path, None)
    claim = Claim.take(tmp_path)
    assert claim is not None
    Board(tmp_path).write(Notice(1, "other", theirs))
    starts = Starts()
    Keeper(tmp_path, {"digest": "mine"}, Notice(digest="mine", configured=10.0), start=starts).look(0.0)
    assert [job["takeover"] for job in starts.jobs] == ([True] if taken_over else [])
    claim.release()


@settings(max_examples=25, deadline=None)
@given(secret=st.text(min_size=1, max_size=20), name=st.text(max_size=20))
def test_a_configuration_comes_back_as_it_was(secret: str, name: str) -> None:
    """Through JSON, with texts that look like references, and without what only the application needs."""
    config = load(
        {
            "service": "checkout",
            "version": name.replace("${", "$${"),
            "redact": {"mode": "hash", "hash_key": "${KEY}", "patterns": {"id": r"E-\d{6}$"}},
            "spool": {"path": "/var/lib/a b", "max_age": "90m"},
            "schema": {"fields": {"order_id": "integer"}},
            "dead_letters": {"max_bytes": "1MiB"},
            "sinks": {
                "loki": {"type": "loki", "url": "http://localhost:3100", "min_level": "INFO"},
                "here": {"type": "local", "path": "logs", "retention_age": None},
            },
        },
        environ={"KEY": secret},
    )
    assert restore(json.loads(json.dumps(dump(config)))) == config


@pytest.mark.parametrize("delivery", ["process", "agent"])
@pytest.mark.parametrize(
    ("more", "wrong"),
    [
        ({"spool": "memory"}, "needs a spool on disk"),
        ({"sources": {"in": {"type": "stdin"}}}, "sources are read by an agent"),
    ],
)
def test_what_does_not_go_together_is_said(delivery: str, more: dict[str, Any], wrong: str) -> None:
    """Delivery out of the process needs the disk, and an application reads no sources."""
    with pytest.raises(ConfigError, match=wrong):
        load({"service": "x", "delivery": delivery, "sinks": SINK, **more})


def test_an_agents_application_needs_no_sinks() -> None:
    """They are the agent's; every other configuration names one."""
    assert load({"service": "x", "delivery": "agent"}).sinks == {}
    with pytest.raises(ConfigError, match="name at least one"):
        load({"service": "x", "delivery": "process"})


def test_trust(tmp_path: Path) -> None:
    """Our own directories are read, links to them are not."""
    own, link = tmp_path / "own", tmp_path / "link"
    own.mkdir()
    link.symlink_to(own)
    assert trusted(own)
    assert not trusted(link)
    assert not trusted(tmp_path / "missing")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give directories away")
@pytest.mark.parametrize(
    ("mode", "fine"), [(0o2750, True), (0o2770, False), (0o750, False), (0o2755, False), (0o700, False)]
)
def test_trust_in_others(tmp_path: Path, mode: int, *, fine: bool) -> None:
    """Another user's directory is read when its group shares it, and nobody but its owner may write there."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, 12001, 12001)
    theirs.chmod(mode)
    assert trusted(theirs) == fine
