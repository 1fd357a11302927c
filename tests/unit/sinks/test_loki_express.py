"""The usual case in one pass, against the plain way: byte for byte, or not at all."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import orjson
import pytest
from effort import effort
from hypothesis import example, given, settings
from hypothesis import strategies as st

from logferry.handlers.schema import FIELDS
from logferry.shipper.model import Batch
from logferry.shipper.sinks.loki import express
from logferry.shipper.sinks.loki.express import Express
from logferry.shipper.sinks.loki.labels import LabelGuard
from logferry.shipper.sinks.loki.loop import Plan
from logferry.shipper.sinks.loki.protobuf import push_request
from logferry.shipper.sinks.loki.routing import LINE_BYTES, Router
from logferry.shipper.sinks.loki.timestamps import LIVE_AGE, WINDOW, Lanes, Limit

NOW = 1_795_000_000.0
SPOOL = "ab" * 16
METADATA = ("trace_id", "user_id", "endpoint", "status_code", "duration_ms", "failed", "voice")


def router(budget: int = 1000) -> Router:
    return Router(
        ("service", "level", "kind"),
        {"cluster": "one"},
        METADATA,
        LabelGuard(budget),
        Limit(7 * 86400),
        types={field.name: field.type for field in FIELDS},
        writers=True,
    )


def stamp(second: int, micros: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(NOW - second)) + f".{micros:06}Z"


def line(**fields: Any) -> bytes:
    return orjson.dumps({"timestamp": stamp(0, 1), "level": "INFO", "service": "shop"} | fields)


def plain(batch: Batch, later: float = 0, lanes: Lanes | None = None) -> dict[str, tuple[int, bytes]]:
    """Return what a router that has seen nothing but `lanes` makes of the batch, `later` seconds after it."""
    used = router()
    used.lanes = lanes or Lanes()
    found = used.route(batch, used.limit.bounds(NOW + later))
    assert not found.refused
    return {
        push.text: (len(push.rows), bytes(push_request(push.text, push.rows, batch.lines, found.metas)))
        for push in found.pushes
    }


def attributes(*names: str) -> set[str]:
    return {f"m{METADATA.index(name)}" for name in names}


def without(event: dict[str, Any]) -> dict[str, Any]:
    """Return the event without the fields that are `...`."""
    return {name: value for name, value in event.items() if value is not ...}


def fast(used: Router, batch: Batch, later: float = 0) -> dict[str, tuple[int, bytes]] | None:
    found = used.express(batch, used.limit.bounds(NOW + later), lambda: None)
    return None if found is None else {push.text: (push.events, bytes(push.body)) for push in found}


texts = st.none() | st.text(max_size=6) | st.sampled_from(["", "a" * 127, "b" * 128, "é" * 300, "x\x00\x80"])
numbers = (
    st.sampled_from([0, 1, -1, 200, 2**70, 0.0, 1.0, -0.0, 1.5, 1e300, 1e-7, 12.75])
    | st.sampled_from([1e-4, 9.999e-5, 0.00010000000000000002, 1e15, 9999999999999998.0, 1e16, -12.75])
    | st.floats(allow_nan=False, allow_infinity=False)
)
usual = st.fixed_dictionaries(
    {"timestamp": st.builds(stamp, st.sampled_from([0, 0, 0, 1, 900]), st.integers(0, 999_999))},
    optional={
        "level": st.sampled_from(["INFO", "ERROR", ""]),
        "service": texts,
        "kind": st.sampled_from(["access", None]),
        "trace_id": st.uuids().map(lambda u: u.hex) | st.just(""),
        "user_id": texts,
        "endpoint": st.sampled_from(["/a", "/ü", "/" + "b" * 200, None]),
        "status_code": st.none() | st.integers(-5, 600) | st.integers(-(2**70), 2**70),
        "duration_ms": st.none() | numbers,
        "failed": st.none() | st.booleans(),
        "voice": texts | numbers | st.booleans() | st.lists(st.integers(), max_size=2),
        "message": st.text(max_size=10) | st.integers(3900, 4200).map(lambda n: "m" * n),
    },
)
# Of a type that the schema does not know for the field, or with a time that is not the usual one.
unusual = st.sampled_from(
    [
        {"status_code": 200.0},
        {"status_code": True},
        {"failed": 1},
        {"user_id": 7},
        {"service": 5},
        {"timestamp": stamp(0, 5).replace("Z", "+00:00")},
        {"timestamp": stamp(8 * 86400, 5)},  # too old for a backfill stream, also alone
    ]
)

_long_lived = router()


def _dump(event: dict[str, Any]) -> bytes:
    return msgspec.json.encode(event)


@settings(max_examples=effort(50), deadline=None)
@given(
    st.lists(st.lists(usual, min_size=1, max_size=30), min_size=1, max_size=4),
    st.integers(1000, 10**18) | st.integers(1000, 1300),
    st.booleans(),
    st.sampled_from([0, 0, 7200, 6 * 86400]),
)
def test_one_pass_gives_what_the_plain_way_gives(
    batches: list[list[dict[str, Any]]], first: int, crowded: bool, later: int
) -> None:
    """Batches of any usual values, one after another: the same streams and the same bytes, whatever was seen.

    They are sent at once, or so much `later` that all of them are backfill. With `crowded` the table of
    combinations is full, and its fields are written one by one. Each batch goes twice: as something new, and
    as what the strict plan was made for.
    """
    used = router() if crowded else _long_lived
    if crowded:
        used._express._wide |= attributes("trace_id", "user_id", "endpoint", "status_code")
        used._express._crowded = True
    for events in batches:
        batch = Batch(SPOOL, range(first, first + len(events)), [_dump(event) for event in events])
        expected = plain(batch, later)
        for _ in range(2):
            assert fast(used, batch, later) == expected
            used._express._wait = 0  # the strict plan from here on


@settings(max_examples=effort(40), deadline=None)
@given(st.lists(usual, max_size=5), st.lists(usual, max_size=5), unusual)
@example([{"status_code": 1}], [{"status_code": 1}], {"status_code": True})
def test_what_is_not_usual_is_left_to_the_plain_way(
    before: list[dict[str, Any]], after: list[dict[str, Any]], odd: dict[str, Any]
) -> None:
    """An event of unknown form: the whole batch is given up, and the next one is as if nothing had been."""
    stamped = {"timestamp": stamp(0, 5)}
    good = [_dump(stamped | event) for event in (*before, *after)]
    lines = [*good[: len(before)], _dump(stamped | odd), *good[len(before) :]]
    assert fast(_long_lived, Batch(SPOOL, range(1000, 1000 + len(lines)), lines)) is None
    if good:
        batch = Batch(SPOOL, range(1000, 1000 + len(good)), good)
        assert fast(_long_lived, batch) == plain(batch)


def _of_ages(*ages: int) -> Batch:
    lines = [line(timestamp=stamp(age, 5), message=str(age)) for age in ages]
    return Batch(SPOOL, range(1000, 1000 + len(lines)), lines)


def test_old_events_go_to_the_lane_that_is_open_for_all_of_them() -> None:
    """Of two lanes, too far apart, partly live or too old: then the plain way sorts them."""
    used, now = router(), int(NOW)
    used.express(_of_ages(0), used.limit.bounds(NOW), lambda: None)
    (push,) = used.route(_of_ages(9_000), used.limit.bounds(NOW)).pushes
    assert push.lane is not None
    for lane, newest in enumerate((0, now - 20_000, now - 10_000)):
        if lane:
            used.lanes.stored(push.lane[0], lane - 1, newest)
        for ages in ((9_000, 8_000), (15_000, 14_000, 14_500), (30_000, 30_000 - WINDOW)):
            made = fast(used, _of_ages(*ages))
            assert made == plain(_of_ages(*ages), lanes=used.lanes)
            assert len(made) == 1
        assert f'backfill="abababab-{lane}"' in next(iter(made))
    for ages in ((13_100, 12_900), (30_000, 29_999 - WINDOW), (LIVE_AGE + 1, LIVE_AGE - 1), (7 * 86400 + 2,)):
        assert fast(used, _of_ages(*ages)) is None, ages


def test_a_line_that_brings_its_id_is_left_to_the_plain_way() -> None:
    """Among lines of known form, in strict and loose chunks; elsewhere `event_id` is a field like others."""
    used = router()
    carrying = b'{"event_id":"' + b"cd" * 16 + b'-7",' + line(message="m" * 99)[1:]
    other, usual = line(event_id="cd-7", message="m" * 99), line(message="m" * 99)
    for odd in (usual, carrying, other, carrying, usual):
        for wait in (0, 0, 5):
            used._express._wait = wait
            batch = Batch(SPOOL, range(1000, 1003), [usual, odd, usual])
            assert fast(used, batch) == (None if odd is carrying else plain(batch))


def test_lines_that_are_no_events_are_left_to_the_plain_way() -> None:
    """No JSON, no object, an empty line, two lines in one, too long, gaps and short sequences."""
    used = router()
    for odd in (b"nonsense", b"5", b"null", b"", b"{}", line() + b"\n" + line(), line(x="y" * LINE_BYTES)):
        assert fast(used, Batch(SPOOL, range(5000, 5002), [line(), odd])) is None
    assert fast(used, Batch(SPOOL, [5000, 5002], [line(), line()])) is None
    assert fast(used, Batch(SPOOL, range(999, 1001), [line(), line()])) is None
    assert fast(used, Batch(SPOOL, range(1000, 1002), [line(), line()])) is not None


def test_fields_with_many_values_are_written_one_by_one_from_then_on() -> None:
    """A crowded table finds the wide fields; chunks and thousands are crossed; the bytes stay the same."""
    used = router()
    lines = [
        line(trace_id=f"{n:032x}", endpoint=f"/{n % 7}", status_code=200 + n % 3, duration_ms=n / 7)
        for n in range(3000)
    ]
    for first in (1000, 4321):
        batch = Batch(SPOOL, range(first, first + len(lines)), lines)
        assert fast(used, batch) == plain(batch)
    strict = used._express._strict
    assert strict is not None
    assert {*strict.wide} == attributes("trace_id", "duration_ms")
    assert {*strict.keys} == attributes("endpoint", "status_code")
    assert len(strict._table) == 21


def test_what_is_new_to_the_strict_plan_is_read_by_the_loose_one() -> None:
    """A new value, one of many, a missing one, one where none was: each alone in a chunk of usual lines."""
    usual = {"endpoint": "/a", "status_code": 200, "duration_ms": 1.5, "failed": False, "message": "m" * 99}
    lines = [line(**usual) for _ in range(300)]
    news: list[dict[str, Any]] = [
        {"endpoint": ...},
        {"status_code": None},
        {"endpoint": "/b"},
        {"endpoint": "é" * 300},
        {"status_code": 2**60},
        {"failed": True},
        {"user_id": "u"},
        {"duration_ms": 1e-7},
        {"duration_ms": 0.00005},
        {"duration_ms": 1.2345678901234568e17},
        {"duration_ms": 1e300},
        {"duration_ms": 2**70},
        {"duration_ms": "odd"},
        {"duration_ms": [1]},
        {"voice": 7},
        {"level": "ERROR"},
        {"message": "short"},
    ]
    used, first = router(), 1000
    for new in [*news, *news]:
        odd = [*lines[:150], _dump(without(orjson.loads(lines[0]) | new)), *lines[150:]]
        for part in (lines, lines, odd, lines):
            used._express._wait = 0
            batch = Batch(SPOOL, range(first, first + len(part)), part)
            assert fast(used, batch) == plain(batch)
            assert part is odd or (used._express._strict is not None and used._express._wait <= 0), new
            first += len(part)


def test_a_table_that_is_crowded_by_few_values_each_makes_the_widest_of_them_wide() -> None:
    """Sixteen routes, statuses and users make 4,096 combinations: they do not empty the table for ever."""
    used = router()
    lines = [
        line(endpoint=f"/{n % 16}", status_code=200 + n // 16 % 16, user_id=f"u{n // 256}")
        for n in range(4096)
    ]
    for first in range(1000, 1000 + 4 * 4096, 4096):
        batch = Batch(SPOOL, range(first, first + len(lines)), lines)
        assert fast(used, batch) == plain(batch)
    assert not used._express._crowded


def test_values_that_never_end_make_few_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each chunk brings a label or a field's value that is new: plans are made ever more seldom."""
    made: list[bool] = []
    plan = Express._plan

    def counted(self: Express, *, strict: bool) -> Plan:
        made.append(strict)
        return plan(self, strict=strict)

    monkeypatch.setattr(Express, "_plan", counted)
    used = router(budget=10_000)
    lines = [line(service=f"s{n // 125 % 80}", endpoint=f"/{n // 125}") for n in range(125 * 100)]
    batch = Batch(SPOOL, range(1000, 1000 + len(lines)), lines)
    assert fast(used, batch) == plain(batch)
    assert 5 < len(made) < 20


def test_others_get_a_turn_between_chunks() -> None:
    """`rest` is called at least once for every chunk of events."""
    used = router()
    calls = []
    used.express(
        Batch(SPOOL, range(1000, 3000), [line()] * 2000), used.limit.bounds(NOW), lambda: calls.append(1)
    )
    assert len(calls) == 2000 // express.CHUNK


def test_a_label_past_its_budget_ends_the_fast_way_for_that_batch_only() -> None:
    """The plain way says which label fell; afterwards both agree on the streams that are left."""
    used = router(budget=3)
    lines = [line(service=f"s{n}") for n in range(10)]
    batch = Batch(SPOOL, range(1000, 1010), lines)
    assert fast(used, batch) is None
    assert used.guard.demoted == ["service"]
    again = fast(used, batch)
    assert again is not None
    assert list(again) == ['{cluster="one", level="INFO", writer="171"}']
    found = used.route(batch, used.limit.bounds(NOW))
    push = found.pushes[0]
    assert again[push.text][1] == push_request(push.text, push.rows, batch.lines, found.metas)
