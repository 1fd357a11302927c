"""Credentials, privileges, lifecycle policies and the failure store: a real server behind a gate.

tests/servers/gate.py stands in for the modules that Elastic does not publish as jars.
"""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner
from programs.fate import until
from servers.elasticsearch import SearchServer
from servers.gate import Holder, SecurityGate

from logferry.handlers.schema import Schema
from logferry.shipper.cli.main import cli
from logferry.shipper.config.fields import Secret
from logferry.shipper.model import Batch, Delivered
from logferry.shipper.ports import SinkContext
from logferry.shipper.sinks.elasticsearch import ElasticsearchConfig, ElasticsearchSink
from logferry.shipper.spool import audit

pytestmark = [pytest.mark.integration, pytest.mark.server("elasticsearch"), pytest.mark.timeout(300)]

EVENTS = 20_000
WRITES = {"monitor", "create_doc", "auto_configure"}
MAKES = {*WRITES, "manage_index_templates", "view_index_metadata", "create_index", "manage", "read_ilm"}


@pytest.fixture
def gate(elasticsearch: SearchServer) -> Iterator[SecurityGate]:
    """The real server behind a gate that knows an administrator, a shipper, a reader and two API keys."""
    with SecurityGate(elasticsearch.url) as made:
        made.users["admin"] = Holder("a", set(MAKES))
        made.users["shipper"] = Holder("s", set(WRITES))
        made.users["reader"] = Holder("r", {"monitor"})
        made.keys["right"] = Holder("k", set(WRITES))
        made.keys["narrow"] = Holder("n", {"create_doc"})
        yield made


class Agent:
    """`logferry` on a configuration of its own, one process for each command."""

    def __init__(self, directory: Path, gate: SecurityGate) -> None:
        self.directory, self.url = directory, gate.url
        self.stream = f"logs-gate-{uuid.uuid4().hex[:8]}"

    def command(self, *words: str, **options: Any) -> list[str]:
        sink = {
            "type": "elasticsearch",
            "hosts": [self.url],
            "data_stream": self.stream,
            "max_batch_events": 500,
        }
        sink["index_settings"] = {"number_of_replicas": "0"}
        place = self.directory
        config = {
            "service": "shop",
            "environment": "test",
            "spool": {"path": str(place / "spool")},
            "shutdown_timeout": "2s",
            "sources": {"in": {"type": "file", "include": [str(place / "*.ndjson")]}},
            "sinks": {"search": {**sink, **options}},
        }
        path = place / "agent.yaml"
        path.write_text(json.dumps(config))
        return [sys.executable, "-m", "logferry", *words, "-c", str(path)]

    def deliver(self, **options: Any) -> int:
        """Deliver everything there is, in a process; return its code."""
        command = self.command("run", "--once", **options)
        return subprocess.run(command, capture_output=True, timeout=200, check=False).returncode

    @contextmanager
    def running(self, **options: Any) -> Iterator[None]:
        """Have `logferry run` deliver meanwhile; it is asked to end, not killed."""
        with (self.directory / "run.log").open("ab") as log:
            process = subprocess.Popen(self.command("run", **options), stdout=log, stderr=log)
            try:
                yield
                process.send_signal(signal.SIGTERM)
                process.wait(60)
            finally:
                process.kill()
                process.wait()

    def ask(self, *words: str, **options: Any) -> tuple[int, list[dict[str, Any]]]:
        """Run a command in this process; return its code and the rows that it printed."""
        result = CliRunner().invoke(cli, self.command(*words, **options)[3:])
        return result.exit_code, [json.loads(row) for row in result.stdout.splitlines() if row[:1] == "{"]

    def pending(self) -> int:
        return sum(account.pending for account in audit(self.directory / "spool").accounts.values())

    def account(self) -> Any:
        report = audit(self.directory / "spool")
        assert not report.problems
        # A sink that has delivered nothing has no books yet: everything waits for it.
        account = report.accounts.get(("shop", "search")) or report.accounts["shop", "-"]
        assert account.balance == 0
        return account


@pytest.fixture
def agent(gate: SecurityGate, tmp_path: Path) -> Agent:
    made = Agent(tmp_path, gate)
    with (tmp_path / "in.ndjson").open("wb") as file:
        for number in range(EVENTS):
            ids = {"trace_id": f"{number + 1:032x}", "span_id": f"{number + 1:016x}"}
            file.write(orjson.dumps({"level": "INFO", "message": "order", "n": number, **ids}) + b"\n")
    return made


def key(name: str, secret: str) -> str:
    """Return an API key as Elasticsearch shows it."""
    return base64.b64encode(f"{name}:{secret}".encode()).decode()


BASIC = {"username": "shipper", "password": "s"}
CHECKS: dict[str, tuple[dict[str, Any], str]] = {
    "a password that is right": (BASIC, ""),
    "an API key that is right": ({"api_key": key("right", "k")}, ""),
    "an API key as id and secret": ({"api_key": "right:k"}, ""),
    "a key that may only create events": (
        {"api_key": key("narrow", "n")},
        "lack a privilege: auto_configure",
    ),
    "nobody": ({}, "missing authentication credentials"),
    "a wrong password": ({**BASIC, "password": "x"}, "unable to authenticate user [shipper]"),
    "an unknown user": ({"username": "nobody", "password": "x"}, "unable to authenticate user [nobody]"),
    "a wrong API key": ({"api_key": key("right", "x")}, "Elasticsearch refuses the credentials"),
    "an API key that is none": ({"api_key": "AAAA"}, "Elasticsearch refuses the credentials"),
    "a user who may not write": (
        {"username": "reader", "password": "r"},
        "lack a privilege: auto_configure and",
    ),
}


@pytest.mark.parametrize("who", CHECKS)
def test_check_tells_credentials_from_privileges(agent: Agent, who: str) -> None:
    """`check --connect` is content with what suffices, and else says what is wrong: who, or what they may."""
    options, wanted = CHECKS[who]
    code, rows = agent.ask("check", "--connect", **options)
    [answer] = [row for row in rows if row.get("sink") == "search"]
    assert (code, answer["ok"]) == ((0, True) if not wanted else (1, False)), answer
    assert all(wanted in problem for problem in answer["problems"])
    if "refuses" in wanted or "authenticat" in wanted:
        assert (
            "Elasticsearch refuses the credentials: see api_key, username, password" in answer["problems"][0]
        )


def test_setup_says_which_privilege_is_missing(agent: Agent) -> None:
    """Who may not make templates is told so, and nothing is made; who may makes them, once."""
    code, [step] = agent.ask("setup", **BASIC)
    assert code == 1
    assert "manage_index_templates" in step["problem"]
    admin = {"username": "admin", "password": "a"}
    for actions in (["create", "create"], ["none", "none"]):
        code, rows = agent.ask("setup", **admin)
        assert (code, [row["action"] for row in rows]) == (0, actions), rows


def test_delivery_with_credentials_that_come_and_go(
    agent: Agent, gate: SecurityGate, elasticsearch: SearchServer
) -> None:
    """Wrong, then right, then revoked in the middle, then right again: nothing lost, twice, or dead."""
    assert agent.ask("setup", username="admin", password="a")[0] == 0
    gate.statuses.clear()
    with agent.running(api_key=key("right", "x")):
        until(lambda: 401 in gate.statuses and agent.pending(), 60, "it never asks")
    account = agent.account()
    assert (account.delivered, account.dead_lettered, account.dropped) == (0, 0, {})

    gate.statuses.clear()
    with agent.running(api_key=key("right", "k")):
        until(lambda: gate.statuses.count(200) > 4, 60, "nothing is delivered")
        gone = gate.keys.pop("right")
        until(lambda: 401 in gate.statuses, 60, "it still has its key")
    account = agent.account()
    assert 0 < account.delivered < EVENTS
    assert (account.dead_lettered, account.dropped) == (0, {})

    gate.keys["right"] = gone
    assert agent.deliver(api_key=key("right", "k")) == 0
    ids = elasticsearch.ids(agent.stream)
    assert len(ids) == len(set(ids)) == EVENTS
    assert (agent.account().delivered, agent.account().dead_lettered) == (EVENTS, 0)


def test_a_privilege_that_is_missing_pauses_and_drops_nothing(
    agent: Agent, gate: SecurityGate, elasticsearch: SearchServer
) -> None:
    """Each event is refused with 403: none is a dead letter; once the privilege is there, all arrive."""
    narrow = {"api_key": key("narrow", "n"), "setup": "manual"}
    assert agent.ask("setup", username="admin", password="a")[0] == 0
    gate.keys["narrow"].privileges = {"monitor"}
    gate.bulks_refused = 0
    with agent.running(**narrow):
        until(lambda: gate.bulks_refused, 60, "nothing is sent")
    account = agent.account()
    assert (account.delivered, account.dead_lettered, account.dropped) == (0, 0, {})
    gate.keys["narrow"].privileges = {"create_doc"}  # all that a shipper needs where somebody else sets up
    assert agent.deliver(**narrow) == 0
    assert len(elasticsearch.ids(agent.stream)) == EVENTS
    assert (agent.account().delivered, agent.account().dead_lettered) == (EVENTS, 0)


def test_a_lifecycle_policy(agent: Agent, gate: SecurityGate) -> None:
    """A policy that is not there is named; one that is there is in the template, and stays."""
    asked = {"username": "admin", "password": "a", "ilm_policy": "weekly"}
    code, [step] = agent.ask("setup", **asked)
    assert (code, step["problem"]) == (1, "there is no policy weekly: make it, or use retention")
    gate.policies["weekly"] = {"phases": {"delete": {"min_age": "7d", "actions": {"delete": {}}}}}
    for actions in (["create", "create"], ["none", "none"]):
        code, rows = agent.ask("setup", **asked)
        assert (code, [row["action"] for row in rows]) == (0, actions), rows
    assert rows[0]["body"]["template"]["settings"]["index.lifecycle.name"] == "weekly"
    assert "lifecycle" not in rows[0]["body"]["template"]
    gate.users["admin"].privileges.discard("read_ilm")
    code, [step] = agent.ask("setup", **asked)
    assert code == 1
    assert "read_ilm" in step["problem"]


def test_what_goes_into_the_failure_store_is_counted_apart(
    gate: SecurityGate, elasticsearch: SearchServer
) -> None:
    """A data stream has a failure store: what its mapping refuses is stored there, and counted apart."""
    stream = f"logs-failures-{uuid.uuid4().hex[:8]}"
    gate.failure_stores.add(stream)
    fields = ("@timestamp", "timestamp", "level", "service", "message", "event_id")
    types = {name: {"type": "date" if "timestamp" in name else "keyword"} for name in fields}
    template = {
        "mappings": {"dynamic": "strict", "properties": types},
        "settings": {"number_of_replicas": 0},
    }
    body = {"index_patterns": [stream], "data_stream": {}, "priority": 600, "template": template}
    elasticsearch.ask("PUT", f"/_index_template/{stream}", body)
    config = ElasticsearchConfig(
        hosts=(gate.url,), data_stream=stream, setup="manual", api_key=Secret(key("right", "k"))
    )
    sink = ElasticsearchSink(config, SinkContext("search", Schema("shop")))
    event = {"timestamp": "2026-08-01T10:00:00.123456Z", "level": "INFO", "service": "shop", "message": "m"}
    lines = [orjson.dumps(event), orjson.dumps({**event, "unknown": 1}), orjson.dumps(event)]
    try:
        assert sink.send(Batch(uuid.uuid4().hex, range(1, 4), lines)) == Delivered()
        assert sink.diverted == 1
        assert len(elasticsearch.ids(stream)) == 2
    finally:
        sink.close()
