"""The driver: spans of a batch as one request. Retries are the worker's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from ...core.answers import answered
from ...core.spans import Span, read_span
from ...http_requests import HttpRequests
from ...model import Batch, Delivered, Limits, Rejected, Retry, Split, Verdict
from ...ports import SinkContext
from ...unfinished import Unfinished
from .config import SPANS_PATH, ZipkinConfig
from .request import request_body
from .verdict import hint, judge

__all__ = ["ZipkinSink"]


class ZipkinSink:
    """Delivers to a Zipkin server over HTTP. Events that are no spans are passed over."""

    def __init__(
        self, config: ZipkinConfig, context: SinkContext, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._config = config
        self._name = context.name
        self._clock = clock
        self._open = Unfinished(config.unfinished_after, context.state_dir, context.name, clock())
        headers = {**config.headers, "Content-Type": "application/json"}
        self._server = HttpRequests(config, config.base, headers, extra="http", clock=clock)

    @property
    def limits(self) -> Limits:
        """What one batch may hold."""
        config = self._config
        return Limits(config.max_batch_events, config.max_batch_bytes, max_event_bytes=config.max_batch_bytes)

    def send(self, batch: Batch) -> Verdict:
        """Send the spans that a batch tells the end of, as one request; note those that have begun."""
        now = self._clock()
        self._open.reads(batch.spool)
        ended: list[Span] = []
        for line in batch.lines:
            match read_span(line):
                case ("begun", span):
                    self._open.begin(span, now, batch.spool)
                case ("ended", span):
                    ended.append(span)
        verdict = self._post(ended) if ended else Delivered()
        if isinstance(verdict, Delivered):
            self._open.end(ended)
        return verdict

    def tick(self) -> None:
        """Close what is unfinished. Called by the worker between batches; what fails is tried again."""
        due = self._open.due(self._clock(), self._config.max_batch_events)
        # A server that refuses them for good would be asked for ever: they are given up.
        if due and isinstance(self._post(due), Delivered | Rejected | Split):
            self._open.end(due)

    def check(self) -> Sequence[str]:
        """Send a request without spans, which every server answers as it would a full one."""
        answer = self._server.send(SPANS_PATH, b"[]")
        if isinstance(answer, Retry):
            return [f"{self._name}: {answer.reason}"]
        status = answer.status
        if 200 <= status < 300:
            return []
        said = answered("Zipkin", status, answer.body)
        return [f"{self._name}: {said if status >= 500 else f'{hint(status)} ({said})'}"]

    def close(self) -> None:
        """Release the connection."""
        self._server.close()

    def _post(self, spans: Iterable[Span]) -> Delivered | Retry | Rejected | Split:
        answer = self._server.send(SPANS_PATH, request_body(spans))
        if isinstance(answer, Retry):
            return answer
        return judge(answer.status, answer.body, self._server.wait(answer))
