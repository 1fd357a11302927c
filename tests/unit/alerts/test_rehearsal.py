"""What the rules would have said, over events of the past; and what a watch that has ended leaves alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from logferry.shipper.alerts.rehearsal import rehearse
from logferry.shipper.alerts.rules import AlertPlan, Receiver, Rule
from logferry.shipper.alerts.watch import FILE, Alarm
from logferry.shipper.model import Account, Batch

BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
RULES = (
    Rule("errors", "error_rate", above=0.5, window=60, hold=30, at_least=5),
    Rule("quiet", "silence", window=300),
    Rule("lag", "lag", above=1),
)


def line(at: float, **fields: Any) -> tuple[float, bytes]:
    stamp = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    event = {"timestamp": stamp, "service": "shop", "message": f"at {stamp}", "trace_id": "ab" * 16}
    return at, orjson.dumps(event | fields)


def requests(first: float, last: float, *, failed: bool) -> Iterator[tuple[float, bytes]]:
    for second in range(int(first), int(last), 2):
        access = {"kind": "access", "endpoint": "/pay", "failed": failed, "duration_ms": 4.0}
        yield line(BEGIN + second, **access)


def test_what_would_have_fired() -> None:
    """From when to when an endpoint fails and a service is silent; by the same rules as in the agent."""
    events = [
        *requests(0, 600, failed=False),
        *requests(600, 900, failed=True),
        *requests(900, 1200, failed=False),
    ]
    plan = AlertPlan((), RULES, every=5.0)
    found = sorted(rehearse(plan, events, BEGIN, BEGIN + 2000), key=lambda one: one.fired)
    assert [(one.alert.labels["alert"], one.ended is None) for one in found] == [
        ("errors", False),
        ("quiet", True),
    ]
    errors, quiet = found
    # Half of a minute's requests have failed after 30 s; it holds for 30 s, and steps are 10 s and 5 s.
    assert 655 <= errors.fired - BEGIN <= 680
    assert errors.ended is not None
    assert 925 <= errors.ended - BEGIN <= 945
    assert errors.alert.value == 1.0
    assert errors.alert.trace_id == "ab" * 16
    assert 1495 <= quiet.fired - BEGIN <= 1510


def test_it_tells_nothing_of_other_times_and_needs_no_events() -> None:
    """Nothing in, nothing out; what lies before or behind the range is not looked at."""
    plan = AlertPlan((), RULES, every=0.2)
    assert list(rehearse(plan, [], BEGIN, BEGIN + 600)) == []
    late = [line(BEGIN + 5000 + n, kind="access", endpoint="/pay", failed=True) for n in range(50)]
    assert list(rehearse(plan, late, BEGIN, BEGIN + 600)) == []


class _Books:
    def accounts(self) -> dict[str, Account]:
        return {}

    def states(self) -> dict[str, Any]:
        return {}


def test_a_receiver_that_was_left_behind_writes_nothing(tmp_path: Path) -> None:
    """After a reload the state belongs to whoever goes on, though an old message is answered only then."""
    began, go = threading.Event(), threading.Event()

    def sending(*_: object) -> str:
        began.set()
        go.wait(60)
        return ""

    rule = Rule("errors", "error_rate", above=0.5, window=60, at_least=5)
    receiver = Receiver("slow", "webhook", url="http://127.0.0.1:9/")
    plan = AlertPlan((receiver,), (rule,), every=3600.0, group_wait=0.0)
    alarm = Alarm(plan, _Books(), tmp_path, now=lambda: BEGIN + 20, sending=sending)
    alarm.start()
    lines = [text for _, text in requests(0, 20, failed=True)]
    alarm.counting.send(Batch("s", range(1, 1 + len(lines)), lines))
    alarm.look()
    assert began.wait(30)
    alarm.stop(0.05)
    (tmp_path / FILE).write_bytes(b"of the new one")
    go.set()
    for teller in alarm._tellers:
        teller.thread.join(30)
    assert (tmp_path / FILE).read_bytes() == b"of the new one"
