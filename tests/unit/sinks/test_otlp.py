"""OTLP framed by hand, held against OpenTelemetry's generated classes; and what each answer means."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as service
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_service
from opentelemetry.proto.common.v1 import common_pb2 as common
from opentelemetry.proto.logs.v1 import logs_pb2 as logs
from opentelemetry.proto.trace.v1 import trace_pb2 as traces
from servers.faults import Behaviour, Connection, FaultServer, Request, answer
from servers.otlp import OtlpReceiver, message_unknown, plain

from logferry.handlers import Schema
from logferry.shipper.config.fields import Secret
from logferry.shipper.core.spans import read_span
from logferry.shipper.model import Batch, Delivered, Partial, Rejected, Retry, Split
from logferry.shipper.ports import SinkContext
from logferry.shipper.sinks.otlp import OtlpConfig, OtlpSink
from logferry.shipper.sinks.otlp.parcel import spans_body
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


SPAN_EVENT: dict[str, Any] = {
    "timestamp": "2026-01-01T00:00:01.000000Z",
    "level": "INFO",
    "service": "shop",
    "environment": "prod",
    "host": "h",
    "version": "1.2",
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "span_id": "00f067aa0ba902b7",
    "parent_id": "1111111111111111",
    "message": "db.query",
    "kind": "span",
    "span_kind": "client",
    "started": "2026-01-01T00:00:00.900000Z",
    "duration_ms": 100.5,
}


def a_batch(*events: dict[str, Any] | bytes) -> Batch:
    lines = [event if isinstance(event, bytes) else orjson.dumps(SPAN_EVENT | event) for event in events]
    return Batch("0" * 32, range(1, len(lines) + 1), lines)


def a_sink(
    server: FaultServer, state: Path | None = None, clock: Any = time.time, **options: Any
) -> OtlpSink:
    config = OtlpConfig(url=server.url, **{"timeout": 2.0, **options})
    return OtlpSink(config, SinkContext("o", Schema("shop"), state), clock=clock)


def attributes_of(message: Any) -> dict[str, Any]:
    return {pair.key: plain(pair.value) for pair in message.attributes}


def test_a_span_becomes_a_span() -> None:
    """Ids, times, kind, tags, events, status and resource, as the generated classes read them."""
    taken = OtlpReceiver()
    with FaultServer(rest=taken) as server:
        event = {
            "failed": True,
            "tags": {"table": "orders", "rows": 3, "host": "other", "error": "ValueError: x"},
            "span_events": [{"name": "row", "at": "2026-01-01T00:00:00.950000Z", "n": 1}],
        }
        sink = a_sink(server, resource_attributes={"k8s.namespace.name": "shop"})
        assert sink.send(a_batch(event, {"span_id": "2" * 16, "parent_id": ""})) == Delivered()
        sink.close()
    assert taken.complaints == []
    assert taken.records == {}
    resource, span = taken.spans[SPAN_EVENT["trace_id"], SPAN_EVENT["span_id"]]
    assert resource == {
        "service.name": "shop",
        "service.version": "1.2",
        "deployment.environment.name": "prod",
        "host.name": "h",
        "k8s.namespace.name": "shop",
    }
    assert span.parent_span_id.hex() == SPAN_EVENT["parent_id"]
    assert (span.name, span.kind) == ("db.query", traces.Span.SPAN_KIND_CLIENT)
    second = 1_767_225_601_000_000_000
    assert span.start_time_unix_nano == second - 100_000_000
    assert span.end_time_unix_nano == second + 500_000
    assert (span.status.code, span.status.message) == (traces.Status.STATUS_CODE_ERROR, "ValueError: x")
    assert attributes_of(span) == {"table": "orders", "rows": 3, "host": "other"}
    (row,) = span.events
    assert (row.name, row.time_unix_nano, attributes_of(row)) == ("row", second - 50_000_000, {"n": 1})
    _, other = taken.spans[SPAN_EVENT["trace_id"], "2" * 16]
    assert (other.status.code, other.parent_span_id) == (traces.Status.STATUS_CODE_UNSET, b"")


def test_what_is_both_goes_as_both_and_what_is_neither_as_a_record() -> None:
    """An access event and a job are log lines and spans; a span without ids is a line."""
    taken = OtlpReceiver()
    access = {"kind": "access", "method": "GET", "path": "/o/1", "endpoint": "/o/{id}", "status_code": 200}
    with FaultServer(rest=taken) as server:
        sink = a_sink(server)
        batch = a_batch(access, {"kind": None}, {"kind": "job_start", "span_id": "3" * 16}, {"trace_id": ""})
        assert sink.send(batch) == Delivered()
        sink.close()
    assert taken.complaints == []
    assert set(taken.records) == {f"{'0' * 32}-{number}" for number in (1, 2, 3, 4)}
    ((_, span),) = taken.spans.values()
    assert (span.name, span.kind) == ("GET /o/{id}", traces.Span.SPAN_KIND_SERVER)
    found = attributes_of(span)
    assert found["http.request.method"] == "GET"
    assert (found["url.path"], found["http.route"], found["http.response.status_code"]) == (
        "/o/1",
        "/o/{id}",
        200,
    )


def test_a_receiver_without_a_place_for_spans_gets_them_as_records_and_is_asked_again() -> None:
    """As Loki: nothing is lost, nothing waits. Who asked for spans alone is told to mend it."""
    now = [1000.0]
    taken = OtlpReceiver(traces=False)
    with FaultServer(rest=taken) as server:
        sink = a_sink(server, clock=lambda: now[0])
        assert sink.check() == []
        assert sink.send(a_batch({}, {"kind": "log"})) == Delivered()
        assert sink.send(a_batch({})) == Delivered()
        paths = [request.path for request in server.requests]
        assert paths[2:] == ["/v1/traces", "/v1/logs", "/v1/logs"]
        assert set(taken.records) == {f"{'0' * 32}-1", f"{'0' * 32}-2"}
        taken.traces, now[0] = True, now[0] + 301
        assert sink.send(a_batch({})) == Delivered()
        assert len(taken.spans) == 1
        sink.close()
        taken.traces = False
        alone = a_sink(server, signals="traces")
        verdict = alone.send(a_batch({}))
        assert isinstance(verdict, Retry)
        assert verdict.pause
        assert "no OTLP receiver" in alone.check()[0]
        alone.close()


@pytest.mark.parametrize("beside", [(), (b"no event",)])
def test_a_receiver_that_takes_nothing_teaches_nothing_about_spans(beside: tuple[bytes, ...]) -> None:
    """404 at both places is a wrong address, or a proxy without what is behind it: the spans wait."""
    taken = OtlpReceiver()
    with FaultServer(answer(404), answer(404), rest=taken) as server:
        sink = a_sink(server)
        verdict = sink.send(a_batch({}, *beside))
        assert isinstance(verdict.refused[0] if isinstance(verdict, Partial) else verdict, Retry)
        assert sink.send(a_batch({})) == Delivered()
        sink.close()
    assert (len(taken.spans), len(taken.records)) == (1, 0)


def troubled(troubles: list[Behaviour], taken: Behaviour) -> Behaviour:
    """Return a receiver that answers as `troubles` say first; more may be added at any time."""

    def act(connection: Connection, request: Request) -> bool:
        return (troubles.pop(0) if troubles else taken)(connection, request)

    return act


def test_what_log_records_meet_teaches_nothing_about_spans(caplog: pytest.LogCaptureFixture) -> None:
    """That the receiver takes no spans is known, and stays known when its log records are throttled."""
    now = [1000.0]
    troubles: list[Behaviour] = []
    with FaultServer(rest=troubled(troubles, OtlpReceiver(traces=False))) as server:
        sink = a_sink(server, clock=lambda: now[0])
        assert sink.send(a_batch({})) == Delivered()
        for status in (429, 503):
            now[0] += 301
            troubles.extend([answer(404), answer(status)])
            assert isinstance(sink.send(a_batch({})), Retry)
            assert sink.send(a_batch({})) == Delivered()
            before = len(server.requests)
            assert sink.send(a_batch({})) == Delivered()
            assert [request.path for request in server.requests[before:]] == ["/v1/logs"]
        sink.close()
    assert [record.message for record in caplog.records if "takes no spans" in record.message] == [
        "sink o: the receiver takes no spans: they go to it as log records"
    ]


@pytest.mark.parametrize("logs_too", [False, True])
def test_a_span_without_an_end_outlives_a_receiver_that_restarts(*, logs_too: bool) -> None:
    """404 for a moment, at one place or at both: the span is closed when the receiver is back."""
    now = [1000.0]
    troubles: list[Behaviour] = []
    taken = OtlpReceiver(traces=False)
    with FaultServer(rest=troubled(troubles, taken)) as server:
        sink = a_sink(server, clock=lambda: now[0], unfinished_after=10.0)
        assert sink.send(a_batch({"kind": "span_start"})) == Delivered()
        for _ in range(3):
            if logs_too:
                troubles.extend([answer(404), answer(404)])
            now[0] += 10
            sink.tick()
        taken.traces, now[0] = True, now[0] + (1 if logs_too else 301)
        sink.tick()
        now[0] += 301
        sink.tick()
        sink.close()
    ((_, span),) = taken.spans.values()
    assert span.status.message == "unfinished: no end was seen"


def test_spans_without_an_end_are_given_up_where_none_are_ever_taken(tmp_path: Path) -> None:
    """As Loki: who says so twice, minutes apart, is not asked for them for ever."""
    now = [1000.0]
    with FaultServer(rest=OtlpReceiver(traces=False)) as server:
        sink = a_sink(server, tmp_path, lambda: now[0], unfinished_after=10.0)
        sink.send(a_batch({"kind": "span_start"}))
        for _ in range(400):
            now[0] += 2
            sink.tick()
        sink.close()
    assert [request.path for request in server.requests].count("/v1/traces") == 2
    assert list(tmp_path.glob("open-spans-*")) == []


def test_a_span_whose_end_went_as_a_record_is_not_unfinished() -> None:
    """Its end was seen while the receiver took no spans."""
    now = [1000.0]
    taken = OtlpReceiver()
    with FaultServer(rest=taken) as server:
        sink = a_sink(server, clock=lambda: now[0], unfinished_after=10.0)
        for number in (1, 2):
            sink.send(a_batch({"kind": "span_start", "span_id": f"{number}" * 16}))
        taken.traces = False
        for number in (1, 2):
            assert sink.send(a_batch({"span_id": f"{number}" * 16})) == Delivered()
        taken.traces, now[0] = True, now[0] + 301
        sink.tick()
        sink.close()
    assert (taken.spans, len(taken.records)) == ({}, 1)


def test_each_kind_goes_alone_where_that_is_asked_for() -> None:
    """`logs`: spans are records. `traces`: what is no span is passed over."""
    taken = OtlpReceiver()
    with FaultServer(rest=taken) as server:
        for signals in ("logs", "traces"):
            sink = a_sink(server, signals=signals)
            assert sink.check() == []
            assert sink.send(a_batch({}, {"kind": "log"}, b"no object")) in (
                Delivered(),
                Partial({2: Rejected("not a JSON object")}),
            )
            sink.close()
    assert len(taken.records) == 2
    assert len(taken.spans) == 1
    assert {request.path for request in server.requests} == {"/v1/logs", "/v1/traces"}


def test_of_a_batch_whose_records_fail_the_spans_are_not_sent_again() -> None:
    """Spans that are there are there; what is both, and every record, is sent again."""
    taken = OtlpReceiver()
    ok = answer(200, b"", {"Content-Type": PROTOBUF})
    with FaultServer(ok, answer(503), rest=taken) as server:
        sink = a_sink(server)
        verdict = sink.send(a_batch({}, {"kind": "log"}, {"kind": "access"}))
        sink.close()
    assert isinstance(verdict, Partial)
    assert {index: type(why) for index, why in verdict.refused.items()} == {1: Retry, 2: Retry}
    with FaultServer(answer(503), rest=taken) as server:
        sink = a_sink(server)
        assert isinstance(sink.send(a_batch({}, {"kind": "log"})), Retry)
        assert len(server.requests) == 1  # no second time-out for the same trouble
        sink.close()


def test_spans_that_are_refused_are_dead_and_their_records_go_with_them() -> None:
    """One event has one fate: what is refused as a span is not stored as a record."""
    taken = OtlpReceiver(refuse_span=lambda _span: True)
    with FaultServer(rest=taken) as server:
        sink = a_sink(server)
        verdict = sink.send(a_batch({}, {"kind": "log"}, {"kind": "access"}, b"[]"))
        sink.close()
    assert isinstance(verdict, Partial)
    assert verdict.refused.keys() == {0, 2, 3}
    assert "refused by the test" in verdict.refused[0].reason
    assert set(taken.records) == {f"{'0' * 32}-2"}


def test_a_span_without_an_end_is_closed_also_by_the_next_shipper(tmp_path: Path) -> None:
    """After the time-out, with the error in its status."""
    now = [1000.0]
    taken = OtlpReceiver()
    with FaultServer(rest=taken) as server:
        for _ in range(2):
            sink = a_sink(server, tmp_path, lambda: now[0], unfinished_after=10.0)
            sink.send(a_batch({"kind": "span_start"}))
            now[0] += 4
            sink.tick()
            sink.close()
        assert taken.spans == {}
        sink = a_sink(server, tmp_path, lambda: now[0], unfinished_after=10.0)
        now[0] += 1.5
        sink.tick()
        now[0] += 1.5
        sink.tick()
        sink.close()
    assert taken.complaints == []
    ((_, span),) = taken.spans.values()
    assert span.status.message == "unfinished: no end was seen"
    assert span.end_time_unix_nano - span.start_time_unix_nano == 10_000_000_000
    assert len([request for request in server.requests if request.path == "/v1/traces"]) == 1


@given(st.dictionaries(st.sampled_from([*SPAN_EVENT, "tags", "span_events", "failed", "error"]), JSON))
@example({"timestamp": "9999-12-31T23:59:59.000000Z", "started": None})
def test_any_values_make_a_span_that_is_read(fields: dict[str, Any]) -> None:
    """Or none: whatever an event holds, the request can be decoded."""
    told = read_span(json.dumps(SPAN_EVENT | fields).encode("utf-8", "surrogatepass"))
    if told is not None:
        message = trace_service.ExportTraceServiceRequest()
        message.ParseFromString(spans_body([told[1]], {}))
        (span,) = message.resource_spans[0].scope_spans[0].spans
        assert span.name == told[1].name
        assert not message_unknown(span)
