"""Lines that still have their breaks: the same as lines that were split."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from logferry.shipper.core.ended import Ended, cut, ended, may_exceed

joined = st.lists(st.sampled_from([b"", b"a", b"\r", b"\x0b\x1e", b"line"])).map(b"\n".join)


@given(joined, st.integers(-3, 3), st.integers(0, 9))
def test_they_are_the_lines_that_were_joined(held: bytes, start: int, stop: int) -> None:
    """Whole, one by one and in part, also lines of nothing; only a line feed ends one."""
    plain = held.split(b"\n")
    lines = Ended(cut(held))
    assert b"".join(cut(held)) == held + b"\n"
    assert [lines[index] for index in range(-1, len(plain))] == [plain[-1], *plain]
    assert lines == plain == list(lines)
    assert lines[start:stop] == plain[start:stop]
    assert lines != [*plain, b""]
    for before, behind in ((b"", b""), (b"\x1e\n", b"\x1e"), (b"x", b"\n\n"), (b"", b"line\nx")):
        block = before + held + behind
        assert cut(block, len(before), len(before) + len(held)) == cut(held)
    assert ended(lines, start, stop) == ended(plain, start, stop) == cut(held)[start:stop]


@given(st.lists(st.integers(0, 12), max_size=8), st.integers(2, 12))
def test_a_long_line_is_never_missed(sizes: list[int], length: int) -> None:
    """Wherever it stands; lines of half the length and less are never taken for long ones."""
    held = b"".join(b"x" * size + b"\n" for size in sizes)
    found = may_exceed(length, b"xxx\n" + held + b"xxx", 4, 4 + len(held))
    assert found or max(sizes, default=0) <= length
    assert not found or max(sizes, default=0) + 1 >= length // 2
