"""Every HTTP client against a real server: ids to friends, none to strangers, each call told."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import httpx
import pytest
import requests
import urllib3
from servers.web import WebServer

from logferry.handlers import context
from logferry.handlers.formatter import make_builder
from logferry.handlers.forward import suppressed
from logferry.handlers.integrations import aiohttp_client as our_aiohttp
from logferry.handlers.integrations import httpx as our_httpx
from logferry.handlers.integrations import requests as our_requests
from logferry.handlers.integrations import urllib3 as our_urllib3
from logferry.handlers.testing import Events, capture

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
BUILDER = make_builder("test", "test")  # one for all: it is dear to make
OURS = {"traceparent", "x-request-id"}


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer() as running:
        yield running


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name under .test is this machine."""
    real = socket.getaddrinfo

    def resolve(host: Any, *args: Any, **kwargs: Any) -> Any:
        text = host.decode() if isinstance(host, bytes) else host
        return real("127.0.0.1" if text and text.endswith(".test") else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.fixture
def events() -> Iterator[Events]:
    logging.getLogger("logferry.calls").setLevel(logging.DEBUG)
    logging.getLogger("logferry.span").setLevel(logging.INFO)
    with capture(builder=BUILDER) as found:
        yield found
    logging.getLogger("logferry.calls").setLevel(logging.NOTSET)
    logging.getLogger("logferry.span").setLevel(logging.NOTSET)


def with_requests(make: Callable[[], Any], method: str, url: str, **options: Any) -> int:
    with make() as client:
        return int(client.request(method, url, **options).status_code)


def with_httpx(make: Callable[[], Any], method: str, url: str, **options: Any) -> int:
    with make() as client:
        return int(client.request(method, url, follow_redirects=True, **options).status_code)


def with_async_httpx(make: Callable[[], Any], method: str, url: str, **options: Any) -> int:
    async def send() -> int:
        async with make() as client:
            return int((await client.request(method, url, follow_redirects=True, **options)).status_code)

    return asyncio.run(send())


def with_aiohttp(make: Callable[[], Any], method: str, url: str, **options: Any) -> int:
    async def send() -> int:
        async with make() as client, client.request(method, url, **options) as response:
            await response.read()
            return int(response.status)

    return asyncio.run(send())


def with_urllib3(make: Callable[[], Any], method: str, url: str, **options: Any) -> int:
    with make() as client:
        return int(client.request(method, url, retries=urllib3.Retry(5, connect=0), **options).status)


CLIENTS: dict[str, tuple[Any, Any, Any, Any]] = {
    "requests": (with_requests, our_requests.TraceClient, our_requests, requests.Session),
    "httpx": (with_httpx, our_httpx.TraceClient, our_httpx, httpx.Client),
    "httpx-async": (with_async_httpx, our_httpx.AsyncTraceClient, our_httpx, httpx.AsyncClient),
    "aiohttp": (with_aiohttp, our_aiohttp.TraceClient, our_aiohttp, aiohttp.ClientSession),
    "urllib3": (with_urllib3, our_urllib3.TraceClient, our_urllib3, urllib3.PoolManager),
}


@pytest.fixture(params=[(name, way) for name in CLIENTS for way in ("client", "install")], ids="-".join)
def send(request: pytest.FixtureRequest) -> Iterator[Callable[..., int]]:
    """Send through one client, made by us or patched; `allow` is propagate_to."""
    name, way = request.param
    through, ours, module, plain = CLIENTS[name]

    def call(method: str, url: str, allow: tuple[str, ...] = (), **options: Any) -> int:
        if way == "client":
            return int(through(lambda: ours(propagate_to=allow), method, url, **options))
        module.install(propagate_to=allow)
        return int(through(plain, method, url, **options))

    yield call
    module.uninstall()


def calls(events: Events) -> list[dict[str, Any]]:
    return [event for event in events if event.get("kind") == "call"]


def test_a_friend_gets_the_ids_and_the_call_is_told(
    send: Callable[..., int], server: WebServer, events: Events
) -> None:
    """The traceparent names the call's own span; both lines and the span agree with it."""
    with context.isolated(trace_id=TRACE, span_id=SPAN, request_id="r-1"):
        assert send("GET", f"{server.url}/items?password=hunter2&page=3") == 200
        assert context.get_trace_context() == (TRACE, SPAN, "")
    (seen,) = server.seen
    _, trace_id, span_id, flags = seen.headers["traceparent"].split("-")
    assert (trace_id, flags, seen.headers["x-request-id"]) == (TRACE, "01", "r-1")
    assert span_id != SPAN
    before, after = calls(events)
    assert before["message"] == "→ GET 127.0.0.1"
    assert before["method"] == "GET"
    assert "hunter2" not in str(list(events))
    assert "page=3" in before["url"]
    assert (after["status_code"], after["bytes"], after["failed"]) == (200, 12, False)
    assert after["duration_ms"] > 0
    for event in (before, after, events.find(kind="span")):
        assert (event["trace_id"], event["span_id"], event["parent_id"]) == (TRACE, span_id, SPAN)
        assert event["level"] == ("INFO" if event["kind"] == "span" else "DEBUG")
    assert events.find(kind="span")["peer"] == "127.0.0.1"


def test_a_stranger_gets_none(send: Callable[..., int], server: WebServer, events: Events) -> None:
    """The call is told all the same."""
    with context.isolated(trace_id=TRACE, span_id=SPAN, request_id="r-1"):
        send("GET", f"http://stranger.test:{server.port}/")
    assert not OURS & set(server.seen[0].headers)
    assert len(calls(events)) == 2


def test_the_list_makes_friends(send: Callable[..., int], server: WebServer) -> None:
    """propagate_to adds hosts."""
    with context.isolated(trace_id=TRACE, span_id=SPAN, request_id="r-1"):
        send("GET", f"http://api.partner.test:{server.port}/", allow=(".partner.test",))
    assert set(server.seen[0].headers) >= OURS


def test_a_redirect_to_a_stranger_loses_the_ids(send: Callable[..., int], server: WebServer) -> None:
    """A redirect to a friend has ids again; ids that the caller set by hand are lost to strangers too."""
    target = f"http://stranger.test:{server.port}/redirect?to={server.url}/end"
    hand = {"X-B3-TraceId": TRACE}
    with context.isolated(trace_id=TRACE, span_id=SPAN, request_id="r-1"):
        assert send("GET", f"{server.url}/redirect?to={target}", headers=hand) == 200
    first, second, third = server.seen
    assert {*OURS, "x-b3-traceid"} <= set(first.headers)
    assert second.host == "stranger.test"
    assert not {*OURS, "x-b3-traceid"} & set(second.headers)
    assert third.host == "127.0.0.1"
    assert set(third.headers) >= OURS
    assert third.headers["traceparent"] != first.headers["traceparent"]


def test_each_hop_is_a_call_of_its_own(send: Callable[..., int], server: WebServer, events: Events) -> None:
    """A redirect from friend to friend.

    The second hop has its own span, the caller's child like the first.
    """
    with context.isolated(trace_id=TRACE, span_id=SPAN):
        assert send("GET", f"{server.url}/redirect?to={server.url}/end") == 200
    sent = [seen.headers["traceparent"].split("-")[2] for seen in server.seen]
    assert len(set(sent)) == 2
    spans = [event for event in events if event.get("kind") == "span"]
    assert [(one["span_id"], one["parent_id"]) for one in spans] == [(span_id, SPAN) for span_id in sent]


def test_what_the_caller_set_by_hand_stays(send: Callable[..., int], server: WebServer) -> None:
    """An id of the caller's is not replaced, whatever its case."""
    with context.isolated(trace_id=TRACE, span_id=SPAN, request_id="r-1"):
        send("GET", server.url, headers={"X-REQUEST-Id": "mine"})
    assert server.seen[0].headers["x-request-id"] == "mine"


def test_a_server_error_and_a_dead_server(
    send: Callable[..., int], server: WebServer, events: Events
) -> None:
    """503 is told as failed with its status, a refused connection with the reason; both reach the caller."""
    with context.isolated(trace_id=TRACE, span_id=SPAN):
        assert send("GET", f"{server.url}/status/503") == 503
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with pytest.raises(Exception, match=r"(?i)connect|refused"):
            send("GET", f"http://127.0.0.1:{port}/")
        assert context.get_trace_context() == (TRACE, SPAN, "")
    _, failed, _, refused = calls(events)
    assert (failed["status_code"], failed["failed"]) == (503, True)
    assert refused["failed"]
    assert refused["reason"]
    assert all(event["failed"] for event in events if event.get("kind") == "span")


def test_without_a_trace_the_call_begins_one(send: Callable[..., int], server: WebServer) -> None:
    """And nothing of it remains."""
    send("GET", server.url)
    assert "traceparent" in server.seen[0].headers
    assert context.get_trace_context() == ("", "", "")


def test_our_own_workers_are_left_alone(send: Callable[..., int], server: WebServer, events: Events) -> None:
    """What a sink sends has no ids and no lines, whatever is installed."""
    with suppressed(), context.isolated(trace_id=TRACE, span_id=SPAN):
        send("GET", server.url)
    assert not OURS & set(server.seen[0].headers)
    assert not calls(events)


@pytest.mark.parametrize("name", CLIENTS)
def test_bodies_are_summarised(name: str, server: WebServer, events: Events) -> None:
    """The fields of JSON, redacted and bounded; what the server gets is whole."""
    through, ours, _, _ = CLIENTS[name]
    body = b'{"card": "4111 1111 1111 1111", "password": "hunter2", "n": 1, "text": "' + b"x" * 3000 + b'"}'
    keyword = {"urllib3": "body", "httpx": "content", "httpx-async": "content"}.get(name, "data")
    through(ours, "POST", server.url, headers={"Content-Type": "application/json"}, **{keyword: body})
    assert server.seen[0].body == body
    arguments = calls(events)[0]["arguments"]
    assert arguments["body_bytes"] == len(body)
    assert arguments["body"]["n"] == 1
    assert len(arguments["body"]["text"]) < 300
    assert not any(secret in str(list(events)) for secret in ("hunter2", "4111 1111"))


def test_requests_over_an_installed_urllib3_is_one_call(server: WebServer, events: Events) -> None:
    """What requests does with urllib3 is told once."""
    our_requests.install()
    our_urllib3.install()
    try:
        requests.get(server.url, timeout=10)
    finally:
        our_urllib3.uninstall()
        our_requests.uninstall()
    assert len(calls(events)) == 2


@pytest.mark.parametrize("name", ["requests", "httpx", "aiohttp", "urllib3"])
def test_a_proxy_does_not_decide(name: str, server: WebServer) -> None:
    """The proxy stands on loopback; the stranger behind it gets nothing, the friend behind it does."""
    through, _, module, plain = CLIENTS[name]
    urls = [f"http://{host}/" for host in ("stranger.example", "stock.internal")]
    module.install()
    try:
        for url in urls:
            if name == "aiohttp":
                through(plain, "GET", url, proxy=server.url)
            elif name == "requests":
                through(plain, "GET", url, proxies={"http": server.url})
            elif name == "httpx":
                through(lambda: httpx.Client(proxy=server.url), "GET", url)
            else:
                through(lambda: urllib3.ProxyManager(server.url), "GET", url)
    finally:
        module.uninstall()
    stranger, friend = server.seen
    assert (stranger.host, friend.host) == ("stranger.example", "stock.internal")
    assert "traceparent" not in stranger.headers
    assert "traceparent" in friend.headers


@pytest.mark.parametrize("name", CLIENTS)
def test_uninstalled_is_as_before(name: str, server: WebServer) -> None:
    """Nothing of ours remains, however often it was installed."""
    through, _, module, plain = CLIENTS[name]
    module.install()
    module.install()
    module.uninstall()
    through(plain, "GET", server.url)
    assert "traceparent" not in server.seen[0].headers


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.parametrize(
    "trick", ["http://127.0.0.1@stranger.test:{}/", "http://localhost:x@stranger.test:{}/"]
)
def test_a_user_name_is_no_host(name: str, trick: str, server: WebServer) -> None:
    """What stands before an @ is not whom the client talks to."""
    through, ours, _, _ = CLIENTS[name]
    through(ours, "GET", trick.format(server.port))
    assert "traceparent" not in server.seen[0].headers


def test_with_opentelemetry_its_span_is_the_parent(server: WebServer) -> None:
    """Where OpenTelemetry is at work, the call is one of its spans, and that one's ids are sent."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    with provider.get_tracer("shop").start_as_current_span("request") as outer:
        ids = outer.get_span_context()
        with our_requests.TraceClient() as client:
            client.get(server.url)
        assert context.get_trace_context()[:2] == (f"{ids.trace_id:032x}", f"{ids.span_id:016x}")
    _, trace_id, span_id, _ = server.seen[0].headers["traceparent"].split("-")
    assert trace_id == f"{ids.trace_id:032x}"
    finished = {f"{one.context.span_id:016x}": one for one in kept.get_finished_spans() if one.context}
    sent = finished.get(span_id)
    assert sent is not None
    assert sent is finished[f"{ids.span_id:016x}"] or (sent.parent and sent.parent.span_id == ids.span_id)


def test_an_application_called_in_the_same_task_is_another_one(server: WebServer, events: Events) -> None:
    """httpx can call an ASGI application without a network: what that one calls are calls of its own."""
    from logferry.handlers.integrations.asgi import TraceMiddleware

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        with our_urllib3.TraceClient() as client:
            client.request("GET", f"{server.url}/inner")
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def main() -> None:
        transport = httpx.ASGITransport(TraceMiddleware(app))
        async with our_httpx.AsyncTraceClient(transport=transport) as client:
            assert (await client.get("http://shop.internal/")).status_code == 204

    with context.isolated(trace_id=TRACE, span_id=SPAN):
        asyncio.run(main())
    _, trace_id, span_id, _ = server.seen[0].headers["traceparent"].split("-")
    assert trace_id == TRACE
    assert len(calls(events)) == 4
    inner, outer = (e for e in events if e.get("kind") == "span" and e["span_kind"] == "client")
    assert inner["span_id"] == span_id
    assert inner["parent_id"] not in {SPAN, outer["span_id"]}
    assert outer["parent_id"] == SPAN
