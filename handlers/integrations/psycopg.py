"""psycopg 3, sync and async: the request's id on statements, and slow statements told.

    from logferry.handlers.integrations import psycopg as traced
    traced.install(comment=True)            # every cursor of the process
    psycopg.connect(url, cursor_factory=traced.cursors(comment=True)[0])       # only this connection's

Rules
- psycopg prepares what it has seen five times, by its text. A comment that changes with each request
  defeats that, so that it is off unless it is asked for.
- Texts, bytes and `psycopg.sql` objects get the comment; templates (PEP 750) and COPY do not.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ._needs import missing
from ._patch import Patches
from ._sql import SLOW_MS, Statements

try:
    import psycopg
    from psycopg import sql
except ImportError as error:
    raise missing("psycopg", "psycopg", error) from error

__all__ = ["cursors", "install", "uninstall"]

_patches = Patches()


def _with_comment(statements: Statements, query: Any, params: Any) -> Any:
    if not statements.comments:
        return query
    percent = "%" if params is None else "%%"
    if isinstance(query, str):
        return statements.text(query, percent)
    if isinstance(query, bytes):
        return statements.text(query.decode("latin-1"), percent).encode("latin-1", "replace")
    if isinstance(query, sql.Composable):
        plain = query.as_string(None)
        added = statements.text(plain, percent)[len(plain) :]
        return query + sql.SQL(added) if added else query  # type: ignore[arg-type,unused-ignore] # not a literal
    return query


def _said(query: Any) -> object:
    return query.as_string(None) if isinstance(query, sql.Composable) else query


def _execute(original: Any, statements: Statements) -> Any:
    def execute(cursor: Any, query: Any, params: Any = None, **options: Any) -> Any:
        with statements.timed(_said(query), params):
            return original(cursor, _with_comment(statements, query, params), params, **options)

    return execute


def _execute_async(original: Any, statements: Statements) -> Any:
    async def execute(cursor: Any, query: Any, params: Any = None, **options: Any) -> Any:
        with statements.timed(_said(query), params):
            return await original(cursor, _with_comment(statements, query, params), params, **options)

    return execute


def _execute_many(original: Any, statements: Statements) -> Any:
    def executemany(cursor: Any, query: Any, params_seq: Any, **options: Any) -> Any:
        with statements.timed(_said(query), params_seq):
            return original(cursor, _with_comment(statements, query, ()), params_seq, **options)

    return executemany


def _execute_many_async(original: Any, statements: Statements) -> Any:
    async def executemany(cursor: Any, query: Any, params_seq: Any, **options: Any) -> Any:
        with statements.timed(_said(query), params_seq):
            return await original(cursor, _with_comment(statements, query, ()), params_seq, **options)

    return executemany


_METHODS = (
    (psycopg.Cursor, "execute", _execute),
    (psycopg.Cursor, "executemany", _execute_many),
    (psycopg.AsyncCursor, "execute", _execute_async),
    (psycopg.AsyncCursor, "executemany", _execute_many_async),
    (psycopg.ServerCursor, "execute", _execute),
    (psycopg.AsyncServerCursor, "execute", _execute_async),
)


def cursors(*, comment: bool = False, slow_ms: float | None = SLOW_MS) -> tuple[Any, Any]:
    """Return cursor classes for `cursor_factory`: one for connections, one for asynchronous connections."""
    statements = Statements("postgresql", comment=comment, slow_ms=slow_ms)
    made = []
    for kind in (psycopg.Cursor, psycopg.AsyncCursor):
        own = {name: make(getattr(kind, name), statements) for owner, name, make in _METHODS if owner is kind}
        made.append(type(f"Trace{kind.__name__}", (kind,), own))
    return made[0], made[1]


def install(*, comment: bool = False, slow_ms: float | None = SLOW_MS) -> None:
    """Do the same for every cursor of the process."""
    uninstall()
    statements = Statements("postgresql", comment=comment, slow_ms=slow_ms)
    for owner, name, make in _METHODS:
        _patches.replace(owner, name, partial(make, statements=statements))


def uninstall() -> None:
    """Undo `install`."""
    _patches.undo()
