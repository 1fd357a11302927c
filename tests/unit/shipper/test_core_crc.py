from __future__ import annotations

import zlib

from hypothesis import given
from hypothesis import strategies as st

from logferry.shipper.core import crc


@given(st.binary(max_size=2_000), st.integers(0, 2**32 - 1))
def test_sums_are_those_of_zlib_whatever_made_them(data: bytes, start: int) -> None:
    assert crc.crc32(data, start) == zlib.crc32(data, start)
    assert crc.crc32(memoryview(bytearray(data)), start) == zlib.crc32(data, start)


def test_the_quick_one_is_what_is_used_here() -> None:
    """The tests' environment has it: what they measure and what a user of `fast` has is the same."""
    assert crc.crc32.__module__ != "zlib"
