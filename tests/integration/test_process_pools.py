"""Processes that fork, pools that recycle their workers, servers that reload: nothing lost, nothing twice.

Forks while threads log, `os.execv`, children that outlive a killed parent, `multiprocessing`, Celery's
billiard, `concurrent.futures`, gunicorn under load, fifty processes on one path with dead ones among them.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest
from effort import effort
from evidence import Evidence
from programs.fate import HEAD, accounts, assert_whole, deliver_rest, fate, finish, run, said, start, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


# ── forks ──

FORKS = """
configure(directory)
threads = load(directory, 3, burst=20, rest=0.002)
children = []
for n in range(int(sys.argv[2])):
    pid = os.fork()
    if not pid:
        kind = n % 4
        if kind: Voice(directory, 'child').many(20)  # one in four logs nothing
        if kind == 1: assert logferry.shutdown(60); os._exit(0)
        if kind == 2: sys.exit(0)
        if kind == 3:
            if os.fork(): sys.exit(0)
            Voice(directory, 'grandchild').many(20)
            sys.exit(0)
        os._exit(0)
    children.append(pid)
    if len(children) >= 4:
        assert os.waitpid(children.pop(0), 0)[1] == 0
for pid in children: assert os.waitpid(pid, 0)[1] == 0
"""


def test_forks_while_threads_log(tmp_path: Path, evidence: Evidence) -> None:
    """Children and grandchildren of a process whose threads log: each delivers its own, none hangs."""
    count = effort(16)
    code, _, err = run(tmp_path, FORKS, count, seconds=60 + 2 * count)
    assert code == 0, err
    until(lambda: _nobody_lives(tmp_path))
    books = deliver_rest(tmp_path)
    evidence("fork while threads log", tried=count, lost=fate(tmp_path).lost)
    result = assert_whole(tmp_path, 0, books=books)
    assert sum(voice.startswith("child") for voice in result.said) == count * 3 // 4
    assert sum(voice.startswith("grandchild") for voice in result.said) == count // 4


def _nobody_lives(directory: Path) -> bool:
    """Whether no process has the test's directory in its command line (`-ww`: the whole of it) any more."""
    found = subprocess.run(
        ["ps", "-A", "-ww", "-o", "args="], capture_output=True, text=True, check=True
    ).stdout
    return str(directory) not in found


def test_an_owner_killed_while_its_child_lives(tmp_path: Path) -> None:
    """The killed parent's records are delivered, its death is told, and the child goes on unharmed."""
    body = """
configure(directory)
Voice(directory, 'parent').many(200)
if not os.fork():
    voice = Voice(directory, 'child')
    voice()
    until = time.monotonic() + 30
    while not (directory / 'go').exists() and time.monotonic() < until: voice(); time.sleep(0.001)
    voice.many(100)
    sys.exit(0)
time.sleep(0.2)
os.kill(os.getpid(), 9)
"""
    program = start(tmp_path, body, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert program.wait(60) == -signal.SIGKILL
    parents = lambda: [v for v in fate(tmp_path).found if v.startswith("parent")]  # noqa: E731
    until(lambda: parents() and fate(tmp_path).deaths, what="the child adopts its parent's spool")
    (tmp_path / "go").touch()
    until(lambda: _nobody_lives(tmp_path))
    assert accounts(tmp_path)["here"].pending == 0, "the child's own end delivers"
    assert_whole(tmp_path, 1, cut=1)


def test_a_program_replaced_by_another(tmp_path: Path) -> None:
    """What was logged before `os.execv` is delivered by the program that takes the process over."""
    body = """
configure(directory)
Voice(directory, 'image').many(200)
if len(sys.argv) < 4: os.execv(sys.executable, [sys.executable, *sys.argv, 'again'])
"""
    code, _, err = run(tmp_path, body, "once")
    assert code == 0, err
    deliver_rest(tmp_path)
    result = assert_whole(tmp_path, None, cut=1)
    assert result.records == 400
    assert len(result.deaths) <= 1  # the first image did not shut down


def test_a_program_started_with_all_descriptors(tmp_path: Path) -> None:
    """A child of `subprocess` with close_fds=False holds nothing of ours: the dead parent is adopted."""
    body = """
configure(directory)
Voice(directory, 'a').many(100)
null = subprocess.DEVNULL
child = subprocess.Popen(['sleep', '60'], close_fds=False, stdout=null, stderr=null)
print(child.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    program = start(tmp_path, body)
    assert program.stdout is not None
    child = int(program.stdout.readline())
    try:
        assert finish(program)[0] == -signal.SIGKILL
        if sys.platform == "linux":
            held = [str(entry.readlink()) for entry in Path(f"/proc/{child}/fd").iterdir()]
            assert not [path for path in held if str(tmp_path) in path]
        deliver_rest(tmp_path)
        assert_whole(tmp_path, 1, cut=1)
    finally:
        os.kill(child, signal.SIGKILL)


# ── pools ──

POOL_HEAD = """
def work(n):
    global voice
    if 'voice' not in globals() or voice_of != os.getpid(): begin()
    voice.many(5)
    return n
def begin():
    global voice, voice_of
    voice, voice_of = Voice(directory, 'worker'), os.getpid()
def configured():
    configure(directory)
jobs = range(int(sys.argv[2]))
"""

POOLS = {
    "multiprocessing, fork": """
configure(directory)
with multiprocessing.get_context('fork').Pool(3, maxtasksperchild=4) as pool:
    assert sorted(pool.imap_unordered(work, jobs)) == list(jobs)
    pool.close()
    pool.join()
""",
    "multiprocessing, fork, terminated": """
configure(directory)
with multiprocessing.get_context('fork').Pool(3, maxtasksperchild=4) as pool:
    assert sorted(pool.imap_unordered(work, jobs)) == list(jobs)
""",
    "multiprocessing, spawn": """
with multiprocessing.get_context('spawn').Pool(2, configured, maxtasksperchild=8) as pool:
    assert sorted(pool.imap_unordered(work, jobs)) == list(jobs)
    pool.close()
    pool.join()
""",
    "concurrent.futures, fork": """
from concurrent.futures import ProcessPoolExecutor
configure(directory)
Voice(directory, 'parent').many(50)
with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context('fork')) as pool:
    assert sorted(pool.map(work, jobs)) == list(jobs)
""",
    "concurrent.futures, spawn": """
from concurrent.futures import ProcessPoolExecutor
with ProcessPoolExecutor(2, multiprocessing.get_context('spawn'), configured) as pool:
    assert sorted(pool.map(work, jobs)) == list(jobs)
""",
    "billiard (Celery's prefork)": """
from billiard.pool import Pool
configure(directory)
# billiard's workers leave with os._exit; this is where Celery sends worker_process_shutdown
pool = Pool(3, maxtasksperchild=4, on_process_exit=lambda *_: logferry.shutdown())
assert sorted(pool.map(work, jobs)) == list(jobs)
pool.close()
pool.join()
""",
    "billiard, without a word at the end": """
import billiard
configure(directory)
pool = billiard.Pool(3, maxtasksperchild=4)
assert sorted(pool.map(work, jobs)) == list(jobs)
pool.terminate()
pool.join()
""",
}


@pytest.mark.parametrize("name", POOLS)
def test_a_pool_that_recycles_its_workers(tmp_path: Path, name: str, evidence: Evidence) -> None:
    """Its workers come and go; what each has logged is delivered, and none of them counts as dead."""
    if "billiard" in name:
        pytest.importorskip("billiard")
    count = effort(24)
    indented = "".join(f"    {line}\n" for line in POOLS[name].strip().splitlines())
    code, _, err = run(
        tmp_path, f"{POOL_HEAD}\nif __name__ == '__main__':\n{indented}", count, seconds=60 + count
    )
    assert code == 0, err
    books = deliver_rest(tmp_path)
    evidence(
        "worker pools (multiprocessing, billiard, concurrent.futures)", tried=count, lost=fate(tmp_path).lost
    )
    deaths = None if "without a word" in name else 0
    result = assert_whole(tmp_path, deaths, books=books)
    assert result.records >= 5 * count


# ── many on one path ──

FIFTY = """
import logferry.shipper.sinks.local, logferry.shipper.lifecycle, json  # once, not fifty times
children = []
for n in range(50):
    pid = os.fork()
    if not pid:
        configure(directory)
        voice = Voice(directory, 'member')
        for _ in range(20):
            voice.many(10)
            if n % 5 == 0 and voice.n > 50: os.kill(os.getpid(), 9)
            time.sleep(0.02)
        sys.exit(0)
    children.append(pid)
print(json.dumps({pid: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children}))
"""


def test_fifty_processes_on_one_path(tmp_path: Path, evidence: Evidence) -> None:
    """Of fifty that write at once every fifth is killed in the middle; its siblings adopt it meanwhile."""
    code, out, err = run(tmp_path, FIFTY, seconds=120)
    assert code == 0, err
    ends = json.loads(out)
    killed = {int(pid) for pid, end in ends.items() if end == -signal.SIGKILL}
    assert len(killed) == 10
    assert list(ends.values()).count(0) == 40, err
    books = deliver_rest(tmp_path)
    evidence("fifty processes on one path, every fifth killed", tried=50, lost=fate(tmp_path).lost)
    result = assert_whole(tmp_path, 10, cut=10, books=books)
    assert result.died == killed


# ── gunicorn ──

APPLICATION = (
    HEAD.replace("directory = Path(sys.argv[1])", "directory = Path(os.environ['DIRECTORY'])")
    + """
configure(directory)
voices = {}
def application(environ, start_response):
    key = os.getpid(), threading.get_ident()
    voice = voices.get(key) or voices.setdefault(key, Voice(directory, 'request'))
    voice(request_id=environ['QUERY_STRING'])
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'done']
"""
)


def _port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _ask(url: str, stop: threading.Event, answered: list[int]) -> None:
    while not stop.is_set():
        with suppress(OSError), urllib.request.urlopen(url, timeout=20) as answer:
            answered.append(answer.status)


@pytest.mark.parametrize("preload", [False, True])
def test_gunicorn_under_load(tmp_path: Path, preload: bool, evidence: Evidence) -> None:
    """Workers that are recycled and reloaded (HUP) under load lose no line; none of them counts as dead."""
    pytest.importorskip("gunicorn")
    (tmp_path / "shop.py").write_text(APPLICATION)
    port = _port()
    command = [sys.executable, "-m", "gunicorn", "-w", "2", "-k", "gthread", "--threads", "2"]
    command += ["-b", f"127.0.0.1:{port}", "--max-requests", "60", "--graceful-timeout", "20"]
    command += ["--preload"] if preload else []
    with (tmp_path / "gunicorn.log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "shop:application"],
            cwd=tmp_path,
            env={**os.environ, "DIRECTORY": str(tmp_path)},
            stdout=log,
            stderr=log,
        )
    stop, answered = threading.Event(), list[int]()
    threads = [
        threading.Thread(target=_ask, args=(f"http://127.0.0.1:{port}/", stop, answered)) for _ in range(4)
    ]
    try:
        for thread in threads:
            thread.start()
        for round_ in range(effort(2)):
            until(lambda enough=150 * (round_ + 1): len(answered) >= enough, 120)
            server.send_signal(signal.SIGHUP)
        enough = len(answered) + 150
        until(lambda: len(answered) >= enough, 120)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        server.terminate()
        server.wait(60)
    text = (tmp_path / "gunicorn.log").read_text()
    books = deliver_rest(tmp_path)
    evidence("gunicorn: requests under reload and recycling", tried=len(answered), lost=fate(tmp_path).lost)
    result = assert_whole(tmp_path, 0, books=books)
    assert result.records >= len(answered)
    workers = len(set(re.findall(r"Booting worker with pid: (\d+)", text)))
    assert workers >= 4, text


def test_a_gunicorn_worker_that_is_killed(tmp_path: Path) -> None:
    """A worker that dies of SIGKILL leaves its lines to the others, who deliver them and tell its death."""
    pytest.importorskip("gunicorn")
    (tmp_path / "shop.py").write_text(APPLICATION)
    port = _port()
    with (tmp_path / "gunicorn.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-w", "2", "-b", f"127.0.0.1:{port}", "shop:application"],
            cwd=tmp_path,
            env={**os.environ, "DIRECTORY": str(tmp_path)},
            stdout=log,
            stderr=log,
        )
    stop, answered = threading.Event(), list[int]()
    asker = threading.Thread(target=_ask, args=(f"http://127.0.0.1:{port}/", stop, answered))
    try:
        asker.start()
        until(lambda: len(answered) > 50)
        victim = int(next(v for v, n in said(tmp_path).items() if n).split("-")[1])
        os.kill(victim, signal.SIGKILL)
        until(lambda: victim in fate(tmp_path).died, what="its siblings tell the death")
    finally:
        stop.set()
        asker.join()
        server.terminate()
        server.wait(60)
    deliver_rest(tmp_path)
    result = assert_whole(tmp_path, 1, cut=1)
    assert result.died == {victim}
