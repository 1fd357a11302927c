"""The otlp sink delivers to a real Loki's own OTLP address: complete by id, with structured metadata."""

from __future__ import annotations

import time
import uuid

import orjson
import pytest
from servers.loki import LokiServer

from logferry.handlers.schema import Schema
from logferry.shipper.model import Batch, Delivered
from logferry.shipper.ports import SinkContext
from logferry.shipper.sinks.otlp import OtlpConfig, OtlpSink

pytestmark = [pytest.mark.integration, pytest.mark.server("loki"), pytest.mark.timeout(120)]

COUNT = 3_000


def test_loki_takes_records_with_their_attributes(loki: LokiServer) -> None:
    """The resource is the label, the message the line; ids, level and every attribute are metadata."""
    service, spool, begin = f"otlp-{uuid.uuid4().hex[:10]}", uuid.uuid4().hex, time.time() - 600
    lines = []
    for number in range(COUNT):
        at = begin + number * 0.1
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{at % 1 * 1e6:06.0f}Z"
        event = {"timestamp": stamp, "level": "WARNING", "service": service, "trace_id": f"{number + 1:032x}"}
        event |= {"span_id": f"{number + 1:016x}", "message": f"order {number} für Zoë"}
        lines.append(orjson.dumps(event | {"order_id": number, "cart": {"items": [1, 2]}, "failed": True}))
    sink = OtlpSink(OtlpConfig(url=f"{loki.url}/otlp"), SinkContext("loki", Schema(service)))
    try:
        assert sink.check() == []
        for at in range(0, COUNT, 500):
            batch = Batch(spool, range(at + 1, at + 501), lines[at : at + 500])
            for _ in range(2):  # as after an answer that was lost
                assert sink.send(batch) == Delivered()
    finally:
        sink.close()
    query = f'{{service_name="{service}"}}'
    entries = loki.entries(query, int((begin - 1) * 1e9), int((time.time() + 60) * 1e9))
    found = {labels["log_record_uid"]: (text, labels) for _, text, labels in entries}
    assert len(found) == len(entries), "a repeated delivery is there twice"
    assert set(found) == {f"{spool}-{number + 1}" for number in range(COUNT)}
    text, labels = found[f"{spool}-8"]
    assert text == "order 7 für Zoë"
    assert labels["trace_id"] == f"{8:032x}"
    assert labels["span_id"] == f"{8:016x}"
    assert (labels["severity_text"], labels["order_id"], labels["failed"]) == ("WARNING", "7", "true")
    assert labels["cart_items"]
