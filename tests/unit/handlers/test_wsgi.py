"""WSGI and Flask: ids in and out, one access event at the last byte, one ERROR for an exception."""

from __future__ import annotations

import io
import logging
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import flask
import pytest
from werkzeug.serving import make_server as threaded_server

from logferry.handlers import context
from logferry.handlers.integrations.flask import install
from logferry.handlers.integrations.wsgi import TraceMiddleware
from logferry.handlers.testing import Events, capture
from logferry.handlers.tracing import parse_traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
log = logging.getLogger("test.wsgi")


@pytest.fixture
def events() -> Iterator[Events]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with capture(level="INFO") as captured:
        yield captured
    assert context.current() == {}


def call(app: Any, path: str = "/", body: bytes = b"", **more: Any) -> tuple[str, dict[str, str], bytes]:
    """Serve one request as a server does, checked by wsgiref's validator; `more` are keys of the environ."""
    environ: dict[str, Any] = {
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "wsgi.input": io.BytesIO(body),
    }
    setup_testing_defaults(environ)
    environ.update({"REMOTE_ADDR": "127.0.0.1", "CONTENT_LENGTH": str(len(body)), **more})
    told: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        told[:] = [status, dict(headers)]
        return told.append

    found = validator(app)(environ, start_response)
    try:
        content = b"".join(found)
    finally:
        found.close()
    return told[0], told[1], content


def hello(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    log.info("hello")
    context.bind(user_id="u-1")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]


def test_ids_and_access_event(events: Events) -> None:
    """The caller's trace goes on; the answer tells the ids; nothing stays bound."""
    status, headers, content = call(
        TraceMiddleware(hello),
        "/h%C3%A9/é".encode().decode("latin-1"),
        HTTP_TRACEPARENT=f"00-{TRACE}-{SPAN}-01",
        HTTP_X_REQUEST_ID="r-1",
        HTTP_USER_AGENT="tests",
        QUERY_STRING="password=hunter2&page=2",
    )
    line, access = events
    assert (status, content) == ("200 OK", b"hello")
    assert headers["X-Request-ID"] == line["request_id"] == access["request_id"] == "r-1"
    assert parse_traceparent(headers["traceparent"]) == (TRACE, access["span_id"], True)
    assert line["trace_id"] == access["trace_id"] == TRACE
    assert access["parent_id"] == SPAN
    assert access["path"].startswith("/h%C3%A9/é?")
    assert "page=2" in access["path"]
    assert b"hunter2" not in b"".join(events.lines)
    seen = {name: access[name] for name in ("kind", "method", "status_code", "bytes", "client_ip", "failed")}
    assert seen == {
        "kind": "access",
        "method": "GET",
        "status_code": 200,
        "bytes": 5,
        "client_ip": "127.0.0.1",
        "failed": False,
    }
    assert access["user_agent"] == "tests"
    assert access["user_id"] == "u-1"
    assert access["duration_le"] in {"1", "2", "5", "10", "20", "50", "100"}


def test_a_streaming_answer_ends_with_its_last_byte(events: Events) -> None:
    """Lines of the generator carry the ids; duration and size are those of the whole answer."""
    now = [0.0]

    def stream(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        for number in range(3):
            log.info("part %d", number)
            now[0] += 1.0
            yield b"12345"

    call(TraceMiddleware(stream, clock=lambda: now[0]), HTTP_X_REQUEST_ID="r-2")
    *lines, access = events
    assert [line["request_id"] for line in lines] == ["r-2"] * 3
    assert (access["bytes"], access["duration_ms"], access["level"]) == (15, 3000.0, "WARNING")


def test_a_generator_that_is_iterated_in_another_thread_keeps_its_ids(events: Events) -> None:
    """Some servers do so; that thread is left as it was."""
    environ: dict[str, Any] = {"HTTP_X_REQUEST_ID": "r-3"}
    setup_testing_defaults(environ)

    def stream(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        log.info("inside")
        context.bind(user_id="u-3")
        yield b"1"
        log.info("inside")
        yield b"2"

    found: Any = TraceMiddleware(stream)(environ, lambda *_: None)
    left: list[Any] = []

    def elsewhere() -> None:
        left.extend(context.current() for _ in found)
        left.append(context.current())

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    found.close()
    assert left == [{}, {}, {}]
    first, second, access = events
    assert first["request_id"] == second["request_id"] == access["request_id"] == "r-3"
    assert second["user_id"] == access["user_id"] == "u-3"


def test_an_exception_is_answered_with_the_id(events: Events) -> None:
    """One ERROR with traceback and what was in the body, without its secrets; the 500 tells the id."""

    def boom(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        assert environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])) == body
        raise RuntimeError("broken")

    body = b'{"card": "4111 1111 1111 1111", "password": "hunter2", "n": 1}'
    status, headers, content = call(
        TraceMiddleware(boom),
        body=body,
        REQUEST_METHOD="POST",
        CONTENT_TYPE="application/json",
        HTTP_X_REQUEST_ID="r-4",
    )
    assert status == "500 Internal Server Error"
    assert headers["X-Request-ID"] == "r-4"
    assert b"r-4" in content
    (access,) = events
    assert (access["level"], access["status_code"], access["failed"]) == ("ERROR", 500, True)
    assert access["error"]["type"] == "RuntimeError"
    assert access["request_body"]["size"] == len(body)
    assert access["request_body"]["content"]["n"] == 1
    assert b"hunter2" not in events.lines[0]
    assert b"4111 1111" not in events.lines[0]


def test_an_exception_in_the_middle_goes_on_to_the_server(events: Events) -> None:
    """What has begun cannot be answered again; the event says that it failed."""

    def stream(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"1"
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError):
        call(TraceMiddleware(stream))
    (access,) = events
    assert (access["status_code"], access["bytes"], access["error"]["type"]) == (500, 1, "RuntimeError")


def test_a_client_that_goes_away_ends_the_request(events: Events) -> None:
    """The server closes what it has not read to its end; close comes once, however often it is called."""
    closed = []

    class Endless:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"1"] * 1000)

        def close(self) -> None:
            closed.append(1)

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return Endless()

    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    found: Any = TraceMiddleware(app)(environ, lambda *_: None)
    next(found)
    found.close()
    found.close()
    assert closed == [1]
    assert [event["bytes"] for event in events] == [1]


def test_a_file_stays_the_servers_to_send(events: Events) -> None:
    """The server's own wrapper is not hidden from it; the event comes when it is closed."""
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    environ["wsgi.file_wrapper"] = FileWrapper

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return FileWrapper(io.BytesIO(b"12345"))

    found: Any = TraceMiddleware(app)(environ, lambda *_: None)
    assert isinstance(found, FileWrapper)
    assert not len(events)
    found.close()
    assert len(events) == 1
    assert found.filelike.closed


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def test_what_a_server_leaves_behind_is_not_the_next_requests(events: Events) -> None:
    """A request that is never closed leaves nothing; what else is in the thread is not the next one's."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        context.bind(user_id="u-of-" + environ["HTTP_X_REQUEST_ID"])
        start_response("200 OK", [])
        return [b""]

    def plain(environ: Any, start_response: Any) -> list[bytes]:
        log.info("plain")
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b""]

    def forgotten() -> None:
        environ: dict[str, Any] = {"HTTP_X_REQUEST_ID": "1"}
        setup_testing_defaults(environ)
        TraceMiddleware(app)(environ, lambda *_: None)
        assert context.current() == {}
        context.bind(user_id="u-of-1", request_id="1")  # or the server itself has left something
        call(TraceMiddleware(plain), HTTP_X_REQUEST_ID="2")

    thread = threading.Thread(target=forgotten)
    thread.start()
    thread.join()
    line = events.find(message="plain")
    assert line["request_id"] == "2"
    assert "user_id" not in line


def test_a_real_server(events: Events) -> None:
    """wsgiref's server sends Content-Length for what has one part, as it does without us."""
    with make_server("127.0.0.1", 0, TraceMiddleware(hello), handler_class=Quiet) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/") as answer:
            assert answer.headers["Content-Length"] == "5"
            assert answer.read() == b"hello"
        thread.join()
    assert events[-1]["status_code"] == 200


def application(**options: Any) -> flask.Flask:
    app = flask.Flask("shop")

    @app.get("/orders/<int:order>")
    def order(order: int) -> str:
        log.info("looking")
        return "x" * order

    @app.post("/boom")
    def boom() -> str:
        assert flask.request.form["name"] == "Ann"
        raise RuntimeError("broken")

    @app.get("/stream")
    def stream() -> flask.Response:
        def parts() -> Iterator[bytes]:
            log.info("part")
            yield b"12345"

        return flask.Response(parts())

    install(app, **options)
    install(app, **options)
    return app


def visit(app: flask.Flask, path: str, **more: Any) -> Any:
    """Serve one request to its last byte, as a server does."""
    return app.test_client().open(path, buffered=True, **more)


def test_flask(events: Events) -> None:
    """Endpoint and user are in the view's own lines; a second install is none."""
    app = application(user_id=lambda request: request.headers.get("x-user"))
    answer = visit(app, "/orders/7", headers={"X-User": "u-7", "X-Request-ID": "r-7"})
    line, access = events
    assert answer.headers["X-Request-ID"] == "r-7"
    for event in (line, access):
        assert (event["endpoint"], event["user_id"]) == ("/orders/<int:order>", "u-7")
        assert event["request_id"] == "r-7"
    assert (access["bytes"], access["status_code"], access["path"]) == (7, 200, "/orders/7")
    visit(app, "/nowhere")
    assert (events[-1]["status_code"], events[-1]["level"], "endpoint" in events[-1]) == (
        404,
        "WARNING",
        False,
    )
    visit(app, "/stream", headers={"X-Request-ID": "r-8"})
    assert [event["request_id"] for event in events][-2:] == ["r-8", "r-8"]


def test_flask_knows_the_user_when_its_own_functions_have_run(events: Events) -> None:
    """The hook is asked after before_request, and at the end where a view logs somebody in."""

    def user(_request: flask.Request) -> object:
        return flask.g.get("user")

    app = flask.Flask("shop")
    install(app, user_id=user)

    @app.before_request
    def who() -> None:
        if "X-User" in flask.request.headers:
            flask.g.user = flask.request.headers["X-User"]

    @app.get("/")
    def view() -> str:
        log.info("view")
        flask.g.user = flask.g.get("user", "late")
        return ""

    visit(app, "/", headers={"X-User": "early"})
    visit(app, "/")
    assert [event.get("user_id") for event in events] == ["early", "early", None, "late"]


def test_an_exception_in_flask_is_one_error(events: Events) -> None:
    """Flask's own record is no second event; the 500 has the id; debuggers see the exception."""
    app = application()
    answer = visit(
        app,
        "/boom",
        method="POST",
        data={"name": "Ann", "password": "hunter2"},
        headers={"X-Request-ID": "r-9"},
    )
    assert (answer.status_code, answer.headers["X-Request-ID"]) == (500, "r-9")
    (access,) = events
    assert (access["logger"], access["error"]["type"]) == ("logferry.access", "RuntimeError")
    assert access["endpoint"] == "/boom"
    assert access["request_body"]["content"]["name"] == "Ann"
    assert b"hunter2" not in events.lines[0]
    app.testing = True
    with pytest.raises(RuntimeError):
        visit(app, "/boom", method="POST", data={"name": "Ann"})
    assert [event["level"] for event in events] == ["ERROR", "ERROR"]


def test_flask_in_a_threaded_server_mixes_nothing_up(events: Events) -> None:
    """Many requests at once over real sockets: each line has its own id, threads are left clean."""
    barrier = threading.Barrier(8)
    left: list[Any] = []
    app = flask.Flask("shop")

    @app.get("/<name>")
    def view(name: str) -> str:
        left.append(dict(context.current()))
        context.bind(user_id=name)
        barrier.wait(30)
        log.info(name)
        return name

    install(app)
    server = threaded_server("127.0.0.1", 0, app, threaded=True)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()

    def ask(name: str) -> None:
        asked = urllib.request.Request(
            f"http://127.0.0.1:{server.server_port}/{name}", headers={"X-Request-ID": name}
        )
        with urllib.request.urlopen(asked) as answer:
            assert answer.headers["X-Request-ID"] == name

    try:
        visitors = [threading.Thread(target=ask, args=(f"r{n}",)) for n in range(8)]
        for visitor in visitors:
            visitor.start()
        for visitor in visitors:
            visitor.join()
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
    lines = [event for event in events if event["logger"] == "test.wsgi"]
    assert {event["message"] for event in lines} == {f"r{n}" for n in range(8)}
    assert all(event["request_id"] == event["user_id"] == event["message"] for event in lines)
    assert all("user_id" not in fields for fields in left)
    accesses = [event for event in events if event.get("kind") == "access"]
    assert sorted(event["path"] for event in accesses) == [f"/r{n}" for n in range(8)]
    assert all(event["path"] == "/" + event["request_id"] for event in accesses)
