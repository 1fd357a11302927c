"""What a user may write under `sources: {…: {type: kafka, …}}`, and what of it cannot work."""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ...config.fields import Duration, setting
from ...config.tls import TlsConfig
from ...kafka import KafkaSasl, brokers_problem, client_settings, options_problem
from ..parsers import ParserConfig, ParserName, checked

__all__ = ["KafkaSourceConfig"]


@dataclass(frozen=True, slots=True)
class KafkaSourceConfig:
    """Which topics of which brokers, as a member of which group."""

    brokers: tuple[str, ...] = setting(
        help="brokers to begin with, as host:port; the others are found through them",
        example="[localhost:9092]",
    )
    topics: tuple[str, ...] = setting(help="topics to read; `^logs-.*` is a pattern", example="[logs]")
    group: str = setting("logferry", help="the consumer group; its members share the partitions")
    parser: ParserName | ParserConfig = setting(
        "auto",
        help="what messages are that are not logferry's: a format or a program; auto takes JSON field by "
        "field, the rest as text",
    )
    trust: bool = setting(
        True, help="take logferry's own messages as they are; false: parse and redact them again"
    )
    begin: Literal["earliest", "latest"] = setting(
        "earliest", help="where a group begins that has committed nothing"
    )
    commit_interval: Duration = setting(
        Duration(1.0), help="how often settled offsets are committed", minimum=0.05, maximum=60
    )
    handover: Duration = setting(
        Duration(2.0), help="how long to wait for the sinks before partitions are given away", maximum=60
    )
    session_timeout: Duration = setting(
        Duration(30.0), help="how long a member may be silent before others take over", minimum=1
    )
    tls: TlsConfig | None = setting(None, help="speak TLS; `tls: {}` trusts the system's certificates")
    sasl: KafkaSasl | None = setting(None, help="user and password")
    options: Mapping[str, str] = setting(
        factory=dict, help="further settings of librdkafka", example="{client.rack: eu-1a}"
    )

    def __post_init__(self) -> None:
        checked(self.parser)
        problem = brokers_problem(self.brokers) or options_problem(self.options)
        if not problem and not (self.topics and all(self.topics)):
            problem = "topics is empty; name at least one"
        if not problem and not self.group:
            problem = "group is empty"
        if problem:
            raise ValueError(problem)

    def consumer(self) -> dict[str, Any]:
        """Return librdkafka's settings for the consumer."""
        return {
            # One queue for all partitions: what is fetched ahead is bounded whatever their number.
            "queued.max.messages.kbytes": "16384",
            "fetch.wait.max.ms": "100",
            **client_settings(self.brokers, self.tls, self.sasl, self.options),
            "group.id": self.group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "auto.offset.reset": self.begin,
            # Partitions that stay with a member are not taken from it for a moment.
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": str(int(self.session_timeout * 1000)),
            "heartbeat.interval.ms": str(int(self.session_timeout * 1000 / 6)),
        }
