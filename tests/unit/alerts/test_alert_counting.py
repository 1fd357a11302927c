"""Events counted as they pass, and the conditions that are read from the numbers."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logferry.shipper.alerts.conditions import Conditions
from logferry.shipper.alerts.counting import Counting
from logferry.shipper.alerts.readings import Readings
from logferry.shipper.alerts.rules import AlertPlan, Receiver, Rule
from logferry.shipper.model import Account, Batch, Delivered

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()


@dataclass
class World:
    """A clock, and a pipeline with books and states."""

    now: float = NOW
    books: dict[str, Account] = field(default_factory=dict)
    sinks: dict[str, Any] = field(default_factory=dict)

    def clock(self) -> float:
        return self.now

    def accounts(self) -> dict[str, Account]:
        return self.books

    def states(self) -> dict[str, Any]:
        return self.sinks

    def watch(self, *rules: Rule) -> tuple[Counting, Readings]:
        counting = Counting(self.clock)
        return counting, Readings(AlertPlan((Receiver("x", "webhook"),), rules), counting, self, self.clock)


@dataclass
class State:
    lag: float
    error: str = ""


def access(ago: float, endpoint: str = "/o", took: float = 10.0, **fields: object) -> dict[str, object]:
    stamp = f"{datetime.fromtimestamp(NOW - ago, UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    event = {"timestamp": stamp, "service": "shop", "message": f"GET {endpoint}", "kind": "access"}
    return {**event, "endpoint": endpoint, "duration_ms": took, "failed": False, **fields}


def pass_by(counting: Counting, *events: Mapping[str, object]) -> None:
    lines = [json.dumps(event).encode() for event in events]
    assert counting.send(Batch("s", range(1, len(lines) + 1), lines)) == Delivered()


def test_the_error_rate_of_an_endpoint() -> None:
    """A share above the limit of enough requests within the window; others are left alone."""
    counting, readings = World().watch(Rule("bad", "error_rate", above=0.05, window=300, at_least=20))
    pass_by(counting, *(access(number * 10, failed=number < 2) for number in range(20)))
    pass_by(counting, *(access(5, "/few", failed=True) for _ in range(19)))
    pass_by(counting, *(access(5, "/good", failed=number == 0) for number in range(20)))
    (found,) = readings.look()
    assert (found.rule, found.labels) == ("bad", {"service": "shop", "endpoint": "/o"})
    assert found.value == pytest.approx(0.1)
    assert found.summary == "shop /o: 10.0% of 20 requests failed within 5 min (limit 0.05)"
    assert [json.loads(line)["failed"] for line in found.samples] == [True, True]


def test_without_a_flag_the_status_decides() -> None:
    """What an agent's parser reads has no `failed`."""
    counting, readings = World().watch(Rule("bad", "error_rate", above=0.5))
    pass_by(counting, access(1, failed=None, status_code=503), access(1, failed=None, status_code=404))
    assert not [*readings.look()]
    pass_by(counting, access(1, failed=None, status_code=500))
    assert [one.value for one in readings.look()] == [pytest.approx(2 / 3)]


def test_a_backlog_is_no_wave_of_errors_now() -> None:
    """Windows are of the events' own time; what comes from the future is left out as well."""
    counting, readings = World().watch(Rule("bad", "error_rate", above=0.05, window=300))
    pass_by(counting, access(400, failed=True), access(-120, failed=True))
    assert not [*readings.look()]


def test_what_has_left_the_window_is_forgotten() -> None:
    """Neither counted nor held."""
    world = World()
    counting, readings = world.watch(Rule("bad", "error_rate", above=0.05, window=300))
    pass_by(counting, access(200, failed=True))
    assert len([*readings.look()]) == 1
    world.now += 150
    assert not [*readings.look()]
    assert not any(tally.steps for tally in counting._tallies.values())


def test_p95_keeps_the_lines_that_were_slow() -> None:
    """The sentence has the limit, the samples are those above it."""
    counting, readings = World().watch(Rule("slow", "p95", above=1000, window=300, at_least=10))
    pass_by(
        counting,
        *(access(9, took=2000.0 if number < 2 else 50.0, trace_id=f"{number}") for number in range(20)),
    )
    (found,) = readings.look()
    assert found.value == pytest.approx(2000, rel=0.03)
    assert "over 20 requests within 5 min (limit 1,000 ms)" in found.summary
    assert [json.loads(line)["trace_id"] for line in found.samples] == ["0", "1"]


@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=200))
def test_a_quantile_is_right_to_some_per_cent(values: list[float]) -> None:
    """Between the neighbours of the exact one, but for the width of a step."""
    counting, _ = World().watch(Rule("slow", "p95", above=0))
    pass_by(counting, *(access(1, took=value) for value in values))
    (total,) = counting.totals(None, 300).values()
    exact = sorted(values)[max(0, -int(-0.95 * len(values) // 1) - 1)]
    found = total.quantile(0.95)
    assert found is not None
    assert exact * 0.95 <= found <= exact * 1.05


def test_a_filter_narrows() -> None:
    """`match` sees the whole event; rules without one still see all."""
    only = Rule("mine", "error_rate", above=0.1, match=lambda event: event.get("region") == "eu")
    counting, readings = World().watch(only, Rule("all", "error_rate", above=0.1))
    pass_by(counting, access(1, region="eu"), access(1, region="us", failed=True))
    assert [(one.rule, one.value) for one in readings.look()] == [("all", 0.5)]


def test_a_service_that_falls_silent() -> None:
    """Heard of and then not any more; whoever is silent for a day was taken out of service."""
    world = World()
    counting, readings = world.watch(Rule("quiet", "silence", window=600))
    pass_by(counting, access(0), {**access(500), "service": "stock", "kind": None})
    assert not [*readings.look()]
    world.now += 300
    (found,) = readings.look()
    assert found.labels == {"service": "stock"}
    assert found.summary == "stock: no logs for 13 min (the last line is of 2026-03-01 11:51:40Z)"
    world.now += 25 * 3600
    assert not [*readings.look()]
    assert not dict(counting.last_seen())


def test_a_service_that_is_expected_and_never_comes() -> None:
    """Named services count from the agent's beginning."""
    world = World()
    counting, readings = world.watch(Rule("quiet", "silence", window=600, services=("mailer",)))
    pass_by(counting, access(0))
    assert not [*readings.look()]
    world.now += 601
    (found,) = readings.look()
    assert found.summary == "mailer: no logs for 10 min (never since the agent began)"


def test_a_sink_that_is_behind() -> None:
    """With what it says of itself; the alerts' own reader is no sink that anybody waits for."""
    world = World(sinks={"loki": State(75, "connection refused"), "search": State(59), "alerts": State(900)})
    _, readings = world.watch(Rule("lag", "lag", above=60))
    (found,) = readings.look()
    assert found.summary == "sink loki is 75 s behind (limit 60 s): connection refused"


def test_records_that_were_dropped() -> None:
    """What the books had at the beginning is no news; nor is it when the window is over."""
    world = World(books={"loki": Account(dropped={"full": 5}), "alerts": Account(dropped={"full": 9})})
    _, readings = world.watch(Rule("lost", "dropped", window=600))
    readings.begin()
    world.books["loki"].dropped["full"] = 12
    for _ in range(2):
        (found,) = readings.look()
        assert (found.labels, found.value) == ({"sink": "loki", "reason": "full"}, 7)
        assert found.summary == "sink loki dropped 7 records within 10 min: full"
        world.now += 299
    assert len([*readings.look()]) == 1
    world.now += 15
    assert not [*readings.look()]


def test_it_stays_small_and_takes_anything() -> None:
    """Endpoints without number, lines that are no events: counted together or left out, never raised."""
    counting, _ = World().watch(Rule("bad", "error_rate", above=0.05))
    pass_by(counting, *(access(1, f"/{number}") for number in range(6_000)))
    found = counting.totals(None, 300)
    assert len(found) == 5_001
    assert found["more", ""].requests == 1_000
    odd = [
        b"",
        b"[]",
        b"{}",
        b'{"timestamp":1}',
        b'{"timestamp":"\xff"}',
        b'{"timestamp":"9","kind":"access"}',
    ]
    odd.append(json.dumps(access(21, {"a": 1}, duration_ms="x", failed="y", status_code=True)).encode())  # type: ignore[arg-type]
    odd += [
        json.dumps(access(21, took=value)).encode() for value in (0, -1, 10**400, random.Random(1).random())
    ]
    assert counting.send(Batch("s", range(1, len(odd) + 1), odd)) == Delivered()
    assert counting.totals(None, 300)["shop", ""].requests == 1


def test_a_restart_is_no_recovery() -> None:
    """Counts begin with nothing: what fired goes on until it can be judged, or a whole window has passed."""
    rule = Rule("bad", "error_rate", above=0.05, window=300, at_least=3)
    counting, readings = World().watch(rule)
    pass_by(counting, *(access(5, failed=True) for _ in range(3)))
    before = Conditions().step(readings.look(), NOW).values()
    world = World()
    counting, readings = world.watch(rule)
    (found,) = readings.look(before)
    assert found.summary.startswith("shop /o: 100.0% of 3 requests")
    pass_by(counting, *(access(1) for _ in range(3)))
    assert not [*readings.look(before)]
    counting, readings = world.watch(rule)
    world.now += 301
    assert not [*readings.look(before)]


def test_who_was_heard_of_is_known_after_a_restart() -> None:
    """Else a service that fell silent while the agent was away would be missed."""
    counting, _ = World().watch()
    pass_by(counting, access(700))
    other, readings = World().watch(Rule("quiet", "silence", window=600))
    other.load(counting.dump())
    assert [one.labels for one in readings.look()] == [{"service": "shop"}]
