"""SIGKILL of the shipper while Loki takes its events: all are there, by id. A million under `make prove`."""

from __future__ import annotations

import random
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import orjson
import pytest
from effort import effort, factor
from evidence import Evidence
from programs.fate import until
from servers.loki import LokiServer

from logferry.shipper.spool import audit
from logferry.shipper.store import Store

pytestmark = [pytest.mark.integration, pytest.mark.server("loki"), pytest.mark.timeout(3600)]

SPAN = 1_000.0
"""Seconds over which the events' times are spread, up to now."""

CONFIG = """
service: {service}
environment: test
spool: {{path: {directory}/spool}}
schema: {{fields: {{number: integer}}}}
sinks:
  loki: {{type: loki, url: "{url}", labels: [service, level]}}
  here: {{type: local, path: {directory}/store, compact: "off"}}
sources:
  lines: {{type: file, include: [{directory}/lines.ndjson]}}
"""


def lines(count: int, begin: float) -> Iterator[bytes]:
    """Yield events as an application of ours writes them, from `begin` on."""
    for number in range(count):
        at = begin + SPAN * number / count
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{at % 1 * 1e6:06.0f}Z"
        ids = {"trace_id": f"{number + 1:032x}", "span_id": f"{number + 1:016x}"}
        event = {"timestamp": stamp, "level": "INFO", **ids, "message": f"order {number}", "number": number}
        yield orjson.dumps(event) + b"\n"


def windows(begin: float, end: float, count: int) -> list[float]:
    """Return the edges of `count` windows: Loki reads all that a query spans, for each of its pages."""
    return [begin - 1 + (end + 1 - begin) * number / count for number in range(count + 1)]


def test_a_shipper_that_is_killed_in_the_middle(loki: LokiServer, tmp_path: Path, evidence: Evidence) -> None:
    """What Loki and the local store hold is the same, and complete; Loki has nothing twice."""
    count = effort(40_000) if factor() < 5 else effort(100_000)
    service, now = f"kill-{uuid.uuid4().hex[:10]}", time.time()
    with (tmp_path / "lines.ndjson").open("wb") as file:
        file.writelines(lines(count, now - SPAN))
    config = tmp_path / "logferry.yaml"
    config.write_text(CONFIG.format(service=service, directory=tmp_path, url=loki.url))
    command = [sys.executable, "-m", "logferry", "run", "-c", str(config)]

    def delivered() -> int:
        account = audit(tmp_path / "spool").accounts.get((service, "loki"))
        return 0 if account is None else account.delivered

    with (tmp_path / "run.log").open("ab") as log:
        shipper = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            until(lambda: delivered() > count // 5, 300 + count / 1_000, "the first events do not arrive")
            time.sleep(random.random() * 0.05)  # any moment will do
        finally:
            shipper.kill()
            shipper.wait()
    assert delivered() < count, "all had arrived before the kill"
    patience = 300 + count / 1_000
    done = subprocess.run([*command, "--once"], capture_output=True, text=True, timeout=patience, check=False)
    assert done.returncode == 0, done.stderr

    # The notice of the death is at the end of the last window, beyond the events.
    edges = [*windows(now - SPAN, now, count // 2_000), now + 3_600]
    query = f'{{service="{service}"}}'
    there = [
        labels["event_id"]
        for begin, end in pairwise(int(edge * 1e9) for edge in edges)
        for *_, labels in loki.walk(query, begin, end)
    ]
    with Store(tmp_path / "store") as store:
        rows = store.sql("SELECT event_id, number FROM events").rows
    here = {row[0] for row in rows}
    lost = len(here - set(there))
    evidence(f"shipper killed (SIGKILL) while Loki takes {count:,} events", tried=1, lost=lost)
    assert {row[1] for row in rows if row[1] is not None} == set(range(count))
    assert lost == 0
    assert set(there) == here
    assert len(there) == len(here), f"{len(there) - len(here)} events are there twice"
    report = audit(tmp_path / "spool")
    assert not report.problems
    assert all(account.balance == 0 and account.pending == 0 for account in report.accounts.values())
