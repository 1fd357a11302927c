"""The agent as a service: the unit as systemd's verifier sees it, and the agent as its manager does."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from servers.faults import FaultServer, answer, hang

pytestmark = pytest.mark.integration

CONFIG = """\
service: edge
shutdown_timeout: 2s
spool: {{path: spool}}
sinks:
  out: {{type: http, url: "{url}", timeout: 30s}}
sources:
  app: {{type: file, include: [in/*.log]}}
"""


def unit(place: Path, url: str) -> dict[str, list[str]]:
    """Write the unit; return its directives."""
    (place / "in").mkdir(exist_ok=True)
    (place / "logferry.yaml").write_text(CONFIG.format(url=url))
    command = [sys.executable, "-m", "logferry", "install-service", "-c", str(place / "logferry.yaml")]
    subprocess.run([*command, "--directory", str(place), "--force"], check=True, capture_output=True)
    found: dict[str, list[str]] = {}
    for line in (place / "logferry.service").read_text().splitlines():
        name, separates, value = line.partition("=")
        if separates and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemds_verifier_finds_nothing(tmp_path: Path) -> None:
    """Not a word from `systemd-analyze verify`; and of a unit with a mistake there are some."""
    unit(tmp_path, "http://127.0.0.1:9")
    verify = ["systemd-analyze", "verify", "--man=no", str(tmp_path / "logferry.service")]
    good = subprocess.run(verify, check=False, capture_output=True, text=True, timeout=60)
    ours = [line for line in good.stderr.splitlines() if "logferry" in line]
    assert (good.returncode, ours) == (0, []), good.stderr
    text = (tmp_path / "logferry.service").read_text()
    (tmp_path / "logferry.service").write_text(text.replace("Type=notify", "Type=notifies"))
    bad = subprocess.run(verify, check=False, capture_output=True, text=True, timeout=60)
    assert "notifies" in bad.stderr


def test_started_stopped_and_started_again_as_the_unit_says(tmp_path: Path) -> None:
    """READY and STOPPING come; a sink that hangs does not hold up the stop; what waits goes out next time."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.log").write_text("one\ntwo\n")
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.settimeout(60)
    environ = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}

    def start(said: dict[str, list[str]]) -> subprocess.Popen[bytes]:
        check = subprocess.run(shlex.split(said["ExecStartPre"][0]), check=False, capture_output=True)
        assert check.returncode == 0, check.stderr
        process = subprocess.Popen(shlex.split(said["ExecStart"][0]), env=environ, stderr=subprocess.DEVNULL)
        assert "READY=1" in manager.recv(65536).decode().splitlines()
        return process

    def end(process: subprocess.Popen[bytes], said: dict[str, list[str]]) -> None:
        process.send_signal(signal.SIGTERM)
        assert manager.recv(65536) == b"STOPPING=1"
        assert process.wait(float(said["TimeoutStopSec"][0].removesuffix("s"))) == 0

    with FaultServer(rest=hang()) as deaf:
        said = unit(tmp_path, deaf.url)
        assert said["Type"] == ["notify"]
        assert said["TimeoutStopSec"] == ["27s"]
        process = start(said)
        deadline = time.monotonic() + 60
        while not deaf.requests:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        end(process, said)
    with FaultServer(rest=answer(200)) as server:
        said = unit(tmp_path, server.url)
        process = start(said)
        deadline = time.monotonic() + 60
        while b"".join(request.body for request in server.requests).count(b'"message":"') < 2:
            assert time.monotonic() < deadline, server.requests
            time.sleep(0.02)
        end(process, said)
        body = b"".join(request.body for request in server.requests)
        assert [body.count(b'"message":"%s"' % word) for word in (b"one", b"two")] == [1, 1]
    manager.close()
