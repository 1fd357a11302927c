"""watchtower and python-logging-loki with our events, into real servers."""

from __future__ import annotations

import logging
import queue
import time
import uuid
from typing import TYPE_CHECKING

import boto3
import orjson
import pytest
from servers.aws import KEY, REGION, SECRET

from logferry.handlers import context
from logferry.handlers.integrations.logging_loki import LokiQueueHandler
from logferry.handlers.integrations.watchtower import CloudWatchLogHandler

if TYPE_CHECKING:
    from servers.aws import AwsServer
    from servers.loki import LokiServer

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
COUNT = 500


def say(handler: logging.Handler) -> None:
    """Log so many records through a logger that has this handler alone."""
    log = logging.getLogger(f"shop.{uuid.uuid4().hex[:8]}")
    log.propagate = False
    log.setLevel("INFO")
    log.addHandler(handler)
    context.set_trace_context(TRACE, SPAN)
    for number in range(COUNT):
        log.info("order %d paid", number, extra={"order_id": number, "password": "hunter2"})
    context.clear()
    log.removeHandler(handler)
    handler.close()


def test_watchtower_into_cloudwatch(aws: AwsServer) -> None:
    """Group and stream are created under way, and every record is there, as our event."""
    group = f"/g/{uuid.uuid4().hex[:8]}"
    client = boto3.client(
        "logs",
        region_name=REGION,
        endpoint_url=aws.url,
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
    )
    say(CloudWatchLogHandler(group, "s", boto3_client=client, send_interval=1, service="checkout"))
    client.close()
    events = [orjson.loads(message) for *_, message in aws.events(group)]
    assert sorted(event["order_id"] for event in events) == list(range(COUNT))
    assert {event["trace_id"] for event in events} == {TRACE}
    assert {event["service"] for event in events} == {"checkout"}
    assert "hunter2" not in str(events)


@pytest.mark.server("loki")
def test_logging_loki_into_loki(loki: LokiServer) -> None:
    """Every record is there under its own time, found by our labels, with the trace as metadata."""
    service, begun = f"svc-{uuid.uuid4().hex[:8]}", time.time()
    say(
        LokiQueueHandler(queue.Queue(), url=f"{loki.url}/loki/api/v1/push", service=service, close_timeout=60)
    )
    now = time.time()
    query = f'{{service="{service}", level="INFO"}} | trace_id="{TRACE}"'
    entries = loki.entries(query, int((begun - 5) * 1e9), int((now + 5) * 1e9))
    events = [orjson.loads(line) for _, line, _ in entries]
    assert sorted(event["order_id"] for event in events) == list(range(COUNT))
    assert "hunter2" not in str(events)
