"""`logferry install-service`: the unit follows the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from logferry.shipper.cli.main import cli

CONFIG = """\
service: edge
shutdown_timeout: 40s
spool: {path: /var/lib/logferry}
sinks:
  here: {type: local, path: "/srv/the logs/100%"}
sources:
  app: {type: file, include: [/var/log/app/*.log]}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "agent.yaml"
    path.write_text(CONFIG)
    return path


def install(config: Path, *options: str) -> Result:
    return CliRunner().invoke(cli, ["install-service", "-c", str(config), *options])


def test_a_unit_is_printed(config: Path) -> None:
    """What the configuration says is in it; words that need it are quoted."""
    result = install(config, "--dry-run", "--user", "ship", "--group", "adm", "--capability", "CAP_X")
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert "Type=notify" in lines
    assert "User=ship" in lines
    assert "SupplementaryGroups=adm" in lines
    assert "StateDirectory=logferry" in lines
    assert 'ReadWritePaths=-"/srv/the logs/100%%"' in lines
    assert "TimeoutStopSec=65s" in lines
    assert "AmbientCapabilities=CAP_X" in lines
    start = next(line for line in lines if line.startswith("ExecStart="))
    assert start.endswith(f"run -c {config}")


def test_a_spool_without_a_place_is_in_the_state_directory(config: Path) -> None:
    """Nothing that root's environment says gets into the unit."""
    config.write_text(CONFIG.replace("spool: {path: /var/lib/logferry}\n", ""))
    lines = install(config, "--dry-run").stdout.splitlines()
    assert "Environment=XDG_STATE_HOME=%S" in lines
    assert lines.count("StateDirectory=logferry") == 1


def test_a_unit_is_written_and_not_overwritten(config: Path, tmp_path: Path) -> None:
    """A second time changes nothing; another unit of that name stays, unless it is forced."""
    units = tmp_path / "units"
    units.mkdir()
    first = install(config, "--directory", str(units), "--user", "nobody-has-this-name")
    assert first.exit_code == 0
    assert "useradd --system" in first.stderr
    assert "systemctl enable --now logferry" in first.stderr
    unit = units / "logferry.service"
    text = unit.read_text()
    assert install(config, "--directory", str(units), "--user", "nobody-has-this-name").exit_code == 0
    unit.write_text("mine")
    refused = install(config, "--directory", str(units))
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    assert unit.read_text() == "mine"
    options = ("--directory", str(units), "--user", "nobody-has-this-name", "--force")
    assert install(config, *options).exit_code == 0
    assert unit.read_text() == text


@pytest.mark.parametrize(
    ("option", "value"),
    [("--name", "a/b"), ("--user", "x y"), ("--group", "a\nb"), ("--capability", "all")],
)
def test_what_would_break_the_unit_is_refused(config: Path, option: str, value: str) -> None:
    """A word on the command line is never a line of the unit."""
    assert install(config, "--dry-run", option, value).exit_code == 2


def test_a_directory_that_is_not_there(config: Path, tmp_path: Path) -> None:
    """It says what to do instead."""
    result = install(config, "--directory", str(tmp_path / "nowhere"))
    assert result.exit_code == 3
    assert "--dry-run prints the unit" in result.stderr
