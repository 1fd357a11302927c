"""The bytes of a push: against a decoder of the wire format written here, and against the plain form."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logferry.shipper.sinks.loki.heads import Heads
from logferry.shipper.sinks.loki.metadata import VALUE_BYTES, frame_metadata, pairs_of, text_of, wire_name
from logferry.shipper.sinks.loki.protobuf import fives, framed_micros, framed_nanos, pair, push_request

SPOOL = "0123456789abcdef" * 2


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def fields(data: bytes) -> list[tuple[int, Any]]:
    """Decode one protobuf message into (number, value), for the wire types that logproto uses."""
    found: list[tuple[int, Any]] = []
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        value, at = read_varint(data, at)
        if tag & 7 == 2:
            assert at + value <= len(data)
            found.append((tag >> 3, data[at : at + value]))
            at += value
        else:
            assert tag & 7 == 0
            found.append((tag >> 3, value))
    return found


def decode(body: bytes) -> list[tuple[str, list[tuple[int, int, bytes, list[tuple[str, str]]]]]]:
    """Decode a push: (labels, entries), each entry (seconds, nanos, line, pairs)."""
    streams = []
    for number, stream in fields(body):
        assert number == 1
        labels, entries = "", []
        for part, value in fields(stream):
            if part == 1:
                labels = value.decode()
                continue
            assert part == 2
            entry = fields(value)
            stamp = dict(fields(entry[1][1]))
            pairs = [(dict(fields(p))[1].decode(), dict(fields(p))[2].decode()) for number, p in entry[2:]]
            assert [number for number, _ in entry] == [2, 1] + [3] * len(pairs)
            entries.append((stamp[1], stamp[2], entry[0][1], pairs))
        streams.append((labels, entries))
    return streams


seconds = st.integers(0, 2**40)
nanos = st.integers(0, 999_999_999)
lines = st.one_of(st.binary(max_size=200), st.integers(0, 20_000).map(lambda n: b"x" * n))
names = st.lists(st.text(min_size=1, max_size=12), max_size=4)


@settings(deadline=None)
@given(
    st.text(max_size=300), st.lists(st.tuples(seconds, nanos, lines, st.dictionaries(st.text(), st.text())))
)
def test_a_decoder_reads_what_was_framed(labels: str, entries: list[Any]) -> None:
    """Any labels, times, lines and pairs come back from the wire format as they went in, in order."""
    rows = [(index, second, nano) for index, (second, nano, _, _) in enumerate(entries)]
    metas = [b"".join(pair(k, v) for k, v in pairs.items()) for *_, pairs in entries]
    body = push_request(labels, rows, [line for _, _, line, _ in entries], metas)
    expected = [(second, nano, line, list(pairs.items())) for second, nano, line, pairs in entries]
    assert decode(body) == [(labels, expected)]


def test_a_line_length_at_each_edge_of_a_varint() -> None:
    """Lengths around 127, 4095 and 16383 keep their boundaries."""
    for length in (
        0,
        1,
        110,
        111,
        112,
        126,
        127,
        128,
        4078,
        4079,
        4080,
        4094,
        4095,
        4096,
        16383,
        16384,
        262144,
    ):
        body = push_request("{}", [(0, 1_700_000_000, 5)], [b"y" * length], [b""])
        assert decode(body)[0][1][0][2] == b"y" * length


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
odd_values = (
    json_values | st.integers(0, 600).map(lambda n: "é" * n) | st.integers(0, 600).map(lambda n: "a" * n)
)


@settings(deadline=None)
@given(st.lists(st.lists(odd_values, min_size=3, max_size=3), max_size=5), st.integers(1, 10**19))
def test_the_fast_way_frames_what_the_slow_way_says(rows: list[list[Any]], first: int) -> None:
    """Whatever the values are, the compiled loop and the plain mapping give the same metadata."""
    fields_ = ["user_id", "a.b-c", "duration_ms"]

    encoded = [msgspec.json.encode({"timestamp": "t"} | dict(zip(fields_, row, strict=True))) for row in rows]
    heads = Heads((), fields_).read(encoded)
    sequences = [first + n for n in range(len(rows))]
    framed = frame_metadata(fields_)(heads, sequences, SPOOL)
    for head, sequence, block in zip(heads, sequences, framed, strict=True):
        pairs = [(dict(fields(p))[1].decode(), dict(fields(p))[2].decode()) for _, p in fields(block)]
        assert pairs == list(pairs_of(head, fields_, f"{SPOOL}-{sequence}").items())
        assert pairs[0] == ("event_id", f"{SPOOL}-{sequence}")
        assert all(len(value.encode()) <= VALUE_BYTES for _, value in pairs)


@settings(deadline=None)
@given(st.text())
def test_metadata_never_ends_within_a_character(text: str) -> None:
    """A cut value is a beginning of the whole one, and valid UTF-8."""
    assert (text * 50).startswith(text_of(text * 50))


def test_names_are_those_that_loki_makes_of_them() -> None:
    """Dots and dashes become underscores; a digit in front gets a letter."""
    assert [wire_name(name) for name in ("a.b-c", "ok_1", "9lives")] == ["a_b_c", "ok_1", "key_9lives"]


def test_one_broken_line_costs_only_itself() -> None:
    """A line that is no JSON object, or holds a line break, has no head; the others have theirs."""
    heads = Heads(("level",), ()).read(
        [b'{"level":"INFO"}', b"{broken", b"[1]", b"", b'{"level":\n"WARNING"}', b'{"level":"ERROR"}']
    )
    assert [head and head.l0 for head in heads] == ["INFO", None, None, None, "WARNING", "ERROR"]


@settings(deadline=None)
@given(st.lists(st.integers(0, 999_999_999), min_size=1, max_size=130))
def test_nanoseconds_of_many_events_are_varints_of_five_bytes(nanos: list[int]) -> None:
    """Written all at once, each reads as itself."""
    framed = fives(framed_nanos(nanos))
    assert [read_varint(one, 0) for one in framed] == [(number, 5) for number in nanos]


@settings(deadline=None)
@given(st.lists(st.integers(0, 999_999), min_size=1, max_size=130), st.integers(0, 999))
def test_microseconds_that_are_digits_still_give_the_same_bytes(micros: list[int], first: int) -> None:
    """Read and framed all at once, they are what they are one by one."""
    digits = "".join(f"0{number:06}Z" for number in micros)
    nanos = [number * 1000 + place % 1000 for place, number in enumerate(micros, first)]
    assert framed_micros(digits.encode(), first) == framed_nanos(nanos)


@settings(deadline=None)
@given(st.integers(0, 23), st.characters(exclude_characters="0123456789Z") | st.just("Z"))
def test_what_are_no_microseconds_is_never_taken_for_some(place: int, odd: str) -> None:
    """One other character anywhere among those of three events."""
    digits = "0000000Z0123456Z0999999Z"
    if odd == "Z" and place % 8 == 7:
        return
    with pytest.raises(ValueError, match=r".*"):
        framed_micros((digits[:place] + odd + digits[place + 1 :]).encode(), 7)
