"""PyMySQL: the request's id on every statement, and slow statements told.

    from logferry.handlers.integrations import pymysql as traced
    traced.install()                        # every cursor of the process
    pymysql.connect(..., cursorclass=traced.cursor_class(DictCursor))          # only this connection's

The comment is put on when PyMySQL has put the parameters in, so that neither its `%` nor its way of
sending many rows as one INSERT is touched.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from ._needs import missing
from ._patch import Patches
from ._sql import SLOW_MS, Statements

try:
    import pymysql.cursors
except ImportError as error:
    raise missing("pymysql", "pymysql", error) from error

__all__ = ["cursor_class", "install", "uninstall"]

_patches = Patches()


def _execute(original: Any, statements: Statements) -> Any:
    def execute(cursor: Any, query: Any, args: Any = None) -> Any:
        with statements.timed(query, args):
            return original(cursor, query, args)

    return execute


def _query(original: Any, statements: Statements) -> Any:
    """Put the comment on what is sent: texts, or bytes where many rows are one statement."""

    def query(cursor: Any, text: Any) -> Any:
        if isinstance(text, bytes | bytearray):
            return original(cursor, statements.text(bytes(text).decode("latin-1")).encode("latin-1"))
        return original(cursor, statements.text(text))

    return query


def cursor_class(
    kind: Any = pymysql.cursors.Cursor, *, comment: bool = True, slow_ms: float | None = SLOW_MS
) -> Any:
    """Return a cursor class for `connect`, made of `kind`."""
    statements = Statements("mysql", comment=comment, slow_ms=slow_ms)
    own = {name: make(getattr(kind, name), statements) for name, make in _METHODS}
    return type(f"Trace{kind.__name__}", (kind,), own)


# The second is not public; it is where every version has the statement as it is sent.
_METHODS: Final = (("execute", _execute), ("_query", _query))


def install(*, comment: bool = True, slow_ms: float | None = SLOW_MS) -> None:
    """Do the same for every cursor of the process."""
    uninstall()
    statements = Statements("mysql", comment=comment, slow_ms=slow_ms)
    for kind in (pymysql.cursors.Cursor, pymysql.cursors.SSCursor):
        for name, make in _METHODS:
            if name in vars(kind):
                _patches.replace(kind, name, partial(make, statements=statements))


def uninstall() -> None:
    """Undo `install`."""
    _patches.undo()
