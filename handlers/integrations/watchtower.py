"""`CloudWatchLogHandler` of watchtower with our events: the schema, redaction and trace ids as everywhere.

    handler = CloudWatchLogHandler(log_group_name="/checkout/prod", service="checkout")

It takes what watchtower's takes, and `service`, `environment`, `schema`, `redact` or `builder` as
`JsonHandler` does. Delivery stays watchtower's: a queue in memory, and what it drops is dropped
(docs/from-watchtower.md). Changed is:

- The event is made in the log call; a formatter that is set on the handler is used instead.
- A message that cannot be formatted, and an empty one, are events too; nothing raises into the log call.
- While a log stream is being created only the thread that creates it is kept out, not the application's.
- What watchtower's own threads log (botocore, urllib3) is not shipped again.
- An event is at most 256 KiB and CloudWatch takes 1 MB by now, so none is cut in the middle of its JSON.
"""

from __future__ import annotations

import logging
from threading import current_thread, get_ident
from typing import TYPE_CHECKING, Any

from ..formatter import JsonFormatter, make_builder
from ..forward import is_suppressed
from ._made import event_of, made_record

try:
    import watchtower
except ImportError as error:
    raise ImportError('watchtower is not installed: pip install "logferry[watchtower]"') from error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..record import EventBuilder, Redaction
    from ..schema import Schema

    class _Base(logging.Handler):
        threads: list[Any]

        def __init__(self, *args: Any, **options: Any) -> None: ...

else:
    _Base = watchtower.CloudWatchLogHandler

__all__ = ["CloudWatchLogHandler"]


class CloudWatchLogHandler(_Base):
    """See the module."""

    def __init__(
        self,
        *args: Any,
        service: str | None = None,
        environment: str | None = None,
        schema: Schema | Mapping[str, Any] | None = None,
        redact: bool | Mapping[str, Any] | Redaction = True,
        builder: EventBuilder | None = None,
        **options: Any,
    ) -> None:
        options.setdefault("max_message_size", 1_000_000)
        super().__init__(*args, **options)
        self.builder = builder or make_builder(service, environment, schema, redact)
        self.setFormatter(JsonFormatter(builder=self.builder))

    @property
    def creating_log_stream(self) -> bool:
        """Whether *this* thread is creating a log stream: what it logs meanwhile would come back to it."""
        return bool(getattr(self, "_creator", 0) == get_ident())

    @creating_log_stream.setter
    def creating_log_stream(self, creating: bool) -> None:
        self._creator = get_ident() if creating else 0

    def emit(self, record: logging.LogRecord) -> None:
        """Make the event and hand it to watchtower."""
        if is_suppressed() or current_thread() in self.threads:
            return
        try:
            made = made_record(record, super().format)
        except Exception:  # noqa: BLE001 - a foreign formatter may raise anything
            self.handleError(record)
            return
        super().emit(made)

    def format(self, record: logging.LogRecord) -> str:
        """Return the event that was made in the log call."""
        made = event_of(record)
        return super().format(record) if made is None else str(made)
