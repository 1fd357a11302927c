"""Reloads under load: configurations good and bad, at random moments; in the end each line once by its id."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from effort import effort

from logferry.shipper.courier.board import Board
from logferry.shipper.spool.claim import delivery_is_claimed
from logferry.shipper.store import Store

pytestmark = pytest.mark.integration

HEAD = "service: ship\nspool: {path: spool}\n"
SOURCE = "{type: file, include: [in/*.log], poll_interval: 20ms, scan_interval: 50ms}"
GOOD = [
    HEAD + "sinks: {here: {type: local, path: logs, compact: 'off'}}\nsources: {app: " + SOURCE + "}\n",
    HEAD
    + "sinks: {here: {type: local, path: logs, compact: 'off'}, out: {type: file, path: out.ndjson}}\n"
    + "sources: {app: "
    + SOURCE
    + "}\n",
    HEAD
    + "shutdown_timeout: 3s\nsinks: {here: {type: local, path: logs, compact: 'off'},"
    + " dead: {type: loki, url: 'http://127.0.0.1:9'}}\n"
    + "sources: {more: {type: file, include: [other/*.log]}, app: "
    + SOURCE
    + "}\n",
]
BAD = [
    (HEAD + "sinks: {here: {type: locl, path: logs}}\n", "no sink has the type 'locl'"),
    (HEAD + "sinks: [", "logferry.yaml:"),
    ("", "logferry.yaml"),
    (GOOD[0].replace("path: spool", "path: elsewhere"), "spool.path cannot change"),
    (GOOD[0].replace("service: ship", "service: boat"), "service cannot change"),
    (GOOD[0].replace("{path: spool}", "memory"), "a spool in memory cannot be handed over"),
]


def until(condition: Callable[[], bool], what: object, seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what() if callable(what) else what
        time.sleep(0.02)


class Run:
    """A `logferry run` whose words are read as they come, and a service manager that listens."""

    def __init__(self, place: Path, *args: str, stdin: int | None = None) -> None:
        self.place = place
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(str(place / "notify"))
        self.manager.settimeout(30)
        self.errors = place / "errors"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "logferry", "run", *args],
                cwd=place,
                stdin=stdin,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={**os.environ, "NOTIFY_SOCKET": str(place / "notify")},
            )

    def said(self) -> str:
        return self.errors.read_text()

    def told(self) -> dict[str, str]:
        text = self.manager.recv(65536).decode()
        return dict(line.split("=", 1) for line in text.splitlines())

    def reload(self, text: str) -> str:
        """Write a configuration, ask for it, wait for the end of the reload; return what was said."""
        before = len(self.said())
        (self.place / "logferry.yaml").write_text(text)
        self.process.send_signal(signal.SIGHUP)
        told = self.told()
        assert told["RELOADING"] == "1"
        assert int(told["MONOTONIC_USEC"]) > 0
        assert self.told()["READY"] == "1"
        until(lambda: self.said()[before:].endswith("\n"), self.said)
        return self.said()[before:]

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.told() == {"STOPPING": "1"}
        assert self.process.wait(40) == 0, self.said()


@contextmanager
def running(place: Path, *args: str, **options: Any) -> Iterator[Run]:
    run = Run(place, *args, **options)
    try:
        assert run.told()["READY"] == "1"
        yield run
    finally:
        run.process.kill()
        run.process.wait()
        run.manager.close()


class Writer(threading.Thread):
    """Writes lines to a descriptor, now and then a half one, until it is told to stop."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        super().__init__(daemon=True)
        self.write = write
        self.count = 0
        self.stopping = threading.Event()

    def run(self) -> None:
        while not self.stopping.is_set():
            lines = b"".join(b"line %d %s\n" % (self.count + i, b"x" * 80) for i in range(100))
            half = random.randrange(len(lines))
            self.write(lines[:half])
            time.sleep(0.001)
            self.write(lines[half:])
            self.count += 100
            time.sleep(0.005)

    def stop(self) -> int:
        self.stopping.set()
        self.join(30)
        return self.count


def stored(place: Path) -> Counter[str]:
    """The numbers of the lines in the store, by event id: what was read twice has two ids."""
    if not (place / "logs" / "fresh").exists():
        return Counter()
    rows = Store(place / "logs").query("", limit=None)
    return Counter(row["message"].split()[1] for row in rows if row["message"].startswith("line "))


def audit(place: Path) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "logferry", "audit", "--spool", "spool"],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return [json.loads(line) for line in done.stdout.splitlines()]


def assert_all_once(place: Path, count: int) -> None:
    found = stored(place)
    twice = [number for number, times in found.items() if times > 1]
    lost = {str(n) for n in range(count)} - set(found)
    assert (len(twice), len(lost)) == (0, 0), (twice[:5], sorted(lost)[:5])
    assert set(found) == {str(n) for n in range(count)}
    [here] = [row for row in audit(place) if row["sink"] == "here"]
    assert (here["pending"], here["unaccounted"], here["dropped"]) == (0, 0, {})


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "logferry.yaml").write_text(GOOD[0])
    return tmp_path


def test_reloads_under_load(place: Path) -> None:
    """Reloads at random moments, also while a sink is dead: every line is stored once, the books balance."""
    with (place / "in" / "a.log").open("wb", buffering=0) as file, running(place) as run:
        writer = Writer(file.write)
        writer.start()
        for number in range(effort(10)):
            time.sleep(random.random() * 0.4)  # any moment is as good as another: that is what is shown
            if number % 3 == 2:
                text, complaint = random.choice(BAD)
                said = run.reload(text)
                assert complaint in said
                assert "the old one goes on" in said
            else:
                assert "reloaded in" in run.reload(GOOD[(number + 1) % len(GOOD)])
        assert "reloaded in" in run.reload(GOOD[0])
        count = writer.stop()
        until(lambda: len(stored(place)) == count, lambda: f"{len(stored(place))} of {count}\n{run.said()}")
        descriptors = len(list(Path(f"/proc/{run.process.pid}/fd").iterdir()))
        threads = len(list(Path(f"/proc/{run.process.pid}/task").iterdir()))
        run.end()
        assert "Traceback" not in run.said()
    assert descriptors < 40, "files of old pipelines are open still"
    assert threads < 12, "threads of old pipelines run still"
    assert_all_once(place, count)


def test_reloads_of_a_pipe(place: Path) -> None:
    """A pipe cannot be read again: no line is lost, torn or doubled by a reload."""
    text = GOOD[0].replace(SOURCE, "{type: stdin, parser: text}")
    (place / "logferry.yaml").write_text(text)
    ours, its = os.pipe()
    with running(place, stdin=ours) as run:
        os.close(ours)
        writer = Writer(lambda data: os.write(its, data))
        writer.start()
        for _ in range(effort(4)):
            time.sleep(random.random() * 0.4)
            assert "reloaded in" in run.reload(text)
        count = writer.stop()
        until(lambda: len(stored(place)) >= count, lambda: f"{len(stored(place))} of {count}\n{run.said()}")
        run.end()
    os.close(its)
    assert_all_once(place, count)
    whole = {len(row["message"].split()[2]) for row in Store(place / "logs").query("", limit=None)}
    assert whole == {80}


def test_watched(place: Path) -> None:
    """With `--watch` a change of the file is taken without a signal; a bad one is said once."""
    (place / "in" / "a.log").write_text("line 0 x\n")
    with running(place, "--watch") as run:
        (place / "logferry.yaml").write_text(BAD[0][0])
        until(lambda: "the old one goes on" in run.said(), run.said)
        (place / "logferry.yaml").write_text(GOOD[1])
        until(lambda: "reloaded in" in run.said(), run.said)
        with (place / "in" / "a.log").open("a") as file:
            file.write("line 1 x\n")
        until((place / "out.ndjson").exists, run.said)
        assert run.said().count("the old one goes on") == 1
        run.process.send_signal(signal.SIGTERM)
        assert run.process.wait(40) == 0


def test_a_hang_up_before_it_runs(place: Path) -> None:
    """A configuration manager that writes and signals at once: it is reloaded as soon as it runs."""
    path = place / "logferry.yaml"
    text = path.read_text()
    path.unlink()
    os.mkfifo(path)  # it begins to read the configuration, and waits
    run = Run(place)
    try:
        until(lambda: catches(run.process.pid, signal.SIGHUP), run.said)
        run.process.send_signal(signal.SIGHUP)
        path.write_text(text)
        assert run.told()["READY"] == "1"
        assert run.told()["RELOADING"] == "1"
        path.write_text(text)
        assert run.told()["READY"] == "1"
        run.end()
    finally:
        run.process.kill()
        run.process.wait()
        run.manager.close()


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal."""
    (mask,) = re.findall(r"^SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return bool(int(mask, 16) >> (number - 1) & 1)


def test_a_port_that_is_taken(place: Path) -> None:
    """A new configuration that does not start makes way for the old one, and nothing is missing."""
    with socket.create_server(("127.0.0.1", 0)) as taken, running(place) as run:
        bad = GOOD[0] + f"metrics: {{listen: '127.0.0.1:{taken.getsockname()[1]}'}}\n"
        (place / "in" / "a.log").write_text("line 0 x\n")
        assert "cannot start" in run.reload(bad)
        with (place / "in" / "a.log").open("a") as file:
            file.write("line 1 x\n")
        until(lambda: len(stored(place)) == 2, run.said)
        run.end()
    assert_all_once(place, 2)


APPLICATION = """
import logging, sys, time
import logferry
logferry.configure("logferry.yaml")
log = logging.getLogger("shop")
log.setLevel("INFO")
for number in range(int(sys.argv[1])):
    log.info("line %d", number)
    if number % 50 == 0:
        time.sleep(0.01)
"""


def test_reloads_of_an_agent_that_reads_spools(place: Path) -> None:
    """The applications' spools change hands with every reload, under their own ids: all delivered, once."""
    agent = (
        "service: agent\nspool: {path: state}\nsinks: {here: {type: local, path: logs, compact: 'off'}}\n"
        "sources: {apps: {type: spool, path: spool}}\n"
    )
    (place / "app.yaml").write_text(
        "service: ship\nenvironment: test\nspool: {path: spool}\ndelivery: agent\n"
    )
    (place / "logferry.yaml").write_text(agent)
    program = APPLICATION.replace("logferry.yaml", "app.yaml")
    application = subprocess.Popen([sys.executable, "-c", program, "20000"], cwd=place)
    try:
        with running(place) as run:
            for _ in range(effort(5)):
                time.sleep(random.random() * 0.4)
                assert "reloaded in" in run.reload(agent)
            assert application.wait(60) == 0
            until(lambda: len(stored(place)) == 20_000, lambda: f"{len(stored(place))}\n{run.said()}")
            run.end()
    finally:
        application.kill()
        application.wait()
    assert_all_once(place, 20_000)


def test_a_hang_up_does_not_end_a_delivery_process(place: Path) -> None:
    """SIGHUP (an administrator's, for a reload) leaves the process that delivers where it is."""
    (place / "logferry.yaml").write_text(
        HEAD
        + "environment: test\ndelivery: process\nsinks: {here: {type: local, path: logs, compact: 'off'}}\n"
    )
    service = place / "spool" / "ship"
    application = subprocess.Popen([sys.executable, "-c", APPLICATION, "10000"], cwd=place)
    try:
        until(lambda: (notice := Board(service).read()) is not None and notice.pid > 0, "no notice")
        notice = Board(service).read()
        assert notice is not None
        for _ in range(10):
            os.kill(notice.pid, signal.SIGHUP)
            time.sleep(random.random() * 0.1)
        assert application.wait(60) == 0
        until(lambda: (place / "logs").exists() and len(stored(place)) == 10_000, "not all delivered")
        after = Board(service).read()
        assert delivery_is_claimed(service)
        assert after is not None
        assert after.pid == notice.pid
    finally:
        application.kill()
        application.wait()
    until(lambda: not delivery_is_claimed(service), "it does not end by itself")
    assert_all_once(place, 10_000)
