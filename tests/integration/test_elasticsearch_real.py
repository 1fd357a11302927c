"""The Elasticsearch sink against real servers: complete by id, refusals, limits, template, setup.

What takes `search` is tried against Elasticsearch 8 and, when marked `everywhere` or under `make prove`,
against Elasticsearch 9 and OpenSearch as well.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner
from effort import effort, factor
from evidence import Evidence
from programs.fate import until
from programs.understood import server_log
from servers.elasticsearch import BULK_LIMIT, PRESSURE_LIMIT, SearchServer
from servers.loki import free_port
from servers.proxy import FaultProxy

from logferry.handlers.schema import Schema
from logferry.shipper.cli.main import cli
from logferry.shipper.model import Batch, Delivered, Partial, Rejected, Retry, Split, Verdict
from logferry.shipper.ports import SinkContext
from logferry.shipper.sinks.elasticsearch import ElasticsearchConfig, ElasticsearchSink
from logferry.shipper.spool import audit
from logferry.shipper.store import Store

pytestmark = [pytest.mark.integration, pytest.mark.server("elasticsearch"), pytest.mark.timeout(3600)]

SCHEMA = Schema("shop", "test", fields={"order_id": "integer"})
STAMP = "2026-08-01T10:00:00.123456Z"


class Desk:
    """A sink with a data stream of its own, and what a test asks of both."""

    def __init__(self, server: SearchServer, **options: Any) -> None:
        self.server = server
        self.stream = f"logs-test-{uuid.uuid4().hex[:8]}"
        given = {
            "hosts": (server.url,),
            "data_stream": self.stream,
            "index_settings": {"number_of_replicas": "0"},
        }
        self.sink = ElasticsearchSink(
            ElasticsearchConfig(**{**given, **options}), SinkContext("search", SCHEMA)
        )
        self.spool = uuid.uuid4().hex
        self.sent = 0

    def batch(self, lines: Sequence[bytes], attempt: int = 1) -> Batch:
        first, self.sent = self.sent + 1, self.sent + len(lines)
        return Batch(self.spool, range(first, first + len(lines)), lines, attempt)

    def send(self, lines: Sequence[bytes]) -> Verdict:
        return self.sink.send(self.batch(lines))

    def stored(self) -> list[int]:
        """Return the sequences that the server holds, in order."""
        return sorted(int(name.rpartition("-")[2]) for name in self.server.ids(self.stream))


everywhere = pytest.mark.everywhere
SERVERS = ("elasticsearch", "elasticsearch-9", "opensearch")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "search" in metafunc.fixturenames:
        all_of_them = factor() >= 10 or metafunc.definition.get_closest_marker("everywhere")
        metafunc.parametrize("search", SERVERS if all_of_them else SERVERS[:1], indirect=True)


@pytest.fixture
def search(request: pytest.FixtureRequest, search_of: Callable[[str], SearchServer]) -> SearchServer:
    return search_of(request.param)


@pytest.fixture
def desk(search: SearchServer) -> Iterator[Callable[..., Desk]]:
    made: list[Desk] = []

    def make(**options: Any) -> Desk:
        made.append(Desk(search, **options))
        return made[-1]

    yield make
    for each in made:
        each.sink.close()


def event(**fields: Any) -> bytes:
    ids = {"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "span_id": "00f067aa0ba902b7"}
    usual = {"timestamp": STAMP, "level": "INFO", "service": "shop", **ids, "message": "order created"}
    return orjson.dumps({**usual, **fields})


@everywhere
def test_a_batch_is_stored_once_however_often_it_is_sent(desk: Callable[..., Desk]) -> None:
    """What is there already is a success, and counted as a duplicate."""
    place = desk()
    batch = place.batch([event(n=n) for n in range(3000)])
    assert place.sink.send(batch) == Delivered()
    assert place.sink.send(batch) == Delivered(duplicates=3000)
    mixed = Batch(place.spool, range(2901, 3101), [event(n=n) for n in range(200)])
    assert place.sink.send(mixed) == Delivered(duplicates=100)
    assert place.stored() == list(range(1, 3101))
    found = place.server.events(place.stream, "n:0")[0]
    assert found["@timestamp"] == found["timestamp"] == STAMP
    assert found["event_id"] == f"{place.spool}-1"


@everywhere
def test_both_names_of_a_field_find_an_event(desk: Callable[..., Desk]) -> None:
    """The Elastic Common Schema's names are aliases; declared fields have their types; lifecycle is there.

    OpenSearch has no lifecycles, and no alias below a field that has a value (docs/sinks-elasticsearch.md).
    """
    place = desk(retention=30 * 86400.0)
    error = {"type": "ValueError", "message": "no such product", "stack": "Traceback: shop.py"}
    assert (
        place.send([event(level="ERROR", error=error, order_id=42, host="web-1", process=7)]) == Delivered()
    )
    for query in (
        "log.level:ERROR",
        'service.name:shop AND host.name:"web-1" AND process.pid:7',
        "trace.id:4bf92f3577b34da6a3ce929d0e0e4736 AND span.id:00f067aa0ba902b7 AND event.id:*",
        'error.type:ValueError AND error.message:product AND error.stack_trace:"shop.py"',
        "order_id:[41 TO 43] AND @timestamp:[2026-08-01T10:00:00.123455Z TO 2026-08-01T10:00:00.123457Z]",
        "level:ERROR AND service:shop AND message:created",
    ):
        left_out = place.server.opensearch and query.startswith("service.name")
        assert len(place.server.events(place.stream, query)) == (0 if left_out else 1), query
    if place.server.opensearch:
        return
    template = place.server.ask("GET", f"/_index_template/logferry-{place.stream}")["index_templates"][0]
    assert template["index_template"]["template"]["lifecycle"]["data_retention"] == "30d"


HOSTILE: dict[str, bytes] = {
    "a text where an object was": event(user="x"),
    "an object where a text was": event(user={"id": 7, "tags": [1, {"a": None}]}),
    "an alias": event(**{"log.level": "x"}),
    "an object that makes an alias": event(log={"level": "x"}),
    "an empty name": event(**{"": 1}),
    "names of dots": event(**{".": 1, "a..b": 2, ".c": 3}),
    "names of the server's own": event(_id="x", _source={"a": 1}),
    "its own @timestamp and event_id": event(**{"@timestamp": "soon", "event_id": "x"}),
    "two equal names": event()[:-1] + b',"a":1,"a":2}',
    "a term that is too long": event(level="x" * 40_000, thing="y" * 40_000),
    "a name that is too long": event(**{"n" * 40_000: 1}),
    "many fields": event(**{f"field_{n}": n for n in range(2_000)}),
    "very deep": event(deep=json.loads('{"a":' * 60 + "1" + "}" * 60)),
    "a number beyond 64 bits": event()[:-1] + b',"n":' + b"9" * 40 + b"}",
    "mixed lists": event(tags=[1, "x", None, {"a": [True, {"b": 1.5}]}]),
    "a declared field of another type": event(order_id="many", duration_ms={"a": 1}, failed="perhaps"),
    "time stamps as text": event(when="2026-13-45", at="now"),
    "another order of fields": orjson.dumps({"message": "x", "timestamp": "2026-08-01T10:00:00Z"}),
    "white space": b'  {"timestamp": "2026-08-01T10:00:00.5+02:00",\n "message": "x"}',
}


@everywhere
def test_no_clean_event_is_refused(desk: Callable[..., Desk]) -> None:
    """Whatever an application calls its fields and puts into them, it is stored, and found by the others."""
    place = desk()
    lines = list(HOSTILE.values())
    assert place.send(lines) == Delivered()
    assert place.send(lines) == Delivered(), "the second time the fields are known with other types"
    assert place.stored() == list(range(1, 2 * len(lines) + 1))
    contained = place.server.events(place.stream, "_exists_:trace_id AND level:INFO")
    whole = {json.loads(found["unmapped"])["message"] for found in contained if "unmapped" in found}
    assert whole == {"order created"}, "what the mapping minded is in one field, as it was"


@everywhere
def test_what_is_no_event_is_a_dead_letter_alone(desk: Callable[..., Desk]) -> None:
    """Lines that no store can take cost themselves only; the reason is the server's."""
    place = desk()
    verdict = place.send(
        [event(n=1), b"[1]", b"nothing", event(timestamp="soon"), event(n=2), b'{"message":"x"}']
    )
    assert isinstance(verdict, Partial)
    assert sorted(verdict.refused) == [1, 2, 3, 5]
    assert all(isinstance(refusal, Rejected) for refusal in verdict.refused.values())
    assert re.search(r"\[@timestamp\]|'@timestamp'", verdict.refused[3].reason), verdict.refused[3]
    assert place.stored() == [1, 5]


def test_a_strict_mapping_of_somebody_else(desk: Callable[..., Desk]) -> None:
    """A template that is there is left alone; what it forbids is a dead letter with the reason."""
    place = desk()
    fields = ("@timestamp", "timestamp", "level", "service", "trace_id", "span_id", "message", "event_id")
    types = {name: {"type": "date" if "timestamp" in name else "keyword"} for name in fields}
    strict = {"mappings": {"dynamic": "strict", "properties": types}, "settings": {"number_of_replicas": 0}}
    body = {"index_patterns": [place.stream], "data_stream": {}, "priority": 600, "template": strict}
    place.server.ask("PUT", f"/_index_template/{place.stream}", body)
    verdict = place.send([event(), event(order_id=1), event()])
    assert isinstance(verdict, Partial)
    assert list(verdict.refused) == [1]
    refusal = verdict.refused[1]
    assert isinstance(refusal, Rejected)
    assert "strict_dynamic_mapping_exception" in refusal.reason
    assert "[order_id]" in refusal.reason
    assert place.stored() == [1, 3]


def test_a_write_block_pauses_and_drops_nothing(desk: Callable[..., Desk]) -> None:
    """A cluster that is full or read-only answers 403 for each event: a human has to mend it."""
    place = desk()
    assert place.send([event()]) == Delivered()
    place.server.ask("PUT", f"/{place.stream}/_settings", {"index.blocks.write": True})
    batch = place.batch([event(n=n) for n in range(100)])
    verdict = place.sink.send(batch)
    assert isinstance(verdict, Retry)
    assert verdict.pause
    assert "blocked for writing" in verdict.reason
    place.server.ask("PUT", f"/{place.stream}/_settings", {"index.blocks.write": False})
    assert place.sink.send(batch) == Delivered()
    assert place.stored() == list(range(1, 102))


def halved(place: Desk, batch: Batch) -> int:
    """Deliver a batch as the worker would; return how many requests that took."""
    work, requests = [batch], 0
    while work:
        part = work.pop()
        verdict = place.sink.send(part)
        requests += 1
        assert requests < 200, verdict
        if isinstance(verdict, Split):
            half = len(part) // 2
            work += [
                Batch(part.spool, part.sequences[cut], part.lines[cut])
                for cut in (slice(None, half), slice(half, None))
            ]
        elif isinstance(verdict, Retry):
            work.append(Batch(part.spool, part.sequences, part.lines, part.attempt + 1))
        else:
            assert verdict == Delivered(verdict.duplicates if isinstance(verdict, Delivered) else 0)
    return requests


@pytest.mark.parametrize(("size", "status"), [(BULK_LIMIT, 413), (PRESSURE_LIMIT, 429)])
def test_a_batch_above_the_servers_limits(desk: Callable[..., Desk], size: int, status: int) -> None:
    """413 is halved at once, 429 when it stays: above `indexing_pressure` a batch is refused for ever."""
    place = desk(max_batch_bytes=64 << 20)
    assert place.send([event()]) == Delivered()
    count = size // 50_000 + 1
    batch = place.batch([event(note="x" * 50_000) for _ in range(count)])
    verdict = place.sink.send(batch)
    assert isinstance(verdict, Split if status == 413 else Retry)
    assert f"answered {status}" in verdict.reason
    assert halved(place, batch) >= (3 if status == 413 else 6)
    assert place.stored() == list(range(1, count + 2))


@everywhere
def test_nothing_is_stored_where_no_template_is(desk: Callable[..., Desk]) -> None:
    """With `setup: manual` and no template it pauses; the server makes no index of its own invention."""
    place = desk(setup="manual")
    batch = place.batch([event()])
    verdict = place.sink.send(batch)
    assert isinstance(verdict, Retry)
    assert verdict.pause
    assert "logferry setup" in verdict.reason
    assert [step.action for step in place.sink.setup(dry_run=False)] == ["create", "create"]
    assert place.sink.send(batch) == Delivered()


def test_a_template_that_is_deleted_is_made_again(desk: Callable[..., Desk]) -> None:
    """The sink notices that its data stream has no template any more; OpenSearch keeps what is in use."""
    place = desk()
    assert not isinstance(place.sink._prepared(), Retry)
    if place.server.opensearch:
        with pytest.raises(RuntimeError, match="400"):
            place.server.ask("DELETE", f"/_index_template/logferry-{place.stream}")
        return
    place.server.ask("DELETE", f"/_index_template/logferry-{place.stream}")
    batch = place.batch([event()])
    assert isinstance(place.sink.send(batch), Retry)
    assert place.sink.send(batch) == Delivered()


def test_another_host_takes_over(desk: Callable[..., Desk], search: SearchServer) -> None:
    """A host that refuses, and one that is cut off in the middle, cost a batch nothing."""
    with FaultProxy(search.url) as one, FaultProxy(search.url) as other:
        place = desk(hosts=(f"http://127.0.0.1:{free_port()}", one.url, other.url))
        for number in range(12):
            if number == 4:
                one.refuse()
            if number == 8:
                one.heal()
                other.refuse()
            verdict = place.send([event(n=number)] * 50)
            assert isinstance(verdict, Delivered), verdict
        assert place.stored() == list(range(1, 601))
        one.refuse()
        dark = place.send([event()])
        assert isinstance(dark, Retry)
        assert "connection refused" in dark.reason


CONFIG = """
service: shop
environment: test
spool: {{path: {directory}/spool}}
schema: {{fields: {{order_id: {kind}}}}}
sinks:
  search:
    type: elasticsearch
    hosts: [{url}]
    data_stream: {stream}
    index_settings: {{number_of_replicas: "0"}}
{more}  here: {{type: local, path: {directory}/store, compact: "off"}}
sources:
  lines: {{type: file, include: [{directory}/lines.ndjson]}}
"""


def setup(path: Path, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    result = CliRunner().invoke(cli, ["setup", "-c", str(path), *arguments])
    return result.exit_code, [json.loads(line) for line in result.output.splitlines()]


@everywhere
def test_setup_makes_what_is_missing_and_nothing_else(search: SearchServer, tmp_path: Path) -> None:
    """`logferry setup`: a dry run makes nothing, a second run changes nothing, a new schema rolls over."""
    stream = f"logs-setup-{uuid.uuid4().hex[:8]}"
    facts = {"directory": tmp_path, "url": search.url, "stream": stream}
    path = tmp_path / "logferry.yaml"

    def actions(kind: str, *arguments: str, more: str = "") -> tuple[int, list[tuple[str, str]]]:
        path.write_text(CONFIG.format(**facts, kind=kind, more=more))
        code, rows = setup(path, *arguments)
        return code, [(row["action"], row["problem"]) for row in rows]

    assert actions("integer", "--dry-run") == (0, [("create", ""), ("create", "")])
    with pytest.raises(RuntimeError, match="404"):
        search.ask("GET", f"/_index_template/logferry-{stream}")
    assert actions("integer") == (0, [("create", ""), ("create", "")])
    assert actions("integer") == (0, [("none", ""), ("none", "")])
    assert actions("number", "--dry-run") == (0, [("change", ""), ("change", "")])
    assert actions("number") == (0, [("change", ""), ("change", "")])
    assert actions("number", "search") == (0, [("none", ""), ("none", "")])
    code, [(_, problem)] = actions("number", more="    ilm_policy: weekly\n")
    assert code == 1
    assert "no index lifecycle management: use retention" in problem


def test_a_shipper_that_is_killed_in_the_middle(
    elasticsearch: SearchServer, tmp_path: Path, evidence: Evidence
) -> None:
    """100,000 events (a million under `make prove`), SIGKILL of the shipper while they go in.

    All are there, each once, by their ids.
    """
    count, stream = effort(100) * 1_000, f"logs-kill-{uuid.uuid4().hex[:8]}"
    with (tmp_path / "lines.ndjson").open("wb") as file:
        file.writelines(event(n=number, order_id=number) + b"\n" for number in range(count))
    config = tmp_path / "logferry.yaml"
    facts = {"directory": tmp_path, "url": elasticsearch.url, "stream": stream, "kind": "integer", "more": ""}
    config.write_text(CONFIG.format(**facts))
    command = [sys.executable, "-m", "logferry", "run", "-c", str(config)]

    def arrived() -> int:
        try:
            stats = elasticsearch.ask("GET", f"/{stream}/_stats/indexing")["_all"]["total"]
        except RuntimeError:
            return 0  # there is no such data stream yet
        return int(stats.get("indexing", {}).get("index_total", 0))

    log = (tmp_path / "run.log").open("ab")
    shipper = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        until(lambda: arrived() > count // 5, 300 + count / 1_000, "the first events do not arrive")
    finally:
        shipper.kill()
        shipper.wait()
    met = arrived()
    assert met < count, "all had arrived before the kill"
    patience = 500 + count / 1_000
    done = subprocess.run([*command, "--once"], capture_output=True, text=True, timeout=patience, check=False)
    log.close()
    assert done.returncode == 0, done.stderr
    ids = elasticsearch.ids(stream)
    with Store(tmp_path / "store") as store:
        here = [row[0] for row in store.sql("SELECT event_id FROM events WHERE order_id IS NOT NULL").rows]
    assert len(here) == count
    lost = len(set(here) - set(ids))
    evidence(f"shipper killed (SIGKILL) while Elasticsearch takes {count:,} events", tried=1, lost=lost)
    assert lost == 0
    assert len(ids) == len(set(ids)), "events are there twice"
    report = audit(tmp_path / "spool")
    assert not report.problems
    assert all(account.balance == 0 and account.pending == 0 for account in report.accounts.values())
    account = next(account for (_, sink), account in report.accounts.items() if sink == "search")
    assert (account.delivered, account.dead_lettered, account.dropped) == (len(ids), 0, {})


def test_the_nodes_own_log_is_understood(elasticsearch: SearchServer, tmp_path: Path) -> None:
    """Every line that begins a record, with the node and the class."""
    events = server_log(elasticsearch.data / "node.log", tmp_path)
    assert {event["node"] for event in events} == {"one"}
    assert [event for event in events if event["message"].startswith("loaded plugin [stand-ins]")]
