"""A filter means the same as a predicate and as SQL, over fresh lines and over Parquet."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from effort import effort
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from logferry.shipper.core.filter_nodes import All, Any_, Node, Not, Test, Value, Word, predicate
from logferry.shipper.model import Batch
from logferry.shipper.store.compact import Compactor
from logferry.shipper.store.layout import Layout
from logferry.shipper.store.query import Store
from logferry.shipper.store.rewrite import columns
from logferry.shipper.store.sql import compile_filter
from logferry.shipper.store.writer import StoreWriter

SPOOL = "cd" * 16
DECLARED = {"order_id": "integer", "amount": "number", "vip": "boolean", "due": "timestamp", "cart": "object"}
TEXTS = [
    "",
    "a",
    "A",
    "ab",
    "a%b",
    "a_b",
    "a\\b",
    "a*b",
    "true",
    "false",
    "null",
    "42",
    "042",
    "4.5",
    "-7",
    "1e3",
    "ä",
    "Ä",
    "İx",
    "ΑΣ",
    "line\nbreak",
    "tab\t",
    'quo"te',
    "it's",
    "{}",
    "[1]",
    "ERROR",
    "x" * 300,
]
NUMBERS: list[Any] = [0, 1, -7, 42, 4.5, 1000, 1e3, 1e20, 0.1, -0.5, 2**53, 10**17, 1.5e-7]
LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
EXTRAS = ["foo", "a.b", "a", "http.status", "Level", "fields", "date", "error_note", "über"]


def anything(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(7 if depth < 2 else 5)
    if kind < 2:
        return rng.choice(TEXTS)
    if kind < 4:
        return rng.choice([*NUMBERS, True, False])
    if kind == 4:
        return None
    if kind == 5:
        return [anything(rng, depth + 1) for _ in range(rng.randrange(3))]
    return {
        rng.choice(["b", "status", "c.d", "x"]): anything(rng, depth + 1) for _ in range(rng.randrange(4))
    }


def event(rng: random.Random, number: int) -> dict[str, Any]:
    made: dict[str, Any] = {
        "timestamp": f"2026-11-{rng.randrange(19, 22)}T08:30:31.{rng.randrange(10**6):06}Z",
        "level": rng.choice(LEVELS),
        "service": rng.choice(["shop", "stock"]),
        "trace_id": f"{rng.randrange(5):032x}",
        "span_id": "",
        "message": rng.choice(TEXTS) + rng.choice(TEXTS),
    }
    maybe: dict[str, Any] = {
        "user_id": rng.choice(TEXTS),
        "status_code": rng.choice([200, 404, 500, 502]),
        "duration_ms": rng.choice([1, 2.5, 42, 1000, 0.1]),
        "failed": rng.choice([True, False]),
        "error": {"type": rng.choice(TEXTS), "message": rng.choice(TEXTS), "code": anything(rng)},
        "extra": {"level": anything(rng)},
        "order_id": rng.choice([1, 42, -7, 10**17, 2**62]),
        "amount": rng.choice([1, 4.5, 0.1, 1e20]),
        "vip": rng.choice([True, False]),
        "due": rng.choice(["2026-11-21T08:30:00.000000Z", "2027-01-01T00:00:00.123456Z"]),
        "cart": {"b": anything(rng), "x": {"b": anything(rng)}},
    }
    made |= {name: value for name, value in maybe.items() if rng.random() < 0.5}
    made |= {name: anything(rng) for name in EXTRAS if rng.random() < 0.4}
    return made | {"event_id": f"{SPOOL}-{number}"}


EVENTS = [event(random.Random(number), number) for number in range(1, 401)]


@pytest.fixture(scope="module", params=["fresh", "parquet"])
def table(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    layout = Layout(tmp_path_factory.mktemp("store"))
    layout.create()
    layout.declare(DECLARED)
    lines = [orjson.dumps({name: v for name, v in one.items() if name != "event_id"}) for one in EVENTS]
    writer = StoreWriter(layout)
    writer.write(Batch(SPOOL, range(1, len(lines) + 1), lines))
    writer.close()
    if request.param == "parquet":
        assert Compactor(layout, settle=0, idle=0).run().events == len(lines)
    with Store(layout.path) as store, store._events(columns(DECLARED), None, "", "") as (cursor, _):
        cursor.execute("CREATE TEMP TABLE kept AS SELECT * FROM events")
        yield cursor


FIELDS = [
    *DECLARED,
    *EXTRAS,
    "level",
    "service",
    "trace_id",
    "message",
    "user_id",
    "status_code",
    "duration_ms",
    "failed",
    "error",
    "error.type",
    "error.code",
    "error.code.b",
    "extra.level",
    "cart.b",
    "cart.x.b",
    "a.b.status",
    "foo.b",
    "foo.c.d",
    "nowhere",
    "event_id",
    "http",
]
values = st.sampled_from([*TEXTS, *map(str, NUMBERS), "42.0", "+42", "1e2", "TRUE", "TRUE1", *LEVELS, "shop"])
wild = st.sampled_from(
    ["a*", "*b", "*", "*4*", "4*", "5*", "a%*", "*_*", "\\*", "*\n*", "true*", "*0", "*e*"]
)
numbers = st.sampled_from([str(n) for n in NUMBERS] + ["41.5", "500"])
regexes = st.sampled_from(
    ["a", "^a", "b$", "a.b", "a.*b", r"\d+", r"^\w+$", "(?i)A", "line.break", "[%_]", "^$", "ä|Ä"]
)


def kind_of(name: str) -> str | None:
    return columns(DECLARED).get(name)


@st.composite
def single_tests(draw: st.DrawFn) -> Test:
    name = draw(st.sampled_from(FIELDS))
    kind = kind_of(name)
    operator = draw(st.sampled_from(["=", "=", "=", "<", "<=", ">", ">=", "~", "exists"]))
    number = kind == "number"  # the parser lets neither stars nor expressions near these
    if operator == "exists":
        return Test(name, "exists", (), kind)
    if kind == "timestamp":
        compare = "=" if operator == "~" else operator
        return Test(name, compare, (Value("2026-11-21T08:30:00.000000Z"),), kind)
    if operator == "~" and not number:
        return Test(name, "~", (Value(draw(regexes)),), kind)
    if operator == "=":
        one = st.builds(Value, values) | (st.nothing() if number else st.builds(Value, wild, st.just(True)))
        return Test(name, "=", tuple(draw(st.lists(one, min_size=0, max_size=3))), kind)
    return Test(name, "<" if operator == "~" else operator, (Value(draw(numbers)),), kind)


nodes: st.SearchStrategy[Node] = st.recursive(
    single_tests() | st.builds(Word, st.sampled_from([*TEXTS, "LINE", "\u03c3", "i"])),
    lambda inner: (
        st.builds(Not, inner)
        | st.builds(All, st.lists(inner, max_size=3).map(tuple))
        | st.builds(Any_, st.lists(inner, max_size=3).map(tuple))
    ),
    max_leaves=4,
)


@settings(
    max_examples=effort(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(node=nodes)
def test_predicate_and_sql_agree(table: Any, node: Node) -> None:
    """Over events with every kind of value, both ways pick the same ones."""
    condition = compile_filter(node, columns(DECLARED))
    found = table.execute(
        f"SELECT event_id FROM kept WHERE {condition.sql}", list(condition.values)
    ).fetchall()
    holds = predicate(node)
    picked = {one["event_id"] for one in EVENTS if holds(one)}
    assert {row[0] for row in found} == picked


def test_values_are_bound(tmp_path: Path) -> None:
    """No value of a filter ever stands in the SQL text."""
    evil = "'; DROP TABLE x; --"
    node = All((Test("service", "=", (Value(evil),)), Test("foo", "=", (Value(evil),)), Word(evil)))
    condition = compile_filter(node, columns({}))
    assert "DROP" not in condition.sql
    assert condition.values.count(evil) == 2
