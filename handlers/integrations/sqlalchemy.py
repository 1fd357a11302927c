"""SQLAlchemy: the request's id on every statement, and slow statements told.

    from logferry.handlers.integrations import sqlalchemy as traced
    traced.install(engine)                  # an engine, an AsyncEngine; without one: every engine of the
    process

Rules
- The comment (`handlers.sqlcomment`) is put on after SQLAlchemy has compiled the statement: its own cache is
  untouched. Drivers that keep prepared statements by their text (asyncpg, psycopg) would prepare each
  anew: for these it is off unless `comment=True` asks for it.
- MySQL's drivers recognise by the text what they can send as one INSERT (`executemany`): there it is left
  out.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any, Final

from ._needs import missing
from ._sql import SLOW_MS, Statements

try:
    from sqlalchemy import event
    from sqlalchemy.engine import Engine
except ImportError as error:
    raise missing("sqlalchemy", "sqlalchemy", error) from error

__all__ = ["install", "uninstall"]

_PREPARING: Final = frozenset({"asyncpg", "psycopg", "psycopg_async"})
_BEGUN: Final = "logferry_begun"  # in a statement's execution context's own attributes


class _Listeners:
    def __init__(self, target: Any, *, comment: bool | None, slow_ms: float | None) -> None:
        self._target = target
        self._comment = comment
        self._slow_ms = slow_ms
        self._known: dict[tuple[str, str], Statements] = {}
        self._events = (
            ("before_cursor_execute", self._before, True),
            ("after_cursor_execute", self._after, False),
            ("handle_error", self._failed, False),
        )

    def listen(self) -> None:
        for name, hook, returns in self._events:
            event.listen(self._target, name, hook, retval=returns)

    def remove(self) -> None:
        for name, hook, _ in self._events:
            event.remove(self._target, name, hook)

    def _statements(self, dialect: Any) -> Statements:
        key = (dialect.name, dialect.driver)
        found = self._known.get(key)
        if found is None:
            comment = dialect.driver not in _PREPARING if self._comment is None else self._comment
            found = self._known[key] = Statements(dialect.name, comment=comment, slow_ms=self._slow_ms)
        return found

    def _before(
        self, connection: Any, _cursor: Any, statement: str, parameters: Any, context: Any, executemany: Any
    ) -> tuple[str, Any]:
        dialect = connection.dialect
        if context is not None:
            setattr(context, _BEGUN, perf_counter())
        if executemany and dialect.name in {"mysql", "mariadb"}:
            return statement, parameters
        formats = dialect.paramstyle in {"format", "pyformat"}
        raw = context is not None and context.execution_options.get("no_parameters") and not parameters
        return self._statements(dialect).text(statement, "%%" if formats and not raw else "%"), parameters

    def _after(
        self, connection: Any, _cursor: Any, statement: str, parameters: Any, context: Any, _executemany: Any
    ) -> None:
        self._tell(connection.dialect, statement, parameters, context, failed=False)

    def _failed(self, failure: Any) -> None:
        if failure.statement is not None and failure.execution_context is not None:
            context = failure.execution_context
            self._tell(failure.dialect, failure.statement, failure.parameters, context, failed=True)

    def _tell(self, dialect: Any, statement: str, parameters: Any, context: Any, *, failed: bool) -> None:
        begun = getattr(context, _BEGUN, None)
        if begun is not None:
            seconds = perf_counter() - begun
            self._statements(dialect).done(statement, parameters, seconds, failed=failed)


_installed: list[_Listeners] = []


def install(engine: Any = Engine, *, comment: bool | None = None, slow_ms: float | None = SLOW_MS) -> None:
    """Listen to an engine's statements, or to those of all engines.

    `comment`: None leaves it to the driver, as above. `slow_ms`: None tells none.
    """
    target = getattr(engine, "sync_engine", engine)
    for listeners in [one for one in _installed if one._target is target]:  # noqa: SLF001 - its own
        listeners.remove()
        _installed.remove(listeners)
    listeners = _Listeners(target, comment=comment, slow_ms=slow_ms)
    listeners.listen()
    _installed.append(listeners)


def uninstall() -> None:
    """Undo every `install`."""
    while _installed:
        _installed.pop().remove()
