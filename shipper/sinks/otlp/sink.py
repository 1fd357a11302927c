"""The driver: log records and spans of a batch, one request for each; the answers judged.

Rules
- Spans go first, for a store knows a span that it gets twice by its ids: whatever becomes of the log records
  then, nothing is there twice that need not be.
- A receiver without a place for spans (Loki's) gets them as log records, unless it was to get spans alone.
  It is asked again after a while. One that takes no log records either is none: nothing is learned from it.
- A span without an end is kept until the receiver has taken it as unfinished, or refused it, or is known to
  take no spans ever (`reception`): that its place is gone for a moment gives none up.
- Retries are the worker's.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from ...core.spans import Span
from ...http_requests import HttpRequests
from ...model import Batch, Delivered, Limits, Partial, Refusal, Rejected, Retry, Split, Verdict
from ...ports import SinkContext
from ...transport import Answer
from ...turns import Turns
from ...unfinished import Unfinished
from .config import LOGS_PATH, TRACES_PATH, OtlpConfig
from .parcel import Parcel, Sorter, ends_in, spans_body
from .reception import Reception
from .verdict import judge

__all__ = ["OtlpSink"]

_LOG: Final = logging.getLogger("logferry.sinks.otlp")
_OVERHEAD: Final = 100
"""Bytes that framing and the id add to a line; the names of the fields it has already."""

_NO_RECORDS: Final = 422
_NO_TRACES: Final = frozenset({404, 405, 501})


class OtlpSink:
    """Delivers to an OTLP receiver (a collector, or a store that speaks it) over HTTP."""

    def __init__(
        self, config: OtlpConfig, context: SinkContext, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._config = config
        self._name = context.name
        self._clock = clock
        self._said = ""
        self._reception = Reception()
        self._sorter = Sorter(config.body, config.resource_attributes, Turns())
        self._open = Unfinished(config.unfinished_after, context.state_dir, context.name, clock())
        headers = {**config.headers, "Content-Type": "application/x-protobuf"}
        self._server = HttpRequests(config, config.base, headers, extra="otlp", clock=clock)

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
        """Deliver one batch: its spans, then its log records."""
        now = self._clock()
        self._open.reads(batch.spool)
        if not self._asked(now):
            return self._send_as_records(batch, now)
        verdict = self._send_with_spans(batch, now)
        return self._send_to_no_place(batch, now) if verdict is None else verdict

    def tick(self) -> None:
        """Close what is unfinished. Called by the worker between batches; what fails is tried again."""
        now = self._clock()
        due = [] if self._config.signals == "logs" else self._open.due(now, self._config.max_batch_events)
        if not due:
            return
        if not self._asked(now):
            if self._reception.never:
                self._open.end(due)
            return
        answer = self._post_spans(due)
        if isinstance(answer, Retry):
            return
        if self._has_no_place(answer):
            if not self._problem(LOGS_PATH, {_NO_RECORDS}):
                self._learn_no_place(now)
            return
        # A receiver that refuses them for good would be asked for ever: they are given up.
        if not isinstance(self._judge_spans(answer, len(due)), Retry):
            self._open.end(due)

    def check(self) -> Sequence[str]:
        """Send requests without content, which every receiver answers as it would full ones.

        But for Loki, which wants at least one record (its 422 says that it has understood), and takes no
        spans.
        """
        signals = self._config.signals
        if signals != "traces" and (problem := self._problem(LOGS_PATH, {_NO_RECORDS})):
            return [problem]
        if signals != "logs":
            fine = _NO_TRACES if signals == "both" else frozenset[int]()
            if problem := self._problem(TRACES_PATH, fine):
                return [problem]
        return []

    def close(self) -> None:
        """Release the connection."""
        self._server.close()

    def _problem(self, path: str, fine: set[int] | frozenset[int]) -> str:
        answer = self._server.send(path, b"")
        if isinstance(answer, Answer) and answer.status in fine:
            return ""
        verdict = answer if isinstance(answer, Retry) else self._judge(answer, 1)
        return "" if isinstance(verdict, Delivered) else f"{self._name}: {_reason(verdict)}"

    def _asked(self, now: float) -> bool:
        """Tell whether the receiver is to be given spans."""
        return self._config.signals != "logs" and self._reception.asked(now)

    def _has_no_place(self, answer: Answer) -> bool:
        """Tell whether an answer to spans says that they are to go as log records."""
        return answer.status in _NO_TRACES and self._config.signals == "both"

    def _learn_no_place(self, now: float) -> None:
        if not self._reception.refused:
            words = "sink %s: the receiver takes no spans: they go to it as log records"
            _LOG.warning(words, self._name)
        self._reception.refuses(now)

    def _send_with_spans(self, batch: Batch, now: float) -> Verdict | None:
        """Send a batch; None: the receiver has no place for its spans."""
        logs = self._config.signals != "traces"
        parcel = self._sorter.sort(batch, int(now * 1e9), spans=True, logs=logs)
        for span in parcel.begun:
            self._open.begin(span, now, batch.spool)
        refused = dict(parcel.refused)
        if parcel.spans:
            answer = self._post_spans(parcel.ended)
            if isinstance(answer, Retry):
                return answer
            if self._has_no_place(answer):
                return None
            verdict = self._judge_spans(answer, len(parcel.spans))
            if isinstance(verdict, Partial):
                refused |= parcel.placed(parcel.spans, verdict.refused)
            elif not isinstance(verdict, Delivered):
                return verdict
        if parcel.spans or parcel.begun:
            self._open.end(parcel.ended)
        return self._send_records(parcel, refused, len(batch))

    def _send_as_records(self, batch: Batch, now: float) -> Verdict:
        """Send all of a batch as log records. What ends in it has ended, whatever it goes as."""
        if self._open:
            self._open.end(ends_in(batch.lines))
        parcel = self._sorter.sort(batch, int(now * 1e9), spans=False, logs=True)
        return self._send_records(parcel, dict(parcel.refused), len(batch))

    def _send_to_no_place(self, batch: Batch, now: float) -> Verdict:
        """Send a batch to a receiver that takes no spans; one that takes no log records either is none."""
        verdict = self._send_as_records(batch, now)
        # Beside what can be sent in no form, a request that failed is a part.
        parts: Iterable[Verdict] = verdict.refused.values() if isinstance(verdict, Partial) else (verdict,)
        if not any(isinstance(part, Retry) for part in parts):
            self._learn_no_place(now)
        return verdict

    def _judge_spans(self, answer: Answer, spans: int) -> Verdict:
        verdict = self._judge(answer, spans)
        if isinstance(verdict, Delivered | Partial):
            self._reception.takes()
        return verdict

    def _post_spans(self, spans: Sequence[Span]) -> Answer | Retry:
        return self._server.send(TRACES_PATH, spans_body(spans, self._config.resource_attributes))

    def _send_records(self, parcel: Parcel, refused: dict[int, Refusal], size: int) -> Verdict:
        """Send the log records but for what is refused already, of a batch of so many."""
        places, body = self._sorter.records_body(parcel, refused)
        if not places:
            return Partial(refused) if refused else Delivered()
        answer = self._server.send(LOGS_PATH, body)
        verdict = answer if isinstance(answer, Retry) else self._judge(answer, len(places))
        if not refused and len(places) == size:
            return verdict
        match verdict:
            case Delivered():
                return Partial(refused) if refused else verdict
            case Partial():
                return Partial(refused | parcel.placed(places, verdict.refused))
            case Retry():
                return Partial(refused | dict.fromkeys(places, verdict))
            case Rejected() | Split():
                return verdict  # halved, each half says for itself

    def _judge(self, answer: Answer, events: int) -> Verdict:
        verdict, words = judge(
            answer.status,
            self._server.masked(answer.content),
            answer.headers.get("content-type", ""),
            events=events,
            on_partial=self._config.on_partial,
            after=self._server.wait(answer),
        )
        if words and words != self._said:
            self._said = words
            _LOG.warning("sink %s: the receiver warns: %s", self._name, words)
        return verdict


def _reason(verdict: Verdict) -> str:
    if isinstance(verdict, Partial):
        return next(iter(verdict.refused.values())).reason
    return getattr(verdict, "reason", "")
