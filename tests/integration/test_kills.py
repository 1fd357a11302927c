"""SIGKILL at any moment, again and again: what a log call that returned had logged is delivered, once.

Fleets of processes, each with threads that log and with its own delivery, are killed at random moments and
started again; siblings and later starts adopt what the dead left. The deliverers are killed too:
`logferry run`, and the application's worker at every step of a batch. An effort of 10 (`make prove`) makes
200 kills of fleets.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from effort import effort
from evidence import Evidence
from programs.fate import accounts, assert_whole, deliver_rest, fate, run, said, start, until
from programs.voice import configuration

from logferry.shipper.spool import list_spools
from logferry.shipper.store import Store

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

THREADS, CREW = 3, 3

MEMBER = """
import json
changes, padding, burst, rest = json.loads(sys.argv[2])
configure(directory, **changes)
load(directory, 3, padding=padding, burst=burst, rest=rest)
time.sleep(120)
"""


@dataclass(frozen=True)
class Fleet:
    """What its members do; `kills` in a round."""

    kills: int
    changes: dict[str, Any]
    padding: int
    burst: int
    rest: float


FLEETS = {
    "many small records": Fleet(8, {}, 0, 20, 0.01),
    "rotation, full spools that block": Fleet(
        8, {"spool": {"max_bytes": "1MiB", "when_full": "block", "block_timeout": "60s"}}, 1000, 10, 0.01
    ),
    "full spools that give up the oldest": Fleet(4, {"spool": {"max_bytes": "1MiB"}}, 4000, 50, 0.001),
}


def sail(directory: Path, fleet: Fleet) -> list[int]:
    """Kill members of a fleet at random moments, and in the end all of them; return the killed processes."""
    arguments = json.dumps([fleet.changes, fleet.padding, fleet.burst, fleet.rest])
    log = (directory / "fleet.log").open("ab")
    quiet = {"stdout": log, "stderr": log}
    members = [start(directory, MEMBER, arguments, **quiet) for _ in range(CREW)]
    killed = []
    try:
        while members:
            # Now and then one that has only just been started; the others once they have logged.
            victim = random.choice(members)
            if random.random() < 0.8:
                until(partial(_logs, directory, victim))
            time.sleep(random.random() * 0.3)
            assert victim.poll() is None, (directory / "fleet.log").read_text()
            victim.kill()
            victim.wait()
            killed.append(victim.pid)
            members.remove(victim)
            if len(killed) <= fleet.kills - CREW:
                members.append(start(directory, MEMBER, arguments, **quiet))
    finally:
        for member in members:
            member.kill()
            member.wait()
        log.close()
    return killed


def _differs(now: Callable[[], object], before: object) -> bool:
    return now() != before


def _logs(directory: Path, member: subprocess.Popen[str]) -> bool:
    """Whether it has logged, or ended."""
    spoken = any(n and f"-{member.pid}-" in voice for voice, n in said(directory).items())
    return spoken or member.poll() is not None


@pytest.mark.parametrize("name", FLEETS)
def test_a_fleet_under_kills_loses_nothing(tmp_path: Path, name: str, evidence: Evidence) -> None:
    """Everything whose call had returned is delivered once, or counted as given up by a full spool."""
    fleet = FLEETS[name]
    gives_up = "when_full" not in fleet.changes.get("spool", {"when_full": ""})
    for round_ in range(effort(1)):
        directory = tmp_path / str(round_)
        directory.mkdir()
        killed = sail(directory, fleet)
        books = deliver_rest(directory)
        result = fate(directory)
        dropped = books["here"].dropped
        lost = max(0, result.lost - dropped.get("full", 0)) if gives_up else result.lost
        evidence(f"process killed (SIGKILL): {name}", tried=len(killed), lost=lost)
        cut = len(killed)
        if not gives_up:
            result = assert_whole(directory, None, cut=cut, books=books)
            spoke = {int(voice.split("-")[1]) for voice, n in result.said.items() if n}
            assert spoke <= result.died <= set(killed)
            assert len(result.deaths) <= len(killed)
        else:
            assert lost == 0
            assert result.repeated == 0
            assert dropped.get("full", 0) > 0, "the spool was to be full"
            assert set(dropped) <= {"full", "damaged"}
            assert dropped.get("damaged", 0) <= cut
            # More may be there: written by a deliverer that was killed, given up before it was acknowledged.
            assert books["here"].delivered <= result.events
            assert books["here"].accepted >= result.records
        shutil.rmtree(directory)


# ── the deliverer is killed ──

STEPS = {
    "before a batch is sent": "sinks.local:LocalSink.send:before",
    "after it was sent": "sinks.local:LocalSink.send:after",
    "before the cursor's books are written": "spool.cursor:SpoolCursor.commit:before",
    "after the cursor has moved": "spool.cursor:SpoolCursor.commit:after",
    "after a spool was adopted": "spool.spoolset:SpoolSet.adopt:after",
    "before what is drained goes": "spool.spoolset:SpoolSet.reclaim:before",
    "after a segment was deleted": "spool.directory:Home.remove_segment:after",
    "before a spool's books go into the ledger": "spool.spoolset:SpoolSet._fold:before:1",
    "after its books are in the ledger": "spool.spoolset:SpoolSet._fold:after:1",
    "after its directory was emptied": "spool.directory:Home.remove:after:1",
    "after a death was told": "pipeline:Pipeline._report:after:1",
}

DIES = """
import importlib, random
import logferry.shipper.pipeline
module, name, when, *most = sys.argv[2].split(":")  # most: of what happens once for a spool
owner, name = name.split(".")
owner = getattr(importlib.import_module("logferry.shipper." + module), owner)
before, left = getattr(owner, name), [random.randint(1, int(most[0]) if most else 3)]
def dying(*arguments, **options):
    left[0] -= 1
    if when == "before" and left[0] <= 0: os.kill(os.getpid(), 9)
    result = before(*arguments, **options)
    if when == "after" and left[0] <= 0: os.kill(os.getpid(), 9)
    return result
setattr(owner, name, dying)
configure(directory)
load(directory, 2, padding=1000, burst=20, rest=0.005)
time.sleep(20)
sys.exit("did not die")
"""

LEAVE = """
config = configuration(directory)
import logferry.shipper.sinks.local as local
from logferry.shipper.model import Retry
local.LocalSink.send = lambda *_: Retry("down")
logferry.configure(config)
count = int(sys.argv[2])
threads = [threading.Thread(target=Voice(directory, "left", 1000).many, args=(count,)) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
os.kill(os.getpid(), 9)
"""


def test_an_application_killed_at_every_step_of_its_delivery(tmp_path: Path, evidence: Evidence) -> None:
    """Its own worker is in the middle of a batch, of the books, of a dead spool's burial: nothing twice."""
    kills = effort(5)
    steps = random.sample(list(STEPS), len(STEPS)) * (kills // len(STEPS) + 1)
    for name in steps[:kills]:
        run(tmp_path, LEAVE, 1500)  # leaves a spool to adopt, so that each step comes about
        code, _, err = run(tmp_path, DIES, STEPS[name])
        assert code == -signal.SIGKILL, (name, err)
    books = deliver_rest(tmp_path)
    evidence("application killed at each step of a delivery", tried=kills, lost=fate(tmp_path).lost)
    assert_whole(tmp_path, None, cut=2 * kills, books=books)


def deliverer(directory: Path, config: Path) -> subprocess.Popen[bytes]:
    """Start `logferry run`."""
    with (directory / "run.log").open("ab") as log:
        command = [sys.executable, "-m", "logferry", "run", "-c", str(config)]
        return subprocess.Popen(command, stdout=log, stderr=log)


def killed_again_and_again(
    directory: Path, config: Path, kills: int, fill: Callable[[], object], *, moved: Callable[[], object]
) -> None:
    """Kill `logferry run` at random moments of its work, then let it finish, and end it in good order."""
    for _ in range(kills):
        fill()
        before = moved()
        process = deliverer(directory, config)
        until(partial(_differs, moved, before))
        time.sleep(random.random() * 0.15)
        assert process.poll() is None
        process.kill()
        process.wait()
    process = deliverer(directory, config)
    try:
        until(lambda: not list_spools(directory / "spool") or _only(directory, process.pid))
        until(lambda: not any(account.pending for account in accounts(directory).values()))
    finally:
        process.terminate()
        process.wait(40)
    assert process.returncode == 0
    assert list_spools(directory / "spool") == []


def _only(directory: Path, pid: int) -> bool:
    return all(spool.owner.pid == pid for spool in list_spools(directory / "spool"))


def test_logferry_run_killed_while_it_delivers(tmp_path: Path, evidence: Evidence) -> None:
    """What an application left is delivered by `logferry run`, however often that is killed, and once."""
    config, kills = tmp_path / "run.yaml", effort(3)
    config.write_text(json.dumps(configuration(tmp_path)))
    size = lambda: sum(p.stat().st_size for p in (tmp_path / "store").rglob("*") if p.is_file())  # noqa: E731
    killed_again_and_again(tmp_path, config, kills, lambda: run(tmp_path, LEAVE, 1500), moved=size)
    evidence("logferry run killed while it delivers", tried=kills, lost=fate(tmp_path).lost)
    assert_whole(tmp_path, None, cut=2 * kills)


@pytest.mark.server("loki")
def test_logferry_run_killed_while_it_delivers_to_loki(loki: Any, tmp_path: Path, evidence: Evidence) -> None:
    """A real Loki and the local store hold the same events by id, each once, after kills of the deliverer."""
    service, kills = f"killed-{time.time_ns():x}", effort(2)
    sinks = {**configuration(tmp_path)["sinks"], "loki": {"type": "loki", "url": loki.url}}
    changes = {"service": service, "sinks": sinks}
    config = tmp_path / "run.yaml"
    config.write_text(json.dumps(configuration(tmp_path, **changes)))
    leave = LEAVE.replace("configuration(directory)", repr(str(config)))
    moved = lambda: {k: a.delivered for k, a in accounts(tmp_path).items()}  # noqa: E731
    killed_again_and_again(tmp_path, config, kills, lambda: run(tmp_path, leave, 500), moved=moved)
    result = assert_whole(tmp_path, None, cut=2 * kills)
    step, entries = 20_000_000, []
    with Store(tmp_path / "store") as store:
        times = store.sql("SELECT DISTINCT epoch_ns(timestamp) // 20000000 FROM events").rows
    for (at,) in times:  # Loki sorts all of a window before it cuts a page off: short windows
        entries += loki.entries(f'{{service="{service}"}}', int(at) * step, (int(at) + 1) * step)
    ids = [labels["event_id"] for *_, labels in entries]
    evidence("logferry run killed while it delivers to Loki", tried=kills, lost=result.events - len(set(ids)))
    assert len(set(ids)) == result.events
    # A batch that was sent when the kill came is sent again, and Loki drops it.
    assert len(ids) - len(set(ids)) == 0
