"""Every sink, every fault: nothing lost, nothing twice that must not be, nobody else late, the books balance.

What a cell does stands in tests/servers/cells.py, what holds while a fault lasts in tests/servers/lane.py. A
run tries pairs that a seed chooses, another one each time: it is printed, and LOGFERRY_MATRIX=<seed> tries
the same again (so does the next run after a failure). LOGFERRY_EFFORT=5 or more tries all cells, and
LOGFERRY_MATRIX="loki, http: 413, 500" these; a seed may stand before them.
"""

from __future__ import annotations

import os
import queue
import random
import re
import sys
import time
import traceback
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from certificates import add_expired, make_certificates
from effort import factor
from evidence import Evidence, Tally
from servers.cache import binary
from servers.cells import cells, meet, sample
from servers.kafka import KafkaServer
from servers.loki import free_port
from servers.receivers import HttpReceiver, Receiver
from servers.sinklanes import LANES, SinkLane
from servers.syslog import RsyslogServer, SyslogReceiver

pytestmark = [
    pytest.mark.integration,
    pytest.mark.server("loki"),
    pytest.mark.timeout(3000),
    pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc"),
]

AT_ONCE = 5  # sinks; they mostly wait
REMEMBERED = "logferry/matrix"


@dataclass
class Matrix:
    """Runs cells: those of one sink one after the other, in one lane, at most so many sinks at once."""

    directory: Path
    servers: dict[str, Callable[[], Any]]
    seed: int
    evidence: Evidence
    certificates: Path
    failed: list[str] = field(default_factory=list)

    def run(self, wanted: Sequence[tuple[str, str]]) -> None:
        """Meet all; what fails is in `failed`."""
        work: queue.SimpleQueue[tuple[str, list[str]]] = queue.SimpleQueue()
        of = {sink: [row for name, row in wanted if name == sink] for sink in LANES}
        for sink, rows in sorted(of.items(), key=lambda item: -len(item[1])):
            if rows:
                work.put((sink, rows))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for done in [pool.submit(self._sink, *work.get()) for _ in range(work.qsize())]:
                done.result()

    def _sink(self, sink: str, rows: Sequence[str]) -> None:
        server = self.servers[sink]()
        lane: SinkLane | None = None
        for number, row in enumerate(rows):
            place = self.directory / sink / str(number)
            place.mkdir(parents=True)
            begun = time.monotonic()
            try:
                lane = lane or LANES[sink](place, server)
                # Every second cell: the program ends while the fault lasts, and starts again after it.
                stops = (number + self.seed) % 2 == 0
                tally = meet(lane, row, place, self.certificates, seed=self.seed + number, stops=stops)
            except Exception as error:  # the other cells are of interest all the same
                last = traceback.extract_tb(error.__traceback__)[-1]
                self.failed.append(f"{sink}: {row}: {error} ({last.name}:{last.lineno})")
                if lane is not None:
                    lane.close()
                    lane = None
            else:
                found = Tally(tally.events, tally.lost, tally.twice, len(tally.letters))
                self.evidence.cell(sink, row, found, time.monotonic() - begun)
        if lane is not None:
            lane.close()
        if isinstance(server, Receiver | RsyslogServer | SyslogReceiver):
            server.kill()  # the others are the fixtures'


def servers(
    request: pytest.FixtureRequest, tmp_path: Path, sinks: Collection[str]
) -> dict[str, Callable[[], Any]]:
    """Return what makes these sinks' servers. Those that a cell kills serve nobody else meanwhile."""
    fixture = {
        name: request.getfixturevalue(name)  # here, for fixtures are for one thread
        for sink, name in {
            "loki": "loki_factory",
            "elasticsearch": "elasticsearch",
            "cloudwatch": "aws",
            "s3": "aws",
            "kafka": "kafka_factory",
        }.items()
        if sink in sinks
    }

    def kafka() -> KafkaServer:
        doors = [f"127.0.0.1:{free_port()}", f"kafka.logferry.test:{free_port()}"]
        made: KafkaServer = fixture["kafka_factory"](doors=doors)
        return made

    def syslog() -> RsyslogServer | SyslogReceiver:
        root, place = binary("rsyslog"), tmp_path / "receiver"
        return (RsyslogServer(root, place) if root.exists() else SyslogReceiver(place)).start()

    def receiver() -> Receiver:
        return Receiver(HttpReceiver()).start()

    return {
        "loki": lambda: fixture["loki_factory"](limits={"max_line_size": "4096"}),
        "elasticsearch": lambda: fixture["elasticsearch"],
        "cloudwatch": lambda: fixture["aws"],
        "s3": lambda: fixture["aws"],
        "kafka": kafka,
        "otlp": receiver,
        "http": receiver,
        "zipkin": receiver,
        "syslog": syslog,
        "local": lambda: None,
        "file": lambda: None,
    }


def chosen(config: pytest.Config) -> tuple[int, Sequence[tuple[str, str]]]:
    """Return the seed and the cells of this run."""
    asked = re.fullmatch(r"(\d*)\s*([^:]*):?(.*)", os.environ.get("LOGFERRY_MATRIX", ""))
    assert asked is not None
    cache = getattr(config, "cache", None)
    failed = cache.get(REMEMBERED, None) if cache else None
    seed = int(asked[1]) if asked[1] else failed or random.SystemRandom().randrange(1, 1_000_000)
    if asked[2]:
        sinks, rows = ({name.strip() for name in names.split(",")} - {""} for names in asked.group(2, 3))
        return seed, [
            (sink, row)
            for sink, row in cells()
            if ("*" in sinks or sink in sinks) and (not rows or row in rows)
        ]
    return seed, list(cells()) if factor() >= 5 else sample(seed)


def test_every_sink_meets_every_fault(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    pytestconfig: pytest.Config,
    capsys: pytest.CaptureFixture[str],
    evidence: Evidence,
) -> None:
    """The pairs of this run, or all."""
    seed, wanted = chosen(pytestconfig)
    with capsys.disabled():
        print(f"\nfault matrix: {len(wanted)} cells, LOGFERRY_MATRIX={seed}")
    certificates = tmp_path / "tls"
    certificates.mkdir()
    add_expired(make_certificates(certificates))
    makers = servers(request, tmp_path, {sink for sink, _ in wanted})
    matrix = Matrix(tmp_path, makers, seed, evidence, certificates)
    matrix.run(wanted)
    if cache := getattr(pytestconfig, "cache", None):
        cache.set(REMEMBERED, seed if matrix.failed else None)
    assert not matrix.failed, "\n".join([f"LOGFERRY_MATRIX={seed}", *matrix.failed])
