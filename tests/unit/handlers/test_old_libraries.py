"""watchtower's and python-logging-loki's handlers with our events."""

from __future__ import annotations

import io
import logging
import queue
import sys
import time
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from servers import faults
from servers.faults import FaultServer

from logferry.handlers import context
from logferry.handlers.integrations.logging_loki import LokiHandler, LokiQueueHandler
from logferry.handlers.integrations.watchtower import CloudWatchLogHandler

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    logger = logging.getLogger("shop.orders")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield logger
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


class Client:
    """The part of boto3's client for logs that watchtower uses; `slow` creations of streams."""

    class exceptions:  # noqa: N801 - boto3's name, as are those in it
        class ResourceNotFoundException(Exception): ...  # noqa: N818

        class ResourceAlreadyExistsException(Exception): ...  # noqa: N818

        class OperationAbortedException(Exception): ...  # noqa: N818

        class DataAlreadyAcceptedException(Exception): ...  # noqa: N818

        class InvalidSequenceTokenException(Exception): ...  # noqa: N818

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def put_log_events(self, **call: Any) -> dict[str, Any]:
        logging.getLogger("shop.orders").info("what a client logs while it sends")
        self.events += call["logEvents"]
        return {}

    def messages(self) -> list[dict[str, Any]]:
        return [orjson.loads(event["message"]) for event in self.events]


def say(log: logging.Logger, handler: logging.Handler) -> None:
    with context.bound(order_id=42):
        context.set_trace_context(TRACE, SPAN)
        log.info("paid with 4111 1111 1111 1111")
        context.clear()
    try:
        raise ValueError("card declined")
    except ValueError:
        log.exception("order failed", extra={"password": "hunter2"})
    log.info("", extra={"empty": True})
    # Past the logger: pytest's own handler would raise.
    handler.handle(logging.LogRecord("shop", logging.INFO, "f.py", 1, "%d", ("no number",), None))
    log.warning({"message": "a dict", "amount": 12.5})


def is_ours(events: list[dict[str, Any]]) -> None:
    """The events of `say`: schema, redaction, trace ids; nothing missing, nothing twice."""
    assert len(events) == 5
    paid, failed, empty, wrong, mapping = events
    assert paid["message"].startswith("paid with [REDACTED")
    assert (paid["trace_id"], paid["span_id"], paid["order_id"]) == (TRACE, SPAN, 42)
    assert {event["service"] for event in events} == {"checkout"}
    assert failed["error"]["type"] == "ValueError"
    assert "hunter2" not in orjson.dumps(events).decode()
    assert "4111 1111" not in orjson.dumps(events).decode()
    assert empty["empty"] is True
    assert "%d" in wrong["message"]
    assert (mapping["message"], mapping["amount"]) == ("a dict", 12.5)


@pytest.mark.parametrize("queues", [True, False])
def test_watchtower_ships_our_events(log: logging.Logger, queues: bool) -> None:
    """In the log call or by its threads; what its client logs while sending does not come back."""
    client = Client()
    handler = CloudWatchLogHandler(
        log_group_name="g",
        log_stream_name="s",
        boto3_client=client,
        create_log_group=False,
        use_queues=queues,
        send_interval=60,
        service="checkout",
    )
    log.addHandler(handler)
    if not queues:
        log.removeHandler(handler)
        other = logging.getLogger("shop.direct")
        other.propagate = False
        other.addHandler(handler)
        other.setLevel("DEBUG")
        say(other, handler)
        other.removeHandler(handler)
    else:
        say(log, handler)
    handler.flush()
    handler.close()
    is_ours(client.messages())
    assert all(abs(event["timestamp"] / 1000 - time.time()) < 60 for event in client.events)


def test_watchtower_keeps_the_applications_records_while_a_stream_is_created() -> None:
    """The library drops everything meanwhile; only the creating thread's own records may be left out."""
    client = Client()
    handler = CloudWatchLogHandler("g", "s", boto3_client=client, create_log_group=False, service="checkout")
    handler.creating_log_stream = True
    assert handler.creating_log_stream
    handler._creator = -1  # another thread is at it
    handler.emit(logging.LogRecord("a", logging.INFO, "f", 1, "kept", None, None))
    handler.flush()
    handler.close()
    assert [event["message"] for event in client.messages()] == ["kept"]


def pushed(server: FaultServer) -> list[tuple[dict[str, str], list[Any]]]:
    streams = [orjson.loads(request.body)["streams"][0] for request in server.requests]
    return [(stream["stream"], stream["values"][0]) for stream in streams]


@pytest.mark.parametrize("queued", [True, False])
def test_logging_loki_ships_our_events(log: logging.Logger, queued: bool) -> None:
    """In the log call or by a queue: own time, labels of ours and of theirs, the trace as metadata."""
    with FaultServer() as server:
        options: dict[str, Any] = {"url": f"{server.url}/loki/api/v1/push", "service": "checkout"}
        options["tags"] = {"app": "shop"}
        made = LokiQueueHandler(queue.Queue(), **options) if queued else LokiHandler(**options)
        log.addHandler(made)
        begun = time.time()
        say(log, made)
        log.removeHandler(made)
        made.close()
        made.close()
        ended = time.time()
        values = pushed(server)
    is_ours([orjson.loads(value[1]) for _, value in values])
    labels, (stamp, line, metadata) = values[0]
    assert labels == {
        "app": "shop",
        "severity": "info",
        "logger": "shop.orders",
        "service": "checkout",
        "level": "INFO",
        "environment": "dev",
    }
    assert begun - 1 < int(stamp) / 1e9 < ended
    assert orjson.loads(line)["timestamp"][20:26] == stamp[10:16]
    assert metadata == {"trace_id": TRACE, "span_id": SPAN}


def test_logging_loki_redacts_tags_and_waits_no_longer_than_it_should(
    log: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`tags` become labels without secrets; a server that hangs costs the time-out, and is said on stderr."""
    said = io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    with FaultServer(rest=faults.answer(204)) as server:
        log.addHandler(LokiHandler(url=server.url, service="checkout"))
        log.info("x", extra={"tags": {"password": "hunter2", "shop": "eu"}})
        labels, _ = pushed(server)[0]
    assert labels["shop"] == "eu"
    assert "hunter2" not in orjson.dumps(labels).decode()
    log.handlers[0].close()
    log.removeHandler(log.handlers[0])
    with FaultServer(rest=faults.hang()) as server:
        log.addHandler(LokiHandler(url=server.url, service="checkout", timeout=0.3))
        begun = time.monotonic()
        secret = "abcdefgh" + "12345678"  # not in one piece: the library prints the line of the call
        log.info("token=%s", secret)
        assert time.monotonic() - begun < 3
    assert "Timeout" in said.getvalue() or "timed out" in said.getvalue()
    assert secret not in said.getvalue()


def test_a_queue_that_cannot_be_sent_does_not_hold_up_the_end() -> None:
    """`close` waits no longer than it was told."""
    with FaultServer(rest=faults.hang()) as server:
        handler = LokiQueueHandler(
            queue.Queue(), url=server.url, service="checkout", timeout=5, close_timeout=0.3
        )
        handler.emit(logging.LogRecord("a", logging.INFO, "f", 1, "x", None, None))
        begun = time.monotonic()
        handler.close()
        assert time.monotonic() - begun < 2


@pytest.mark.parametrize(
    ("module", "library", "extra"),
    [("watchtower", "watchtower", "watchtower"), ("logging_loki", "logging_loki", "logging-loki")],
)
def test_the_missing_library_is_named(
    monkeypatch: pytest.MonkeyPatch, module: str, library: str, extra: str
) -> None:
    """The error says what to install."""
    name = f"logferry.handlers.integrations.{module}"
    monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=rf'pip install "logferry\[{extra}\]"'):
        __import__(name)
