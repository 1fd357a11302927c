"""The local page's server: who may ask, what is answered, and that what a line holds stays text."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from logferry.shipper.model import Batch, Delivered
from logferry.shipper.panels import CATALOGUE
from logferry.shipper.store.layout import Layout
from logferry.shipper.store.writer import StoreWriter
from logferry.shipper.ui import PageServer
from logferry.shipper.ui.guard import HEADERS, is_loopback, refusal

HOSTILE = "</script><img src=x onerror=alert(1)> \x1b[31m \u202egnp.exe"


def event(number: int, **more: Any) -> bytes:
    fields = {
        "timestamp": f"2026-11-21T08:00:{number % 60:02}.{number:06}Z",
        "level": "ERROR" if number % 5 == 0 else "INFO",
        "service": "shop",
        "trace_id": f"{number // 3 + 1:032x}",
        "span_id": f"{number + 1:016x}",
        "message": f"event {number} {HOSTILE}",
        "kind": "access",
        "method": "GET",
        "endpoint": "/orders/{id}",
        "status_code": 200,
        "duration_ms": float(number),
        "duration_le": "100",
        "failed": number % 5 == 0,
    }
    return orjson.dumps(fields | more)


def fill(place: Path, first: int, count: int) -> None:
    writer = StoreWriter(Layout(place))
    lines = [event(n) for n in range(first, first + count)]
    assert isinstance(writer.write(Batch("ab" * 16, range(first + 1, first + count + 1), lines)), Delivered)
    writer.close()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    fill(tmp_path / "logs", 0, 60)
    return tmp_path / "logs"


@pytest.fixture
def server(place: Path) -> Iterator[PageServer]:
    yield from serve(PageServer(place))


def serve(made: PageServer) -> Iterator[PageServer]:
    thread = threading.Thread(target=made.serve_forever, args=(0.05,))
    thread.start()
    yield made
    made.end()
    thread.join()


def ask(
    server: PageServer, path: str, method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    port = server.server_address[1]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.putrequest(method, path, skip_host=True)
    for name, value in ({"Host": f"127.0.0.1:{port}"} | given).items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body


SINCE = "since=2026-11-21T08:00:00Z&until=2026-11-21T08:01:00Z"


def test_the_page_and_its_parts_come_with_a_strict_policy(server: PageServer) -> None:
    for path, kind in (("/", "text/html"), ("/app.js", "text/javascript"), ("/style.css", "text/css")):
        status, headers, body = ask(server, path)
        assert (status, headers["content-type"].partition(";")[0]) == (200, kind)
        assert body
        for name, value in HEADERS.items():
            assert headers[name.lower()] == value
    page = ask(server, "/")[2].decode()
    assert "http://" not in page
    assert "https://" not in page
    assert " style=" not in page
    assert "<script>" not in page


def test_nothing_in_the_page_makes_markup_of_what_a_line_holds() -> None:
    for path in (Path(__file__).parents[3] / "shipper" / "ui" / "page").glob("*.js"):
        for forbidden in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
        ):
            assert forbidden not in path.read_text(), (path.name, forbidden)


def test_panels_events_traces_and_values(server: PageServer) -> None:
    told = json.loads(ask(server, f"/api/panels?{SINCE}")[2])
    assert set(told["panels"]) == set(CATALOGUE)
    assert sum(row["count"] for row in told["panels"]["volume"]) == told["complete"]["events"] == 60
    found = json.loads(ask(server, f"/api/events?{SINCE}&filter=level%3DERROR&limit=5")[2])
    assert len(found["events"]) == 5
    assert found["more"] is True
    assert found["events"][0]["message"].endswith(HOSTILE)
    trace = json.loads(ask(server, f"/api/trace?id={1:032x}")[2])
    assert len(trace["rows"]) == 3
    around = json.loads(ask(server, "/api/context?service=shop&at=2026-11-21T08:00:30Z")[2])
    assert len(around["events"]) == 51
    values = json.loads(ask(server, f"/api/values?field=level&{SINCE}")[2])
    assert values["values"] == [{"value": "INFO", "count": 48}, {"value": "ERROR", "count": 12}]
    assert json.loads(ask(server, "/api/values?field=message")[2]) == {"values": []}
    assert json.loads(ask(server, f"/api/topology?{SINCE}")[2])["services"][0]["requests"] == 60
    assert {"name": "level", "type": "string"}.items() <= json.loads(ask(server, "/api/fields")[2])["fields"][
        1
    ].items()


def test_mistakes_are_said_in_words(server: PageServer) -> None:
    status, _, body = ask(server, "/api/events?filter=levl%3DERROR")
    assert status == 400
    assert "did you mean level?" in json.loads(body)["error"]
    assert ask(server, "/api/panels?since=yesterdayish")[0] == 400
    assert ask(server, "/api/events?limit=many")[0] == 400
    assert ask(server, "/api/trace")[0] == 400
    assert ask(server, "/api/live?filter=levl%3DERROR")[0] == 400
    assert ask(server, "/nothing")[0] == 404
    assert ask(server, "/../../etc/passwd")[0] == 404


def test_exports(server: PageServer) -> None:
    status, headers, body = ask(server, f"/api/export?{SINCE}&form=ndjson")
    assert status == 200
    assert "attachment" in headers["content-disposition"]
    assert len([json.loads(line) for line in body.splitlines()]) == 60
    table = ask(server, f"/api/export?{SINCE}&form=csv")[2].decode()
    assert table.startswith("timestamp,level,service,message")


def test_a_cell_that_a_spreadsheet_would_run_is_text(tmp_path: Path) -> None:
    writer = StoreWriter(Layout(tmp_path / "logs"))
    writer.write(Batch("cd" * 16, [1], [event(1, message="=cmd|' /C calc'!A0")]))
    writer.close()
    for served in serve(PageServer(tmp_path / "logs")):
        assert (
            b"\"'=cmd" in ask(served, "/api/export?form=csv")[2]
            or b"'=cmd" in ask(served, "/api/export?form=csv")[2]
        )


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "evil.example:80"}, 421),
        ({"Host": ""}, 421),
        ({"Host": "localhost:1"}, 200),
        ({"Host": "[::1]:1"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_who_may_ask(server: PageServer, headers: dict[str, str], status: int) -> None:
    assert ask(server, "/api/fields", **headers)[0] == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"])
def test_nothing_but_get(server: PageServer, method: str) -> None:
    assert ask(server, "/api/fields", method)[0] == 405


def test_another_address_needs_a_token(place: Path) -> None:
    with pytest.raises(ValueError, match="only with a token"):
        PageServer(place, "0.0.0.0")
    for served in serve(PageServer(place, "127.0.0.1", token="s3cret")):
        assert ask(served, "/api/fields")[0] == 401
        assert ask(served, "/")[0] == 401
        assert ask(served, "/?token=wrong")[0] == 401
        status, headers, _ = ask(served, "/?token=s3cret")
        assert (status, headers["location"]) == (303, "/")
        assert "HttpOnly; SameSite=Strict" in headers["set-cookie"]
        cookie = headers["set-cookie"].partition(";")[0]
        assert ask(served, "/api/fields", Cookie=cookie)[0] == 200
        assert served.url.endswith("/?token=s3cret")


def test_loopback_names() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "localhost", "::1", "[::1]", "a.localhost", "127.9.9.9")))
    assert not any(map(is_loopback, ("0.0.0.0", "example.com", "localhost.evil.example", "", "10.0.0.1")))
    assert refusal("GET", "/", {"host": "[::1"}, token="") == (421, "this page answers to localhost only")


def test_what_arrives_is_streamed(server: PageServer, place: Path) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=30)
    connection.request("GET", "/api/live?filter=level%3DERROR")
    answer = connection.getresponse()
    assert answer.getheader("content-type") == "text/event-stream"
    assert answer.readline() == b"retry: 1000\n"
    fill(place, 1000, 10)
    found = []
    while len(found) < 2:
        line = answer.readline()
        assert line, "the stream ended"
        if line.startswith(b"data: "):
            found.append(json.loads(line[6:])["message"].split()[1])
    assert found == ["1000", "1005"]
    connection.close()
