"""Which file is this, and from where on is it new?"""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from logferry.shipper.core.tail import (
    Position,
    decode,
    encode,
    fingerprint,
    is_copy_name,
    is_log_text,
    packed_as,
    resume,
)

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
    found = resume(positions, device, inode, len(content), lambda at, length: content[at : at + length])
    return 0 if found is None else found.offset


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


def test_the_same_beginning_is_not_enough() -> None:
    """What stands before the place counts as well: a file that was written anew may begin alike."""
    place = known(tail=fingerprint(b"line\n"), tail_length=5)
    assert resumed(place) == 11
    assert resumed(place, content=b"first lime\nsecond line\n") == 0


def test_names_of_copies() -> None:
    """What rotation calls a copy, and what merely looks like it."""
    for name in ("app.log.1", "app.log-20261121", "app-20261121.log", "app.log.2026-11-21_10"):
        assert is_copy_name(f"/l/{name}", "/l/app.log"), name
    for name in ("app.log", "app2.log", "other.log", "app.txt"):
        assert not is_copy_name(f"/l/{name}", "/l/app.log"), name
    assert not is_copy_name("/l/app.log.2026-11-21", "/l/app.log.2026-11-20")
    assert not is_copy_name("/l/web-2.log", "/l/web-1.log")
    assert not is_copy_name("/m/app.log.1", "/l/app.log")
    for name in ("app.log.2.gz", "app.log.gz", "app-2026-11-21.log.xz"):
        assert is_copy_name(f"/l/{name}", "/l/app.log", packed=True), name
    assert is_copy_name("/l/app.log.2.gz", "/l/app.log.1", packed=True)
    assert is_copy_name("/l/0.log.20261121-101010.gz", "/l/0.log", packed=True)
    assert not is_copy_name("/l/web-2.log.gz", "/l/web-1.log", packed=True)


def test_of_two_that_fit_the_device_decides() -> None:
    """Two file systems may use the same inode number."""
    assert resumed(known(device=8, offset=5), known(), known(device=9, offset=6)) == 11


PATHS = st.lists(st.integers(1, 255), max_size=5).map(bytes).map(os.fsdecode)


@given(st.lists(st.builds(known, path=PATHS | st.just("/ü"), offset=st.integers(0, 1 << 60))))
def test_positions_are_read_back(positions: list[Position]) -> None:
    """What is stored with an append is what comes back, whatever bytes names are of."""
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
    assert is_log_text("hällo".encode("utf-16"))
    assert [packed_as(head) for head in (b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"x")] == ["gz", "zst", ""]
