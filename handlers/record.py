"""LogRecord → event."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

import orjson

from .schema import Schema

__all__ = ["EventBuilder", "Redaction"]


class Redaction(Protocol):
    """Removes secrets from an assembled event. Must never raise; decides itself whether there is anything to do."""

    def clean(self, event: dict[str, Any], extras: tuple[str, ...]) -> dict[str, Any]:
        """Return `event` or a redacted copy.

        `event` holds plain JSON types only. `extras` are the names of its keys that are not built-in fields,
        in order: the same tuple object for records of the same shape, so decisions about keys can be cached.
        """
        ...


def _no_context() -> Mapping[str, object]:
    return {}


class EventBuilder:
    """Turns log records and their like into event lines."""

    def __init__(
        self,
        schema: Schema,
        redactor: Redaction | None = None,
        *,
        context: Callable[[], Mapping[str, object]] | None = None,
    ) -> None:
        self.schema = schema
        self._redactor = redactor
        self._context = context or _no_context

    def build(self, record: logging.LogRecord) -> bytes:
        """Return the event line of `record`; never raises."""
        standard = 20 + ("taskName" in record.__dict__)
        extras = dict(list(record.__dict__.items())[standard:])
        return self.compose(
            level=record.levelname,
            message=record.getMessage(),
            logger=record.name,
            timestamp=record.created,
            fields=extras,
            exc_info=record.exc_info,
            source={
                "module": record.module,
                "function": record.funcName,
                "line": record.lineno,
                "process": record.process,
                "thread": record.threadName,
            },
        )

    def compose(
        self,
        *,
        level: str,
        message: str,
        logger: str = "",
        timestamp: float | None = None,
        fields: Mapping[str, object] | None = None,
        exc_info: object = None,
        source: Mapping[str, object] | None = None,
    ) -> bytes:
        """Return the event line for content that has no LogRecord; never raises."""
        moment = datetime.fromtimestamp(time.time() if timestamp is None else timestamp, UTC)
        context = dict(self._context())
        event: dict[str, Any] = {
            "timestamp": moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "level": level,
            "service": self.schema.service,
            "trace_id": context.pop("trace_id", ""),
            "span_id": context.pop("span_id", ""),
            "message": message,
            "logger": logger,
            **(source or {}),
            "environment": self.schema.environment,
            "host": self.schema.host,
        }
        extras = {**context, **(fields or {})}
        for name, value in extras.items():
            event.setdefault(name, value)
        if self._redactor is not None:
            event = self._redactor.clean(event, tuple(extras))
        return orjson.dumps(event, default=repr, option=orjson.OPT_NON_STR_KEYS)
