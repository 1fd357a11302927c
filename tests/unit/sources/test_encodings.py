"""Lines in other encodings: however they are fed, the same lines, and every byte is counted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logferry.shipper.core.encodings import begins_with, splitter_for
from logferry.shipper.core.lines import CutLine, size

HOSTILE = st.binary(max_size=60) | st.lists(st.sampled_from([0, 10, 0xD8, 0xDC, 65]), max_size=60).map(bytes)


def split(encoding: str, limit: int, data: bytes, chunks: list[bytes]) -> list[tuple[bytes, int, int]]:
    splitter = splitter_for(encoding, limit)
    lines = [line for chunk in chunks for line in splitter.feed(chunk)]
    assert sum(map(size, lines)) + splitter.pending == len(data)
    lines += splitter.flush()
    return [(bytes(line), line.lost if isinstance(line, CutLine) else 0, size(line)) for line in lines]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "latin-1"])
@given(data=HOSTILE, limit=st.sampled_from([4, 7, 100]), at=st.integers(0, 60))
def test_chunks_do_not_matter(encoding: str, data: bytes, limit: int, at: int) -> None:
    """Whole, in two pieces or byte by byte: the same lines, which are UTF-8 and took all bytes there are."""
    whole = split(encoding, limit, data, [data])
    assert split(encoding, limit, data, [data[:at], data[at:]]) == whole
    assert split(encoding, limit, data, [data[i : i + 1] for i in range(len(data))]) == whole
    if encoding != "utf-8":
        assert all(line.decode() is not None for line, _, _ in whole)


@given(st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"])), max_size=5))
def test_text_comes_through(lines: list[str]) -> None:
    """What was written is what comes."""
    text = "".join(f"{line}\n" for line in lines)
    for encoding in ("utf-16-le", "utf-16-be"):
        found = splitter_for(encoding, 1 << 20).feed(text.encode(encoding))
        assert [line.decode() for line in found] == lines


def test_marks() -> None:
    """A mark of UTF-16 counts whatever was said, one of UTF-8 where that was said."""
    assert begins_with(b"\xff\xfea\0", "utf-8") == ("utf-16-le", 2)
    assert begins_with(b"\xfe\xff\0a", "latin-1") == ("utf-16-be", 2)
    assert begins_with(b"\xef\xbb\xbfa", "utf-8") == ("utf-8", 3)
    assert begins_with(b"\xef\xbb\xbfa", "latin-1") == ("latin-1", 0)
    assert begins_with(b"a\0", "utf-16") == ("utf-16-le", 0)
