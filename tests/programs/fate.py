"""What became of the records of a test's voices: read from the local store and from the spool's books."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from click.testing import CliRunner

from logferry.shipper.cli.audit import audit as audit_command
from logferry.shipper.config import load
from logferry.shipper.config.plan import plan
from logferry.shipper.model import Account
from logferry.shipper.pipeline import Pipeline
from logferry.shipper.spool import SpoolInfo, audit, list_spools
from logferry.shipper.store import Store

from .voice import configuration

__all__ = ["Fate", "accounts", "assert_whole", "deliver_rest", "fate", "finish", "run", "start", "until"]

TESTS = Path(__file__).parents[1]
HEAD = f"""
import sys; sys.path.insert(0, {str(TESTS)!r})
import atexit, gc, logging, multiprocessing, os, signal, subprocess, threading, time, weakref
from pathlib import Path
import logferry
from programs.voice import Voice, configuration, configure, load
directory = Path(sys.argv[1])
"""


def start(directory: Path, body: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Start a program of `HEAD` and `body`; its output goes to pipes unless `options` say otherwise."""
    program = directory / f"program-{abs(hash(body)):x}.py"
    if not program.exists():  # it may be read by one that starts at this moment
        program.write_text(HEAD + body)
    command = [sys.executable, "-X", "faulthandler", str(program), str(directory), *map(str, arguments)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    return subprocess.Popen(command, **options)


def finish(process: subprocess.Popen[str], seconds: float = 60) -> tuple[int, str, str]:
    """Wait for its end; when it hangs, end it with its threads' stacks and fail."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(6)  # faulthandler writes the stacks
        _, err = process.communicate(timeout=20)
        raise AssertionError(f"hangs after {seconds} s:\n{err}") from None
    return process.returncode, out, err


def run(directory: Path, body: str, *arguments: object, seconds: float = 60) -> tuple[int, str, str]:
    """Run a program to its end."""
    return finish(start(directory, body, *arguments), seconds)


def until(condition: Any, seconds: float = 60, what: str = "") -> None:
    """Poll until `condition()` is true; fail when it is not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what or "not in time"
        time.sleep(0.01)


@dataclass(slots=True)
class Fate:
    """`said` and `found` by voice; `deaths` by spool, `died` the processes; `others` are further messages."""

    said: dict[str, int]
    found: dict[str, list[int]]
    deaths: Counter[str]
    died: set[int]
    others: list[str]
    events: int
    repeated: int  # events that stand more than once in the store

    @property
    def records(self) -> int:
        """How many log calls had returned."""
        return sum(self.said.values())

    @property
    def lost(self) -> int:
        """How many of them are not in the store."""
        return sum(len(set(range(1, n + 1)).difference(self.found.get(v, ()))) for v, n in self.said.items())


def said(directory: Path) -> dict[str, int]:
    """Return the last number of each voice whose log call had returned."""
    books = sorted((directory / "said").iterdir()) if (directory / "said").exists() else []
    return {book.name: int.from_bytes(book.read_bytes(), "little") for book in books}


def fate(directory: Path) -> Fate:
    """Read the store."""
    spoken = said(directory)
    found: dict[str, list[int]] = {}
    result = Fate(spoken, found, Counter(), set(), [], 0, 0)
    if not (directory / "store").exists():
        return result
    if not any((directory / "store" / "fresh").glob("*")):
        return result
    with Store(directory / "store") as store:
        rows = store.sql("SELECT event_id, message, voice, n, CAST(fields AS VARCHAR) FROM events").rows
    result.events = len(rows)
    result.repeated = len(rows) - len({row[0] for row in rows})
    for _, message, voice, n, fields in rows:
        if voice:
            found.setdefault(voice, []).append(n)
        elif "died without shutdown" in message:
            told = orjson.loads(fields)
            result.deaths[told["spool"]] += 1
            result.died.add(told["died_process"])
        else:
            result.others.append(message)
    return result


def accounts(directory: Path) -> dict[str, Account]:
    """Return the accounts by sink, as the files prove them; fail when books and frames disagree."""
    report = audit(directory / "spool")
    assert report.problems == []
    assert all(account.balance == 0 for account in report.accounts.values())
    return {sink: account for (_, sink), account in report.accounts.items()}


def deliver_rest(directory: Path, seconds: float = 60, **changes: Any) -> dict[str, Account]:
    """Deliver what dead processes left, as the next start does; return the accounts. Nothing may be left."""
    pipeline = Pipeline.from_plan(plan(load(configuration(directory, **changes))))
    pipeline.start()
    try:
        until(lambda: _drained(directory, pipeline), seconds, f"not drained: {pipeline.accounts()}")
    finally:
        assert pipeline.shutdown(20)
    assert _spools(directory) == []
    return accounts(directory)


def _spools(directory: Path) -> list[SpoolInfo]:
    """Return the spools, but for what is left of one whose owner was killed while it made it.

    A thread that logs after the end begins a new spool. Its directory, without a lock and so without a
    record, is taken away after a minute only, as it might still be in the making.
    """
    return [spool for spool in list_spools(directory / "spool") if spool.segments or spool.alive]


def _drained(directory: Path, pipeline: Pipeline) -> bool:
    left = [spool for spool in _spools(directory) if spool.id != pipeline.spool.id]
    return not left and not any(account.pending for account in pipeline.accounts().values())


def assert_whole(
    directory: Path,
    deaths: int | None = 0,
    *,
    cut: int = 0,
    others: Sequence[str] = (),
    books: Mapping[str, Account] | None = None,
) -> Fate:
    """Assert that each record that was logged is in the store once, and that the books say the same.

    `deaths`: how many spools have a death notice, one each; None: any number of them, and a second one where
    who told it was killed before that was noted. `cut`: so many appends at most were cut off by a kill or an
    interrupt: they may be there without their call having returned, or count as damaged. `others`: how
    further messages may begin.
    """
    result = fate(directory)
    assert result.lost == 0, _missing(result)
    assert result.repeated == 0
    for voice, numbers in result.found.items():
        assert len(numbers) == len(set(numbers)), voice
        assert max(numbers) <= result.said[voice] + (1 if cut else 0), voice
    told = {1} if deaths is not None else {1, 2}
    assert set(result.deaths.values()) <= told, result.deaths
    assert deaths is None or len(result.deaths) == deaths, result.deaths
    assert [text for text in result.others if not text.startswith(tuple(others))] == []
    account = (accounts(directory) if books is None else books)["here"]
    assert account.pending == 0
    assert account.delivered == result.events
    assert set(account.dropped) <= {"damaged"}
    assert account.dropped.get("damaged", 0) <= cut
    audited = CliRunner().invoke(audit_command, ["--spool", str(directory / "spool")])
    assert audited.exit_code == 0, audited.output
    return result


def _missing(result: Fate) -> str:
    lines = []
    for voice, n in result.said.items():
        gone = sorted(set(range(1, n + 1)).difference(result.found.get(voice, ())))
        if gone:
            lines.append(f"{voice}: {len(gone)} of {n} lost, from {gone[0]} to {gone[-1]}")
    return "\n".join(lines)
