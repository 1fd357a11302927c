"""A command's output: its lines, its ends and restarts, and that nothing of it stays behind."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from taking import Kept, context, running, until

from logferry.shipper.config.fields import Duration, Size
from logferry.shipper.sources.errors import SourceError
from logferry.shipper.sources.exec import ExecConfig, ExecSource


def sh(text: str, kept: Kept, **options: Any) -> ExecSource:
    return ExecSource(ExecConfig(("/bin/sh", "-c", text), **options), context(kept))


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in {"Z", "X"}


def test_once_reads_all_of_it() -> None:
    """Lines, JSON, what goes to stderr, and a last line without an end."""
    kept = Kept()
    sh('echo one; echo \'{"msg": "two", "n": 2}\'; echo bad >&2; printf three', kept).run(once=True)
    assert sorted(kept.messages) == ["bad", "one", "three", "two"]
    assert [e["message"] for e in kept.events if e.get("stream") == "stderr"] == ["bad"]
    assert [e["n"] for e in kept.events if "n" in e] == [2]


def test_tracebacks_are_one_event_and_long_lines_are_cut() -> None:
    """As in a file."""
    kept = Kept()
    code = "print('x' * 1000)\n1 / 0\n"
    source = ExecSource(ExecConfig((sys.executable, "-c", code), max_line_bytes=Size(500)), context(kept))
    with pytest.raises(SourceError, match="ended with status 1"):
        source.run(once=True)
    assert len(kept.lines) == 2
    cut, error = sorted(kept.events, key=lambda event: "error" in event)
    assert cut["line_cut_bytes"] == 500
    assert error["error"]["type"] == "ZeroDivisionError"


def test_it_is_started_again_with_growing_pauses() -> None:
    """As long as it ends; the pause has a bound."""
    kept = Kept()
    pauses = {"restart_after": Duration(0.01), "restart_at_most": Duration(0.04)}
    with running(sh("echo again; exit 3", kept, **pauses), lambda: len(kept.lines) > 4):
        pass
    assert set(kept.messages) == {"again"}


@pytest.mark.parametrize(("restart", "status", "runs"), [("never", 1, 1), ("on_failure", 0, 1)])
def test_it_may_end_for_good(restart: Any, status: int, runs: int) -> None:
    """`never`, and `on_failure` with status 0."""
    kept = Kept()
    sh(f"echo ran; exit {status}", kept, restart=restart, restart_after=Duration(0.01)).run(once=False)
    assert kept.messages == ["ran"] * runs


def test_stop_ends_the_whole_group_and_reads_its_last_words() -> None:
    """SIGTERM for the command and its children."""
    kept = Kept()
    text = "sleep 1000 & echo $!; trap 'echo bye; exit 0' TERM; echo ready; wait"
    source = sh(text, kept)
    with running(source, lambda: "ready" in kept.messages):
        child = int(kept.messages[0])
        assert source.process is not None
        leader = source.process.pid
        assert os.getpgid(child) == leader != os.getpgid(0)
    assert kept.messages[-1] == "bye"
    until(lambda: not alive(child) and not alive(leader))


def test_who_does_not_listen_is_killed() -> None:
    """After `stop_timeout`, children as well."""
    kept = Kept()
    text = "trap '' TERM; sleep 1000 & echo $!; while :; do sleep 1000; done"
    began = time.monotonic()
    with running(sh(text, kept, stop_timeout=Duration(0.1)), lambda: kept.lines):
        child = int(kept.messages[0])
    until(lambda: not alive(child))
    assert time.monotonic() - began < 60


def test_what_a_command_leaves_behind_ends_with_it() -> None:
    """A child that holds the output open does not hold the source."""
    kept = Kept()
    sh("sleep 1000 & echo $!", kept).run(once=True)
    child = int(kept.messages[0])
    until(lambda: not alive(child))


def test_a_full_spool_makes_the_command_wait() -> None:
    """Nothing is lost, and stopping is not held up by it."""
    kept = Kept()
    kept.room = False
    number = 30_000
    code = f"for n in range({number}): print('line', n, 'x' * 50)"
    source = ExecSource(ExecConfig((sys.executable, "-c", code), restart="never"), context(kept))
    thread = threading.Thread(target=source.run, kwargs={"once": False})
    thread.start()
    until(lambda: kept.asked)
    assert source.process is not None
    assert source.process.poll() is None
    kept.room = True
    thread.join(60)
    assert [int(message.split()[1]) for message in kept.messages] == list(range(number))


def test_what_cannot_be_run_is_said() -> None:
    """No such program, no such directory, nothing at all."""
    with pytest.raises(SourceError, match="cannot run /no/such: No such file"):
        ExecSource(ExecConfig(("/no/such",)), context(Kept())).run(once=False)
    with pytest.raises(SourceError, match="cannot run"):
        ExecSource(ExecConfig(("true",), directory=Path("/no/such")), context(Kept())).run(once=True)
    for wrong in ((), ("",), ("a\0b",)):
        with pytest.raises(ValueError, match="command"):
            ExecConfig(wrong)


def test_directory_and_environment(tmp_path: Path) -> None:
    """Are the command's."""
    kept = Kept()
    sh('pwd; echo "$WORD"', kept, directory=tmp_path, environment={"WORD": "hello"}).run(once=True)
    assert kept.messages == [str(tmp_path), "hello"]
