"""docs/agent.md, done by a newcomer: real nginx and PostgreSQL, their logs in a real Loki."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from servers.debian import Nginx, Postgres, required
from servers.loki import LokiServer

pytestmark = pytest.mark.integration

PAGE = Path(__file__).parents[2] / "docs/agent.md"
TRACE = "0af7651916cd43dd8448eb211c80319c"


def configuration(place: Path, nginx: Path, postgresql: Path, loki: str) -> None:
    """The page's configuration, with this test's places in place of a machine's."""
    found = re.search(r"```yaml\n# logferry.yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    text = found[1]
    places = {
        "[/var/log/nginx/*.log]": f"['{nginx}/*.log']",
        "[/var/log/postgresql/*.log]": f"['{postgresql}']",
        "http://localhost:3100": loki,
    }
    for theirs, ours in places.items():
        assert theirs in text
        text = text.replace(theirs, ours)
    (place / "logferry.yaml").write_text(f"spool: {{path: {place}/spool}}\n{text}")


def test_the_page(tmp_path: Path) -> None:
    """Access log, error log and the database's log arrive: parsed, redacted, with the trace, once."""
    for name in ("nginx", "postgresql"):
        required(name)
    import psycopg

    nginx_dir = tmp_path / "nginx"
    server = "server { listen 127.0.0.1:{PORT}; root /usr/share; location /down { return 503; } }"
    access = f"access_log {nginx_dir}/access.log combined;\n{server}"
    loki = LokiServer(tmp_path / "loki").start()
    try:
        with Nginx(nginx_dir, access) as nginx, Postgres(tmp_path / "postgresql") as database:
            configuration(tmp_path, nginx_dir, tmp_path / "postgresql" / "output", loki.url)
            for path in ("/down?token=hunter2secret", "/nowhere", *(f"/down?n={n}" for n in range(20))):
                connection = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=20)
                connection.request("GET", path)
                connection.getresponse().read()
                connection.close()
            with psycopg.connect(database.url, autocommit=True) as session:
                with pytest.raises(psycopg.errors.UndefinedTable):
                    session.execute("SELECT * FROM nowhere")
                session.execute(f"SELECT 1 /*traceparent='00-{TRACE}-b7ad6b7169203331-01'*/")
        events = shipped(tmp_path, loki)
        asked(loki)
    finally:
        loki.kill()
    accesses = [event for event in events if event.get("kind") == "access"]
    assert len(accesses) == 22
    assert {event["service"] for event in accesses} == {"nginx"}
    assert sum(event["status_code"] == 503 for event in accesses) == 21
    assert "hunter2secret" not in json.dumps(events)
    (missing,) = [event for event in events if event["logger"] == "nginx.error" and event["level"] == "ERROR"]
    assert missing["path"] == "/nowhere"
    database_events = [event for event in events if event["service"] == "postgresql"]
    (failed,) = [event for event in database_events if event["level"] == "ERROR"]
    assert failed["statement"] == "SELECT * FROM nowhere"
    traced = [event for event in database_events if event["trace_id"] == TRACE]
    assert traced
    assert traced[0]["duration_ms"] > 0
    assert not [event for event in events if "parse_error" in event]


def shipped(place: Path, loki: LokiServer) -> list[Any]:
    """Run the agent until all is in Loki, twice: the second time there is nothing more to send."""
    command = [sys.executable, "-m", "logferry", "run", "-c", str(place / "logferry.yaml")]
    environ = {**os.environ, "HOME": str(place), "XDG_STATE_HOME": str(place / "state")}
    counts = []
    for _ in range(2):
        with (place / "agent").open("ab") as output:
            agent = subprocess.Popen(command, cwd=place, env=environ, stdout=output, stderr=output)
        try:
            deadline = time.monotonic() + 90
            while True:
                events = held(loki)
                done = [event for event in events if event.get("trace_id") == TRACE]
                if done and sum(event.get("kind") == "access" for event in events) >= 22:
                    break
                assert agent.poll() is None, (place / "agent").read_text()
                assert time.monotonic() < deadline, (events[-3:], (place / "agent").read_text())
                time.sleep(0.1)
            agent.send_signal(signal.SIGTERM)
            assert agent.wait(60) in {0, -signal.SIGTERM}, (place / "agent").read_text()
        finally:
            agent.kill()
            agent.wait()
        counts.append(len(held(loki)))
    assert counts[0] <= counts[1]
    events = held(loki)
    queries = [event["query"] for event in events if event.get("query")]
    assert len(queries) == len(set(queries)) == 21
    return events


def asked(loki: LokiServer) -> None:
    """Each query that the page shows finds something."""
    page = PAGE.read_text()
    block = re.search(r"## 5\. Look\n.*?```text\n(.*?)```", page, re.DOTALL)
    traced = re.search(r"`(\{[^`]*trace_id=\"…\"[^`]*)`", page)
    assert block is not None
    assert traced is not None
    now = time.time_ns()
    for query in (*block[1].splitlines(), traced[1].replace("…", TRACE)):
        window = {"start": now - 600 * 10**9, "end": now + 60 * 10**9, "step": "30s"}
        found = loki.get("/loki/api/v1/query_range", query=query, **window)
        assert found["data"]["result"], query


def held(loki: LokiServer) -> list[Any]:
    now = time.time_ns()
    found = loki.entries('{service=~".+"}', now - 3600 * 10**9, now + 60 * 10**9)
    return [json.loads(line) for _, line, _ in found]
