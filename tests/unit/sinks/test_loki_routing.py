"""Which event goes into which push, and when: without a clock, without a server."""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logferry.shipper.model import Batch
from logferry.shipper.sinks.loki.labels import LabelGuard, label_text, stream_labels
from logferry.shipper.sinks.loki.routing import LINE_BYTES, Route, Router
from logferry.shipper.sinks.loki.timestamps import AHEAD, LIVE_AGE, WINDOW, Lanes, Limit, parse_timestamp

NOW = 1_795_000_000.0
SPOOL = "ab" * 16
WEEK = 7 * 86400


def iso(second: int, micros: int = 0) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)) + f".{micros:06}Z"


def line(second: float, **fields: Any) -> bytes:
    stamp = iso(int(second), round(second % 1 * 1e6))
    return orjson.dumps({"timestamp": stamp, "level": "INFO", "service": "shop"} | fields)


def router(**options: Any) -> Router:
    return Router(
        options.pop("labels", ("service", "level", "kind")),
        options.pop("static", {}),
        ("user_id",),
        LabelGuard(options.pop("budget", 100)),
        Limit(WEEK),
        **options,
    )


def route(lines: list[bytes], given_router: Router | None = None, first: int = 1) -> Route:
    used = given_router or router()
    return used.route(Batch(SPOOL, range(first, first + len(lines)), lines), used.limit.bounds(NOW))


def test_live_events_keep_their_order_by_stream() -> None:
    """One push for each stream, in the batch's order, `kind` splitting access events off."""
    lines = [line(NOW), line(NOW - 1, kind="access"), line(NOW - 2), line(NOW, level="ERROR")]
    pushes = route(lines).pushes
    assert [(push.text, [row[0] for row in push.rows]) for push in pushes] == [
        ('{level="INFO", service="shop"}', [0, 2]),
        ('{kind="access", level="INFO", service="shop"}', [1]),
        ('{level="ERROR", service="shop"}', [3]),
    ]


@settings(deadline=None)
@given(st.integers(0, 4 * 10**9), st.integers(0, 999_999), st.integers(1, 10**18))
def test_the_sequence_fills_the_nanoseconds(second: int, micros: int, sequence: int) -> None:
    """A stamp is the event's microseconds and the sequence's last three digits, for any second."""
    lines = [line(NOW), orjson.dumps({"timestamp": iso(second, micros)})]
    used = router()
    used.limit.max_age = 10**10
    batch = Batch(SPOOL, [sequence, sequence + 1], [lines[1], lines[1]])
    found = used.route(batch, used.limit.bounds(float(max(second, 1))))
    rows = [row for push in found.pushes for row in push.rows]
    assert rows == [
        (0, second, micros * 1000 + sequence % 1000),
        (1, second, micros * 1000 + (sequence + 1) % 1000),
    ]


@pytest.mark.parametrize(
    "stamp",
    [
        "2026-11-18T12:00:00Z",
        "2026-11-18T12:00:00.000000Z",
        "2026-11-18T13:00:00.0+01:00",
        "2026-11-18T12:00:00.000000+00:00",
    ],
)
def test_other_forms_of_a_time_are_the_same_time(stamp: str) -> None:
    """Fractions of any length and any offset are read, also after an event of the usual form."""
    used = router()
    second = parse_timestamp(stamp)
    assert second is not None
    lines = [orjson.dumps({"timestamp": s}) for s in ("2026-11-18T12:00:00.000001Z", stamp)]
    found = used.route(Batch(SPOOL, [1, 2], lines), used.limit.bounds(second[0] + 5.0))
    assert [row[1:] for push in found.pushes for row in push.rows] == [(second[0], 1001), (second[0], 2)]


@pytest.mark.parametrize(
    "stamp",
    [None, 5, "", "yesterday", "2026-11-18T12:00:00", "2026-11-18T12:00:00.-12345Z", "1890-01-01T00:00:00Z"],
)
def test_an_event_without_a_usable_time_is_refused_alone(stamp: object) -> None:
    """The reason says so; the events beside it go out."""
    lines = [line(NOW), orjson.dumps({"timestamp": stamp}), b"no json", b"x" * (LINE_BYTES + 1), line(NOW)]
    found = route(lines)
    assert found.refused.keys() == {1, 2, 3}
    assert "timestamp" in found.refused[1].reason
    assert [row[0] for push in found.pushes for row in push.rows] == [0, 4]


# Far apart, and as near as the hour that matters.
ages = st.lists(st.floats(-2 * WEEK, 2 * WEEK) | st.integers(2, 40).map(lambda n: n * 600.0), max_size=40)


@settings(deadline=None)
@given(ages, st.sampled_from(["restamp", "dead_letter"]), st.lists(ages, max_size=3))
def test_loki_takes_every_entry_that_is_sent(
    times: list[float], old_events: Any, before: list[list[float]]
) -> None:
    """Whatever the order and ages: each event is sent once or refused, within Loki's bounds."""
    used = router(old_events=old_events)
    newest: dict[str, int] = {}
    for round_, some in enumerate([*before, times]):
        found = route([line(NOW - age) for age in some], used, first=1 + 100 * round_)
        sent = [row[0] for push in found.pushes for row in push.rows]
        assert sorted([*sent, *found.refused]) == list(range(len(some)))
        for push in found.pushes:
            for _, second, nanos in push.rows:
                assert NOW - WEEK - 1 <= second <= NOW + AHEAD
                assert 0 <= nanos < 10**9
                assert second >= newest.get(push.text, 0) - 3600
                newest[push.text] = max(newest.get(push.text, 0), second)
            if push.lane is not None and push.lane[1] >= 0:
                used.lanes.stored(*push.lane, max(row[1] for row in push.rows))
    assert len(newest) <= 10


def test_backfill_is_marked_and_sent_first_the_oldest_before() -> None:
    """What is over half an hour old leaves before the live events, oldest first, in pushes of a window."""
    ages = [10, 7200, LIVE_AGE + 60, 9000, 86400]
    pushes = route([line(NOW - age) for age in ages]).pushes
    assert [[row[0] for row in push.rows] for push in pushes] == [[4], [1, 3], [2], [0]]
    assert [push.labels.get("backfill") for push in pushes] == ["abababab-0"] * 3 + [None]
    assert all(abs(push.rows[-1][1] - push.rows[0][1]) <= WINDOW for push in pushes)


def test_a_restamped_event_gets_the_same_stamp_again() -> None:
    """So that a repeated delivery is dropped as a duplicate."""
    used = router()
    lines = [line(NOW - 2 * WEEK), line(NOW + 86400)]
    first, second = (
        route(lines, used).pushes,
        used.route(Batch(SPOOL, [1, 2], lines), used.limit.bounds(NOW + 3000)).pushes,
    )
    assert [p.rows for p in first] == [p.rows for p in second]


def test_a_label_past_its_budget_is_demoted_within_the_batch() -> None:
    """From the value after the budget on, no push has the label, and the metadata does."""
    used = router(labels=("service", "user"), budget=3)
    found = route([line(NOW, user=f"u{n}") for n in range(10)], used)
    assert used.guard.demoted == ["user"]
    assert [push.text for push in found.pushes] == ['{service="shop"}']
    assert all(b"user" in meta and b"u%d" % n in meta for n, meta in enumerate(found.metas))


def test_labels_are_text_that_loki_reads() -> None:
    """Quotes, backslashes and line breaks are escaped; empty values are left out; there is always a label."""
    assert (
        label_text(stream_labels(("a.b", "c"), ('q"\\\n', None), {"z": "1"})) == '{a_b="q\\"\\\\\\n", z="1"}'
    )
    assert stream_labels(("a",), ("",), {}) == {"service": "unknown"}


def test_a_refusal_teaches_its_bounds_once() -> None:
    """The bound in Loki's own words is taken when it is stricter, and what is no news is none."""
    limit = Limit(WEEK)
    used = limit.bounds(NOW)
    oldest = iso(int(NOW) - 7200)[:19] + "Z"
    body = f"entry for stream '{{}}' has timestamp too old: x, oldest acceptable timestamp is: {oldest}"
    learned = limit.learn(body, used)
    assert learned is not None
    assert learned.oldest == NOW - 7199
    assert limit.max_age == 7140
    assert limit.learn(body, learned) is None
    assert (
        limit.learn("timestamp too old, oldest acceptable timestamp is: 9999-99-99T99:99:99Z", used) is None
    )
    behind = body.replace("timestamp too old", "entry too far behind").replace("Z", "+00:00")
    assert limit.learn(behind, used) is None  # two hours behind is not live anyway


def test_lanes_are_taken_by_what_was_acknowledged() -> None:
    """The lane that is furthest on and still fits; a new one when none does; none when all are taken."""
    lanes = Lanes()
    assert lanes.choose("s", 1000) == 0
    lanes.stored("s", 0, 100_000)
    assert lanes.choose("s", 100_000 - WINDOW) == 0
    assert lanes.choose("s", 100_000 - WINDOW - 1) == 1
    for lane in range(1, 8):
        lanes.stored("s", lane, 100_000 - lane * 5000)
    assert lanes.choose("s", 10) is None
    assert lanes.choose("s", 200_000) == 0
