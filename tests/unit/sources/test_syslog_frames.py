"""A stream as messages and lines: counts, line breaks, NULs, cuts; the same in any pieces."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from logferry.shipper.core.lines import CutLine
from logferry.shipper.sources.syslog.frames import FrameSplitter


def split(pieces: list[bytes], limit: int = 100, *, syslog: bool = True) -> list[tuple[bytes, int]]:
    frames = FrameSplitter(limit, syslog=syslog)
    found = [one for piece in pieces for one in frames.feed(piece)] + frames.flush()
    assert not frames.pending
    return [(bytes(one), getattr(one, "lost", 0)) for one in found if one]


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        (b"one\ntwo\n\nthree", [b"one", b"two", b"three"]),
        (b"6 <1>a\nb7 <13>two<13>three\n", [b"<1>a\nb", b"<13>two", b"<13>three"]),
        (b"7 <13>one\n\n8 <13>two\n", [b"<13>one", b"<13>two"]),
        (b"<13>one\0<13>two\0\n<13>three\n", [b"<13>one", b"<13>two", b"<13>three"]),
        (b"2026-11-21 started\n12 monkeys\n4 5\n", [b"2026-11-21 started", b"12 monkeys", b"4 5"]),
        (b"123", [b"123"]),
        (b"123 ", [b"123 "]),
        (b'{"a":"\0"}\n<13>x\n', [b'{"a":"\0"}', b"<13>x"]),
        (b"99 <13>no end", [b"<13>no end"]),
        (b"12345678901 <13>x\n", [b"12345678901 <13>x"]),
    ],
)
def test_what_ends_where(sent: bytes, found: list[bytes]) -> None:
    """Each kind of beginning ends in its own way."""
    assert [one for one, _ in split([sent])] == found


def test_what_is_too_long_is_cut_and_what_follows_is_whole() -> None:
    """Lines, messages and counted messages lose their rest, and say how much."""
    long = b"x" * 150
    sent = long + b"\n<13>" + long + b"\0" + b"154 <13>" + long + b"<13>after\n"
    assert split([sent]) == [
        (b"x" * 100, 50),
        (b"<13>" + b"x" * 96, 54),
        (b"<13>" + b"x" * 96, 54),
        (b"<13>after", 0),
    ]


def test_nothing_is_held_beyond_the_limit() -> None:
    """Megabytes without an end are not kept."""
    frames = FrameSplitter(1000)
    for start in (b"x", b"<13>", b"999999999 <13>"):
        frames.feed(start)
        for _ in range(50):
            frames.feed(b"y" * 10_000)
            assert len(frames._rest) + len(frames._cut) < 25_000
        found = frames.flush()
        assert isinstance(found[-1], CutLine)


ATOMS = st.sampled_from(
    [
        *(b"<", b"<13>", b"9 ", b"10 <", b"3 <1", b"1", b"\n", b"\0", b" ", b"a", b"{", b"x" * 60, b"\r\n"),
        *(b"0 <1>", b"70 <13>", b"\n130 <1>", b"99 <", b"y" * 40),
    ]
)


@given(st.lists(ATOMS | st.binary(max_size=8), max_size=30).map(b"".join), st.data(), st.booleans())
@example(b"1", None, True)
@example(b"70 <13>" + b"x" * 80, None, True)
def test_pieces_do_not_matter(sent: bytes, data: Any, syslog: bool) -> None:
    """Whole, byte by byte or in any pieces: the same."""
    whole = split([sent], 64, syslog=syslog)
    assert split([sent[i : i + 1] for i in range(len(sent))], 64, syslog=syslog) == whole
    if data is not None:
        at = data.draw(st.integers(0, len(sent)))
        assert split([sent[:at], sent[at:]], 64, syslog=syslog) == whole
