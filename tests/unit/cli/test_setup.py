"""`logferry setup`: what it prints to people and to pipes, and its exit codes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from logferry.shipper.cli import output
from logferry.shipper.cli.main import cli
from logferry.shipper.config import loading
from logferry.shipper.ports import SetupStep, SinkKind
from logferry.shipper.sinks.memory import MemoryConfig, MemorySink


class Needy(MemorySink):
    """A sink that needs a topic and a group; `trouble` is what its server says."""

    trouble = ""
    asked: list[bool] = []  # noqa: RUF012 - a test's own

    def setup(self, *, dry_run: bool) -> Sequence[SetupStep]:
        self.asked.append(dry_run)
        if self.trouble == "raise":
            raise RuntimeError("a defect")
        return [
            SetupStep("topic logs", "create", {"partitions": 3}),
            SetupStep("group \x1b[2Jlogs", "none", problem=self.trouble),
        ]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    kind = SinkKind("needy", MemoryConfig, lambda _config, _context: Needy())
    real = loading.sink_kind
    monkeypatch.setattr(loading, "sink_kind", lambda name: kind if name == "needy" else real(name))
    monkeypatch.setattr(Needy, "asked", [])
    path = tmp_path / "logferry.yaml"
    spool = f"spool: {{path: {tmp_path}/spool}}"
    path.write_text(f"service: s\n{spool}\nsinks:\n  a: {{type: needy}}\n  b: {{type: memory}}\n")
    return path


def setup(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["setup", "-c", str(config), *arguments])


def test_a_pipe_gets_a_line_for_each_step(config: Path) -> None:
    """What, which action, whether it worked, and what was sent."""
    result = setup(config)
    rows = [json.loads(line) for line in result.output.splitlines()]
    assert result.exit_code == 0
    told = {"sink": "a", "type": "needy", "what": "topic logs", "action": "create", "dry_run": False}
    assert rows[0] == {**told, "ok": True, "problem": "", "body": {"partitions": 3}}
    assert [row["sink"] for row in rows] == ["a", "a"]
    assert Needy.asked == [False]


def test_people_see_what_would_be_made(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dry run shows the bodies; what a server's name holds does not steer the terminal."""
    monkeypatch.setattr(
        "logferry.shipper.cli.setup.stdout", lambda: output.Output(True, False, output.sys.stdout)
    )
    result = setup(config, "--dry-run")
    assert result.exit_code == 0
    assert "topic logs: would be created" in result.output
    assert '"partitions": 3' in result.output
    assert "as it should be" in result.output
    assert "\x1b" not in result.output
    assert "- b: needs nothing" in result.output
    assert Needy.asked == [True]


@pytest.mark.parametrize(
    ("trouble", "words"), [("no privilege", "no privilege"), ("raise", "RuntimeError: a defect")]
)
def test_what_cannot_be_made_is_an_exit_code(
    config: Path, monkeypatch: pytest.MonkeyPatch, trouble: str, words: str
) -> None:
    """1, with the reason; a sink that raises does not hide the others."""
    monkeypatch.setattr(Needy, "trouble", trouble)
    result = setup(config)
    assert result.exit_code == 1
    assert words in result.output


def test_only_the_sinks_that_are_named(config: Path) -> None:
    """Names choose; an unknown one is a mistake of the command line."""
    assert setup(config, "b").output == ""
    assert Needy.asked == []
    result = setup(config, "a", "zzz")
    assert result.exit_code == 2
    assert "no sink is called zzz" in result.output
