"""Django, synchronous and asynchronous: ids in and out, one access event, one ERROR for an exception."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import django
import pytest
from django.conf import settings
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, Client
from django.urls import path

from logferry.handlers import context
from logferry.handlers.integrations.django import TraceMiddleware
from logferry.handlers.testing import Events, capture
from logferry.handlers.tracing import parse_traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
log = logging.getLogger("test.django")


def user_of(request: HttpRequest) -> object:
    return request.headers.get("x-user")


def order(request: HttpRequest, order: int) -> HttpResponse:
    log.info("looking")
    return HttpResponse("x" * order)


async def later(request: HttpRequest, order: int) -> HttpResponse:
    log.info("looking")
    await asyncio.sleep(0)
    return HttpResponse("x" * order)


def boom(request: HttpRequest) -> HttpResponse:
    assert json.loads(request.read())["n"] == 1  # as REST frameworks read it
    raise RuntimeError("broken")


def stream(request: HttpRequest) -> StreamingHttpResponse:
    def parts() -> Iterator[str]:
        log.info("part")
        context.bind(user_id="late")
        yield "12345"

    return StreamingHttpResponse(parts())


async def async_stream(request: HttpRequest) -> StreamingHttpResponse:
    async def parts() -> AsyncIterator[str]:
        log.info("part")
        yield "12345"

    return StreamingHttpResponse(parts())


def file(request: HttpRequest) -> FileResponse:
    return FileResponse(open(__file__, "rb"))  # noqa: PTH123 - Django closes it


urlpatterns = [
    path("orders/<int:order>/", order),
    path("later/<int:order>/", later),
    path("boom/", boom),
    path("stream/", stream),
    path("async-stream/", async_stream),
    path("file/", file),
]

settings.configure(
    ALLOWED_HOSTS=["testserver"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=[f"{TraceMiddleware.__module__}.TraceMiddleware", "django.middleware.common.CommonMiddleware"],
    LOGFERRY_REQUESTS={"exclude": ["/file/"], "user_id": f"{__name__}.user_of"},
    SECRET_KEY="tests",
    LOGGING_CONFIG=None,
)
django.setup()


@pytest.fixture
def events() -> Iterator[Events]:
    with capture(level="INFO") as captured:
        yield captured
    assert context.current() == {}


def get(path: str, *, is_async: bool = False, body: bytes | None = None, **headers: str) -> Any:
    """Serve one request to its last byte."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    sent: dict[str, Any] = {} if body is None else {"data": body, "content_type": "application/json"}

    async def ask() -> Any:
        client = AsyncClient(raise_request_exception=False)
        answer = await (client.get if body is None else client.post)(path, headers=named, **sent)
        if answer.streaming:
            answer.got = b"".join([part async for part in answer.streaming_content])
        assert context.current() == {}
        return answer

    if is_async:
        return asyncio.run(ask())
    client = Client(raise_request_exception=False)
    answer: Any = (client.get if body is None else client.post)(path, headers=named, **sent)
    if answer.streaming:
        answer.got = b"".join(answer.streaming_content)
    assert context.current() == {}
    return answer


BOTH = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


@BOTH
@pytest.mark.parametrize("kind", ["orders", "later"])
def test_ids_endpoint_user_and_access_event(events: Events, kind: str, is_async: bool) -> None:
    """In either mode, with either kind of view: the view's own lines and the event have everything."""
    answer = get(
        f"/{kind}/7/?token=hunter2hunter2",
        is_async=is_async,
        traceparent=f"00-{TRACE}-{SPAN}-01",
        x_request_id="r-1",
        x_user="u-1",
    )
    line, access = events
    assert answer.headers["X-Request-ID"] == "r-1"
    assert parse_traceparent(answer.headers["traceparent"]) == (TRACE, access["span_id"], True)
    for event in (line, access):
        assert (event["trace_id"], event["parent_id"], event["request_id"]) == (TRACE, SPAN, "r-1")
        assert (event["endpoint"], event["user_id"]) == (f"/{kind}/<int:order>/", "u-1")
    assert (access["status_code"], access["bytes"], access["level"]) == (200, 7, "INFO")
    assert b"hunter2" not in b"".join(events.lines)


@BOTH
def test_an_exception_is_one_error(events: Events, is_async: bool) -> None:
    """Django's own record of it is no second event; body and id are there."""
    body = b'{"n": 1, "password": "hunter2"}'
    answer = get("/boom/", is_async=is_async, body=body, x_request_id="r-2")
    assert (answer.status_code, answer.headers["X-Request-ID"]) == (500, "r-2")
    (access,) = events
    assert (access["logger"], access["level"], access["status_code"]) == ("logferry.access", "ERROR", 500)
    assert (access["error"]["type"], access["endpoint"]) == ("RuntimeError", "/boom/")
    assert access["request_body"]["content"]["n"] == 1
    assert b"hunter2" not in events.lines[0]


@BOTH
def test_streams_end_with_their_last_byte(events: Events, is_async: bool) -> None:
    """Lines of the generator carry the ids; what it binds is in the event."""
    answer = get("/async-stream/" if is_async else "/stream/", is_async=is_async, x_request_id="r-3")
    assert answer.got == b"12345"
    line, access = events
    assert line["request_id"] == access["request_id"] == "r-3"
    assert access["bytes"] == 5
    assert access.get("user_id") == (None if is_async else "late")


def test_files_and_excluded_paths(events: Events) -> None:
    """A file goes through; an excluded path has ids and no event; what no route serves has no endpoint."""
    answer = get("/file/")
    assert "X-Request-ID" in answer.headers
    answer.close()
    assert not len(events)
    assert get("/nowhere/").status_code == 404
    (access,) = [event for event in events if event.get("kind") == "access"]
    assert (access["status_code"], access["level"], "endpoint" in access) == (404, "WARNING", False)
