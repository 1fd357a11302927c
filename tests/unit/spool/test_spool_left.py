"""What processes leave to another one to read."""

from __future__ import annotations

from pathlib import Path

import pytest

from logferry.shipper.model import Account
from logferry.shipper.spool import Spool, SpoolSettings
from logferry.shipper.spool.claim import Claim
from logferry.shipper.spool.directory import Home, file_name
from logferry.shipper.spool.ledger import fold
from logferry.shipper.spool.left import LeftSpools


def test_a_spool_whose_lock_went_with_the_power_is_read(tmp_path: Path) -> None:
    """Segments without a lock's name beside them have no owner: whoever delivers takes them."""
    settings = SpoolSettings(tmp_path, "shop", delivery="process")
    spool = Spool(settings)
    assert spool.offer(b'{"n":1}')
    spool.close(clean=False)
    spool.home.close()
    (spool.home.path / "lock").unlink()
    claim = Claim.take(tmp_path / file_name("shop"))
    assert claim is not None
    left = LeftSpools(settings, claim)
    (found,) = left.meet(["a"])
    assert not found.live
    batch = found.own_cursor("a").read(10, 1000)
    assert batch is not None
    assert list(batch.lines) == [b'{"n":1}']
    left.close()


def test_a_directory_without_a_lock_and_segments_is_one_in_the_making(tmp_path: Path) -> None:
    """Its owner may be about to lock it."""
    settings = SpoolSettings(tmp_path, "shop", delivery="process")
    spool = Spool(settings)
    assert spool.offer(b'{"n":1}')
    making = spool.home.path.parent / ("0" * 32)
    making.mkdir(mode=0o700)
    claim = Claim.take(tmp_path / file_name("shop"))
    assert claim is not None
    left = LeftSpools(settings, claim)
    assert [found.id for found in left.meet(["a"])] == [spool.id]
    assert list(making.iterdir()) == []
    left.close()
    spool.close()


def test_a_spool_that_was_being_removed_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its books are in the ledger: whoever was killed in the middle of its removal had delivered it."""
    settings = SpoolSettings(tmp_path, "shop", delivery="process")
    spool = Spool(settings)
    assert spool.offer(b'{"n":1}')
    spool.close()
    spool.home.close()
    dead = Home.adopt(spool.home.path)
    assert dead is not None
    with monkeypatch.context() as patch:
        patch.setattr(Home, "remove", Home.close)
        fold(dead, {"a": Account(accepted=1, delivered=1)})
    assert list(spool.home.path.glob("*.seg"))
    claim = Claim.take(tmp_path / file_name("shop"))
    assert claim is not None
    left = LeftSpools(settings, claim)
    assert left.meet(["a"]) == []
    assert left.held == []
    assert not spool.home.path.exists()
    left.close()
