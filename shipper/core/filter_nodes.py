"""What a filter means, as values, and how a decoded event is held against them.

The same meaning is compiled to SQL in `store/sql.py`; a property test compares the two over random events. So
every rule stands here in words, and neither side may be lenient where the other is not:

- A field is *absent* when it is not there or null; an absent field satisfies no `Test` (so `a!=1`, which is
  `Not(a=1)`, holds for events without `a`). A dotted name is first looked for as it stands, then as a path.
- `=`: a string equals by its text; a number by its value when the filter's value is a number (integers
  exactly, anything else as doubles); true and false by those words. Objects and lists equal nothing.
- `<`, `<=`, `>`, `>=`: numbers compare with numbers. `timestamp` fields compare as canonical UTC text.
- A wildcard (`*`: any run of characters) and `~` (a regular expression in RE2's syntax, found anywhere) apply
  to strings and to the decimal text of integers.
- `Word`: part of `message`, without regard to case, one code point at a time.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from ...handlers.redaction.forks import apart_from_forks

__all__ = [
    "INTEGER",
    "NUMBER",
    "All",
    "Any_",
    "Node",
    "Not",
    "Operator",
    "Predicate",
    "Test",
    "Value",
    "Word",
    "compile_regex",
    "fold",
    "lookup",
    "predicate",
]

Predicate: TypeAlias = Callable[[Mapping[str, Any]], bool]
Operator: TypeAlias = Literal["=", "<", "<=", ">", ">=", "~", "exists"]

INTEGER: Final = re.compile(r"[+-]?\d{1,18}", re.ASCII)
NUMBER: Final = re.compile(r"[+-]?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})([eE][+-]?\d{1,2})?", re.ASCII)
_COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Value:
    """One value to compare with; `wildcard`: its stars stand for any run of characters."""

    text: str
    wildcard: bool = False


@dataclass(frozen=True, slots=True)
class Word:
    """Some text that the message contains, in any case."""

    text: str


@dataclass(frozen=True, slots=True)
class Test:
    """One field against its values (any of them). `kind`: the field's type in the schema, or None."""

    __test__ = False  # not a test class, whatever pytest thinks of the name

    field: str
    operator: Operator
    values: tuple[Value, ...] = ()
    kind: str | None = None


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite."""

    node: Node


@dataclass(frozen=True, slots=True)
class All:
    """Every one of them; none at all is always true."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Any_:  # noqa: N801 - `Any` is typing's
    """At least one of them."""

    nodes: tuple[Node, ...]


Node: TypeAlias = Word | Test | Not | All | Any_


def fold(text: str) -> str:
    """Return `text` in lower case, code point by code point: what SQL's `lower` does, unlike `str.lower`."""
    if text.isascii():
        return text.lower()
    return "".join("i" if c == "\u0130" else c.lower() for c in text)


def lookup(event: Mapping[str, Any], name: str) -> Any:
    """Return the value of `name` in `event`: by its literal name, else along its dots; None when absent."""
    found = event.get(name)
    if found is not None or "." not in name:
        return found
    value: Any = event
    for part in name.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value


def compile_regex(pattern: str) -> Callable[[str], bool]:
    """Return a search for `pattern`, on RE2 when it is there. Raises ValueError when it is not valid RE2."""
    try:
        import re2
    except ImportError:
        if re.search(r"\(\?(?:[=!]|<[=!]|P=|\()|\\[1-9]", pattern):
            raise ValueError("look-around and back-references are not supported") from None
        try:
            search = re.compile(pattern, re.ASCII).search
        except re.error as error:
            raise ValueError(str(error)) from None
        return lambda text: search(text) is not None
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else "invalid"
        raise ValueError(reason.decode() if isinstance(reason, bytes) else str(reason)) from None
    find = apart_from_forks(compiled.search)
    return lambda text: find(text) is not None


def predicate(node: Node) -> Predicate:
    """Return the function that tells whether a decoded event satisfies `node`."""
    match node:
        case Word(text):
            wanted = fold(text)
            return lambda event: wanted in fold(_text(event.get("message")) or "")
        case Not(inner):
            negated = predicate(inner)
            return lambda event: not negated(event)
        case All(nodes):
            every = tuple(map(predicate, nodes))
            return lambda event: all(holds(event) for holds in every)
        case Any_(nodes):
            some = tuple(map(predicate, nodes))
            return lambda event: any(holds(event) for holds in some)
        case Test():
            return _test(node)


def _text(value: Any) -> str | None:
    """Return the text that wildcards and expressions see: strings and integers have one, nothing else."""
    if type(value) is str:
        return value
    return str(value) if type(value) is int else None


def _test(test: Test) -> Predicate:
    holds = _on_value(test)
    name = test.field
    if "." not in name:
        return lambda event: (value := event.get(name)) is not None and holds(value)
    return lambda event: (value := lookup(event, name)) is not None and holds(value)


def _on_value(test: Test) -> Callable[[Any], bool]:
    match test.operator:
        case "exists":
            return lambda _: True
        case "~":
            found = compile_regex(test.values[0].text)
            return lambda value: (text := _text(value)) is not None and found(text)
        case "=":
            checks = tuple(_equal(value) for value in test.values)
            if len(checks) == 1:
                return checks[0]
            return lambda value: any(check(value) for check in checks)
        case compare:
            return _ordered(_COMPARE[compare], test.values[0].text, test.kind)


def _ordered(compare: Callable[[Any, Any], bool], text: str, kind: str | None) -> Callable[[Any], bool]:
    if kind == "timestamp":
        return lambda value: type(value) is str and compare(value, text)
    bound: float = int(text) if INTEGER.fullmatch(text) else float(text)
    return lambda value: type(value) in {int, float} and compare(value, bound)


def _equal(value: Value) -> Callable[[Any], bool]:
    text = value.text
    if value.wildcard:
        full = re.compile(".*".join(map(re.escape, text.split("*"))), re.DOTALL).fullmatch
        return lambda other: (shown := _text(other)) is not None and full(shown) is not None
    word = {"true": True, "false": False}.get(text.lower())
    number: float | None = None
    if NUMBER.fullmatch(text):
        number = int(text) if INTEGER.fullmatch(text) else float(text)

    def equal(other: Any) -> bool:
        kind = type(other)
        if kind is str:
            return bool(other == text)
        if kind is bool:
            return other is word
        return number is not None and kind in {int, float} and bool(other == number)

    return equal
