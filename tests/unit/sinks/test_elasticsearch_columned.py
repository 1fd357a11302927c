"""Events framed by the times beside their lines: byte for byte what the plain way gives, or left to that."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logferry.shipper.core.columns import Columns, pack
from logferry.shipper.core.ended import Ended
from logferry.shipper.model import Batch, Beside, Rejected
from logferry.shipper.sinks.elasticsearch import columned, framing

SPOOL = uuid.UUID(int=7).hex
Events = Sequence[dict[str, Any]]

pytestmark = pytest.mark.usefixtures("small_frames_too")


def columns_of(events: Events, chance: random.Random) -> bytes:
    """Return what a source may write beside these events."""
    columns = Columns(len(events), list({name: 0 for event in events for name in event}), {}, {}, {}, {})
    for name in columns.names:
        values = [event.get(name) for event in events]
        same = len({repr(value) for value in values}) == 1
        even = all(type(value) is str and value.isascii() and value for value in values)
        if same and chance.random() < 0.7:
            columns.alike[name] = values[0]
        elif even and len({len(value or "") for value in values}) == 1 and chance.random() < 0.9:
            columns.even[name] = "".join(map(str, values)).encode()
        elif chance.random() < 0.8:
            columns.each[name] = values
        else:
            columns.few[name] = values[:255], bytes(min(place, 254) for place in range(len(values)))
    return pack(columns)


def batch_of(events: Events, first: int, chance: random.Random) -> Batch:
    """Return a batch of events in frames, most with columns; it may begin and end within one."""
    lines = [msgspec.json.encode(event) for event in events]
    beside, at = [], 0
    while at < len(events):
        count = min(len(events) - at, chance.choice((1, 3, 40)))
        if chance.random() < 0.9:
            beside.append(Beside(first + at, count, columns_of(events[at : at + count], chance)))
        at += count
    start = chance.randrange(len(events))
    stop = chance.randrange(start, len(events)) + 1
    taken: Sequence[bytes] = lines[start:stop]
    if chance.random() < 0.7:
        taken = Ended([line + b"\n" for line in taken])
    return Batch(SPOOL, range(first + start, first + stop), taken, beside=beside)


stamps = st.one_of(
    st.integers(0, 999_999).map(lambda micros: f"2026-08-01T10:00:00.{micros:06}Z"),
    st.sampled_from(["2026-08-01T10:00:01.000000Z", "2026-08-01T10:00:00Z", "2026-08-01T12:00:00.5+02:00"]),
    st.sampled_from(["", '2026-08-01T10:00:00.00000"Z', "2026-08-01T10:00:00.00000\\Z", "now", "\x7f" * 27]),
    st.none(),
)
ids = st.sampled_from([f"{SPOOL}-7", "no number"])
usual = st.fixed_dictionaries(
    {"service": st.just("shop"), "timestamp": stamps}, optional={"order": st.integers(0, 99)}
)
odd = st.fixed_dictionaries({"event_id": ids, "timestamp": stamps}) | st.fixed_dictionaries({"é": st.none()})
firsts = st.sampled_from([1, 90, 995, 9_970, 12_345, 99_990])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(usual, min_size=1, max_size=60) | st.lists(usual | odd, min_size=1, max_size=20),
    firsts,
    st.integers(0, 2**32),
)
def test_both_ways_write_the_same(events: Events, first: int, seed: int) -> None:
    """Whatever the events hold, and wherever frames and batches are cut."""
    found = batch_of(events, first, random.Random(seed))
    plain = Batch(found.spool, found.sequences, list(found.lines))
    refused: tuple[dict[int, Rejected], dict[int, Rejected]] = ({}, {})
    fast = bulk(found, rest, refused[0])
    with mock.patch.object(framing, "by_decoding", return_value=None):
        slow = bulk(plain, rest, refused[1])
    assert fast[0] == slow[0]
    assert list(fast[1]) == list(slow[1])
    assert refused[0] == refused[1]
    decoded: dict[int, Rejected] = {}
    assert bulk(plain, rest, decoded)[0] == slow[0]
    assert decoded == refused[1]


@pytest.mark.parametrize("first", [1, 600, 9_400, 99_000, 123_456])
@pytest.mark.parametrize("seconds", [1, 2])
def test_usual_events_are_framed_by_their_columns(
    first: int, seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has its own id and time; a line that is none, in a frame without columns, is refused alone."""
    framed = 0
    real = columned.by_columns

    def counted(one: Beside, sequence: int, lines: Sequence[bytes], spool: bytes) -> bytes | None:
        nonlocal framed
        body = real(one, sequence, lines, spool)
        framed += 0 if body is None else len(lines)
        return body

    monkeypatch.setattr(framing, "by_columns", counted)
    moments = [f"2026-08-01T10:00:{n % seconds:02}.{n:06}Z" for n in range(1500)]
    events = [{"service": "shop", "timestamp": moment, "order": n} for n, moment in enumerate(moments)]
    beside = [
        Beside(first + at, 500, columns_of(events[at : at + 500], random.Random(3))) for at in (0, 500, 1000)
    ]
    lines = [*map(msgspec.json.encode, events), b"[]", msgspec.json.encode(events[0])]
    refused: dict[int, Rejected] = {}
    ended = Ended([line + b"\n" for line in lines])
    body, indexes = bulk(Batch(SPOOL, range(first, first + 1502), ended, beside=beside), rest, refused)
    assert framed == 1500
    assert list(indexes) == [*range(1500), 1501]
    assert list(refused) == [1500]
    rows = list(map(json.loads, body.splitlines()))
    for index, action, event in zip(indexes, rows[::2], rows[1::2], strict=True):
        own = f"{SPOOL}-{first + index}"
        wanted = events[index % 1501]
        assert action == {"create": {"_id": own}}
        assert event == {**wanted, "@timestamp": wanted["timestamp"], "event_id": own}


_TIMED = b'"timestamp":"2026-08-01T10:00:00.000001Z"}'
ODD = [
    b"[]",
    b"",
    b"x",
    b" {" + _TIMED,
    b'{"a":',
    b"{" + _TIMED + b"{" + _TIMED,
    b"{" + _TIMED + b"\n{" + _TIMED,
]
ODD += [
    b"{\n" + _TIMED,
    b'{"a":1,' + _TIMED[:-3] + b'"}',
    b'{"event_id":"ab-7",' + _TIMED,
    b'{"a":"\xff"}',
    b"{}",
]


@pytest.mark.parametrize("odd", [None, *ODD], ids=str)
def test_lines_without_columns_are_decoded_together(odd: bytes | None) -> None:
    """Unless one of them is odd: then each is looked at by itself, with the same outcome."""
    lines = [b'{"service":"shop","timestamp":"2026-08-01T10:00:00.%06dZ"}' % n for n in range(1200)]
    lines[600] = lines[600] if odd is None else odd
    found = Batch(SPOOL, range(9_800, 11_000), lines)
    refused: tuple[dict[int, Rejected], dict[int, Rejected]] = ({}, {})
    with mock.patch.object(framing, "by_decoding", side_effect=columned.by_decoding) as used:
        fast = bulk(found, rest, refused[0])
    made = [len(call.args[1]) for call in used.call_args_list]
    assert made == [200, 500, 500]
    with mock.patch.object(framing, "by_decoding", return_value=None):
        slow = bulk(found, rest, refused[1])
    assert fast[0] == slow[0]
    assert list(fast[1]) == list(slow[1])
    assert refused[0] == refused[1]
    whole = [
        columned.by_decoding(10_000 + at, [line + b"\n" for line in lines[at : at + 500]], b"x")
        for at in (0, 500)
    ]
    assert [body is not None for body in whole] == [True, odd is None]


def test_columns_that_are_not_of_these_lines_are_left() -> None:
    """Of other lines than there are, or what another version wrote."""
    events = [{"timestamp": f"2026-08-01T10:00:00.{n:06}Z"} for n in range(4)]
    lines = [msgspec.json.encode(event) + b"\n" for event in events]
    for other in (
        columns_of(events[:2], random.Random(3)),
        columns_of(events, random.Random(3))[:-9],
        b"\xc1",
    ):
        assert columned.by_columns(Beside(7, 4, other), 7, lines, SPOOL.encode()) is None


def bulk(batch: Batch, rest: Callable[[], None], refused: dict[int, Rejected]) -> tuple[bytes, Sequence[int]]:
    """Return the whole body, and its events' indexes."""
    pieces, indexes = framing.bulk(batch, rest, refused)
    return b"".join(pieces), indexes


def rest() -> None:
    """Take no rest."""
