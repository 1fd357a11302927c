"""What `check` and `setup` ask and do at the cluster, with an administrator's client of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...kafka import Finding, explain
from ...ports import SetupStep

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["examine", "prepare"]

_MISSING = "UNKNOWN_TOPIC_OR_PART"


class _Cluster:
    """An administrator's client, and what it last complained of."""

    def __init__(self, settings: Mapping[str, Any], timeout: float) -> None:
        from confluent_kafka.admin import AdminClient

        self._timeout = timeout
        self._trouble: Finding | None = None
        every: dict[str, Any] = {**settings, "error_cb": self._complain}
        self._admin = AdminClient(every)

    def _complain(self, error: Any) -> None:
        if error.name() != "_ALL_BROKERS_DOWN" and not (self._trouble and self._trouble.pause):
            self._trouble = explain(error.name(), error.str())

    def topic(self, name: str) -> tuple[Any, str, str]:
        """Return the topic's description, or None with the error's name and what it means."""
        from confluent_kafka import TopicCollection

        return self._wait(
            self._admin.describe_topics(
                TopicCollection([name]), include_authorized_operations=True, request_timeout=self._timeout
            )[name]
        )

    def create(self, name: str, partitions: int, replication: int) -> tuple[str, str]:
        """Create a topic; return the error's name and what it means (empty: it was created)."""
        from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined] # exported, not declared so

        made = self._admin.create_topics(
            [NewTopic(name, partitions, replication)], request_timeout=self._timeout
        )[name]
        return self._wait(made)[1:]

    def _wait(self, future: Any) -> tuple[Any, str, str]:
        from confluent_kafka import KafkaException

        try:
            return future.result(self._timeout + 5), "", ""
        except (KafkaException, TimeoutError) as failure:
            error = failure.args[0] if failure.args else None
            self._admin.poll(0)  # what the error callback has to say
            name = error.name() if error is not None and hasattr(error, "name") else "_TIMED_OUT"
            if self._trouble is not None and name in {"_TIMED_OUT", "_TRANSPORT", "_ALL_BROKERS_DOWN"}:
                return None, name, self._trouble.reason
            return None, name, explain(name, "" if error is None else str(error.str())).reason


def examine(settings: Mapping[str, Any], topic: str, timeout: float) -> list[str]:
    """Return what keeps us from writing to the topic, one sentence each."""
    from confluent_kafka import KafkaException

    try:
        found, name, reason = _Cluster(settings, timeout).topic(topic)
    except KafkaException as failure:  # a setting that librdkafka refuses, a certificate that is not there
        return [explain(failure.args[0].name(), failure.args[0].str()).reason]
    if name:
        return [f"topic {topic}: {reason}" if name == _MISSING or "topic" in reason else reason]
    operations = {operation.name for operation in found.authorized_operations or ()}
    if operations and not operations & {"WRITE", "ALL"}:
        return [f"topic {topic}: no permission to write"]
    return []


def prepare(
    settings: Mapping[str, Any], topic: str, size: tuple[int, int], timeout: float, *, dry_run: bool
) -> list[SetupStep]:
    """Make the topic with so many (partitions, copies) unless it is there."""
    from confluent_kafka import KafkaException

    partitions, replication = size
    what, body = f"topic {topic}", {"partitions": partitions, "replication": replication}
    try:
        cluster = _Cluster(settings, timeout)
        _, name, reason = cluster.topic(topic)
        if not name:
            return [SetupStep(what, "none")]
        if dry_run:
            return [SetupStep(what, "create", body)]
        if name == _MISSING:
            name, reason = cluster.create(topic, partitions, replication)
            if name in {"", "TOPIC_ALREADY_EXISTS"}:
                return [SetupStep(what, "create", body)]
    except KafkaException as failure:
        reason = explain(failure.args[0].name(), failure.args[0].str()).reason
    return [SetupStep(what, "create", body, reason)]
