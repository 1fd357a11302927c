"""The http source: every protocol's requests and answers, a full spool, bounds, strangers, garbage."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import socket
import struct
import threading
import tracemalloc
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import cramjam
import pytest
from certificates import make_certificates
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from taking import Kept, context, running, until

from logferry.handlers.record import EventBuilder
from logferry.handlers.schema import Schema
from logferry.shipper.config.fields import Duration, Secret, Size
from logferry.shipper.core.varint import varint
from logferry.shipper.sources.ecs import from_ecs
from logferry.shipper.sources.foreign import compose
from logferry.shipper.sources.http import HttpSource, HttpSourceConfig, bulk, loki, otlp
from logferry.shipper.sources.http.bodies import BodyError, unpack
from logferry.shipper.sources.http.records import told_of_entry, told_of_record
from logferry.shipper.sources.http.wire import fields
from logferry.shipper.sources.listen.address import ServerTls

OWN = "0123456789abcdef" * 2 + "-"
BUILDER = EventBuilder(Schema("here", host="agent"))


def source(kept: Kept, **options: Any) -> HttpSource:
    return HttpSource(HttpSourceConfig("127.0.0.1:0", **options), context(kept))


def ask(
    running_source: Any,
    path: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    method: str = "POST",
) -> tuple[int, bytes, dict[str, str]]:
    host, port = running_source.address
    connection = http.client.HTTPConnection(host, port, timeout=30)
    try:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()}
    finally:
        connection.close()


def sized(field: int, content: bytes) -> bytes:
    return bytes([field << 3 | 2]) + varint(len(content)) + content


def push(labels: str, *lines: tuple[int, bytes, dict[str, str]]) -> bytes:
    """Return a PushRequest in snappy."""
    entries = b""
    for stamp, line, metadata in lines:
        time = b"\x08" + varint(stamp // 10**9) + b"\x10" + varint(stamp % 10**9)
        pairs = (sized(1, k.encode()) + sized(2, v.encode()) for k, v in metadata.items())
        entries += sized(2, sized(1, time) + sized(2, line) + b"".join(sized(3, pair) for pair in pairs))
    return bytes(cramjam.snappy.compress_raw(sized(1, sized(1, labels.encode()) + entries)))


def test_lines_and_arrays_at_the_root() -> None:
    """NDJSON, text, a JSON array, gzip; ids in front stay the events' ids."""
    kept = Kept()
    with running(source(kept)) as http_source:
        body = b'{"message": "a", "n": 1}\n\ntext\n{"event_id":"%s7","message":"b"}\n' % OWN.encode()
        assert ask(http_source, "/", body)[0] == 204
        packed = gzip.compress(b"one\n") + gzip.compress(b"two\n")
        assert ask(http_source, "/", packed, {"Content-Encoding": "gzip"})[0] == 204
        array = json.dumps([{"event_id": OWN + "8", "message": "c"}, "d"]).encode()
        assert ask(http_source, "/", array)[0] == 204
    assert kept.messages == ["a", "text", "b", "one", "two", "c", '"d"']
    assert (kept.events[2]["event_id"], kept.events[5]["event_id"]) == (OWN + "7", OWN + "8")
    assert kept.lines[2].startswith(b'{"event_id":"')


def test_loki_push_in_both_forms() -> None:
    """Labels and metadata are fields; service, level, time and ids find their places."""
    kept = Kept()
    stamp = 1_767_000_000_123_456_789
    labels = {"app": "shop", "pod": "a-1", "level": "warn"}
    metadata = {"trace_id": "ab" * 16, "event_id": OWN + "1", "region": "eu"}
    content = {
        "streams": [{"stream": labels, "values": [[str(stamp), "hello", metadata], [str(stamp), "  "]]}]
    }
    written = '{app="shop", pod="a-1", level="warn"}'
    with running(source(kept)) as http_source:
        kind = {"Content-Type": "application/json; charset=utf-8"}
        assert ask(http_source, "/loki/api/v1/push", json.dumps(content).encode(), kind)[0] == 204
        packed = push(written, (stamp, b"hello", metadata))
        kind = {"Content-Type": "application/x-protobuf"}
        assert ask(http_source, "/loki/api/v1/push", packed, kind)[0] == 204
        assert ask(http_source, "/ready", method="GET")[0] == 200
        for bad in (b"x", packed[:-3], b"\xff" * 40):
            assert ask(http_source, "/loki/api/v1/push", bad, kind)[0] == 400
        for bad_json in (b"{", b"[]", b'{"streams": [{"stream": {}, "values": [[1]]}]}'):
            status, said, _ = ask(
                http_source, "/loki/api/v1/push", bad_json, {"Content-Type": "application/json"}
            )
            assert status == 400
            assert said
    assert len(kept.lines) == 2
    assert kept.lines[0] == kept.lines[1]
    event = kept.events[0]
    assert (event["message"], event["service"], event["level"]) == ("hello", "shop", "WARNING")
    assert (event["pod"], event["region"], event["trace_id"]) == ("a-1", "eu", "ab" * 16)
    assert event["event_id"] == OWN + "1"
    assert event["timestamp"] == "2025-12-29T09:20:00.123456Z"


PROMTAIL = (  # a push of Promtail 3.6: two streams, structured metadata
    "qALICqcBCmR7ZW52PSJwcm9kIiwgZmlsZW5hbWU9Ii90bXAvc2hvcC9hLmxvZyIsIGpvYj0iARKYIiwgbGV2ZWw9Indhcm4iLCByZWdpb249ImV1"
    "Iiwgc2VydmljZV9uBUdcdGlsbCJ9Ej8KDAj604vYBhDb7cyvAhIjCUEBQHAgb3JkZXI9NyBpdCB3YXMgInNsb3ciIMOkGgoKBQUcGBIBNwp8ClbS"
    "qQCGmwAAIhWbYP+Lzq8CEhJFUlJPUiBzaG9wOiBmYWlsZWQ="
)


def test_promtails_push() -> None:
    """As it came from the program: labels and metadata are fields."""
    kept = Kept()
    with running(source(kept)) as http_source:
        kind = {"Content-Type": "application/x-protobuf"}
        body = base64.b64decode(PROMTAIL)
        assert ask(http_source, "/loki/api/v1/push", body, kind)[0] == 204
    assert kept.messages == ['level=warn order=7 it was "slow" ä', "ERROR shop: failed"]
    first, second = kept.events
    assert (first["level"], first["service"], first["order"], first["env"]) == (
        "WARNING",
        "till",
        "7",
        "prod",
    )
    assert (second["level"], second["region"], second["filename"]) == ("ERROR", "eu", "/tmp/shop/a.log")
    assert first["timestamp"] == "2026-11-22T13:11:22.636696Z"


def test_labels_as_prometheus_writes_them() -> None:
    """Escapes, no labels, and what is malformed."""
    assert loki.read_labels(r'{a="x\"y\\z\n\u00e9\x41", b_1="", }') == {"a": 'x"y\\z\néA', "b_1": ""}
    assert loki.read_labels("{}") == {}
    for bad in ("", "a", '{a="b"', "{a=b}", '{a="b" c="d"}', '{="b"}'):
        with pytest.raises(ValueError):
            loki.read_labels(bad)


def test_what_a_collector_parsed_out_of_a_body_is_there_once() -> None:
    """`filelog` with `json_parser` leaves the line as the body, and its fields as attributes beside it."""
    line = {"timestamp": "2026-01-02T03:04:05.000001Z", "level": "error", "message": "paid", "order": 7}
    attributes = {**line, "level": "warn", "trace_id": "x", "message": "paid"}
    record = {
        "body": {"stringValue": json.dumps(line)},
        "severityNumber": 17,
        "timeUnixNano": "1767323045000001000",
        "attributes": [
            {"key": key, "value": {"intValue": value} if value == 7 else {"stringValue": value}}
            for key, value in attributes.items()
        ],
    }
    body = {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}
    kept = Kept()
    with running(source(kept)) as http_source:
        sent, kind = json.dumps(body).encode(), {"Content-Type": "application/json"}
        assert ask(http_source, "/v1/logs", sent, kind)[0] == 200
    (event,) = kept.events
    assert (event["message"], event["level"], event["order"]) == ("paid", "ERROR", 7)
    assert event["timestamp"] == line["timestamp"]
    assert event["extra"] == {"level": "warn", "trace_id": "x"}  # these say something else


def test_a_document_with_two_times_has_one_and_the_other_by_a_name_of_its_own() -> None:
    """A field `@timestamp` would be written twice into Elasticsearch, which refuses such a document."""
    own, bulk = "2026-01-02T03:04:05.678901Z", b""
    for other in ("2026-01-02T03:04:05.678Z", "2026-03-04T05:06:07Z"):
        document = {"timestamp": own, "@timestamp": other, "message": "a"}
        bulk += b'{"create":{}}\n' + json.dumps(document).encode() + b"\n"
    kept = Kept()
    with running(source(kept)) as http_source:
        assert ask(http_source, "/logs-a-b/_bulk", bulk)[0] == 200
    assert [event["timestamp"] for event in kept.events] == [own, own]
    assert [event.get("ecs_timestamp") for event in kept.events] == [None, "2026-03-04T05:06:07Z"]
    assert not any("@timestamp" in event for event in kept.events)


def test_a_bulk_request_is_answered_item_by_item() -> None:
    """Order, ids, what is refused by itself, and what clients ask before."""
    kept = Kept()
    lines = [
        b'{"create":{"_id":"%s1"}}' % OWN.encode(),
        b'{"timestamp":"2026-01-02T03:04:05.000000Z","message":"a","event_id":"%s1","order":7}'
        % OWN.encode(),
        b'{"index":{"_index":"other"}}',
        b'{"@timestamp":"2026-01-02T03:04:06Z","message":"b","log":{"level":"error"},"host":{"name":"box"}}',
        b'{"delete":{"_id":"x"}}',
        b'{"create":{}}',
        b"no object",
        b'{"update":{"_id":"y"}}',
        b'{"doc":{}}',
        b'{"index":{}}',
        b'{"message":"c"}',
    ]
    with running(source(kept)) as http_source:
        status, said, headers = ask(http_source, "/logs-a-b/_bulk?filter_path=x", b"\n".join(lines) + b"\n")
        assert (status, headers["x-elastic-product"]) == (200, "Elasticsearch")
        answer = json.loads(said)
        assert answer["errors"] is True
        got = [
            (name, item["status"], item["_index"]) for one in answer["items"] for name, item in one.items()
        ]
        assert got == [
            ("create", 201, "logs-a-b"),
            ("index", 201, "other"),
            ("delete", 400, "logs-a-b"),
            ("create", 400, "logs-a-b"),
            ("update", 400, "logs-a-b"),
            ("index", 201, "logs-a-b"),
        ]
        assert answer["items"][0]["create"]["_id"] == OWN + "1"
        assert json.loads(ask(http_source, "/", method="GET")[1])["version"]["number"].startswith("8.")
        assert ask(http_source, "/", method="HEAD")[:2] == (200, b"")
        assert ask(http_source, "/_index_template/x", b"{}", method="PUT")[0] == 200
        assert ask(http_source, "/logs/_doc", b'{"message": "d"}')[0] == 201
        for bad in (b"{}\n{}\n", b"[]\n", b'{"create":{}}\n', b'{"create":1}\n{}\n', b"\xff\n"):
            status, said, _ = ask(http_source, "/_bulk", bad)
            assert (status, json.loads(said)["status"]) == (400, 400)
    assert kept.messages == ["a", "b", "c", "d"]
    first, second = kept.events[:2]
    assert (first["event_id"], first["order"]) == (OWN + "1", 7)
    assert "extra" not in first
    assert (second["level"], second["host"]) == ("ERROR", "box")
    assert second["timestamp"] == "2026-01-02T03:04:06.000000Z"


def otlp_request() -> Any:
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    request = ExportLogsServiceRequest()
    group = request.resource_logs.add()
    for key, value in (("service.name", "shop"), ("host.name", "box"), ("cloud", "eu")):
        group.resource.attributes.add(key=key).value.string_value = value
    scope = group.scope_logs.add()
    scope.scope.name = "shop.orders"
    record = scope.log_records.add(
        time_unix_nano=1_767_000_000_123_456_789,
        severity_number=18,
        trace_id=b"\xab" * 16,
        span_id=b"\xcd" * 8,
    )
    record.body.string_value = "it broke"
    record.attributes.add(key="order").value.int_value = -7
    record.attributes.add(key="ratio").value.double_value = 0.5
    record.attributes.add(key="ok").value.bool_value = True
    record.attributes.add(key="tags").value.array_value.values.add().string_value = "x"
    record.attributes.add(key="deep").value.kvlist_value.values.add(key="a").value.string_value = "b"
    record.attributes.add(key="exception.type").value.string_value = "ValueError"
    record.attributes.add(key="exception.message").value.string_value = "bad"
    record.attributes.add(key="log.record.uid").value.string_value = OWN + "5"
    other = scope.log_records.add(observed_time_unix_nano=1_767_000_001_000_000_000, severity_text="warn")
    other.body.kvlist_value.values.add(key="message").value.string_value = "of an object"
    return request


def as_json(request: Any) -> bytes:
    """Return OTLP's JSON: protobuf's own, but for ids, which are hex."""
    from google.protobuf.json_format import MessageToDict

    content = MessageToDict(request)
    for group in content["resourceLogs"]:
        for scope in group["scopeLogs"]:
            for record, held in zip(
                scope["logRecords"], request.resource_logs[0].scope_logs[0].log_records, strict=True
            ):
                for name, value in (("traceId", held.trace_id), ("spanId", held.span_id)):
                    if value:
                        record[name] = value.hex()
                number = {"SEVERITY_NUMBER_ERROR2": 18}
                if "severityNumber" in record:
                    record["severityNumber"] = number[record["severityNumber"]]
    return json.dumps(content).encode()


def test_otlp_in_both_forms() -> None:
    """What OpenTelemetry's own classes write, as protobuf and as JSON, is the same event."""
    kept = Kept()
    request = otlp_request()
    with running(source(kept)) as http_source:
        kind = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
        status, said, headers = ask(http_source, "/v1/logs", gzip.compress(request.SerializeToString()), kind)
        assert (status, said, headers["content-type"]) == (200, b"", "application/x-protobuf")
        json_kind = {"Content-Type": "application/json"}
        assert ask(http_source, "/v1/logs", as_json(request), json_kind)[:2] == (200, b"{}")
        assert ask(http_source, "/v1/logs", b"\xff\xff", {"Content-Type": "application/x-protobuf"})[0] == 400
        assert ask(http_source, "/v1/logs", b'{"resourceLogs": 7}', json_kind)[0] == 400
    assert kept.lines[:2] == kept.lines[2:]
    first, second = kept.events[:2]
    assert (first["message"], first["level"], first["service"], first["host"]) == (
        "it broke",
        "ERROR",
        "shop",
        "box",
    )
    assert (first["trace_id"], first["span_id"], first["logger"]) == ("ab" * 16, "cd" * 8, "shop.orders")
    assert (first["order"], first["ratio"], first["ok"], first["tags"]) == (-7, 0.5, True, ["x"])
    assert (first["deep"], first["cloud"]) == ({"a": "b"}, "eu")
    assert (first["error"]["type"], first["error"]["message"]) == ("ValueError", "bad")
    assert first["event_id"] == OWN + "5"
    assert first["timestamp"] == "2025-12-29T09:20:00.123456Z"
    assert (second["message"], second["level"]) == ("of an object", "WARNING")


def test_a_full_spool_is_told_in_each_protocols_own_way() -> None:
    """503 or 429 and Retry-After, nothing said to be stored that is not; with room all goes on."""
    kept = Kept()
    kept.room = False
    packed = push('{app="a"}', (1, b"x", {}))
    bulk_body = b'{"create":{}}\n{"message":"x"}\n{"delete":{}}\n'
    with running(source(kept, wait=Duration(0.05))) as http_source:
        for path, body in (
            ("/", b"x\n"),
            ("/loki/api/v1/push", packed),
            ("/v1/logs", otlp_request().SerializeToString()),
        ):
            status, _, headers = ask(http_source, path, body)
            assert (status, headers["retry-after"]) == (503, "1")
        status, said, _ = ask(http_source, "/_bulk", bulk_body)
        assert [item["status"] for one in json.loads(said)["items"] for item in one.values()] == [429, 400]
        assert ask(http_source, "/a/_doc", b"{}")[0] == 429
        assert not kept.frames
        kept.room = True
        assert ask(http_source, "/", b"x\n")[0] == 204
    assert kept.messages == ["x"]


def test_part_of_a_bulk_request_fits() -> None:
    """What was appended is said to be stored, and the rest to be repeated: nothing twice, nothing lost."""
    kept = Kept()
    append = kept.append

    def once(*args: Any, **options: Any) -> int:
        number = append(*args, **options)
        kept.room = False
        return number

    kept.append = once  # type: ignore[method-assign]
    body = b"".join(b'{"create":{}}\n{"message":"%d"}\n' % n for n in range(1200))
    with running(source(kept, wait=Duration(0.05))) as http_source:
        answer = json.loads(ask(http_source, "/_bulk", body)[1])
    told = [item["create"]["status"] for item in answer["items"]]
    assert told.count(201) == len(kept.lines) > 0
    assert told.count(429) == 1200 - len(kept.lines) > 0
    assert [int(message) for message in kept.messages] == [
        n for n, status in enumerate(told) if status == 201
    ]


def test_who_has_no_token_is_not_let_in() -> None:
    """Bearer, basic, API key; nothing of a stranger's body is read."""
    kept = Kept()
    with running(source(kept, token=Secret("s3cret"))) as http_source:
        for wrong in (
            {},
            {"Authorization": "Bearer x"},
            {"Authorization": "s3cret"},
            {"Authorization": "Basic !"},
        ):
            status, _, headers = ask(http_source, "/", b"x\n" * 1000, wrong)
            assert (status, "www-authenticate" in headers) == (401, True)
        basic = "Basic dXNlcjpzM2NyZXQ="
        for right in ("Bearer s3cret", basic, "ApiKey s3cret", "ApiKey dXNlcjpzM2NyZXQ="):
            assert ask(http_source, "/", b"y\n", {"Authorization": right})[0] == 204
    assert kept.messages == ["y"] * 4


def test_what_is_too_large_is_refused_before_it_is_made() -> None:
    """By its length, in chunks, and unpacked."""
    kept = Kept()
    with running(source(kept, max_request_bytes=Size(10_000))) as http_source:
        assert ask(http_source, "/", b"x" * 10_001)[0] == 413
        host, port = http_source.address
        chunked = http.client.HTTPConnection(host, port, timeout=30)
        chunked.request(
            "POST",
            "/",
            iter([b"x" * 4_000] * 3),
            encode_chunked=True,
            headers={"Transfer-Encoding": "chunked"},
        )
        assert chunked.getresponse().status == 413
        chunked.close()
        bomb = gzip.compress(b"x" * 10_000_000)
        assert len(bomb) < 10_000
        assert ask(http_source, "/", bomb, {"Content-Encoding": "gzip"})[0] == 413
        snappy = varint(1 << 40) + b"\0" * 50
        assert ask(http_source, "/loki/api/v1/push", snappy)[0] == 413
        assert ask(http_source, "/", b"x", {"Content-Encoding": "br"})[0] == 415
        assert ask(http_source, "/", b"x" * 10_000)[0] == 204
    assert len(kept.lines) == 1


def test_unpacking_is_bounded_and_says_what_is_wrong() -> None:
    """Torn, empty, several members, garbage."""
    whole = gzip.compress(b"a" * 100)
    assert unpack(whole + whole, "gzip", 200) == b"a" * 200
    assert unpack(b"x", " identity ", 1) == b"x"
    for body, status in ((whole[:-1], 400), (b"", 400), (b"x", 400), (whole + whole, 413)):
        with pytest.raises(BodyError) as caught:
            unpack(body, "gzip", 150)
        assert caught.value.status == status


def test_a_bomb_is_never_unpacked() -> None:
    """What unpacks to far more than may be is not made to be refused."""
    packer = zlib.compressobj(wbits=31)
    bomb = b"".join(packer.compress(bytes(1_000_000)) for _ in range(50)) + packer.flush()
    tracemalloc.start()
    try:
        with pytest.raises(BodyError):
            unpack(bomb, "gzip", 10_000)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_one_connection_many_requests() -> None:
    """Kept alive, pipelined, in chunks, with 100-continue; each gets its answer in order."""
    kept = Kept()
    with running(source(kept)) as http_source, socket.create_connection(http_source.address, 10) as sock:
        one = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n%d\n"
        sock.sendall(b"".join(one % number for number in range(5)))
        sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n5\n\r\n0\r\n\r\n")
        got = b""
        while got.count(b"204 No Content") < 6:
            got += sock.recv(10_000)
        sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert sock.recv(100).startswith(b"HTTP/1.1 100 Continue")
        sock.sendall(b"6\n")
        assert sock.recv(100).startswith(b"HTTP/1.1 204")
        sock.sendall(b"nonsense\r\n\r\n")
        assert sock.recv(1000).startswith(b"HTTP/1.1 400")
        while sock.recv(1000):
            pass
    assert kept.messages == [str(number) for number in range(7)]


def test_who_is_slow_or_silent_is_let_go() -> None:
    """A head that does not come, a body that does not."""
    kept = Kept()
    options = {"idle_timeout": Duration(0.1), "request_timeout": Duration(0.1)}
    with running(source(kept, **options)) as http_source:
        with socket.create_connection(http_source.address, 10) as sock:
            assert sock.recv(10) == b""
        with socket.create_connection(http_source.address, 10) as sock:
            sock.sendall(b"POST / HTTP/1.1\r\nHost")
            assert sock.recv(10) == b""
        with socket.create_connection(http_source.address, 10) as sock:
            sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1")
            assert sock.recv(1000).startswith(b"HTTP/1.1 408")
    assert not kept.frames


def test_beyond_loopback_with_a_token_or_certificates() -> None:
    """Or where it is meant."""
    with pytest.raises(ValueError, match="anybody who reaches"):
        HttpSourceConfig("0.0.0.0:3100")
    HttpSourceConfig("0.0.0.0:3100", token=Secret("x"))
    HttpSourceConfig("0.0.0.0:3100", insecure=True)
    own = Path("/x.pem")
    HttpSourceConfig("0.0.0.0:3100", tls=ServerTls(own, client_ca_file=own))
    with pytest.raises(ValueError, match="token is empty"):
        HttpSourceConfig("127.0.0.1:1", token=Secret(""))


def test_https(tmp_path: Path) -> None:
    """With a certificate that is checked."""
    import ssl

    files = make_certificates(tmp_path)
    kept = Kept()
    with running(source(kept, tls=ServerTls(files / "good.pem", files / "good.key"))) as http_source:
        trusting = ssl.create_default_context(cafile=str(files / "good.pem"))
        host, port = http_source.address
        connection = http.client.HTTPSConnection(host, port, context=trusting, timeout=30)
        connection.request("POST", "/", b"x\n" * 100_000)
        assert connection.getresponse().status == 204
        connection.close()
    assert len(kept.lines) == 100_000


def test_stopped_in_the_middle() -> None:
    """A request at hand is answered; the next one is not taken."""
    kept = Kept()
    kept.room = False
    http_source = source(kept, wait=Duration(30))
    answers: list[int] = []
    with running(http_source):
        thread = threading.Thread(target=lambda: answers.append(ask(http_source, "/", b"x\n")[0]))
        thread.start()
        until(lambda: kept.asked)
        http_source.stop()
        kept.room = True
        thread.join(30)
    assert answers in ([204], [503])
    assert len(kept.lines) == (answers == [204])


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_bytes_over_a_connection(data: Any) -> None:
    """Nothing ends the source: after any bytes the next request is answered."""
    heads = st.sampled_from(
        [
            b"",
            b"POST / HTTP/1.1\r\nHost: x\r\n",
            b"POST /_bulk HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n",
        ]
    )
    garbage = data.draw(heads) + data.draw(st.binary(max_size=300))
    kept = FUZZED_KEPT
    with socket.create_connection(FUZZED.address, 10) as sock:
        sock.sendall(garbage)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(10_000):
            pass
    before = len(kept.lines)
    assert ask(FUZZED, "/", b"still there\n")[0] == 204
    assert kept.messages[before:] == ["still there"]


FUZZED_KEPT = Kept()
FUZZED = source(FUZZED_KEPT)


@pytest.fixture(scope="module", autouse=True)
def _fuzzed() -> Any:
    with running(FUZZED):
        yield


NAMES = (
    "streams stream values resourceLogs scopeLogs logRecords body attributes resource key value stringValue "
    "arrayValue kvlistValue intValue timeUnixNano log level host name error trace id agent @timestamp"
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(NAMES.split()),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150)
@given(JSON)
def test_any_json_is_entries_or_refused(content: Any) -> None:
    """Nothing but ValueError comes out of a decoder; what is decoded becomes an event."""
    body = json.dumps(content).encode()
    for read, make in ((loki.read_json, told_of_entry), (otlp.read_json, told_of_record)):
        try:
            found: Any = read(body)  # type: ignore[operator]
        except ValueError:
            continue
        for one in found:
            told = make(one)  # type: ignore[operator]
            assert told is None or json.loads(compose(BUILDER, told[0]))
    with suppress(ValueError):
        bulk.read_bulk(body + b"\n" + body)
    if isinstance(content, dict):
        from_ecs(content)


@settings(max_examples=150)
@given(st.binary(max_size=80) | st.binary(max_size=60).map(lambda inner: sized(1, sized(2, inner))))
def test_any_protobuf_is_entries_or_refused(body: bytes) -> None:
    """Nothing but ValueError comes out; what is decoded becomes an event."""
    for read, make in ((loki.read_protobuf, told_of_entry), (otlp.read_protobuf, told_of_record)):
        try:
            found: Any = read(body)  # type: ignore[operator]
        except ValueError:
            continue
        for one in found:
            told = make(one)  # type: ignore[operator]
            assert told is None or json.loads(compose(BUILDER, told[0]))


def test_protobuf_is_read_as_it_is_written() -> None:
    """All kinds of fields, in the forms that protobuf allows."""
    data = (
        b"\x08\x96\x01" + sized(2, b"abc") + b"\x19" + struct.pack("<d", 1.5) + b"\x25" + struct.pack("<I", 7)
    )
    data += b"\x80\x01\x05"
    assert list(fields(data)) == [
        (1, 150),
        (2, b"abc"),
        (3, struct.unpack("<Q", struct.pack("<d", 1.5))[0]),
        (4, 7),
        (16, 5),
    ]
    for bad in (b"\x0a\x05ab", b"\x0b", b"\x08", b"\x09\x01", b"\x00\x01"):
        with pytest.raises(ValueError):
            list(fields(bad))
