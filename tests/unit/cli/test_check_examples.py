"""`logferry check`: what a sample becomes, and the tests in the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from logferry.shipper.cli import output
from logferry.shipper.cli.main import cli

SAMPLE = (
    '{"level":"warn","message":"card=55 ok","path":"/pay"}\n'
    "\n"
    '{"level":"info","message":"fine","path":"/health"}\n'
    "2026-11-21 10:00:00 ERROR broken: Authorization: Bearer abcdefgh12345678\n"
    "Traceback (most recent call last):\n"
    '  File "a.py", line 1, in <module>\n'
    "ValueError: no\n"
)
CONFIG = """\
service: shop
spool: {path: spool}
sinks: {here: {type: local, path: logs, compact: 'off'}}
transforms:
  - add: {team: payments}
sources:
  app:
    type: file
    include: [app.log]
    multiline: python
    transforms:
      - drop: path=/health*
      - mask: {message: 'card=[0-9]+'}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "logferry.yaml"
    path.write_text(CONFIG)
    (tmp_path / "sample.log").write_text(SAMPLE)
    return path


def check(config: Path, *args: object) -> Result:
    return CliRunner().invoke(cli, ["check", "-c", str(config), *map(str, args)])


def rows(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_what_each_line_of_a_sample_becomes(config: Path) -> None:
    """Each line or joined record with its event, or what leaves it out; nothing is kept."""
    result = check(config, "--input", config.parent / "sample.log")
    assert result.exit_code == 0, result.output
    first, health, failed = (row for row in rows(result) if row["line"])
    assert first["event"]["message"] == "[REDACTED] ok"
    assert (first["event"]["level"], first["event"]["team"]) == ("WARNING", "payments")
    assert health["event"] is None
    assert health["left_out"] == "sources.app.transforms[0].drop (path=/health*)"
    assert failed["event"]["error"]["stack"].startswith("Traceback")
    assert "abcdefgh12345678" not in json.dumps(failed["event"])
    assert not (config.parent / "spool").exists()


def test_a_sample_for_people(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the line stands above what became of it."""
    import sys

    def terminal() -> output.Output:
        return output.Output(people=True, colour=False, stream=sys.stdout)

    monkeypatch.setattr("logferry.shipper.cli.check.stdout", terminal)
    shown = check(config, "--input", config.parent / "sample.log").stdout
    assert "  → " in shown
    assert "left out by sources.app.transforms[0].drop" in shown
    assert shown.endswith("7 lines: 2 events, 1 left out by transforms\n")
    (config.parent / "sample.log").write_text("ERROR no\n")
    shown = check(config, "--input", config.parent / "sample.log").stdout
    assert shown.endswith("1 line: 1 event\n")


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (("--source", "app"), 2, "--input"),
        (("--input", "sample.log", "--source", "ap"), 2, "there is no source ap"),
        (("--input", "absent.log"), 1, "absent.log"),
    ],
)
def test_samples_that_cannot_be_tried(config: Path, args: tuple[str, ...], code: int, told: str) -> None:
    """It is said what is missing, with its exit code."""
    named = [str(config.parent / one) if one.endswith(".log") else one for one in args]
    result = check(config, *named)
    assert result.exit_code == code
    assert told in result.output


def test_tests_that_hold_and_tests_that_fail(config: Path) -> None:
    """Each test is told; one that fails shows what was expected and what is there, and the exit code is 1."""
    cases = r"""
tests:
  - name: a payment
    input: '{"level":"warn","message":"card=55 ok","path":"/pay"}'
    expect: {level: WARNING, message: '[REDACTED] ok', team: payments, error: null}
  - name: health
    source: app
    input: ['{"path":"/health"}', '{"path":"/healthz"}']
    expect: []
"""
    config.write_text(CONFIG + cases)
    result = check(config)
    assert result.exit_code == 0, result.output
    assert [(row["test"], row["ok"]) for row in rows(result)] == [("a payment", True), ("health", True)]
    wrong = cases.replace("level: WARNING", "level: ERROR, line: 7").replace("/healthz", "/other")
    config.write_text(CONFIG + wrong)
    result = check(config)
    assert result.exit_code == 1
    first, second = rows(result)
    assert first["differences"] == [
        {"event": 1, "diff": ['- level: "ERROR"', '+ level: "WARNING"', "- line: 7", "+ line: (none)"]}
    ]
    assert second["differences"][0]["diff"][0].startswith('+ {"timestamp"')
    config.write_text(CONFIG + cases.replace("expect: []", "expect: [{level: INFO}]"))
    assert rows(check(config))[1]["differences"] == [{"event": 1, "diff": ['- level: "INFO"']}]


def test_mistakes_have_their_places(config: Path) -> None:
    """Filters, names, expressions and sources that cannot be are told with line and column, all at once."""
    bad = CONFIG.replace("path=/health*", "level=LOUD").replace("card=[0-9]+", "(").replace("add", "remove")
    config.write_text(
        bad.replace("{team: payments}", "[host]") + "tests:\n  - {input: x, expect: [], source: b}\n"
    )
    result = check(config)
    assert result.exit_code == 2
    assert [(row["line"], row["column"], row["path"]) for row in rows(result)] == [
        (5, 5, "transforms[0].remove"),
        (12, 9, "sources.app.transforms[0].drop"),
        (13, 16, "sources.app.transforms[1].mask.message"),
        (15, 28, "tests[0].source"),
    ]
