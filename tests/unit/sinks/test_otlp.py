"""OTLP framed by hand, held against OpenTelemetry's generated classes; and what each answer means."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import orjson
import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as service
from opentelemetry.proto.common.v1 import common_pb2 as common
from opentelemetry.proto.logs.v1 import logs_pb2 as logs
from servers.otlp import plain

from logferry.shipper.config.fields import Secret
from logferry.shipper.model import Delivered, Partial, Rejected, Retry, Split
from logferry.shipper.sinks.otlp import OtlpConfig
from logferry.shipper.sinks.otlp.protobuf import any_value, partial_success, status_message
from logferry.shipper.sinks.otlp.record import Recorder, nanoseconds
from logferry.shipper.sinks.otlp.verdict import judge

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
PROTOBUF = "application/x-protobuf"


def as_kept(value: Any) -> Any:
    """Return what OTLP can hold of a JSON value: integers beyond 64 bits are text."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else str(value)
    if isinstance(value, dict):
        return {name: as_kept(item) for name, item in value.items()}
    return [as_kept(item) for item in value] if isinstance(value, list) else value


@given(JSON)
@example(2**63)
@example([-(2**63) - 1, 2**64])
@example(-(2**63))
def test_any_json_value_is_what_it_was(value: Any) -> None:
    """Every value that JSON knows decodes to itself."""
    decoded = common.AnyValue()
    decoded.ParseFromString(any_value(value))
    assert plain(decoded) == as_kept(value)


def decoded(event: dict[str, Any], body: Any = "message") -> tuple[Any, logs.LogRecord]:
    made = Recorder(body).record(orjson.dumps(event), "uid-1", 77)
    assert made is not None
    message = logs.LogRecord()
    message.ParseFromString(made[1])
    return made[0], message


def test_an_event_becomes_a_record() -> None:
    """Times, severity, ids, body, attributes and exception, each where OpenTelemetry has it."""
    event = {
        "timestamp": "2026-01-02T03:04:05.678901Z",
        "level": "WARNING",
        "service": "shop",
        "environment": "prod",
        "host": "h",
        "version": "1.2",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "span_id": "00f067aa0ba902b7",
        "message": "hi ☃",
        "order": {"id": 7, "items": [1.5, None]},
        "error": {"type": "E", "message": "m", "stack": "s", "code": "X1"},
    }
    resource, message = decoded(event)
    assert resource == ("shop", "1.2", "prod", "h")
    assert (message.time_unix_nano, message.observed_time_unix_nano) == (1767323045678901000,) * 2
    assert (message.severity_number, message.severity_text) == (13, "WARNING")
    assert (message.trace_id.hex(), message.span_id.hex()) == (event["trace_id"], event["span_id"])
    assert plain(message.body) == "hi ☃"
    assert {pair.key: plain(pair.value) for pair in message.attributes} == {
        "log.record.uid": "uid-1",
        "order": {"id": 7, "items": [1.5, None]},
        "exception.type": "E",
        "exception.message": "m",
        "exception.stacktrace": "s",
        "error": {"code": "X1"},
    }
    _, whole = decoded(event, "line")
    assert orjson.loads(plain(whole.body)) == event
    assert [pair.key for pair in whole.attributes] == ["log.record.uid"]


@pytest.mark.parametrize(
    "bad", ["", "0" * 32, "xyz", "4bf92f35", 7, None, "4bf92f3577b34da6 3ce929d0e0e4736"]
)
def test_ids_that_are_none_are_left_out(bad: Any) -> None:
    """A wrong length or only zeros would make a receiver refuse the record."""
    _, message = decoded({"trace_id": bad, "span_id": bad, "message": 1, "level": []})
    assert message.trace_id == message.span_id == b""
    assert message.severity_number == 0
    assert (message.time_unix_nano, message.observed_time_unix_nano) == (0, 77)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00.000001Z", 1000),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T00:00:00Z", 0),
        ("2026-01-02", 0),
        ("soon", 0),
        (None, 0),
    ],
)
def test_times(text: Any, expected: int) -> None:
    """Without a time, an offset, or before 1970: unknown."""
    assert nanoseconds(text) == expected


@given(
    st.lists(st.dictionaries(st.sampled_from("abc"), JSON | st.sampled_from([0, 1, True, False, 1.0, "1"])))
)
def test_what_is_remembered_changes_nothing(events: list[dict[str, Any]]) -> None:
    """A recorder that has seen other events writes what a new one does: True is not 1, and 1.0 is neither."""
    used = Recorder("message")
    for event in [*events, *events]:
        line = json.dumps(event).encode()  # orjson stops at 64 bits
        assert used.record(line, "u", 7) == Recorder("message").record(line, "u", 7)


def test_fields_with_many_values_are_not_remembered() -> None:
    """What is remembered is bounded, whatever is logged; and all of it is right."""
    recorder = Recorder("message")
    for number in range(3_000):
        event = {"id": f"r-{number}", f"name{number % 50}": "x" * (number % 300), "line": number % 7}
        line = orjson.dumps(event)
        assert recorder.record(line, "u", 7) == Recorder("message").record(line, "u", 7)
    held = [table for tables in recorder._tables.values() for table in tables.values() if table]
    assert recorder._tables[str]["id"] is None
    assert sum(map(len, held)) <= 8_192
    assert max(map(len, held)) <= 256


def response(rejected: int, message: str) -> bytes:
    made = service.ExportLogsServiceResponse()
    made.partial_success.rejected_log_records = rejected
    made.partial_success.error_message = message
    return made.SerializeToString()


@given(st.integers(0, 2**62), st.text(max_size=50))
def test_a_response_is_read_as_the_generated_classes_write_it(rejected: int, message: str) -> None:
    """And with fields that are not known yet."""
    assert partial_success(response(rejected, message) + b"\x98\x06\x01") == (rejected, message)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Nothing but ValueError comes of bytes that are no message."""
    for read in (partial_success, status_message):
        with contextlib.suppress(ValueError):
            read(data)
    judge(200, data, PROTOBUF, events=3)


def test_a_partial_success_is_about_all_or_nobody_knows_whom() -> None:
    """All refused: all dead. A part: all dead with the count, or halved. None with words: a warning."""
    verdict, _ = judge(200, response(2, "no"), PROTOBUF, events=2)
    assert verdict == Partial(dict.fromkeys(range(2), Rejected("the receiver refused it: no")))
    verdict, _ = judge(200, response(1, "no"), PROTOBUF, events=3)
    assert isinstance(verdict, Partial)
    assert verdict.refused.keys() == {0, 1, 2}
    assert "1 of the 3" in verdict.refused[0].reason
    isolated, _ = judge(200, response(1, "no"), PROTOBUF, events=3, on_partial="isolate")
    assert isinstance(isolated, Split)
    assert judge(200, response(0, "slow down"), PROTOBUF, events=3) == (Delivered(), "slow down")
    text = b'{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"no"}}'
    assert isinstance(judge(200, text, "application/json", events=2)[0], Partial)


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"<html>", "text/html"), (b"ok", "text/plain"), (b"[]", "application/json"), (b"\xff", PROTOBUF)],
)
def test_an_answer_that_is_not_otlp_delivers_nothing(content: bytes, kind: str) -> None:
    """A captive portal's 200 is not a receiver's."""
    verdict, _ = judge(200, content, kind, events=1)
    assert isinstance(verdict, Retry)
    assert verdict.pause


def test_a_status_message_is_quoted() -> None:
    """What a receiver says of a 400 stands in the reason."""
    verdict, _ = judge(400, b"\x08\x03\x12\x03bad", PROTOBUF, events=1)
    assert verdict == Rejected("the receiver answered 400: bad")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": "localhost:4318"}, "scheme"),
        ({"url": "http://u:p@h"}, "credentials go into"),
        ({"url": "http://h?x=1"}, "query"),
        ({"username": "u"}, "belong together"),
        ({"bearer_token": Secret("t"), "username": "u", "password": Secret("p")}, "exclude"),
        ({"headers": {"Content-Type": "x"}}, "set by the sink itself"),
        ({"headers": {"a": "1"}, "secret_headers": {"A": Secret("2")}}, "twice"),
        ({"secret_headers": {"a": Secret("x\ny")}}, "control character"),
    ],
)
def test_what_cannot_work_is_refused(options: dict[str, Any], words: str) -> None:
    """At the start, with the key's name."""
    with pytest.raises(ValueError, match=words):
        OtlpConfig(**{"url": "http://h:4318", **options})


def test_a_group_is_a_resource() -> None:
    """MessageToDict agrees on the whole request."""
    from logferry.shipper.sinks.otlp.protobuf import export_request, resource_group

    made = Recorder("message").record(b'{"service":"s","message":"m"}', "u", 5)
    assert made is not None
    message = service.ExportLogsServiceRequest()
    message.ParseFromString(export_request([resource_group({"service.name": "s"}, [made[1]] * 2)]))
    (resource,) = MessageToDict(message)["resourceLogs"]
    assert resource["resource"] == {"attributes": [{"key": "service.name", "value": {"stringValue": "s"}}]}
    assert resource["scopeLogs"][0]["scope"] == {"name": "logferry"}
    assert len(resource["scopeLogs"][0]["logRecords"]) == 2
