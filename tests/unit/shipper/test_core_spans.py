"""Events as spans, spans that never end, and Zipkin's format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st
from servers.faults import FaultServer, answer

from logferry.handlers import Schema
from logferry.shipper.core.spans import MAX_OPEN, UNFINISHED, OpenSpans, Span, read_span
from logferry.shipper.model import Batch, Delivered, Retry
from logferry.shipper.ports import SinkContext
from logferry.shipper.sinks.zipkin import ZipkinConfig, ZipkinSink
from logferry.shipper.sinks.zipkin.request import zipkin_span
from logferry.shipper.sinks.zipkin.verdict import judge

TRACE, SPAN, PARENT = "a" * 32, "b" * 16, "c" * 16
EVENT: dict[str, Any] = {
    "timestamp": "2026-01-01T00:00:01.000000Z",
    "level": "INFO",
    "service": "shop",
    "trace_id": TRACE,
    "span_id": SPAN,
    "message": "db.query",
    "parent_id": PARENT,
    "host": "machine",
    "kind": "span",
}
SECOND = 1_767_225_601_000_000  # EVENT's timestamp


def read(**more: Any) -> tuple[str, Span]:
    told = read_span(orjson.dumps(EVENT | more))
    assert told is not None
    return told


def open_span(number: int = 1) -> Span:
    return read(kind="span_start", span_id=f"{number:016x}")[1]


def test_a_span_event() -> None:
    what, span = read(
        span_kind="client",
        started="2026-01-01T00:00:00.900000Z",
        duration_ms=100.5,
        failed=True,
        tags={"table": "orders", "error": "ValueError: x"},
        span_events=[{"name": "row", "at": "2026-01-01T00:00:00.950000Z", "n": 1}, "nonsense"],
    )
    assert what == "ended"
    assert span == Span(
        *(TRACE, SPAN, PARENT, "db.query", "client", "shop", SECOND - 100_000, 100_500, True),
        {"host": "machine", "table": "orders", "error": "ValueError: x"},
        ((SECOND - 50_000, "row", {"n": 1}),),
        ("", "", "machine"),
    )


def test_an_access_event_is_a_server_span_named_by_its_route() -> None:
    _, span = read(kind="access", method="GET", path="/o/1?q=1", endpoint="/o/{id}", duration_ms=20)
    assert (span.name, span.kind, span.start, span.duration) == (
        "GET /o/{id}",
        "server",
        SECOND - 20_000,
        20_000,
    )
    assert span.tags["http.path"] == "/o/1?q=1"
    assert read(kind="access", method="GET", path="/o/1?q=secret")[1].name == "GET /o/1"


def test_what_is_no_span() -> None:
    for line in (
        b"",
        b"[1]",
        b"\xff",
        orjson.dumps(EVENT | {"kind": None}),
        orjson.dumps(EVENT | {"trace_id": ""}),
        orjson.dumps(EVENT | {"span_id": "B" * 16}),
        orjson.dumps(EVENT | {"timestamp": "yesterday"}),
    ):
        assert read_span(line) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*EVENT, "started", "duration_ms", "tags", "span_events"]), JSON))
def test_any_values_make_a_span_that_zipkin_can_be_given(fields: dict[str, Any]) -> None:
    told = read_span(json.dumps(EVENT | fields).encode("utf-8", "surrogatepass"))
    if told is not None:
        made = orjson.loads(orjson.dumps(zipkin_span(told[1])))
        assert all(type(value) is str for value in made.get("tags", {}).values())
        assert made["timestamp"] != 0
        assert made["duration"] >= 1
        assert made.get("parentId") != made["id"]


def test_open_spans_are_due_after_the_timeout_and_only_then() -> None:
    spans = OpenSpans(10)
    first, second = open_span(1), open_span(2)
    spans.begin(first, 100)
    spans.begin(second, 105)
    spans.begin(first, 108)  # told twice
    assert spans.due(109.9) == []
    (closed,) = spans.due(110)
    assert (closed.key, closed.duration, closed.failed) == (first.key, 10_000_000, True)
    assert closed.tags["error"] == UNFINISHED
    spans.end(closed)
    spans.end(second)
    assert len(spans) == 0
    assert spans.due(1000) == []


def test_open_spans_outlive_the_process_and_are_bounded() -> None:
    spans = OpenSpans(10)
    for number in range(1, MAX_OPEN + 3):
        spans.begin(open_span(number), number)
    again = OpenSpans(10)
    again.load(spans.dump())
    assert len(again) == MAX_OPEN
    assert again.due(MAX_OPEN + 2.5)[0].key == open_span(3).key
    again.load(b"[[1")
    again.load(b"\xff")


def test_a_clock_that_was_set_back_keeps_nothing_for_ever() -> None:
    spans = OpenSpans(10)
    spans.begin(open_span(), 1000)
    assert spans.due(995) == []
    assert spans.due(100)


def batch(*events: dict[str, Any]) -> Batch:
    return Batch("0" * 32, range(1, len(events) + 1), [orjson.dumps(EVENT | event) for event in events])


def make(server: FaultServer, state: Path | None, now: list[float]) -> ZipkinSink:
    config = ZipkinConfig(server.url, unfinished_after=10, timeout=1, compression="none")  # type: ignore[arg-type]
    return ZipkinSink(config, SinkContext("z", Schema("shop"), state), clock=lambda: now[0])


def test_what_was_killed_is_closed_after_the_timeout_also_by_the_next_shipper(tmp_path: Path) -> None:
    now = [1000.0]
    with FaultServer(answer(202)) as server:
        sink = make(server, tmp_path, now)
        assert sink.send(batch({"kind": "span_start"}, {"kind": "log"})) == Delivered()
        sink.tick()
        sink.close()
        assert not server.requests
        assert (tmp_path / f"open-spans-z-{'0' * 32}.json").stat().st_mode & 0o777 == 0o600
        now[0] += 10
        sink = make(server, tmp_path, now)
        sink.tick()  # looked just now
        now[0] += 1
        sink.tick()
        now[0] += 1
        sink.tick()
        sink.close()
        (request,) = server.requests
        (span,) = orjson.loads(request.body)
        assert (span["traceId"], span["id"], span["tags"]["error"]) == (TRACE, SPAN, UNFINISHED)
        assert list(tmp_path.glob("open-spans-*")) == []


def test_processes_that_share_a_directory_close_only_what_nobody_else_will(tmp_path: Path) -> None:
    """One of four workers is restarted: what the others have open ends in their own spools."""
    now = [1000.0]
    with FaultServer(rest=answer(202)) as server:
        first = make(server, tmp_path, now)
        first.send(batch({"kind": "span_start"}))  # takes a little longer than the time-out
        now[0] += 2.5
        for _ in range(4):
            second = make(server, tmp_path, now)
            second.send(
                Batch("1" * 32, [1], [orjson.dumps(EVENT | {"kind": "span_start", "span_id": "2" * 16})])
            )
            for _ in range(2):
                now[0] += 1
                second.tick()
            second.close()
        first.send(batch({"duration_ms": 5}))  # its end, though the second has seen it in time
        assert [[span["id"] for span in orjson.loads(request.body)] for request in server.requests] == [
            [SPAN]
        ]
        assert "error" not in orjson.loads(server.requests[0].body)[0]["tags"]
        # The second is gone for good, and all it had told was delivered: the first closes what is open.
        for _ in range(5):
            now[0] += 1
            first.tick()
        first.close()
        closed = [span for request in server.requests[1:] for span in orjson.loads(request.body)]
        assert [(span["id"], span["tags"]["error"]) for span in closed] == [("2" * 16, UNFINISHED)]
        assert list(tmp_path.glob("open-spans-*")) == []


def test_who_goes_on_with_a_spool_knows_what_it_has_told(tmp_path: Path) -> None:
    """Its owner was killed between a span's beginning, which was delivered, and its end, which was not."""
    now = [1000.0]
    with FaultServer(rest=answer(202)) as server:
        make(server, tmp_path, now).send(batch({"kind": "span_start"}))
        now[0] += 9
        heir = make(server, tmp_path, now)
        heir.send(batch({"duration_ms": 5}))
        for _ in range(80):
            now[0] += 1
            heir.tick()
        heir.close()
        assert len(server.requests) == 1


def test_what_has_ended_is_not_closed_again(tmp_path: Path) -> None:
    now = [1000.0]
    with FaultServer(answer(202)) as server:
        sink = make(server, tmp_path, now)
        sink.send(batch({"kind": "span_start"}))
        sink.send(batch({"duration_ms": 5}))
        now[0] += 100
        sink.tick()
        sink.close()
        assert len(server.requests) == 1


def test_a_server_that_is_away_is_asked_again(tmp_path: Path) -> None:
    now = [1000.0]
    with FaultServer(answer(503), answer(503), rest=answer(202)) as server:
        sink = make(server, tmp_path, now)
        assert isinstance(sink.send(batch({"kind": "span_start"}, {"span_id": "d" * 16})), Retry)
        now[0] += 100
        sink.tick()
        now[0] += 5
        sink.tick()
        sink.close()
        assert len(server.requests) == 3
        assert orjson.loads(server.requests[-1].body)[0]["id"] == SPAN


def test_zipkins_word_for_too_large() -> None:
    assert judge(500, "413: Request Entity Too Large").__class__.__name__ == "Split"
    assert isinstance(judge(500, "out of memory"), Retry)


def test_the_sinks_route_is_its_kinds_unless_another_is_asked_for(tmp_path: Path) -> None:
    from logferry.shipper.config import load
    from logferry.shipper.config.plan import plan

    def routed(**more: Any) -> Any:
        options = {"type": "zipkin", "url": "http://localhost:1", **more}
        config = load({"service": "s", "spool": {"path": str(tmp_path)}, "sinks": {"z": options}})
        (spec,) = plan(config).sinks
        assert spec.routes.match is not None
        return spec.routes.match

    assert [routed()({"kind": kind}) for kind in ("span", "access", "log")] == [True, True, False]
    assert not routed(match="kind=job")({"kind": "span"})
