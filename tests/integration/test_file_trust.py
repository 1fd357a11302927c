"""Every kind of rotation, the agent killed at random, the sink failing on and off: every line once, in order.

In CI some 60,000 lines and 6 kills, and a server that keeps what it takes by the ids; with LOGFERRY_EFFORT=10
(`make prove`) 2 million lines, 50 kills and a real Elasticsearch.
"""

from __future__ import annotations

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
from typing import Any, Protocol

import pytest
from effort import effort, factor
from evidence import Evidence
from programs.rotating import WRITERS, Rotating
from servers.elasticsearch import SearchServer
from servers.faults import Connection, FaultServer, Request, answer
from servers.proxy import FaultProxy
from servers.wire import FAULTS

pytestmark = [pytest.mark.integration, pytest.mark.timeout(3 * 3600)]

FULL = factor() >= 10
LINES = 2_000_000 if FULL else effort(60_000)
KILLS = 50 if FULL else effort(6)
EACH = 5_000 if FULL else 700
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

    def events(self) -> Iterator[tuple[str, str]]:
        for hit in self.server._hits(self.stream, "log_file:*", source=["message"]):  # type: ignore[arg-type]
            yield hit["_id"], hit["_source"]["message"]

    def count(self) -> int:
        try:
            found: int = self.server.ask("GET", f"/{self.stream}/_count?q=log_file:*")["count"]
        except RuntimeError:  # not there yet
            return 0
        return found

    def known(self, writers: list[Rotating]) -> dict[str, int]:
        if self.count() < sum(writer.written for writer in writers):
            return {}
        return {writer.name: writer.written for writer in writers}


@pytest.fixture
def held(request: pytest.FixtureRequest) -> Iterator[Held]:
    if FULL:
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


def until(condition: Callable[[], bool], seconds: float, what: Callable[[], str]) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.02 if not FULL else 0.5)


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
    share = LINES // len(writers) // (KILLS + 1) + 1
    numbers = {writer.name: Counted() for writer in writers}
    with FaultProxy(held.upstream) as proxy:
        (tmp_path / "logferry.yaml").write_text(CONFIG.format(sink=held.sink.format(url=proxy.url)))
        weather = Weather(proxy)
        weather.thread.start()
        try:
            for kill in range(KILLS + 1):
                writing = threading.Thread(target=write, args=(writers, (kill + 1) * share, held))
                writing.start()
                process, before = agent(tmp_path), held.count()
                if kill < KILLS:
                    some = random.randrange(share * len(writers) // 2)
                    until(
                        lambda: held.count() > before + some,  # noqa: B023 - used up in this round
                        300,
                        lambda: f"{held.count()} delivered\n{(tmp_path / 'said').read_text()[-2000:]}",
                    )
                    process.send_signal(signal.SIGKILL)
                    assert process.wait() == -signal.SIGKILL
                writing.join()
        finally:
            weather.stop.set()
            weather.thread.join()
        written = sum(writer.written for writer in writers)
        while (now := held.count()) < written:  # as long as more comes: what is slow is not lost
            some = now
            until(
                lambda: held.count() > some,  # noqa: B023 - used up in this round
                300,
                lambda: f"{missing(writers, held)}\n{(tmp_path / 'said').read_text()[-2000:]}",
            )
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    for writer in writers:
        writer.close()
    judge(writers, held, numbers)
    evidence("files rotated in every way, the agent killed, the sink failing", tried=KILLS, lost=0)
    assert weather.faults > KILLS // 2


class Counted:
    """The numbers of one writer's lines, by spool and sequence."""

    def __init__(self) -> None:
        self.by_spool: dict[str, list[tuple[int, int]]] = defaultdict(list)


def write(writers: list[Rotating], upto: int, held: Held) -> None:
    """Let all write, side by side."""
    step = max(1, (upto - min(writer.written for writer in writers)) // 40)
    while any(writer.written < upto for writer in writers):
        known = held.known(writers)
        for writer in writers:
            writer.delivered_up_to = known.get(writer.name, 0)
            writer.write(min(upto, writer.written + step))
        time.sleep(0.01)


def name_and_number(message: str) -> tuple[str, int]:
    match = MESSAGE.search(message)
    return (match[1], int(match[2])) if match else ("", 0)


def missing(writers: list[Rotating], held: Held) -> dict[str, Any]:
    seen = defaultdict(set)
    for _, message in held.events():
        name, number = name_and_number(message)
        seen[name].add(number)
    return {w.name: sorted(set(range(w.written)) - seen[w.name])[:20] for w in writers}


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
