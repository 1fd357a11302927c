"""python-logging-loki's handlers with our events: the same schema, redaction and trace ids as everywhere.

    handler = LokiHandler(url="http://localhost:3100/loki/api/v1/push", service="checkout")
    handler = LokiQueueHandler(Queue(10_000), url=..., service="checkout")

They take what that library's take, and `service`, `environment`, `schema`, `redact` or `builder` as
`JsonHandler` does. Delivery stays that library's: one request for each record, and what fails is lost.
Changed is:

- The event is made in the log call, where the trace is, also with a queue.
- The time stamp is the event's own, not that of the sending.
- Labels `service`, `level` and `environment` stand beside the library's `severity` and `logger`; trace ids
  are structured metadata (`structured_metadata=False` for servers before Loki 3). `tags` are redacted.
- A request has a time-out, and what requests and urllib3 log meanwhile is not shipped again.
- The queue's listener is stopped when the handler is closed, so at the end of the program too, bounded by
  `close_timeout`.
"""

from __future__ import annotations

import logging
from math import floor
from typing import TYPE_CHECKING, Any, Final

import orjson

from ..formatter import JsonFormatter, make_builder
from ..forward import is_suppressed, suppressed
from ._made import event_of, made_record

try:
    import logging_loki
    import requests
    from logging_loki.emitter import LokiEmitterV1
except ImportError as error:
    raise ImportError('python-logging-loki is not installed: pip install "logferry[logging-loki]"') from error

if TYPE_CHECKING:
    from collections.abc import Mapping
    from queue import Queue

    from ..record import EventBuilder, Redaction
    from ..schema import Schema

    class _Handler(logging.Handler):
        emitter: Any

        def __init__(self, *args: Any, **options: Any) -> None: ...

    class _QueueHandler(logging.Handler):
        queue: Any

        def __init__(self, *args: Any, **options: Any) -> None: ...

    class _Emitter:
        tags: dict[str, Any]

        def __init__(self, *args: Any) -> None: ...
        def build_tags(self, record: logging.LogRecord) -> dict[str, Any]: ...

    class _Requests:
        def request(self, *args: Any, **options: Any) -> Any: ...

else:
    from logging.handlers import QueueHandler as _QueueHandler

    _Handler, _Emitter, _Requests = logging_loki.LokiHandler, LokiEmitterV1, requests.Session

__all__ = ["LokiHandler", "LokiQueueHandler"]

_LABELS: Final = ("service", "level", "environment")
_METADATA: Final = ("trace_id", "span_id", "request_id", "user_id")


class _Session(_Requests):
    timeout = 10.0

    def request(self, *args: Any, **options: Any) -> Any:
        options["timeout"] = options.get("timeout") or self.timeout
        return super().request(*args, **options)


class _Events(_Emitter):
    """Sends events under their own time, with labels and metadata that they name themselves."""

    session_class = _Session
    metadata = True
    redactor: Any = None

    def build_tags(self, record: logging.LogRecord) -> dict[str, Any]:
        tags = super().build_tags(record)
        clean = getattr(self.redactor, "clean_mapping", None)
        return dict(clean(tags)) if clean is not None else tags

    def build_payload(self, record: logging.LogRecord, line: str) -> dict[str, Any]:
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError:  # a formatter of the user's own
            event = {}
        labels = self.build_tags(record)
        labels |= {name: str(event[name]) for name in _LABELS if event.get(name)}
        second = floor(record.created)  # rounded as the event's own timestamp is
        micros = second * 1_000_000 + round((record.created - second) * 1e6)
        value: list[Any] = [str(micros * 1000), line]
        metadata = {name: str(event[name]) for name in _METADATA if event.get(name)}
        if self.metadata and metadata:
            value.append(metadata)
        return {"streams": [{"stream": labels, "values": [value]}]}


class LokiHandler(_Handler):
    """Sends each record in the log call; see the module."""

    def __init__(  # noqa: PLR0913 - the options of the class it replaces, and ours
        self,
        url: str,
        tags: dict[str, Any] | None = None,
        auth: tuple[str, str] | None = None,
        version: str | None = None,
        *,
        service: str | None = None,
        environment: str | None = None,
        schema: Schema | Mapping[str, Any] | None = None,
        redact: bool | Mapping[str, Any] | Redaction = True,
        builder: EventBuilder | None = None,
        timeout: float = 10.0,
        structured_metadata: bool = True,
    ) -> None:
        if version not in {None, "1"}:
            raise ValueError("version: only 1, which every Loki since 0.4 takes")
        super().__init__(url, tags, auth, "1")
        self.builder = builder or make_builder(service, environment, schema, redact)
        self.emitter = _Events(url, tags, auth)
        self.emitter.metadata, self.emitter.redactor = structured_metadata, self.builder.redactor
        self.emitter.session.timeout = timeout
        self._timeout = timeout
        self.setFormatter(JsonFormatter(builder=self.builder))

    def emit(self, record: logging.LogRecord) -> None:
        """Make the event and send it."""
        if is_suppressed():
            return
        try:
            made = made_record(record, super().format)
        except Exception:  # noqa: BLE001 - a foreign formatter may raise anything
            self.handleError(record)
            return
        with suppressed():
            self.emitter.session.timeout = self._timeout  # the library makes a new session after a failure
            super().emit(made)

    def format(self, record: logging.LogRecord) -> str:
        """Return the event that was made in the log call."""
        made = event_of(record)
        return super().format(record) if made is None else str(made)


class LokiQueueHandler(_QueueHandler):
    """Makes the event in the log call and sends it in a thread; see the module."""

    def __init__(self, queue: Queue[Any], *, close_timeout: float = 10.0, **options: Any) -> None:
        from logging.handlers import QueueListener

        super().__init__(queue)
        self.handler = LokiHandler(**options)
        self.listener = QueueListener(queue, self.handler)
        self._close_timeout = close_timeout
        self._closed = False
        self.setFormatter(JsonFormatter(builder=self.handler.builder))
        self.listener.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Make the event and put it into the queue."""
        if not is_suppressed():
            super().emit(record)

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Return what goes into the queue."""
        return made_record(record, super().format)

    def close(self) -> None:
        """Let the listener send what is in the queue, for `close_timeout` seconds at most."""
        if not self._closed:
            self._closed = True
            thread = self.listener._thread  # noqa: SLF001 - `stop` would wait for ever
            if thread is not None and thread.is_alive():
                self.listener.enqueue_sentinel()
                thread.join(self._close_timeout)
        super().close()
