"""Every answer that Loki was seen to give, and what it means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logferry.shipper.model import Delivered, Rejected, Retry, Split
from logferry.shipper.sinks.loki.verdict import PATIENCE, excerpt, judge

RATE = (
    "ingestion rate limit exceeded for user fake (limit: {} bytes/sec) while attempting to ingest '33' lines "
    "totaling '{}' bytes, reduce log volume"
)

HALVED = [
    (400, "entry for stream '{a=\"b\"}' has timestamp too old: 2026-01-01T00:00:00Z, oldest acceptable ..."),
    (400, "entry for stream '{}' has timestamp too new: 2026-12-01T00:00:00Z"),
    (400, "3 errors like: entry for stream ...; 1 errors like: max entry size ..."),
    (400, "entry with timestamp ... ignored, reason: 'entry too far behind, ...', total ignored: 1 out of 1"),
    (
        400,
        "max entry size '262144' bytes exceeded for stream '{}' while adding an entry with length '300000'",
    ),
    (400, "stream '{}' has too many structured metadata labels: '129', limit: '128'"),
    (413, "request body too large"),
    (413, ""),
    (422, "error at least one valid stream is required for ingestion"),
    (500, "rpc error: code = ResourceExhausted desc = grpc: received message larger than max (5 vs. 4)"),
    (500, "rpc error: trying to send message larger than max"),
]
PAUSED = [
    (200, "<html>captive portal</html>"),
    (200, ""),
    (202, ""),
    (260, "ingestion blocked for user 'fake' until '2099' with status code '260'"),
    (260, ""),
    (400, "ingestion blocked for user 'fake'"),
    (400, "stream '{}' includes structured metadata, but this feature is disallowed. Please see ..."),
    (400, "missing required labels 'team' for user 'fake'"),
    (301, ""),
    (302, ""),
    (308, ""),
    (401, "no org id"),
    (401, ""),
    (403, "forbidden"),
    (404, "404 page not found"),
    (405, ""),
    (429, "maximum active stream limit exceeded when trying to create stream {}"),
    (418, "teapot"),
]
RETRIED = [
    (408, ""),
    (429, RATE.format(4194304, 1000)),
    (429, "'Per stream rate limit exceeded (limit: 3MB/sec) while attempting to ingest for stream ...'"),
    (429, ""),
    (500, "rpc error"),
    (502, "bad gateway"),
    (503, "at least 1 live replicas required"),
    (599, ""),
]


def test_204_alone_is_success() -> None:
    """Delivered for 204 and for no other status there is."""
    assert judge(204, "", events=3).verdict == Delivered()
    for status in set(range(100, 1000)) - {204}:
        assert not isinstance(judge(status, "", events=3).verdict, Delivered)


@pytest.mark.parametrize(("status", "body"), HALVED)
def test_halved_until_the_bad_one_is_alone(status: int, body: str) -> None:
    """Several events are split, a single one is rejected with Loki's words."""
    assert isinstance(judge(status, body, events=2).verdict, Split)
    verdict = judge(status, body, events=1).verdict
    assert isinstance(verdict, Rejected)
    assert str(status) in verdict.reason
    assert body[:60] in verdict.reason


@pytest.mark.parametrize(("status", "body"), PAUSED)
@pytest.mark.parametrize("events", [1, 50])
def test_paused_until_a_human_mends_it(status: int, body: str, events: int) -> None:
    """Nothing is rejected or split for what no event can help."""
    verdict = judge(status, body, events=events, attempt=99).verdict
    assert isinstance(verdict, Retry)
    assert verdict.pause


@pytest.mark.parametrize(("status", "body"), RETRIED)
def test_retried_when_the_server_will_recover(status: int, body: str) -> None:
    """A retry, as late as the server asks for, and no pause."""
    verdict = judge(status, body, events=9, after=7.0).verdict
    assert isinstance(verdict, Retry)
    assert not verdict.pause
    assert verdict.after == 7.0


def test_a_push_above_the_rate_is_halved_at_once_and_any_other_with_patience() -> None:
    """A push above a second's rate may never fit; one below is halved only after some attempts."""
    assert isinstance(judge(429, RATE.format(1000, 6000), events=9).verdict, Split)
    small = RATE.format(6000, 1000)
    assert isinstance(judge(429, small, events=9, attempt=PATIENCE - 1).verdict, Retry)
    assert isinstance(judge(429, small, events=9, attempt=PATIENCE).verdict, Split)
    assert isinstance(judge(429, small, events=1, attempt=99).verdict, Retry)


def test_what_concerns_one_stream_does_not_stop_the_others() -> None:
    """Stream limits and bad entries are the stream's; rates of the tenant and outages are everyone's."""
    assert judge(429, "Per stream rate limit exceeded", events=9).stream
    assert judge(400, "too old", events=9).stream
    assert not judge(429, RATE.format(6000, 10), events=9).stream
    assert not judge(503, "", events=9).stream
    assert not judge(401, "", events=9).stream


@given(st.integers(100, 999), st.text(), st.integers(1, 99), st.integers(1, 99))
def test_any_answer_has_a_bounded_verdict(status: int, body: str, events: int, attempt: int) -> None:
    """Whatever comes, there is a verdict, and its reason is short, of one line, and printable."""
    verdict = judge(status, body, events=events, attempt=attempt).verdict
    if not isinstance(verdict, Delivered):
        assert len(verdict.reason) < 600
        assert verdict.reason.isprintable()


def test_an_excerpt_is_one_line() -> None:
    """Control characters, line breaks and length do not reach a terminal."""
    assert excerpt("a\n\tb \x1b[31mred") == "a b �[31mred"
    assert len(excerpt("x" * 10_000)) == 300
