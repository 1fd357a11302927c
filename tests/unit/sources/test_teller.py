"""Columns that a source tells of its rows."""

from __future__ import annotations

from types import SimpleNamespace

from logferry.shipper.core.columns import unpack
from logferry.shipper.sources.decoded import Decoded
from logferry.shipper.sources.teller import Teller, Told


def test_what_was_told_of_a_block_does_not_change_what_is_told_of_the_next() -> None:
    """Names of a block without times are not those of blocks that have some."""
    teller = Teller([Told("level", "level")], ["level", "timestamp"], {"service": "shop"})
    rows = Decoded([SimpleNamespace(level="INFO")], {}, {})
    plain = teller.tell(rows, {})
    timed = unpack(teller.tell(rows, {}, "2026-01-01T00:00:00.000000Z"))
    assert timed is not None
    assert (timed.names, timed.alike["timestamp"]) == (
        ["level", "service", "timestamp"],
        "2026-01-01T00:00:00.000000Z",
    )
    assert teller.tell(rows, {}) == plain
