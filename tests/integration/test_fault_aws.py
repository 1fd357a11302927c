"""CloudWatch Logs and S3 behind a proxy that misbehaves: nothing is lost, nobody else notices.

What holds during and after each fault stands at the top of tests/servers/lane.py. A run tries a part of the
faults; LOGFERRY_EFFORT=10 tries all of them. S3 holds nothing twice. CloudWatch Logs knows no repetition: it
holds twice what it had stored when the answer was lost, and nothing else.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from effort import factor
from evidence import Evidence
from servers.aws import KEY, SECRET, AwsServer
from servers.lane import Fault, Lane, Lanes, trial
from servers.wire import FAULTS, LONG, STORED

pytestmark = [
    pytest.mark.integration,
    pytest.mark.server("aws"),
    pytest.mark.timeout(1800),
    pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc"),
]

PASSING = {"100 Continue three times first"}
KEPT = STORED | {"body after a 204"}  # to Loki that 204 is an acknowledgement, to AWS it is none
PAUSES = LONG | {"body after a 204", "200 of something else"}
PARTS = 10


class AwsLane(Lane):
    """What both services have in common."""

    timeout = 2.0  # moto on a busy machine is slow, and what it stores too late is there twice

    @property
    def access(self) -> dict[str, Any]:
        keys = {"access_key_id": KEY, "secret_access_key": SECRET}
        return {"region": "eu-west-1", "endpoint_url": self.proxy.url, "max_batch_age": "100ms", **keys}


class CloudWatchLane(AwsLane):
    """`twice` counts what is there more than once."""

    sink = "cw"
    twice = 0

    def sink_config(self) -> dict[str, Any]:
        return {"type": "cloudwatch", "log_group": self.service, **self.access}

    def stored_there(self, at_least: int) -> list[str]:
        ids = self.server.ids(self.service)
        self.twice = len(ids) - len(set(ids))
        return list(set(ids))


class S3Lane(AwsLane):
    """A bucket for each lane."""

    sink = "s3"

    def sink_config(self) -> dict[str, Any]:
        return {"type": "s3", "bucket": self.service, "path_style": True, **self.access}

    def configure(self) -> None:
        place = {"LocationConstraint": "eu-west-1"}
        s3 = self.server.client("s3")
        if self.service not in {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}:
            s3.create_bucket(Bucket=self.service, CreateBucketConfiguration=place)
        super().configure()

    def stored_there(self, at_least: int) -> list[str]:
        lines = [
            line
            for _, content in self.server.objects(self.service)
            for line in gzip.decompress(content).splitlines()
        ]
        return [json.loads(line)["event_id"] for line in lines]


@pytest.fixture
def make(aws: AwsServer, tmp_path: Path) -> Iterator[Callable[[type[Lane]], Lanes]]:
    made: list[Lanes] = []

    def lanes(kind: type[Lane]) -> Lanes:
        made.append(Lanes(tmp_path, aws, kind))
        return made[-1]

    yield lanes
    for one in made:
        one.close()


def wire_trial(name: str, *, stops: bool) -> Callable[[Lane], None]:
    """One of the faults that the proxy knows."""

    def run(lane: Lane) -> None:
        def struck() -> None:
            lane.proxy.wait_until_struck(1 if name in PAUSES | PASSING else 2)
            pending = lane.app.accounts()[lane.sink]["pending"]
            assert name in PASSING or pending, "delivered through the fault"

        trial(lane, Fault(lambda: lane.proxy.strike(FAULTS[name]), struck, lane.proxy.heal), stops=stops)

    return run


def chosen(*, stored: bool) -> list[str]:
    """Return the faults of one kind, or a part of them."""
    names = sorted(name for name in FAULTS if (name in KEPT) == stored)
    return names if factor() >= PARTS else names[:: 2 if stored else PARTS]


@pytest.mark.parametrize("kind", [CloudWatchLane, S3Lane], ids=lambda kind: kind.sink)
@pytest.mark.parametrize("stored", [False, True], ids=["not-stored", "stored"])
def test_the_wire(
    make: Callable[[type[Lane]], Lanes], kind: type[AwsLane], stored: bool, evidence: Evidence
) -> None:
    """Faults on the way to AWS and back, before and after it has stored what was sent."""
    names, lanes = chosen(stored=stored), make(kind)
    lanes.run([(name, wire_trial(name, stops=number % 2 == 0)) for number, name in enumerate(names)])
    used = [lane for lane in lanes.all if lane.app.numbers]
    lost = sum(lane.compare() for lane in used)
    service = {"cw": "CloudWatch Logs", "s3": "S3"}[kind.sink]
    evidence(f"{service} cuts, hangs, refuses, answers what is no answer", tried=len(names), lost=lost)
    assert lost == 0
    if kind is CloudWatchLane:
        twice = sum(lane.twice for lane in used if isinstance(lane, CloudWatchLane))
        assert (twice > 0) == stored, f"{twice} events are there twice"
