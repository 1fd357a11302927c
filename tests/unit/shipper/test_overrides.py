"""Levels changed in running programs: set everywhere, taken back in time, and said in the log stream."""

from __future__ import annotations

import json
import logging
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import logferry
from logferry.handlers import levels
from logferry.shipper.cli.main import cli
from logferry.shipper.overrides import Override, Overrides, change, read
from logferry.shipper.sinks.memory import memory_sink

log = logging.getLogger("overrides.app")
Told = list[tuple[str, int, float | None]]


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    yield
    log.setLevel(logging.NOTSET)
    levels.overridden.clear()


def overrides(path: Path, told: Told, clock: Callable[[], float]) -> Overrides:
    return Overrides(path, "shop", lambda *change: told.append(change), clock)


def test_set_and_taken_back_in_time(tmp_path: Path) -> None:
    """A change is in force from the next look on, until its time has come; both are told once."""
    now, told = 1000.0, Told()
    watch = overrides(tmp_path / "spool", told, lambda: now)
    watch.poll()
    change(tmp_path / "spool", "shop", now, add=[Override("overrides.app", "DEBUG", 1060.0)])
    for _ in range(3):
        watch.poll()
    assert log.level == logging.DEBUG
    now = 1060.0
    for _ in range(3):
        watch.poll()
    assert log.level == logging.NOTSET
    assert told == [("overrides.app", 10, 1060.0), ("overrides.app", 0, None)]
    assert read(tmp_path / "spool" / "shop", now) == []


def test_reset_and_change_again(tmp_path: Path) -> None:
    """A later change replaces the first; a reset, of one or of all, takes back at the next look."""
    log.setLevel(logging.ERROR)
    told = Told()
    watch = overrides(tmp_path, told, lambda: 1000.0)
    change(tmp_path, "shop", 1000.0, add=[Override("overrides.app", "DEBUG", 2000.0)])
    watch.poll()
    change(tmp_path, "shop", 1000.0, add=[Override("overrides.app", "INFO", 2000.0)])
    watch.poll()
    assert log.level == logging.INFO
    change(tmp_path, "shop", 1000.0, remove=["another"])
    watch.poll()
    assert log.level == logging.INFO
    change(tmp_path, "shop", 1000.0, remove=[])
    watch.poll()
    assert log.level == logging.ERROR


def test_what_somebody_else_set_since_stays(tmp_path: Path) -> None:
    """Taking back does not undo what the application decided meanwhile."""
    watch = overrides(tmp_path, Told(), lambda: 1000.0)
    change(tmp_path, "shop", 1000.0, add=[Override("overrides.app", "DEBUG", 2000.0)])
    watch.poll()
    log.setLevel(logging.CRITICAL)
    watch.close()
    assert log.level == logging.CRITICAL
    assert not levels.overridden


@pytest.mark.parametrize("text", ["", "{", "[1]", '[{"logger":"overrides.app","level":"LOUD","until":1500}]'])
def test_garbage_in_the_file_changes_nothing(tmp_path: Path, text: str) -> None:
    """Neither a half-written file nor a level that is none raises or changes anything."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "levels.json").write_text(text)
    watch = overrides(tmp_path, Told(), lambda: 1000.0)
    watch.poll()
    assert log.level == logging.NOTSET


def test_nothing_is_for_longer_than_a_day(tmp_path: Path) -> None:
    """What claims to be (another clock, another hand) is not in force."""
    change(tmp_path, "shop", 1000.0, add=[Override("overrides.app", "DEBUG", 1000.0 + 25 * 3600)])
    assert read(tmp_path / "shop", 1000.0) == []


def test_the_file_is_private(tmp_path: Path) -> None:
    """Who may write it may change levels: 0600 in 0700."""
    change(tmp_path / "a" / "spool", "shop", 1000.0, add=[Override("x", "DEBUG", 1500.0)])
    directory = tmp_path / "a" / "spool" / "shop"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / "levels.json").stat().st_mode) == 0o600


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.01)


def test_a_running_program_is_told_on_the_command_line(tmp_path: Path) -> None:
    """Set, shown, effective in this process within two seconds, and taken back; the stream says so."""
    spool = tmp_path / "spool"
    base = {"service": "shop", "spool": {"path": str(spool)}, "sinks": {"levels": {"type": "memory"}}}
    logferry.configure({**base, "logging": {"level": "WARNING", "console": "off"}})
    run, place = CliRunner().invoke, ["--spool", str(spool), "--service", "shop"]
    try:
        log.info("before")
        done = run(cli, ["level", "overrides.app=info", "--for", "10m", *place])
        assert done.exit_code == 0
        assert json.loads(done.output)["level"] == "INFO"
        until(lambda: log.isEnabledFor(logging.INFO))
        log.info("meanwhile")
        assert json.loads(run(cli, ["level", *place]).output)["logger"] == "overrides.app"
        assert run(cli, ["level", "--reset", *place]).output == ""
        until(lambda: not log.isEnabledFor(logging.INFO))
        log.info("after")
        assert logferry.flush(10)
    finally:
        logferry.shutdown(5)
    events = memory_sink("levels").events()
    assert [e["message"] for e in events if e["logger"] == "overrides.app"] == ["meanwhile"]
    assert [e["message"].partition(" until")[0] for e in events if e.get("kind") == "level"] == [
        "level of overrides.app is INFO",
        "level of overrides.app is NOTSET",
    ]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["a"], "LOGGER=LEVEL"),
        (["a=loud"], "no level 'loud'"),
        (["a=DEBUG", "--for", "25h"], "up to 24h"),
        (["a=DEBUG", "--for", "0"], "up to 24h"),
    ],
)
def test_mistakes_are_said(tmp_path: Path, arguments: list[str], text: str) -> None:
    """A mistake on the command line: exit code 2, what is wrong, nothing written."""
    done = CliRunner().invoke(cli, ["level", *arguments, "--spool", str(tmp_path), "--service", "shop"])
    assert (done.exit_code, text in done.output) == (2, True), done.output
    assert not list(tmp_path.iterdir())


def test_a_forked_child_takes_back_what_it_inherited(tmp_path: Path) -> None:
    """Forked while a level was raised, a child lowers it again by itself once it has logged."""
    body = """
import json, logging, os, sys, time, logferry
from pathlib import Path
from logferry.shipper.overrides import Override, change
spool = Path(sys.argv[1])
logferry.configure({"service": "shop", "spool": {"path": str(spool)}, "sinks": {"m": {"type": "memory"}},
                    "logging": {"level": "WARNING", "console": "off"}})
log = logging.getLogger("app")
def wait(level):
    deadline = time.monotonic() + 30
    while log.isEnabledFor(logging.DEBUG) is not level:
        assert time.monotonic() < deadline
        time.sleep(0.01)
now = time.time()
change(spool, "shop", now, add=[Override("app", "DEBUG", now + 600)])
wait(True)
child = os.fork()
if not child:
    log.debug("from the child")
    change(spool, "shop", now, remove=[])
    wait(False)
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
wait(False)
"""
    done = subprocess.run([sys.executable, "-c", body, str(tmp_path / "spool")], timeout=150, check=False)
    assert done.returncode == 0
