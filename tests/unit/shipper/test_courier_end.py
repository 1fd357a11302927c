"""When a delivery process may go."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from logferry.shipper.courier.process import _Courier
from logferry.shipper.courier.stay import Stay
from logferry.shipper.sources.spool import SpoolSource, SpoolSourceConfig
from logferry.shipper.spool import Spool, SpoolSettings
from logferry.shipper.spool.claim import Claim
from logferry.shipper.spool.directory import file_name
from logferry.shipper.spool.left import LeftSpools


def test_it_stays_until_a_death_is_told(tmp_path: Path) -> None:
    """All is delivered, and there was no room yet for the notice."""
    settings = SpoolSettings(tmp_path, "shop", delivery="process")
    spool = Spool(settings)
    assert spool.offer(b"{}")
    spool.close(clean=False)
    spool.home.close()
    claim = Claim.take(tmp_path / file_name("shop"))
    assert claim is not None
    left = LeftSpools(settings, claim)
    (dead,) = left.meet(["a"])
    anything: Any = None
    source = SpoolSource(SpoolSourceConfig(tmp_path), anything, {"shop": left})
    stay = Stay(linger=5.0, patience=900.0)
    courier = _Courier(anything, anything, anything, stay, anything, claim, source)
    pipeline: Any = SimpleNamespace(accounts=dict)
    assert not courier._is_over(pipeline, 0.0, 0)
    assert not courier._is_over(pipeline, 100.0, 0)
    dead.told = True
    assert not courier._is_over(pipeline, 101.0, 0)
    assert courier._is_over(pipeline, 106.0, 0)
    left.close()


def test_it_does_not_end_before_it_has_looked_who_lives(tmp_path: Path) -> None:
    """SIGTERM in its first moments: an application that lives is waited for, but not for ever."""
    anything: Any = None
    source = SpoolSource(SpoolSourceConfig(tmp_path), anything)
    courier = _Courier(anything, anything, anything, Stay(5.0, 900.0), anything, anything, source)
    assert not courier._must_end(1.0, 30.0, 0)
    assert courier._must_end(30.0, 30.0, 0)
    source.looked = True
    assert courier._must_end(1.0, 30.0, 0)
    assert not courier._must_end(1.0, 30.0, 1)
    assert courier._must_end(30.0, 30.0, 1)
