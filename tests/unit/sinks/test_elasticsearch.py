"""The Elasticsearch sink's decisions: framing, verdicts, template, configuration; its driver on the wire."""

from __future__ import annotations

import base64
import gzip
import json
import uuid
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers.faults import Behaviour, FaultServer, answer, silence
from servers.loki import free_port

from logferry.handlers.schema import Schema
from logferry.shipper.config.fields import Secret
from logferry.shipper.model import Batch, Delivered, Partial, Rejected, Retry, Split
from logferry.shipper.ports import SinkContext
from logferry.shipper.sinks.elasticsearch import ElasticsearchConfig, ElasticsearchSink
from logferry.shipper.sinks.elasticsearch.framing import OVERHEAD, bulk, contained_bulk
from logferry.shipper.sinks.elasticsearch.server import Server, read_server
from logferry.shipper.sinks.elasticsearch.template import Wishes, field_types, fingerprint, index_template
from logferry.shipper.sinks.elasticsearch.verdict import (
    Fold,
    Item,
    all_stored,
    judge_items,
    judge_request,
    read_items,
)

SPOOL = uuid.UUID(int=7).hex
SCHEMA = Schema("shop", "prod", fields={"order_id": "integer", "amount": "number"})
ABOUT = answer(200, b'{"version":{"number":"8.19.21"}}')
THERE = answer(200, b'{"index_templates":[]}')


def rest() -> None:
    """Take no rest."""


def batch(*lines: bytes, attempt: int = 1) -> Batch:
    return Batch(SPOOL, range(11, 11 + len(lines)), lines, attempt)


def event(**fields: Any) -> bytes:
    usual = {
        "timestamp": "2026-08-01T10:00:00.123456Z",
        "level": "INFO",
        "service": "shop",
        "message": "hello",
    }
    return orjson.dumps({**usual, **fields})


# ── framing ──


def test_a_line_is_framed_as_it_is() -> None:
    """The line's own bytes stand behind what is put in front."""
    line = event(note="é")
    pieces, indexes = bulk(batch(line, line), rest, {})
    body = b"".join(pieces)
    rows = body.split(b"\n")
    assert list(indexes) == [0, 1]
    assert rows[4] == b""
    assert json.loads(rows[2]) == {"create": {"_id": f"{SPOOL}-12"}}
    assert rows[3].endswith(line[1:])
    assert json.loads(rows[3])["@timestamp"] == json.loads(line)["timestamp"]
    assert json.loads(rows[3])["event_id"] == f"{SPOOL}-12"
    assert len(rows[2]) + len(rows[3]) - len(line) < OVERHEAD


@pytest.mark.parametrize("own", [f"{uuid.UUID(int=9).hex}-4711", "100%d-007"])
def test_an_event_that_brings_its_id_keeps_it(own: str) -> None:
    """What came through Kafka has the id that it had at the agent: delivered twice, it is stored once."""
    line = b'{"event_id":"' + own.encode() + b'",' + event()[1:]
    pieces, _ = bulk(batch(line, event()), rest, {})
    body = b"".join(pieces)
    rows = body.split(b"\n")
    assert json.loads(rows[0]) == {"create": {"_id": own}}
    assert rows[1].count(b'"event_id"') == 1
    assert json.loads(rows[1])["@timestamp"] == json.loads(line)["timestamp"]
    contained, _ = contained_bulk(batch(line), (0,), field_types(SCHEMA))
    action, held, _ = contained.split(b"\n")
    assert (json.loads(action)["create"]["_id"], json.loads(held)["event_id"]) == (own, own)


_TEXT = st.text(max_size=60)
_LINES = st.one_of(
    st.dictionaries(_TEXT, st.one_of(_TEXT, st.integers(-(2**40), 2**40), st.none()), max_size=5),
    st.fixed_dictionaries(
        {"timestamp": st.one_of(_TEXT, st.just('2026-08-01T10:00:00.12345"Z'), st.just("2" * 26 + "Z"))},
        optional={"message": _TEXT, "@timestamp": _TEXT},
    ),
)


@given(
    st.lists(_LINES, max_size=8), st.lists(st.sampled_from([b"[]", b"", b"x", b'{"a":', b"\xff"]), max_size=3)
)
def test_each_event_has_two_lines_whatever_it_holds(
    events: list[dict[str, Any]], others: list[bytes]
) -> None:
    """No event can break another one's frame; what is no object is refused alone."""
    lines = [orjson.dumps(each) for each in events] + others
    refused: dict[int, Rejected] = {}
    pieces, indexes = bulk(batch(*lines), rest, refused)
    body = b"".join(pieces)
    rows = body.split(b"\n")
    assert len(rows) == 2 * len(indexes) + 1
    assert sorted([*indexes, *refused]) == list(range(len(lines)))
    assert set(refused) == set(range(len(events), len(lines)))
    for place, index in enumerate(indexes):
        assert json.loads(rows[2 * place]) == {"create": {"_id": f"{SPOOL}-{11 + index}"}}
        framed = json.loads(rows[2 * place + 1]) if events[index] else {}
        if isinstance(stamp := events[index].get("timestamp"), str) and "@timestamp" not in events[index]:
            assert framed["@timestamp"] == stamp
        assert {name: framed[name] for name in events[index] if name != "event_id"} == {
            name: value for name, value in events[index].items() if name != "event_id"
        }


@given(_LINES)
def test_the_contained_form_loses_nothing(fields: dict[str, Any]) -> None:
    """The whole line is in it as text, and no name that the schema does not know."""
    line = orjson.dumps(
        {**fields, "order_id": 7, "amount": "much", "error": {"type": "E", "deep": {}}, "x": {"y": 1}}
    )
    body, indexes = contained_bulk(batch(line, b"[]"), (0, 1), field_types(SCHEMA))
    assert indexes == [0]
    found = json.loads(body.split(b"\n")[1])
    assert found["unmapped"].encode() == line
    assert (found["order_id"], found["error"]) == (7, {"type": "E"})
    assert set(found) <= {"@timestamp", "event_id", "unmapped", *SCHEMA.names} - {"amount", "extra"}


# ── verdicts ──


def test_every_status_of_an_item_has_its_verdict() -> None:
    """As the table in `verdict` says."""
    items = [Item(status, "why") for status in (201, 200, 409, 429, 503, 408, 401, 403, 404, 400, 413)]
    fold = Fold()
    judge_items(items, range(len(items)), fold)
    assert fold.duplicates == 1
    assert fold.missing
    assert set(fold.unfit) == {9}
    assert {i for i, r in fold.refused.items() if isinstance(r, Retry) and not r.pause} == {3, 4, 5}
    assert {i for i, r in fold.refused.items() if isinstance(r, Retry) and r.pause} == {6, 7, 8}
    assert {i for i, r in fold.refused.items() if isinstance(r, Rejected)} == {10}
    assert fold.verdict(len(items), 1) == Partial(fold.refused, 1)


def test_all_refused_is_one_verdict() -> None:
    """One retry for all, the most patient; halves when the server stays too busy."""
    fold = Fold()
    judge_items([Item(429, "busy"), Item(403, "block")], (0, 1), fold)
    verdict = fold.verdict(2, 9)
    assert isinstance(verdict, Retry)
    assert verdict.pause
    busy = Fold()
    judge_items([Item(429, "busy")] * 2, (0, 1), busy)
    assert isinstance(busy.verdict(2, 3), Retry)
    assert isinstance(busy.verdict(2, 4), Split)
    assert isinstance(Fold({0: Rejected("x")}).verdict(1, 1), Rejected)


@pytest.mark.parametrize(
    ("status", "kind", "pause"),
    [
        *((status, Retry, True) for status in (201, 204, 301, 401, 403, 404, 405, 406, 415)),
        *((status, Retry, False) for status in (408, 429, 500, 502, 503)),
        (400, Rejected, False),
        (413, Split, False),
        (200, Retry, True),
    ],
)
def test_every_status_of_a_request_has_its_verdict(status: int, kind: type, *, pause: bool) -> None:
    """As the table in `verdict` says; a 200 comes here only when it holds no items."""
    verdict = judge_request(status, "no", events=5, attempt=1, after=3.0)
    assert isinstance(verdict, kind)
    if isinstance(verdict, Retry):
        assert verdict.pause == pause
    assert f"answered {status}" in verdict.reason


def test_a_busy_server_gets_halves_in_the_end() -> None:
    """What is refused with 429 again and again may be too large for the server alone."""
    assert judge_request(429, "", events=5, attempt=3, after=7.0) == Retry("Elasticsearch answered 429", 7.0)
    assert isinstance(judge_request(429, "", events=5, attempt=4, after=None), Split)
    assert isinstance(judge_request(429, "", events=1, attempt=9, after=None), Retry)
    media = judge_request(
        400, '{"error":{"type":"media_type_header_exception"}}', events=5, attempt=1, after=None
    )
    assert isinstance(media, Retry)
    assert media.pause


def test_an_answer_is_read_or_it_is_none() -> None:
    """An item for each event, or it is no answer to the request."""
    clean = '{"errors":false,"items":[{"create":{"status":201}},{"create":{"status":200}}]}'
    assert read_items(clean, 2) == [Item(201), Item(200)]
    assert all_stored(clean, 2)
    assert read_items(clean, 3) is None
    assert not all_stored(clean, 3)
    assert not all_stored(clean, 1)
    used = '{"errors":false,"items":[{"create":{"status":201,"failure_store":"used"}}]}'
    assert read_items(used, 1) == [Item(201, diverted=True)]
    assert not all_stored(used, 1)
    bad = '{"errors":true,"items":[{"create":{"status":400,"error":{"type":"t","reason":"r\\u0007\\nx"}}}]}'
    found = read_items(bad, 1)
    assert found is not None
    assert found[0].status == 400
    assert found[0].reason == "t: r� x"
    assert read_items(bad, 2) is None
    for body in (
        "",
        "{}",
        "[]",
        "null",
        clean[:-1],
        "<html>",
        '{"errors":true,"items":[1]}',
        '{"errors":false,',
    ):
        assert read_items(body, 2) is None, body
        assert not all_stored(body, 2), body


# ── template and server ──


def test_the_template_is_stable_and_marked() -> None:
    """The same wishes give the same fingerprint; another schema another one."""
    body = index_template(SCHEMA, "logs-shop-prod", Wishes())
    assert fingerprint(body) == fingerprint(index_template(SCHEMA, "logs-shop-prod", Wishes())) != ""
    assert fingerprint(index_template(Schema("shop"), "logs-shop-prod", Wishes())) != fingerprint(body)
    assert fingerprint({}) == fingerprint({"_meta": {"fingerprint": 1}}) == ""
    properties = body["template"]["mappings"]["properties"]
    assert properties["service.name"] == {"type": "alias", "path": "service"}
    assert properties["order_id"]["type"] == "long"
    for name, mapping in properties.items():
        assert mapping["type"] != "alias" or mapping["path"] in properties, name
    kept = index_template(SCHEMA, "x", Wishes(retention=36 * 3600.0, settings={"number_of_replicas": "0"}))
    assert kept["template"]["lifecycle"] == {"enabled": True, "data_retention": "36h"}
    assert kept["template"]["settings"]["index.number_of_replicas"] == "0"
    managed = index_template(SCHEMA, "x", Wishes(ilm_policy="weekly"))["template"]
    assert managed["settings"]["index.lifecycle.name"] == "weekly"
    assert "lifecycle" not in managed


def test_the_template_for_opensearch_holds_no_conflict() -> None:
    """Without `subobjects: false` no field may be a value and an object."""
    template = index_template(SCHEMA, "x", Wishes(), opensearch=True)["template"]
    names = set(template["mappings"]["properties"])
    for name in names:
        parts = name.split(".")
        assert not names & {".".join(parts[:n]) for n in range(1, len(parts))}, name
    assert "subobjects" not in template["mappings"]
    assert "lifecycle" not in template


def test_servers_are_told_apart() -> None:
    """Headers follow the server; what is no server is said."""
    new = read_server('{"version":{"number":"9.5.3"},"tagline":"x"}')
    assert isinstance(new, Server)
    assert "compatible-with=8" in new.bulk["Content-Type"]
    assert "compatible-with=8" in new.bulk["Accept"]
    assert "require_data_stream" in new.bulk_target
    other = read_server('{"version":{"distribution":"opensearch","number":"2.19.1"}}')
    assert isinstance(other, Server)
    assert other.bulk == {"Accept": "application/json", "Content-Type": "application/x-ndjson"}
    assert "require_data_stream" not in other.bulk_target
    assert "too old" in str(read_server('{"version":{"number":"7.17.9"}}'))
    for body in ("", "[]", "<html>", '{"version":1}', '{"version":{"number":"x"}}', "null"):
        assert read_server(body) == "what answers is not Elasticsearch"


# ── configuration ──

CLOUD = "shop:" + base64.b64encode(b"eu.example.com:9243$abc123$kib").decode()


def test_what_cannot_work_is_a_mistake() -> None:
    """Each mistake is said before anything starts."""
    good: dict[str, Any] = {"hosts": ("http://localhost:9200/",)}
    assert ElasticsearchConfig(**good).urls == ("http://localhost:9200",)
    assert ElasticsearchConfig(**good).stream("My Shop", "prod") == "logs-my-shop-prod"
    assert ElasticsearchConfig(cloud_id=CLOUD).urls == ("https://abc123.eu.example.com:9243",)
    for wrong, words in (
        ({"hosts": ()}, "hosts or cloud_id"),
        ({"cloud_id": CLOUD}, "not both"),
        ({"hosts": (), "cloud_id": "shop:@@"}, "cloud_id: not one"),
        ({"hosts": ("localhost:9200",)}, "scheme"),
        ({"hosts": ("http://u:p@localhost",)}, "credentials"),
        ({"username": "u"}, "belong together"),
        ({"username": "u:x", "password": Secret("p")}, "colon"),
        ({"api_key": Secret("k"), "username": "u", "password": Secret("p")}, "exclude"),
        ({"api_key": Secret("k\n")}, "line break"),
        ({"headers": {"Authorization": "x"}}, "set by the sink"),
        ({"data_stream": "Logs"}, "lower case"),
        ({"data_stream": "logs-{host}"}, "stands for nothing"),
        ({"retention": 86400.0, "ilm_policy": "x"}, "exclude"),
    ):
        with pytest.raises(ValueError, match=words):
            ElasticsearchConfig(**{**good, **wrong})


# ── the driver ──


def sink(server: FaultServer | str, **options: Any) -> ElasticsearchSink:
    url = server if isinstance(server, str) else server.url
    given: dict[str, Any] = {"hosts": (url,), "timeout": 2.0, **options}
    return ElasticsearchSink(ElasticsearchConfig(**given), SinkContext("search", SCHEMA))


OK = answer(200, b'{"errors":false,"items":[{"create":{"status":201}}]}')


def test_what_goes_over_the_wire() -> None:
    """Version, template, then the bulk request: compressed, with credentials, and only once prepared."""
    with FaultServer(ABOUT, THERE, OK, OK) as server:
        search = sink(server, api_key=Secret("id:key"))
        assert search.send(batch(event())) == Delivered()
        assert search.send(batch(event())) == Delivered()
        search.close()
        about, template, post, _ = server.requests
    assert (about.method, about.path) == ("GET", "/")
    assert template.path == "/_index_template/logferry-logs-shop-prod"
    assert post.path.startswith("/logs-shop-prod/_bulk?filter_path=errors,items.*.status,")
    assert post.headers["authorization"] == "ApiKey " + base64.b64encode(b"id:key").decode()
    assert "compatible-with=8" in post.headers["accept"]
    assert gzip.decompress(post.body).endswith(event()[1:] + b"\n")


def test_a_template_is_made_where_there_is_none_and_a_refusal_stops_nothing() -> None:
    """The first use puts the template; without the privilege for it the events go out all the same."""
    refusals = (answer(404, b"{}"), answer(403, b'{"error":"security_exception"}'))
    with FaultServer(ABOUT, *refusals, OK) as server:
        assert sink(server).send(batch(event())) == Delivered()
        put = server.requests[2]
    assert put.method == "PUT"
    assert json.loads(put.body)["index_patterns"] == ["logs-shop-prod"]


def test_what_a_mapping_refuses_is_sent_once_more_in_a_form_that_none_minds() -> None:
    """Within one call; refused again it is a dead letter with the first reason."""
    error = {"type": "document_parsing_exception", "reason": "no"}
    first = {"errors": True, "items": [{"create": {"status": s, "error": error}} for s in (400, 400)]}
    again = {
        "errors": True,
        "items": [{"create": {"status": 201}}, {"create": {"status": 400, "error": error}}],
    }
    answers = (answer(200, orjson.dumps(first)), answer(200, orjson.dumps(again)))
    with FaultServer(ABOUT, THERE, *answers) as server:
        verdict = sink(server).send(batch(event(), event()))
        contained = gzip.decompress(server.requests[3].body)
    assert isinstance(verdict, Partial)
    assert list(verdict.refused) == [1]
    assert isinstance(verdict.refused[1], Rejected)
    assert contained.count(b'"unmapped"') == 2


def test_events_in_the_failure_store_are_counted_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """They are stored, though not where they belong; it is said."""
    used = b'{"errors":false,"items":[{"create":{"status":201,"failure_store":"used"}}]}'
    with FaultServer(ABOUT, THERE, answer(200, used)) as server:
        search = sink(server)
        assert search.send(batch(event())) == Delivered()
    assert search.diverted == 1
    assert "failure store" in capsys.readouterr().err


def test_an_answer_that_is_too_long_is_halved() -> None:
    """Memory is bounded: what cannot be read whole is asked for again in smaller parts."""
    with FaultServer(ABOUT, THERE, answer(200, b'{"errors":true,"items":[' + b" " * (5 << 20))) as server:
        assert isinstance(sink(server, timeout=20.0).send(batch(event(), event())), Split)


@pytest.mark.parametrize(
    ("behaviours", "words"),
    [
        ((answer(200, b"<html>"),), "not Elasticsearch"),
        ((answer(401, b"{}"),), "credentials"),
        ((answer(200, b'{"version":{"number":"7.17.0"}}'),), "too old"),
        ((answer(503, b"{}"),), "503"),
        ((silence(),), "cut before the answer"),
        ((ABOUT, answer(200, b'{"has_all_requested":false}')), "lack a privilege"),
        ((ABOUT, answer(401, b"{}")), "credentials"),
        ((ABOUT, answer(400, b'{"error":"no handler found"}')), ""),
        ((ABOUT, answer(200, b'{"has_all_requested":true}')), ""),
        ((answer(403, b"{}"), answer(200, b'{"has_all_requested":true}')), ""),
    ],
)
def test_check_tells_what_is_wrong(behaviours: tuple[Behaviour, ...], words: str) -> None:
    """One sentence: who answers, credentials, privileges, version."""
    with FaultServer(*behaviours) as server:
        said = sink(server).check()
    assert len(said) == (1 if words else 0)
    assert not said or (words in said[0] and said[0].startswith("search: "))


def test_check_tells_names_and_ports() -> None:
    """What never answers: an unknown name, a closed port."""
    assert "cannot be resolved" in sink("http://no-such-host.invalid:9200").check()[0]
    assert "connection refused" in sink(f"http://127.0.0.1:{free_port()}").check()[0]


def test_setup_without_a_server() -> None:
    """A dry run prints what it would make; a real one says who does not answer, and tries nothing more."""
    away = sink(f"http://127.0.0.1:{free_port()}")
    assert [step.action for step in away.setup(dry_run=True)] == ["create", "create"]
    [step] = away.setup(dry_run=False)
    assert "connection refused" in step.problem
