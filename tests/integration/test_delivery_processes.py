"""The ends of real processes: with a hanging sink, by SIGTERM, by SIGKILL, after a fork; and what follows."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from logferry.shipper.spool import SpoolSet, SpoolSettings

pytestmark = pytest.mark.integration

HEAD = """
import logging, logferry, multiprocessing, os, signal, sys, time
from logferry.shipper.sinks import file, memory
from logferry.shipper.model import Retry
config = {"service": "checkout", "spool": {"path": sys.argv[1] + "/spool"}, "shutdown_timeout": 20.0,
          "logging": {"level": "INFO", "console": "off"},
          "sinks": {"out": {"type": "file", "path": sys.argv[1] + "/out.ndjson"}}}
log = logging.getLogger("app")
def refuse(self, batch):
    return Retry("down")
def hang(self, batch):
    time.sleep(3600)
def sends(how):
    file.FileSink.send = how
    config["shutdown_timeout"] = 1.0
"""


def start(tmp_path: Path, body: str, expected: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-c", HEAD + body, str(tmp_path), str(expected)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(tmp_path: Path, body: str, expected: int = 0) -> tuple[int, str, str]:
    process = start(tmp_path, body, expected)
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


def delivered(tmp_path: Path) -> list[dict[str, Any]]:
    path = tmp_path / "out.ndjson"
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def numbers(tmp_path: Path) -> list[int]:
    return [event["n"] for event in delivered(tmp_path) if "n" in event]


def account(tmp_path: Path) -> tuple[int, int, int]:
    books = SpoolSet(SpoolSettings(tmp_path / "spool", "checkout")).accounts(["out"])["out"]
    assert books.balance == 0
    return books.accepted, books.delivered, books.pending


LOG_1000 = "for n in range(1000): log.info('record', extra={'n': n})\n"
DELIVER_REST = """
logferry.configure(config)
deadline = time.monotonic() + 10
def waiting():
    books = logferry.shipper.lifecycle.current().accounts()["out"]
    return books.pending or books.delivered < int(sys.argv[2])
while time.monotonic() < deadline and waiting():
    time.sleep(0.02)
"""


def test_the_exit_delivers_what_was_logged_last(tmp_path: Path) -> None:
    """A script that ends right after its last record loses nothing and says nothing."""
    code, _, err = run(tmp_path, "logferry.configure(config)\n" + LOG_1000)
    assert (code, err) == (0, "")
    assert numbers(tmp_path) == list(range(1000))
    assert account(tmp_path) == (1000, 1000, 0)


@pytest.mark.parametrize("trouble", ["hang", "refuse"])
def test_a_bad_sink_delays_the_exit_by_its_bound_at_most(tmp_path: Path, trouble: str) -> None:
    """With a sink that hangs or refuses, the process ends in time, and the next one delivers everything."""
    began = time.monotonic()
    code, _, err = run(tmp_path, f"sends({trouble})\nlogferry.configure(config)\n" + LOG_1000)
    assert code == 0
    assert time.monotonic() - began < 5
    assert "1000 events were not delivered in time; what is left waits in the spool" in err
    code, _, err = run(tmp_path, DELIVER_REST, 1000)
    assert (code, err) == (0, "")
    assert numbers(tmp_path) == list(range(1000))
    assert account(tmp_path) == (1000, 1000, 0)


@pytest.mark.parametrize("trouble", ["", "sends(hang)"])
def test_sigterm_ends_the_process_as_ever_and_loses_nothing(tmp_path: Path, trouble: str) -> None:
    """SIGTERM: delivered within the bound, then dead of SIGTERM; a hanging sink does not prevent it."""
    body = f"{trouble}\nlogferry.configure(config)\n{LOG_1000}print('ready', flush=True)\ntime.sleep(60)\n"
    process = start(tmp_path, body)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    began = time.monotonic()
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGTERM
    assert time.monotonic() - began < 4
    assert numbers(tmp_path) == ([] if trouble else list(range(1000)))
    code, _, err = run(tmp_path, DELIVER_REST, 1000)
    assert (code, err) == (0, "")
    assert numbers(tmp_path) == list(range(1000))
    assert account(tmp_path) == (1000, 1000, 0)


def test_sigkill_loses_nothing_and_is_reported(tmp_path: Path) -> None:
    """After SIGKILL the next start delivers every record that was logged, once, and one death notice."""
    body = (
        f"sends(hang)\nlogferry.configure(config)\n{LOG_1000}"
        "log.info('in flight', extra={'request_id': 'r-1'})\nprint('logged', flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    process = start(tmp_path, body)
    out, _ = process.communicate(timeout=20)
    assert (process.returncode, out) == (-signal.SIGKILL, "logged\n")
    code, _, err = run(tmp_path, DELIVER_REST + "log.info('after'); logferry.flush(5)\n", 1002)
    assert (code, err) == (0, "")
    assert numbers(tmp_path) == list(range(1000))
    (notice,) = [event for event in delivered(tmp_path) if event.get("kind") == "death"]
    assert notice["message"] == f"process {process.pid} died without shutdown"
    assert notice["open_requests"] == ["r-1"]
    assert notice["level"] == "ERROR"
    run(tmp_path, DELIVER_REST, 1003)
    assert sum(event.get("kind") == "death" for event in delivered(tmp_path)) == 1
    accepted, done, pending = account(tmp_path)
    assert (accepted, done, pending) == (1003, 1003, 0)


def test_forked_children_deliver_their_own(tmp_path: Path) -> None:
    """Children of `os.fork` and of multiprocessing ship what they log; who logs nothing starts nothing."""
    body = """
config["sinks"]["out"]["path"] = sys.argv[1] + "/out-{pid}.ndjson"
logferry.configure(config)
log.info("parent", extra={"n": 0})
logferry.flush(5)
def work(n):
    log.info("child", extra={"n": n})
    assert logferry.flush(5)
children = [multiprocessing.get_context("fork").Process(target=work, args=(n,)) for n in (1, 2, 3)]
import warnings
warnings.simplefilter("ignore")
for child in children: child.start()
for child in children: child.join(20)
assert [c.exitcode for c in children] == [0, 0, 0]
pid = os.fork()
if not pid:
    import threading
    assert logferry.shutdown(1)
    os._exit(0 if threading.active_count() == 1 else 1)
assert os.waitpid(pid, 0)[1] == 0
"""
    code, _, err = run(tmp_path, body)
    assert (code, err) == (0, "")
    found = [json.loads(line) for p in tmp_path.glob("out-*.ndjson") for line in p.read_bytes().splitlines()]
    assert sorted(event["n"] for event in found) == [0, 1, 2, 3]
    assert len({event["process"] for event in found}) == 4
    assert account(tmp_path) == (4, 4, 0)


def test_a_multiprocessing_child_that_configures_itself_delivers_at_its_end(tmp_path: Path) -> None:
    """A child whose parent ships nothing, and which never flushes, has delivered when it ends."""
    body = """
def work():
    logferry.configure(config)
    for n in range(200):
        log.info("child", extra={"n": n})
child = multiprocessing.get_context("fork").Process(target=work)
child.start()
child.join(20)
assert child.exitcode == 0
"""
    code, _, err = run(tmp_path, body)
    assert (code, err) == (0, "")
    assert numbers(tmp_path) == list(range(200))
    assert account(tmp_path) == (200, 200, 0)


def test_an_uncaught_exception_is_the_last_event(tmp_path: Path) -> None:
    """What ends the program is shipped, with its traceback, and still printed."""
    code, _, err = run(tmp_path, "logferry.configure(config)\nraise LookupError('no such order')\n")
    assert code == 1
    assert "LookupError: no such order" in err
    (event,) = delivered(tmp_path)
    assert (event["level"], event["error"]["type"]) == ("CRITICAL", "LookupError")


def test_a_child_that_is_killed_is_adopted_by_its_parent(tmp_path: Path) -> None:
    """A worker process that dies of SIGKILL leaves its last records to the parent, who delivers them."""
    body = """
logferry.configure(config)
log.info("parent", extra={"n": 0})
logferry.flush(5)
pid = os.fork()
if not pid:
    sends(hang)
    log.info("child", extra={"n": 1})
    os.kill(os.getpid(), signal.SIGKILL)
os.waitpid(pid, 0)
deadline = time.monotonic() + 15
while time.monotonic() < deadline and logferry.shipper.lifecycle.current().accounts()["out"].delivered < 3:
    time.sleep(0.05)
"""
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", HEAD + body, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert (process.returncode, process.stderr) == (0, "")
    assert sorted(numbers(tmp_path)) == [0, 1]
    assert sum(event.get("kind") == "death" for event in delivered(tmp_path)) == 1
    assert account(tmp_path) == (3, 3, 0)


def test_what_is_logged_after_the_shutdown_at_exit_waits_for_the_next_start(tmp_path: Path) -> None:
    """Callbacks registered before `configure` run after it, finalisers later still: the spool takes them."""
    body = """
import atexit, weakref
class Late:
    pass
late = Late()
weakref.finalize(late, log.info, "finalised", extra={"n": 1})
atexit.register(log.info, "an earlier callback", extra={"n": 2})
logferry.configure(config)
log.info("in time", extra={"n": 0})
"""
    code, _, err = run(tmp_path, body)
    assert (code, err) == (0, "")
    assert numbers(tmp_path) == [0]
    assert account(tmp_path) == (3, 1, 2)
    code, _, err = run(tmp_path, DELIVER_REST, 3)
    assert (code, err) == (0, "")
    assert sorted(numbers(tmp_path)) == [0, 1, 2]
    assert not [event for event in delivered(tmp_path) if event.get("kind") == "death"]
    assert account(tmp_path) == (3, 3, 0)


def test_what_other_threads_log_while_the_process_dies_of_sigterm_is_kept(tmp_path: Path) -> None:
    """A thread that logs until the very end: every call that returned is delivered by the next start."""
    body = """
import threading
logferry.configure(config)
def work():
    n = 0
    while True:
        log.info("record", extra={"n": n})
        os.pwrite(returned, n.to_bytes(8, "little"), 0)
        n += 1
returned = os.open(sys.argv[1] + "/returned", os.O_RDWR | os.O_CREAT)
threading.Thread(target=work, daemon=True).start()
time.sleep(0.3)
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(60)
"""
    code, _, err = run(
        tmp_path,
        body,
    )
    assert code == -signal.SIGTERM, err
    last = int.from_bytes((tmp_path / "returned").read_bytes(), "little")
    accepted = account(tmp_path)[0]
    assert accepted in {last + 1, last + 2}  # the last call may have been interrupted before it returned
    code, _, err = run(tmp_path, DELIVER_REST, accepted)
    assert (code, err) == (0, "")
    assert sorted(numbers(tmp_path)) == list(range(accepted))
    assert not [event for event in delivered(tmp_path) if event.get("kind") == "death"]


def test_a_replaced_configuration_loses_nothing_of_what_is_being_logged(tmp_path: Path) -> None:
    """While one pipeline takes the other's place, threads go on logging: each record arrives once."""
    body = """
import threading
logferry.configure(config)
going, counts = True, [0] * 4
def work(k):
    while going:
        log.info("record", extra={"n": counts[k] * 4 + k})
        counts[k] += 1
threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
for thread in threads: thread.start()
for turn in range(6):
    time.sleep(0.05)
    logferry.configure({**config, "shutdown_timeout": 2.0 + turn})
going = False
for thread in threads: thread.join()
assert logferry.shutdown(20)
print(sum(counts))
"""
    code, out, err = run(tmp_path, body)
    assert (code, err) == (0, "")
    assert len(numbers(tmp_path)) == len(set(numbers(tmp_path))) == int(out)
    assert account(tmp_path) == (int(out), int(out), 0)
