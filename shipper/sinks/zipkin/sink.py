"""The driver: spans of a batch as one request. Retries are the worker's."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from ...config.http import sent_headers, told_secrets
from ...core.answers import excerpt
from ...core.spans import OpenSpans, Span, read_span
from ...model import Batch, Delivered, Limits, Rejected, Retry, Split, Verdict
from ...ports import SinkContext
from ...transport import HttpTransport, retry_after
from .config import SPANS_PATH, ZipkinConfig
from .request import request_body
from .state import StateFile
from .verdict import hint, judge

__all__ = ["ZipkinSink"]

_TICK: Final = 1.0  # seconds between looks at what is unfinished


class ZipkinSink:
    """Delivers to a Zipkin server over HTTP. Events that are no spans are passed over."""

    def __init__(
        self, config: ZipkinConfig, context: SinkContext, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._config = config
        self._name = context.name
        self._clock = clock
        self._open = OpenSpans(config.unfinished_after)
        self._state = StateFile(context.state_dir, context.name)
        self._state.read(self._open)
        self._looked = clock()
        headers = sent_headers(config.username, config.password, config.bearer_token, config.secret_headers)
        headers |= {**config.headers, "Content-Type": "application/json"}
        if config.compression == "gzip":
            headers["Content-Encoding"] = "gzip"
        self._transport = HttpTransport(
            config.base,
            headers,
            config.timeout,
            config.tls.tls(),
            extra="http",
            secrets=told_secrets(config.password, config.bearer_token, config.secret_headers),
        )

    @property
    def limits(self) -> Limits:
        """What one batch may hold."""
        config = self._config
        return Limits(config.max_batch_events, config.max_batch_bytes, max_event_bytes=config.max_batch_bytes)

    def send(self, batch: Batch) -> Verdict:
        """Send the spans that a batch tells the end of, as one request; note those that have begun."""
        now = self._clock()
        ended: list[Span] = []
        begun = 0
        for line in batch.lines:
            told = read_span(line)
            if told is None:
                continue
            if told[0] == "begun":
                self._open.begin(told[1], now)
                begun += 1
            else:
                ended.append(told[1])
        verdict = self._post(ended) if ended else Delivered()
        if isinstance(verdict, Delivered):
            for span in ended:
                self._open.end(span)
            if begun or len(self._open):
                self._state.write(self._open)
        return verdict

    def tick(self) -> None:
        """Close what is unfinished. Called by the worker between batches; what fails is tried again."""
        now = self._clock()
        if abs(now - self._looked) < _TICK:
            return
        self._looked = now
        due = self._open.due(now)[: self._config.max_batch_events]
        # A server that refuses them for good would be asked for ever: they are given up.
        if due and isinstance(self._post(due), Delivered | Rejected | Split):
            for span in due:
                self._open.end(span)
            self._state.write(self._open)

    def check(self) -> Sequence[str]:
        """Send a request without spans, which every server answers as it would a full one."""
        answer = self._transport.request("POST", SPANS_PATH, self._packed(b"[]"))
        if isinstance(answer, Retry):
            return [f"{self._name}: {answer.reason}"]
        if 200 <= answer.status < 300:
            return []
        said = f"Zipkin answered {answer.status}"
        said += f": {excerpt(answer.body)}" if answer.body.strip() else ""
        return [f"{self._name}: {said if answer.status >= 500 else f'{hint(answer.status)} ({said})'}"]

    def close(self) -> None:
        """Release the connection."""
        self._transport.close()

    def _post(self, spans: Iterable[Span]) -> Delivered | Retry | Rejected | Split:
        answer = self._transport.request("POST", SPANS_PATH, self._packed(request_body(spans)))
        if isinstance(answer, Retry):
            return answer
        return judge(
            answer.status, answer.body, retry_after(answer.headers.get("retry-after"), self._clock())
        )

    def _packed(self, body: bytes) -> bytes:
        return gzip.compress(body, compresslevel=1, mtime=0) if self._config.compression == "gzip" else body
