"""`logferry level` in a service of several processes: raised in all of them, and taken back by itself."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

# A process and its forked worker.
WORKERS = """
import logging, os, sys, time
from pathlib import Path
import logferry
place, delivery = Path(sys.argv[1]), sys.argv[2]
logferry.configure({
    "service": "shop", "delivery": delivery, "spool": {"path": str(place / "spool")},
    "logging": {"level": "WARNING", "console": "off"},
    "sinks": {"out": {"type": "local", "path": str(place / "store"), "compact": "off"}},
})
child = os.fork()
log, said = logging.getLogger("sqlalchemy.engine"), place / f"level-{os.getpid()}"
log.error("begins")  # nothing runs in a worker before its first record
before = ""
while not (place / "stop").exists():
    log.debug("SELECT 1")
    now = str(log.isEnabledFor(logging.DEBUG))
    if now != before: said.write_text(now)
    before = now
    time.sleep(0.01)
if child:
    os.waitpid(child, 0)
else:
    logferry.shutdown()
    os._exit(0)
"""


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def levels(place: Path) -> dict[int, str]:
    """Return what each worker says: whether its logger is at DEBUG."""
    return {int(path.name[6:]): path.read_text() for path in place.glob("level-*")}


def shipped(place: Path) -> set[int]:
    """Return the workers whose lines of DEBUG are in the store."""
    lines = b"".join(path.read_bytes() for path in (place / "store" / "fresh").glob("*.ndjson"))
    events = [json.loads(line) for line in lines.rpartition(b"\n")[0].splitlines()]
    return {event["process"] for event in events if event["level"] == "DEBUG"}


def test_raised_in_all_workers_and_taken_back(tmp_path: Path) -> None:
    """Two programs with a forked worker each, of two services: DEBUG soon, and gone when its time is over."""
    places = [tmp_path / delivery for delivery in ("thread", "process")]
    programs = []

    def raised(span: str) -> None:
        for place in places:
            level = [sys.executable, "-m", "logferry", "level", "sqlalchemy=DEBUG", "--for", span]
            level += ["--spool", str(place / "spool"), "--service", "shop"]
            subprocess.run(level, check=True, capture_output=True)

    def all_say(text: str) -> bool:
        return all(list(levels(place).values()) == [text] * 4 for place in places)

    for place in places:
        place.mkdir()
        command = [sys.executable, "-c", WORKERS, str(place), place.name]
        programs += [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
    try:
        until(lambda: all_say("False"), "four workers of each begin")
        raised("10m")
        until(lambda: all_say("True"), "raised in all of them")
        raised("1s")
        until(lambda: all_say("False"), "taken back in all of them")
    finally:
        for place in places:
            (place / "stop").touch()
        errors = [program.communicate(timeout=60)[1] for program in programs]
    assert [program.returncode for program in programs] == [0] * 4, errors
    for place in places:
        until(lambda place=place: shipped(place) == set(levels(place)), "lines of DEBUG of each are shipped")
