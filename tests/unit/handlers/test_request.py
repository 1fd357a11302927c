"""What all frameworks have in common: clients behind proxies, bodies, policies, who tells of an exception."""

from __future__ import annotations

import importlib
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logferry.handlers import context
from logferry.handlers.redaction import Redactor
from logferry.handlers.request import Exchange, Policy
from logferry.handlers.request.body import Body
from logferry.handlers.request.clients import Clients, address_of
from logferry.handlers.request.told import hold, tell_once
from logferry.handlers.spans import configure_spans, set_opening, span
from logferry.handlers.testing import Events, capture

REDACTOR = Redactor()


@pytest.fixture
def events() -> Iterator[Events]:
    with capture(level="INFO") as captured:
        yield captured
    assert context.current() == {}


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded_for", "client"),
    [
        ((), "10.0.0.1", "1.2.3.4", "10.0.0.1"),
        (["10.0.0.0/8"], "10.0.0.1", "1.2.3.4", "1.2.3.4"),
        (["10.0.0.0/8"], "9.9.9.9", "1.2.3.4", "9.9.9.9"),
        (["10.0.0.0/8"], "10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.2", "1.2.3.4"),
        (["10.0.0.0/8"], "10.0.0.1", "10.0.0.3,10.0.0.2", "10.0.0.3"),
        (["10.0.0.0/8"], "10.0.0.1", "1.2.3.4, unknown, 10.0.0.2", "10.0.0.2"),
        (["10.0.0.0/8"], "10.0.0.1", "<script>", "10.0.0.1"),
        (["10.0.0.0/8"], "10.0.0.1", "", "10.0.0.1"),
        (["10.0.0.0/8"], "::ffff:10.0.0.1", "1.2.3.4:5678", "1.2.3.4"),
        (["10.0.0.0/8"], "10.0.0.1", "[2001:db8::7]:443", "2001:db8::7"),
        (["2001:db8::/32"], "2001:db8::1", "2001:db8:0::7, 8.8.8.8", "8.8.8.8"),
        (["127.0.0.1"], "127.0.0.1", "1.2.3.4", "1.2.3.4"),
        (["unix"], "", "1.2.3.4", "1.2.3.4"),
        (["127.0.0.1"], "", "1.2.3.4", ""),
        (["*"], "9.9.9.9", "6.6.6.6, 1.2.3.4", "1.2.3.4"),
        ("10.0.0.1", "10.0.0.1", "1.2.3.4", "1.2.3.4"),
        (["10.0.0.0/8"], "testclient", "1.2.3.4", "testclient"),
    ],
)
def test_clients(trusted: Any, peer: str, forwarded_for: str, client: str) -> None:
    """A stranger's header is never believed; what trusted proxies have added is, up to the first stranger."""
    assert Clients(trusted)(peer, forwarded_for, "") == client


def test_forwarded() -> None:
    """RFC 7239, quoted and with ports; hidden names are nobody."""
    clients = Clients(["10.0.0.0/8"])
    header = 'for=6.6.6.6, For="[2001:db8::7]:443";proto=https;by=10.0.0.1, for=10.0.0.2'
    assert clients("10.0.0.1", "", header) == "2001:db8::7"
    assert clients("10.0.0.1", "", "for=_hidden, for=10.0.0.2") == "10.0.0.2"
    with pytest.raises(ValueError, match="does not appear"):
        Clients(["proxy.internal"])


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
def test_clients_never_raise(peer: str, forwarded_for: str, forwarded: str) -> None:
    """Whatever strangers send: an address, or who connected."""
    found = Clients(["10.0.0.0/8", "unix"])(peer, forwarded_for, forwarded)
    assert found == peer or address_of(found)


def told(media: str, data: bytes, *, limit: int = 16_384, announced: int | None = None) -> dict[str, Any]:
    body = Body(media, str(len(data) if announced is None else announced), limit)
    for start in range(0, len(data), 7):
        body.feed(data[start : start + 7])
    return body.summary(REDACTOR) or {}


def test_bodies() -> None:
    """JSON and forms without their secrets; everything else by type and size."""
    data = json.dumps(
        {"user": "Ann", "password": "hunter2", "list": list(range(50)), "t": "x" * 999}
    ).encode()
    shown = told("application/json; charset=utf-8", data)
    assert (shown["type"], shown["size"]) == ("application/json", len(data))
    assert shown["content"]["user"] == "Ann"
    assert len(shown["content"]["list"]) == 21
    assert shown["content"]["t"].endswith("…[999 characters]")
    assert "hunter2" not in str(shown)
    assert told("application/problem+json", b"[1, 2]")["content"] == [1, 2]
    form = told("application/x-www-form-urlencoded", b"user=Ann&tag=a&tag=b&password=hunter2&empty=")
    assert (form["content"]["user"], form["content"]["tag"]) == ("Ann", ["a", "b"])
    assert "hunter2" not in str(form)
    assert told("image/png", b"\x89PNG") == {"type": "image/png", "size": 4}
    assert told("application/json", b"{nonsense") == {"type": "application/json", "size": 9}
    assert told("application/json", b"[" * 100_000, limit=1 << 20)["size"] == 100_000
    assert Body("", "", 10).summary(REDACTOR) is None
    assert told("application/json", b"", announced=12) == {"type": "application/json", "size": 12, "read": 0}


def test_multipart_bodies_show_their_fields_and_no_files() -> None:
    """Of a file there is its name, type and size."""
    data = (
        b'--b\r\nContent-Disposition: form-data; name="user"\r\n\r\nAnn\r\n'
        b'--b\r\nContent-Disposition: form-data; name="password"\r\n\r\nhunter2\r\n'
        b'--b\r\nContent-Disposition: form-data; name="photo"; filename="me.png"\r\n'
        b"Content-Type: image/png\r\n\r\n\x89PNGsecret\r\n--b--\r\n"
    )
    shown = told('multipart/form-data; boundary="b"', data)
    assert shown["content"]["user"] == "Ann"
    assert shown["content"]["photo"] == {"filename": "me.png", "type": "image/png", "size": 10}
    assert "hunter2" not in str(shown)
    assert "secret" not in str(shown)
    cut = told("multipart/form-data; boundary=b", data, limit=len(data) - 12)
    assert cut["truncated"]
    assert "size" not in cut["content"]["photo"]
    assert told("multipart/form-data", data)["content"] == {}


def test_a_body_that_is_cut_shows_no_half_secret() -> None:
    """Wherever it is cut: no part of a card number or password that redaction would have known."""
    card, word = "4111 1111 1111 1111", "correct-horse-battery"
    data = json.dumps({"a": 1, "card": card, "password": word, "b": [card, word], "c": 2}).encode()
    for limit in range(1, len(data)):
        shown = str(told("application/json", data, limit=limit).get("content", ""))
        assert "4111 1111" not in shown
        assert f'"password": "{word[:1]}' not in shown
    form = f"a=1&card={card.replace(' ', '+')}&password={word}&c=2".encode()
    for limit in range(1, len(form)):
        shown = str(told("application/x-www-form-urlencoded", form, limit=limit).get("content", ""))
        assert "4111" not in shown
        assert "correct" not in shown


@given(
    st.sampled_from(
        [
            *("application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"),
            *("text/plain", "", "multipart/form-data; boundary=", "; ;=;"),
        ]
    ),
    st.binary(max_size=200)
    | st.lists(st.sampled_from([b"--b", b"\r\n", b'name="a"', b"=", b"&"])).map(b"".join),
    st.integers(0, 300),
    st.sampled_from(["", "7", "-1", "x", "9" * 30, "٣"]),
)
def test_no_body_raises(media: str, data: bytes, limit: int, announced: str) -> None:
    """Whatever strangers send; and the summary is JSON."""
    body = Body(media, announced, limit)
    body.feed(data)
    json.dumps(body.summary(REDACTOR))


def test_policies() -> None:
    """Paths are excluded by name or beginning; a mistake in the options is told."""
    policy = Policy(exclude=["/health", "/static/*"])
    assert [path for path in ("/health", "/health/x", "/static/a.css", "/") if policy.excludes(path)] == [
        "/health",
        "/static/a.css",
    ]
    assert Policy(exclude="/health").excludes("/health")
    with pytest.raises(TypeError):
        Policy(slow=1)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="proxy"):
        Policy(trusted_proxies=["proxy"])


def served(policy: Policy, status: int = 200, **more: Any) -> Exchange:
    exchange = Exchange(
        policy, "GET", "/p", "", more.get("headers", []), more.get("read", {}), "1.1.1.1", "r"
    )
    exchange.enter()
    exchange.status = status
    for error in more.get("errors", ()):
        exchange.fail(error)
    exchange.end()
    exchange.report()
    exchange.leave()
    return exchange


@pytest.mark.parametrize(
    ("status", "seconds", "level", "failed"),
    [
        (200, 0, "INFO", False),
        (304, 0, "INFO", False),
        (404, 0, "WARNING", False),
        (499, 0, "INFO", False),
        (500, 0, "ERROR", True),
        (503, 0, "ERROR", True),
        (200, 2, "WARNING", False),
        (499, 2, "WARNING", False),
        (0, 0, "ERROR", True),
    ],
)
def test_levels(events: Events, status: int, seconds: int, level: str, failed: bool) -> None:
    """By status, and by duration."""
    ticks = iter([10.0, 10.0 + seconds])
    served(Policy(clock=lambda: next(ticks)), status)
    (event,) = events
    assert (event["level"], event["failed"], event["status_code"]) == (level, failed, status or 500)
    assert (event["duration_ms"], event["duration_le"]) == ((2000.0, "2000") if seconds else (0.0, "1"))


def test_excluded_paths_tell_of_exceptions_all_the_same(events: Events) -> None:
    """A health check that breaks is no noise."""
    policy = Policy(exclude=["/p"])
    served(policy)
    served(policy, 503)
    assert not len(events)
    served(policy, errors=[ValueError("x")])
    assert events[0]["error"]["type"] == "ValueError"


def with_spans(policy: Policy, count: int, path: str = "/o/1") -> Exchange:
    exchange = Exchange(policy, "GET", path, "token=hunter2", [], {}, "10.0.0.1", None)
    exchange.enter()
    for _ in range(count):
        with span("db.query"):
            pass
    exchange.status = 200
    exchange.report()
    with span("late"):
        pass
    exchange.leave()
    return exchange


def test_a_request_says_that_it_is_open_before_its_first_span_does(events: Events) -> None:
    """Once, with its own ids, so that a collector knows the root of what a killed process leaves."""
    with_spans(Policy(redactor=REDACTOR), 2)
    kinds = [event["kind"] for event in events]
    assert kinds == ["span_start", *["span_start", "span"] * 2, "access", "span_start", "span"]
    opening, child, access = events[0], events[1], events[5]
    assert (opening["trace_id"], opening["span_id"]) == (access["trace_id"], access["span_id"])
    assert opening["request_id"] == access["request_id"]
    assert child["parent_id"] == opening["span_id"]
    assert (opening["message"], opening["span_kind"]) == ("GET /o/1", "server")
    assert "hunter2" not in str(opening)
    assert opening["started"] <= child["started"]


def test_a_request_whose_end_nobody_would_tell_says_nothing_of_its_beginning(events: Events) -> None:
    """Without spans, on excluded paths, without access events, and where beginnings are not told."""
    policy = Policy(redactor=REDACTOR, exclude=["/health"])
    with_spans(policy, 1, "/health")
    with_spans(policy, 0)  # a span after the request's end is not inside it
    logging.getLogger("logferry.access").setLevel("ERROR")
    try:
        with_spans(policy, 1)
    finally:
        logging.getLogger("logferry.access").setLevel("NOTSET")
    configure_spans(announce=False)
    try:
        with_spans(policy, 1)
    finally:
        configure_spans()
    assert not [event for event in events if event.get("span_kind") == "server"]
    assert active_opening() is None


def test_a_request_of_a_trace_that_is_not_kept_is_not_told_either(events: Events) -> None:
    """Sampling is decided for the trace."""
    configure_spans(sample=0)
    try:
        with_spans(Policy(redactor=REDACTOR), 1)
    finally:
        configure_spans()
    assert [event["kind"] for event in events] == ["access"]


def active_opening() -> object:
    found = set_opening(None)
    set_opening(found)
    return found


def test_the_access_level_is_the_access_loggers(events: Events) -> None:
    """`logging.access` sets it; a server's word is kept where ours is not."""
    log = logging.getLogger("logferry.access")
    error = ValueError("x")
    tell_once("test.server")
    try:
        log.setLevel(logging.ERROR)
        served(Policy())
        assert not len(events)
        log.setLevel(logging.CRITICAL)
        served(Policy(), errors=[error])
        logging.getLogger("test.server").error("broken", exc_info=error)
    finally:
        log.setLevel(logging.NOTSET)
    assert [event["logger"] for event in events] == ["test.server"]


def test_only_the_same_exception_is_not_told_twice(events: Events) -> None:
    """A server's other errors are events."""
    tell_once("test.server")
    tell_once("test.server")
    server = logging.getLogger("test.server")
    first, second = ValueError("1"), ValueError("2")
    hold(first)
    server.error("broken", exc_info=first)
    server.error("broken", exc_info=second)
    server.error("broken")
    assert [event.get("error", {}).get("message") for event in events] == ["2", None]

    class Refuses(Exception):  # noqa: N818 - its name says what it does
        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(name)

    refuses = Refuses()
    hold(refuses)
    server.error("broken", exc_info=refuses)
    assert events[-1]["error"]["type"].endswith("Refuses")


def test_the_ids_survive_what_the_application_does_to_them(events: Events) -> None:
    """Cleared, replaced by others: the access event is the request's."""
    exchange = Exchange(Policy(), "GET", "/p", "", [("x-request-id", "r-1")], {}, "", None)
    exchange.enter()
    exchange.found_endpoint("/p")
    span_id = context.current()["span_id"]
    context.bind(span_id="00f067aa0ba902b7", user_id="u-1")  # a span is still open
    exchange.note()
    context.clear()
    exchange.status = 200
    exchange.end()
    exchange.report()
    exchange.leave()
    assert (events[0]["span_id"], events[0]["user_id"]) == (span_id, "u-1")
    assert (events[0]["request_id"], events[0]["endpoint"]) == ("r-1", "/p")
    assert events[0]["correlation_id"] == "r-1"
    assert len(events[0]["trace_id"]) == 32


def test_a_request_begins_without_anothers_fields() -> None:
    """What is bound around it stays, unless it belongs to a trace."""
    with context.isolated(region="eu"):
        served(Policy())
        exchange = Exchange(Policy(), "GET", "/p", "", [], {}, "", None)
        exchange.enter()
        assert context.current()["region"] == "eu"
        inner = Exchange(Policy(), "GET", "/p", "", [], {}, "", None)
        inner.enter()
        assert set(context.current()) == {"trace_id", "span_id", "request_id"}
        inner.leave()
        exchange.leave()
        assert context.current() == {"region": "eu"}


def test_a_hook_that_fails_fails_no_request(events: Events) -> None:
    """It is told, once in a while."""

    def user(_request: object) -> str:
        raise ValueError("x")

    policy = Policy(user_id=user)
    served(policy)
    served(policy)
    assert [event["message"] for event in events] == [
        "the user_id hook failed",
        "GET /p 200",
        "GET /p 200",
    ]
    served(Policy(user_id=lambda request: 7))
    assert events[-1]["user_id"] == "7"


@pytest.mark.parametrize(
    ("module", "package"),
    [("fastapi", "fastapi"), ("flask", "flask"), ("django", "django"), ("aiohttp", "aiohttp")],
)
def test_a_missing_framework_is_said(module: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra that brings it; ASGI and WSGI need none."""
    name = f"logferry.handlers.integrations.{module}"
    monkeypatch.delitem(sys.modules, name, raising=False)
    for loaded in [each for each in sys.modules if each.split(".")[0] == package]:
        monkeypatch.setitem(sys.modules, loaded, None)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"logferry\[{package}\]"):
        importlib.import_module(name)
