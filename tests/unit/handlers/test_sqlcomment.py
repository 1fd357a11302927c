"""Nothing that a request brings ends a comment, and every driver gets the statement that it was given."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, text

from logferry.handlers import context
from logferry.handlers.formatter import make_builder
from logferry.handlers.forward import suppressed
from logferry.handlers.integrations import sqlalchemy as traced
from logferry.handlers.sqlcomment import MAX_VALUE, comment, commented
from logferry.handlers.testing import Events, capture

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
BUILDER = make_builder("test", "test")
PAIR = re.compile(r"([^=,']+)='([^']*)'")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(st.text(min_size=1, max_size=40), st.text(min_size=1), max_size=4),
    st.sampled_from(["%", "%%"]),
)
@example({"request_id": "x*/ DROP TABLE orders; --"}, "%")
@example({"request_id": "it's \\' \"quoted\"\n\x00%s %(name)s"}, "%%")
@example({"k*/": "*/"}, "%")
@example({"a": "\ud800"}, "%")
def test_no_value_gets_out(fields: dict[str, str], percent: str) -> None:
    """One comment, one line, no quote but ours; what stands in it is what was given."""
    written = comment(fields, percent)
    if not fields:
        assert written == ""
        return
    assert written.startswith("/*")
    assert written.endswith("*/")
    inside = written[2:-2]
    assert "*/" not in inside
    assert "/*" not in inside
    assert re.fullmatch(r"[A-Za-z0-9_.~%=,'-]*", inside)
    if percent == "%%":
        assert "%" not in inside.replace("%%", "")
        inside = inside % ()  # as a driver does it
    names = [name for name, _ in PAIR.findall(inside)]
    assert names == sorted(names)
    read = {unquote(name): unquote(value) for name, value in PAIR.findall(inside)}
    expected = {
        name[:MAX_VALUE].encode("utf-8", "replace").decode(): value[:MAX_VALUE]
        .encode("utf-8", "replace")
        .decode()
        for name, value in fields.items()
    }
    assert read == expected


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(min_size=1, max_size=300))
@example("*/; DROP TABLE t; /*")
@example("';--")
def test_a_database_reads_over_it(value: str) -> None:
    """SQLite runs the statement as if nothing stood behind it."""
    with_comment = commented("SELECT 42", {"request_id": value, "route": value[::-1]})
    assert with_comment.startswith("SELECT 42 /*")
    connection = sqlite3.connect(":memory:")
    assert connection.execute(with_comment).fetchall() == [(42,)]
    connection.close()


@pytest.mark.parametrize(
    "statement", ["", "  ", "SELECT 1 /* mine */", "SELECT 1 -- mine", "/*+ hint */ SELECT 1"]
)
def test_statements_that_are_left_alone(statement: str) -> None:
    """Nothing to comment on, or a comment is there already."""
    assert commented(statement, {"a": "b"}) == statement


@pytest.fixture
def events() -> Iterator[Events]:
    with capture(builder=BUILDER) as found:
        yield found


@pytest.fixture
def seen() -> Iterator[tuple[Any, list[str]]]:
    """An engine, and the statements as SQLite got them."""
    engine = create_engine("sqlite://")
    statements: list[str] = []
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        driver.set_trace_callback(statements.append)
        yield connection, statements
    traced.uninstall()
    engine.dispose()


def test_sqlalchemy_adds_it(seen: tuple[Any, list[str]]) -> None:
    """The database gets the ids; a worker's own statements go without."""
    connection, statements = seen
    traced.install()
    with context.isolated(trace_id=TRACE, span_id=SPAN, request_id="r-1", endpoint="/orders/{id}"):
        connection.execute(text("SELECT :a"), {"a": 1})
        with suppressed():
            connection.execute(text("SELECT 2"))
    ours, plain = [one for one in statements if one.startswith("SELECT")]
    assert ours.endswith(
        f" /*request_id='r-1',route='%2Forders%2F%7Bid%7D',traceparent='00-{TRACE}-{SPAN}-01'*/"
    )
    assert plain == "SELECT 2"
    traced.uninstall()
    with context.isolated(trace_id=TRACE, span_id=SPAN):
        connection.execute(text("SELECT 3"))
    assert statements[-1] == "SELECT 3"


def test_slow_statements_are_told(seen: tuple[Any, list[str]], events: Events) -> None:
    """With the statement, without what is secret in its parameters.

    Also when it fails, and only when slow.
    """
    connection, _ = seen
    traced.install(slow_ms=0)
    with context.isolated(trace_id=TRACE, span_id=SPAN):
        connection.execute(text("SELECT :name, :password"), {"name": "Ada", "password": "hunter2"})
        connection.exec_driver_sql("SELECT ?, ?", ("hunter2", 7))
        with pytest.raises(Exception, match="no such table"):
            connection.execute(text("SELECT * FROM missing"))
    named, unnamed, failed = (event for event in events if event["logger"] == "logferry.sql")
    assert (named["level"], named["trace_id"], named["database"]) == ("WARNING", TRACE, "sqlite")
    assert "hunter2" not in str(list(events))
    assert unnamed["parameters"] == ["<str of 7>", 7]
    assert failed["failed"]
    events.clear()
    traced.install(slow_ms=60_000)
    connection.execute(text("SELECT 1"))
    assert not len(events)


def test_many_rows_are_told_by_their_number(seen: tuple[Any, list[str]], events: Events) -> None:
    """executemany: how many, and the first."""
    connection, _ = seen
    traced.install(slow_ms=0)
    connection.exec_driver_sql("CREATE TABLE t (a, b)")
    connection.exec_driver_sql("INSERT INTO t VALUES (?, ?)", [(1, "x"), (2, "y")])
    assert events[-1]["parameters"] == {"rows": 2, "first": [1, "<str of 1>"]}
