"""A real Loki behind a proxy that misbehaves: nothing is lost, nobody else notices.

What holds during and after each fault stands at the top of tests/servers/lane.py. LOGFERRY_EFFORT=10 tries
each fault ten times as often.
"""

from __future__ import annotations

import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from effort import effort
from evidence import Evidence
from servers.lane import Fault, Lane, Lanes, trial
from servers.loki import LokiServer
from servers.wire import FAULTS, LONG, PASSING

from logferry.shipper.deadletter import DeadLetters

pytestmark = [
    pytest.mark.integration,
    pytest.mark.server("loki"),
    pytest.mark.timeout(1800),
    pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc"),
]

LINE_BYTES = 4096  # Loki refuses longer lines


@pytest.fixture(scope="module")
def server(loki_factory: Callable[..., LokiServer]) -> LokiServer:
    """A Loki that these tests may kill, and that refuses long lines."""
    return loki_factory(limits={"max_line_size": str(LINE_BYTES)})


@pytest.fixture
def lanes(server: LokiServer, tmp_path: Path) -> Iterator[Lanes]:
    made = Lanes(tmp_path, server)
    yield made
    made.close()


def wire_trial(name: str, *, stops: bool) -> Callable[[Lane], None]:
    """One of the faults that the proxy knows."""

    def run(lane: Lane) -> None:
        def struck() -> None:
            lane.proxy.wait_until_struck(1 if name in LONG | PASSING else 2)
            pending = lane.app.accounts()["loki"]["pending"]
            assert name in PASSING or pending, "delivered through the fault"

        fault = Fault(lambda: lane.proxy.strike(FAULTS[name]), struck, lane.proxy.heal)
        trial(lane, fault, stops=stops)

    return run


def says(lane: Lane, words: str) -> Callable[[], None]:
    """Wait until the sink's state is trouble that is told in these words."""

    def wait() -> None:
        deadline = time.monotonic() + 20
        while words not in (error := lane.app.states()["loki"][1]):
            assert time.monotonic() < deadline, f"{words!r} is not in {error!r}"
            time.sleep(0.02)

    return wait


def finish(lanes: Lanes, evidence: Evidence, row: str, tried: int) -> None:
    lost = sum(lane.compare() for lane in lanes.all if lane.app.numbers)
    evidence(row, tried=tried, lost=lost)
    assert lost == 0


ROWS = {
    "Loki cuts, hangs, or takes or gives a byte a second": ("cut", "closed", "hang", "answer", "reading"),
    "Loki is too busy (429, Retry-After of every kind)": ("429",),
    "Loki fails, refuses, redirects (5xx, 401, 404, 200, 307)": ("5", "401", "404", "200", "redirect"),
    "Loki answers what is no answer, or a gigabyte": (),
}


def row_of(name: str) -> str:
    return next(row for row, starts in ROWS.items() if name.startswith(starts) or not starts)


@pytest.mark.parametrize("row", ROWS)
def test_the_wire(lanes: Lanes, evidence: Evidence, row: str) -> None:
    """Every fault on the way to Loki and back."""
    names = [name for name in FAULTS if row_of(name) == row]
    trials = [
        (name, wire_trial(name, stops=(number + round_) % 2 == 0))
        for round_ in range(effort(1))
        for number, name in enumerate(names)
    ]
    lanes.run(trials)
    finish(lanes, evidence, row, len(trials))


def refused(*, stops: bool) -> Callable[[Lane], None]:
    def run(lane: Lane) -> None:
        fault = Fault(lane.proxy.refuse, says(lane, "connection refused"), lane.proxy.heal)
        trial(lane, fault, stops=stops)

    return run


def nameless(mode: str, words: str, *, stops: bool) -> Callable[[Lane], None]:
    """The resolver `fails` or `hangs`: numbers of connections that are open do not help, as they are cut."""

    def run(lane: Lane) -> None:
        def begin() -> None:
            lane.app.ask("resolver", mode=mode)
            lane.proxy.refuse()
            lane.proxy.heal()

        end = lambda: lane.app.ask("resolver", mode="works")  # noqa: E731 - as short as the others
        struck = says(lane, words) if words else lambda: lane.app.wait("waiting_for_name")
        trial(lane, Fault(begin, struck, end), stops=stops)

    return run


def test_nobody_listens_or_the_name_is_unknown(lanes: Lanes, evidence: Evidence) -> None:
    """Refused connections, and a resolver that fails or hangs."""
    trials = [
        (f"{name}, {'stops' if stops else 'goes on'}", make(stops))
        for stops in [True, False] * effort(1)
        for name, make in {
            "refused": lambda stops: refused(stops=stops),
            "no name": lambda stops: nameless("fails", "cannot be resolved", stops=stops),
            "resolver hangs": lambda stops: nameless("hangs", "", stops=stops),
        }.items()
    ]
    lanes.run(trials)
    finish(lanes, evidence, "Loki refuses connections, its name is not resolved", len(trials))


def test_loki_is_killed_and_comes_back(lanes: Lanes, server: LokiServer, evidence: Evidence) -> None:
    """SIGKILL, two times in the middle of the load; what it had acknowledged it still has."""
    rounds = effort(2)
    for number in range(rounds):
        lane = lanes.all[number % 2]
        fault = Fault(server.kill, says(lane, "cut"), server.start)
        trial(lane, fault, stops=number % 2 == 1)
    finish(lanes, evidence, "Loki killed (SIGKILL) and started again", rounds)


def test_a_part_of_each_batch_is_refused(lanes: Lanes, evidence: Evidence) -> None:
    """Loki stores the sound lines and says 400: only the others are dead letters, with its words."""
    rounds = effort(2)
    for number in range(rounds):
        lane = lanes.all[number % 2]
        lane.configure()
        first = lane.app.numbers
        lane.app.log(500, long=LINE_BYTES + 1000, every=50)
        assert lane.app.flush(30)
        lane.refused += sum(n % 50 == 7 for n in range(first, first + 500))
        done, _ = lane.app.shutdown(5)
        assert done
        letters = DeadLetters(lane.directory / "spool" / lane.service / "dead-letters", "loki", 0)
        reasons = [letter.reason for letter in letters.read()]
        assert len(reasons) == lane.refused
        assert all("max entry size" in reason for reason in reasons), reasons[:1]
    finish(lanes, evidence, "Loki refuses a part of a batch (400)", rounds)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that is trusted, and one for another name."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: it makes the test's certificates")
    path = tmp_path_factory.mktemp("tls")
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    for name, subject in (("good", "IP:127.0.0.1"), ("other", "DNS:elsewhere.example")):
        files = ["-days", "2", "-keyout", f"{name}.key", "-out", f"{name}.pem"]
        names = ["-subj", f"/CN={name}", "-addext", f"subjectAltName={subject}"]
        subprocess.run([*new, *files, *names], cwd=path, check=True, capture_output=True)
    return path


def context(certificates: Path, name: str) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(certificates / f"{name}.pem", certificates / f"{name}.key")
    return made


def test_a_wrong_certificate(lanes: Lanes, certificates: Path, evidence: Evidence) -> None:
    """Nothing is sent to who cannot show the right certificate; with the right one everything arrives."""

    def run(lane: Lane, *, stops: bool) -> None:
        proxy = lane.proxy
        proxy.url = proxy.url.replace("http:", "https:")
        proxy.tls = context(certificates, "good")
        lane.options = {"tls": {"ca_file": str(certificates / "good.pem")}}

        def begin() -> None:
            proxy.tls = context(certificates, "other")
            proxy.refuse()  # connections that are open are trusted already: cut them
            proxy.heal()

        def end() -> None:
            proxy.tls = context(certificates, "good")

        passed = proxy.passed
        trial(lane, Fault(begin, says(lane, "certificate was not accepted"), end), stops=stops)
        assert proxy.passed > passed

    both = [True, False] * effort(1)
    lanes.run([(f"wrong certificate, {stops=}", lambda lane, s=stops: run(lane, stops=s)) for stops in both])
    finish(lanes, evidence, "Loki shows a wrong certificate", len(both))
