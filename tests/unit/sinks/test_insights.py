"""The panels' queries for CloudWatch Logs Insights: run by a small interpreter of what AWS documents.

moto runs only `fields`, `sort` and `limit`. This one knows the commands and functions that the queries use,
by AWS's documentation, and refuses all others: a slip in a name or a bracket is found, and the numbers are
compared with those of the local store.
"""

from __future__ import annotations

import json
import math
import random
import re
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from logferry.handlers.schema import Schema, duration_bucket
from logferry.shipper.model import Batch, Delivered
from logferry.shipper.panels import CATALOGUE
from logferry.shipper.panels.insights import INSIGHTS
from logferry.shipper.sinks.cloudwatch.queries import saved_queries
from logferry.shipper.store import Store
from logferry.shipper.store.layout import Layout
from logferry.shipper.store.writer import StoreWriter

BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)
TOKEN = re.compile(
    r"\s*('[^']*'|\"[^\"]*\"|@?[A-Za-z_][\w.]*|\d+(?:\.\d+)?[smhd]?|>=|<=|!=|[-+*/=<>(),\[\]])"
)


class RefusedError(ValueError):
    """No query that Insights takes."""


class Words:
    """The tokens of one command."""

    def __init__(self, text: str) -> None:
        self.left: list[str] = []
        place = 0
        while text[place:].strip():
            if (found := TOKEN.match(text, place)) is None:
                raise RefusedError(text[place:])
            self.left.append(found[1])
            place = found.end()

    def take(self, *wanted: str) -> str:
        if not self.left or (wanted and self.left[0] not in wanted):
            raise RefusedError(f"{wanted} expected, not {self.left[:3]}")
        return self.left.pop(0)

    def at(self, *words: str) -> bool:
        return bool(self.left) and self.left[0] in words


Row = dict[str, Any]


def scalar(words: Words, row: Row) -> Any:
    """A value of one event: a field, a literal or a function."""
    word = words.take()
    if word[0] in "'\"":
        return word[1:-1]
    if word[0].isdigit():
        return float(word)
    if word in {"ispresent", "strcontains"}:
        words.take("(")
        given = [scalar(words, row)]
        while words.at(","):
            words.take(",")
            given.append(scalar(words, row))
        words.take(")")
        return given[0] is not None if word == "ispresent" else int(given[1] in given[0])
    if not re.fullmatch(r"@?[a-z_][\w.]*", word):
        raise RefusedError(word)
    return row.get(word)


def holds(words: Words, row: Row) -> bool:
    """A condition: comparisons joined by `and`."""
    found = True
    while True:
        left = scalar(words, row)
        if words.at("="):
            words.take()
            if words.at("="):
                raise RefusedError("==")
            left = left == scalar(words, row)
        elif words.at(">"):
            words.take()
            left = left is not None and left > scalar(words, row)
        elif words.at("in"):
            words.take()
            words.take("[")
            members = [scalar(words, row)]
            while words.at(","):
                words.take()
                members.append(scalar(words, row))
            words.take("]")
            left = left in members
        found = found and bool(left)
        if not words.at("and"):
            if words.left:
                raise RefusedError(str(words.left))
            return found
        words.take()


def aggregate(words: Words, rows: list[Row]) -> float:
    """`count(*)`, `sum(…)`, `pct(field, n)`, divided by another or by a number."""
    name = words.take("count", "sum", "pct") if not words.left[0][0].isdigit() else ""
    if not name:
        value = float(words.take())
    else:
        words.take("(")
        if name == "count":
            words.take("*")
            value = float(len(rows))
        else:
            kept = list(words.left)
            found = []
            for row in rows:
                words.left = list(kept)
                found.append(scalar(words, row))
            numbers = sorted(one for one in found if one is not None)
            if name == "sum":
                value = float(sum(numbers))
            else:
                words.take(",")
                value = numbers[math.ceil(float(words.take()) / 100 * len(numbers)) - 1]
        words.take(")")
    if words.at("/"):
        words.take()
        return value / aggregate(words, rows)
    return value


def stats(words: Words, rows: list[Row]) -> list[Row]:
    kept = list(words.left)
    by = kept[kept.index("by") + 1 :]
    if not by or by[-1] == ",":
        raise RefusedError("by what?")
    names = [name for name in "".join(by).split(",") if name]
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        key = []
        for name in names:
            if name == "bin(1m)":
                key.append(row["@timestamp"].replace(second=0, microsecond=0))
            elif re.fullmatch(r"[a-z_]+", name):
                key.append(row.get(name))
            else:
                raise RefusedError(name)
        groups[tuple(key)].append(row)
    made = []
    for group, members in groups.items():
        words.left = list(kept)
        row = dict(zip(names, group, strict=True))
        while True:
            value = aggregate(words, members)
            words.take("as")
            row[words.take()] = value
            if words.take(",", "by") == "by":
                break
        made.append(row)
    return made


def insights(query: str, rows: list[Row]) -> list[Row]:
    """Run a query."""
    for part in re.split(r"\n?\|", query):
        words = Words(part)
        match words.take("filter", "stats", "sort", "limit"):
            case "filter":
                kept = list(words.left)
                passed = []
                for row in rows:
                    words.left = list(kept)
                    if holds(words, row):
                        passed.append(row)
                rows = passed
            case "stats":
                rows = stats(words, rows)
            case "sort":
                name, way = words.take(), words.take("asc", "desc")
                if rows and name not in rows[0]:
                    raise RefusedError(name)
                rows = sorted(rows, key=lambda row: row[name], reverse=way == "desc")
            case "limit":
                rows = rows[: int(words.take())]
    return rows


def events() -> list[Row]:
    chance, made = random.Random(8), []
    for number in range(600):
        at = BEGIN + timedelta(seconds=chance.uniform(0, 300))
        service = chance.choice(["shop", "stock"])
        event: Row = {"timestamp": f"{at:%Y-%m-%dT%H:%M:%S.%fZ}", "level": "INFO", "service": service}
        event |= {"trace_id": "", "span_id": "", "message": f"event {number}"}
        if number % 2:
            took = round(chance.lognormvariate(3, 1), 3)
            event |= {"kind": "access", "endpoint": chance.choice(["/a", "/b", "/c"]), "duration_ms": took}
            event |= {"duration_le": duration_bucket(took), "failed": chance.random() < 0.2}
        elif number % 10 == 0:
            event |= {"level": "ERROR", "error_pattern": chance.choice(["no <num>", "no <id>"])}
        elif number % 10 == 2:
            event |= {"kind": "span", "peer": chance.choice(["bank", "stock"])}
            event |= {"duration_ms": round(chance.lognormvariate(3, 1), 3), "failed": chance.random() < 0.2}
        made.append(event)
    return made


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, list[Row]]:
    """The same events in the local store, and as Insights has them."""
    place = tmp_path_factory.mktemp("insights")
    made = events()
    lines = [json.dumps(event, separators=(",", ":")) for event in made]
    batch = Batch("5" * 32, range(1, len(lines) + 1), [line.encode() for line in lines])
    assert StoreWriter(Layout(place)).write(batch) == Delivered()
    rows = [
        {**event, "@message": line, "@timestamp": datetime.fromisoformat(event["timestamp"])}
        for event, line in zip(made, lines, strict=True)
    ]
    return Store(place), rows


def by_minute(rows: list[Row], group: str, value: str) -> dict[tuple[Any, ...], float]:
    return {(row["bin(1m)"].replace(tzinfo=None), row[group]): row[value] for row in rows}


def panel(store: Store, name: str) -> list[Row]:
    return store.panel(name, BEGIN, BEGIN + timedelta(minutes=5), step=60, limit=5)


@pytest.mark.parametrize(
    ("name", "group", "value", "theirs"),
    [
        ("qps", "service", "qps", "value"),
        ("heatmap", "duration_le", "requests", "count"),
        ("error_rate", "service", "error_rate", "value"),
        ("volume", "level", "events", "count"),
    ],
)
def test_what_is_counted_over_time(
    both: tuple[Store, list[Row]], name: str, group: str, value: str, theirs: str
) -> None:
    """The same numbers, minute by minute."""
    store, rows = both
    local = {(row["time"], row[group]): row[theirs] for row in panel(store, name)}
    assert by_minute(insights(INSIGHTS[name], rows), group, value) == pytest.approx(local)


def test_percentiles(both: tuple[Store, list[Row]]) -> None:
    """Near each other: each store estimates in its own way."""
    store, rows = both
    local = {row["time"]: row for row in panel(store, "latency")}
    found = insights(INSIGHTS["latency"], rows)
    assert len(found) == len(local) == 5
    for row in found:
        theirs = local[row["bin(1m)"].replace(tzinfo=None)]
        assert [row[name] for name in ("p50", "p95")] == pytest.approx(
            [theirs[name] for name in ("p50", "p95")], rel=0.3
        )


def test_ranked_endpoints(both: tuple[Store, list[Row]]) -> None:
    """The same five, in the same order."""
    store, rows = both
    local = [(row["service"], row["endpoint"], row["requests"]) for row in panel(store, "top_errors")]
    found = insights(INSIGHTS["top_errors"], rows)
    assert [(row["service"], row["endpoint"], row["requests"]) for row in found] == local
    slow = [row["p95"] for row in insights(INSIGHTS["slowest"], rows)]
    assert len(slow) == 5
    assert slow == sorted(slow, reverse=True)
    assert slow[0] == pytest.approx(panel(store, "slowest")[0]["p95"], rel=0.3)


def test_frequent_errors(both: tuple[Store, list[Row]]) -> None:
    """By pattern, the most frequent first; the store keeps services apart."""
    store, rows = both
    local: dict[str, int] = defaultdict(int)
    for row in panel(store, "errors"):
        local[row["error"]] += row["count"]
    found = insights(INSIGHTS["errors"], rows)
    assert {row["error_pattern"]: row["events"] for row in found} == local
    assert found[0]["events"] == max(local.values())


def test_calls(both: tuple[Store, list[Row]]) -> None:
    """Who calls whom: counted alike, failed alike; P95 as near as two estimates are."""
    store, rows = both
    local = {(row["service"], row["peer"]): row for row in panel(store, "calls")}
    found = insights(INSIGHTS["calls"], rows)
    assert len(found) == len(local) == 4
    for row in found:
        here = local[row["service"], row["peer"]]
        assert (row["calls"], row["error_rate"]) == (here["calls"], pytest.approx(here["rate"]))
        assert row["p95"] == pytest.approx(here["p95"], rel=0.5)
    assert [row["calls"] for row in found] == sorted((row["calls"] for row in found), reverse=True)


def test_every_panel_has_one_and_all_of_them_are_saved(both: tuple[Store, list[Row]]) -> None:
    """None is missing, and what `logferry setup` saves beside them is understood as well."""
    assert INSIGHTS.keys() == CATALOGUE.keys()
    saved = saved_queries("/g", Schema("s", fields={"amount": "number"}))
    assert {f"logferry/g/{one.title.lower()}" for one in CATALOGUE.values()} <= saved.keys()
    for name, query in saved.items():
        if name.endswith(("/errors", "/p95 amount")):  # lines, and a mean: not among the panels
            continue
        assert insights(query, both[1]), name


@pytest.mark.parametrize(
    "query",
    [
        "fliter kind = 'access'",
        "stats count() as n by level",
        "stats pct(duration_ms) as p by level",
        "stats count(*) as n by bin(1m",
        "filter kind = 'access' | sort n desc",
        "filter kind == 'access'",
    ],
)
def test_a_slip_is_found(both: tuple[Store, list[Row]], query: str) -> None:
    """The interpreter refuses what Insights would."""
    with pytest.raises(RefusedError):
        insights(query, both[1])
