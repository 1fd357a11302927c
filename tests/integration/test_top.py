"""`logferry top` beside real pipelines: an application, its delivery process, an agent with a dead sink."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration

AGENT = """\
service: ship
spool: {path: spool}
sinks:
  here: {type: local, path: logs, compact: 'off'}
  dead: {type: loki, url: 'http://127.0.0.1:9'}
sources: {app: {type: file, include: [in/*.log], poll_interval: 20ms}}
"""
APPLICATION = """\
service: checkout
environment: test
spool: {path: spool}
delivery: DELIVERY
logging: {console: 'off'}
sinks: {here: {type: file, path: DELIVERY.ndjson}}
"""
PROGRAM = """
import logging, sys, time
import logferry
logferry.configure("app.yaml")
log = logging.getLogger("shop")
print("up", flush=True)
while True:
    log.info("hello")
    time.sleep(0.01)
"""


def until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + 40
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
    return found


class Cast:
    """Starts processes and ends them."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, *command: str, **options: Any) -> subprocess.Popen[bytes]:
        options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | options
        process = subprocess.Popen([sys.executable, *command], cwd=self.place, **options)
        self.running.append(process)
        return process

    def look(self) -> dict[str, dict[str, Any]]:
        command = [sys.executable, "-m", "logferry", "top", "--once"]
        done = subprocess.run(command, cwd=self.place, capture_output=True, timeout=60, check=True)
        return {row["service"]: row for row in map(json.loads, done.stdout.splitlines())}

    def end(self) -> None:
        for process in self.running:
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()


@pytest.fixture
def cast(tmp_path: Path) -> Any:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.log").write_text("".join(f"line {n}\n" for n in range(100)))
    (tmp_path / "logferry.yaml").write_text(AGENT)
    made = Cast(tmp_path)
    yield made
    made.end()


def kinds(row: dict[str, Any]) -> set[str]:
    return {one["kind"] for one in row["processes"]}


@pytest.mark.parametrize("delivery", ["thread", "process"])
def test_an_application_and_an_agent(cast: Cast, delivery: str) -> None:
    """Who works, how fast, what waits, for how long and why, from the files; gone when they are gone."""
    (cast.place / "app.yaml").write_text(APPLICATION.replace("DELIVERY", delivery))
    agent = cast.start("-m", "logferry", "run")
    application = cast.start("-c", PROGRAM)
    expected = {"application"} | ({"delivery process"} if delivery == "process" else set())

    def settled() -> Any:
        rows = cast.look()
        if {"ship", "checkout"} - rows.keys():
            return None
        sinks = {one["sink"]: one for one in rows["ship"]["sinks"]}
        here = rows["checkout"]["sinks"][0]
        ready = "dead" in sinks and sinks["dead"]["state"] == "retrying" and here["state"] == "ok"
        moving = rows["checkout"]["accepted_per_second"] and here["delivered_per_second"]
        return rows if ready and moving and kinds(rows["checkout"]) == expected else None

    rows = until(settled, f"never as it should be: {cast.look()}")
    ship = {one["sink"]: one for one in rows["ship"]["sinks"]}
    assert kinds(rows["ship"]) == {"agent"}
    assert (ship["here"]["delivered"], ship["here"]["pending"]) == (100, 0)
    assert (ship["dead"]["delivered"], ship["dead"]["pending"]) == (0, 100)
    assert ship["dead"]["oldest_seconds"] > 0
    assert "connection refused" in ship["dead"]["error"]
    assert "connection refused" in rows["ship"]["last_error"]
    [source] = rows["ship"]["sources"]
    assert (source["source"], source["parts"], source["behind_bytes"]) == ("app", 1, 0)
    assert 20 < rows["checkout"]["accepted_per_second"] < 150
    assert all(one["unaccounted"] == 0 for row in rows.values() for one in row["sinks"])
    for process in (agent, application):
        process.send_signal(signal.SIGKILL)
        process.wait()
    rows = cast.look()
    assert kinds(rows["ship"]) == set()
    assert {one["sink"]: one["state"] for one in rows["ship"]["sinks"]}["dead"] == "nobody delivers"


def test_on_a_terminal_q_ends_it(cast: Cast) -> None:
    """It draws on the other page of the terminal, a key ends it, and the terminal is as it was."""
    cast.start("-m", "logferry", "run")
    until(lambda: cast.look().get("ship"), "no agent")
    ours, its = pty.openpty()
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "30"}
    process = cast.start(
        "-m", "logferry", "top", "--interval", "200ms", stdin=its, stdout=its, stderr=its, env=environ
    )
    shown = b""
    try:
        while b"last error" not in shown or b"q ends" not in shown:
            assert select.select([ours], [], [], 30)[0], shown
            shown += os.read(ours, 65536)
        os.write(ours, b"q")
        os.close(its)
        with suppress(OSError):
            while block := os.read(ours, 65536):
                shown += block
        assert process.wait(20) == 0
    finally:
        os.close(ours)
    assert b"\x1b[?1049h" in shown
    assert {b"\x1b[?25h", b"\x1b[?1049l"} <= {shown[-14:][:6], shown[-8:]}
    assert b"Traceback" not in shown
