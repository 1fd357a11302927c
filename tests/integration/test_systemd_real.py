"""systemd itself runs the agent by the unit that `logferry install-service` writes, and an application."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs.understood import until
from servers.faults import FaultServer, answer
from servers.systemd import Systemd

pytestmark = pytest.mark.integration

UNIT = "logferry.service"
CONFIG = """\
service: edge
shutdown_timeout: 20s
spool: {{path: {place}/spool}}
sinks:
  out: {{type: http, url: "{url}"}}
sources:
  app: {{type: file, include: [{include}]}}
"""


class Machine:
    """A systemd with the agent's unit, what the agent follows, and where it delivers."""

    def __init__(self, place: Path, url: str) -> None:
        self.place, self.url = place, url
        for name in ("units", "spool", "logs"):
            (place / name).mkdir()
        self.configure(f"{place}/logs/a.log")
        command = [sys.executable, "-m", "logferry", "install-service", "--user", "root"]
        command += ["-c", str(place / "logferry.yaml"), "--directory", str(place / "units")]
        subprocess.run(command, check=True, capture_output=True, timeout=100)
        self.systemd = Systemd(place / "units")

    def configure(self, include: str) -> None:
        text = CONFIG.format(place=self.place, url=self.url, include=include)
        (self.place / "logferry.yaml").write_text(text)

    def say(self, name: str, *lines: str) -> None:
        with (self.place / "logs" / f"{name}.log").open("a") as log:
            log.writelines(f"{line}\n" for line in lines)

    @property
    def state(self) -> tuple[str, int, int]:
        """Whether the agent is active, its process, and how often it was started again."""
        told = self.systemd.properties(UNIT)
        return told["ActiveState"], int(told["MainPID"]), int(told["NRestarts"])


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(rest=answer(200)) as running:
        yield running


def came(server: FaultServer) -> Counter[str]:
    """What was delivered, and how often."""
    lines = b"\n".join(request.body for request in server.requests).splitlines()
    return Counter(json.loads(line)["message"] for line in lines if line.startswith(b"{"))


def test_by_systemd(tmp_path: Path, server: FaultServer) -> None:
    """Started and ready, reloaded, killed and started again, stopped when it has delivered; and confined."""
    missing = Systemd.missing()
    if missing:
        pytest.skip(missing)
    machine = Machine(tmp_path, server.url)
    with machine.systemd as systemd:
        if not systemd.is_up():
            pytest.skip("systemd does not come up in namespaces of its own here")
        machine.say("a", "one")
        assert systemd.run("systemctl", "start", UNIT).returncode == 0
        active, process, again = machine.state  # Type=notify: it has said that it is ready
        assert (active, again) == ("active", 0)
        until(lambda: came(server)["one"], server.requests)

        machine.configure(f"{tmp_path}/logs/*.log")
        machine.say("b", "two")
        assert systemd.run("systemctl", "reload", UNIT).returncode == 0
        until(lambda: came(server)["two"], server.requests)
        assert machine.state == ("active", process, 0)

        assert systemd.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", UNIT).returncode == 0
        until(lambda: machine.state[0::2] == ("active", 1), machine.state)
        assert machine.state[1] not in {0, process}
        machine.say("a", "three")
        until(lambda: came(server)["three"], server.requests)

        # What its configuration names it may write to, and to nothing beside it.
        within = ["nsenter", f"--target={machine.state[1]}", "--mount", "--", "touch"]
        assert systemd.run(*within, str(tmp_path / "spool" / "here")).returncode == 0
        beside = systemd.run(*within, str(tmp_path / "beside"))
        assert "Read-only file system" in beside.stderr
        assert systemd.properties(UNIT)["NoNewPrivileges"] == "yes"

        many = [f"line {number}" for number in range(2000)]
        machine.say("a", *many)
        until(lambda: came(server)["line 0"], server.requests)
        assert systemd.run("systemctl", "stop", UNIT).returncode == 0
        told = systemd.properties(UNIT)
        assert (told["ActiveState"], told["Result"], told["ExecMainStatus"]) == ("inactive", "success", "0")
    delivered = came(server)
    (notice,) = set(delivered) - {"one", "two", "three", *many}
    assert notice.endswith("died without shutdown")
    # What was read before the stop is delivered by it; what was not is read by the next start.
    # Only "two" may have come twice: it was killed soon after, and an HTTP receiver knows no repetition.
    assert {text for text, count in delivered.items() if count > 1} <= {"two"}
    assert [line for line in ("one", "two", "three") if not delivered[line]] == []
    assert len(delivered) > 4


SHOP = """
import logging, signal, sys, time
import logferry
place = sys.argv[1]
def orders(*_):
    for n in range(2000): logging.getLogger("shop").info("order", extra={"n": n})
def end(*_):
    orders()
    sys.exit()
signal.signal(signal.SIGTERM, end)
logferry.configure({
    "service": "shop", "delivery": "process", "spool": {"path": place + "/spool"},
    "logging": {"level": "INFO", "console": "off"},
    "sinks": {"out": {"type": "file", "path": place + "/out.ndjson"}},
})
orders()
open(place + "/logged", "w").close()
time.sleep(600)
"""


def test_an_application_whose_delivery_is_a_process(tmp_path: Path) -> None:
    """Killed, then stopped: its processes are gone, and what it logged to its last moment is delivered."""
    missing = Systemd.missing()
    if missing:
        pytest.skip(missing)
    units = tmp_path / "units"
    units.mkdir()
    (tmp_path / "shop.py").write_text(SHOP)
    start = f"{sys.executable} {tmp_path}/shop.py {tmp_path}"
    (units / "shop.service").write_text(
        f"[Unit]\nDefaultDependencies=no\n[Service]\nType=exec\nExecStart={start}\n"
    )

    def delivered() -> Counter[str]:
        out = tmp_path / "out.ndjson"
        whole = out.read_bytes().rpartition(b"\n")[0] if out.exists() else b""
        return Counter(json.loads(line)["message"] for line in whole.splitlines())

    with Systemd(units) as systemd:
        if not systemd.is_up():
            pytest.skip("systemd does not come up in namespaces of its own here")
        for end in (["kill", "--kill-whom=main", "--signal=KILL"], ["stop"]):
            (tmp_path / "logged").unlink(missing_ok=True)
            begun = delivered()
            assert systemd.run("systemctl", "start", "shop.service").returncode == 0
            until((tmp_path / "logged").exists, "")
            until(lambda begun=begun: delivered() != begun, "the delivery process is there")
            group = systemd.properties("shop.service")["ControlGroup"]
            members = ["cat", f"/sys/fs/cgroup{group}/cgroup.procs"]
            assert len(systemd.run(*members).stdout.split()) == 2
            assert systemd.run("systemctl", *end, "shop.service").returncode == 0
            until(lambda: systemd.properties("shop.service")["ActiveState"] in {"inactive", "failed"}, "")
            assert systemd.run(*members).stdout.split() == []
    orders = delivered()
    (notice,) = set(orders) - {"order"}
    assert notice.endswith("died without shutdown")
    assert orders == {"order": 6000, notice: 1}
