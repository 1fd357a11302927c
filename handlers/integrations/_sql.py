"""What all databases have in common: the trace as a comment, and slow statements told.

Rules
- ``logferry.sql`` logs a statement that took longer than `slow_ms` (None: none) as WARNING, in its own trace:
  `statement` and `parameters`, redacted and bounded, `duration_ms`, `failed`, `database` (the system's name).
- Parameters that have names are redacted by them. Of parameters that have none, texts are told by their
  length only: nobody could say which is the password.
- Nothing is done for logferry's own workers (threads under `suppressed`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any, Final

from ..calls import clean_text, summarise
from ..forward import is_suppressed
from ..sqlcomment import commented, trace_fields

__all__ = ["SLOW_MS", "Statements", "shown"]

SLOW_MS: Final = 500.0
MAX_STATEMENT: Final = 2_000
MAX_PARAMETERS: Final = 20

_log: Final = logging.getLogger("logferry.sql")


class Statements:
    """What is done with the statements of one kind of database. Immutable."""

    __slots__ = ("_database", "_slow_ms", "comments")

    def __init__(self, database: str, *, comment: bool, slow_ms: float | None) -> None:
        self._database = database
        self._slow_ms = slow_ms
        self.comments = comment

    def text(self, statement: str, percent: str = "%") -> str:
        """Return a statement with the trace in force as a comment."""
        if not self.comments or is_suppressed():
            return statement
        return commented(statement, trace_fields(), percent)

    @contextmanager
    def timed(self, statement: object, parameters: object) -> Iterator[None]:
        """Tell a statement that takes long."""
        begun = perf_counter()
        try:
            yield
        except BaseException:
            self.done(statement, parameters, perf_counter() - begun, failed=True)
            raise
        self.done(statement, parameters, perf_counter() - begun)

    def done(self, statement: object, parameters: object, seconds: float, *, failed: bool = False) -> None:
        """Tell a statement that took `seconds`, if that is long."""
        duration = seconds * 1000
        if self._slow_ms is None or duration < self._slow_ms or is_suppressed():
            return
        text = statement.decode("utf-8", "replace") if isinstance(statement, bytes) else str(statement)
        told: dict[str, object] = {
            "statement": clean_text(text, MAX_STATEMENT),
            "parameters": shown(parameters),
            "duration_ms": round(duration, 3),
            "failed": failed,
            "database": self._database,
        }
        _log.warning("slow statement: %.0f ms", duration, extra=told)


def shown(parameters: object) -> object:
    """Return parameters as they may be logged."""
    if isinstance(parameters, Mapping):
        return summarise(parameters)
    if isinstance(parameters, Sequence) and not isinstance(parameters, str | bytes | bytearray):
        if parameters and isinstance(parameters[0], Mapping | list | tuple):  # executemany
            return {"rows": len(parameters), "first": shown(parameters[0])}
        return [_unnamed(value) for value in parameters[:MAX_PARAMETERS]]
    return None if parameters is None else f"<{type(parameters).__name__}>"


def _unnamed(value: Any) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    try:
        return f"<{type(value).__name__} of {len(value)}>"
    except TypeError:
        return f"<{type(value).__name__}>"
