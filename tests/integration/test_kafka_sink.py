"""The Kafka sink against a real broker: complete, repeated, refused in parts, restarted, forked, bounded."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from effort import effort
from programs.understood import server_log

from logferry.handlers.schema import Schema
from logferry.shipper.config.fields import Duration, Secret
from logferry.shipper.config.tls import TlsConfig
from logferry.shipper.kafka import KafkaSasl
from logferry.shipper.model import Batch, Delivered, Partial, Rejected, Retry
from logferry.shipper.ports import SinkContext
from logferry.shipper.sinks.kafka import KafkaConfig, KafkaSink

if TYPE_CHECKING:
    from pathlib import Path

    from servers.kafka import KafkaServer

pytestmark = [pytest.mark.integration, pytest.mark.server("kafka"), pytest.mark.timeout(240)]


def event(number: int, padding: int = 120) -> bytes:
    """Make an event; every fifth has no trace."""
    return orjson.dumps(
        {
            "timestamp": "2026-01-31T08:00:00.000000Z",
            "level": "INFO",
            "service": "shop",
            "trace_id": "" if number % 5 == 0 else f"{number // 7 + 1:032x}",
            "span_id": "",
            "message": f"order {number} für Zoë " + "x" * padding,
        }
    )


def sink(server: KafkaServer, topic: str, **options: Any) -> KafkaSink:
    config = KafkaConfig((server.bootstrap,), topic, **options)
    return KafkaSink(config, SinkContext("kafka", Schema("shop")))


@dataclass
class Deliverer:
    """What the worker does with verdicts: each event to its end."""

    sink: KafkaSink
    spool: str = field(default_factory=lambda: uuid.uuid4().hex)
    rejected: dict[int, str] = field(default_factory=dict)
    retries: list[Retry] = field(default_factory=list)
    sent: int = 0  # calls of `send` that came back

    def run(self, lines: Sequence[bytes], size: int = 2000, seconds: float = 120) -> Deliverer:
        deadline = time.monotonic() + seconds
        work = [
            (list(range(at, min(at + size, len(lines)))), 1) for at in reversed(range(0, len(lines), size))
        ]
        while work:
            assert time.monotonic() < deadline, f"not delivered in time: {self.retries[-3:]}"
            indexes, attempt = work.pop()
            batch = Batch(self.spool, [i + 1 for i in indexes], [lines[i] for i in indexes], attempt)
            verdict = self.sink.send(batch)
            self.sent += 1
            left = []
            if isinstance(verdict, Retry):
                self.retries.append(verdict)
                left = indexes
            elif isinstance(verdict, Rejected):
                self.rejected[indexes[0]] = verdict.reason
            elif isinstance(verdict, Partial):
                for place, refusal in verdict.refused.items():
                    if isinstance(refusal, Retry):
                        self.retries.append(refusal)
                        left.append(indexes[place])
                    else:
                        self.rejected[indexes[place]] = refusal.reason
            else:
                assert isinstance(verdict, Delivered)
            if left:
                work.append((left, attempt + 1))
        return self


def ids(messages: Sequence[Any]) -> Counter[str]:
    return Counter(dict(message.headers())["event_id"].decode() for message in messages)


def wanted(deliverer: Deliverer, numbers: range) -> Counter[str]:
    return Counter(f"{deliverer.spool}-{i + 1}" for i in numbers if i not in deliverer.rejected)


def test_every_event_is_a_message_and_its_value_the_line(kafka: KafkaServer) -> None:
    """Value, key and header are as promised; a trace is in one partition, in order."""
    topic = kafka.create(f"t-{uuid.uuid4().hex}")
    lines = [event(i) for i in range(effort(5_000))]
    one = Deliverer(sink(kafka, topic)).run(lines)
    one.sink.close()
    found = kafka.read(topic)
    assert ids(found) == wanted(one, range(len(lines)))
    places: dict[bytes, set[int]] = {}
    last: dict[bytes, int] = {}
    for message in found:
        number = int(dict(message.headers())["event_id"].decode().rpartition("-")[2])
        assert message.value() == lines[number - 1]
        head = orjson.loads(message.value())
        assert message.key().decode() == (head["trace_id"] or "shop")
        places.setdefault(message.key(), set()).add(message.partition())
        assert last.get(message.key(), 0) < number
        last[message.key()] = number
    assert all(len(partitions) == 1 for partitions in places.values())
    assert len({message.partition() for message in found}) == 3


def test_too_large_messages_are_dead_letters_and_their_neighbours_are_not(kafka: KafkaServer) -> None:
    """The topic takes 20,000 bytes at once: whole batches are refused, the guilty alone are rejected."""
    topic = kafka.create(f"t-{uuid.uuid4().hex}", max_message_bytes="20000")
    lines = [event(i, 30_000 if i in {17, 400} else 300) for i in range(1000)]
    one = Deliverer(sink(kafka, topic, compression="none")).run(lines)
    assert sorted(one.rejected) == [17, 400]
    assert "larger than the topic takes" in one.rejected[17]
    one.sink.close()
    assert ids(kafka.read(topic)) == wanted(one, range(len(lines)))


def test_what_a_topic_takes_at_once_is_remembered(kafka: KafkaServer) -> None:
    """Small events that are only together too large all arrive; the next batch is not refused any more."""
    topic = kafka.create(f"t-{uuid.uuid4().hex}", partitions=1, max_message_bytes="20000")
    one = Deliverer(sink(kafka, topic, compression="none")).run([event(i, 300) for i in range(500)])
    at_once = one.sink._at_once
    assert 1024 <= at_once <= 40_000
    again = Deliverer(one.sink).run([event(i, 300) for i in range(500)])
    assert one.sink._at_once == at_once
    one.sink.close()
    assert not one.rejected
    assert ids(kafka.read(topic)) == wanted(one, range(500)) + wanted(again, range(500))


def test_a_broker_killed_under_load_loses_and_doubles_nothing(
    kafka_factory: Callable[..., KafkaServer],
) -> None:
    """It is killed in the middle and comes back: every event is there exactly once."""
    server = kafka_factory()
    topic = server.create(f"t-{uuid.uuid4().hex}")
    lines = [event(i) for i in range(effort(30_000))]
    one = Deliverer(sink(server, topic, timeout=Duration(1.0)))
    thread = threading.Thread(target=one.run, args=(lines, 500, 150))
    thread.start()
    deadline = time.monotonic() + 60
    while one.sent < 6:
        assert thread.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.0005)
    server.kill()
    assert thread.is_alive(), "it was killed too late to show anything"
    time.sleep(1.5)  # not a hope: the outage's length
    server.start()
    thread.join(150)
    assert not thread.is_alive()
    assert one.retries, "the outage was not met"
    one.sink.close()
    assert ids(server.read(topic)) == wanted(one, range(len(lines)))


def test_a_broker_that_hangs_is_waited_for_and_gets_nothing_twice(
    kafka_factory: Callable[..., KafkaServer],
) -> None:
    """Frozen with messages open: `send` ends in time, and what was open is not handed over again."""
    server = kafka_factory()
    topic = server.create(f"t-{uuid.uuid4().hex}")
    one = sink(server, topic, timeout=Duration(0.5))
    Deliverer(one).run([event(0)])
    lines = [event(i) for i in range(300)]
    batch = Batch(uuid.uuid4().hex, range(1, 301), lines)
    server.freeze()
    try:
        for attempt in range(1, 4):
            begun = time.monotonic()
            verdict = one.send(batch)
            assert isinstance(verdict, Retry), attempt
            assert time.monotonic() - begun < 3
    finally:
        server.thaw()
    deadline = time.monotonic() + 60
    while not isinstance(one.send(batch), Delivered):
        assert time.monotonic() < deadline
    one.close()
    assert sorted(ids(server.read(topic)).values()) == [1] * 301


def test_close_is_bounded_while_the_broker_hangs(kafka_factory: Callable[..., KafkaServer]) -> None:
    """An application can end although the broker holds its messages."""
    server = kafka_factory()
    topic = server.create(f"t-{uuid.uuid4().hex}")
    one = sink(server, topic, timeout=Duration(0.5))
    Deliverer(one).run([event(0)])
    server.freeze()
    try:
        assert isinstance(one.send(Batch("0" * 32, [1], [event(1)])), Retry)
        begun = time.monotonic()
        one.close()
        assert time.monotonic() - begun < 4
    finally:
        server.thaw()


def test_a_missing_topic_pauses_and_goes_on_when_it_is_there(kafka: KafkaServer) -> None:
    """Nothing is dropped for a topic that somebody forgot."""
    topic = f"t-{uuid.uuid4().hex}"
    one = sink(kafka, topic, partitions=2, replication=1)
    batch = Batch("1" * 32, [1, 2], [event(1), event(2)])
    verdict = one.send(batch)
    refusal = next(iter(verdict.refused.values())) if isinstance(verdict, Partial) else verdict
    assert isinstance(refusal, Retry)
    assert refusal.pause
    assert "does not exist" in refusal.reason
    assert any("does not exist" in text for text in one.check())
    assert [step.action for step in one.setup(dry_run=True)] == ["create"]
    assert [(step.action, step.problem) for step in one.setup(dry_run=False)] == [("create", "")]
    assert [step.action for step in one.setup(dry_run=False)] == ["none"]
    Deliverer(one).run(batch.lines)
    one.close()
    assert one.check() == []
    assert sorted(ids(kafka.read(topic)).values()) == [1, 1]


def test_check_tells_what_is_wrong(kafka: KafkaServer) -> None:
    """The name, the port, TLS and SASL each with their own words."""
    topic = kafka.create(f"t-{uuid.uuid4().hex}")
    assert sink(kafka, topic).check() == []
    wait = Duration(3.0)
    context = SinkContext("kafka", Schema("shop"))
    for brokers, options, words in (
        (("nobody.invalid:9092",), {}, "the name cannot be resolved"),
        (("127.0.0.1:1",), {}, "connection refused: nothing listens there"),
        ((kafka.bootstrap,), {"tls": TlsConfig()}, "TLS failed: the other side does not speak it"),
        ((kafka.bootstrap,), {"sasl": KafkaSasl("ann", Secret("pw-9"))}, "SASL failed"),
    ):
        said = KafkaSink(KafkaConfig(brokers, topic, timeout=wait, **options), context).check()
        assert len(said) == 1, said
        assert words in said[0]
        assert "pw-9" not in said[0]


@pytest.fixture(scope="module")
def secured(
    tmp_path_factory: pytest.TempPathFactory, kafka_factory: Callable[..., KafkaServer]
) -> tuple[KafkaServer, Path]:
    """A broker that asks for TLS and a password; and whom to trust."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: it makes the test's certificates")
    place = tmp_path_factory.mktemp("certificates")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-keyout", "key.pem", "-out", "ca.pem", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, cwd=place, check=True, capture_output=True)
    (place / "both.pem").write_text((place / "key.pem").read_text() + (place / "ca.pem").read_text())
    login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    server = kafka_factory(
        protocol="SASL_SSL",
        settings={
            "listener.name.outer.ssl.keystore.type": "PEM",
            "listener.name.outer.ssl.keystore.location": str(place / "both.pem"),
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.outer.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.outer.plain.sasl.jaas.config": f'{login} user_ann="pw-1";',
        },
    )
    return server, place / "ca.pem"


def test_tls_and_password(secured: tuple[KafkaServer, Path]) -> None:
    """With the right ones it delivers; with wrong ones it pauses, says which, and drops nothing."""
    server, ca = secured
    topic = server.create(f"t-{uuid.uuid4().hex}")
    tls, ann = TlsConfig(ca_file=ca), KafkaSasl("ann", Secret("pw-1"), "plain")
    good = Deliverer(sink(server, topic, tls=tls, sasl=ann)).run([event(i) for i in range(100)])
    good.sink.close()
    assert ids(server.read(topic)) == wanted(good, range(100))
    assert sink(server, topic, tls=tls, sasl=ann).check() == []
    for options, words in (
        ({"tls": TlsConfig(), "sasl": ann}, "its certificate was not accepted"),
        ({"tls": tls, "sasl": KafkaSasl("ann", Secret("pw-2"), "plain")}, "the credentials were refused"),
        (
            {"tls": tls, "sasl": KafkaSasl("ann", Secret("pw-1"))},
            "the broker does not take this SASL mechanism",
        ),
    ):
        bad = sink(server, topic, timeout=Duration(3.0), **options)
        verdict = bad.send(Batch("2" * 32, [1], [event(1)]))
        said = bad.check()
        bad.close()
        assert isinstance(verdict, Retry)
        assert (verdict.pause, words in verdict.reason) == (True, True), verdict
        assert len(said) == 1
        assert words in said[0], said
        assert "pw-" not in f"{verdict}{said}"


FORK = """
import logging, os, sys, time
import logferry
directory, bootstrap, topic = sys.argv[1:]
logferry.configure({
    "service": "forks", "logging": {"level": "INFO", "console": "off"}, "spool": {"path": directory},
    "sinks": {"kafka": {"type": "kafka", "brokers": [bootstrap], "topic": topic}},
})
log = logging.getLogger("forks")
for number in range(100):
    log.info("parent %d", number)
assert logferry.flush(30)
children = []
for child in range(3):
    pid = os.fork()
    if not pid:
        for number in range(100):
            log.info("child %d %d", child, number)
        sys.exit(0)
    children.append(pid)
silent = os.fork()
if not silent:
    sys.exit(0)
assert all(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0 for pid in [*children, silent])
log.info("the end")
"""


FORKED_SINK = """
import os, sys, time
from logferry.handlers.schema import Schema
from logferry.shipper.model import Batch, Delivered
from logferry.shipper.ports import SinkContext
from logferry.shipper.sinks.kafka import KafkaConfig, KafkaSink
bootstrap, topic = sys.argv[1:]
sink = KafkaSink(KafkaConfig((bootstrap,), topic), SinkContext("kafka", Schema("forks")))
assert sink.send(Batch("a" * 32, [1], [b"{}"])) == Delivered()
begun = time.monotonic()
if not (child := os.fork()):
    if not os.fork():  # forgets it, and has nothing to do with it
        del sink
        os._exit(0 if time.monotonic() - begun < 0.8 else 3)
    grandchild = os.wait()[1]
    assert sink.send(Batch("b" * 32, [1], [b"{}"])) == Delivered()
    sink.close()
    os._exit(os.waitstatus_to_exitcode(grandchild))
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert sink.send(Batch("a" * 32, [2], [b"{}"])) == Delivered()
"""


def test_a_sink_that_is_used_on_both_sides_of_a_fork(kafka: KafkaServer) -> None:
    """Parent and child send with the same object; a child that only forgets it is not held up."""
    topic = kafka.create(f"t-{uuid.uuid4().hex}")
    command = [sys.executable, "-c", FORKED_SINK, kafka.bootstrap, topic]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(ids(kafka.read(topic))) == ["a" * 32 + "-1", "a" * 32 + "-2", "b" * 32 + "-1"]


def test_forked_children_have_their_own_producer_and_can_end(kafka: KafkaServer, tmp_path: Path) -> None:
    """Children that log and one that does not: all end, and every record is there once."""
    topic = kafka.create(f"t-{uuid.uuid4().hex}")
    program = tmp_path / "forks.py"
    program.write_text(FORK)
    command = [sys.executable, str(program), str(tmp_path / "spool"), kafka.bootstrap, topic]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    found = kafka.read(topic)
    assert sorted(ids(found).values()) == [1] * 401
    assert len({orjson.loads(m.value())["message"] for m in found}) == 401


def test_the_brokers_own_log_is_understood(kafka: KafkaServer, tmp_path: Path) -> None:
    """Every line that begins a record, with the thread, the class and the lines behind it."""
    events = server_log(kafka.data / "kafka.log", tmp_path)
    settings = [event for event in events if event["message"].startswith("KafkaConfig values:")]
    assert settings
    assert settings[0]["message"].count("\n") > 100
    assert {"INFO"} <= {event["level"] for event in events} <= {"INFO", "WARNING", "ERROR"}
    assert [event for event in events if event["logger"].startswith("kafka.server.")]
