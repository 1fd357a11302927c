"""The way of a record, whole: log calls → spool → a real Loki and the local store, equal by id."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from logferry.shipper.spool import audit
from logferry.shipper.store import Store

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

EVENTS = 100_000

SHOP = """
import logging, random, sys
import logferry
from logferry.handlers import context, tracing

logferry.configure(sys.argv[1])
shop, access = logging.getLogger("shop"), logging.getLogger("logferry.access")
for number in range(int(sys.argv[2]) // 4):
    with context.bound(request_id=f"r-{number}", endpoint="/products/{product}"):
        context.set_trace_context(tracing.new_trace_id(), tracing.new_span_id())
        shop.info("product %s viewed", number, extra={"product_id": number, "cart": ["a", number]})
        shop.info("paying with card 4111 1111 1111 1111", extra={"password": "correct horse", "amount": 12.5})
        try:
            if number % 50 == 0:
                raise TimeoutError(f"bank did not answer {number}")
            shop.info("order created", extra={"order_id": number})
        except TimeoutError:
            shop.exception("payment failed")
        access.info("GET /products/%s", number, extra={"kind": "access", "method": "GET", "status_code": 200,
                    "path": f"/products/{number}", "duration_ms": random.expovariate(0.05), "failed": False})
assert logferry.flush(240), "not everything was delivered"
assert logferry.shutdown(10)
"""


# Adopts what the killed process left, and ends when all of it has been delivered (or fails after a minute).
SURVIVOR = """
import sys, time
import logferry
from logferry.shipper import lifecycle

logferry.configure(sys.argv[1])
pipeline = lifecycle.current()
deadline = time.monotonic() + 60
while any(a.pending or not a.delivered for a in pipeline.accounts().values()):
    assert time.monotonic() < deadline, pipeline.accounts()
    time.sleep(0.05)
assert logferry.shutdown(10)
"""


def configuration(directory: Path, loki_url: str | None) -> Path:
    """Write the application's configuration; return its path."""
    sinks: dict[str, Any] = {"here": {"type": "local", "path": str(directory / "logs")}}
    if loki_url:
        sinks["loki"] = {"type": "loki", "url": loki_url}
    text = {
        "service": "e2e",
        "environment": "test",
        "logging": {"level": "INFO", "console": "off"},
        "spool": {"path": str(directory / "spool")},
        "sinks": sinks,
    }
    path = directory / "logferry.yaml"
    path.write_text(json.dumps(text))  # JSON is YAML
    return path


def ids_in(loki: Any, since: float, until: float) -> set[str]:
    """Read the event ids back in short windows: Loki sorts all of a window before it cuts a page off."""
    step = 200_000_000  # ns
    windows = range(int(since * 1e9), int(until * 1e9) + step, step)
    query = '{service="e2e"}'
    return {labels["event_id"] for at in windows for *_, labels in loki.entries(query, at, at + step)}


def balanced(directory: Path) -> None:
    """Assert the identity for every service and sink."""
    report = audit(directory / "spool")
    assert report.accounts
    assert not report.problems
    for name, account in report.accounts.items():
        assert account.balance == 0, (name, account)


@pytest.mark.server("loki")
def test_100_000_events_are_in_loki_and_in_the_store(loki: Any, tmp_path: Path) -> None:
    """What the application logged is complete in a real Loki and in the local store, and equal by id."""
    since = time.time()
    config = configuration(tmp_path, loki.url)
    subprocess.run([sys.executable, "-c", SHOP, str(config), str(EVENTS)], check=True, timeout=400)
    balanced(tmp_path)
    here = {row[0] for row in Store(tmp_path / "logs").sql("SELECT event_id FROM events").rows}
    there = ids_in(loki, since, time.time())
    assert len(here) == EVENTS
    assert there == here


def test_nothing_that_was_logged_dies_with_the_process(tmp_path: Path) -> None:
    """Of a process killed with SIGKILL under load, every record whose call had returned arrives."""
    program = (
        "import logging, os, sys, logferry\n"
        "logferry.configure(sys.argv[1]); log = logging.getLogger('doomed')\n"
        "for n in range(10_000_000):\n"
        "    log.info('line', extra={'n': n})\n"
        "    if n % 100 == 0: os.write(1, b'%d\\n' % n)\n"
    )
    config = configuration(tmp_path, None)
    last = 0
    for seconds in (0.4, 0.7, 1.1):
        with subprocess.Popen(
            [sys.executable, "-c", program, str(config)], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout
            first = process.stdout.readline()
            time.sleep(seconds)  # a random moment: any will do
            os.kill(process.pid, signal.SIGKILL)
            last = int(((first + process.stdout.read()).rsplit(b"\n", 2)[-2]) or b"0")
        subprocess.run([sys.executable, "-c", SURVIVOR, str(config)], check=True, timeout=120)
        balanced(tmp_path)
        rows = (
            Store(tmp_path / "logs")
            .sql(
                "SELECT split_part(event_id, '-', 1) AS spool, count(*) AS c, count(DISTINCT event_id) AS d,"
                " max(CAST(split_part(event_id, '-', 2) AS BIGINT)) AS top FROM events"
                " WHERE message = 'line' GROUP BY 1 ORDER BY max(timestamp)"
            )
            .rows
        )
        assert all(count == different for _, count, different, _ in rows)
        _, count, _, top = rows[-1]
        assert count >= last + 1
        assert top == count
