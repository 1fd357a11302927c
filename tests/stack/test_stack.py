"""What docker-compose.yml would start, started from its own files, and every panel of every dashboard asked.

No container engine is needed: `inside.py` runs in a network and mounts of its own, in which every service has
its name and its port, and the configuration files stand where the containers have them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from servers import debian
from servers.boards import targets
from servers.cache import binary

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

HERE = Path(__file__).parent
NAMESPACES = ("unshare", "--net", "--mount", "--")
TARGETS = sorted({(board, title) for board, title, _ in targets()})


def _namespaces() -> Sequence[str]:
    for under in (NAMESPACES, ("unshare", "--user", "--map-root-user", *NAMESPACES[1:])):
        trial = ["sh", "-c", "mount --bind /etc/hosts /etc/hosts"]
        if shutil.which("unshare"):
            done = subprocess.run([*under, *trial], capture_output=True, check=False)
            if done.returncode == 0:
                return under
    message = "a network and mounts of its own cannot be had here (unshare)"
    if os.environ.get("LOGFERRY_REQUIRE_SERVERS") == "1":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the stack answered."""
    for name in ("nginx", "prometheus", "postgresql"):
        debian.required(name)
    for name in ("loki", "elasticsearch", "kafka", "zipkin"):
        if not binary(name).exists():
            message = f"{name} is not installed: python tests/servers/install.py {name}"
            if os.environ.get("LOGFERRY_REQUIRE_SERVERS") == "1":
                pytest.fail(message, pytrace=False)
            pytest.skip(message)
    place = tmp_path_factory.mktemp("stack")
    done = subprocess.run(
        [*_namespaces(), sys.executable, str(HERE / "inside.py"), str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    failed = place / "failed"
    assert done.returncode == 0, failed.read_text() if failed.exists() else done.stderr
    found: dict[str, Any] = json.loads((place / "answers.json").read_text())
    return found


@pytest.mark.parametrize(("board", "title"), TARGETS)
def test_every_panel_has_data(told: dict[str, Any], board: str, title: str) -> None:
    """Each query of each panel, its variables filled with what their own queries find: rows, and no error."""
    mine = [row for row in told["panels"] if (row["board"], row["title"]) == (board, title)]
    assert mine
    for row in mine:
        assert not row["error"], row
        assert row["rows"], row


def test_deployments_are_on_the_charts(told: dict[str, Any]) -> None:
    """The annotation's query finds the event that docs/dashboards.md says to log."""
    notes = [row for row in told["panels"] if row["ref"] == "note"]
    assert [(row["board"], bool(row["rows"]), row["error"]) for row in notes] == [
        ("loki/overview.json", True, ""),
        ("elasticsearch/overview.json", True, ""),
    ]


def test_alerts_ask_what_can_be_answered(told: dict[str, Any]) -> None:
    """No rule is refused by its data source."""
    assert told["alerts"] == {}


def test_every_part_of_the_shop_is_there(told: dict[str, Any]) -> None:
    """Applications' spools and nginx's file, and the agent's notice of the service that died."""
    assert {"shop", "stock", "mailer", "edge"} <= {*told["services"]}


def test_from_nginx_to_the_slow_statement(told: dict[str, Any]) -> None:
    """What PostgreSQL was slow with has the trace of the request that nginx took."""
    statement, request = (json.loads(told["slow"][name]) for name in ("statement", "request"))
    assert "pg_sleep" in statement["message"], statement
    assert request["path"].startswith("/products/")
    assert statement["trace_id"] == request["trace_id"]


def test_nothing_was_dropped_or_refused(told: dict[str, Any]) -> None:
    """All four sinks have taken all that was for them."""
    books = [line for line in told["metrics"].splitlines() if line.startswith("logferry_")]
    for line in books:
        assert not line.startswith("logferry_dropped_total"), line
        if line.startswith("logferry_dead_lettered_total"):
            assert line.endswith(" 0"), line
    delivered = [line for line in books if line.startswith("logferry_delivered_total")]
    assert len(delivered) == 4
    assert not any(line.endswith(" 0") for line in delivered), delivered


def test_the_same_through_kafka(told: dict[str, Any]) -> None:
    """The profile `scale`: `setup` makes the topic, the consumer brings to Loki what the agent sends."""
    assert told["kafka"]["setup"] == 0
    assert told["kafka"]["arrived"] >= 1
