"""The sinks http, otlp and syslog at work: complete by id though the shipper, or the receiver, is killed.

Each run ships a file of 20,000 lines (with LOGFERRY_EFFORT=5 or more: 100,000) with `logferry run --once`,
kills it with SIGKILL when a part has arrived, and starts it again. What the receiver holds is compared by
event id with a local store beside it. Duplicates are bounded by what one kill may repeat: one batch, and for
syslog the window.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from certificates import make_certificates
from effort import effort
from servers.cache import binary
from servers.faults import Connection, FaultServer, Request, answer
from servers.otlp import OtlpReceiver, plain
from servers.syslog import RsyslogServer, SyslogReceiver

from logferry.handlers.schema import Schema
from logferry.shipper.model import Batch, Delivered, Partial, Rejected
from logferry.shipper.ports import SinkContext
from logferry.shipper.sinks.otlp import OtlpConfig, OtlpSink
from logferry.shipper.spool import audit

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

EVENTS = min(20_000 * effort(1), 100_000)
BATCH = 2_000
SYSLOG_ID = re.compile(rb'event_id="([0-9a-f]{32}-\d+)"')


class Shipment:
    """A directory with a file to ship, a configuration, and what the local store beside it holds."""

    def __init__(self, place: Path, options: dict[str, Any]) -> None:
        self.place = place
        (place / "in").mkdir()
        with (place / "in" / "app.log").open("w") as file:
            file.writelines(f"order {number} für Zoë costs 12.50\n" for number in range(EVENTS))
        config = {
            "service": "shop",
            "environment": "test",
            "spool": {"path": "spool"},
            "sinks": {
                "out": {"max_batch_events": BATCH, **options},
                "here": {"type": "local", "path": "logs", "compact": "off"},
            },
            "sources": {"app": {"type": "file", "include": ["in/*.log"]}},
        }
        (place / "logferry.yaml").write_text(yaml.safe_dump(config))

    def start(self) -> subprocess.Popen[bytes]:
        with (self.place / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "logferry", "run", "--once"], cwd=self.place, stdout=log, stderr=log
            )

    def finish(self) -> None:
        """Run to the end; everything must be delivered."""
        process = self.start()
        assert process.wait(200) == 0, (self.place / "log").read_text()[-3000:]

    def run_with_a_kill(self, arrived: Callable[[], int]) -> None:
        """Run, SIGKILL when a part has arrived, run to the end."""
        process = self.start()
        deadline = time.monotonic() + 60
        while arrived() < EVENTS // 5:
            assert process.poll() is None, (self.place / "log").read_text()[-3000:]
            assert time.monotonic() < deadline, f"only {arrived()} events came"
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert arrived() < EVENTS, "all was there before the kill: it proves nothing"
        self.finish()

    def compare(self, ids: Counter[str], repeated: int) -> None:
        """The receiver holds the events of the store beside it, few of them twice; the books balance."""
        stored: Counter[str] = Counter()
        for file in (self.place / "logs" / "fresh").glob("*.ndjson"):
            stored.update(orjson.loads(line)["event_id"] for line in file.read_bytes().splitlines())
        assert set(stored.values()) == {1}
        assert len(stored) >= EVENTS  # and a notice of the death
        assert ids.keys() == stored.keys()
        assert ids.total() - len(ids) <= repeated, f"{ids.total() - len(ids)} events came twice"
        report = audit(self.place / "spool")
        assert not report.problems
        for account in report.accounts.values():
            assert (account.balance, account.pending, account.dead_lettered) == (0, 0, 0)
            assert account.delivered == len(stored)


class Kept:
    """A receiver of bodies: a behaviour that stores, and answers 200."""

    def __init__(self, form: str) -> None:
        self.form, self.ids, self.keys = form, Counter[str](), Counter[str]()

    def __call__(self, connection: Connection, request: Request) -> bool:
        body = request.body
        if request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        events = orjson.loads(body) if self.form == "array" else [orjson.loads(x) for x in body.splitlines()]
        self.keys[request.headers["idempotency-key"]] += 1
        self.ids.update(event["event_id"] for event in events)
        return answer(200, b"{}")(connection, request)


@pytest.mark.parametrize(("form", "compression"), [("ndjson", "none"), ("array", "gzip")])
def test_http_is_complete_after_a_kill(tmp_path: Path, form: str, compression: str) -> None:
    """NDJSON and arrays, plain and compressed: every event, at most one batch twice."""
    kept = Kept(form)
    with FaultServer(rest=kept) as server:
        options = {
            "type": "http",
            "url": f"{server.url}/in",
            "body": form,
            "compression": compression,
            "headers": {"Idempotency-Key": "{batch_id}"},
        }
        shipment = Shipment(tmp_path, options)
        shipment.run_with_a_kill(kept.ids.total)
        shipment.compare(kept.ids, BATCH)


@pytest.mark.parametrize("body", ["message", "line"])
def test_otlp_is_complete_after_a_kill(tmp_path: Path, body: str) -> None:
    """Every record decodes with OpenTelemetry's classes and says what was logged."""
    receiver = OtlpReceiver()
    with FaultServer(rest=receiver) as server:
        shipment = Shipment(tmp_path, {"type": "otlp", "url": server.url, "body": body})
        shipment.run_with_a_kill(lambda: len(receiver.records))
        shipment.compare(receiver.arrivals, BATCH)
    assert receiver.complaints == []
    resource, record = next(found for found in receiver.records.values() if "order" in str(found[1].body))
    assert resource["service.name"] == "shop"
    assert resource["deployment.environment.name"] == "test"
    text = record.body.string_value
    message = text if body == "message" else orjson.loads(text)["message"]
    assert re.fullmatch(r"order \d+ für Zoë costs 12\.50", message), message
    assert record.severity_number == 9
    assert abs(record.time_unix_nano / 1e9 - time.time()) < 600


def test_otlp_partial_success_becomes_dead_letters() -> None:
    """Of a request that was refused in part all are kept with the receiver's words; or it is halved."""

    def bad(record: Any) -> bool:
        return bool(plain(record.body) == "bad")

    lines = [orjson.dumps({"service": "s", "message": "bad" if n == 3 else "good"}) for n in range(5)]
    for on_partial in ("dead_letter", "isolate"):
        receiver = OtlpReceiver(bad)
        with FaultServer(rest=receiver) as server:
            config = OtlpConfig(url=server.url, on_partial=on_partial)  # type: ignore[arg-type]
            sink = OtlpSink(config, SinkContext("o", Schema("s")))
            verdict = sink.send(Batch("a" * 32, range(1, 6), lines))
            alone = sink.send(Batch("a" * 32, [4], lines[3:4]))
            good = sink.send(Batch("a" * 32, [1], lines[:1]))
            sink.close()
        assert good == Delivered()
        assert isinstance(alone, Partial)
        assert isinstance(alone.refused[0], Rejected)
        assert alone.refused[0].reason == "the receiver refused it: refused by the test"
        if on_partial == "isolate":
            assert type(verdict).__name__ == "Split"
        else:
            assert isinstance(verdict, Partial)
            assert verdict.refused.keys() == set(range(5))
            assert "1 of the 5" in verdict.refused[0].reason
            assert "refused by the test" in verdict.refused[0].reason


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificates(tmp_path_factory.mktemp("tls"))


def receiver_of(kind: str, place: Path, certificate: Path | None) -> SyslogReceiver | RsyslogServer:
    if kind == "own":
        return SyslogReceiver(place, certificate)
    root = binary("rsyslog")
    if not root.exists():
        message = "rsyslog is not installed: python tests/servers/install.py rsyslog (unpacks Debian's)"
        if os.environ.get("LOGFERRY_REQUIRE_SERVERS") == "1" and shutil.which("apt-get"):
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    return RsyslogServer(root, place, certificate)


def syslog_ids(lines: list[bytes]) -> Counter[str]:
    return Counter(found[1].decode() for line in lines if (found := SYSLOG_ID.search(line)))


@pytest.mark.parametrize(
    ("kind", "protocol", "confirm"),
    [("rsyslog", "tls", "tcp"), ("rsyslog", "tcp", "close"), ("own", "tcp", "tcp"), ("own", "tls", "close")],
)
def test_syslog_is_complete_after_a_kill(
    tmp_path: Path, certificates: Path, kind: str, protocol: str, confirm: str
) -> None:
    """Octet counting over TCP and TLS, to rsyslog and to a receiver that takes only what the RFCs allow."""
    certificate = certificates / "good" if protocol == "tls" else None
    with receiver_of(kind, tmp_path / "receiver", certificate) as receiver:
        options = {
            "type": "syslog",
            "host": "127.0.0.1",
            "port": receiver.port,
            "protocol": protocol,
            "confirm": confirm,
            "tls": {"ca_file": f"{certificates}/good.pem"} if certificate else {},
        }
        shipment = Shipment(tmp_path, options)
        shipment.run_with_a_kill(lambda: receiver.out.stat().st_size // 400 if receiver.out.exists() else 0)
        lines = receiver.lines()
        # A batch on its way when its sender dies comes again, and may have been cut within a message.
        whole = [line for line in lines if SYSLOG_ID.search(line) and line.endswith(b"}")]
        shipment.compare(syslog_ids(whole), BATCH)
    assert len(lines) - len(whole) <= 1
    assert receiver.complaints.count("\n") <= 1
    assert set(re.findall(r"^\w+ \w+", receiver.complaints)) <= {"ended within"}
    structured, app, priority, message = whole[0].split(b"\t")
    assert structured.startswith(b"[logferry@32473 event_id=")
    assert (app, priority) == (b"shop", b"134")
    assert orjson.loads(message)["service"] == "shop"


@pytest.mark.parametrize(("kind", "confirm"), [("own", "tcp"), ("own", "close"), ("rsyslog", "tcp")])
def test_syslog_loses_nothing_when_the_receiver_is_killed(tmp_path: Path, kind: str, confirm: str) -> None:
    """SIGKILL of the receiver under load, twice: what it had not read is sent again."""
    with receiver_of(kind, tmp_path / "receiver", None) as receiver:
        options = {
            "type": "syslog",
            "host": "127.0.0.1",
            "port": receiver.port,
            "confirm": confirm,
            "timeout": "2s",
            "resend_window": "4MiB",
        }
        shipment = Shipment(tmp_path, options)
        process = shipment.start()
        for share in (0.15, 0.4):
            deadline = time.monotonic() + 60
            while not receiver.out.exists() or receiver.out.stat().st_size < EVENTS * 400 * share:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.005)
            receiver.kill()
            with receiver.out.open("ab") as file:
                file.write(b"\n")  # what it was writing is not mixed with what comes next
            receiver.start()
        assert process.wait(100) == 0, (tmp_path / "log").read_text()[-3000:]
        whole = [line for line in receiver.lines() if SYSLOG_ID.search(line) and line.endswith(b"}")]
        shipment.compare(syslog_ids(whole), 4 * BATCH + 2 * (4 << 20) // 400)
