"""What the servers of Python's web and task frameworks log of themselves is understood completely.

Each runs as its users run it, in a zone that is not the agent's, and is asked usual and odd things. Its log
is followed meanwhile by a parser that finds out by itself; the parser `python` makes the same of it later.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from programs.followed import Kept, followed
from programs.loggers import TRACE
from programs.understood import Event, events_of, one, understood, until
from taking import context

from logferry.shipper.sources.exec import ExecConfig, ExecSource
from logferry.shipper.sources.parsers import ParserConfig

pytestmark = pytest.mark.integration

TESTS = Path(__file__).parents[1]
ZONE = "Asia/Shanghai"
PYTHON, AUTO = ParserConfig("python", timezone=ZONE), ParserConfig("auto", timezone=ZONE)
AGENT = 'Mozilla/5.0 (X11; "Linux" x)'
PATHS = ("/", "/?q=1&token=hunter2", "/missing", "/fails", "/%22quoted%22?a=%0a")
GARBAGE = b'\x16\x03\x01 "GET\\ \xff\r\n\r\n'


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def asked(port: int, *paths: str) -> None:
    """Ask for paths, then in a way that is no HTTP."""
    for path in paths:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=50)
        connection.request("GET", path, headers={"User-Agent": AGENT, "Referer": "http://shop/"})
        try:
            connection.getresponse().read()
        except http.client.IncompleteRead:
            assert path == "/late"
        connection.close()
    with socket.create_connection(("127.0.0.1", port), 50) as raw:
        raw.sendall(GARBAGE)
        raw.recv(4096)


def environment(directory: Path) -> dict[str, str]:
    told = {"PYTHONPATH": str(TESTS), "PYTHONUNBUFFERED": "1", "TZ": ZONE, "HOME": str(directory)}
    told["TMPDIR"] = str(directory)  # what is killed with its group leaves what it keeps there
    return {**os.environ, **told}


@contextmanager
def served(
    directory: Path,
    kept: Kept,
    command: Sequence[str],
    port: int = 0,
    *,
    ending: int = signal.SIGTERM,
    at_once: bool = True,
) -> Iterator[Path]:
    """Run a server and follow what it says, until the end of the block; then it is ended.

    `at_once`: it writes each record whole, so the machine's load cannot part one that is followed.
    """
    log = directory / "server.log"
    with log.open("wb") as output, followed(kept, log, parser=AUTO):
        running = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=directory,
            env=environment(directory),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            if port:
                until(lambda: listens(port), log)
            yield log
            running.send_signal(ending)
            running.wait(60)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
            running.wait()
        made = events_of(log, PYTHON)
        until(lambda: len(kept.lines) >= len(made), kept.messages)
    followed_events = [said(json.loads(line)) for line in kept.lines]
    assert not at_once or followed_events == [said(event) for event in made]


def said(event: Event) -> Event:
    """An event without what tells by which way it came."""
    return {key: value for key, value in event.items() if key not in {"timestamp", "parse_error"}}


def failed(event: Event, log: Path, *, group: bool = False) -> None:
    """The event has the traceback that stands in the log, whole."""
    error = event["error"]
    assert event["level"] == "ERROR"
    assert error["type"] == ("ExceptionGroup" if group else "ValueError")
    assert error["stack"] in log.read_text()
    if group:
        assert error["stack"].endswith("+------------------------------------")
        return
    assert error["message"] == "no card"
    assert error["stack"].startswith("Traceback (most recent call last):")
    assert error["stack"].endswith("\nValueError: no card\nat all")
    assert "KeyError: 'card'" in error["stack"]


def in_its_zone(events: Sequence[Event], log: Path) -> None:
    """The events are of a moment ago, not of the machine's zone."""
    for event in events:
        assert abs(log.stat().st_mtime - datetime.fromisoformat(event["timestamp"]).timestamp()) < 600


def requests(events: Sequence[Event], logger: str) -> list[tuple[Any, ...]]:
    """Method, path and status of the requests; each has a client, and is of that logger."""
    access = [event for event in events if event.get("kind") == "access"]
    assert {event["logger"] for event in access} == {logger}
    assert all(event["client_ip"] == "127.0.0.1" for event in access if logger != "django.server")
    assert all(event["failed"] == (event["status_code"] >= 500) for event in access)
    return [(event["method"], event["path"], event["status_code"]) for event in access]


def messages(events: Sequence[Event]) -> list[tuple[str, str]]:
    """Level and message of what is no request."""
    return [(event["level"], event["message"]) for event in events if event.get("kind") != "access"]


def test_gunicorn(tmp_path: Path) -> None:
    """Its error log, with a traceback for each failure, and its access log."""
    port, kept = free_port(), Kept()
    command = ["gunicorn", "--no-control-socket", "--access-logfile", "access.log"]
    with served(
        tmp_path, kept, [*command, "-b", f"127.0.0.1:{port}", "programs.served_app:wsgi"], port
    ) as log:
        asked(port, *PATHS, "/late")
    events = understood(log, PYTHON, named=False)
    assert all(isinstance(event["process"], int) for event in events)
    failed(one(events, message="Error handling request GET /fails"), log)
    late = one(events, message="Error handling request")
    assert late["error"]["message"] == "late"
    told = messages(events)
    assert ("INFO", f"Listening at: http://127.0.0.1:{port} ({events[0]['process']})") in told
    assert [level for level, _ in told].count("WARNING") == 1  # what was no HTTP
    access = understood(tmp_path / "access.log", PYTHON, guessed=False)
    assert requests(access, "gunicorn.access") == [
        ("GET", "/", 200),
        ("GET", "/", 200),
        ("GET", "/missing", 404),
        ("GET", "/fails", 500),
        ("GET", "/%22quoted%22", 200),
        ("GET", "/late", 200),
    ]
    assert (access[0]["user_agent"], access[0]["referer"], access[0]["bytes"]) == (AGENT, "http://shop/", 5)
    guessed = events_of(tmp_path / "access.log", "auto")  # the same format as nginx's
    assert [event | {"logger": "gunicorn.access"} for event in guessed] == access


ASGI = [
    ("GET", "/", 200),
    ("GET", "/", 200),
    ("GET", "/missing", 404),
    ("GET", "/fails", 500),
    ("GET", "/%22quoted%22", 200),
    ("GET", "/group", 500),
]


def test_uvicorn_as_a_command_of_the_agent(tmp_path: Path) -> None:
    """What the source `exec` reads of its stdout and stderr, neither of which has times."""
    from taking import Kept as Taken
    from taking import running

    port, kept = free_port(), Taken()
    command = (sys.executable, "-m", "uvicorn", "--port", str(port), "programs.served_app:asgi")
    config = ExecConfig(command, parser=AUTO, environment=environment(tmp_path), directory=tmp_path)
    with running(ExecSource(config, context(kept)), lambda: listens(port)):
        asked(port, *PATHS, "/group")
        until(lambda: "GET /group 500" in kept.messages, kept.messages)
    events = kept.events
    assert not [event for event in events if "parse_error" in event]
    assert requests(events, "uvicorn.access") == ASGI
    first, second = (event for event in events if event["message"] == "Exception in ASGI application")
    assert (first["level"], first["error"]["type"]) == ("ERROR", "ValueError")
    assert first["error"]["stack"].startswith("Traceback")
    assert first["error"]["stack"].endswith("\nValueError: no card\nat all")
    assert second["error"]["type"] == "ExceptionGroup"
    assert second["error"]["stack"].endswith("+------------------------------------")
    assert ("WARNING", "Invalid HTTP request received.") in messages(events)
    assert ("INFO", "Application startup complete.") in messages(events)
    assert {event["stream"] for event in events if event.get("kind") != "access"} == {"stderr"}


def test_uvicorn_within_gunicorn(tmp_path: Path) -> None:
    """Its lines have gunicorn's head then, and its requests none."""
    port, kept = free_port(), Kept()
    command = ["gunicorn", "--no-control-socket", "-k", "uvicorn.workers.UvicornWorker"]
    command += ["--access-logfile", "-", "-b", f"127.0.0.1:{port}", "programs.served_app:asgi"]
    with served(tmp_path, kept, command, port) as log:
        asked(port, *PATHS, "/group")
    events = understood(log, PYTHON, named=False)
    assert requests(events, "uvicorn.access") == ASGI
    first, second = (event for event in events if event["message"] == "Exception in ASGI application")
    failed(first, log)
    failed(second, log, group=True)
    assert first["process"] == second["process"]


def test_hypercorn(tmp_path: Path) -> None:
    """Its requests stand behind the head of a line, and name no protocol but its number."""
    port, kept = free_port(), Kept()
    command = ["hypercorn", "--access-logfile", "-", "-b", f"127.0.0.1:{port}", "programs.served_app:asgi"]
    with served(tmp_path, kept, command, port) as log:
        asked(port, *PATHS[:4], "/group")
    events = understood(log, PYTHON, named=False)
    assert requests(events, "hypercorn.access") == [*ASGI[:4], ASGI[5]]
    first, second = (event for event in events if event["message"] == "Error in ASGI Framework")
    failed(first, log)
    failed(second, log, group=True)
    assert one(events, path="/missing")["protocol"] == "1.1"


@pytest.mark.parametrize("debug", [False, True])
def test_flask_and_werkzeug(tmp_path: Path, *, debug: bool) -> None:
    """Coloured requests, quotes in them, what was no HTTP; a failure's traceback is logged, or printed."""
    port, kept = free_port(), Kept()
    command = ["flask", "--app", "programs.served_flask", "run", "--port", str(port)]
    command += ["--debug", "--no-reload"] if debug else []
    with served(tmp_path, kept, command, port, at_once=not debug) as log:
        asked(port, *PATHS, "/slow")
    assert b"\x1b[" in log.read_bytes()
    events = [event for event in events_of(log, PYTHON) if event["level"] != "INFO" or "status_code" in event]
    assert not [event for event in events if "parse_error" in event]
    access = requests(events, "werkzeug")
    assert access[:-1] == [
        ("GET", "/", 200),
        ("GET", "/", 200),
        ("GET", "/missing", 404),
        ("GET", "/fails", 500),
        ("GET", '/"quoted"', 404),
        ("GET", "/slow", 200),
    ]
    assert access[-1] == ("-", "", 400)
    slow = one(events, message="slow [req-1234-abcd]")
    assert (slow["level"], slow["module"], slow["request_id"]) == ("WARNING", "served_flask", "req-1234-abcd")
    bad = one(events, level="WARNING", logger="werkzeug")
    assert bad["message"].startswith("code 400, message Bad request version")
    message = "GET /fails 500" if debug else "Exception on /fails [GET]"
    failed(one(events, message=message), log)
    in_its_zone(events, log)


@pytest.mark.parametrize("colours", [False, True])
@pytest.mark.parametrize("logger", ["loguru", "structlog"])
def test_loggers(tmp_path: Path, logger: str, *, colours: bool) -> None:
    """loguru and structlog for people, with colours and without: who, where, pairs, and tracebacks."""
    log = tmp_path / "app.log"
    command = [sys.executable, "-m", "programs.loggers", logger, *(["colours"] if colours else [])]
    with log.open("wb") as output:
        subprocess.run(
            command, env=environment(tmp_path), stdout=output, stderr=output, timeout=60, check=True
        )
    assert (b"\x1b[" in log.read_bytes()) is colours
    events = understood(log, PYTHON)
    wanted = [
        ("DEBUG", "asked"),
        ("INFO", "open | [req-1234-abcd]"),
        ("WARNING", "slow"),
        ("ERROR", "not paid"),
        ("CRITICAL", "closed"),
    ]
    if logger == "loguru" and colours:
        del wanted[3]  # its tracebacks are coloured word by word
    else:
        failed(events[3], log)
    assert messages(events) == wanted
    assert events[1]["request_id"] == "req-1234-abcd"
    if logger == "loguru":
        assert {event["logger"] for event in events} == {"__main__"}
        assert all(event["function"] == "loguru" and event["line"] > 0 for event in events)
        return
    assert {event["logger"] for event in events} == {"shop.orders"}
    order, slow = events[1], events[2]
    assert (order["order"], order["who"], order["trace_id"]) == (7, "it's a b", TRACE)
    assert (slow["took"], slow["path"], slow["empty"], events[3]["order"]) == (1.5, "/a=b", "", 8)


def test_aiohttp(tmp_path: Path) -> None:
    """Its requests are messages of `logging`, with a time of their own."""
    port, kept, form = free_port(), Kept(), "%(asctime)s %(levelname)s %(name)s: %(message)s"
    with served(tmp_path, kept, ["programs.served_aiohttp", str(port), form], port) as log:
        asked(port, *PATHS)
    events = [event for event in events_of(log, PYTHON) if "parse_error" not in event]  # it prints a little
    access = [event for event in events if event.get("method") in {"GET", "HEAD"}]
    assert requests(access, "aiohttp.access") == [
        ("GET", "/", 200),
        ("GET", "/", 200),
        ("GET", "/missing", 404),
        ("GET", "/fails", 500),
        ("GET", "/%22quoted%22", 404),
    ]
    assert access[0]["bytes"] > 0
    failed(one(events, message="Error handling request from 127.0.0.1"), log)
    in_its_zone(events, log)


def test_django(tmp_path: Path) -> None:
    """Its requests, and what it says of those that fail, which has neither time nor level."""
    port, kept = free_port(), Kept()
    command = ["programs.served_django", "runserver", "--noreload", str(port)]
    with served(tmp_path, kept, command, port) as log:
        asked(port, *PATHS)
    events = events_of(log, PYTHON)
    strange = [event["message"] for event in events if "parse_error" in event]
    begun = log.read_text().partition("Quit the server")[0].splitlines()
    assert len(strange) <= len(begun) + 2  # what it prints when it starts, and nothing else
    assert requests(events, "django.server") == [
        ("GET", "/", 200),
        ("GET", "/", 200),
        ("GET", "/missing", 404),
        ("GET", "/fails", 500),
        ("GET", "/%22quoted%22", 404),
    ]
    failed(one(events, message="Internal Server Error: /fails"), log)
    missing = one(events, message="Not Found: /missing")
    assert (missing["level"], missing["logger"], missing["path"]) == ("WARNING", "django.request", "/missing")
    assert one(events, message='Not Found: /"quoted"')["level"] == "WARNING"
    assert one(events, level="WARNING", logger="django.server")["message"].startswith("code 400, message")


def test_celery(tmp_path: Path) -> None:
    """A task that succeeds, one that fails, one that is tried again, and what they print."""
    kept, queue = Kept(), tmp_path / "queue"
    queue.mkdir()
    command = ["celery", "-A", "programs.served_tasks", "worker", "-l", "INFO", "-c", "1"]
    os.environ["QUEUE"] = str(queue)
    try:
        command += ["--without-gossip", "--without-mingle"]
        with served(tmp_path, kept, command, ending=signal.SIGKILL) as log:  # else it waits for five seconds
            sending = [sys.executable, "-m", "programs.served_tasks"]
            subprocess.run(sending, env=environment(tmp_path), cwd=tmp_path, timeout=60, check=True)
            until(lambda: "OSError: wire" in log.read_text() and "closing" in log.read_text(), log)
    finally:
        del os.environ["QUEUE"]
    events = [event for event in events_of(log, PYTHON) if event["logger"] == "celery"]
    heads = [line for line in log.read_text().splitlines() if line[:3] == "[20"]
    assert len(events) == len(heads)
    assert all(event["thread"].startswith(("MainProcess", "ForkPoolWorker-")) for event in events)
    order = next(event for event in events if "order 7" in event["message"])
    assert (order["level"], order["request_id"]) == ("INFO", "req-1234-abcd")
    tasks = [event for event in events if event.get("task_id") == order["task_id"]]
    assert [event["message"].split("]")[1].split()[0] for event in tasks] == ["received", ":", "succeeded"]
    (fails,) = (event for event in events if "fails[" in event["message"] and "error" in event)
    failed(fails, log)
    assert fails["message"].endswith(r"raised unexpected: ValueError('no card\nat all')")
    (wire,) = (event for event in events if event.get("error", {}).get("message") == "wire")
    assert wire["error"]["type"] == "OSError"
    assert one(events, message="printed")["level"] == "WARNING"
    assert one(events, message="closing")["level"] == "ERROR"
    in_its_zone(events, log)
