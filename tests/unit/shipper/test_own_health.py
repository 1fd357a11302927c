"""Metrics, health pages, own lines, upkeep."""

from __future__ import annotations

import io
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from logferry.shipper.diagnostics import Diagnostics
from logferry.shipper.health import HealthServer
from logferry.shipper.metrics import render
from logferry.shipper.model import Account
from logferry.shipper.upkeep import Job, Upkeep
from logferry.shipper.worker import SinkState

BOOKS = Account(10, 4, 1, 2, {"min_level": 1}, {"full": 1, "max_age": 1}, 3, 1)


class FakePipeline:
    def __init__(self) -> None:
        self.state = SinkState()
        self.stopped: list[str] = []

    def accounts(self) -> dict[str, Account]:
        return {'lo"ki': BOOKS}

    def states(self) -> dict[str, SinkState]:
        return {'lo"ki': self.state}

    def unparsed(self) -> dict[str, int]:
        return {"app": 3}

    def stopped_threads(self) -> list[str]:
        return self.stopped


@pytest.fixture
def served() -> Iterator[tuple[FakePipeline, str]]:
    pipeline = FakePipeline()
    server = HealthServer(("127.0.0.1", 0), pipeline)
    yield pipeline, "http://{}:{}".format(*server.address)
    server.close()


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_metrics_hold_the_identity() -> None:
    """The sums in the text balance as the books do, and labels are escaped."""
    text = render({'lo"ki': BOOKS}, {'lo"ki': SinkState("paused", "x", 1.5)})
    values = {
        line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line[0] != "#"
    }
    sink = 'sink="lo\\"ki"'
    accepted = values[f"logferry_accepted_total{{{sink}}}"]
    parts = ["delivered_total", "pending", "dead_lettered_total"]
    known = sum(values[f"logferry_{name}{{{sink}}}"] for name in parts)
    by_reason = sum(v for k, v in values.items() if k.startswith(("logferry_dropped_", "logferry_filtered_")))
    assert accepted == known + by_reason
    assert values[f'logferry_sink_state{{{sink},state="paused"}}'] == 1
    assert values[f"logferry_lag_seconds{{{sink}}}"] == 1.5
    assert text.count("# TYPE logferry_delivered_total counter") == 1


def test_health_pages(served: tuple[FakePipeline, str]) -> None:
    """Ready while sinks deliver, healthy while threads run, metrics always; the reasons are named."""
    pipeline, url = served
    assert get(f"{url}/healthz")[0] == 200
    assert get(f"{url}/readyz")[0] == 200
    assert "logferry_pending" in get(f"{url}/metrics")[1]
    assert 'logferry_unparsed_lines_total{source="app"} 3' in get(f"{url}/metrics")[1]
    assert get(f"{url}/else")[0] == 404
    pipeline.state = SinkState("retrying", "connection refused")
    status, text = get(f"{url}/readyz")
    assert (status, json.loads(text)["sinks"]) == (503, {'lo"ki': "connection refused"})
    assert get(f"{url}/healthz")[0] == 200
    pipeline.stopped = ["logferry-loki"]
    status, text = get(f"{url}/healthz")
    assert (status, json.loads(text)["stopped"]) == (503, ["logferry-loki"])


def test_own_lines_are_rate_limited() -> None:
    """A key speaks at once, and again after the interval with the number of silent lines."""
    now = [0.0]
    stream = io.StringIO()
    own = Diagnostics(interval=30.0, clock=lambda: now[0], stream=stream)
    assert own.say("WARNING", "sink loki: refused\n(1)", "loki")
    assert not own.say("WARNING", "sink loki: refused (2)", "loki")
    assert own.say("ERROR", "something else")
    assert not own.say("INFO", "below the level")
    now[0] = 31.0
    assert own.say("WARNING", "sink loki: refused (3)", "loki")
    assert stream.getvalue().splitlines() == [
        "logferry WARNING: sink loki: refused (1)",
        "logferry ERROR: something else",
        "logferry WARNING: sink loki: refused (3) (1 more like this)",
    ]


def test_own_lines_never_raise_and_stay_bounded() -> None:
    """A closed stream and keys without end do no harm."""
    stream = io.StringIO()
    stream.close()
    own = Diagnostics(stream=stream)
    for n in range(3000):
        own.say("ERROR", f"message {n}")
    assert len(own._spoken) <= 1000


def test_a_failing_job_does_not_end_the_upkeep(capsys: pytest.CaptureFixture[str]) -> None:
    """The next job and the next time are not affected by one that raises."""
    done = threading.Event()
    runs: list[int] = []

    def bad() -> None:
        raise OSError("disk")

    def good() -> None:
        runs.append(1)
        if len(runs) == 3:
            done.set()

    upkeep = Upkeep([Job("bad", 0.001, bad), Job("good", 0.001, good)])
    upkeep.start()
    assert done.wait(5)
    assert upkeep.alive
    upkeep.stop(5)
    assert not upkeep.alive
