"""The agent's listeners and those who really send: logger, rsyslog, Python's handlers, clients of Loki and
Elasticsearch, Elastic's lumberjack, logferry's own sinks; and the agent killed while they send.

What a sender was told to be stored is in the store, whatever happens to the agent. LOGFERRY_EFFORT makes more
kills.
"""  # fmt: skip

from __future__ import annotations

import http.client
import json
import logging
import logging.handlers
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from effort import effort
from evidence import Evidence
from servers.cache import binary

from logferry.shipper.store import Store

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

KILLS = effort(3)


def required(name: str) -> Path:
    path = binary(name)
    if not path.exists():
        message = f"{name} is not installed: python tests/servers/install.py {name}"
        if os.environ.get("LOGFERRY_REQUIRE_SERVERS") == "1":
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    return path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def until(true: Callable[[], object], what: Callable[[], str], seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what()
        time.sleep(0.02)


@dataclass
class Agent:
    """`logferry run` with listeners and a local store; `start` after `kill` brings it back at its ports."""

    place: Path
    ports: dict[str, int] = field(
        default_factory=lambda: {name: free_port() for name in ("tcp", "http", "beats")}
    )
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.place.mkdir(parents=True, exist_ok=True)
        at = {name: f"127.0.0.1:{port}" for name, port in self.ports.items()}
        config = {
            "service": "agent",
            "spool": {"path": "spool"},
            "sinks": {"here": {"type": "local", "path": "logs", "compact": "off"}},
            "sources": {
                "tcp": {"type": "tcp", "listen": at["tcp"]},
                "udp": {"type": "udp", "listen": at["tcp"]},
                "unix": {"type": "unix", "path": "log.sock", "socket": "datagram"},
                "http": {"type": "http", "listen": at["http"]},
                "beats": {"type": "beats", "listen": at["beats"]},
            },
        }
        (self.place / "logferry.yaml").write_text(yaml.safe_dump(config))

    def run(self, *options: str) -> subprocess.Popen[bytes]:
        with (self.place / "said").open("ab") as said:
            command = [sys.executable, "-m", "logferry", "run", *options]
            return subprocess.Popen(command, cwd=self.place, stdout=said, stderr=said)

    def start(self) -> None:
        self.process = self.run()
        for port in self.ports.values():
            until(lambda port=port: self.listens(port), self.said)  # type: ignore[misc]
        until((self.place / "log.sock").exists, self.said)

    def listens(self, port: int) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.said()
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        assert self.process.wait() == -signal.SIGKILL

    def stop(self) -> None:
        """End it in order; everything is delivered."""
        assert self.process is not None
        self.process.terminate()
        assert self.process.wait(60) == 0, self.said()

    def said(self) -> str:
        return (self.place / "said").read_text()[-3000:]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['http']}"

    def stored(self) -> list[dict[str, Any]]:
        """Return the events in the store."""
        return [
            json.loads(line)
            for file in (self.place / "logs" / "fresh").glob("*.ndjson")
            for line in file.read_bytes().splitlines()
        ]

    def messages(self) -> list[str]:
        return [event["message"] for event in self.stored()]


@pytest.fixture
def agent(tmp_path: Path) -> Any:
    made = Agent(tmp_path / "agent")
    made.start()
    yield made
    if made.process is not None and made.process.poll() is None:
        made.kill()


def test_who_speaks_syslog(agent: Agent) -> None:
    """logger(1) in its forms, and Python's handler, over TCP, UDP and a Unix socket."""
    port = str(agent.ports["tcp"])
    expected = set()
    if shutil.which("logger") is not None:
        for name, options in {
            "tcp-octets": ["--tcp", "--octet-count", "-n", "127.0.0.1", "-P", port],
            "tcp-lines": ["--tcp", "-n", "127.0.0.1", "-P", port],
            "tcp-3164": ["--tcp", "--rfc3164", "-n", "127.0.0.1", "-P", port],
            "udp-5424": ["--udp", "-n", "127.0.0.1", "-P", port],
            "udp-3164": ["--udp", "--rfc3164", "-n", "127.0.0.1", "-P", port],
            "unix": ["-u", str(agent.place / "log.sock")],
        }.items():
            command = ["logger", *options, "-t", f"app-{name}", "-p", "local3.err", "--id=77", f"via {name}"]
            subprocess.run(command, check=True)
            expected.add(f"via {name}")
    for name, address, kind in (
        ("py-udp", ("127.0.0.1", int(port)), socket.SOCK_DGRAM),
        ("py-tcp", ("127.0.0.1", int(port)), socket.SOCK_STREAM),
        ("py-unix", str(agent.place / "log.sock"), socket.SOCK_DGRAM),
    ):
        handler = logging.handlers.SysLogHandler(address, socktype=kind)
        handler.ident = f"app-{name}[77]: "
        handler.emit(logging.LogRecord("x", logging.ERROR, "f", 1, "via %s", (name,), None))
        handler.close()
        expected.add(f"via {name}")
    until(lambda: expected <= set(agent.messages()), lambda: f"{agent.messages()} {agent.said()}")
    agent.stop()
    found = {event["message"]: event for event in agent.stored()}
    assert set(found) == expected
    for name in expected:
        event = found[name]
        assert (event["service"], event["level"], event.get("process")) == (
            f"app-{name.removeprefix('via ')}",
            "ERROR",
            77,
        )


def test_rsyslog_forwards(agent: Agent, tmp_path: Path) -> None:
    """A real rsyslog, by octet counting and by lines, in both of its formats: all, in order."""
    root = required("rsyslog")
    (libraries,) = (root / "usr/lib").glob("*-linux-gnu*")
    inlet, number = free_port(), 500
    forwards = "".join(
        f'action(type="omfwd" target="127.0.0.1" port="{agent.ports["tcp"]}" protocol="tcp" '
        f'TCP_Framing="{framing}" template="{template}")\n'
        for framing, template in (
            ("octet-counted", "RSYSLOG_SyslogProtocol23Format"),
            ("traditional", "RSYSLOG_TraditionalForwardFormat"),
        )
    )
    config = tmp_path / "rsyslog.conf"
    config.write_text(
        f'global(workDirectory="{tmp_path}" net.enableDNS="off")\nmodule(load="imtcp")\n'
        f'input(type="imtcp" port="{inlet}" address="127.0.0.1")\n{forwards}'
    )
    command = [str(root / "usr/sbin/rsyslogd"), "-n", "-f", str(config), "-i", str(tmp_path / "pid")]
    with (tmp_path / "rsyslog.log").open("wb") as log:
        running = subprocess.Popen(
            [*command, "-M", f"{libraries}/rsyslog"],
            env={**os.environ, "LD_LIBRARY_PATH": str(libraries)},
            stdout=log,
            stderr=log,
        )
    try:

        def said() -> str:
            return (tmp_path / "rsyslog.log").read_text()

        def connects() -> bool:
            assert running.poll() is None, said()
            try:
                socket.create_connection(("127.0.0.1", inlet), 5).close()
            except OSError:
                return False
            return True

        until(connects, said)
        with socket.create_connection(("127.0.0.1", inlet), 20) as sock:
            for n in range(number):
                sock.sendall(b"<29>1 2026-11-21T08:00:00.5Z box shop 42 - - line %d\n" % n)
        until(lambda: len(agent.messages()) >= 2 * number, lambda: f"{len(agent.messages())} {agent.said()}")
    finally:
        running.kill()
        running.wait()
    agent.stop()
    events = agent.stored()
    assert sorted(event["message"] for event in events) == sorted(
        f"line {n}" for n in range(number) for _ in range(2)
    )
    assert {(e["service"], e["host"], e["facility"], e.get("process")) for e in events} == {
        ("shop", "box", "daemon", 42)
    }


def test_clients_of_loki_and_elasticsearch(agent: Agent) -> None:
    """python-logging-loki and elasticsearch-py, pointed at the agent."""
    import logging_loki
    from elasticsearch import Elasticsearch, helpers

    handler = logging_loki.LokiHandler(
        f"{agent.url}/loki/api/v1/push", tags={"application": "shop", "service": "checkout"}, version="1"
    )
    logger = logging.getLogger("shop.orders")
    logger.propagate = False
    logger.addHandler(handler)
    logger.warning("to loki", extra={"tags": {"customer": "c7"}})
    logger.removeHandler(handler)
    handler.close()
    with Elasticsearch(agent.url) as client:
        assert client.info()["version"]["number"].startswith("8.")
        common = {"_index": "logs-a-b", "@timestamp": "2026-01-02T03:04:05Z"}
        documents = ({**common, "message": f"es {n}"} for n in range(1500))
        told, errors = helpers.bulk(client, documents, chunk_size=400, stats_only=False)
        assert (told, errors) == (1500, [])
        assert client.index(index="logs-a-b", document={"message": "one", "order": 7})["result"] == "created"
    agent.stop()
    found = {event["message"]: event for event in agent.stored()}
    assert len(found) == 1502
    event = found["to loki"]
    assert (event["level"], event["service"], event["logger"], event["customer"]) == (
        "WARNING",
        "checkout",
        "shop.orders",
        "c7",
    )
    assert found["es 7"]["timestamp"] == "2026-01-02T03:04:05.000000Z"
    assert found["one"]["order"] == 7


def test_logferrys_own_sinks(agent: Agent, tmp_path: Path) -> None:
    """Every sink that speaks one of the protocols, pointed at the agent: each event, its id, its fields."""
    number = 600
    sinks: dict[str, dict[str, Any]] = {
        "loki": {"type": "loki", "url": agent.url},
        "elasticsearch": {"type": "elasticsearch", "hosts": [agent.url], "data_stream": "logs-a-b"},
        "otlp": {"type": "otlp", "url": f"{agent.url}/v1/logs"},
        "http": {"type": "http", "url": f"{agent.url}/", "compression": "gzip"},
        "array": {"type": "http", "url": f"{agent.url}/", "body": "array"},
        "syslog": {"type": "syslog", "host": "127.0.0.1", "port": agent.ports["tcp"], "confirm": "close"},
    }
    place = tmp_path / "sender"
    (place / "in").mkdir(parents=True)
    now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    with (place / "in" / "app.log").open("w") as file:
        for name in sinks:
            for n in range(number):
                entry = {
                    "timestamp": f"{now}.{n:06}Z",
                    "level": "WARNING",
                    "message": f"{name} {n}",
                    "to": name,
                }
                entry |= {"order": n, "trace_id": f"{n + 1:032x}", "span_id": f"{n + 1:016x}", "host": "box"}
                file.write(json.dumps(entry) + "\n")
    for name, sink in sinks.items():
        sink["match"] = f'to="{name}"'
    config = {
        "service": "shop",
        "spool": {"path": "spool"},
        "sinks": {**sinks, "here": {"type": "local", "path": "logs", "compact": "off"}},
        "sources": {"app": {"type": "file", "include": ["in/*.log"]}},
    }
    (place / "logferry.yaml").write_text(yaml.safe_dump(config))
    done = subprocess.run(
        [sys.executable, "-m", "logferry", "run", "--once"],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr + agent.said()
    agent.stop()
    sent = {
        event["event_id"]: event
        for file in (place / "logs" / "fresh").glob("*.ndjson")
        for event in map(json.loads, file.read_bytes().splitlines())
    }
    got = {
        event["origin_id"] if "origin_id" in event else event["event_id"]: event for event in agent.stored()
    }
    assert len(sent) == number * len(sinks)
    missing = sorted(sent[own]["message"] for own in sent.keys() - got.keys())
    assert not missing, f"{len(missing)}: {missing[:5]}; got {list(got.values())[:3]}"
    assert len(got) == len(sent)
    for own, event in sent.items():
        for name in ("timestamp", "level", "service", "message", "order", "trace_id", "span_id", "host"):
            assert got[own][name] == event[name], (name, event, got[own])


class Sender(threading.Thread):
    """Sends numbered events until it is told to stop, and keeps which of them were acknowledged."""

    def __init__(self, name: str, agent: Agent) -> None:
        super().__init__(name=name)
        self.agent = agent
        self.stored: set[int] = set()
        self.sent = 0
        self.ending = threading.Event()

    def run(self) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self.ending.is_set():
            numbers = range(self.sent, self.sent + 50)
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self.agent.ports["http"], timeout=30)
            try:
                path, body, headers = self.request(numbers)
                connection.request("POST", path, body, headers)
                answer = connection.getresponse()
                said = answer.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                connection = None
                time.sleep(0.02)
                continue
            self.stored.update(self.taken(numbers, answer.status, said))
            self.sent += 50
        if connection is not None:
            connection.close()

    def request(self, numbers: range) -> tuple[str, bytes, dict[str, str]]:
        texts = [f"{self.name} {n}" for n in numbers]
        if self.name == "plain":
            return "/", "\n".join(texts).encode(), {}
        if self.name == "bulk":
            lines = [f'{{"create":{{}}}}\n{{"message":"{text}"}}\n' for text in texts]
            return "/logs-a-b/_bulk", "".join(lines).encode(), {"Content-Type": "application/x-ndjson"}
        stamp = str(time.time_ns())
        stream = {"stream": {"app": "shop"}, "values": [[stamp, text] for text in texts]}
        body = json.dumps({"streams": [stream]}).encode()
        return "/loki/api/v1/push", body, {"Content-Type": "application/json"}

    def taken(self, numbers: range, status: int, said: bytes) -> list[int]:
        if self.name != "bulk":
            return list(numbers) if status == 204 else []
        items = json.loads(said)["items"] if status == 200 else []
        return [n for n, item in zip(numbers, items, strict=False) if item["create"]["status"] == 201]


def test_killed_while_they_send(tmp_path: Path, evidence: Evidence) -> None:
    """What was acknowledged, over HTTP in three protocols and by lumberjack, is in the store."""
    lumber = required("lumber")
    agent = Agent(tmp_path / "agent")
    agent.start()
    senders = [Sender(name, agent) for name in ("plain", "bulk", "loki")]
    with (tmp_path / "told").open("wb") as told, (tmp_path / "errors").open("wb") as errors:
        command = [str(lumber), f"127.0.0.1:{agent.ports['beats']}", "100000000", "50"]
        beat = subprocess.Popen(command, stdout=told, stderr=errors)
    try:
        for sender in senders:
            sender.start()
        for _ in range(KILLS):
            before = [sender.sent for sender in senders]
            size = (tmp_path / "told").stat().st_size

            def on(before: list[int] = before, size: int = size) -> bool:
                went = all(s.sent > was for s, was in zip(senders, before, strict=True))
                return went and (tmp_path / "told").stat().st_size > size

            until(on, agent.said)
            time.sleep(random.random() * 0.2)
            agent.kill()
            agent.start()
    finally:
        for sender in senders:
            sender.ending.set()
        beat.kill()
        beat.wait()
        for sender in senders:
            sender.join()
    agent.stop()
    rest = agent.run("--once")  # what the last one may have left
    assert rest.wait(120) == 0, agent.said()
    with Store(agent.place / "logs") as store:
        rows = store.sql("SELECT message, json_extract_string(fields, '$.origin_id') FROM events").rows
    held = {message for message, _ in rows}
    acknowledged = {f"{s.name} {n}" for s in senders for n in s.stored}
    whole = (tmp_path / "told").read_text().rpartition("\n")[0].split()
    acknowledged |= {f"line {n}" for n in whole}
    lost = acknowledged - held
    evidence("agent killed while others send to it", tried=KILLS, lost=len(lost))
    assert all(sender.stored for sender in senders)
    assert whole
    assert not lost, sorted(lost)[:5]
    lines = {row for row in rows if row[0].startswith("line ")}
    assert len(lines) == len({message for message, _ in lines}), "sent again, a line had another id"
    assert all(own for _, own in lines)
