"""The driver: makes puts of a batch, sends them one after the other, folds the answers into one verdict.

Rules:

- A put that finds no group or no stream makes them and is sent again; when that is not enough yet (creation
  takes a moment to be seen everywhere) the batch waits in the spool. Nothing is lost meanwhile.
- What concerns the whole account ends the batch: the remaining puts are retried unsent.
- What was stored is not sent again, with one exception: CloudWatch Logs knows no repetition, so a put whose
  answer was lost (time-out, cut, kill) is stored twice, with the same `event_id`.
- Nothing is retried here; the worker does that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final
from uuid import uuid4

from ...aws import AwsClient, Failure, common_verdict
from ...core.identified import ID_BYTES
from ...core.template import Template
from ...model import Batch, Delivered, Limits, Retry, Verdict
from ...ports import SetupStep, SinkContext
from ...turns import Turns
from .config import CloudWatchConfig
from .preparation import Preparation
from .puts import DAY, EVENT_OVERHEAD, Put, Puts, body, messages
from .verdict import Fold, judge, missing, rejected

__all__ = ["CloudWatchSink"]

_WHOLE: Final = 1 << 20


class CloudWatchSink:
    """Delivers to one log group of one region."""

    def __init__(
        self, config: CloudWatchConfig, context: SinkContext, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._config = config
        self._name = context.name
        self._clock = clock
        self._turns = Turns()
        days = config.retention_days
        self._puts = Puts(
            Template.parse(config.stream),
            config.max_batch_events,
            config.max_batch_bytes,
            None if days is None else days * DAY,
        )
        self._client = AwsClient("logs", config.access())
        self._preparation = Preparation(self._client, config, context.schema)

    @property
    def limits(self) -> Limits:
        """What one batch may hold."""
        config = self._config
        largest = config.max_event_bytes + EVENT_OVERHEAD if config.oversize == "dead_letter" else _WHOLE
        return Limits(
            config.max_batch_events,
            config.max_batch_bytes,
            max_event_bytes=largest,
            max_age=config.max_batch_age,
            overhead=EVENT_OVERHEAD + ID_BYTES,
        )

    def send(self, batch: Batch) -> Verdict:
        """Deliver one batch: a call for each of its streams and days."""
        if not batch.lines:
            return Delivered()
        made = messages(batch, self._config.max_event_bytes)
        fold = Fold()
        stop: Retry | None = None
        for put in self._puts.of(batch, list(map(len, made)), int(self._clock() * 1000)):
            if stop is not None:
                fold.failed(put, stop)
                continue
            answer = self._put(put, made)
            if isinstance(answer, Failure):
                verdict = judge(answer, len(put.indexes))
                fold.failed(put, verdict)
                stop = verdict if isinstance(verdict, Retry) else None
            else:
                fold.answered(put, rejected(answer, len(put.indexes)))
        return fold.verdict(len(batch))

    def check(self) -> Sequence[str]:
        """Put an event into a stream that is not there: AWS says so only to who may put."""
        wrong = self._client.reach() or self._probe()
        return [] if wrong is None else [f"{self._name}: {_said(wrong)}"]

    def setup(self, *, dry_run: bool) -> Sequence[SetupStep]:
        """Make group, retention, tags, metric filters and saved queries."""
        return self._preparation.steps(dry_run=dry_run)

    def close(self) -> None:
        """Release the connection."""
        self._client.forget()

    def _put(self, put: Put, made: Sequence[bytes]) -> Any | Failure:
        request = body(self._config.log_group, put, made, self._turns.rest)
        answer = self._client.call("put_log_events", {}, request)
        if missing(answer):
            if not self._config.create:
                said = f"no stream {put.stream} in group {self._config.log_group}, and create is false"
                return Failure("Missing", said)
            if (wrong := self._preparation.stream(put.stream)) is not None:
                return wrong
            answer = self._client.call("put_log_events", {}, request)
        return answer

    def _probe(self) -> Failure | None:
        now = int(self._clock() * 1000)
        event = {"timestamp": now, "message": "logferry check"}
        where = {"logGroupName": self._config.log_group, "logStreamName": f"logferry-check-{uuid4().hex}"}
        answer = self._client.call("put_log_events", {**where, "logEvents": [event]})
        if not missing(answer):
            return answer if isinstance(answer, Failure) else None
        if self._config.create or "stream" in answer.said:
            return None
        return Failure("Missing", f"there is no log group {self._config.log_group}, and create is false")


def _said(failure: Failure) -> str:
    verdict = common_verdict(failure)
    return failure.text if verdict is None else verdict.reason
