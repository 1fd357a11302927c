"""The Loki sink against a real Loki: completeness, repetition, backfill, refusals, restarts."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from servers.faults import FaultServer, answer

from logferry.handlers.schema import Schema
from logferry.shipper.config.fields import Secret
from logferry.shipper.model import Batch, Delivered, Partial, Rejected, Retry, Split, Verdict
from logferry.shipper.ports import SinkContext
from logferry.shipper.sinks.loki import LokiConfig, LokiSink

if TYPE_CHECKING:
    from servers.loki import LokiServer

pytestmark = [pytest.mark.integration, pytest.mark.server("loki"), pytest.mark.timeout(240)]

HOUR = 3600
SECOND = 10**9


def iso(seconds: float) -> str:
    micros = round(seconds % 1 * 1e6) % 1_000_000
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{micros:06}Z"


def event(number: int, at: float, service: str, **fields: Any) -> bytes:
    """Make an event as an application would log it: 30 % access events, some with errors."""
    level = ("INFO", "INFO", "INFO", "DEBUG", "WARNING", "INFO", "INFO", "INFO", "ERROR", "INFO")[number % 10]
    line: dict[str, Any] = {
        "timestamp": iso(at),
        "level": level,
        "service": service,
        "trace_id": f"{number * 7919:032x}",
        "span_id": f"{number * 104729:016x}",
        "message": f"order {number} für Zoë ☃ costs 12.50",
        "request_id": f"req-{number}",
        "logger": "shop.orders",
        "environment": "test",
        "order_id": number,
    }
    if number % 10 < 3:
        line |= {
            "kind": "access",
            "method": "GET",
            "endpoint": "/orders/{id}",
            "status_code": 200,
            "duration_ms": number % 97 + 0.5,
            "duration_le": "100",
            "failed": False,
        }
    return orjson.dumps(line | fields)


class Deliverer:
    """What the worker does with verdicts, without its waiting: enough to bring every event to its end."""

    def __init__(self, sink: LokiSink, spool: str) -> None:
        self.sink, self.spool = sink, spool
        self.rejected: dict[int, str] = {}
        self.delivered: set[int] = set()
        self.verdicts: list[Verdict] = []

    def run(self, lines: list[bytes], first: int = 1, rounds: int = 400) -> Deliverer:
        work = [(list(range(first, first + len(lines))), list(lines), 1)]
        while work and rounds:
            rounds -= 1
            sequences, batch, attempt = work.pop(0)
            verdict = self.sink.send(Batch(self.spool, sequences, batch, attempt))
            self.verdicts.append(verdict)
            if isinstance(verdict, Delivered):
                self.delivered.update(sequences)
            elif isinstance(verdict, Retry):
                work.insert(0, (sequences, batch, attempt + 1))
            elif isinstance(verdict, Rejected):
                self.rejected |= dict.fromkeys(sequences, verdict.reason)
            elif isinstance(verdict, Split):
                half = len(batch) // 2
                work[:0] = [(sequences[:half], batch[:half], 1), (sequences[half:], batch[half:], 1)]
            else:
                again = [i for i, refusal in sorted(verdict.refused.items()) if isinstance(refusal, Retry)]
                self.rejected |= {
                    sequences[i]: r.reason for i, r in verdict.refused.items() if isinstance(r, Rejected)
                }
                self.delivered |= {s for i, s in enumerate(sequences) if i not in verdict.refused}
                if again:
                    work.insert(0, ([sequences[i] for i in again], [batch[i] for i in again], attempt + 1))
        assert not work, f"not done after all rounds: {self.verdicts[-3:]}"
        return self


class Forgetful:
    """A transport that loses every so many answers: the request did arrive."""

    def __init__(self, transport: Any, every: int) -> None:
        self.transport, self.every, self.count = transport, every, 0

    def request(self, *arguments: Any) -> Any:
        self.count += 1
        given = self.transport.request(*arguments)
        return given if self.count % self.every else Retry("the answer was lost")

    def close(self) -> None:
        self.transport.close()


@pytest.fixture
def service() -> str:
    """A service name of this test's own: it keeps the tests' streams apart."""
    return f"svc-{uuid.uuid4().hex[:10]}"


@pytest.fixture
def spool() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def make_sink() -> Iterator[Callable[..., LokiSink]]:
    sinks: list[LokiSink] = []

    def make(url: str, **options: Any) -> LokiSink:
        clock = options.pop("clock", time.time)
        sinks.append(LokiSink(LokiConfig(url=url, **options), SinkContext("loki", Schema("x")), clock=clock))
        return sinks[-1]

    yield make
    for sink in sinks:
        sink.close()


def stored(loki: LokiServer, service: str, count: int, **options: Any) -> dict[str, Any]:
    """Return what Loki holds of a service: event id → (ns, line, labels). Fails when an id is there twice.

    Waits until `count` events can be read; there may be more.
    """
    now = time.time()
    entries = loki.entries(
        f'{{service="{service}"}}', int((now - HOUR) * SECOND), int((now + HOUR) * SECOND), **options
    )
    deadline = time.monotonic() + 30
    if len(entries) < count:
        loki.flush()
    while len(entries) < count and time.monotonic() < deadline:
        time.sleep(0.2)
        begin, end = int((now - 8 * 24 * HOUR) * SECOND), int((now + HOUR) * SECOND)
        entries = loki.entries(f'{{service="{service}"}}', begin, end, **options)
    found = {labels["event_id"]: (ns, line, labels) for ns, line, labels in entries}
    assert len(found) == len(entries), f"{len(entries) - len(found)} events are there twice"
    return found


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
def test_100_000_events_arrive_complete_and_equal(
    loki: LokiServer, make_sink: Any, service: str, spool: str, encoding: str
) -> None:
    """Every event is there under its id, byte for byte, with its own time and its metadata."""
    count = 100_000 if encoding == "protobuf" else 5_000
    begin = time.time() - 20 * 60
    lines = [event(n, begin + n * 0.01, service) for n in range(1, count + 1)]
    deliverer = Deliverer(make_sink(loki.url, encoding=encoding), spool)
    for at in range(0, count, 2_500):
        deliverer.run(lines[at : at + 2_500], first=at + 1)
    assert set(map(type, deliverer.verdicts)) == {Delivered}

    found = stored(loki, service, count)

    assert found.keys() == {f"{spool}-{n}" for n in range(1, count + 1)}
    for n, line in enumerate(lines, start=1):
        ns, text, labels = found[f"{spool}-{n}"]
        assert text.encode() == line
        assert iso(ns // 1000 / 1e6)[:20] == orjson.loads(line)["timestamp"][:20]
        assert ns % 1000 == n % 1000
        assert labels["trace_id"] == f"{n * 7919:032x}"
        assert labels.get("kind") == ("access" if n % 10 < 3 else None)
        assert labels.get("duration_ms") == (str(n % 97 + 0.5) if n % 10 < 3 else None)


def test_a_repeated_delivery_is_merged_and_equal_lines_are_not(
    loki: LokiServer, make_sink: Any, service: str, spool: str
) -> None:
    """What is sent three times is there once; what was logged twice in one microsecond is there twice."""
    same = event(1, time.time() - 5, service)
    lines = [same, same] + [event(n, time.time() - 5 + n * 0.001, service) for n in range(3, 3_000)]
    batch = Batch(spool, range(1, len(lines) + 1), lines)
    for _ in range(3):
        # A new sink has no memory, as after a crash between the answer and the cursor.
        assert make_sink(loki.url).send(batch) == Delivered()
    found = stored(loki, service, len(lines))
    assert len(found) == len(lines)
    assert sum(line.encode() == same for _, line, _ in found.values()) == 2


def test_a_backlog_is_delivered_beside_live_events(
    loki: LokiServer, make_sink: Any, service: str, spool: str
) -> None:
    """Events of six days, live ones first, all arrive once, with their times, though answers get lost."""
    now = time.time()
    live = [event(n, now - 300 + n, service) for n in range(1, 201)]
    backlog = [event(n, now - 6 * 24 * HOUR + (n - 200) * 300, service) for n in range(201, 1_801)]
    sink = make_sink(loki.url)
    sink._transport = Forgetful(sink._transport, every=10)
    deliverer = Deliverer(sink, spool)
    deliverer.run(live)
    for at in range(0, len(backlog), 400):
        deliverer.run(backlog[at : at + 400], first=201 + at)
    assert any(isinstance(verdict, (Retry, Partial)) for verdict in deliverer.verdicts)
    assert not deliverer.rejected
    found = stored(loki, service, 1_800)
    assert found.keys() == {f"{spool}-{n}" for n in range(1, 1_801)}
    assert all(
        iso(found[f"{spool}-{n}"][0] // 1000 / 1e6)[:19] == orjson.loads(line)["timestamp"][:19]
        for n, line in enumerate(live + backlog, start=1)
    )
    lanes = {labels["backfill"] for _, _, labels in found.values() if "backfill" in labels}
    assert lanes == {f"{spool[:8]}-0"}


def test_a_disordered_backlog_takes_a_bounded_number_of_streams(
    loki: LokiServer, make_sink: Any, service: str, spool: str
) -> None:
    """Old events in any order are delivered: through several lanes, the rest restamped."""
    now = time.time()
    times = [now - ((n * 37) % 150 + 1) * HOUR for n in range(300)]
    lines = [event(n, at, service) for n, at in enumerate(times, start=1)]
    deliverer = Deliverer(make_sink(loki.url), spool)
    for at in range(0, len(lines), 10):
        deliverer.run(lines[at : at + 10], first=at + 1)
    assert not deliverer.rejected
    found = stored(loki, service, len(lines))
    assert len(found) == len(lines)
    # Ten combinations of level and kind at most, each with eight lanes and one for what is restamped.
    assert len({labels["backfill"] for _, _, labels in found.values()}) <= 9


@pytest.mark.parametrize("away", [-200 * HOUR, 2 * HOUR])
def test_what_loki_would_refuse_for_its_time_is_restamped(
    loki: LokiServer, make_sink: Any, service: str, spool: str, away: float
) -> None:
    """Too old or too far ahead: stored under a time that Loki takes, once, with the line as it was."""
    lines = [event(n, time.time() + away + n * 0.001, service) for n in range(1, 50)]
    sink = make_sink(loki.url)
    for _ in range(2):
        Deliverer(sink, spool).run(lines)
    found = stored(loki, service, len(lines))
    assert len(found) == len(lines)
    ordered = sorted((ns, line) for ns, line, _ in found.values())
    assert [line.encode() for _, line in ordered] == lines


def test_old_events_become_dead_letters_when_asked(
    loki: LokiServer, make_sink: Any, service: str, spool: str
) -> None:
    """With dead_letter the events beside the old one arrive, and the old one's reason names its age."""
    lines = [event(1, time.time() - 200 * HOUR, service), event(2, time.time(), service)]
    deliverer = Deliverer(make_sink(loki.url, old_events="dead_letter"), spool).run(lines)
    assert deliverer.rejected.keys() == {1}
    assert "200.0 h old" in deliverer.rejected[1]
    assert stored(loki, service, 1).keys() == {f"{spool}-2"}


def test_a_server_that_takes_less_age_teaches_its_limit(
    loki_factory: Any, make_sink: Any, service: str, spool: str
) -> None:
    """A shorter reject_old_samples_max_age costs one refusal; then old events are restamped."""
    loki = loki_factory(limits={"reject_old_samples_max_age": "5h"})
    sink = make_sink(loki.url)
    lines = [event(n, time.time() - n * HOUR, service) for n in range(1, 13)]
    deliverer = Deliverer(sink, spool).run(lines)
    assert not deliverer.rejected
    assert len(stored(loki, service, len(lines))) == len(lines)


def test_one_bad_entry_is_isolated_and_the_others_arrive(
    loki_factory: Any, make_sink: Any, service: str, spool: str
) -> None:
    """A 400 for lines of many: those are dead-lettered with Loki's words, all others stored once."""
    loki = loki_factory(limits={"max_line_size": "1KB"})
    lines = [event(n, time.time() - 5 + n * 0.01, service) for n in range(1, 101)]
    for bad in (7, 58):
        lines[bad - 1] = event(bad, time.time() - 5 + bad * 0.01, service, body="x" * 2_000)
    deliverer = Deliverer(make_sink(loki.url), spool).run(lines)
    assert deliverer.rejected.keys() == {7, 58}
    assert "max entry size" in deliverer.rejected[7]
    assert stored(loki, service, 98).keys() == {f"{spool}-{n}" for n in range(1, 101) if n not in {7, 58}}


def test_a_stream_that_is_too_far_on_costs_nothing(
    loki_factory: Any, make_sink: Any, service: str, spool: str
) -> None:
    """Where another writer took the live stream ahead, what is behind it arrives by the backfill stream."""
    loki = loki_factory()
    now = time.time()
    # A writer whose clock is nine minutes ahead, on a server that takes only twenty behind
    # (max_chunk_age 40m).
    loki.kill()
    config = loki.data / "config.yaml"
    config.write_text(config.read_text().replace("ingester:\n", "ingester:\n  max_chunk_age: 40m\n"))
    loki.start()
    Deliverer(make_sink(loki.url), uuid.uuid4().hex).run([event(9, now + 500, service)] * 2)
    lines = [event(n * 10 + 9, now - n * 60, service) for n in range(25, 1, -1)]
    deliverer = Deliverer(make_sink(loki.url), spool).run(lines)
    assert not deliverer.rejected
    assert len(stored(loki, service, len(lines) + 2)) == len(lines) + 2


def test_streams_do_not_hide_one_anothers_refusals(
    loki_factory: Any, make_sink: Any, service: str, spool: str
) -> None:
    """Loki answers 204 to a push of two streams of which it dropped the first; the sink loses nothing so."""
    loki = loki_factory(limits={"max_global_streams_per_user": 1})
    sink = make_sink(loki.url, labels=("service", "level"))
    now = time.time()
    assert sink.send(Batch(spool, [1], [event(3, now - 1, service)])) == Delivered()
    verdict = sink.send(Batch(spool, [2, 3], [event(4, now, service), event(13, now, service)]))
    assert isinstance(verdict, Partial)
    assert verdict.refused.keys() == {0}
    refusal = verdict.refused[0]
    assert isinstance(refusal, Retry)
    assert refusal.pause
    assert "fewer labels" in refusal.reason


def test_a_push_above_the_tenants_burst_is_halved(
    loki_factory: Any, make_sink: Any, service: str, spool: str
) -> None:
    """A push that the rate limit would refuse for ever is delivered in smaller ones."""
    loki = loki_factory(limits={"ingestion_rate_mb": 50, "ingestion_burst_size_mb": 0.2})
    lines = [event(n * 10 + 3, time.time(), service, body="x" * 900) for n in range(1, 401)]
    deliverer = Deliverer(make_sink(loki.url), spool).run(lines)
    assert not deliverer.rejected
    assert any(isinstance(verdict, Split) for verdict in deliverer.verdicts)
    assert len(stored(loki, service, len(lines))) == len(lines)


def test_a_rate_limit_is_a_retry(loki_factory: Any, make_sink: Any, service: str, spool: str) -> None:
    """Both kinds of 429 ask for patience; nothing is rejected."""
    for limits in (
        {"ingestion_rate_mb": 0.01, "ingestion_burst_size_mb": 0.02},
        {"per_stream_rate_limit": "1KB", "per_stream_rate_limit_burst": "5KB"},
    ):
        sink = make_sink(loki_factory(limits=limits).url)
        lines = [event(n * 10 + 3, time.time(), service) for n in range(1, 11)]
        verdicts = [sink.send(Batch(spool, range(at, at + 10), lines, attempt=1)) for at in range(1, 100, 10)]
        assert any(isinstance(v, Retry) and not v.pause and "429" in v.reason for v in verdicts)
        assert not any(isinstance(v, (Rejected, Partial)) for v in verdicts)


def test_blocked_ingestion_is_not_success(
    loki_factory: Any, make_sink: Any, service: str, spool: str
) -> None:
    """260 is a 2xx that stores nothing: the sink pauses."""
    sink = make_sink(loki_factory(limits={"block_ingestion_until": "2099-01-01T00:00:00Z"}).url)
    verdict = sink.send(Batch(spool, [1], [event(1, time.time(), service)]))
    assert isinstance(verdict, Retry)
    assert verdict.pause
    assert "blocked" in verdict.reason


def test_settings_that_refuse_everything_pause(
    loki_factory: Any, make_sink: Any, service: str, spool: str
) -> None:
    """No structured metadata allowed, labels required: a human must mend it, no event is dead-lettered."""
    for limits, words in (
        ({"allow_structured_metadata": False}, "allow_structured_metadata"),
        ({"enforced_labels": ["team"]}, "static_labels"),
    ):
        sink = make_sink(loki_factory(limits=limits).url)
        verdict = sink.send(Batch(spool, [1, 2], [event(n, time.time(), service) for n in (1, 2)]))
        assert isinstance(verdict, Retry)
        assert verdict.pause
        assert words in verdict.reason


def test_tenants(loki_factory: Any, make_sink: Any, service: str, spool: str) -> None:
    """With authentication on: 401 without a tenant, delivery with one, visible to that tenant only."""
    loki = loki_factory(auth=True)
    lines = [event(1, time.time(), service)]
    nobody = make_sink(loki.url)
    verdict = nobody.send(Batch(spool, [1], lines))
    assert isinstance(verdict, Retry)
    assert verdict.pause
    assert "tenant" in verdict.reason
    assert "tenant" in nobody.check()[0]
    team = make_sink(loki.url, tenant="team-a")
    assert team.check() == []
    assert team.send(Batch(spool, [1], lines)) == Delivered()
    assert len(stored(loki, service, 1, tenant="team-a")) == 1
    assert not stored(loki, service, 0, tenant="team-b")


def test_a_killed_server_loses_nothing_acknowledged(
    loki_factory: Any, make_sink: Any, service: str, spool: str
) -> None:
    """While Loki is dead the verdict is a retry; after its return all is there once."""
    loki = loki_factory()
    sink = make_sink(loki.url)
    lines = [event(n, time.time() - 10 + n * 0.001, service) for n in range(1, 2_001)]
    assert sink.send(Batch(spool, range(1, 1_001), lines[:1_000])) == Delivered()
    loki.kill()
    verdict = sink.send(Batch(spool, range(1_001, 2_001), lines[1_000:]))
    assert isinstance(verdict, Retry)
    assert "refused" in verdict.reason or "cut" in verdict.reason
    loki.start()
    assert sink.send(Batch(spool, range(1, 2_001), lines, attempt=2)) == Delivered()
    assert stored(loki, service, 2_000).keys() == {f"{spool}-{n}" for n in range(1, 2_001)}


def test_writers_do_not_make_a_killed_server_forget(loki_factory: Any, make_sink: Any, service: str) -> None:
    """Pushes of several processes at the same moment, then SIGKILL: what was acknowledged is there (docs)."""
    loki, writers, begun = loki_factory(), 4, time.time()
    acknowledged: list[list[str]] = [[] for _ in range(writers)]

    def write(number: int) -> None:
        spool = f"{uuid.uuid4().hex[:-2]}{number:02x}"
        sink, first = make_sink(loki.url), 1
        while True:
            lines = [event(10 * n + 9, time.time(), service) for n in range(first, first + 20)]  # one stream
            if sink.send(Batch(spool, range(first, first + 20), lines)) != Delivered():
                return
            acknowledged[number] += [f"{spool}-{n}" for n in range(first, first + 20)]
            first += 20

    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    time.sleep(5)  # of load: the longer, the surer it was to fail with one stream for all
    loki.kill()
    for thread in threads:
        thread.join()
    loki.start()
    query = f'{{service="{service}"}}'
    found = loki.entries(query, int(begun * SECOND) - SECOND, time.time_ns() + SECOND)
    there = {labels["event_id"] for _, _, labels in found}
    assert all(acknowledged)
    assert not {identity for every in acknowledged for identity in every} - there


def test_strange_events_are_stored_as_they_are(
    loki: LokiServer, make_sink: Any, service: str, spool: str
) -> None:
    """Quotes, line breaks, NUL and long values in labels and metadata: nothing is refused."""
    odd = [
        'q"uo\\te',
        "new\nline",
        "nul\x00bell\x07",
        "日本語" * 500,
        "",
        None,
        7,
        True,
        [1, {"a": 2}],
        {"b": 1},
    ]
    lines = [
        event(n, time.time(), service, environment=value, user_id=value, endpoint=value)
        for n, value in enumerate(odd, start=1)
    ]
    deliverer = Deliverer(make_sink(loki.url), spool).run(lines)
    assert not deliverer.rejected
    found = stored(loki, service, len(lines))
    assert [found[f"{spool}-{n}"][1].encode() for n in range(1, len(lines) + 1)] == lines
    assert found[f"{spool}-1"][2]["environment"] == odd[0]
    assert found[f"{spool}-2"][2]["user_id"] == odd[1]


def test_a_label_with_too_many_values_becomes_metadata(
    loki: LokiServer, make_sink: Any, service: str, spool: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Past its budget a label opens no more streams, still can be filtered by, and is reported once."""
    sink = make_sink(loki.url, labels=("service", "order_id"), label_budget=10)
    lines = [event(n, time.time() - 1, service) for n in range(1, 201)]
    Deliverer(sink, spool).run(lines[:5]).run(lines[5:], first=6)
    assert sink.demoted == ("order_id",)
    assert sum("order_id" in record.getMessage() for record in caplog.records) == 1
    found = stored(loki, service, 200)
    assert len(found) == 200
    assert all(
        labels["order_id"] == str(orjson.loads(line)["order_id"]) for _, line, labels in found.values()
    )
    series = loki.get("/loki/api/v1/series", **{"match[]": f'{{service="{service}"}}'})["data"]
    assert len(series) <= 10


def test_credentials_reach_the_server_and_no_reason(make_sink: Any, service: str, spool: str) -> None:
    """Basic and bearer credentials are sent as such; a refusal's reason holds none of them."""
    basic = {"username": "ann", "password": Secret("hunter2-secret")}
    for options, header in (
        (basic, "Basic YW5uOmh1bnRlcjItc2VjcmV0"),
        ({"bearer_token": Secret("hunter2-secret")}, "Bearer hunter2-secret"),
    ):
        with FaultServer(rest=answer(401, b"no")) as server:
            sink = make_sink(server.url, **options, headers={"X-Team": "shop"})
            verdict = sink.send(Batch(spool, [1], [event(1, time.time(), service)]))
            assert server.requests[0].headers["authorization"] == header
            assert server.requests[0].headers["x-team"] == "shop"
            assert "hunter2" not in f"{verdict} {sink.check()} {sink._transport!r} {sink._config}"
