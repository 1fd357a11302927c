"""`logferry run` over real files: exit codes, kills, signals, and an account that always balances."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
CONFIG = """\
service: ship
spool: {{path: spool}}
sinks:
  out: {{type: file, path: out.ndjson}}
  here: {{type: local, path: logs, compact: "off"}}
sources:
  app: {{type: file, include: [in/*.log], poll_interval: 20ms, scan_interval: 50ms{more}}}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "logferry.yaml").write_text(CONFIG.format(more=""))
    return tmp_path


def command(place: Path, *args: str, **options: Any) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    return subprocess.Popen([sys.executable, "-m", "logferry", *args], cwd=place, **pipes)


def run(place: Path, *args: str, **options: Any) -> tuple[int, list[dict[str, Any]], str]:
    process = command(place, *args, **options)
    out, err = process.communicate(timeout=120)
    return process.returncode, [json.loads(line) for line in out.splitlines()], err


def write(place: Path, name: str, first: int, count: int) -> list[str]:
    lines = [f"{name} line {number}" for number in range(first, first + count)]
    with (place / "in" / f"{name}.log").open("a") as file:
        file.write("\n".join(lines) + "\n")
    return lines


def stored(place: Path) -> Counter[str]:
    rows = run(place, "query", "--limit", "1000000")[1]
    return Counter(row["message"] for row in rows)


def delivered_ids(place: Path) -> set[str]:
    return {row["event_id"] for row in run(place, "query", "--limit", "1000000")[1]}


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_once_over_real_files(place: Path) -> None:
    """All lines of all files are delivered to every sink, the exit code is 0, and the audit agrees."""
    written = write(place, "a", 0, 5_000) + write(place, "b", 0, 3_000)
    code, accounts, err = run(place, "run", "--once")
    assert code == 0, err
    assert {(a["sink"], a["accepted"], a["delivered"], a["unaccounted"]) for a in accounts} == {
        ("out", 8_000, 8_000, 0),
        ("here", 8_000, 8_000, 0),
    }
    assert stored(place) == Counter(written)
    assert run(place, "audit")[0] == 0
    assert run(place, "run", "--once")[1][0]["accepted"] == 0


def test_killed_and_run_again(place: Path) -> None:
    """Killed at any moment and run again, no line is lost and none is in the spool twice."""
    written = write(place, "a", 0, 60_000)
    kills = 0
    for wait in (0.3, 0.45, 0.6, 0.75):
        process = command(place, "run", "--once")
        time.sleep(wait)  # any moment is as good as another: that is what is shown
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.communicate(timeout=30)
    code, accounts, err = run(place, "run", "--once")
    assert code == 0, err
    assert kills
    assert all(account["pending"] == 0 and account["unaccounted"] == 0 for account in accounts)
    found = stored(place)
    found = Counter(
        {message: count for message, count in found.items() if "died without shutdown" not in message}
    )
    assert found == Counter(written)  # the store keeps an id once; a line read twice would have two ids
    code, audit, _ = run(place, "audit")
    assert code == 0
    assert all(row["unaccounted"] == 0 for row in audit)


def test_what_cannot_be_delivered_waits(place: Path) -> None:
    """With a dead sink the exit code is 1, what is left waits in the spool, and goes out when it is back."""
    text = (place / "logferry.yaml").read_text()
    (place / "blocked").write_text("")
    dead = text.replace("path: out.ndjson", "path: blocked/out.ndjson")
    (place / "logferry.yaml").write_text(dead)
    write(place, "a", 0, 100)
    code, accounts, err = run(place, "run", "--once", "--patience", "1s")
    by_sink = {account["sink"]: account for account in accounts}
    assert code == 1
    assert (by_sink["here"]["delivered"], by_sink["out"]["pending"]) == (100, 100)
    assert "wait in the spool" in err
    (place / "logferry.yaml").write_text(text)
    code, accounts, err = run(place, "run", "--once")
    assert code == 0, err
    assert {a["sink"]: a["delivered"] for a in accounts} == {"out": 100, "here": 0}
    assert len((place / "out.ndjson").read_text().splitlines()) == 100


def test_following_until_sigterm(place: Path) -> None:
    """`run` follows its files, ends cleanly on SIGTERM with 0, and goes on where it was."""
    process = command(place, "run")
    written = write(place, "a", 0, 10)
    until(lambda: (place / "logs").is_dir() and stored(place) == Counter(written), "the first lines")
    written += write(place, "a", 10, 10)
    until(lambda: stored(place) == Counter(written), "the lines that were added")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 0
    written += write(place, "a", 20, 10)
    assert run(place, "run", "--once")[0] == 0
    assert stored(place) == Counter(written)


def test_stdin_to_its_end(place: Path) -> None:
    """A pipe is read to its end and delivered."""
    text = (place / "logferry.yaml").read_text()
    (place / "logferry.yaml").write_text(text.partition("sources:")[0] + "sources: {in: {type: stdin}}\n")
    process = command(place, "run", "--once", stdin=subprocess.PIPE)
    out, err = process.communicate("one\ntwo\nthree", timeout=60)
    assert process.returncode == 0, err
    assert all(json.loads(line)["delivered"] == 3 for line in out.splitlines())
    assert set(stored(place)) == {"one", "two", "three"}


def test_a_reader_that_goes_away_is_no_traceback(place: Path) -> None:
    """`logferry query | head -1` is quiet."""
    write(place, "a", 0, 5_000)
    assert run(place, "run", "--once")[0] == 0
    reading, writing = os.pipe()
    process = command(place, "query", "--limit", "5000", stdout=writing)
    os.close(writing)
    os.read(reading, 1)
    os.close(reading)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (141, "")


def test_the_example_ships_its_sample(tmp_path: Path) -> None:
    """The example's configuration ships a directory, joins tracebacks, and keeps no secret."""
    source = ROOT / "examples" / "ship-directory"
    (tmp_path / "logferry.yaml").write_text((source / "logferry.yaml").read_text())
    environment = {**os.environ, "DIR": str(source / "sample")}
    code, accounts, err = run(tmp_path, "run", "--once", env=environment)
    assert code == 0, err
    assert [(account["accepted"], account["delivered"]) for account in accounts] == [(7, 7)]
    errors = run(tmp_path, "query", "level=ERROR")[1]
    assert {row.get("error", {}).get("type") for row in errors} == {"ConnectionError", None}
    kept = b"".join(path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file())
    assert b"hunter2" not in kept
    assert b"4111 1111" not in kept


def test_once_delivers_what_a_killed_run_left(place: Path) -> None:
    """The sources have nothing new, and what waits is in a dead process's spool: it goes out all the same."""
    good = (place / "logferry.yaml").read_text()
    nowhere = {"type": "loki", "url": "http://127.0.0.1:9"}
    (place / "logferry.yaml").write_text(good.replace("{type: file, path: out.ndjson}", json.dumps(nowhere)))
    lines = write(place, "app", 0, 5_000)
    shipper = command(place, "run")
    try:
        until(
            lambda: sum(row["accepted"] for row in run(place, "audit")[1] if row["sink"] == "here") == 5_000,
            "read",
        )
    finally:
        shipper.kill()
        shipper.communicate()
    (place / "logferry.yaml").write_text(good)
    code, _, err = run(place, "run", "--once")
    assert code == 0, err
    told = [json.loads(line)["message"] for line in (place / "out.ndjson").read_bytes().splitlines()]
    assert Counter(told) - Counter(lines) == Counter(line for line in told if "died without shutdown" in line)
    assert Counter(lines) - Counter(told) == Counter()
