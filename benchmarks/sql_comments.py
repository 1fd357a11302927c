"""What a comment that changes with each request costs with drivers that keep prepared statements.

    PYTHONPATH=tests .venv/bin/python benchmarks/sql_comments.py

A real PostgreSQL (tests/servers/debian.py), one connection, two statements, each sent again and again;
rounds without and with the comment alternate, the minimum counts. Printed are microseconds for each
statement, client and server together.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from servers.debian import Postgres

from logferry.handlers import context

STATEMENTS = {
    "by its key": "SELECT relname FROM pg_class WHERE oid = {}",
    "a join of four tables": (
        "SELECT c.relname, a.attname, t.typname, n.nspname FROM pg_class c "
        "JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_type t ON t.oid = a.atttypid "
        "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = {} LIMIT 5"
    ),
}
ROUNDS, TIMES = 7, 300


async def one_round(send: Callable[[], Awaitable[Any]]) -> float:
    begun = perf_counter()
    for _ in range(TIMES):
        with context.isolated(trace_id=uuid.uuid4().hex, span_id="b7ad6b7169203331", request_id="r-1"):
            await send()
    return (perf_counter() - begun) / TIMES * 1e6


async def main(url: str) -> dict[str, Any]:
    import asyncpg
    import psycopg

    from logferry.handlers.integrations import asyncpg as traced_asyncpg
    from logferry.handlers.integrations import psycopg as traced_psycopg

    found: dict[str, Any] = {}
    for name, text in STATEMENTS.items():
        senders: dict[str, Callable[[], Awaitable[Any]]] = {}
        for comment in (False, True):
            made = traced_asyncpg.connection_class(comment=comment, slow_ms=None)
            connection = await asyncpg.connect(url, connection_class=made)
            cursors = traced_psycopg.cursors(comment=comment, slow_ms=None)
            other = await psycopg.AsyncConnection.connect(url, cursor_factory=cursors[1], autocommit=True)
            kind = "with" if comment else "without"
            query, percent = text.format("$1"), text.format("%s")
            senders[f"asyncpg {kind}"] = lambda one=connection, query=query: one.fetch(query, 1259)
            senders[f"psycopg {kind}"] = lambda one=other, query=percent: one.execute(query, [1259])
        best = {key: await one_round(send) for key, send in senders.items()}
        for _ in range(ROUNDS):
            for key, send in senders.items():
                best[key] = min(best[key], await one_round(send))
        found[name] = {key: round(value) for key, value in best.items()}
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch, Postgres(Path(scratch) / "postgresql") as server:
        print(json.dumps(asyncio.run(main(server.url)), indent=2))
