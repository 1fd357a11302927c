"""What no sink has read yet is in the books all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from logferry.shipper.model import Account
from logferry.shipper.ports import Outcome
from logferry.shipper.spool import Spool, SpoolSet, SpoolSettings, audit
from logferry.shipper.spool.directory import Home


def killed(path: Path, count: int) -> Spool:
    """Return a spool with `count` events that is never shut down."""
    spool = Spool(SpoolSettings(path=path, service="shop"))
    for number in range(count):
        assert spool.offer(b'{"n":%d}' % number)
    return spool


def test_events_of_a_spool_without_cursors_are_pending(tmp_path: Path) -> None:
    """A process killed before its first delivery shows what it accepted."""
    spool = killed(tmp_path, 3)
    assert audit(tmp_path).accounts == {("shop", "-"): Account(accepted=3, pending=3)}
    spool.close()


def test_a_sink_is_behind_in_the_spools_it_has_not_touched(tmp_path: Path) -> None:
    """A sink known from one spool of the service has everything of the other one pending."""
    first, second = killed(tmp_path, 3), killed(tmp_path, 4)
    cursor = first.cursor("here")
    assert cursor.read(10, 1000) is not None
    cursor.commit(3, Outcome(delivered=3))
    expected = Account(accepted=7, delivered=3, pending=4)
    assert audit(tmp_path).accounts == {("shop", "here"): expected}
    assert SpoolSet(SpoolSettings(path=tmp_path, service="shop"), None).accounts(["here"]) == {
        "here": expected
    }
    first.close()
    second.close()


def test_a_configured_sink_that_never_took_anything_is_behind(tmp_path: Path) -> None:
    """A sink that was down from the start is in the account with everything pending."""
    spool = killed(tmp_path, 3)
    cursor = spool.cursor("here")
    assert cursor.read(10, 1000) is not None
    cursor.commit(3, Outcome(delivered=3))
    accounts = audit(tmp_path, sinks={"shop": ["here", "loki"]}).accounts
    assert accounts["shop", "loki"] == Account(accepted=3, pending=3)
    assert accounts["shop", "here"] == Account(accepted=3, delivered=3)
    spool.close()


def test_a_directory_that_others_look_at_costs_an_id_not_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new directory locked by a curious sibling is left; the spool takes another and stays on the disk."""
    create, refusals = Home.create, [FileExistsError("looked at"), FileExistsError("looked at")]

    def contested(*args: Any, **options: Any) -> Home:
        if refusals:
            raise refusals.pop()
        return create(*args, **options)

    monkeypatch.setattr(Home, "create", contested)
    spool = killed(tmp_path, 3)
    assert spool.state == "disk"
    assert audit(tmp_path).accounts == {("shop", "-"): Account(accepted=3, pending=3)}
    spool.close()
