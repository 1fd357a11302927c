"""Every kind of rotation, the agent killed at random, the sink failing on and off: every line once, in order.

In CI some 60,000 lines and 6 kills, and a server that keeps what it takes by the ids; with LOGFERRY_EFFORT=10
(`make prove`) 2 million lines, 50 kills and a real Elasticsearch, which any effort above 1 asks for.

The programs write all the time, but are never more than `AHEAD` lines ahead of the server: so each kill meets
an agent that reads and delivers, not one with hours of backlog. Now and then they wait until all is
delivered: then files are quiet, and what was rotated away is removed. Nothing waits for a time that a slow
machine or server could miss: only for progress, and while the agent runs.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest
import urllib3
from effort import effort, factor
from evidence import Evidence
from programs.rotating import WRITERS, Rotating
from servers.elasticsearch import SearchServer
from servers.faults import Connection, FaultServer, Request, answer
from servers.proxy import FaultProxy
from servers.wire import FAULTS

pytestmark = [pytest.mark.integration, pytest.mark.timeout(3 * 3600)]

REAL = factor() > 1
LINES = round(200_000 * factor()) if REAL else effort(60_000)
KILLS = round(5 * factor()) if REAL else effort(6)
EACH = 5_000 if REAL else 700
AHEAD = 40_000 if REAL else 12_000
QUIET = 0.02  # of the writers' turns begin with everything delivered
STUCK = 300  # seconds without progress
CONFIG = """\
service: ship
spool: {{path: spool}}
sinks: {{there: {sink}}}
sources:
  app:
    type: file
    include: ["in/*.log*", "in/linked.d/*"]
    poll_interval: 20ms
    close_after: 300ms
    max_open_files: 16
"""
SINK_FAULTS = (
    "cut in the request",
    "cut before the answer",
    "500",
    "closed without an answer",
    "503 Retry-After 0",
)
STARTED: list[subprocess.Popen[bytes]] = []
MESSAGE = re.compile(r"\b([a-z]+) (\d+)(?: |$)")


class Held(Protocol):
    """What a server has taken."""

    upstream: str
    sink: str

    def events(self) -> Iterator[tuple[str, str]]:
        """Yield id and message of each event."""
        ...

    def count(self) -> int:
        """Return how many events there are."""
        ...

    def known(self, writers: list[Rotating]) -> dict[str, int]:
        """Return up to which number all lines of each writer are there."""
        ...


class Receiver:
    """Keeps messages by the events' ids, as Elasticsearch does."""

    sink = '{{type: http, url: "{url}/logs", max_batch_events: 2000}}'

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.seen: dict[str, set[int]] = defaultdict(set)
        self.all_up_to: dict[str, int] = defaultdict(int)
        self.server = FaultServer(rest=self.take)
        self.upstream = self.server.url

    def take(self, connection: Connection, request: Request) -> bool:
        self.server.requests.clear()
        for line in request.body.splitlines():
            event = json.loads(line)
            if "log_file" not in event:  # the pipeline's own word on a death
                continue
            self.kept[event["event_id"]] = message = event["message"]
            name, number = name_and_number(message)
            self.seen[name].add(number)
        for name, seen in self.seen.items():
            while self.all_up_to[name] in seen:
                self.all_up_to[name] += 1
        return answer(200)(connection, request)

    def events(self) -> Iterator[tuple[str, str]]:
        return iter(self.kept.items())

    def count(self) -> int:
        return len(self.kept)

    def known(self, writers: list[Rotating]) -> dict[str, int]:
        return dict(self.all_up_to)


class Search:
    """A data stream of a real Elasticsearch."""

    def __init__(self, server: SearchServer) -> None:
        self.server, self.upstream = server, server.url
        self.stream = f"logs-trust-{uuid.uuid4().hex[:8]}"
        self.sink = (
            "{{type: elasticsearch, hosts: ['{url}'], data_stream: "
            + self.stream
            + ", index_settings: {{number_of_replicas: '0'}}}}"
        )
        self.asked, self.found = 0.0, 0
        self.lock = threading.Lock()

    def events(self) -> Iterator[tuple[str, str]]:
        for hit in self.server.hits(self.stream, "log_file:*", source=["message"], sort=[self.server.tie]):
            yield hit["_id"], hit["_source"]["message"]

    def count(self) -> int:
        with self.lock:  # of the test's threads one asks, and not more often than it can have changed
            if time.monotonic() > self.asked + 0.3:
                with contextlib.suppress(
                    RuntimeError, urllib3.exceptions.HTTPError
                ):  # not there yet, or busy
                    answer = self.server.ask("GET", f"/{self.stream}/_count?q=log_file:*")
                    self.found = int(answer["count"])
                self.asked = time.monotonic()
            return self.found

    def known(self, writers: list[Rotating]) -> dict[str, int]:
        if self.count() < sum(writer.written for writer in writers):
            return {}
        return {writer.name: writer.written for writer in writers}


@pytest.fixture
def held(request: pytest.FixtureRequest) -> Iterator[Held]:
    if REAL:
        yield Search(request.getfixturevalue("elasticsearch"))
        return
    receiver = Receiver()
    with receiver.server:
        yield receiver


def agent(place: Path) -> subprocess.Popen[bytes]:
    with (place / "said").open("ab") as said:
        command = [sys.executable, "-m", "logferry", "run"]
        STARTED.append(subprocess.Popen(command, cwd=place, stdout=said, stderr=said))
    return STARTED[-1]


@pytest.fixture(autouse=True)
def none_left() -> Iterator[None]:
    """End the agents that a failed test has left."""
    yield
    for process in STARTED:
        process.kill()
        process.wait()
    STARTED.clear()


def until(enough: Callable[[int], bool], held: Held, place: Path) -> None:
    """Wait until there are enough events: as long as more come, and the agent runs."""
    last, deadline = -1, 0.0
    while not enough(now := held.count()):
        if now > last:
            last, deadline = now, time.monotonic() + STUCK
        words = f"{now} delivered\n{(place / 'said').read_text()[-4000:]}"
        assert STARTED[-1].poll() is None, words
        assert time.monotonic() < deadline, words
        time.sleep(0.02 if not REAL else 0.2)


class Weather:
    """The way to the sink: fails on and off, until it is told to stop."""

    def __init__(self, proxy: FaultProxy) -> None:
        self.proxy, self.faults = proxy, 0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self) -> None:
        while not self.stop.wait(random.uniform(0.3, 1.0)):
            self.proxy.strike(FAULTS[random.choice(SINK_FAULTS)])
            self.stop.wait(random.uniform(0.1, 0.5))
            self.proxy.heal()
            self.faults += 1


def test_every_line_once_through_rotation_kills_and_a_failing_sink(
    tmp_path: Path, held: Held, evidence: Evidence
) -> None:
    """Two million numbered lines (or some), written by programs that rotate in all the ways there are."""
    (tmp_path / "in").mkdir()
    writers = [kind(tmp_path / "in", EACH) for kind in WRITERS]
    numbers = {writer.name: Counted() for writer in writers}
    began, stop = time.monotonic(), threading.Event()
    writing = threading.Thread(target=write, args=(writers, held, stop))
    with FaultProxy(held.upstream) as proxy:
        (tmp_path / "logferry.yaml").write_text(CONFIG.format(sink=held.sink.format(url=proxy.url)))
        weather = Weather(proxy)
        weather.thread.start()
        writing.start()
        try:
            process = agent(tmp_path)
            for kill in range(KILLS):
                # Before that all is written more will come, so this will be reached.
                some = LINES * (kill + random.random()) // (KILLS + 1)
                until(lambda now: now > some, held, tmp_path)  # noqa: B023 - used up in this round
                time.sleep(random.random() / 2)
                process.send_signal(signal.SIGKILL)
                assert process.wait() == -signal.SIGKILL
                time.sleep(random.choice((0.0, random.random())))
                process = agent(tmp_path)
            until(lambda now: not writing.is_alive() and now >= lines_of(writers), held, tmp_path)
        finally:
            stop.set()
            writing.join()
            weather.stop.set()
            weather.thread.join()
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0, (tmp_path / "said").read_text()[-4000:]
    for writer in writers:
        writer.close()
    took = time.monotonic() - began
    judge(writers, held, numbers)
    evidence("files rotated in every way, the agent killed, the sink failing", tried=KILLS, lost=0)
    rotated = sum(writer.number for writer in writers)
    print(f"{lines_of(writers):,} lines, {rotated} rotations, {weather.faults} faults: {took:.0f} s")
    assert lines_of(writers) >= LINES
    assert weather.faults > KILLS // 2


class Counted:
    """The numbers of one writer's lines, by spool and sequence."""

    def __init__(self) -> None:
        self.by_spool: dict[str, list[tuple[int, int]]] = defaultdict(list)


def lines_of(writers: list[Rotating]) -> int:
    return sum(writer.written for writer in writers)


def write(writers: list[Rotating], held: Held, stop: threading.Event) -> None:
    """Let all write, side by side."""
    share = LINES // len(writers) + 1
    step = max(1, min(EACH, share // 40))
    while any(writer.written < share for writer in writers):
        ahead = 0 if random.random() < QUIET else AHEAD
        while lines_of(writers) - held.count() > ahead:
            if stop.wait(0.02):
                return
        known = held.known(writers)
        for writer in writers:
            writer.delivered_up_to = known.get(writer.name, 0)
            writer.write(min(share, writer.written + random.randrange(step)))
        stop.wait(0.01)


def name_and_number(message: str) -> tuple[str, int]:
    match = MESSAGE.search(message)
    return (match[1], int(match[2])) if match else ("", 0)


def judge(writers: list[Rotating], held: Held, numbers: dict[str, Counted]) -> None:
    """Every line is there, none twice, and those of a file are in the order in which they were written."""
    for event, message in held.events():
        name, number = name_and_number(message)
        spool, _, sequence = event.rpartition("-")
        assert name in numbers, message
        numbers[name].by_spool[spool].append((int(sequence), number))
    for writer in writers:
        by_spool = numbers[writer.name].by_spool
        found = sorted(number for each in by_spool.values() for _, number in each)
        wrong = set(range(writer.written)) ^ set(found)
        assert found == list(range(writer.written)), (
            writer.name,
            len(found),
            writer.written,
            sorted(wrong)[:20],
        )
        for each in by_spool.values():
            order: dict[int, list[int]] = defaultdict(list)
            for _, number in sorted(each):
                order[writer.file_of(number)].append(number)
            for of_file in order.values():  # in one piece: the other spools have what is before and behind
                assert of_file == list(range(of_file[0], of_file[0] + len(of_file))), (
                    writer.name,
                    of_file[:9],
                )
