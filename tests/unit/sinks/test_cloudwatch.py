"""CloudWatch Logs: what goes into one call, what an answer means, what a configuration may not say."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logferry.handlers.schema import Schema
from logferry.shipper.aws import CREDENTIALS, THROTTLED, Failure
from logferry.shipper.core.template import Template
from logferry.shipper.model import Batch, Delivered, Partial, Rejected, Retry, Split
from logferry.shipper.sinks.cloudwatch import CloudWatchConfig
from logferry.shipper.sinks.cloudwatch.puts import DAY, Put, Puts, body, message
from logferry.shipper.sinks.cloudwatch.queries import metric_filters, saved_queries
from logferry.shipper.sinks.cloudwatch.verdict import Fold, judge, rejected

NOW = 1_770_000_000_000
HOUR = 3_600_000


def iso(at: int) -> str:
    moment = datetime.fromtimestamp(at // 1000, UTC).replace(microsecond=at % 1000 * 1000)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def lines_of(rows: list[tuple[int, str]]) -> list[bytes]:
    return [orjson.dumps({"timestamp": iso(at), "service": name, "host": "h"}) for at, name in rows]


def puts_of(rows: list[tuple[int, str]], sizes: list[int], **options: Any) -> list[Put]:
    limits = {"max_events": 10_000, "max_bytes": 1 << 20} | options
    maker = Puts(Template.parse("{service}/{host}"), **limits)
    return maker.of(Batch("a" * 32, range(1, len(rows) + 1), lines_of(rows)), sizes, NOW)


ROWS = st.lists(
    st.tuples(st.integers(NOW - 40 * DAY, NOW + 10 * DAY), st.sampled_from("abc"), st.integers(1, 400_000)),
    max_size=60,
)


@given(ROWS, st.integers(1, 20), st.sampled_from([None, DAY, 7 * DAY]))
def test_every_put_is_one_that_cloudwatch_takes(
    rows: list[tuple[int, str, int]], most: int, retention: int | None
) -> None:
    """Each event is in one put, which keeps to one stream, order, a day, a size, a number and the bounds."""
    sizes = [size for *_, size in rows]
    puts = puts_of([row[:2] for row in rows], sizes, max_events=most, max_bytes=500_000, retention=retention)
    assert sorted(index for put in puts for index in put.indexes) == list(range(len(rows)))
    edges = [NOW - 14 * DAY, NOW + 2 * HOUR, *([NOW - retention] if retention else [])]
    for put in puts:
        assert put.times == sorted(put.times)
        assert put.times == [rows[index][0] for index in put.indexes]
        assert {f"{rows[index][1]}/h" for index in put.indexes} == {put.stream}
        assert put.times[-1] - put.times[0] < DAY
        assert len(put.indexes) <= most
        assert put.size == sum(sizes[index] + 26 for index in put.indexes)
        assert put.size <= 500_000
        assert all((put.times[0] < edge) == (put.times[-1] < edge) for edge in edges)


def test_equal_times_keep_the_order_of_the_spool() -> None:
    """A burst within a millisecond is read as it was written."""
    (put,) = puts_of([(NOW, "a")] * 500, [10] * 500)
    assert put.indexes == list(range(500))


def test_a_whole_day_between_two_events_makes_two_puts() -> None:
    """The documented bound is taken as the first that is too much."""
    assert len(puts_of([(NOW - DAY, "a"), (NOW, "a")], [10, 10])) == 2
    assert len(puts_of([(NOW - DAY + 1, "a"), (NOW, "a")], [10, 10])) == 1


def test_usual_events_are_one_put() -> None:
    """A batch that needs no division is not divided."""
    assert len(puts_of([(NOW - n, "a") for n in range(9_000)], [80] * 9_000)) == 1


@pytest.mark.parametrize(
    ("line", "stream", "at"),
    [
        (
            b'{"service":"a:b*c\\n","host":7,"timestamp":"2026-01-31T08:00:00.123456Z"}',
            "a_b_c_/7",
            1769846400123,
        ),
        (b'{"service":"","host":["x"],"timestamp":"2026-01-31T08:00:00+02:00"}', "-/-", 1769839200000),
        (b'{"service":"s","timestamp":"yesterday"}', "s/-", NOW),
        (b'{"service":"s","timestamp":"1901-01-31T08:00:00.123456Z"}', "s/-", NOW),
        (b"[]", "-/-", NOW),
        (b"nonsense", "-/-", NOW),
    ],
)
def test_odd_lines_have_a_stream_and_a_time(line: bytes, stream: str, at: int) -> None:
    """What no stream may have in its name is replaced; what has no time gets that of the sending."""
    maker = Puts(Template.parse("{service}/{host}"), 10, 1000)
    (put,) = maker.of(Batch("a" * 32, [1], [line]), [10], NOW)
    assert (put.stream, put.times) == (stream, [at])


@given(st.lists(st.text(max_size=30), min_size=1, max_size=600))
def test_a_body_holds_the_messages_as_they_are(texts: list[str]) -> None:
    """The request is JSON, and each message in it is the line, with its id in front."""
    batch = Batch("a" * 32, range(1, len(texts) + 1), [orjson.dumps({"message": text}) for text in texts])
    messages = [message(line, b"a-%d" % n, 1_000_000) for n, line in enumerate(batch.lines)]
    put = Put("s:1", list(range(len(texts))), [NOW] * len(texts))
    request = json.loads(body('g"', put, messages))
    assert (request["logGroupName"], request["logStreamName"]) == ('g"', "s:1")
    assert [event["message"].encode() for event in request["logEvents"]] == messages
    events = [json.loads(event["message"]) for event in request["logEvents"]]
    assert events == [{"event_id": f"a-{n}", "message": text} for n, text in enumerate(texts)]


def test_a_message_keeps_the_id_that_it_came_with_and_is_cut_when_too_large() -> None:
    """An id from elsewhere stays; a cut message is JSON, small enough, marked, and has its id."""
    assert message(b'{"event_id":"b-7","n":1}', b"a-1", 10_000) == b'{"event_id":"b-7","n":1}'
    assert message(b"{}", b"a-1", 10_000) == b'{"event_id":"a-1"}'
    cut = message(orjson.dumps({"message": "é" * 20_000, "n": 1}), b"a-1", 9_000)
    assert len(cut) <= 9_000
    assert {**json.loads(cut), "message": ""} == {"event_id": "a-1", "message": "", "n": 1, "truncated": True}


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({}, ""),
        ({"tooOldLogEventEndIndex": 2}, "oo"),
        ({"expiredLogEventEndIndex": 3}, "eee"),
        ({"tooOldLogEventEndIndex": 1, "expiredLogEventEndIndex": 3}, "oee"),
        ({"tooNewLogEventStartIndex": 4}, "....n"),
        ({"tooOldLogEventEndIndex": 1, "tooNewLogEventStartIndex": 3}, "o..nn"),
        ({"tooOldLogEventEndIndex": 99, "tooNewLogEventStartIndex": -5}, "nnnnn"),
        ({"tooOldLogEventEndIndex": None, "tooNewLogEventStartIndex": "1"}, ""),
    ],
)
def test_the_indexes_of_rejected_events(info: dict[str, Any], expected: str) -> None:
    """Ends are exclusive, the start is inclusive; what makes no sense rejects nothing beyond the put."""
    found = rejected({"rejectedLogEventsInfo": info}, 5)
    letters = {"retention": "e", "14 days": "o", "2 hours": "n"}
    shown = {place: next(c for word, c in letters.items() if word in r.reason) for place, r in found.items()}
    assert shown == {place: c for place, c in enumerate(expected) if c != "."}


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        *[(Failure(code, "", 400), "pause") for code in sorted(CREDENTIALS)],
        *[(Failure(code, "", 400), "retry") for code in sorted(THROTTLED)],
        (Failure("AccessDeniedException", "", 400), "pause"),
        (Failure("ServiceUnavailableException", "", 503), "retry"),
        (Failure("ResourceNotFoundException", "", 400), "retry"),
        (Failure("InvalidParameterException", "", 400), "split"),
        (Failure("anything", "", 413), "split"),
        (Failure("DataAlreadyAcceptedException", "", 400), "delivered"),
        (Failure("SomethingNewException", "", 400), "pause"),
    ],
)
def test_what_a_failure_means(failure: Failure, expected: str) -> None:
    """By AWS's code, which says more than the status."""
    verdict = judge(failure, 5)
    shown = "pause" if isinstance(verdict, Retry) and verdict.pause else type(verdict).__name__.lower()
    assert shown == expected
    if expected == "split":
        assert isinstance(judge(failure, 1), Rejected)


def test_a_batch_of_several_puts_is_one_verdict() -> None:
    """What is stored is not sent again; what must be halved comes back alone first."""
    first, second = Put("a", [0, 2]), Put("b", [1, 3])
    fold = Fold()
    fold.answered(first, {1: Rejected("old")})
    fold.failed(second, Retry("later"))
    assert fold.verdict(4) == Partial({2: Rejected("old"), 1: Retry("later"), 3: Retry("later")})
    fold = Fold()
    fold.answered(first, {})
    fold.failed(second, Split("bad"))
    assert fold.verdict(4) == Partial({1: Retry("bad"), 3: Retry("bad")})
    fold = Fold()
    fold.failed(Put("b", [0, 1]), Split("bad"))
    assert fold.verdict(2) == Split("bad")
    fold = Fold()
    fold.failed(first, Retry("a"))
    fold.failed(second, Retry("b", pause=True))
    assert fold.verdict(4) == Retry("b", pause=True)
    fold = Fold()
    fold.answered(first, {})
    fold.failed(second, Delivered(2))
    assert fold.verdict(4) == Delivered(2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"log_group": "with space"}, "log_group"),
        ({"stream": "{service"}, "write {field}"),
        ({"stream": "a:b"}, "colon"),
        ({"stream": ""}, "stream"),
        ({"stream": "{trace_id}"}, "of each event"),
        ({"retention_days": 10}, "retention_days"),
        ({"metrics_namespace": "AWS/Logs"}, "metrics_namespace"),
        ({"tags": {"aws:x": "y"}}, "tags"),
        ({"region": "Europe!"}, "region"),
        ({"role": "logs"}, "role"),
        ({"external_id": "x"}, "role"),
        ({"access_key_id": "A"}, "belong together"),
        ({"endpoint_url": "localhost:4566"}, "scheme"),
        ({"endpoint_url": "http://u:p@h"}, "credentials"),
    ],
)
def test_what_cannot_work_is_refused(options: dict[str, Any], words: str) -> None:
    """What CloudWatch Logs would refuse for every event is a mistake of the configuration."""
    with pytest.raises(ValueError, match=words.replace("{", r"\{")):
        CloudWatchConfig(**({"log_group": "g"} | options))


def test_filters_and_queries_are_of_the_schema() -> None:
    """A declared number has its p95; a name that Insights cannot read has none."""
    queries = saved_queries("/g", Schema("s", fields={"amount": "number", "a-b": "number", "note": "string"}))
    assert "logferry/g/p95 amount" in queries
    assert not any("a-b" in name or "note" in name for name in queries)
    filters = metric_filters("/g", "shop")
    assert {"$.duration_ms", "1"} == {row["metricTransformations"][0]["metricValue"] for row in filters}


def test_botocore_is_not_imported_before_it_is_used() -> None:
    """Neither by the configuration nor by building a sink: it would slow the application's start."""
    program = """
import sys
from logferry.shipper.config import load
from logferry.shipper.config.plan import plan
from logferry.shipper.ports import SinkContext
sinks = {"a": {"type": "cloudwatch", "log_group": "g"}, "b": {"type": "s3", "bucket": "logs"}}
made = plan(load({"service": "s", "sinks": sinks}, environ={}))
for spec in made.sinks:
    spec.kind.build(spec.options, SinkContext(spec.name, made.schema)).close()
sys.exit("botocore" in sys.modules or "urllib3" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
