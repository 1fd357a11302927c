"""The request's id in PostgreSQL's and MariaDB's own slow-query logs, through every driver."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from servers.debian import Mariadb, Postgres, required

from logferry.handlers import context

pytestmark = pytest.mark.integration

HOSTILE = "id-1:2.3"  # as far as an id may go; the endpoint is free text
ENDPOINT = "/o'rders/%s/{id}*/ ; DROP TABLE orders --"


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    required("postgresql")
    with Postgres(tmp_path_factory.mktemp("postgresql")) as server:
        yield server


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mariadb]:
    required("mariadb")
    with Mariadb(tmp_path_factory.mktemp("mariadb")) as server:
        yield server


def request() -> tuple[str, Any]:
    trace_id = uuid.uuid4().hex
    fields = {"span_id": "b7ad6b7169203331", "request_id": HOSTILE, "endpoint": ENDPOINT}
    return trace_id, context.isolated(trace_id=trace_id, **fields)


def check(log: Callable[[], str], trace_id: str, statements: int) -> None:
    """The log holds at least as many entries (PostgreSQL logs parse, bind and execute).

    All with the comment.
    """
    deadline = time.monotonic() + 20
    while log().count(trace_id) < statements:
        assert time.monotonic() < deadline, log()[-3000:]
        time.sleep(0.02)
    lines = [line for line in log().splitlines() if trace_id in line]
    for line in lines:
        assert "request_id='id-1%3A2.3'" in line
        assert "route='%2Fo%27rders%2F%25s%2F%7Bid%7D%2A%2F%20%3B%20DROP%20TABLE%20orders%20--'" in line
        assert f"traceparent='00-{trace_id}-b7ad6b7169203331-01'*/" in line


@pytest.mark.parametrize("way", ["install", "cursors"])
def test_psycopg(postgres: Postgres, way: str) -> None:
    """Texts, bytes and composed statements, with parameters and without; what comes back is right."""
    import psycopg
    from psycopg import sql

    from logferry.handlers.integrations import psycopg as traced

    options: dict[str, Any] = {}
    if way == "install":
        traced.install(comment=True)
    else:
        options["cursor_factory"] = traced.cursors(comment=True)[0]
    trace_id, bound = request()
    try:
        with psycopg.connect(postgres.url, autocommit=True, **options) as connection, bound:
            assert connection.execute("SELECT '100%'").fetchone() == ("100%",)
            assert connection.execute("SELECT %s || '100%%'", ["x"]).fetchone() == ("x100%",)
            assert connection.execute(b"SELECT %(a)s::int", {"a": 4}).fetchone() == (4,)
            composed = sql.SQL("SELECT {} AS n").format(sql.Literal(5))
            assert connection.execute(composed).fetchone() == (5,)
            connection.execute("CREATE TABLE IF NOT EXISTS many (a int)")
            with connection.cursor() as cursor:
                cursor.executemany("INSERT INTO many VALUES (%s)", [(1,), (2,)])
            if way == "install":
                with connection.transaction(), connection.cursor("on_the_server") as named:
                    named.execute("SELECT generate_series(1, %s)", [3])
                    assert named.fetchall() == [(1,), (2,), (3,)]
    finally:
        traced.uninstall()
    check(postgres.log, trace_id, 7)
    declared = [line for line in postgres.log().splitlines() if "DECLARE" in line and trace_id in line]
    assert bool(declared) is (way == "install")


def test_psycopg_async(postgres: Postgres) -> None:
    """The asynchronous cursor."""
    import psycopg

    from logferry.handlers.integrations import psycopg as traced

    async def main() -> str:
        trace_id, bound = request()
        async with await psycopg.AsyncConnection.connect(postgres.url) as connection:
            with bound:
                found = await connection.execute("SELECT %s::int", [7])
                assert await found.fetchone() == (7,)
        return trace_id

    traced.install(comment=True)
    try:
        check(postgres.log, asyncio.run(main()), 1)
    finally:
        traced.uninstall()


def test_asyncpg(postgres: Postgres) -> None:
    """A pool of our connections; without `comment=True` the statements are as they were."""
    import asyncpg

    from logferry.handlers.integrations import asyncpg as traced

    async def main() -> tuple[str, str]:
        trace_id, bound = request()
        async with asyncpg.create_pool(
            postgres.url, min_size=1, max_size=1, connection_class=traced.connection_class(comment=True)
        ) as pool:
            with bound:
                assert await pool.fetchval("SELECT $1::int", 7) == 7
                async with pool.acquire() as connection:
                    assert (await connection.fetchrow("SELECT 8"))[0] == 8
                    prepared = await connection.prepare("SELECT $1::int + 1")
                    assert await prepared.fetchval(1) == 2
                    assert await connection.execute("SELECT 9") == "SELECT 1"
        plain_id, bound = request()
        connection = await asyncpg.connect(postgres.url, connection_class=traced.connection_class())
        with bound:
            await connection.fetchval("SELECT 10")
        await connection.close()
        return trace_id, plain_id

    trace_id, plain_id = asyncio.run(main())
    # each statement of the extended protocol is logged when it is parsed, bound and executed
    deadline = time.monotonic() + 20
    while "SELECT 9 /*" not in postgres.log():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for statement in ("SELECT $1::int /*", "SELECT 8 /*", "SELECT $1::int + 1 /*"):
        assert any(statement in line and trace_id in line for line in postgres.log().splitlines()), statement
    assert plain_id not in postgres.log()


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_sqlalchemy_on_postgresql(postgres: Postgres, driver: str) -> None:
    """Drivers that keep prepared statements get the comment only when it is asked for."""
    import sqlalchemy
    from sqlalchemy.ext.asyncio import create_async_engine

    from logferry.handlers.integrations import sqlalchemy as traced

    async def main() -> list[str]:
        engine = create_async_engine(postgres.url.replace("postgresql:", f"postgresql+{driver}:"))
        found = []
        for options in ({"comment": True}, {}):
            traced.install(engine, **options)
            trace_id, bound = request()
            found.append(trace_id)
            async with engine.connect() as connection:
                with bound:
                    query = sqlalchemy.text("SELECT :a || '100%'")
                    assert (await connection.execute(query, {"a": "x"})).scalar() == "x100%"
        await engine.dispose()
        return found

    try:
        with_comment, without = asyncio.run(main())
    finally:
        traced.uninstall()
    deadline = time.monotonic() + 20
    while with_comment not in postgres.log():
        assert time.monotonic() < deadline, postgres.log()[-3000:]
        time.sleep(0.02)
    assert without not in postgres.log()


@pytest.mark.parametrize("way", ["install", "cursor class", "sqlalchemy"])
def test_mariadb(mariadb: Mariadb, way: str) -> None:
    """PyMySQL by itself and below SQLAlchemy; many rows are still one INSERT."""
    import pymysql
    import sqlalchemy

    from logferry.handlers.integrations import pymysql as traced
    from logferry.handlers.integrations import sqlalchemy as traced_sqlalchemy

    options: dict[str, Any] = {"host": "127.0.0.1", "port": mariadb.port, "user": "root"}
    trace_id, bound = request()
    if way == "sqlalchemy":
        engine = sqlalchemy.create_engine(f"mysql+pymysql://root@127.0.0.1:{mariadb.port}")
        traced_sqlalchemy.install(engine)
        try:
            with engine.connect() as connection, bound:
                query = sqlalchemy.text("SELECT CONCAT(:a, '100%')")
                assert connection.execute(query, {"a": "x"}).scalar() == "x100%"
                assert connection.exec_driver_sql("SELECT 7").scalar() == 7
            engine.dispose()
        finally:
            traced_sqlalchemy.uninstall()
        check(mariadb.log, trace_id, 2)
        return
    if way == "install":
        traced.install()
    else:
        options["cursorclass"] = traced.cursor_class(pymysql.cursors.DictCursor)
    try:
        with pymysql.connect(**options) as connection, connection.cursor() as cursor, bound:
            cursor.execute("SELECT '100%' AS a")
            cursor.execute("SELECT CONCAT(%s, '100%%') AS a", ["x"])
            row = cursor.fetchone()
            assert row in ({"a": "x100%"}, ("x100%",))
            cursor.execute("CREATE DATABASE IF NOT EXISTS shop")
            cursor.execute("CREATE TABLE IF NOT EXISTS shop.many (a INT, b TEXT)")
            cursor.executemany("INSERT INTO shop.many VALUES (%s, %s)", [(1, "a"), (2, "b"), (3, "c")])
            assert cursor.rowcount == 3
            assert "/*" not in cursor.mogrify("SELECT %s", ["x"])
    finally:
        traced.uninstall()
    check(mariadb.log, trace_id, 5)
