"""Ways of one record: from the log call to the event offered, in turns with a handler that does nothing.

Both log in one process, in small portions, and the smallest CPU time of either counts: their ratio holds on
a busy machine too. A context with a trace is bound, redaction is on, and each message is another one.
Run by `benchmarks/record.py`.
"""

from __future__ import annotations

import datetime as dt
import logging
import time
import uuid
from collections.abc import Mapping
from typing import Any

__all__ = ["RECORDS", "Nothing", "turns"]

USUAL = {
    "order_id": 42,
    "method": "GET",
    "path": "/api/v1/products/1234",
    "status_code": 200,
    "duration_ms": 12.75,
}
TEN = {
    **USUAL,
    "kind": "access",
    "endpoint": "/api/v1/products/{product}",
    "bytes": 5321,
    "client_ip": "10.1.2.3",
    "cart": "c-81723",
}
NESTED = {**USUAL, "tags": ["new", "paid"], "cart": {"id": "c-81723", "lines": [{"sku": "a-1", "n": 2}]}}
WORDS = {**USUAL, "at": dt.datetime(2026, 1, 2, 3, 4, tzinfo=dt.UTC), "key": uuid.UUID(int=7)}
RECORDS: dict[str, Mapping[str, Any]] = {
    "no extras": {},
    "five extras": USUAL,
    "ten extras": TEN,
    "list and dict": NESTED,
    "date and UUID": WORDS,
    "error code": {**USUAL, "error_code": "E42"},
    "traceback of five frames": USUAL,
    "structlog's own logger": USUAL,
}
_PORTION = 1_000


class Nothing(logging.Handler):
    """The floor: a handler that does nothing."""

    def emit(self, record: logging.LogRecord) -> None:
        """Do nothing."""


class Taken:
    """An outlet that takes everything and keeps nothing."""

    def offer(self, _event: bytes, /) -> bool:
        """Take one event."""
        return True


def turns(way: str, records: int) -> tuple[float, float]:
    """Return the seconds of CPU time that one record costs by `way`, and by its floor."""
    from logferry.handlers import context
    from logferry.handlers.forward import ForwardHandler
    from logferry.handlers.record import EventBuilder
    from logferry.handlers.redaction import Redactor
    from logferry.handlers.schema import Schema

    schema = Schema("bench")
    handler = ForwardHandler(Taken(), EventBuilder(schema, Redactor(schema=schema)))
    floor, log = _logger("floor", Nothing()), _logger("event", handler)
    tell = told = _tell_traceback if "traceback" in way else _tell
    if "structlog" in way:
        import structlog

        from logferry.handlers.integrations.structlog import configure_structlog

        configure_structlog(handler)
        tell, log = _tell_structlog, structlog.get_logger("event").bind(component="orders")
    extras = RECORDS[way]
    context.set_trace_context()
    context.bind(request_id="r-81723", tenant="acme")
    tell(log, _PORTION, extras)  # imports, caches, code for the combination
    costs = [
        (tell(log, _PORTION, extras), told(floor, _PORTION, extras))
        for _ in range(max(5, records // _PORTION))
    ]
    return min(cost for cost, _ in costs) / _PORTION, min(cost for _, cost in costs) / _PORTION


def _logger(name: str, handler: logging.Handler) -> Any:
    log = logging.getLogger(name)
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(handler)
    return log


def _tell(log: Any, records: int, extras: Mapping[str, Any]) -> float:
    started = time.process_time()
    for number in range(records):
        log.info("GET %s %d", "/api/v1/products/1234", number, extra=extras)
    return time.process_time() - started


def _tell_structlog(log: Any, records: int, extras: Mapping[str, Any]) -> float:
    started = time.process_time()
    for number in range(records):
        log.info("GET /api/v1/products/1234", number=number, **extras)
    return time.process_time() - started


def _fail(deeper: int) -> None:
    if deeper:
        _fail(deeper - 1)
    raise ValueError("no such product")


def _tell_traceback(log: Any, records: int, extras: Mapping[str, Any]) -> float:
    """Log an exception of five frames; the time that raising it takes is not counted."""
    spent = 0.0
    for number in range(records):
        try:
            _fail(3)
        except ValueError:
            started = time.process_time()
            log.error("GET %s %d", "/api/v1/products/1234", number, extra=extras, exc_info=True)  # noqa: G201 - loggers of both kinds have it
            spent += time.process_time() - started
    return spent
