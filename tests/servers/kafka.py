"""A real Kafka broker on free loopback ports: one node, its own controller (KRaft), data in a directory.

kafka = KafkaServer(tmp_path).start()
kafka.create("logs", partitions=3)
… kafka.bootstrap …
kafka.kill(); kafka.start()        # comes back with what it had acknowledged
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .cache import binary
from .loki import free_port
from .process import Process, java

__all__ = ["KafkaServer"]

_SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "INNER",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "broker.session.timeout.ms": "2000",  # a restarted broker waits for its former self to expire
    "broker.heartbeat.interval.ms": "500",
    "auto.create.topics.enable": "false",
    "num.partitions": "3",
    "log.cleaner.enable": "false",
}


class KafkaServer(Process):
    """Starts, restarts and kills one broker. `settings` are further lines of its configuration.

    `protocol` is what clients speak: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL. `doors` are further
    listeners, each by the address (host:port) that clients are told to come back to: a proxy's. `behind` has
    their own.
    """

    name = "Kafka"
    log = "kafka.log"

    def __init__(
        self,
        data: Path,
        *,
        protocol: str = "PLAINTEXT",
        settings: Mapping[str, str] | None = None,
        doors: Sequence[str] = (),
    ) -> None:
        super().__init__(data)
        self.port = free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        inner, controller = free_port(), free_port()
        self._inner = f"127.0.0.1:{inner}"
        self.doors = doors
        self.behind = [f"127.0.0.1:{free_port()}" for _ in doors]
        names = [f"DOOR{number}" for number in range(len(doors))]
        protocols = {"OUTER": protocol, "INNER": "PLAINTEXT", "CONTROLLER": "PLAINTEXT"}
        protocols |= dict.fromkeys(names, "PLAINTEXT")
        listeners = {"OUTER": self.bootstrap, "INNER": self._inner} | dict(
            zip(names, self.behind, strict=True)
        )
        advertised = listeners | dict(zip(names, doors, strict=True))
        listeners["CONTROLLER"] = f"127.0.0.1:{controller}"
        lines = {
            **_SETTINGS,
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listeners": ",".join(f"{name}://{place}" for name, place in listeners.items()),
            "advertised.listeners": ",".join(f"{name}://{place}" for name, place in advertised.items()),
            "listener.security.protocol.map": ",".join(f"{name}:{kind}" for name, kind in protocols.items()),
            "log.dirs": str(data / "log"),
            **(settings or {}),
        }
        self._config = data / "server.properties"
        self._config.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
        (data / "log4j2.properties").write_text(
            "status = error\nappender.out.type = Console\nappender.out.name = out\n"
            "appender.out.layout.type = PatternLayout\nappender.out.layout.pattern = [%d] %p %m (%c)%n\n"
            "rootLogger.level = info\nrootLogger.appenderRef.out.ref = out\n"
        )
        self._java("kafka.tools.StorageTool", "format", "-t", _cluster_id(), "-c", str(self._config))

    def _command(self, main: str, *arguments: str) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={self.data / 'log4j2.properties'}"
        return [*java(self.data, "-Xmx512m", logging, "-cp", f"{binary('kafka')}/*"), main, *arguments]

    def _java(self, main: str, *arguments: str) -> None:
        done = subprocess.run(
            self._command(main, *arguments), cwd=self.data, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{main}: {done.stdout[-1000:]}{done.stderr[-1000:]}")

    def command(self) -> list[str]:
        """Return what starts it."""
        return self._command("kafka.Kafka", str(self._config))

    def answers(self) -> bool:
        """Say whether it names its brokers."""
        from confluent_kafka import KafkaException

        try:
            return bool(self.admin().list_topics(timeout=1).brokers)
        except KafkaException:
            return False

    def admin(self) -> Any:
        """Return an administrator's client."""
        from confluent_kafka.admin import AdminClient

        return AdminClient({"bootstrap.servers": self._inner, "log_level": 0})

    def create(self, topic: str, partitions: int = 3, **settings: str) -> str:
        """Create a topic (settings as `max_message_bytes="10000"`); return its name."""
        from confluent_kafka.admin import NewTopic

        config = {name.replace("_", "."): value for name, value in settings.items()}
        admin = self.admin()  # held: a client that is collected answers nothing more
        admin.create_topics([NewTopic(topic, partitions, 1, config=config)])[topic].result(30)
        return topic

    def read(self, topic: str) -> list[Any]:
        """Return every message of a topic up to its present end, partition after partition."""
        from confluent_kafka import Consumer, TopicPartition

        settings = {
            "bootstrap.servers": self._inner,
            "group.id": f"read-{uuid.uuid4().hex}",
            "enable.auto.commit": False,
            "log_level": 0,
        }
        consumer = Consumer(settings)
        try:
            found: list[Any] = []
            partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            for number in sorted(partitions):
                low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)
                if high <= low:
                    continue
                consumer.assign([TopicPartition(topic, number, low)])
                deadline, at = time.monotonic() + 60, low
                while at < high:
                    assert time.monotonic() < deadline, f"{topic}/{number} ends at {high}, read up to {at}"
                    for message in consumer.consume(10_000, timeout=0.5):
                        if message.error() is None:
                            found.append(message)
                            at = message.offset() + 1
            return found
        finally:
            consumer.close()

    def produce(self, topic: str, values: list[bytes | None], **options: Any) -> None:
        """Write messages as somebody else's program would."""
        from confluent_kafka import Producer

        producer = Producer({"bootstrap.servers": self._inner, "log_level": 0})
        for value in values:
            producer.produce(topic, value, **options)
            producer.poll(0)
        assert producer.flush(30) == 0

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """Return the offsets that a consumer group has committed, by partition."""
        from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException

        admin = self.admin()
        asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group]
        try:
            places = asked.result(10).topic_partitions
        except (KafkaException, TimeoutError):  # nobody has asked for the coordinator before, or it moves
            return {}
        return {
            place.partition: place.offset for place in places if place.topic == topic and place.offset >= 0
        }

    def freeze(self) -> None:
        """Stop the broker where it stands: connections stay, nothing answers."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen broker go on."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)


def _cluster_id() -> str:
    """Return a cluster id in Kafka's form: 16 bytes in URL-safe base64 without padding."""
    import base64

    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A", 1)
