"""A real Elasticsearch behind a proxy that misbehaves: nothing is lost, nothing is there twice.

What holds during and after each fault stands at the top of tests/servers/lane.py. A run tries a part of the
faults; LOGFERRY_EFFORT=10 tries all of them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from effort import effort, factor
from evidence import Evidence
from servers.elasticsearch import ElasticsearchServer
from servers.lane import Fault, Lane, Lanes, trial
from servers.wire import FAULTS, LONG, STORED

pytestmark = [
    pytest.mark.integration,
    pytest.mark.server("elasticsearch"),
    pytest.mark.timeout(1800),
    pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc"),
]

PASSING = {"100 Continue three times first"}
PAUSES = LONG | {"body after a 204"}  # 204 is Loki's acknowledgement, not Elasticsearch's
PARTS = 8


class SearchLane(Lane):
    """The same with Elasticsearch."""

    sink = "search"
    timeout = 2.0  # making a data stream takes a busy machine half of that

    def sink_config(self) -> dict[str, Any]:
        return {
            "type": "elasticsearch",
            "hosts": [self.proxy.url],
            "data_stream": self.service,
            "index_settings": {"number_of_replicas": "0"},
        }

    def stored_there(self, at_least: int) -> list[str]:
        ids: list[str] = self.server.ids(self.service)  # after a refresh: what is there is seen
        return ids


@pytest.fixture
def lanes(elasticsearch: ElasticsearchServer, tmp_path: Path) -> Iterator[Lanes]:
    made = Lanes(tmp_path, elasticsearch, SearchLane)
    yield made
    made.close()


def wire_trial(name: str, *, stops: bool) -> Callable[[Lane], None]:
    """One of the faults that the proxy knows."""

    def run(lane: Lane) -> None:
        def struck() -> None:
            lane.proxy.wait_until_struck(1 if name in PAUSES | PASSING else 2)
            pending = lane.app.accounts()[lane.sink]["pending"]
            assert name in PASSING or pending, "delivered through the fault"

        trial(lane, Fault(lambda: lane.proxy.strike(FAULTS[name]), struck, lane.proxy.heal), stops=stops)

    return run


def says(lane: Lane, words: str) -> Callable[[], None]:
    """Wait until the sink's state is trouble that is told in these words."""

    def wait() -> None:
        deadline = time.monotonic() + 20
        while words not in (error := lane.app.states()[lane.sink][1]):
            assert time.monotonic() < deadline, f"{words!r} is not in {error!r}"
            time.sleep(0.02)

    return wait


def refused(*, stops: bool) -> Callable[[Lane], None]:
    def run(lane: Lane) -> None:
        fault = Fault(lane.proxy.refuse, says(lane, "connection refused"), lane.proxy.heal)
        trial(lane, fault, stops=stops)

    return run


def finish(lanes: Lanes, evidence: Evidence, row: str, tried: int) -> None:
    lost = sum(lane.compare() for lane in lanes.all if lane.app.numbers)
    evidence(row, tried=tried, lost=lost)
    assert lost == 0


def chosen() -> list[str]:
    """Return all faults, or a part: those that hide from the client that it was stored are all in it."""
    if factor() >= PARTS:
        return sorted(FAULTS)
    return [*sorted(set(FAULTS) - STORED)[::PARTS], *sorted(STORED)]


def test_the_wire(lanes: Lanes, evidence: Evidence) -> None:
    """Faults on the way to Elasticsearch and back; and nobody listening."""
    trials = [(name, wire_trial(name, stops=number % 2 == 0)) for number, name in enumerate(chosen())]
    trials += [("refused", refused(stops=False))]
    lanes.run(trials)
    finish(lanes, evidence, "Elasticsearch cuts, hangs, refuses, answers what is no answer", len(trials))


def test_elasticsearch_is_killed_and_comes_back(
    lanes: Lanes, elasticsearch: ElasticsearchServer, evidence: Evidence
) -> None:
    """SIGKILL in the middle of the load; what it had acknowledged it still has."""
    rounds = effort(1)
    for number in range(rounds):
        fault = Fault(elasticsearch.kill, says(lanes.all[0], "cut"), elasticsearch.start)
        trial(lanes.all[0], fault, stops=number % 2 == 1)
    finish(lanes, evidence, "Elasticsearch killed (SIGKILL) and started again", rounds)
