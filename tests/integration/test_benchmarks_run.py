"""Benchmarks that `make bench-check` leaves out still run: what nobody can make again proves nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
FORMS = {
    "sink_cost.py": (["loki", "http", "local", "file", "--events", "300"], 4),
    "peers.py": (["--only", "python-json-logger", "--records", "1000", "--rounds", "1"], 2),
    "network.py": (["--lines", "64", "--rounds", "1"], 10),
}


@pytest.mark.parametrize("script", FORMS)
def test_the_shortest_form(tmp_path: Path, script: str) -> None:
    """It ends well, and what it has measured is there as JSON, with machine and versions."""
    options, least = FORMS[script]
    made = tmp_path / "made.json"
    command = [sys.executable, str(ROOT / "benchmarks" / script), *options, "--json", str(made)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(made.read_text())
    assert len(told["rows"]) >= least
    assert {"python", "versions"} <= set(told["machine"])
