"""The driver: routes a batch, sends its pushes, folds the answers into one verdict.

Rules:

- An attempt that is repeated (a retry, a half of a split) sorts its events by the clock of the first attempt,
  so that an event does not change its stream in between and Loki can drop what it has already.
- What concerns the whole server or tenant ends the batch: the remaining pushes are retried unsent. What
  concerns one stream does not stop the others.
- Nothing is retried here; the worker does that.
- Each writer has streams of its own, and so nobody writes to a stream at the same time as another: Loki would
  forget acknowledged events at its next crash (docs/sinks-loki.md, `writer_label`).
- The usual batch is framed by `express`; as soon as an answer is not a plain 204 the plain way takes over,
  with the answers that are known, so that nothing is sent twice.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ....handlers.schema import FIELDS, Schema
from ...floor import FLOOR
from ...model import Batch, Delivered, Limits, Partial, Refusal, Rejected, Retry, Split, Verdict
from ...ports import SinkContext
from ...transport import Answer, HttpTransport, basic_auth, retry_after
from ...turns import Turns
from .config import PUSH_PATH, LokiConfig
from .express import Framed
from .jsonpush import json_push
from .labels import KIND, LabelGuard
from .protobuf import push_request
from .routing import LINE_BYTES, Push, Route, Router
from .timestamps import Bounds, Limit
from .verdict import Ruling, excerpt, judge

__all__ = ["LokiSink"]

_LOG: Final = logging.getLogger("logferry.sinks.loki")
_OVERHEAD: Final = 300
"""Bytes that framing and usual metadata add to a line."""

_PUSH_BYTES: Final = 3_900_000
"""Loki's own 4 MiB for a message between its parts, with a margin."""

_PIN_SECONDS: Final = 15 * 60


@dataclass(slots=True)
class _Pin:
    """The bounds of an attempt that may have to be repeated."""

    spool: str
    first: int
    last: int
    bounds: Bounds


@dataclass(slots=True)
class _Fold:
    """What became of the events so far, by index."""

    delivered: int = 0
    refused: dict[int, Refusal] = field(default_factory=dict)
    split: list[str] = field(default_factory=list)

    def take(self, push: Push, ruling: Ruling) -> None:
        verdict = ruling.verdict
        if isinstance(verdict, Delivered):
            self.delivered += len(push.rows)
        elif isinstance(verdict, Split):
            # Alone with another stream's events it cannot be halved by the worker: it comes
            # back by itself first.
            self.split.append(verdict.reason)
            self.refused.update((index, Retry(verdict.reason)) for index, _, _ in push.rows)
        else:
            self.refused.update((index, verdict) for index, _, _ in push.rows)

    def verdict(self, events: int) -> Verdict:
        """Return the verdict on a batch of `events`."""
        if not self.refused:
            return Delivered()
        retries = [refusal for refusal in self.refused.values() if isinstance(refusal, Retry)]
        if self.delivered == 0 and len(retries) == events:
            if self.split and all(retry.reason in self.split for retry in retries):
                return Split(self.split[0])
            plain = [retry for retry in retries if retry.reason not in self.split]
            # One Retry for all: the one that asks for most patience.
            return max(plain, key=lambda retry: (retry.pause, retry.after or 0.0))
        if events == 1:
            return next(iter(self.refused.values()))
        return Partial(self.refused)


class LokiSink:
    """Delivers to Loki's push interface, one stream a push."""

    def __init__(
        self, config: LokiConfig, context: SinkContext, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._config = config
        self._name = context.name
        self._clock = clock
        self._pin: _Pin | None = None
        self._said = 0
        # `kind` splits access, job and span events off: dashboards read them without parsing a line.
        labels = (*config.labels, *(() if KIND in config.labels else (KIND,)))
        types = _types(context.schema)
        metadata = [n for n in config.structured_metadata if n not in labels and n != "event_id"]
        metadata.sort(key=lambda name: types.get(name) == "number")  # what varies in length stands last
        self._router = Router(
            labels,
            config.static_labels,
            tuple(metadata),
            LabelGuard(config.label_budget),
            Limit(config.max_event_age),
            config.old_events,
            types,
            writers=config.writer_label,
        )
        self._turns = Turns()
        self._scratch = bytearray()
        self._transport = HttpTransport(config.base, _headers(config), config.timeout, config.tls.tls())

    @property
    def limits(self) -> Limits:
        """What one batch may hold."""
        config = self._config
        return Limits(
            config.max_batch_events, config.max_batch_bytes, max_event_bytes=LINE_BYTES, overhead=_OVERHEAD
        )

    @property
    def demoted(self) -> Sequence[str]:
        """Fields that are no longer labels, because they took more than `label_budget` values."""
        return tuple(self._router.guard.demoted)

    def send(self, batch: Batch) -> Verdict:
        """Deliver one batch: a push for each of its streams."""
        if not batch.lines:
            return Delivered()
        bounds = self._bounds(batch)
        known: dict[str, Answer | Retry] = {}
        if self._config.encoding == "protobuf":
            with FLOOR:
                framed = self._router.express(batch, bounds, self._turns.rest)
            if framed is not None and self._express(framed, known):
                return Delivered()
        route = self._router.route(batch, bounds)
        self._say_demoted()
        fold = _Fold(refused=dict(route.refused))
        stop: Ruling | None = None
        # What is known comes first: after a failure that concerns all of them nothing more is sent.
        for push in sorted(route.pushes, key=lambda push: push.text not in known):
            ruling = stop or self._push(push, route, batch, bounds, known.get(push.text))
            fold.take(push, ruling)
            if isinstance(ruling.verdict, Retry) and not ruling.stream:
                stop = ruling
        return fold.verdict(len(batch))

    def check(self) -> Sequence[str]:
        """Send an empty push: Loki answers 422 to it, and only Loki, and only with the right credentials."""
        answer = self._transport.request("POST", PUSH_PATH, self._compress(b""), _PROTOBUF)
        if isinstance(answer, Retry):
            return [f"{self._name}: {answer.reason}"]
        if answer.status == 204 or (answer.status in {400, 422} and "valid stream" in answer.body):
            return []
        verdict = judge(answer.status, answer.body, events=1).verdict
        return [f"{self._name}: {getattr(verdict, 'reason', '') or excerpt(answer.body)}"]

    def close(self) -> None:
        """Release the connection."""
        self._transport.close()

    def _bounds(self, batch: Batch) -> Bounds:
        now, pin = self._clock(), self._pin
        first, last = batch.sequences[0], batch.sequences[-1]
        again = pin is not None and pin.spool == batch.spool and pin.first <= first and last <= pin.last
        if pin is None or not again or not 0 <= now - pin.bounds.now < _PIN_SECONDS:
            pin = self._pin = _Pin(batch.spool, first, last, self._router.limit.bounds(now))
        return pin.bounds

    def _express(self, framed: Sequence[Framed], known: dict[str, Answer | Retry]) -> bool:
        """Send pushes until one is not simply taken; note the answers by stream. True: all were taken."""
        for push in framed:
            if len(push.body) > _PUSH_BYTES:
                return False
            with FLOOR:
                body = self._compress(push.body)
            answer = self._transport.request("POST", PUSH_PATH, body, _PROTOBUF)
            known[push.text] = answer
            if isinstance(answer, Retry) or answer.status != 204:
                return False
        for push in framed:
            if push.lane is not None:
                self._router.lanes.stored(*push.lane, push.newest)
        return True

    def _push(
        self, push: Push, route: Route, batch: Batch, bounds: Bounds, answer: Answer | Retry | None
    ) -> Ruling:
        """Send a push, unless its `answer` is known already, and judge the answer."""
        given = self._post(push, route, batch) if answer is None else answer
        if isinstance(given, Ruling):
            return given
        return Ruling(given) if isinstance(given, Retry) else self._judge(given, push, batch, bounds)

    def _post(self, push: Push, route: Route, batch: Batch) -> Answer | Retry | Ruling:
        body, headers = self._encode(push, route, batch)
        events = len(push.rows)
        if len(body) > _PUSH_BYTES:
            reason = f"a push of {len(body)} bytes is more than Loki takes"
            return Ruling(Split(reason) if events > 1 else Rejected(reason), stream=True)
        sent = self._compress(body) if headers is _PROTOBUF else body
        return self._transport.request("POST", PUSH_PATH, sent, headers)

    def _judge(self, answer: Answer, push: Push, batch: Batch, bounds: Bounds) -> Ruling:
        after = retry_after(answer.headers.get("retry-after"), self._clock())
        ruling = judge(answer.status, answer.body, events=len(push.rows), attempt=batch.attempt, after=after)
        lane = push.lane if push.lane is not None and push.lane[1] >= 0 else None
        if isinstance(ruling.verdict, Delivered) and lane is not None:
            self._router.lanes.stored(*lane, max(second for _, second, _ in push.rows))
        if answer.status == 400 and self._learn(answer.body, push, lane, bounds):
            # Sorted anew, the refused go where Loki takes them; what it has stored it drops as duplicate.
            return Ruling(Retry(f"Loki answered 400: {excerpt(answer.body)}", 0.0), stream=True)
        return ruling

    def _learn(self, body: str, push: Push, lane: tuple[str, int] | None, used: Bounds) -> bool:
        """Take what a refusal says of the server's bounds. True: sending again makes sense."""
        if lane is not None and self._router.lanes.learn(*lane, body):
            return True
        if lane is not None and "too far behind" in body:
            return False
        bounds = self._router.limit.learn(body, used)
        if bounds is not None and self._pin is not None:
            self._pin.bounds = bounds
        return bounds is not None and (push.lane is None or lane is not None)

    def _encode(self, push: Push, route: Route, batch: Batch) -> tuple[bytes, Mapping[str, str]]:
        if self._config.encoding == "protobuf":
            return push_request(push.text, push.rows, batch.lines, route.metas), _PROTOBUF

        def pairs(index: int) -> dict[str, str]:
            return self._router.pairs(route.heads[index], batch.event_id(index))

        return json_push(push, batch.lines, pairs), _JSON

    def _compress(self, body: bytes) -> bytes:
        """Return the body as a snappy block, made in memory that is kept (fresh pages cost more)."""
        try:
            from cramjam import snappy
        except ImportError as missing:
            raise ImportError('the loki sink needs cramjam: pip install "logferry[loki]"') from missing
        needed = snappy.compress_raw_max_len(body)
        if len(self._scratch) < needed:
            self._scratch = bytearray(needed * 5 // 4)  # seldom made again: each page of it is touched
        size = snappy.compress_raw_into(body, self._scratch)
        return bytes(memoryview(self._scratch)[:size])

    def _say_demoted(self) -> None:
        for name in self._router.guard.demoted[self._said :]:
            _LOG.warning(
                "sink %s: label %r took more than %d values and is structured metadata from now on",
                self._name,
                name,
                self._config.label_budget,
            )
        self._said = len(self._router.guard.demoted)


_PROTOBUF: Final = {"Content-Type": "application/x-protobuf"}
_JSON: Final = {"Content-Type": "application/json", "Content-Encoding": "gzip"}


def _types(schema: Schema) -> Mapping[str, str]:
    """Return the type that each field has when it is as the schema says, in the order of fields."""
    return {**{field.name: field.type for field in FIELDS}, **schema.declared}


def _headers(config: LokiConfig) -> dict[str, str]:
    headers = {"User-Agent": "logferry", **config.headers}
    if config.tenant:
        headers["X-Scope-OrgID"] = config.tenant
    if config.username is not None and config.password is not None:
        headers["Authorization"] = basic_auth(config.username, config.password.reveal())
    if config.bearer_token is not None:
        headers["Authorization"] = f"Bearer {config.bearer_token.reveal()}"
    return headers
