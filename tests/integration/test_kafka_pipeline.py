"""Agent → topic → consumers, as in examples/kafka, with real processes, a real broker and real kills.

Compared by id: `origin_id` is what the agent called an event, in whichever store it is.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from effort import effort
from evidence import Evidence
from programs.fate import until

from logferry.shipper.config import load
from logferry.shipper.config.plan import plan
from logferry.shipper.model import Retry
from logferry.shipper.pipeline import Pipeline
from logferry.shipper.sinks.memory import memory_sink
from logferry.shipper.spool import audit

if TYPE_CHECKING:
    from servers.kafka import KafkaServer

pytestmark = [pytest.mark.integration, pytest.mark.server("kafka"), pytest.mark.timeout(1200)]

EXAMPLES = Path(__file__).parents[2] / "examples" / "kafka"


class Fleet:
    """The processes of one test: `agent` and consumers by number, each ended by its own pid."""

    def __init__(self, directory: Path, kafka: KafkaServer, partitions: int = 3) -> None:
        self.directory, self.kafka = directory, kafka
        self.topic = kafka.create(f"logs-{uuid.uuid4().hex}", partitions)
        self.group = f"stores-{uuid.uuid4().hex}"
        self.logs, self.state = directory / "logs", directory / "state"
        self.logs.mkdir()
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *more: str) -> subprocess.Popen[bytes]:
        config, _, number = name.partition("-")
        environ = {
            **os.environ,
            "STATE": str(self.state),
            "LOGS": str(self.logs),
            "KAFKA": self.kafka.bootstrap,
            "TOPIC": self.topic,
            "GROUP": self.group,
            "NUMBER": number or "1",
            "SESSION": "3s",
        }
        command = [sys.executable, "-m", "logferry", "run", "-c", f"{config}.yaml", *more]
        log = self.directory / f"{name}.log"
        before = log.read_bytes().count(b"logferry: running") if log.exists() else 0
        with log.open("ab") as output:
            self.running[name] = subprocess.Popen(
                command, cwd=EXAMPLES, env=environ, stdout=output, stderr=output
            )
        if not more:  # before that a SIGTERM ends it as any other program
            until(lambda: log.read_bytes().count(b"logferry: running") > before, 60)
        return self.running[name]

    def kill(self, name: str) -> None:
        process = self.running.pop(name)
        assert process.poll() is None, (self.directory / f"{name}.log").read_text()
        process.kill()
        process.wait()

    def end(self, name: str) -> None:
        process = self.running.pop(name)
        process.terminate()
        assert process.wait(30) == 0, (self.directory / f"{name}.log").read_text()

    def write(self, first: int, count: int) -> None:
        """Append `count` lines of an application's JSON log."""
        with (self.logs / "app.log").open("a") as file:
            for number in range(first, first + count):
                trace = f"{number // 3 + 1:032x}"
                event = {"level": "INFO", "message": f"order {number}", "number": number, "trace_id": trace}
                file.write(json.dumps(event) + "\n")

    def stored(self, number: str = "*") -> list[tuple[str, int]]:
        """Return (the agent's id, the line's number) of each event in the stores."""
        found = []
        for content in self.contents(number):
            for line in content.split(b"\n")[:-1]:
                event = json.loads(line)
                if "number" in event:
                    found.append((event["origin_id"], event["number"]))
        return found

    def lines_stored(self) -> int:
        """Return about how many events are stored: quick."""
        return sum(content.count(b"\n") for content in self.contents("*"))

    def contents(self, number: str) -> list[bytes]:
        """Return what the stores' files hold; one may be given its last name meanwhile."""
        while True:
            with suppress(FileNotFoundError):
                return [file.read_bytes() for file in self.state.glob(f"store-{number}/fresh/*.ndjson")]

    def settled(self) -> bool:
        """Whether the group has committed every offset of the topic."""
        from confluent_kafka import Consumer, KafkaException, TopicPartition

        # Asks for the group's offsets, and is no member of it.
        asking = Consumer({"bootstrap.servers": self.kafka.bootstrap, "group.id": self.group, "log_level": 0})
        try:
            places = asking.committed([TopicPartition(self.topic, number) for number in range(3)], timeout=10)
            ends = [asking.get_watermark_offsets(place, timeout=10)[1] for place in places]
            return all(max(place.offset, 0) == end for place, end in zip(places, ends, strict=True))
        except KafkaException:  # the broker is busy, or away
            return False
        finally:
            asking.close()

    def all_sent(self, count: int) -> bool:
        """Whether the agent's books say that Kafka has everything."""
        report = audit(self.state / "agent")
        account = report.accounts.get(("shop", "kafka"))
        return account is not None and account.delivered >= count and account.pending == 0

    def assert_complete(self, count: int) -> Counter[str]:
        """Everything is stored, one id for each line; the books balance. Return how often each id is."""
        found = self.stored()
        assert {number for _, number in found} == set(range(count))
        ids = Counter(origin for origin, _ in found)
        assert len(ids) == count, "an event came under two ids"
        for path in self.state.iterdir():
            if not path.name.startswith("store"):
                report = audit(path)
                assert not report.problems, report.problems
                assert all(account.balance == 0 for account in report.accounts.values())
                assert all(
                    account.pending == 0 and not account.dropped for account in report.accounts.values()
                )
        return ids


@pytest.fixture
def fleet(tmp_path: Path, kafka: KafkaServer) -> Iterator[Fleet]:
    made = Fleet(tmp_path, kafka)
    yield made
    for process in made.running.values():
        process.kill()
        process.wait()


def test_agent_topic_two_consumers_with_kills(fleet: Fleet, evidence: Evidence) -> None:
    """A second consumer joins under load, one is killed and stays away, the agent is killed: all is there."""
    count = effort(100_000)
    fleet.start("agent")
    fleet.start("consumer-1")
    fleet.write(0, count // 4)
    until(lambda: fleet.lines_stored() > count // 50, 120, "nothing comes through")
    fleet.start("consumer-2")  # a rebalance in the middle of everything
    fleet.write(count // 4, count - count // 4)
    until(lambda: fleet.lines_stored() > count // 4, 300)
    fleet.kill("agent")
    fleet.start("agent")
    until(lambda: fleet.stored("2"), 120, "the second consumer gets nothing")
    fleet.kill("consumer-1")
    until(lambda: fleet.all_sent(count), 600, "the agent does not send everything")
    fleet.start("consumer-1")
    until(fleet.settled, 300, "not everything is committed")
    for name in list(fleet.running):
        fleet.end(name)
    ids = fleet.assert_complete(count)
    again = sum(ids.values()) - len(ids)
    row = f"a Kafka consumer and the agent before it killed (SIGKILL) under {count:,} events"
    evidence(row, tried=2, lost=count - len(ids))
    print(f"{count} events; stored more than once: {again}")


def test_a_consumer_killed_again_and_again_stores_each_message_once(fleet: Fleet) -> None:
    """What its spool holds is not appended again: one machine, one store, nothing twice."""
    count = effort(20_000)
    fleet.write(0, count)
    fleet.start("agent")
    chance = random.Random(5)
    kills = 0
    while kills < 4:
        before = fleet.lines_stored()
        fleet.start("consumer-1")
        until(lambda: fleet.lines_stored() > before or fleet.settled(), 60)  # noqa: B023 - called at once
        time.sleep(chance.uniform(0, 0.4))  # any moment will do
        fleet.kill("consumer-1")
        kills += 1
    until(lambda: fleet.all_sent(count), 120)
    fleet.start("consumer-1")
    until(fleet.settled, 120)
    fleet.end("consumer-1")
    fleet.end("agent")
    twice = sum(times > 1 for times in fleet.assert_complete(count).values())
    assert twice == 0


def test_a_machine_that_burns_down_with_its_spool_loses_nothing(fleet: Fleet) -> None:
    """What was committed was stored: a killed consumer's spool is deleted, and all is there in the end."""
    count = effort(20_000)
    fleet.write(0, count)
    fleet.start("agent")
    for share in (0.1, 0.5):
        fleet.start("consumer-1")
        until(lambda: fleet.lines_stored() > count * share, 120)  # noqa: B023 - called at once
        fleet.kill("consumer-1")
        shutil.rmtree(fleet.state / "consumer-1")
    until(lambda: fleet.all_sent(count), 120)
    fleet.start("consumer-1")
    until(fleet.settled, 120)
    fleet.end("consumer-1")
    fleet.end("agent")
    fleet.assert_complete(count)


def test_run_once_reads_to_the_end_and_commits(fleet: Fleet) -> None:
    """`logferry run --once` at both ends: exit 0, everything stored and committed."""
    fleet.write(0, 1000)
    for name in ("agent", "consumer-1"):
        process = fleet.start(name, "--once")
        assert process.wait(60) == 0, (fleet.directory / f"{name}.log").read_text()
    assert fleet.settled()
    assert max(fleet.assert_complete(1000).values()) == 1


def test_check_connect_asks_both_ends(fleet: Fleet) -> None:
    """`logferry check --connect` is content with the example, and names a topic that is not there."""
    for topic, code in ((fleet.topic, 0), ("no-such-topic", 1)):
        environ = {**os.environ, "KAFKA": fleet.kafka.bootstrap, "TOPIC": topic, "STATE": str(fleet.state)}
        for config, name in (("agent", "kafka"), ("consumer", "logs")):
            command = [sys.executable, "-m", "logferry", "check", "--connect", "-c", f"{config}.yaml"]
            done = subprocess.run(
                command, cwd=EXAMPLES, env=environ, capture_output=True, text=True, check=False
            )
            told = [json.loads(line) for line in done.stdout.splitlines()]
            answer = next(one for one in told if name in (one.get("sink"), one.get("source")))
            assert (done.returncode, answer["ok"]) == (code, not code), done.stdout + done.stderr
            assert code == 0 or "does not exist" in answer["problems"][0]


def pipeline(kafka: KafkaServer, directory: Path, topic: str, **source: Any) -> Pipeline:
    return Pipeline.from_plan(
        plan(
            load(
                {
                    "service": "reader",
                    "spool": {"path": str(directory / "spool"), "max_bytes": "1MiB"},
                    "sources": {
                        "in": {
                            "type": "kafka",
                            "brokers": [kafka.bootstrap],
                            "topics": [topic],
                            "group": topic,
                            "commit_interval": "100ms",
                            "session_timeout": "3s",
                            **source,
                        }
                    },
                    "sinks": {"mem": {"type": "memory"}},
                }
            )
        )
    )


def empty(kafka: KafkaServer, group: str) -> None:
    """Wait until a group has no members: only then its offsets can be set."""
    admin = kafka.admin()
    until(lambda: not admin.describe_consumer_groups([group])[group].result(10).members, 20)


def sink_of(made: Pipeline) -> Any:
    """Return the pipeline's memory sink, which its worker makes."""
    made.start(sources=False)
    until(lambda: made.flush(1), 10)
    return memory_sink("mem")


def test_nothing_is_committed_before_the_sink_has_it_and_a_full_spool_pauses(
    kafka: KafkaServer, tmp_path: Path
) -> None:
    """The sink refuses: the spool fills, the member stays beyond max.poll.interval, nothing is committed."""
    from confluent_kafka import KafkaException

    topic = kafka.create(f"t-{uuid.uuid4().hex}", 2)
    kafka.produce(topic, [b"message %d " % number + b"x" * 300 for number in range(8000)])
    # As long as `max.poll.interval.ms` allows: a machine that stands still for a moment throws nobody out.
    options = {"max.poll.interval.ms": "5000", "auto.commit.interval.ms": "100"}
    made = pipeline(kafka, tmp_path, topic, options=options, session_timeout="5s")

    admin, found = kafka.admin(), list[str]()

    def asked() -> bool:
        """Ask who is in the group; a busy broker may not answer in time."""
        with suppress(KafkaException, TimeoutError):
            group = admin.describe_consumer_groups([topic])[topic].result(20)
            found[:] = [member.member_id for member in group.members]
            return bool(found)
        return False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("logferry.shipper.sinks.memory._made", {})
        memory = None
        try:
            made.start(sources=False)
            made.flush(1)
            from logferry.shipper.sinks import memory as module

            until(lambda: "mem" in module._made, 10)
            memory = memory_sink("mem")
            memory.answers.extend(Retry("not now", after=0.1) for _ in range(100_000))
            made._feed(once=False)
            until(lambda: made.accounts()["mem"].pending > 1000, 90)  # a busy broker takes its time
            until(asked, 60, "nobody is in the group")
            (member,) = found
            begun, pending = time.monotonic(), -1
            while time.monotonic() - begun < 6:  # longer than max.poll.interval.ms
                pending = made.accounts()["mem"].pending
                time.sleep(0.2)
            assert pending < 8000, "the spool took everything: it was not full"
            assert kafka.committed(topic, topic) == {}
            until(asked, 60, "nobody is in the group")
            assert found == [member], "the member was thrown out of its group"
            memory.answers.clear()
            until(lambda: sum(kafka.committed(topic, topic).values()) == 8000, 60)
            messages = Counter(event["message"] for event in memory.events())
            assert len(messages) == 8000
            assert max(messages.values()) == 1
        finally:
            if memory is not None:
                memory.answers.clear()
            made.shutdown(10)


def test_foreign_messages_are_parsed_redacted_and_keep_one_id(kafka: KafkaServer, tmp_path: Path) -> None:
    """Text, JSON, a tombstone, something broken, an event of ours, one that only says so; read twice."""
    topic = kafka.create(f"t-{uuid.uuid4().hex}", 1)
    own = (
        b'{"timestamp":"2026-01-31T08:00:00.000000Z","level":"INFO","service":"shop","trace_id":"",'
        b'"span_id":"","message":"ours","order_id":7}'
    )
    name = "0123456789abcdef0123456789abcdef-12"
    values = [
        b"2026-01-31 08:00:01 ERROR plain text",
        b'{"msg":"json","password":"hunter2"}',
        None,
        b"\xff\xfe broken \x00",
        b"  ",
    ]
    kafka.produce(topic, values)
    kafka.produce(topic, [own, b'{"password":"hunter2"}'], headers=[("event_id", name.encode())])
    rounds = []
    for number in range(2):  # two machines, one after the other: the second begins anew
        made = pipeline(kafka, tmp_path / str(number), topic)
        sink = sink_of(made)
        made._feed(once=False)
        until(lambda: len(sink.lines()) >= 5, 30)  # noqa: B023 - called at once
        made.shutdown(10)
        rounds.append(sink.lines())
        if not number:
            from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

            back = ConsumerGroupTopicPartitions(topic, [TopicPartition(topic, 0, 0)])
            admin = kafka.admin()
            empty(kafka, topic)
            admin.alter_consumer_group_offsets([back])[topic].result(10)
    first, second = ([json.loads(line) for line in lines] for lines in rounds)
    assert [event["event_id"] for event in first] == [event["event_id"] for event in second]
    assert len({event["event_id"] for event in first}) == 5
    assert b"hunter2" not in b"".join(rounds[0])
    assert [event["message"] for event in first][:2] == ["2026-01-31 08:00:01 ERROR plain text", "json"]
    assert first[0]["level"] == "ERROR"
    assert rounds[0][3] == b'{"event_id":"%b",' % name.encode() + own[1:]
    assert first[4]["event_id"] != name
    assert first[1]["kafka_topic"] == topic


def test_messages_of_a_program_are_understood(kafka: KafkaServer, tmp_path: Path) -> None:
    """With an option of the parser's own; one message that is of no such format is kept whole."""
    topic = kafka.create(f"t-{uuid.uuid4().hex}", 1)
    head = b"2026-11-21 20:17:42.123 UTC [77] shop@orders "
    values = [head + b"LOG:  duration: 4.125 ms  statement: SELECT 1", b"what is this"]
    kafka.produce(topic, [*values, head + b'ERROR:  relation "x" does not exist'])
    parser = {"format": "postgresql", "log_line_prefix": "%m [%p] %q%u@%d "}
    made = pipeline(kafka, tmp_path, topic, parser=parser)
    sink = sink_of(made)
    made._feed(once=False)
    until(lambda: len(sink.lines()) >= 3, 30)
    made.shutdown(10)
    events = [json.loads(line) for line in sink.lines()]
    assert [event["level"] for event in events] == ["INFO", "INFO", "ERROR"]
    assert events[0]["duration_ms"] == 4.125
    assert events[1]["parse_error"] == "not postgresql"
    assert (events[2]["message"], events[2]["database"]) == ('relation "x" does not exist', "orders")


def test_offsets_that_are_set_back_are_read_again_and_those_of_the_spool_are_not(
    kafka: KafkaServer, tmp_path: Path
) -> None:
    """Started again it goes on; after somebody has set the group back it reads again, under the same ids."""
    topic = kafka.create(f"t-{uuid.uuid4().hex}", 1)
    kafka.produce(topic, [b"message %d" % number for number in range(10)])

    def read(expected: int) -> list[str]:
        made = pipeline(kafka, tmp_path, topic)
        sink = sink_of(made)
        made._feed(once=False)
        until(lambda: kafka.committed(topic, topic).get(0) == expected, 30)
        made.shutdown(10)
        return [json.loads(line)["event_id"] for line in sink.lines()]

    first = read(10)
    assert len(first) == 10
    kafka.produce(topic, [b"message 10"])
    assert len(read(11)) == 1
    from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

    admin = kafka.admin()
    empty(kafka, topic)
    admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(topic, [TopicPartition(topic, 0, 4)])])[
        topic
    ].result(10)
    assert read(11)[:6] == first[4:]


def test_the_broker_restarted_under_both_ends(
    tmp_path: Path, kafka_factory: Callable[..., KafkaServer]
) -> None:
    """Kafka is killed while agent and consumer work: nothing is lost, and nothing is stored twice."""
    server = kafka_factory()
    made = Fleet(tmp_path, server)
    count = effort(20_000)
    try:
        made.start("agent")
        made.start("consumer-1")
        made.write(0, count // 2)
        until(lambda: made.lines_stored() > count // 10, 60)
        server.kill()
        made.write(count // 2, count - count // 2)
        server.start()
        until(lambda: made.all_sent(count), 120)
        until(made.settled, 120)
        made.end("consumer-1")
        made.end("agent")
        assert max(made.assert_complete(count).values()) == 1
    finally:
        for process in made.running.values():
            process.kill()
            process.wait()
