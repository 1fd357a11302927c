"""A real agent that watches, a real HTTP receiver and a real SMTP server that are told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import pytest
from certificates import make_certificates, server_context
from servers.loki import free_port
from servers.mailbox import Mailbox

from logferry.shipper.alerts.conditions import Alert
from logferry.shipper.alerts.groups import Notice
from logferry.shipper.alerts.receivers import send
from logferry.shipper.alerts.rules import AlertPlan, Receiver
from logferry.shipper.store import Store, StoreError

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

PATIENCE = 120.0


class Hooks:
    """An HTTP server that keeps what is posted to it, by path. `status` is what it answers; it may hang."""

    def __init__(self, port: int = 0) -> None:
        hooks = self
        self.got: dict[str, list[dict[str, Any]]] = {}
        self.status = 200
        self.hangs = threading.Event()
        self.go = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                lines = self.rfile.read(int(self.headers["Content-Length"])).splitlines()
                if hooks.hangs.is_set():
                    hooks.go.wait()
                if hooks.status < 300:
                    hooks.got.setdefault(self.path.partition("?")[0], []).extend(map(json.loads, lines))
                self.send_response(hooks.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        often = {"poll_interval": 0.05}
        threading.Thread(target=self._server.serve_forever, kwargs=often, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go.set()
        self._server.shutdown()
        self._server.server_close()

    def alerts(self, path: str, status: str) -> list[str]:
        """Return the summaries of alerts that were told with this status, in order."""
        found = [one for body in self.got.get(path, []) for one in body["alerts"] if one["status"] == status]
        return [one["annotations"]["summary"] for one in found]


def until(met: Callable[[], Any], words: str, seen: Callable[[], Any] = lambda: "") -> None:
    deadline = time.monotonic() + PATIENCE
    while not met():
        assert time.monotonic() < deadline, f"{words}: {seen()}"
        time.sleep(0.02)


class Agent:
    """`logferry run` over one file of JSON lines."""

    def __init__(self, place: Path, alerts: dict[str, Any], **sinks: Any) -> None:
        self.place = place
        self.log = place / "app.log"
        self.log.touch()
        self._process: subprocess.Popen[bytes] | None = None
        config = {
            "service": "agent",
            "spool": {"path": str(place / "spool")},
            "sources": {"app": {"type": "file", "include": [str(self.log)]}},
            "sinks": {"here": {"type": "local", "path": str(place / "store"), "compact": "off"}, **sinks},
            "alerts": {"every": "200ms", "group_wait": "200ms", "group_interval": "300ms", **alerts},
        }
        (place / "agent.yaml").write_text(json.dumps(config))

    def __enter__(self) -> Self:
        with (self.place / "agent.out").open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "logferry", "run", "-c", "agent.yaml"],
                cwd=self.place,
                stdout=out,
                stderr=out,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        until(lambda: "running (" in self.said(), "the agent does not start")
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(90)
            except subprocess.TimeoutExpired:
                self.kill()
                raise

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def hup(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "logferry", *words, "-c", "agent.yaml"],
            cwd=self.place,
            capture_output=True,
            text=True,
            check=False,
        )

    def said(self) -> str:
        return (self.place / "agent.out").read_text(errors="replace")

    def write(self, count: int, *, ago: float = 0.0, **fields: Any) -> None:
        """Append events of `ago` seconds ago."""
        with self.log.open("a") as log:
            for _ in range(count):
                stamp = f"{datetime.fromtimestamp(time.time() - ago, UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
                event = {"timestamp": stamp, "level": "INFO", "service": "shop", "message": "hello"}
                log.write(json.dumps({**event, "trace_id": "ab" * 16, "span_id": "cd" * 8, **fields}) + "\n")

    def requests(self, count: int, *, failed: bool, took: float = 5.0) -> None:
        access = {"kind": "access", "endpoint": "/pay", "method": "GET", "path": "/pay"}
        status = 500 if failed else 200
        self.write(count, **access, failed=failed, status_code=status, duration_ms=took, message="GET /pay")

    def delivered(self) -> int:
        try:
            with Store(self.place / "store") as store:
                return int(store.sql("SELECT count(*) FROM events").rows[0][0])
        except StoreError:
            return 0


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    with Hooks() as server:
        yield server


def test_all_conditions_fire_and_recover(tmp_path: Path, hooks: Hooks) -> None:
    """Error rate, P95, silence, lag and dropped records: told once each by webhook, Slack and mail; and over.

    An agent that is killed meanwhile tells nothing twice when it is back, and the recovery all the same.
    """
    port = free_port()
    rules = {
        "errors": {"what": "error_rate", "above": 0.2, "at_least": 10, "window": "10m"},
        "slow": {"what": "p95", "above": 1000, "at_least": 10, "window": "10m"},
        "quiet": {"what": "silence", "window": "10m", "services": ["stock"], "to": ["team"]},
        "lag": {"what": "lag", "above": 60, "to": ["team"]},
        "lost": {"what": "dropped", "window": "10m", "to": ["team"]},
    }
    with Mailbox() as box:
        mail = {"type": "email", "server": box.server, "security": "off", "from": "a@x.y", "to": ["b@x.y"]}
        receivers = {
            "team": {"type": "webhook", "url": f"{hooks.url}/team"},
            "chat": {"type": "slack", "url": f"{hooks.url}/chat?key=secret"},
            "mail": mail,
        }
        dead = {"type": "http", "url": f"http://127.0.0.1:{port}/x", "max_age": "1h"}
        agent = Agent(tmp_path, {"to": receivers, "rules": rules}, dead=dead)
        agent.write(1, ago=1200, service="stock")
        with agent:
            until(lambda: agent.delivered() == 1, "nothing delivered")
            agent.requests(30, failed=True, took=2000)
            agent.write(1, ago=300)
            agent.write(3, ago=2 * 3600)
            fired = {"/pay: 100.0% of 30", "/pay: P95 is", "stock: no logs", "sink dead is"}

            def told(status: str) -> bool:
                found = " ".join(hooks.alerts("/team", status))
                return all(words in found for words in fired)

            until(lambda: told("firing"), "not all told", lambda: hooks.got)
            shown = agent.command("alerts")
            assert shown.returncode == 1
            rows = [json.loads(line) for line in shown.stdout.splitlines()]
            assert {row["alert"] for row in rows if row["state"] == "firing"} == {*rules} - {"lost"}
            until(lambda: len(hooks.got.get("/chat", [])) == 2 and len(box.mails) == 2, "chat and mail")
            agent.kill()
        assert box.mails[0]["Subject"] in {"[FIRING 1] errors: shop", "[FIRING 1] slow: shop"}
        assert f"logferry trace {'ab' * 16}" in box.mails[0].get_content()
        assert "secret" not in agent.said()
        before = sum(map(len, hooks.got.values()))
        with agent, Hooks(port) as server:
            agent.requests(400, failed=False)
            agent.requests(400, failed=False)
            agent.write(1, service="stock")
            fired.remove("/pay: 100.0% of 30")
            fired.remove("/pay: P95 is")
            until(lambda: server.got and told("resolved"), "no recovery", lambda: hooks.got)
            lost = "sink dead dropped 3 records within 10 min: max_age"
            until(lambda: lost in hooks.alerts("/team", "firing"), "dropped records are not told")
        again = [words for words in hooks.alerts("/team", "firing") if "stock" in words]
        assert len(again) == 1, again
        assert sum(map(len, hooks.got.values())) > before


def test_a_receiver_that_hangs_costs_nobody_anything(tmp_path: Path, hooks: Hooks) -> None:
    """Its requests take for ever, another's are refused; every event arrives, and the third is told."""
    rules = {"errors": {"what": "error_rate", "above": 0.2, "at_least": 10, "window": "10m"}}
    hooks.hangs.set()
    with Hooks() as refusing, Mailbox() as box:
        refusing.status = 500
        mail = {"type": "email", "server": box.server, "security": "off", "from": "a@x.y", "to": ["b@x.y"]}
        receivers = {
            "hangs": {"type": "webhook", "url": f"{hooks.url}/a", "timeout": "2m"},
            "refuses": {"type": "slack", "url": f"{refusing.url}/hidden-path"},
            "mail": mail,
        }
        with Agent(tmp_path, {"to": receivers, "rules": rules}) as agent:
            agent.requests(20, failed=True)
            until(lambda: box.mails, "the third receiver is not told")
            until(lambda: "refuses was not told" in agent.said(), "nothing is said", agent.said)
            agent.requests(2_000, failed=True)
            until(lambda: agent.delivered() == 2_020, "delivery waits for a receiver")
            refusing.status = 200
            until(lambda: refusing.got.get("/hidden-path"), "not told again")
            assert "hidden-path" not in agent.said()
            begun = time.monotonic()
        assert time.monotonic() - begun < 60, "the end waits for a receiver"


def test_a_reload_keeps_what_fires_and_who_was_told(tmp_path: Path, hooks: Hooks) -> None:
    """SIGHUP with one more receiver: only that one is told what fires already; both hear that it is over."""
    rules = {"errors": {"what": "error_rate", "above": 0.2, "at_least": 10, "window": "10m"}}
    receivers = {"team": {"type": "webhook", "url": f"{hooks.url}/team"}}
    agent = Agent(tmp_path, {"to": receivers, "rules": rules})
    with agent:
        agent.requests(30, failed=True)
        until(lambda: hooks.alerts("/team", "firing"), "not told")
        receivers["late"] = {"type": "webhook", "url": f"{hooks.url}/late"}
        Agent(tmp_path, {"to": receivers, "rules": rules})  # writes the configuration anew
        agent.hup()
        until(lambda: "reloaded in" in agent.said(), "no reload", agent.said)
        until(lambda: hooks.alerts("/late", "firing"), "the new receiver is not told", agent.said)
        agent.requests(400, failed=False)
        for path in ("/team", "/late"):
            until(lambda path=path: hooks.alerts(path, "resolved"), f"{path}: no recovery", agent.said)  # type: ignore[misc]
        until(lambda: agent.delivered() == 430, "not all delivered", agent.delivered)
        rehearsed = agent.command("alerts", "--rehearse", "--since", "1h")
    fired = [json.loads(line) for line in rehearsed.stdout.splitlines()]
    # Time passes in steps of five seconds there: all 430 may be in one of them, and then nothing was wrong.
    assert rehearsed.returncode == bool(fired), rehearsed.stderr
    for path in ("/team", "/late"):
        assert (len(hooks.alerts(path, "firing")), len(hooks.alerts(path, "resolved"))) == (1, 1)


def test_receivers_are_tried(tmp_path: Path, hooks: Hooks) -> None:
    """`logferry alerts --test` says who got the trial, and of the others what is wrong."""
    good = {"type": "webhook", "url": f"{hooks.url}/good"}
    nobody = {"type": "slack", "url": f"http://127.0.0.1:{free_port()}/hidden"}
    done = Agent(tmp_path, {"to": {"good": good, "nobody": nobody}}).command("alerts", "--test")
    rows = {row["receiver"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 1
    assert rows["good"]["told"]
    assert "connection refused" in rows["nobody"]["problem"]
    assert "hidden" not in done.stdout + done.stderr
    assert "trial" in hooks.alerts("/good", "firing")[0]


def notice() -> Notice:
    alert = Alert("1", {"alert": "p95", "service": "shop"}, 0, 1.0, "shop is slow")
    return Notice("k", {"service": "shop"}, (alert,), ())


def test_mail_by_starttls_with_an_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An account is asked for and encrypted; what is wrong is said without the password."""
    place = make_certificates(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(place / "good.pem"))
    with Mailbox(starttls=server_context(place, "good"), account=("me", "hunter2")) as box:
        mail = {"server": box.server, "sender": "a@x.y", "recipients": ("b@x.y", "c@x.y"), "timeout": 20.0}
        good = Receiver("m", "email", username="me", password="hunter2", **mail)  # type: ignore[arg-type]
        plan = AlertPlan((good,))
        assert send(notice(), good, plan) == ""
        assert box.mails[0]["X-Envelope-To"] == "b@x.y, c@x.y"
        wrong = Receiver("m", "email", username="me", password="hunter3", **mail)  # type: ignore[arg-type]
        said = send(notice(), wrong, plan)
        assert "535" in said
        assert "hunter" not in said
        box.refusing = "452 mailbox full"
        assert "452 mailbox full" in send(notice(), good, plan)
        monkeypatch.setenv("SSL_CERT_FILE", str(place / "other.pem"))
        assert "certificate" in send(notice(), good, plan)
    assert "refused" in send(notice(), good, plan)
