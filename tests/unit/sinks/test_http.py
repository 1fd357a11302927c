"""The http sink's requests and verdicts."""

from __future__ import annotations

import gzip
from typing import Any
from unittest import mock

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers.faults import FaultServer, answer

from logferry.handlers.schema import Schema
from logferry.shipper.config.fields import Secret
from logferry.shipper.core.columns import Columns, pack
from logferry.shipper.core.ended import Ended
from logferry.shipper.model import Batch, Beside, Delivered, Rejected, Retry, Split
from logferry.shipper.ports import SinkContext
from logferry.shipper.sinks.http import HttpConfig, HttpSink, numbered, request
from logferry.shipper.sinks.http.request import make_body, make_headers
from logferry.shipper.sinks.http.verdict import judge

SPOOL = "ab" * 16
LINES = [b'{"message":"a"}', b"{}", b"{ }", b'{"message":"\xe2\x98\x83"}']
BATCH = Batch(SPOOL, [5, 6, 7, 9], LINES)


@pytest.mark.parametrize("form", ["ndjson", "array"])
@pytest.mark.parametrize("ids", [True, False])
def test_a_body_holds_the_events(form: Any, ids: bool) -> None:
    """Each event as it was, with its id in front where that is wanted."""
    body = make_body(BATCH, form, ids=ids)
    events = orjson.loads(body) if form == "array" else [orjson.loads(x) for x in body.splitlines()]
    assert form == "array" or body.endswith(b"\n")
    expected = [orjson.loads(line) for line in LINES]
    if ids:
        expected = [{"event_id": f"{SPOOL}-{n}", **e} for n, e in zip(BATCH.sequences, expected, strict=True)]
    assert events == expected


fields = st.sampled_from([b"", b" ", b'"a":1', b' "a":"{"', b'"event_id":"x-1"', b'"event_id":7,"a":{}'])
lines = fields.map(lambda inner: b"{%b}" % inner) | st.sampled_from([b"[]", b"", b"{", b"\xff", b'"{"'])
usual = st.integers(0, 9).map(lambda n: b'{"timestamp":"2026-08-01T10:00:00.000000Z","n":%d}' % n)


@given(
    st.lists(usual, min_size=1, max_size=40) | st.lists(usual | lines, min_size=1, max_size=30),
    st.sampled_from([1, 90, 995, 9_970, 12_345]),
    st.sampled_from(["ndjson", "array"]),
    st.booleans(),
)
def test_many_lines_get_their_ids_as_one_does(held: list[bytes], first: int, form: Any, ends: bool) -> None:
    """Whatever they are, and where numbers get another digit: the same bytes."""
    given_ = Ended([line + b"\n" for line in held]) if ends else held
    numbers = range(first, first + len(held))
    one_by_one = make_body(Batch(SPOOL, list(numbers), held), form, ids=True)
    with mock.patch.object(request, "WORTH", 1):
        assert make_body(Batch(SPOOL, numbers, given_), form, ids=True) == one_by_one


@pytest.mark.parametrize("form", ["ndjson", "array"])
@pytest.mark.parametrize("carried", [False, True])
def test_columns_tell_that_lines_have_no_ids(
    form: Any, carried: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then no line is looked at; where they have some, and at a frame's end, each is as it must be."""
    own = b'{"event_id":"ab-7",' if carried else b"{"
    held = [own + b'"timestamp":"2026-08-01T10:00:00.%06dZ"}' % n for n in range(300)]
    names = ["timestamp", "event_id"] if carried else ["timestamp"]
    columns = pack(Columns(200, names, {}, {}, {}, {}))
    looked: list[int] = []
    real = numbered._are_bare
    monkeypatch.setattr(numbered, "_are_bare", lambda lines: looked.append(len(lines)) or real(lines))
    batch = Batch(
        SPOOL, range(950, 1250), Ended([x + b"\n" for x in held]), beside=[Beside(900, 200, columns)]
    )
    expected = make_body(Batch(SPOOL, list(range(950, 1250)), held), form, ids=True)
    assert make_body(batch, form, ids=True) == expected
    assert looked == [150]  # behind the frame with columns


def test_templates_are_filled() -> None:
    """Known names in braces; what is not ASCII is percent-encoded; doubled braces are braces."""
    schema = Schema("shop", environment="prüf", host="h")
    made = make_headers(
        {"A": "{service}/{environment} {{x}}", "B": "{batch_id}", "C": "{events}"}, BATCH, schema
    )
    assert made == {"A": "shop/pr%C3%BCf {x}", "B": f"{SPOOL}-5-9-4", "C": "4"}
    assert made == make_headers(
        {"A": "{service}/{environment} {{x}}", "B": "{batch_id}", "C": "{events}"}, BATCH, schema
    )
    assert make_headers({"B": "{batch_id}"}, Batch(SPOOL, [5, 6], LINES[:2]), schema) != {"B": made["B"]}


def test_what_is_sent() -> None:
    """Method, path with query, headers, credentials, compression."""
    config = HttpConfig(
        url="http://x/in?a=1",
        method="PUT",
        compression="gzip",
        headers={"X-Count": "{events}"},
        secret_headers={"X-Key": Secret("k")},
        bearer_token=Secret("t"),
    )
    with FaultServer(rest=answer(202)) as server:
        from dataclasses import replace

        sink = HttpSink(replace(config, url=f"{server.url}/in?a=1"), SinkContext("h", Schema("s")))
        assert sink.send(BATCH) == Delivered()
        sink.close()
    (request,) = server.requests
    assert (request.method, request.path) == ("PUT", "/in?a=1")
    assert request.headers["x-count"] == "4"
    assert request.headers["x-key"] == "k"
    assert request.headers["authorization"] == "Bearer t"
    assert request.headers["content-type"] == "application/x-ndjson"
    assert gzip.decompress(request.body) == make_body(BATCH, "ndjson", ids=True)


@pytest.mark.parametrize(
    ("status", "success", "reject", "kind"),
    [
        (200, ("2xx",), ("400",), Delivered),
        (207, ("2xx",), ("207",), Rejected),
        (201, ("200",), (), Retry),
        (400, ("2xx",), ("400",), Rejected),
        (400, ("2xx",), (), Retry),
        (409, ("2xx", "409"), ("4xx",), Delivered),
        (413, ("2xx",), (), Split),
        (503, ("2xx",), ("5xx",), Rejected),
    ],
)
def test_what_the_user_says_of_a_status_wins(status: int, success: Any, reject: Any, kind: type) -> None:
    """A status that is named wins over its class, and both over the table."""
    assert type(judge(status, "", success, reject)) is kind


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": "ftp://x"}, "scheme"),
        ({"url": "http://x/#f"}, "fragment"),
        ({"success": ()}, "success"),
        ({"success": ("20x",)}, "no status"),
        ({"success": ("400",)}, "the same status in both"),
        ({"headers": {"A": "{nobody}"}}, "nobody"),
        ({"headers": {"A": "{"}}, "brace"),
        ({"headers": {"A": "{events!r}"}}, "events"),
        ({"headers": {"Host": "a"}}, "set by the sink itself"),
        ({"content_type": "a\nb"}, "content_type"),
    ],
)
def test_what_cannot_work_is_refused(options: dict[str, Any], words: str) -> None:
    """At the start, with the key's name."""
    with pytest.raises(ValueError, match=words):
        HttpConfig(**{"url": "http://h/in", **options})


def test_check_sends_no_event() -> None:
    """OPTIONS, and a server that does not know it is content."""
    with FaultServer(answer(405), answer(404), answer(503, b"down")) as server:
        sink = HttpSink(HttpConfig(url=f"{server.url}/in"), SinkContext("h", Schema("s")))
        assert sink.check() == []
        assert "nothing is there" in sink.check()[0]
        assert "503: down" in sink.check()[0]
        sink.close()
    assert {request.method for request in server.requests} == {"OPTIONS"}
