"""The splitter and the joiner: chunking changes nothing, and every byte is accounted for."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from logferry.shipper.core.lines import CutLine, LineSplitter, size
from logferry.shipper.core.multiline import TracebackJoiner

TEXT = st.lists(st.sampled_from([b"a", b"bc", b"\n", b"\r\n", b"x" * 9, b"\n\n", b"{"]), max_size=40).map(
    b"".join
)
TRACEBACK_LINES = st.sampled_from(
    [
        b"plain",
        b"  indented",
        b"",
        b"Traceback (most recent call last):",
        b"ValueError: no",
        b'{"a": 1}',
        b"During handling of the above exception, another exception occurred:",
        b"  + Exception Group Traceback (most recent call last):",
    ]
)


def split(
    data: bytes, cuts: list[int], limit: int, *, whole: bool = False
) -> tuple[list[tuple[bytes, int]], int]:
    splitter = LineSplitter(limit)
    lines: list[bytes] = []
    at = 0
    for cut in [*sorted(c % (len(data) + 1) for c in cuts), len(data)]:
        taken = splitter.complete(data[at:cut]) if whole else None
        if taken is None:
            lines += splitter.feed(data[at:cut])
        else:
            assert taken.endswith(b"\n")
            lines += taken[:-1].split(b"\n")
        at = cut
    return [(bytes(line), size(line)) for line in lines], splitter.pending


@given(TEXT, st.lists(st.integers(0, 1000), max_size=20), st.integers(1, 12))
@example(b"aabc\nd", [2], 3)
@example(b"aabc\nd\n", [2], 4)
def test_chunks_do_not_matter_to_the_splitter(data: bytes, cuts: list[int], limit: int) -> None:
    """Fed in any pieces, the lines, their sizes and what is pending are the same; nothing is uncounted."""
    lines, pending = split(data, cuts, limit)
    assert (lines, pending) == split(data, [], limit)
    assert (lines, pending) == split(data, cuts, limit, whole=True)
    assert sum(length for _, length in lines) + pending == len(data)
    whole = data.split(b"\n")[:-1]
    assert [line for line, _ in lines] == [line[:limit] for line in whole]


def test_a_line_that_is_too_long_is_cut_and_says_so() -> None:
    """A cut line keeps its beginning and the number of bytes it lost, and the next line is whole."""
    splitter = LineSplitter(4)
    lines = splitter.feed(b"abcdefgh\nij\n")
    assert lines == [b"abcd", b"ij"]
    assert isinstance(lines[0], CutLine)
    assert lines[0].lost == 4


def test_flush_gives_the_line_without_an_end() -> None:
    """The last line of a file that does not end with a line break is not lost."""
    splitter = LineSplitter(10)
    assert splitter.feed(b"one\ntwo") == [b"one"]
    assert splitter.flush() == [b"two"]
    assert splitter.flush() == []


def join(lines: list[bytes], limit: int = 10_000) -> list[bytes]:
    joiner = TracebackJoiner(limit)
    return [group for line in lines for group, _ in joiner.feed(line)] + [
        group for group, _ in joiner.flush()
    ]


def test_a_traceback_with_its_cause_is_one_record() -> None:
    """Message, traceback, cause and the exception's line are joined; what follows is another record."""
    record = [
        b"ERROR order failed",
        b"Traceback (most recent call last):",
        b'  File "a.py", line 1, in f',
        b"    g()",
        b"KeyError: 'x'",
        b"",
        b"During handling of the above exception, another exception occurred:",
        b"",
        b"Traceback (most recent call last):",
        b'  File "a.py", line 3, in f',
        b"ValueError: no",
    ]
    assert join([*record, b"INFO next", b"INFO last"]) == [b"\n".join(record), b"INFO next", b"INFO last"]


def test_json_lines_are_never_joined() -> None:
    """A line that begins with { is a record of its own, also behind a traceback."""
    lines = [b"Traceback (most recent call last):", b"  x", b'{"a":1}', b'{"b":2}']
    assert join(lines) == [b"\n".join(lines[:2]), b'{"a":1}', b'{"b":2}']


@given(st.lists(TRACEBACK_LINES, max_size=30), st.integers(1, 200))
def test_joining_loses_no_line(lines: list[bytes], limit: int) -> None:
    """Every line that is not blank is in exactly one group, in order, and the sizes add up."""
    joiner = TracebackJoiner(limit)
    groups = [group for line in lines for group in joiner.feed(line)]
    taken = sum(length for _, length in groups)
    assert taken + joiner.pending == sum(map(size, lines))
    groups += joiner.flush()
    assert sum(length for _, length in groups) == sum(map(size, lines))
    assert [x for g, _ in groups for x in g.split(b"\n") if x] == [x for x in lines if x]


@pytest.mark.parametrize("limit", [1, 20])
def test_a_group_is_bounded(limit: int) -> None:
    """An endless run of indented lines is given out in bounded pieces."""
    groups = join([b"start", *[b"  " + b"x" * 8] * 50], limit)
    assert all(len(group) <= max(limit, 10) + 10 for group in groups)
