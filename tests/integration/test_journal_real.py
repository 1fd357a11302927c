"""systemd's journal: files that systemd's own programs wrote, read by `logferry run`, killed in between.

One test has a systemd and a journald of its own (`servers/systemd.py`), with services that write tracebacks;
for the others systemd-journal-remote writes what they say.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from servers.debian import home, required
from servers.systemd import Systemd

from logferry.shipper.core.parse import parse

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

BOOT = "0123456789abcdef0123456789abcdef"


class Journal:
    """A journal that grows: systemd-journal-remote writes what stands in its input."""

    def __init__(self, directory: Path) -> None:
        required("journal-remote")
        pytest.importorskip("cysystemd")
        root = home("journal-remote")
        (program,) = root.rglob("systemd/systemd-journal-remote")
        libraries = {str(path.parent) for path in root.rglob("lib*.so*")}
        beside = [
            *sorted(libraries),
            "/lib/systemd",
            *map(str, Path("/usr/lib").glob("*-linux-gnu*/systemd")),
        ]
        self.directory = directory
        directory.mkdir()
        self.process = subprocess.Popen(
            [str(program), "-o", str(directory / "system.journal"), "-"],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "LD_LIBRARY_PATH": ":".join(beside)},
        )
        self.written = 0

    def write(self, number: int, **more: str) -> None:
        """Write so many entries."""
        assert self.process.stdin is not None
        for at in range(self.written, self.written + number):
            fields = {
                "__REALTIME_TIMESTAMP": str(1_767_000_000_000_000 + at),
                "__MONOTONIC_TIMESTAMP": str(1 + at),
                "_BOOT_ID": BOOT,
                "MESSAGE": f"entry {at}",
                "PRIORITY": "3",
                "SYSLOG_IDENTIFIER": "app",
                "_PID": "77",
                "_HOSTNAME": "box",
                "_SYSTEMD_UNIT": f"unit{at % 2}.service",
                "ORDER_ID": str(at),
                **more,
            }
            text = "".join(f"{name}={value}\n" for name, value in fields.items())
            self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()
        self.written += number

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)


@pytest.fixture
def journal(tmp_path: Path) -> Any:
    made = Journal(tmp_path / "journal")
    yield made
    made.close()


def agent(place: Path, *options: str, **source: Any) -> subprocess.Popen[bytes]:
    place.mkdir(exist_ok=True)
    config = {
        "service": "agent",
        "spool": {"path": "spool"},
        "sinks": {"here": {"type": "local", "path": "logs", "compact": "off"}},
        "sources": {"system": {"type": "journald", **source}},
    }
    (place / "logferry.yaml").write_text(yaml.safe_dump(config))
    with (place / "said").open("ab") as said:
        command = [sys.executable, "-m", "logferry", "run", *options]
        return subprocess.Popen(command, cwd=place, stdout=said, stderr=said)


def stored(place: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for file in sorted((place / "logs" / "fresh").glob("*.ndjson"))
        for line in file.read_bytes().splitlines()
        if b'"kind":"death"' not in line
    ]


def until(true: Callable[[], object], what: Callable[[], str], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what()
        time.sleep(0.02)


def test_followed_and_killed(journal: Journal, tmp_path: Path) -> None:
    """Each entry once, in order, whatever was killed; what comes later is seen at once."""
    place, source = tmp_path / "agent", {"directory": str(journal.directory)}
    journal.write(700)
    until((journal.directory / "system.journal").exists, lambda: "no journal")
    for more in (300, 5, 400):
        process = agent(place, **source)
        before = len(stored(place))
        until(lambda before=before: len(stored(place)) > before, (place / "said").read_text)  # type: ignore[misc]
        journal.write(more)
        process.send_signal(signal.SIGKILL)
        process.wait()
    process = agent(place, **source)
    try:
        until(lambda: len(stored(place)) >= journal.written, (place / "said").read_text)
        journal.write(1)
        until(lambda: len(stored(place)) >= journal.written, (place / "said").read_text)
    finally:
        process.terminate()
        assert process.wait(60) == 0, (place / "said").read_text()
    events = stored(place)
    assert sorted(event["message"] for event in events) == sorted(
        f"entry {n}" for n in range(journal.written)
    )
    event = next(event for event in events if event["message"] == "entry 7")
    assert event["timestamp"] == "2025-12-29T09:20:00.000007Z"
    assert (event["level"], event["service"], event["host"], event["process"]) == ("ERROR", "app", "box", 77)
    assert (event["unit"], event["order_id"]) == ("unit1.service", "7")


def test_once_and_of_some_units(journal: Journal, tmp_path: Path) -> None:
    """Read to its present end, of one unit only."""
    journal.write(40)
    journal.close()
    place = tmp_path / "agent"
    process = agent(place, "--once", directory=str(journal.directory), units=["unit1.service"])
    assert process.wait(60) == 0, (place / "said").read_text()
    assert [int(event["order_id"]) for event in stored(place)] == list(range(1, 40, 2))


JOURNALD = """\
[Unit]
DefaultDependencies=no
[Service]
Type=notify
ExecStartPre=/bin/mkdir -p /run/systemd/journald.conf.d
ExecStartPre=/bin/cp {place}/journald.conf /run/systemd/journald.conf.d/tests.conf
ExecStart=/lib/systemd/systemd-journald
StandardOutput=null
"""
ALONE = "[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\nRateLimitBurst=0\n"
SERVICE = """\
[Unit]
DefaultDependencies=no
[Service]
Type={kind}
WorkingDirectory={place}
ExecStart={command}
Restart={restart}
RestartSec=0
StandardOutput={output}
"""
SHOP = """
import logging, signal, sys
from cysystemd import journal

logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
shop = logging.getLogger("shop")

def pay(number):
    raise ValueError(f"no card for {number}")

first = int(sys.argv[1])
for number in range(first, first + 100):
    print("<4>told", number, flush=True)
    try:
        pay(number)
    except ValueError:
        shop.exception("order %d failed", number)
    journal.send(message=f"native {number}", priority=journal.Priority.ERROR, ORDER=str(number))
signal.pause()  # of whom has ended journald may not know the unit any more
"""


def test_journald_itself(tmp_path: Path) -> None:
    """A service's tracebacks are one event each; the journal is rotated and the agent killed meanwhile."""
    pytest.importorskip("cysystemd")
    missing = Systemd.missing()
    if missing or not Path("/lib/systemd/systemd-journald").exists():
        pytest.skip(missing or "no systemd-journald here")
    units, place = tmp_path / "units", tmp_path / "agent"
    units.mkdir()
    place.mkdir()
    (place / "journald.conf").write_text(ALONE)
    (place / "shop.py").write_text(SHOP)
    sinks = {"here": {"type": "local", "path": "logs", "compact": "off"}}
    sources = {"system": {"type": "journald", "units": [f"shop{number}.service" for number in range(3)]}}
    config = {"service": "agent", "spool": {"path": "spool"}, "sinks": sinks, "sources": sources}
    (place / "logferry.yaml").write_text(yaml.safe_dump(config))
    (units / "systemd-journald.service").write_text(JOURNALD.format(place=place))
    run = SERVICE.format(
        kind="notify",
        command=f"{sys.executable} -m logferry run",
        restart="always",
        output=f"append:{place}/said",
        place=place,
    )
    (units / "agent.service").write_text(run)
    for number in range(3):
        command = f"{sys.executable} {place}/shop.py {number * 100}"
        text = SERVICE.format(kind="exec", command=command, restart="no", output="journal", place=place)
        (units / f"shop{number}.service").write_text(text)
    with Systemd(units) as systemd:
        if not systemd.is_up():
            pytest.skip("systemd does not come up in namespaces of its own here")

        def told() -> str:
            return "".join(
                systemd.run(*command).stdout for command in (["journalctl"], ["cat", f"{place}/said"])
            )

        for unit in ("systemd-journald", "agent", "shop0"):
            assert systemd.run("systemctl", "start", unit).returncode == 0, told()
        until(lambda: len(stored(place)) > 20, told)
        systemd.run("systemctl", "start", "shop1", "shop2")
        assert systemd.run("journalctl", "--rotate").returncode == 0
        killed = systemd.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "agent")
        assert killed.returncode == 0, killed.stderr
        until(lambda: len(stored(place)) >= 900, told)
        systemd.run("systemctl", "stop", "agent")
        written = systemd.run("journalctl", "-o", "json", "-u", "shop0.service").stdout.encode()
    entries = [entry for line in written.splitlines() if (entry := parse(line)) and entry.service == "python"]
    assert {entry.message for entry in entries} >= {
        f"{word} {n}" for word in ("told", "native") for n in range(100)
    }
    assert {entry.level for entry in entries if entry.message.startswith("native")} == {"ERROR"}
    assert all(entry.timestamp for entry in entries)
    events = stored(place)
    assert sorted(event["message"] for event in events if event["transport"] == "journal") == sorted(
        f"native {number}" for number in range(300)
    )
    warned = [event for event in events if event["level"] == "WARNING"]
    assert sorted(event["message"] for event in warned) == sorted(f"told {number}" for number in range(300))
    failed = {event["error"]["message"]: event for event in events if "error" in event}
    assert set(failed) == {f"no card for {number}" for number in range(300)}
    assert len(events) == 900
    event = failed["no card for 207"]
    assert event["message"].endswith("ERROR shop: order 207 failed")
    assert (event["level"], event["unit"], event["error"]["type"]) == ("ERROR", "shop2.service", "ValueError")
    assert "in pay" in event["error"]["stack"]
