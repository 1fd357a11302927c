"""The driver: one request for each batch, its answer judged. Retries are the worker's."""

from __future__ import annotations

import gzip
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from ...config.http import sent_headers, told_secrets
from ...model import Batch, Delivered, Limits, Partial, Refusal, Rejected, Retry, Split, Verdict
from ...ports import SinkContext
from ...transport import Answer, HttpTransport, retry_after
from ...turns import Turns
from .config import LOGS_PATH, OtlpConfig
from .protobuf import logs_request, resource_logs
from .record import Recorder, Resource, resource_attributes
from .verdict import judge

__all__ = ["OtlpSink"]

_LOG: Final = logging.getLogger("logferry.sinks.otlp")
_OVERHEAD: Final = 100
"""Bytes that framing and the id add to a line; the names of the fields it has already."""


_NO_RECORDS: Final = 422


class OtlpSink:
    """Delivers to an OTLP receiver (a collector, or a store that speaks it) over HTTP."""

    def __init__(
        self, config: OtlpConfig, context: SinkContext, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._config = config
        self._name = context.name
        self._clock = clock
        self._turns = Turns()
        self._said = ""
        self._recorder = Recorder(config.body)
        headers = sent_headers(config.username, config.password, config.bearer_token, config.secret_headers)
        headers |= {**config.headers, "Content-Type": "application/x-protobuf"}
        if config.compression == "gzip":
            headers["Content-Encoding"] = "gzip"
        self._transport = HttpTransport(
            config.base,
            headers,
            config.timeout,
            config.tls.tls(),
            extra="otlp",
            secrets=told_secrets(config.password, config.bearer_token, config.secret_headers),
        )

    @property
    def limits(self) -> Limits:
        """What one batch may hold."""
        config = self._config
        return Limits(
            config.max_batch_events,
            config.max_batch_bytes,
            max_event_bytes=config.max_batch_bytes,
            overhead=_OVERHEAD,
        )

    def send(self, batch: Batch) -> Verdict:
        """Deliver one batch as one request."""
        body, refused = self._encode(batch)
        sent = len(batch) - len(refused)
        if sent == 0:
            return Partial(refused) if refused else Delivered()
        verdict = self._post(body, sent)
        if not refused:
            return verdict
        # The places of what was sent, among those that were not.
        places = [index for index in range(len(batch)) if index not in refused]
        match verdict:
            case Delivered():
                return Partial(refused)
            case Partial():
                return Partial(refused | {places[i]: why for i, why in verdict.refused.items()})
            case Retry():
                return Partial(refused | dict.fromkeys(places, verdict))
            case Rejected() | Split():
                return verdict  # halved, each half says for itself

    def check(self) -> Sequence[str]:
        """Send a request without records, which every receiver answers as it would a full one.

        But for Loki, which wants at least one: its 422 says that it has understood.
        """
        answer = self._request(b"")
        if isinstance(answer, Answer) and answer.status == _NO_RECORDS:
            return []
        verdict = answer if isinstance(answer, Retry) else self._judge(answer, 1)
        return [] if isinstance(verdict, Delivered) else [f"{self._name}: {_reason(verdict)}"]

    def close(self) -> None:
        """Release the connection."""
        self._transport.close()

    def _post(self, body: bytes, events: int) -> Verdict:
        answer = self._request(body)
        return answer if isinstance(answer, Retry) else self._judge(answer, events)

    def _request(self, body: bytes) -> Answer | Retry:
        if self._config.compression == "gzip":
            body = gzip.compress(body, compresslevel=1, mtime=0)
        return self._transport.request("POST", LOGS_PATH, body)

    def _judge(self, answer: Answer, events: int) -> Verdict:
        verdict, words = judge(
            answer.status,
            self._transport.masked_bytes(answer.content),
            answer.headers.get("content-type", ""),
            events=events,
            on_partial=self._config.on_partial,
            after=retry_after(answer.headers.get("retry-after"), self._clock()),
        )
        if words and words != self._said:
            self._said = words
            _LOG.warning("sink %s: the receiver warns: %s", self._name, words)
        return verdict

    def _encode(self, batch: Batch) -> tuple[bytes, dict[int, Refusal]]:
        """Return the request, and what cannot be in it."""
        now = int(self._clock() * 1e9)
        groups: dict[Resource, list[bytes]] = {}
        refused: dict[int, Refusal] = {}
        for index, line in enumerate(batch.lines):
            if index % 32 == 31:
                self._turns.rest()
            made = self._recorder.record(line, batch.event_id(index), now)
            if made is None:
                refused[index] = Rejected("not a JSON object")
            else:
                groups.setdefault(made[0], []).append(made[1])
        fixed = self._config.resource_attributes
        return logs_request(
            resource_logs(resource_attributes(resource, fixed), records)
            for resource, records in groups.items()
        ), refused


def _reason(verdict: Verdict) -> str:
    if isinstance(verdict, Partial):
        return next(iter(verdict.refused.values())).reason
    return getattr(verdict, "reason", "")
