"""deploy/nginx in a real nginx: ids passed on or made, and a log that is the schema's."""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from servers.debian import Nginx, required
from servers.web import WebServer

from logferry.handlers.schema import FIELDS
from logferry.handlers.tracing import from_headers

pytestmark = pytest.mark.integration

DEPLOY = Path(__file__).parents[2] / "deploy/nginx"
TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
UUID = "0af76519-16cd-43dd-8448-eb211c80319c"


@pytest.fixture(scope="module")
def service() -> Iterator[WebServer]:
    with WebServer() as running:
        yield running


@pytest.fixture(scope="module")
def nginx(service: WebServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    required("nginx")
    directory = tmp_path_factory.mktemp("nginx")
    access = directory / "access.json.log"
    config = (DEPLOY / "logferry.conf").read_text().replace("/var/log/nginx/access.json.log", str(access))
    (directory / "logferry.conf").write_text(config)
    http = f"""
include {directory}/logferry.conf;
server {{
    listen 127.0.0.1:{{PORT}};
    location / {{ proxy_pass http://127.0.0.1:{service.port}; include {DEPLOY}/logferry-proxy.conf; }}
    location /own {{ return 404; }}
}}
"""
    with Nginx(directory, http) as server:
        yield server


def ask(nginx: Nginx, path: str = "/orders", **headers: str) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=20)
    connection.request(
        "GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


def logged(nginx: Nginx, number: int) -> dict[str, Any]:
    """The event of the last of so many requests."""
    deadline = time.monotonic() + 20
    while True:
        lines = nginx.access.read_bytes().split(b"\n")[:-1] if nginx.access.exists() else []
        if len(lines) >= number:
            assert len(lines) == number
            event: dict[str, Any] = json.loads(lines[-1].decode("utf-8", "replace"))
            return event
        assert time.monotonic() < deadline, (nginx.directory / "error.log").read_text()
        time.sleep(0.01)


def count(nginx: Nginx) -> int:
    return nginx.access.read_bytes().count(b"\n") if nginx.access.exists() else 0


CASES: dict[str, tuple[dict[str, str], str]] = {
    "traceparent": ({"traceparent": f"00-{TRACE}-{SPAN}-00"}, "joined"),
    "a later version": ({"traceparent": f"cc-{TRACE}-{SPAN}-01-what.comes"}, "joined"),
    "random flag": ({"traceparent": f"00-{TRACE}-{SPAN}-03"}, "joined"),
    "traceparent wins": ({"traceparent": f"00-{TRACE}-{SPAN}-01", "X_Request_ID": "mine"}, "joined"),
    "uuid": ({"X_Request_ID": UUID}, "began"),
    "x-trace-id": ({"X_Trace_ID": TRACE, "X_Request_ID": "mine"}, "began"),
    "b3": ({"b3": f"{TRACE}-{SPAN}-1"}, "left"),
    "b3 in several": ({"X_B3_TraceId": TRACE, "X_B3_SpanId": SPAN}, "left"),
    "short b3": ({"b3": f"{TRACE[:16]}-{SPAN}"}, "left"),
    "another form": ({"X_Request_ID": "order:42.a"}, "left"),
    "upper case": ({"X_Request_ID": TRACE.upper()}, "left"),
    "nothing": ({}, "made"),
    "malformed request id": ({"X_Request_ID": "a b"}, "made"),
    "too long": ({"X_Request_ID": "a" * 129}, "made"),
    "version ff": ({"traceparent": f"ff-{TRACE}-{SPAN}-01"}, "made"),
    "zeros": ({"traceparent": f"00-{'0' * 32}-{SPAN}-01"}, "made"),
    "zero parent": ({"traceparent": f"00-{TRACE}-{'0' * 16}-01"}, "made"),
    "version 00 is exact": ({"traceparent": f"00-{TRACE}-{SPAN}-01-more"}, "made"),
    "upper-case traceparent": ({"traceparent": f"00-{TRACE.upper()}-{SPAN}-01"}, "made"),
    "zeros as a request id": ({"X_Request_ID": "0" * 32}, "made"),
    "zeros as a UUID": ({"X_Trace_ID": "00000000-0000-0000-0000-000000000000"}, "made"),
}


@pytest.mark.parametrize("case", CASES)
def test_ids(nginx: Nginx, service: WebServer, case: str) -> None:
    """The service comes to the trace that it would have come to without nginx.

    Log, service and answer agree.
    """
    headers, what = CASES[case]
    number = count(nginx) + 1
    answer = ask(nginx, "/orders", **headers)
    seen = service.seen[-1].headers
    event = logged(nginx, number)
    alone = from_headers({name.replace("_", "-"): value for name, value in headers.items()})
    behind = from_headers(seen)
    assert answer.headers.get_all("X-Request-ID") == [seen["x-request-id"]]
    assert event["request_id"] == behind.request_id == (alone.request_id or behind.request_id)
    assert behind.request_id
    if alone.trace_id:
        assert behind.trace_id == alone.trace_id
    if what == "made":
        assert re.fullmatch("[0-9a-f]{32}", event["trace_id"])
        assert event["trace_id"] == event["request_id"] == behind.trace_id
    if what in {"joined", "began", "made"}:
        assert behind.parent_id == event["span_id"] != SPAN
        assert event["trace_id"] == behind.trace_id
        assert (behind.sampled, behind.random) == (alone.sampled is not False, alone.random)
    if what == "joined":
        assert event["parent_id"] == SPAN
    if what == "left":
        assert "traceparent" not in seen
        assert behind == alone or not alone.request_id
        assert event["trace_id"].lower() in {alone.trace_id, ""}
        assert event["trace_id"] or event["correlation_id"] == alone.request_id


def test_the_log_is_the_schemas(nginx: Nginx, tmp_path: Path) -> None:
    """The agent takes every line as it is: hostile headers, other statuses, no HTTP at all."""
    before = nginx.access.stat().st_size if nginx.access.exists() else 0
    number = count(nginx)
    ask(
        nginx,
        "/orders?password=hunter2",
        User_Agent='"},{"level":"DEBUG\\',
        traceparent=f"00-{TRACE}-{SPAN}-01",
    )
    ask(nginx, "/status/503", User_Agent="caf\xe9 \xff")
    ask(nginx, "/own")
    with socket.create_connection(("127.0.0.1", nginx.port)) as raw:
        raw.sendall(b"\x16\x03\x01 not http \xff\r\n\r\n")
        raw.recv(4096)
    logged(nginx, number + 4)
    log = tmp_path / "access.json.log"
    log.write_bytes(nginx.access.read_bytes()[before:])
    settings = yaml.safe_load((DEPLOY / "agent.yaml").read_text())
    settings["sources"]["nginx"]["include"] = [str(log)]
    settings["sinks"] = {"out": {"type": "file", "path": str(tmp_path / "out.ndjson")}}
    settings["spool"] = {"path": str(tmp_path / "spool")}
    (tmp_path / "agent.yaml").write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "logferry", "run", "-c", "agent.yaml", "--once"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in (tmp_path / "out.ndjson").read_text().splitlines()]
    first, failed, own, junk = (event for event in found if event.get("kind") == "access")
    assert "hunter2" not in json.dumps(found)
    assert (first["trace_id"], first["parent_id"], first["level"]) == (TRACE, SPAN, "INFO")
    assert (first["method"], first["path"], first["status_code"]) == ("GET", "/orders", 200)
    assert first["user_agent"] == '"},{"level":"DEBUG\\'
    assert (first["service"], first["client_ip"], first["bytes"]) == ("edge", "127.0.0.1", 12)
    assert first["duration_le"]
    assert (failed["level"], failed["failed"], failed["status_code"]) == ("ERROR", True, 503)
    assert (own["status_code"], own["upstream"]) == (404, "")
    assert junk["status_code"] == 400
    names = {field.name for field in FIELDS}
    for event in found[:4]:
        assert set(event) - names <= {"upstream", "upstream_seconds", "log_file"}, set(event) - names
        assert "extra" not in event


def test_durations() -> None:
    """Every number of milliseconds is a number in JSON, and the right one."""
    config = (DEPLOY / "logferry.conf").read_text()
    (block,) = re.findall(r"map \$request_time \$logferry_duration_ms \{\n(.*?)\n\}", config, re.DOTALL)
    rules = re.findall(r'"~(.*?)"\s+(\S+);', block.replace("?<", "?P<"))
    for ms in (*range(1200), 9_999, 10_000, 60_001, 3_600_000):
        text = f"{ms // 1000}.{ms % 1000:03d}"
        made = next(
            (
                re.sub(r"\$(\w+)", lambda name: match[name[1]], value)
                for rule, value in rules
                if (match := re.search(rule, text))
            ),
            "0",
        )
        assert json.loads(made) == ms
