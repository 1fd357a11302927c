"""What processes leave to another one to read."""

from __future__ import annotations

from pathlib import Path

from logferry.shipper.spool import Spool, SpoolSettings
from logferry.shipper.spool.claim import Claim
from logferry.shipper.spool.directory import file_name
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
