"""Which file is this, and from where on is it new?"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from logferry.shipper.core.tail import Position, decode, encode, fingerprint, is_log_text, resume_at

HEAD = b"first line\nsecond line\n"


def known(**changes: object) -> Position:
    values: dict[str, object] = {
        "path": "/a",
        "device": 1,
        "inode": 2,
        "fingerprint": fingerprint(HEAD),
        "length": len(HEAD),
        "offset": 11,
    }
    return Position(**{**values, **changes})  # type: ignore[arg-type]  # a mapping of its fields


def resumed(*positions: Position, device: int = 1, inode: int = 2, content: bytes = HEAD) -> int:
    return resume_at(positions, device, inode, len(content), lambda length: content[:length])


def test_the_same_file_goes_on() -> None:
    """Same inode and beginning: on at the offset, grown or not, whatever the device's number."""
    assert resumed(known()) == 11
    assert resumed(known(), content=HEAD + b"third\n") == 11
    assert resumed(known(), device=9) == 11


def test_another_file_begins_at_its_start() -> None:
    """Another inode, another beginning under the same inode, or a shorter file: from the start."""
    assert resumed(known(), inode=3) == 0
    assert resumed(known(), content=b"other" + HEAD) == 0
    assert resumed(known(offset=100)) == 0
    assert resumed(known(), content=HEAD[:5]) == 0
    assert resumed() == 0


def test_of_two_that_fit_the_device_decides() -> None:
    """Two file systems may use the same inode number."""
    assert resumed(known(device=8, offset=5), known(), known(device=9, offset=6)) == 11


@given(st.lists(st.builds(known, path=st.text(max_size=5), offset=st.integers(0, 1 << 60))))
def test_positions_are_read_back(positions: list[Position]) -> None:
    """What is stored with an append is what comes back."""
    assert decode(encode("app", positions)) == positions


@given(st.binary(max_size=50))
def test_a_broken_position_is_none(stored: bytes) -> None:
    """Bytes that are no positions mean: read from the start; they never raise."""
    assert decode(stored) == []


def test_what_is_text() -> None:
    """Compressed and binary beginnings are recognised."""
    assert is_log_text(b"hello")
    assert is_log_text(b"")
    assert not is_log_text(b"\x1f\x8b\x08")
    assert not is_log_text(b"a\0b")
