"""Delivery out of the process, with real processes and real kills: `delivery: process` and `agent`."""

from __future__ import annotations

import grp
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from logferry.shipper.courier.board import Board
from logferry.shipper.spool import audit
from logferry.shipper.spool.claim import delivery_is_claimed

pytestmark = pytest.mark.integration
PROGRAM = Path(__file__).parents[1] / "programs" / "appending.py"


def until(condition: Callable[[], Any], seconds: float = 15.0) -> Any:
    """Return what `condition` returns as soon as it is true; fail when it takes longer than `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.01)
    return found


class Application:
    """One `appending.py`."""

    def __init__(
        self,
        directory: Path,
        before: tuple[str, ...] = (),
        environ: dict[str, str] | None = None,
        **changes: Any,
    ) -> None:
        command = [*before, sys.executable, "-W", "error", str(PROGRAM), str(directory), json.dumps(changes)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**ENVIRONMENT, **(environ or {})},
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._in, self._out = self.process.stdin, self.process.stdout
        assert self._out.readline() == "ready\n"

    def send(self, line: str) -> None:
        self._in.write(line + "\n")
        self._in.flush()

    def ask(self, line: str) -> Any:
        self.send(line)
        return json.loads(self._out.readline())

    def end(self) -> None:
        """Let it come to its end by itself."""
        self._in.close()
        assert self.process.wait(20) == 0

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(20)
        with suppress(BrokenPipeError):
            self._in.close()
        self._out.close()


PASSWORD = "correct-horse-battery"
ENVIRONMENT = {**os.environ, "SINK_PASSWORD": PASSWORD}


class Place:
    """A directory, the applications in it, and what they left."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.service = directory / "spool" / "checkout"
        self.applications: list[Application] = []
        self.others: list[subprocess.Popen[str]] = []

    def application(self, **changes: Any) -> Application:
        made = Application(self.directory, **changes)
        self.applications.append(made)
        return made

    @property
    def claimed(self) -> bool:
        return delivery_is_claimed(self.service)

    def courier(self) -> int:
        """Return the process that delivers; 0: there is none."""
        notice = Board(self.service).read()
        if notice is None or not self.claimed or not Path(f"/proc/{notice.pid}").exists():
            return 0
        return notice.pid

    def events(self, name: str = "out.ndjson") -> list[dict[str, Any]]:
        path = self.directory / name
        if not path.exists():
            return []
        whole = path.read_bytes().rpartition(b"\n")[0]  # without a line that is being written
        return [json.loads(line) for line in whole.splitlines()]

    def numbers(self, name: str = "out.ndjson") -> list[int]:
        return [event["n"] for event in self.events(name) if "n" in event]

    def deaths(self) -> list[dict[str, Any]]:
        return [event for event in self.events() if event.get("kind") == "death"]

    def audit(self, *, pending: int = 0) -> int:
        """Hold the accounting identity against the files; return how many were delivered."""
        report = audit(self.directory / "spool")
        assert not report.problems
        (account,) = report.accounts.values()
        assert account.balance == 0
        assert (account.pending, account.dropped, account.dead_lettered) == (pending, {}, 0)
        return account.delivered

    def over(self) -> None:
        """Wait until the delivery process has ended by itself."""
        until(lambda: not self.claimed)


@pytest.fixture
def place() -> Iterator[Place]:
    # not pytest's own directory: it is closed to the other users whom some tests need
    with tempfile.TemporaryDirectory(prefix="logferry-modes-") as directory:
        made = Place(Path(directory))
        yield made
        end(made)


def end(made: Place) -> None:
    """End what is still there."""
    for application in made.applications:
        application.kill()
    for process in made.others:
        process.kill()
        process.wait(10)
        if process.stderr is not None:
            process.stderr.close()
    with suppress(ProcessLookupError, AssertionError):
        if courier := made.courier():
            os.kill(courier, signal.SIGTERM)
            until(lambda: not made.claimed)


def test_it_starts_with_the_first_record_and_ends_by_itself(place: Place) -> None:
    """Nothing runs before there is a record; what delivers outlives the application, and then ends."""
    application = place.application()
    assert not (place.service / "delivery.lock").exists()
    assert application.ask("log 0 1000") == "logged"
    assert application.ask("flush 10") is True
    assert place.numbers() == list(range(1000))
    courier = until(place.courier)
    assert application.ask("states") == {"out": ["ok", ""]}
    assert application.ask("accounts") == {"out": [1000, 1000, 0]}
    modules = application.ask("modules")
    assert not [m for m in modules if m in ("urllib3", "duckdb", "logferry.shipper.pipeline", "http.server")]
    application.ask("log 1000 1010")
    application.end()
    assert place.claimed
    assert place.courier() == courier
    place.over()
    assert place.numbers() == list(range(1010))
    assert place.audit() == 1010
    assert not place.deaths()


def test_shutdown_waits_only_when_it_is_told_to(place: Place) -> None:
    """An exit is not held up by a sink that is down; with a time-out `shutdown` waits for the books."""
    down = {"out": {"type": "file", "path": "/proc/version/never"}}
    application = place.application(sinks=down)
    application.ask("log 0 10")
    began = time.monotonic()
    assert application.ask("shutdown 0.5") is False
    assert 0.4 < time.monotonic() - began < 4
    began = time.monotonic()
    application.end()
    assert time.monotonic() - began < 4
    other = place.application()
    other.ask("log 10 20")
    assert other.ask("shutdown 15") is True
    other.end()
    until(lambda: len(place.numbers()) == 20)
    place.over()
    assert sorted(place.numbers()) == list(range(20))
    assert place.audit() == 20


def test_six_workers_have_one_delivery_process(place: Place) -> None:
    """However many start it at once: one delivers, and nothing is delivered twice."""
    workers = [place.application() for _ in range(6)]
    for at, worker in enumerate(workers):
        worker.send(f"log {at * 200} {at * 200 + 200}")
    assert [json.loads(worker._out.readline()) for worker in workers] == ["logged"] * 6
    for worker in workers:
        assert worker.ask("flush 15") is True
    (holder,) = until(lambda: _holders(place.service / "delivery.lock"))
    assert holder == place.courier()
    for worker in workers:
        worker.end()
    place.over()
    assert sorted(place.numbers()) == list(range(1200))
    assert place.audit() == 1200


def _holders(path: Path) -> list[int]:
    """Return the processes that have `path` open; none while a loser of a race is still leaving."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if any(fd.readlink() == path for fd in (process / "fd").iterdir()):
                found.append(int(process.name))
    return found if len(found) == 1 else []


def test_the_last_line_of_a_killed_application_arrives_within_two_seconds(place: Place) -> None:
    """SIGKILL right after a record: it is delivered at once, with one death notice, told once."""
    slowest = 0.0
    for turn in range(1, 4):
        application = place.application(linger=20.0)
        application.ask("log 0 5")
        until(lambda: place.claimed)
        until(lambda turn=turn: len(place.numbers()) == 5 * turn)  # it has started, which may take its time
        application.send("die")
        application.process.wait(10)
        killed = time.monotonic()
        until(lambda turn=turn: sum(e["message"] == "last words" for e in place.events()) == turn, 2.0)
        slowest = max(slowest, time.monotonic() - killed)
        until(lambda turn=turn: len(place.deaths()) == turn)  # told at the next look for the dead
        assert place.deaths()[-1]["died_process"] == application.process.pid
        assert place.deaths()[-1]["open_requests"] == ["r-last"]
    assert slowest < 2.0
    print(f"slowest of 3: {slowest:.2f} s")
    last = place.application(linger=0.5)
    last.ask("log 5 6")
    assert last.ask("flush 10") is True
    last.end()
    assert len(place.deaths()) == 3
    assert place.audit() == 3 * 6 + 3 + 1


def more(place: Place, name: str = "out.ndjson") -> None:
    """Wait until 200 more records have arrived."""
    before = len(place.numbers(name))
    until(lambda: len(place.numbers(name)) > before + 200)


def test_it_is_started_again_when_it_dies(place: Place) -> None:
    """kill -9 of the delivery process under load, twice: nothing is lost, and at most a batch comes twice."""
    application = place.application()
    application.ask("forever 0")
    victims = []
    for _ in range(2):
        victim = until(lambda: (pid := place.courier()) not in victims and pid)
        more(place)
        os.kill(victim, signal.SIGKILL)
        victims.append(victim)
    until(lambda: place.courier() not in [0, *victims])
    total = application.ask("stop")
    assert application.ask("flush 15") is True
    application.end()
    found = Counter(place.numbers())
    assert sorted(found) == list(range(total))
    assert max(found.values()) <= 1 + len(victims)
    assert not place.deaths()
    place.over()
    assert place.audit() == total


def test_a_newer_configuration_takes_over(place: Place) -> None:
    """The process with the older configuration leaves, no record is lost or sent twice, and it stays so."""
    old = place.application()
    old.ask("forever 0")
    first = until(place.courier)
    until(lambda: len(place.numbers()) > 200)
    changed = {"out": {"type": "file", "path": f"{place.directory}/new.ndjson"}}
    new = place.application(sinks=changed)
    new.ask("log 1000000 1000100")
    second = until(lambda: (pid := place.courier()) not in (0, first) and pid)
    assert new.ask("flush 15") is True
    more(place, "new.ndjson")
    still = time.monotonic() + 3.0  # the old application looks once a second
    while time.monotonic() < still:
        assert place.courier() == second
        time.sleep(0.05)
    total = old.ask("stop")
    assert old.ask("flush 15") is True
    old.end()
    new.end()
    place.over()
    both = place.numbers() + place.numbers("new.ndjson")
    assert sorted(both) == [*range(total), *range(1000000, 1000100)]
    assert place.audit() == total + 100


def _strange(proc: Path, directory: Path) -> list[str]:
    """Return what a process has open that is neither its own nor nothing."""
    targets = set()
    for fd in (proc / "fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            targets.add(str(fd.readlink()))
    return [t for t in targets if t != os.devnull and not t.startswith((str(directory), "socket:"))]


def test_nothing_of_the_application_is_in_the_delivery_process(place: Place) -> None:
    """No secret in its command line or environment; no descriptor, terminal or session of its starter."""
    sinks = {
        "out": {"type": "file", "path": f"{place.directory}/out.ndjson"},
        "loki": {
            "type": "loki",
            "url": "http://127.0.0.1:9",
            "username": "shop",
            "password": "${SINK_PASSWORD}",
        },
    }
    redact = {"mode": "hash", "hash_key": "${SINK_PASSWORD}-key"}
    application = place.application(sinks=sinks, redact=redact)
    application.ask("log 0 10")
    courier = until(place.courier)
    until(lambda: len(place.numbers()) == 10)
    proc = Path(f"/proc/{courier}")
    for name in ("cmdline", "environ"):
        assert PASSWORD.encode() not in (proc / name).read_bytes()
    for path in place.service.rglob("*"):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes()
    until(lambda: not _strange(proc, place.directory))  # the modules that it imports are open for a moment
    assert (proc / "fd" / "0").readlink() == Path(os.devnull)
    assert (proc / "cwd").readlink() == Path("/")
    fields = (proc / "stat").read_text().rpartition(")")[2].split()
    parent, session, terminal = int(fields[1]), int(fields[3]), int(fields[4])
    assert parent not in (application.process.pid, os.getpid())
    assert session != os.getsid(application.process.pid)
    assert session != courier
    assert terminal == 0
    os.kill(courier, signal.SIGKILL)
    until(lambda: place.courier() not in (0, courier))
    assert _children(application.process.pid) == []
    assert _mode(place.service / "delivery.json") == _mode(place.service / "delivery.log") == 0o600


def _children(pid: int) -> list[str]:
    """Return the children of a process, zombies included."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [child for task in tasks for child in (task / "children").read_text().split()]


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_sigterm_lets_it_deliver_what_the_owners_still_say(place: Place) -> None:
    """SIGTERM to both, as systemd sends it: the records of the application's end are delivered as well."""
    application = place.application(linger=30.0)
    application.ask("log 0 10")
    courier = until(place.courier)
    os.kill(courier, signal.SIGTERM)
    application.ask("log 10 500")
    application.end()
    until(lambda: len(place.numbers()) == 500)
    place.over()
    assert place.audit() == 500


WSGI = """
import logging, os
import logferry
from logferry.shipper.courier import choose
choose.LINGER = 1.0
logferry.configure({"service": "checkout", "delivery": "process",
    "spool": {"path": os.environ["PLACE"] + "/spool"}, "logging": {"level": "INFO", "console": "off"},
    "sinks": {"out": {"type": "file", "path": os.environ["PLACE"] + "/out.ndjson"}}})
def application(environ, start_response):
    logging.getLogger("shop").info("request", extra={"n": int(environ["QUERY_STRING"])})
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""


@pytest.mark.parametrize("preload", [True, False])
def test_gunicorn_with_two_workers_that_are_recycled(place: Place, preload: bool) -> None:
    """Prefork, with and without the application in the master; workers end after ten requests."""
    pytest.importorskip("gunicorn")
    (place.directory / "shop.py").write_text(WSGI)
    address = place.directory / "address"
    command = [
        *(sys.executable, "-m", "gunicorn.app.wsgiapp", "shop:application", "--workers", "2"),
        *("--bind", "127.0.0.1:0", "--max-requests", "10", "--chdir", str(place.directory)),
        *(["--preload"] if preload else []),
    ]
    with address.open("w") as log:
        server = subprocess.Popen(
            command, stderr=log, stdout=log, text=True, env={**os.environ, "PLACE": str(place.directory)}
        )
    place.others.append(server)
    until(lambda: "Listening at: " in address.read_text())
    url = address.read_text().split("Listening at: ")[1].split()[0]
    workers = set()
    for n in range(60):
        workers.add(_get(f"{url}/?{n}"))
    assert len(workers) > 2
    until(lambda: len(place.numbers()) == 60)
    (holder,) = until(lambda: _holders(place.service / "delivery.lock"))
    assert holder == place.courier()
    server.terminate()
    assert server.wait(20) == 0
    place.over()
    assert sorted(place.numbers()) == list(range(60))
    assert not place.deaths()
    assert place.audit() == 60


def _get(url: str) -> str:
    """Fetch; a worker that is being recycled may refuse once."""
    for _ in range(20):
        with suppress(OSError), urllib.request.urlopen(url, timeout=5) as response:
            return str(response.read().decode())
        time.sleep(0.05)
    raise AssertionError(url)


def test_in_a_container_the_next_start_delivers(place: Place) -> None:
    """The application is PID 1: its end takes the delivery process with it, and the next start delivers."""
    inside = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--")
    if subprocess.run([*inside, "true"], capture_output=True, check=False).returncode:
        inside = ()  # not allowed here: kill both instead
    application = Application(place.directory, before=inside)
    place.applications.append(application)
    application.ask("log 0 100")
    assert application.ask("flush 10") is True
    application.send("log 100 20000")
    json.loads(application._out.readline())
    if not inside:
        os.kill(place.courier(), signal.SIGKILL)
    application.process.kill()
    application.process.wait(10)
    until(lambda: not place.claimed, 5.0)
    following = place.application()
    following.ask("log 20000 20001")
    assert following.ask("flush 15") is True
    following.end()
    place.over()
    found = Counter(place.numbers())
    assert sorted(found) == list(range(20001))
    left = audit(place.directory / "spool"), sorted(map(str, place.service.rglob("*")))
    assert len(place.deaths()) == 1, left
    assert place.audit() == 20001 + 1


def test_a_first_process_of_a_container_waits_for_its_delivery(place: Place) -> None:
    """PID 1 that comes to its end by itself leaves nothing behind: it waits as threads would."""
    inside = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--")
    if subprocess.run([*inside, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no namespace can be made here")
    application = Application(place.directory, before=inside)
    place.applications.append(application)
    application.ask("log 0 100")
    application.end()
    assert place.numbers() == list(range(100))
    assert not place.claimed
    assert place.audit() == 100


def test_threads_deliver_what_a_delivery_process_left(place: Place) -> None:
    """Back to `delivery: thread`: it takes over what both left when they were killed."""
    application = place.application()
    application.ask("log 0 100")
    assert application.ask("flush 10") is True
    courier = until(place.courier)
    os.kill(courier, signal.SIGSTOP)
    application.ask("log 100 200")
    application.kill()
    os.kill(courier, signal.SIGKILL)
    threads = place.application(delivery="thread")
    threads.ask("log 200 210")
    until(lambda: len(place.numbers()) == 210 and place.deaths())
    threads.end()
    assert sorted(place.numbers()) == list(range(210))
    assert len(place.deaths()) == 1
    assert place.audit() == 211


# ── an agent ──


def agent(place: Place, **source: Any) -> subprocess.Popen[str]:
    """Start `logferry run` with a `spool` source."""
    sources = {"apps": {"type": "spool", "path": f"{place.directory}/spool", **source}}
    config = {
        "service": "agent",
        "spool": {"path": f"{place.directory}/agent"},
        "sources": sources,
        "sinks": {"out": {"type": "file", "path": f"{place.directory}/out.ndjson"}},
    }
    (place.directory / "agent.yaml").write_text(json.dumps(config))
    command = [sys.executable, "-m", "logferry", "run", "-c", str(place.directory / "agent.yaml")]
    started = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    place.others.append(started)
    assert started.stderr is not None
    assert "running" in started.stderr.readline()
    return started


def test_an_agent_reads_living_and_dead(place: Place) -> None:
    """What is there before it comes, what is written meanwhile, what a killed process left; each once."""
    early = place.application(delivery="agent", sinks={})
    early.ask("log 0 100")
    assert early.ask("flush 0.2") is False
    assert early.ask("accounts") == {"-": [100, 0, 100]}
    dead = place.application(delivery="agent", sinks={}, service="mail")
    dead.ask("log 100 200")
    dead.kill()
    first = agent(place)
    assert early.ask("flush 10") is True
    early.ask("log 200 300")
    assert early.ask("flush 10") is True
    assert early.ask("accounts") == {"out": [200, 200, 0]}
    until(lambda: len(place.numbers()) == 300)
    until(lambda: len(place.deaths()) == 1)
    assert place.deaths()[0]["died_service"] == "mail"
    first.terminate()
    assert first.wait(20) == 0
    early.ask("log 300 400")
    assert early.ask("flush 0.2") is False
    second = agent(place)
    assert early.ask("flush 10") is True
    early.send("die")
    early.process.wait(10)
    until(lambda: any(e["message"] == "last words" for e in place.events()), 2.0)
    until(lambda: len(place.deaths()) == 2, 2.0)
    second.terminate()
    assert second.wait(20) == 0
    assert sorted(place.numbers()) == list(range(400))
    report = audit(place.directory / "spool")
    assert not report.problems
    totals = {service: a.delivered for (service, _), a in report.accounts.items()}
    assert totals == {"checkout": 301, "mail": 100}
    assert all(not account.pending for account in report.accounts.values())
    assert audit(place.directory / "agent").accounts["agent", "out"].delivered == 2


def test_an_agent_reads_the_services_that_are_named(place: Place) -> None:
    """Others are left alone, and `--once` ends when what is there is delivered."""
    for service in ("checkout", "mail"):
        application = place.application(delivery="agent", sinks={}, service=service)
        application.ask("log 0 50")
        application.end()
    config = {
        "service": "agent",
        "spool": {"path": f"{place.directory}/agent"},
        "sources": {"apps": {"type": "spool", "path": f"{place.directory}/spool", "services": ["mail"]}},
        "sinks": {"out": {"type": "file", "path": f"{place.directory}/out.ndjson"}},
    }
    (place.directory / "agent.yaml").write_text(json.dumps(config))
    command = [sys.executable, "-m", "logferry", "run", "--once", "-c", str(place.directory / "agent.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert {event["service"] for event in place.events()} == {"mail"}
    assert json.loads(done.stdout)["delivered"] == 50
    report = audit(place.directory / "spool")
    assert not report.problems
    assert {key: a.pending for key, a in report.accounts.items()} == {
        ("mail", "out"): 0,
        ("checkout", "-"): 50,
    }


def shared(directory: Path) -> tuple[int, str]:
    """Let two users into the directory; return the id and the name of their group."""
    if os.geteuid() != 0:
        pytest.skip("other users can be had by root only")
    group = min((g for g in grp.getgrall() if g.gr_gid > 0), key=lambda g: g.gr_gid)
    directory.chmod(0o711)
    for name, user in (("spool", 12001), ("agent", 12002), ("logs", 12002)):
        (directory / name).mkdir()
        os.chown(directory / name, user, group.gr_gid)
        (directory / name).chmod(0o2750)
    return group.gr_gid, group.gr_name


def as_user(place: Place, user: int, gid: int, **changes: Any) -> Application:
    """Start an application, or the agent with `sources`, as another user."""
    environ = {"AS_USER": f"{user}:{gid}", **({"AGENT": "1"} if "sources" in changes else {})}
    made = Application(place.directory, environ=environ, **changes)
    place.applications.append(made)
    return made


def test_an_agent_under_its_own_user(place: Place) -> None:
    """`spool.group`: the agent delivers what another user's applications write."""
    directory = place.directory
    gid, group = shared(directory)
    spool = {"path": f"{directory}/spool", "group": group, "max_bytes": 8 << 20}
    sinks = {"out": {"type": "file", "path": f"{directory}/logs/out.ndjson"}}
    sources = {"apps": {"type": "spool", "path": f"{directory}/spool"}}
    application = as_user(place, 12001, gid, delivery="agent", spool=spool, sinks={})
    application.ask("log 0 1000")
    reader = as_user(place, 12002, gid, sinks=sinks, sources=sources)
    assert application.ask("flush 15") is True
    (home,) = [path for path in place.service.iterdir() if len(path.name) == 32]
    modes = {
        path.name: path.stat().st_mode & 0o7777 for path in (home, home / "cursors", *home.glob("*.seg"))
    }
    assert modes.pop(home.name) == 0o2750
    assert modes.pop("cursors") == 0o2770
    assert set(modes.values()) == {0o640}
    for first in range(1000, 30000, 1000):  # more than the first segments hold
        application.ask(f"log {first} {first + 1000}")
    assert application.ask("flush 15") is True
    until(lambda: len(list(home.glob("*.seg"))) <= 2)
    application.send("die")
    application.process.wait(10)
    until(lambda: any(e["message"] == "last words" for e in place.events("logs/out.ndjson")), 2.0)
    until(lambda: [e for e in place.events("logs/out.ndjson") if e.get("kind") == "death"], 2.0)
    following = as_user(place, 12001, gid, delivery="agent", spool=spool, sinks={})
    following.ask("log 30000 30001")
    assert following.ask("flush 15") is True
    until(lambda: not home.exists())
    following.end()
    reader.end()
    assert sorted(place.numbers("logs/out.ndjson")) == list(range(30001))
    others = [e["message"] for e in place.events("logs/out.ndjson") if "n" not in e]
    assert sorted(others) == ["last words", f"process {application.process.pid} died without shutdown"]
    assert place.audit() == 30002


def test_an_agent_refuses_what_is_not_shared(place: Place) -> None:
    """Another user's private spools, a link to them, and one that anybody may write are left alone."""
    directory = place.directory
    gid, _ = shared(directory)
    spool = {"path": f"{directory}/spool"}
    applications = [
        as_user(place, 12001, gid, delivery="agent", spool=spool, sinks={}, service=service)
        for service in ("checkout", "open")
    ]
    for application in applications:
        application.ask("log 0 10")
    (directory / "spool" / "open").chmod(0o2777)
    (directory / "agent" / "link").symlink_to(directory / "spool")
    sources = {
        "direct": {"type": "spool", "path": f"{directory}/spool"},
        "link": {"type": "spool", "path": f"{directory}/agent/link"},
    }
    sinks = {"out": {"type": "file", "path": f"{directory}/logs/out.ndjson"}}
    readers = [
        as_user(place, user, group, sinks=sinks, sources=sources) for user, group in ((12002, gid), (0, 0))
    ]
    for application in applications:
        assert application.ask("flush 1") is False
    for reader in readers:
        reader.end()
    assert place.events("logs/out.ndjson") == []
