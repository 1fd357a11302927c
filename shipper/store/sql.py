"""A filter as SQL over the view `events`, meaning exactly what `core/filter_nodes.py` says.

Values are always bound, never written into the text; names of columns are the schema's own and quoted. A
condition may be NULL where the predicate is false, which WHERE takes as false; only `NOT` has to tell, so
only there it is made false (bare comparisons are what Parquet's statistics and Bloom filters can use).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..core.filter_nodes import INTEGER, NUMBER, All, Any_, Node, Not, Test, Value, Word, fold

__all__ = ["Condition", "compile_filter"]

_FALSE: Final = "FALSE"
_NAME: Final = re.compile(r"[\w.@/ -]+")  # what the filter language lets into a name, and nothing that quotes


@dataclass(frozen=True, slots=True)
class Condition:
    """SQL with `?` for `values`, and the columns that it reads."""

    sql: str
    values: tuple[Any, ...] = ()
    columns: frozenset[str] = frozenset()


def compile_filter(node: Node, known: Mapping[str, str]) -> Condition:
    """Return the condition for `node`; `known`: the columns, name → schema type."""
    match node:
        case Word(text):
            return Condition(
                "contains(lower(coalesce(message, '')), ?)", (fold(text),), frozenset({"message"})
            )
        case Not(inner):
            condition = compile_filter(inner, known)
            return Condition(f"NOT coalesce({condition.sql}, FALSE)", condition.values, condition.columns)
        case All(nodes):
            return _joined(" AND ", [compile_filter(inner, known) for inner in nodes], "TRUE")
        case Any_(nodes):
            return _joined(" OR ", [compile_filter(inner, known) for inner in nodes], _FALSE)
        case Test():
            if node.field in known:
                return _on_column(node, known[node.field])
            return _on_json(node, known)


def _joined(word: str, parts: Sequence[Condition], empty: str) -> Condition:
    if not parts:
        return Condition(empty)
    sql = word.join(f"({part.sql})" for part in parts)
    values = tuple(value for part in parts for value in part.values)
    return Condition(sql, values, frozenset().union(*(part.columns for part in parts)))


def _like(value: Value) -> str:
    text = value.text
    for special in "\\%_":
        text = text.replace(special, f"\\{special}")
    return text.replace("*", "%")


def _number(text: str) -> int | float | None:
    if not NUMBER.fullmatch(text):
        return None
    return int(text) if INTEGER.fullmatch(text) else float(text)


def _placeholder(number: float) -> str:
    return "CAST(? AS BIGINT)" if isinstance(number, int) else "CAST(? AS DOUBLE)"


# A column ---------------------------------------------------------------------------------------------------


def _on_column(test: Test, kind: str) -> Condition:
    name = f'"{test.field}"'
    used = frozenset({test.field})
    text = {"string": name, "integer": f"CAST({name} AS VARCHAR)"}.get(kind)
    match test.operator:
        case "exists":
            return Condition(f"{name} IS NOT NULL", (), used)
        case "~":
            sql = f"regexp_matches({text}, ?)"
            return Condition(sql, (test.values[0].text,), used) if text else Condition(_FALSE)
        case "=":
            parts = [_column_equals(name, kind, text, value) for value in test.values]
            return Condition(*_pair(_joined(" OR ", parts, _FALSE)), used)
        case compare:
            return _column_ordered(name, kind, compare, test.values[0].text, used)


def _column_ordered(name: str, kind: str, compare: str, bound: str, used: frozenset[str]) -> Condition:
    if kind == "timestamp":
        return Condition(f"{name} {compare} CAST(? AS TIMESTAMP)", (bound,), used)
    number = _number(bound)
    if kind not in {"integer", "number"} or number is None:
        return Condition(_FALSE)
    return Condition(f"{name} {compare} {_placeholder(number)}", (number,), used)


def _pair(condition: Condition) -> tuple[str, tuple[Any, ...]]:
    return condition.sql, condition.values


def _column_equals(name: str, kind: str, text: str | None, value: Value) -> Condition:
    if value.wildcard:
        return Condition(f"{text} LIKE ? ESCAPE '\\'", (_like(value),)) if text else Condition(_FALSE)
    if kind == "string":
        return Condition(f"{name} = ?", (value.text,))
    if kind == "timestamp":
        return Condition(f"{name} = CAST(? AS TIMESTAMP)", (value.text,))
    if kind == "boolean" and value.text.lower() in {"true", "false"}:
        return Condition(f"{name} = ?", (value.text.lower() == "true",))
    number = _number(value.text)
    if kind in {"integer", "number"} and number is not None:
        return Condition(f"{name} = {_placeholder(number)}", (number,))
    return Condition(_FALSE)


# Something in JSON ------------------------------------------------------------------------------------------


def _path(names: Sequence[str]) -> str:
    return "'$." + ".".join(f'"{name}"' for name in names).replace("'", "''") + "'"


def _json_text(name: str, known: Mapping[str, str]) -> tuple[str, frozenset[str]]:
    """Return the JSON text of an undeclared field and the columns it is in.

    It is found by its literal name, else along its dots; else it is NULL or 'null'. Paths stand in the text,
    so the database sees that it is the same expression each time, and parses once.
    """
    places = [("fields", _path([name]))]
    if "." in name:
        root, *rest = name.split(".")
        if root not in known:
            places.append(("fields", _path([root, *rest])))
        elif known[root] == "object":
            places.append((root, _path(rest)))
    parts = [f"CAST(json_extract({column}, {path}) AS VARCHAR)" for column, path in places]
    used = frozenset(column for column, _ in places)
    if len(parts) == 1:
        return parts[0], used
    either = ", ".join(f"nullif({part}, 'null')" for part in parts)
    return f"coalesce({either})", used


def _on_json(test: Test, known: Mapping[str, str]) -> Condition:
    if not _NAME.fullmatch(test.field):
        return Condition(_FALSE)
    j, used = _json_text(test.field, known)
    condition = _json_condition(test, j)
    if "." not in test.field and test.field.isascii():  # most events lack a given field: see that cheaply
        sql = f"""contains(fields, '"{test.field}"') AND ({condition.sql})"""
        return Condition(sql, condition.values, used)
    return Condition(condition.sql, condition.values, used)


def _json_condition(test: Test, j: str) -> Condition:
    string = f"CASE WHEN starts_with({j}, '\"') THEN json_extract_string({j}, '$') END"
    text = f"CASE WHEN regexp_full_match({j}, '-?[0-9]+') THEN {j} ELSE {string} END"
    match test.operator:
        case "exists":
            return Condition(f"{j} <> 'null'")
        case "~":
            return Condition(f"regexp_matches({text}, ?)", (test.values[0].text,))
        case "=":
            parts: list[Condition] = []
            for value in test.values:
                if value.wildcard:
                    parts.append(Condition(f"{text} LIKE ? ESCAPE '\\'", (_like(value),)))
                else:
                    parts += _json_equals(value.text, j)
            return _joined(" OR ", parts, _FALSE)
        case compare:
            number = _number(test.values[0].text)
            if number is None or test.kind == "timestamp":
                return Condition(_FALSE)
            return Condition(f"TRY_CAST({j} AS DOUBLE) {compare} ?", (number,))


def _json_equals(text: str, j: str) -> list[Condition]:
    # Its text first, which is cheap, then whether it is a string at all.
    parts = [Condition(f"json_extract_string({j}, '$') = ? AND starts_with({j}, '\"')", (text,))]
    if text.lower() in {"true", "false"}:
        parts.append(Condition(f"{j} = ?", (text.lower(),)))
    number = _number(text)
    if number is not None:
        parts.append(Condition(f"TRY_CAST({j} AS DOUBLE) = ?", (float(number),)))
    if isinstance(number, int):  # doubles first, for they are cheap; then exactly
        near = parts.pop()
        exact = f"(NOT regexp_full_match({j}, '-?[0-9]+') OR TRY_CAST({j} AS BIGINT) = ?)"
        parts.append(Condition(f"{near.sql} AND {exact}", (*near.values, number)))
    return parts
