"""The local page's server: who may ask, what is answered, and that what a line holds stays text."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from logferry.handlers.pattern import pattern
from logferry.shipper.model import Batch, Delivered
from logferry.shipper.panels import CATALOGUE
from logferry.shipper.store.layout import Layout, StoreError
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
    try:
        yield made
    finally:
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
    told = {row["name"]: row for row in map(json.loads, ask(server, f"/api/panels?{SINCE}")[2].splitlines())}
    # The page's graph of calls knows more than the panel of that name: spans that belong together.
    assert set(told) == set(CATALOGUE) - {"calls"} | {"range", "keywords", "topology", "deployments"}
    assert sum(row["count"] for row in told["volume"]["rows"]) == 60
    assert told["topology"]["services"][0]["requests"] == 60
    assert sum(row["count"] for row in told["errors"]["rows"]) == 12
    found = json.loads(ask(server, f"/api/rows?{SINCE}&filter=level%3DERROR&count=5")[2])
    assert (len(found["events"]), found["total"]) == (5, 12)
    assert found["events"][0]["message"].endswith(HOSTILE)
    trace = json.loads(ask(server, f"/api/trace?id={1:032x}")[2])
    assert len(trace["rows"]) == 3
    around = json.loads(ask(server, "/api/context?service=shop&at=2026-11-21T08:00:30Z")[2])
    assert len(around["events"]) == 51
    values = json.loads(ask(server, f"/api/values?field=level&{SINCE}")[2])
    assert values["values"] == [{"value": "INFO", "count": 48}, {"value": "ERROR", "count": 12}]
    assert json.loads(ask(server, "/api/values?field=message")[2]) == {"values": []}
    about = json.loads(ask(server, "/api/about")[2])
    assert set(about["panels"]) == set(CATALOGUE)
    assert {"name": "level", "type": "string"}.items() <= about["fields"][1].items()


def test_a_line_is_found_by_its_place(server: PageServer) -> None:
    """Every place has its line, however it is asked for: by place, by id, and by what it holds."""
    whole = json.loads(ask(server, f"/api/rows?{SINCE}&count=1000")[2])["events"]
    assert [event["message"].split()[1] for event in whole] == [str(number) for number in range(59, -1, -1)]
    for place in (0, 7, 31, 58, 59):
        page = json.loads(ask(server, f"/api/rows?{SINCE}&first={place}&count=3")[2])
        assert page["total"] == 60
        assert page["events"] == whole[place : place + 3]
        found = json.loads(ask(server, f"/api/place?{SINCE}&id={whole[place]['event_id']}")[2])
        assert (found["place"], found["event"]) == (place, whole[place])
    assert json.loads(ask(server, f"/api/rows?{SINCE}&first=60")[2])["events"] == []
    # Who knows how many there are gets the newest at once; where fewer match, that is what counts.
    for count, said, total in ((7, 60, 60), (7, 3, 7), (1000, 3, len(whole))):
        newest = json.loads(ask(server, f"/api/rows?{SINCE}&count={count}&total={said}")[2])
        assert (newest["events"], newest["total"]) == (whole[:count], total)
    at = whole[10]["timestamp"]
    find = f"/api/find?{SINCE}&text=event%203"  # 39 to 30, and 3
    assert json.loads(ask(server, f"{find}&before={at}")[2])["place"] == 20
    assert json.loads(ask(server, f"{find}&after={whole[25]['timestamp']}")[2])["place"] == 24
    assert json.loads(ask(server, f"/api/find?{SINCE}&text=nowhere")[2])["place"] == -1
    outside = json.loads(ask(server, f"/api/place?{SINCE}&filter=level%3DDEBUG&id={whole[0]['event_id']}")[2])
    assert outside["place"] == -1


def test_many_lines_of_one_moment_have_places(tmp_path: Path) -> None:
    writer = StoreWriter(Layout(tmp_path / "logs"))
    lines = [event(1, message=f"same {n:04}") for n in range(500)]
    writer.write(Batch("ef" * 16, range(1, 501), lines))
    writer.close()
    for served in serve(PageServer(tmp_path / "logs")):
        seen = [
            one["event_id"]
            for first in range(0, 500, 100)
            for one in json.loads(ask(served, f"/api/rows?{SINCE}&first={first}&count=100")[2])["events"]
        ]
        assert len(seen) == len(set(seen)) == 500


def test_lines_that_are_alike_are_one_group(server: PageServer) -> None:
    told = json.loads(ask(server, f"/api/similar?{SINCE}")[2])
    assert [(group["level"], group["count"]) for group in told["groups"]] == [("INFO", 48), ("ERROR", 12)]
    words = quote(told["groups"][1]["filter"] + " level=ERROR")
    assert json.loads(ask(server, f"/api/rows?{SINCE}&filter={words}")[2])["total"] == 12


def test_an_empty_answer_says_why(server: PageServer) -> None:
    later = "since=2026-11-21T09:00:00Z&until=2026-11-21T09:10:00Z"
    told = json.loads(ask(server, f"/api/why?{later}&filter=level%3DERROR")[2])
    assert told["before"].startswith("2026-11-21T08:00:55")
    assert (told["after"], told["unfiltered"], told["day"]) == (None, 0, 12)
    told = json.loads(ask(server, f"/api/why?{SINCE}&filter=nowhere")[2])
    assert (told["before"], told["unfiltered"]) == (None, 60)


def test_a_request_id_finds_its_trace(tmp_path: Path) -> None:
    fill(tmp_path / "logs", 0, 1)
    writer = StoreWriter(Layout(tmp_path / "logs"))
    writer.write(Batch("aa" * 16, [1], [event(8, request_id="req-2026-x7")]))
    writer.close()
    for served in serve(PageServer(tmp_path / "logs")):
        assert json.loads(ask(served, "/api/trace?id=req-2026-x7")[2])["trace_id"] == f"{3:032x}"


def test_new_errors_are_told_from_old_ones(tmp_path: Path) -> None:
    """New in this range, and new since a version."""
    writer = StoreWriter(Layout(tmp_path / "logs"))
    old = {"level": "ERROR", "kind": None, "timestamp": "2026-11-21T07:00:00.000001Z"}
    now = {"level": "ERROR", "kind": None, "timestamp": "2026-11-21T08:00:30.000001Z"}
    told = [
        old | {"message": "shelf 1 locked", "version": "1"},
        now | {"message": "shelf 2 locked", "version": "2"},
        now | {"message": "bank 3 away", "version": "2"},
    ]
    lines = [event(1, **more, error_pattern=pattern(str(more["message"]))) for more in told]
    writer.write(Batch("ab" * 16, range(1, 4), lines))
    writer.close()
    for served in serve(PageServer(tmp_path / "logs")):
        rows = map(json.loads, ask(served, f"/api/panels?{SINCE}")[2].splitlines())
        found = {row["error"]: row for panel in rows if panel["name"] == "errors" for row in panel["rows"]}
        assert not found["shelf <num> locked"]["new"]
        assert not found["shelf <num> locked"]["since_version"]
        assert found["bank <num> away"]["new"]
        assert found["bank <num> away"]["since_version"]
        assert found["bank <num> away"]["first_version"] == "2"


def test_a_panel_is_asked_elsewhere(server: PageServer) -> None:
    words = quote('service=shop -endpoint="/a" duration_ms>5')
    told = json.loads(ask(server, f"/api/elsewhere?panel=qps&{SINCE}&filter={words}")[2])
    assert '{kind="access",service=~"shop"} | endpoint!="/a"' in told["logql"]
    assert "left out" in told["logql"]
    body = json.loads(told["elasticsearch"])
    assert 'service:("shop") AND NOT endpoint:("/a")' in str(body["query"])


def test_mistakes_are_said_in_words(server: PageServer) -> None:
    status, _, body = ask(server, "/api/rows?filter=levl%3DERROR")
    assert status == 400
    assert "did you mean level?" in json.loads(body)["error"]
    assert ask(server, "/api/panels?since=yesterdayish")[0] == 400
    assert ask(server, "/api/rows?count=many")[0] == 400
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
    assert ask(server, "/api/about", **headers)[0] == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"])
def test_nothing_but_get(server: PageServer, method: str) -> None:
    assert ask(server, "/api/about", method)[0] == 405


def test_another_address_needs_a_token(place: Path) -> None:
    with pytest.raises(ValueError, match="only with a token"):
        PageServer(place, "0.0.0.0")
    for served in serve(PageServer(place, "127.0.0.1", token="s3cret")):
        assert ask(served, "/api/about")[0] == 401
        assert ask(served, "/")[0] == 401
        assert ask(served, "/?token=wrong")[0] == 401
        status, headers, _ = ask(served, "/?token=s3cret")
        assert (status, headers["location"]) == (303, "/")
        assert "HttpOnly; SameSite=Strict" in headers["set-cookie"]
        cookie = headers["set-cookie"].partition(";")[0]
        assert ask(served, "/api/about", Cookie=cookie)[0] == 200
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


def test_ending_does_not_wait_for_a_question(tmp_path: Path) -> None:
    """What is being asked is given up, and its thread is out of the store before that is closed."""
    fill(tmp_path / "logs", 0, 60)
    served = PageServer(tmp_path / "logs")
    thread = threading.Thread(target=served.serve_forever, args=(0.05,))
    thread.start()
    asked = threading.Event()
    endless = "SELECT count(*) FROM range(4000000000) a, range(1000) b"

    def ask_for_ever() -> None:
        with served.places:
            asked.set()
            with pytest.raises(StoreError):
                served.store.sql(endless)

    other = threading.Thread(target=ask_for_ever)
    other.start()
    assert asked.wait(30)
    served.end()
    thread.join(30)
    other.join(30)
    assert not other.is_alive()


def test_a_requests_exception_is_an_error_like_any_other(tmp_path: Path) -> None:
    """It is one event, the access event; what failed without one says nothing but the request's name."""
    broken = {"error": {"type": "PoolEmpty", "message": "no connection left"}, "level": "ERROR"}
    lines = [
        event(1, **broken, error_pattern="PoolEmpty: no connection left"),
        event(2, level="ERROR", message="GET /orders/7 503", error_pattern="GET <path> <num>"),
        event(3, level="ERROR", message="GET /orders/8 503", error_pattern="GET <path> <num>"),
        event(4, kind="deployment", message="deployed 2.0", version="2.0"),
    ]
    writer = StoreWriter(Layout(tmp_path / "logs"))
    assert isinstance(writer.write(Batch("ab" * 16, range(1, 5), lines)), Delivered)
    writer.close()
    with contextmanager(serve)(PageServer(tmp_path / "logs")) as made:
        body = ask(made, f"/api/panels?{SINCE}")[2]
        told = {row["name"]: row["rows"] for row in map(json.loads, body.splitlines()) if "rows" in row}
        assert {row["error"]: row["only_access"] for row in told["errors"]} == {
            "GET <path> <num>": True,
            "PoolEmpty: no connection left": False,
        }
        assert {row["word"] for row in told["keywords"]} == {"PoolEmpty", "connection", "left"}
        assert [(row["service"], row["version"]) for row in told["deployments"]] == [("shop", "2.0")]
