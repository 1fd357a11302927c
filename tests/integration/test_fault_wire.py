"""Every fault of the wire, at each sink that speaks HTTP and is not Loki (test_fault_proxy has that one).

What holds during and after each fault stands at the top of tests/servers/lane.py. These are variants of what
the matrix (test_fault_matrix.py) tries in CI, so they run with LOGFERRY_EFFORT=5 and more.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from effort import factor
from evidence import Evidence
from servers.cells import Meeting
from servers.lane import Fault, trial
from servers.receivers import HttpReceiver, Receiver
from servers.sinklanes import LANES, SinkLane
from servers.wire import FAULTS, STORED

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(3000),
    pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc"),
    pytest.mark.skipif(factor() < 5, reason="make prove: CI samples the matrix instead"),
]

ANY_2XX = {"http", "otlp"}
"""Sinks to which any 204 is an acknowledgement, as to Loki; to the others it is none, though stored."""


def passes(sink: str, name: str) -> bool:
    """Say whether this fault is odd, but an acknowledgement."""
    return name.startswith("100 Continue") or (name == "body after a 204" and sink in ANY_2XX)


def meet(lane: SinkLane, name: str, place: Path, *, stops: bool) -> int:
    """Have the lane meet the fault; return how many events are lost."""
    lane.fresh(place)
    if name.startswith(("hanging", "answer of one byte", "reading one byte")):
        lane.timeout = 4.0
    met: Callable[[], Any] = Meeting(lane, name, 0, place).met
    if passes(lane.sink, name):
        met = lambda: lane.proxy.wait_until_struck(1)  # noqa: E731 - as short as the others
    trial(lane, Fault(lambda: lane.proxy.strike(FAULTS[name]), met, lane.proxy.heal), stops=stops)
    tally = lane.tally()
    assert not tally.letters, tally.letters[0].reason
    if not (lane.may_repeat and name in STORED | {"body after a 204"}):
        assert tally.twice == 0, f"{tally.twice} events are there twice"
    return tally.lost


@pytest.mark.parametrize(
    ("sink", "server"),
    [("elasticsearch", "elasticsearch"), ("cloudwatch", "aws"), ("s3", "aws"), ("otlp", ""), ("http", "")],
)
def test_the_wire(
    request: pytest.FixtureRequest, tmp_path: Path, evidence: Evidence, sink: str, server: str
) -> None:
    """Faults on the way to the server and back, before and after it has stored what was sent."""
    there = request.getfixturevalue(server) if server else Receiver(HttpReceiver()).start()
    # An answer of 200 is all that the http sink asks for.
    names = [name for name in FAULTS if not (sink == "http" and name.startswith("200"))]
    lane, lost, wrong = LANES[sink](tmp_path, there), 0, list[str]()
    for number, name in enumerate(names):
        place = tmp_path / str(number)
        place.mkdir()
        try:
            lost += meet(lane, name, place, stops=number % 2 == 0)
        except AssertionError as error:
            wrong.append(f"{name}: {error}")
            lane.close()
            lane = LANES[sink](tmp_path / f"{number}-again", there)
    lane.close()
    evidence(f"{sink} cuts, hangs, refuses, answers what is no answer", tried=len(names), lost=lost)
    assert not wrong, "\n".join(wrong)
    assert lost == 0
