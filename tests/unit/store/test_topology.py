"""Which service calls which, asked of a real store, fresh and compacted."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from logferry.shipper.cli.main import cli
from logferry.shipper.model import Batch, Delivered
from logferry.shipper.store import Store
from logferry.shipper.store.compact import Compactor
from logferry.shipper.store.layout import Layout
from logferry.shipper.store.retention import Limits
from logferry.shipper.store.writer import StoreWriter


def event(service: str, trace: int, span: int, parent: int = 0, **more: Any) -> bytes:
    fields = {
        "timestamp": f"2026-11-21T08:00:{trace % 60:02}.000000Z",
        "level": "INFO",
        "service": service,
        "trace_id": f"{trace:032x}",
        "span_id": f"{span:016x}",
        "message": "x",
        "kind": "access",
        "duration_ms": 10.0,
        "failed": False,
    }
    return orjson.dumps(fields | ({"parent_id": f"{parent:016x}"} if parent else {}) | more)


def traces() -> list[bytes]:
    """A hundred requests: shop → stock over a client span, stock → its database, shop → a stranger."""
    made = []
    for n in range(1, 101):
        bad = n % 10 == 0
        made += [
            event("shop", n, 1, failed=bad, endpoint="/o"),
            event("shop", n, 2, 1, kind="span", span_kind="client", tags={"peer.service": "stock"}),
            event("stock", n, 3, 2, duration_ms=float(n), status_code=500 if bad else 200, failed=None),
            event("stock", n, 4, 3, kind="span", span_kind="client", tags={"db.system": "postgresql"}),
            event("shop", n, 5, 1, kind="span", span_kind="internal", tags={"peer.service": "nobody"}),
            event("shop", n, 6, 1, kind="log"),
        ]
    made += [event("shop", 7, 9, 1, kind="span", span_kind="producer", tags={"messaging.system": "kafka"})]
    made += [event("ghost", 1000, 1, 77)]  # its parent is nowhere
    random.Random(5).shuffle(made)
    return made


@pytest.fixture(params=["fresh", "compacted"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    layout = Layout(tmp_path / "logs")
    writer = StoreWriter(layout)
    lines = traces()
    assert isinstance(writer.write(Batch("ab" * 16, range(1, len(lines) + 1), lines)), Delivered)
    writer.close()
    if request.param == "compacted":
        for file in layout.list_fresh():
            os.utime(file.path, (1e9, 1e9))
        Compactor(layout, Limits(), settle=0, idle=0, patience=0.2).run()
        assert not layout.list_fresh()
    return layout.path


def test_calls_are_counted_between_services_and_to_what_logs_nothing_here(store: Path) -> None:
    with Store(store) as opened:
        found = opened.topology()
    edges = {(e["caller"], e["callee"], e["external"]): e for e in found["edges"]}
    assert set(edges) == {
        ("shop", "stock", False),
        ("stock", "postgresql", True),
        ("shop", "kafka", True),
    }
    call = edges["shop", "stock", False]
    assert (call["calls"], call["failed"], call["rate"]) == (100, 10, 0.1)
    assert 40 <= call["p50"] <= 60
    assert 90 <= call["p95"] <= 100
    assert edges["shop", "kafka", True]["calls"] == 1
    services = {row["service"]: row for row in found["services"]}
    assert (services["shop"]["requests"], services["shop"]["failed"]) == (100, 10)
    assert (services["stock"]["requests"], services["stock"]["failed"]) == (100, 10)


def test_only_what_is_in_the_range(store: Path) -> None:
    with Store(store) as opened:
        assert opened.topology("2026-11-22")["edges"] == []
        (edge,) = [
            e
            for e in opened.topology("2026-11-21T08:00:07Z", "2026-11-21T08:00:08Z")["edges"]
            if e["callee"] == "stock"
        ]
    assert edge["calls"] == 2  # traces 7 and 67


def test_the_command(store: Path) -> None:
    run = CliRunner().invoke
    told = run(cli, ["topology", "--store", str(store), "--since", "2026-11-21"])
    assert told.exit_code == 0, told.output
    assert len(json.loads(told.output)["edges"]) == 3
    dot = run(cli, ["topology", "--store", str(store), "--since", "2026-11-21", "--format", "dot"]).output
    assert '"shop" -> "stock" [label="100 calls\\n10.0% failed' in dot
    table = run(cli, ["topology", "--store", str(store), "--since", "2026-11-21", "--format", "table"])
    assert table.exit_code == 0
    empty = run(cli, ["topology", "--store", str(store), "--since", "2027-01-01"])
    assert empty.exit_code == 1
    assert "no service has called another" in empty.output
