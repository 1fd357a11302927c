"""The driver: one request for each batch, its answer judged. Retries are the worker's."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import urlsplit

from ...core.answers import answered
from ...floor import FLOOR
from ...http_requests import HttpRequests
from ...model import Batch, Delivered, Limits, Retry, Verdict
from ...ports import SinkContext
from .config import HttpConfig
from .request import make_body, make_headers
from .verdict import SERVER, hint, judge, says

__all__ = ["HttpSink"]

_EVENT_ID: Final = 80
"""Bytes that `event_id` and the frame add to a line."""


class HttpSink:
    """Sends batches to a URL."""

    def __init__(
        self, config: HttpConfig, context: SinkContext, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._config = config
        self._name = context.name
        self._schema = context.schema
        parts = urlsplit(config.url)
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        usual = "application/x-ndjson" if config.body == "ndjson" else "application/json"
        self._fixed = {"Content-Type": config.content_type or usual}
        self._server = HttpRequests(config, f"{parts.scheme}://{parts.netloc}", {}, extra="http", clock=clock)

    @property
    def limits(self) -> Limits:
        """What one batch may hold."""
        config = self._config
        return Limits(
            config.max_batch_events,
            config.max_batch_bytes,
            max_event_bytes=config.max_batch_bytes,
            overhead=_EVENT_ID,
        )

    def send(self, batch: Batch) -> Verdict:
        """Send one batch as one request."""
        if not batch.lines:
            return Delivered()
        config, server = self._config, self._server
        with FLOOR:
            body = make_body(batch, config.body, ids=config.event_id)
        headers = self._fixed | make_headers(config.headers, batch, self._schema)
        answer = server.send(self._target, body, headers, config.method)
        if isinstance(answer, Retry):
            return answer
        return judge(answer.status, answer.body, config.success, config.reject, server.wait(answer))

    def check(self) -> Sequence[str]:
        """Ask without sending anything; a server need not know the method."""
        config = self._config
        answer = self._server.ask(config.check_method, self._target)
        if isinstance(answer, Retry):
            return [f"{self._name}: {answer.reason}"]
        status = answer.status
        if says(config.success, status) or (400 <= status < 500 and status not in {401, 403, 404, 407, 410}):
            return []
        said = answered(SERVER, status, answer.body)
        return [f"{self._name}: {said if status >= 500 else f'{hint(status)} ({said})'}"]

    def close(self) -> None:
        """Release the connection."""
        self._server.close()
