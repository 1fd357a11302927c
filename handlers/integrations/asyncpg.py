"""asyncpg: the request's id on statements, and slow statements told.

    from logferry.handlers.integrations import asyncpg as traced
    pool = await asyncpg.create_pool(url, connection_class=traced.connection_class(comment=True))

asyncpg prepares every statement and keeps it by its text. A comment that changes with each request makes
it prepare each anew (docs/propagation.md has the figures), so that it is off unless it is asked for.
"""

from __future__ import annotations

from typing import Any, Final

from ._needs import missing
from ._sql import SLOW_MS, Statements

try:
    import asyncpg
except ImportError as error:
    raise missing("asyncpg", "asyncpg", error) from error

__all__ = ["connection_class"]

_METHODS: Final = ("execute", "executemany", "fetch", "fetchmany", "fetchrow", "fetchval")
_LAZY: Final = ("cursor", "prepare")


def _waiting(original: Any, statements: Statements) -> Any:
    async def method(connection: Any, query: str, *args: Any, **options: Any) -> Any:
        with statements.timed(query, args):
            return await original(connection, statements.text(query), *args, **options)

    method.__name__ = original.__name__
    return method


def _lazy(original: Any, statements: Statements) -> Any:
    def method(connection: Any, query: str, *args: Any, **options: Any) -> Any:
        return original(connection, statements.text(query), *args, **options)

    method.__name__ = original.__name__
    return method


def connection_class(*, comment: bool = False, slow_ms: float | None = SLOW_MS) -> Any:
    """Return a class for `connect` and `create_pool` (`connection_class`)."""
    statements = Statements("postgresql", comment=comment, slow_ms=slow_ms)
    kind = asyncpg.Connection
    own = {name: _waiting(getattr(kind, name), statements) for name in _METHODS if hasattr(kind, name)}
    own |= {name: _lazy(getattr(kind, name), statements) for name in _LAZY}
    return type("TraceConnection", (kind,), own)
