"""Filebeat itself, with `deploy/filebeat`'s configuration: before the `beats` source and the `http` source's
`_bulk`, with kills, and before a real Elasticsearch, whose documents are compared with those of our sink.

Only its addresses, paths and output are told anew. Where there is no Filebeat this is skipped.
"""  # fmt: skip

from __future__ import annotations

import json
import logging
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
import yaml
from effort import effort
from servers.cache import absent, found
from servers.elasticsearch import SearchServer
from servers.loki import free_port

from logferry.handlers import JsonHandler

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(300),
    pytest.mark.skipif(found("filebeat") is None, reason=absent("filebeat")),
]

DEPLOYED = Path(__file__).parents[2] / "deploy" / "filebeat" / "filebeat.yml"
LINES = effort(3_000)
OWN = {"agent": "Mozilla/5.0", "input": "form", "ecs": "x", "event": "checkout", "tags": ["a"], "log": "y"}


def until(true: Callable[[], object], said: Callable[[], str], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, said()
        time.sleep(0.05)


def write(path: Path, service: str, lines: int) -> list[dict[str, Any]]:
    """Write lines with `JsonHandler`, as another host would, and return what they say."""
    handler = JsonHandler(filename=path, service=service)
    logger = logging.getLogger(service)
    logger.propagate = False
    logger.addHandler(handler)
    for number in range(lines):
        if number % 10 == 3:
            try:
                raise KeyError(number)
            except KeyError:
                logger.exception("order %d failed für Zoë", number, extra={"order": number})
        else:
            more = OWN if number % 10 == 4 else {"cart": {"items": [1, 2]}, "duration_ms": 1.25}
            logger.warning("order %d", number, extra={"order": number, **more})
    logger.removeHandler(handler)
    handler.close()
    said = path.read_text().replace(f'"host":"{socket.gethostname()}"', '"host":"web-7"')
    path.write_text(said)
    return [json.loads(line) for line in said.splitlines()]


class Filebeat:
    """Filebeat over `*.ndjson` of a directory, with an output of its own."""

    def __init__(self, place: Path, output: dict[str, Any]) -> None:
        place.mkdir()
        self.place = place
        config = yaml.safe_load(DEPLOYED.read_text())
        config["filebeat.inputs"][0]["paths"] = [str(place.parent / "*.ndjson")]
        config |= {"output.logstash": {"enabled": False}, "logging.to_stderr": True} | output
        (place / "filebeat.yml").write_text(yaml.safe_dump(config))
        (place / "filebeat.yml").chmod(0o600)
        self.command = [
            str(found("filebeat")),
            "-c",
            str(place / "filebeat.yml"),
            "--path.home",
            str(place),
        ]
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        checked = subprocess.run(
            [*self.command, "test", "config"], capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr
        return self.start()

    def start(self) -> Self:
        with (self.place / "said").open("ab") as said:
            self.process = subprocess.Popen(self.command, cwd=self.place, stdout=said, stderr=said)
        return self

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def said(self) -> str:
        return (self.place / "said").read_text(errors="replace")[-3000:]


class Agent:
    """`logferry run` with one source and a local store."""

    def __init__(self, place: Path, source: dict[str, Any]) -> None:
        place.mkdir()
        self.place = place
        sinks = {"here": {"type": "local", "path": "logs", "compact": "off"}}
        config = {"service": "agent", "spool": {"path": "spool"}, "sinks": sinks, "sources": {"from": source}}
        (place / "logferry.yaml").write_text(yaml.safe_dump(config))
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        with (self.place / "said").open("ab") as said:
            command = [sys.executable, "-m", "logferry", "run"]
            self.process = subprocess.Popen(command, cwd=self.place, stdout=said, stderr=said)
        return self.process

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(60) == 0, self.said()

    def said(self) -> str:
        return (self.place / "said").read_text()[-3000:]

    def stored(self) -> list[dict[str, Any]]:
        return [
            event
            for file in (self.place / "logs" / "fresh").glob("*.ndjson")
            for line in file.read_bytes().splitlines()
            if line.endswith(b"}") and (event := json.loads(line)).get("kind") != "death"
        ]


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Callable[[dict[str, Any]], Agent]]:
    made: list[Agent] = []

    def make(source: dict[str, Any]) -> Agent:
        made.append(Agent(tmp_path / "agent", source))
        return made[-1]

    yield make
    for one in made:
        if one.process.poll() is None:
            one.kill()


@pytest.mark.parametrize("way", ["beats", "http"])
def test_filebeat_ships_to_the_agent(
    tmp_path: Path, agent: Callable[[dict[str, Any]], Agent], way: str
) -> None:
    """Every line arrives with every field as it was written; the agent and Filebeat are killed meanwhile."""
    written = {line["order"]: line for line in write(tmp_path / "app.ndjson", "shop", LINES)}
    address = f"127.0.0.1:{free_port()}"
    taker = agent({"type": way, "listen": address})
    output: dict[str, Any] = {"output.logstash": {"hosts": [address]}}
    if way == "http":
        output = {"output.elasticsearch": {"hosts": [f"http://{address}"], "bulk_max_size": 200}}
    with Filebeat(tmp_path / "beat", output) as beat:

        def orders() -> set[int]:
            return {event["order"] for event in taker.stored()}

        def said() -> str:
            return f"{len(orders())}: {beat.said()} {taker.said()}"

        until(orders, said)
        taker.kill()
        taker.start()
        beat.kill()
        beat.start()
        until(lambda: len(orders()) == LINES, said)
    taker.stop()
    for event in taker.stored():
        line = written[event["order"]]
        # An empty id is the same as none; the file it came from is what the agent adds.
        same = {name: value for name, value in line.items() if event.get(name) != value and value != ""}
        assert not same, f"{same} became {event}"
        assert "@timestamp" not in event
        assert event.keys() - line.keys() <= {"event_id", "log_file"}


def logferry(place: Path, *words: str) -> None:
    command = [sys.executable, "-m", "logferry", *words]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_elasticsearch_holds_the_fields_that_our_sink_writes(
    tmp_path: Path, elasticsearch: SearchServer
) -> None:
    """The same lines by Filebeat and by the agent, into data streams of the same kind: no document differs.

    Filebeat asks for a licence first, which this node does not have: its documents are taken from its file.
    """
    service = f"shop{uuid.uuid4().hex[:8]}"
    written = write(tmp_path / "app.ndjson", service, 50)
    streams = [f"logs-{service}-{who}" for who in ("ours", "theirs")]
    for stream in reversed(streams):  # the last one is shipped to as well
        place = tmp_path / stream
        place.mkdir()
        config: dict[str, Any] = {"service": service, "spool": {"path": "spool"}}
        config["sources"] = {"app": {"type": "file", "include": [str(tmp_path / "app.ndjson")]}}
        sink = {"type": "elasticsearch", "hosts": [elasticsearch.url], "data_stream": stream}
        config["sinks"] = {"search": sink}
        (place / "logferry.yaml").write_text(yaml.safe_dump(config))
        logferry(place, "setup")
    logferry(place, "run", "--once")
    output = {"output.file": {"path": str(tmp_path / "documents"), "filename": "out"}}

    def documents() -> list[dict[str, Any]]:
        files = (tmp_path / "documents").glob("out*")
        return [
            json.loads(line) for file in files for line in file.read_bytes().split(b"\n") if line[-1:] == b"}"
        ]

    with Filebeat(tmp_path / "beat", output) as beat:
        until(lambda: len(documents()) == len(written), lambda: f"{len(documents())}: {beat.said()}")
    for document in documents():
        del document["@metadata"]  # as its output for Elasticsearch does; a refused one raises
        elasticsearch.ask("POST", f"/{streams[1]}/_doc", document)

    def held(stream: str) -> dict[int, dict[str, Any]]:
        return {hit["_source"]["order"]: hit["_source"] for hit in elasticsearch.hits(stream, sort=())}

    ours, found = held(streams[0]), held(streams[1])
    assert ours.keys() == found.keys() == {line["order"] for line in written}
    for order, theirs in found.items():
        assert (
            theirs.pop("@timestamp")[:23] == ours[order].pop("@timestamp")[:23]
        )  # Filebeat has milliseconds
        added = {"event_id", "log_file"}
        assert {name: value for name, value in theirs.items() if name != "log" or value == "y"} == {
            name: value for name, value in ours[order].items() if name not in added
        }
