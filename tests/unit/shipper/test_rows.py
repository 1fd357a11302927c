"""Rows of bytes that are made for many events at once."""

from __future__ import annotations

import pytest

from logferry.shipper.core.rows import Rows


@pytest.mark.parametrize("first", [1, 7, 100, 950, 1000, 1999, 98_765, 999_000, 999_999])
def test_numbers_follow_one_another(first: int) -> None:
    """All have as many digits; a thousand may lie between the first and the last, or more."""
    most = 10 ** len(str(first)) - first
    for count in (1, 2, 50, 1000, 2500):
        rows = Rows()
        rows.same(b"<")
        rows.numbers(first, min(count, most))
        rows.same(b">")
        assert rows.made(min(count, most)) == tuple(b"<%d>" % (first + n) for n in range(min(count, most)))
