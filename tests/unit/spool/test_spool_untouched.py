"""What no sink has read yet is in the books all the same."""

from __future__ import annotations

from pathlib import Path

from logferry.shipper.model import Account
from logferry.shipper.ports import Outcome
from logferry.shipper.spool import Spool, SpoolSet, SpoolSettings, audit


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
