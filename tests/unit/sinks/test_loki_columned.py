"""Events framed by the columns beside them: byte for byte what the plain way gives, or not at all."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logferry.handlers.schema import FIELDS
from logferry.shipper.core.columns import Columns, pack, unpack
from logferry.shipper.core.ended import Ended, cut
from logferry.shipper.model import Batch, Beside
from logferry.shipper.sinks.loki.columned import Columned
from logferry.shipper.sinks.loki.express import Express
from logferry.shipper.sinks.loki.labels import LabelGuard
from logferry.shipper.sinks.loki.protobuf import push_request
from logferry.shipper.sinks.loki.routing import Router
from logferry.shipper.sinks.loki.timestamps import Limit

NOW = 1_795_000_000.0
SPOOL = "ab" * 16
LABELS = ("service", "level", "kind")
METADATA = ("trace_id", "user_id", "endpoint", "status_code", "duration_ms", "failed", "error_pattern")
ASKED = ("timestamp", *LABELS, *METADATA)
Events = list[dict[str, Any]]

pytestmark = pytest.mark.usefixtures("small_frames_too")


@pytest.fixture
def framed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many events were framed by their columns, call by call."""
    counts: list[int] = []
    real = Express._by_columns

    def counted(self: Express, columned: Any, lines: Sequence[bytes], first: int) -> bool:
        done = real(self, columned, lines, first)
        counts.append(len(lines) if done else 0)
        return done

    monkeypatch.setattr(Express, "_by_columns", counted)
    return counts


def router() -> Router:
    types = {field.name: field.type for field in FIELDS}
    limit = Limit(7 * 86400)
    return Router(LABELS, {"cluster": "one"}, METADATA, LabelGuard(1000), limit, types=types, writers=True)


def stamp(second: int, micros: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(NOW - second)) + f".{micros:06}Z"


def columns_of(events: Events, chance: random.Random | None = None) -> Columns:
    """Return columns that say what the events hold, each field in the usual way, or in any that there is."""
    columns = Columns(len(events), list({name: 0 for event in events for name in event}), {}, {}, {}, {})
    for name in columns.names:
        values = [event.get(name) for event in events]
        texts = {repr(value): value for value in values}
        ways = ["each"]
        if len(texts) < 256:
            ways += ["few"] * 3
        if len(texts) == 1:
            ways += ["alike"] * 3
        ascii_texts = all(type(value) is str and value.isascii() for value in values)
        if ascii_texts and len({len(value or "") for value in values}) == 1 and values[0]:
            ways += ["even"] * 5
        way = ways[-1] if chance is None else chance.choice(ways)
        if way == "alike":
            columns.alike[name] = values[0]
        elif way == "even":
            columns.even[name] = "".join(map(str, values)).encode()
        elif way == "few":
            order = list(texts)
            columns.few[name] = list(texts.values()), bytes(order.index(repr(value)) for value in values)
        else:
            columns.each[name] = values
    return columns


def batch_of(events: Events, first: int, chance: random.Random, cut: int = 0) -> Batch:
    """Return a batch of events in frames with columns, without the first `cut` events."""
    lines = [orjson.dumps(event) for event in events]
    beside, at = [], 0
    while at < len(events):
        count = min(len(events) - at, chance.choice((1, 7, 300, 700)))
        if chance.random() < 0.9:
            packed = pack(columns_of(events[at : at + count], chance))
            beside.append(Beside(first + at, count, packed))
        at += count
    return Batch(SPOOL, range(first + cut, first + len(events)), lines[cut:], beside=beside)


def plain(batch: Batch, later: float = 0) -> dict[str, tuple[int, bytes]]:
    used = router()
    found = used.route(batch, used.limit.bounds(NOW + later))
    assert not found.refused
    return {
        push.text: (len(push.rows), bytes(push_request(push.text, push.rows, batch.lines, found.metas)))
        for push in found.pushes
    }


def fast(used: Router, batch: Batch, later: float = 0) -> dict[str, tuple[int, bytes]] | None:
    found = used.express(batch, used.limit.bounds(NOW + later), lambda: None)
    return None if found is None else {push.text: (push.events, bytes(push.body)) for push in found}


texts = st.text(max_size=6) | st.sampled_from(["", "a" * 127, "b" * 128, "é" * 300, "x\x00\x80", "c" * 500])
numbers = st.sampled_from([0, 1, -1, 0.0, 1.0, -0.0, 1.5, 1e300, 1e-7, 12.75, 1e15, 1e16, -12.75, 2**63])
usual = st.fixed_dictionaries(
    {
        "timestamp": st.builds(stamp, st.sampled_from([0, 0, 0, 1, 900]), st.integers(0, 999_999)),
        "message": st.integers(100, 300).map(lambda n: "m" * n) | st.sampled_from(["", "m" * 4100]),
    },
    optional={
        "level": st.sampled_from(["INFO", "ERROR", ""]),
        "service": st.just("shop"),
        "kind": st.sampled_from(["access", None]),
        "trace_id": st.uuids().map(lambda u: u.hex),
        "user_id": texts,
        "endpoint": st.sampled_from(["/a", "/ü", "/" + "b" * 200, None]),
        "status_code": st.none() | st.integers(-5, 600) | st.integers(-(2**63), 2**63),
        "duration_ms": st.none() | numbers | st.floats(allow_nan=False, allow_infinity=False),
        "failed": st.none() | st.booleans(),
        "error_pattern": texts,
    },
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(usual, min_size=1, max_size=40),
    st.integers(1000, 10**18) | st.integers(1000, 1300),
    st.randoms(use_true_random=False),
    st.integers(0, 20),
    st.sampled_from([0, 86400]),
)
def test_columns_give_what_the_plain_way_gives(
    events: Events, first: int, chance: random.Random, cut: int, later: int
) -> None:
    """Any values, said in any way, in frames of any size of which the batch may hold a part; live or old."""
    batch = batch_of(events, first, chance, min(cut, len(events) - 1))
    assert fast(router(), batch, later) == plain(batch, later)


def request(number: int, chance: random.Random) -> dict[str, Any]:
    return {
        "timestamp": stamp(0, number),
        "level": chance.choice(("INFO", "INFO", "INFO", "ERROR")),
        "service": "shop",
        "trace_id": f"{chance.getrandbits(128):032x}",
        "user_id": f"u{chance.randrange(10**6)}",
        "status_code": chance.choice((200, 404)),
        "duration_ms": chance.choice((0.0, -0.0, round(chance.expovariate(0.1), 3))),
        "failed": chance.choice((True, False)),
        "message": "m" * chance.randrange(100, 200),
    }


@pytest.mark.parametrize("first", [1234, 9_300, 99_990])
@pytest.mark.parametrize("seconds", [1, 3])
def test_usual_events_are_not_decoded(first: int, seconds: int, framed: list[int]) -> None:
    """As a spool gives them, of several streams, over the borders of frames, of thousands, of more digits."""
    chance = random.Random(1)
    events = [request(number, chance) for number in range(1100)]
    for number, event in enumerate(events):
        event["timestamp"] = stamp(number % seconds, number)
    columns = [columns_of(events[at : at + 500]) for at in range(0, 1100, 500)]
    lines = Ended(cut(b"\n".join(map(orjson.dumps, events))))
    beside = [Beside(first + 500 * at, one.count, pack(one)) for at, one in enumerate(columns)]
    batch = Batch(SPOOL, range(first, first + 1100), lines, beside=beside)
    assert fast(router(), batch) == plain(batch)
    assert sum(framed) == 1100


@pytest.mark.parametrize(
    "odd", [True, False, "", "x", "1,2", 'é"', 1, -(2**63), 1e300, 1e-7, "m" * 200], ids=str
)
def test_numbers_that_are_none_are_written_as_they_are(odd: Any, framed: list[int]) -> None:
    """A value of another type among a field's numbers, as the plain way has it, or left to others."""
    chance = random.Random(2)
    events = [request(number, chance) for number in range(20)]
    events[9]["duration_ms"] = odd
    columns = columns_of(events)
    columns.few.pop("duration_ms", None)
    columns.each["duration_ms"] = [event["duration_ms"] for event in events]
    lines = [orjson.dumps(event) for event in events]
    batch = Batch(SPOOL, range(1000, 1020), lines, beside=[Beside(1000, 20, pack(columns))])
    found = fast(router(), batch)
    assert found is None or found == plain(batch)
    assert sum(framed) == (0 if len(str(odd)) > 99 and isinstance(odd, str) else 20)


WRONG: dict[str, Any] = {
    "a type that is not the field's": {"status_code": 200.0},
    "true for a number": {"status_code": True},
    "a number for a text": {"user_id": 7},
    "an id of its own": {"event_id": "cd-7"},
    "a time of another form": {"timestamp": stamp(0, 5).replace("Z", "+00:00")},
    "old": {"timestamp": stamp(3 * 86400, 5)},
}


def test_a_label_has_the_type_of_its_field() -> None:
    """1 and true are equal and have different texts: a stream's text is found by its labels' values."""
    columns = Columns(2, ["timestamp", "status_code"], {}, {}, {}, {"status_code": [1, True]})
    columns.alike["timestamp"] = stamp(0, 5)
    beside, types = Beside(1000, 2, pack(columns)), {"status_code": "integer"}
    assert not Columned(beside, ("status_code",), (), types).fits
    assert Columned(beside, (), ("status_code",), types).fits


@pytest.mark.parametrize("way", ["usual", "each"])
@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_not_usual_is_left_to_others(wrong: str, way: str, framed: list[int]) -> None:
    """One such event among a frame's: none of the frame is framed by its columns."""
    chance = random.Random(2)
    events = [request(number, chance) | {"timestamp": stamp(0, 7)} for number in range(20)]
    events[9] |= WRONG[wrong]
    columns = columns_of(events)
    name = next(iter(WRONG[wrong]))
    if way == "each" and columns.few.pop(name, None):
        columns.each[name] = [event.get(name) for event in events]
    packed = pack(columns)
    lines = [orjson.dumps(event) for event in events]
    batch = Batch(SPOOL, range(1000, 1020), lines, beside=[Beside(1000, 20, packed)])
    found = fast(router(), batch)
    assert found is None or found == plain(batch)
    # A number's text is what it is, whatever its field's type.
    assert sum(framed) == (20 if way == "each" and name == "status_code" else 0)


@pytest.mark.parametrize(("size", "by_columns"), [(0, 20), (4100, 0)])
def test_lines_without_a_table_are_decoded(size: int, by_columns: int, framed: list[int]) -> None:
    """One long line among a frame's; a short one has its place in the table."""
    events = [request(number, random.Random(4)) for number in range(20)]
    events[9] = {"timestamp": stamp(0, 9), "level": "INFO", "message": "m" * size}
    lines = [orjson.dumps(event) for event in events]
    beside = [Beside(1000, 20, pack(columns_of(events)))]
    batch = Batch(SPOOL, range(1000, 1020), lines, beside=beside)
    assert fast(router(), batch) == plain(batch)
    assert framed == [by_columns]


def test_columns_that_are_not_whole_are_not_believed(framed: list[int]) -> None:
    """Rubbish, columns of more lines or fewer, and values that do not go up."""
    chance = random.Random(3)
    events = [request(number, chance) for number in range(20)]
    lines = [orjson.dumps(event) for event in events]
    good = pack(columns_of(events))
    names, ids = ["timestamp"], {"timestamp": b"x" * 540}
    bad = [b"", b"rubbish", good[:-1], pack(columns_of(events[:19]))]
    bad += [pack(Columns(20, names, {}, {"timestamp": b"x" * 539}, {}, {}))]
    bad += [pack(Columns(20, [*names, "level"], {}, ids, {"level": (["INFO"], b"\1" * 20)}, {}))]
    bad += [pack(Columns(20, [*names, "level"], {}, ids, {"level": (["INFO"], b"\0" * 19)}, {}))]
    bad += [pack(Columns(20, [*names, "level"], {}, ids, {}, {"level": ["INFO"] * 19}))]
    for held in bad:
        batch = Batch(SPOOL, range(1000, 1020), lines, beside=[Beside(1000, 20, held)])
        assert fast(router(), batch) == plain(batch)
    assert not framed
    assert unpack(good) is not None
