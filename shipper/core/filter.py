r"""The filter language: `level=ERROR service=checkout "time-out" duration_ms>500`.

    filter  = either
    either  = both { ("OR" | "||") both }
    both    = term { ["AND" | "&&"] term }                 side by side means and
    term    = ("NOT" | "-" | "!") term | "(" either ")" | field op value | word
    op      = "=" "==" ":" (equal)  "!=" "<" "<=" ">" ">="  "~" "=~" (expression)  "!~"
    value   = item { "," item }                            any of them
    item    = text without spaces (`*`: anything) | "quoted" | 'quoted'

A word or a quoted phrase is looked for in the message, in any case. A trace id (32 hex digits, a UUID, a
`traceparent`) or an event id alone finds that trace or that event. `field=*` means "has the field". `level`
compares by severity. A field in milliseconds (`duration_ms`) takes units: `>1.5s`. `fields.name` means an
undeclared field, whatever it looks like. Operators written as words are in capitals.

What it means for an event is said in `filter_nodes.py`. A mistake is a `FilterError` with the column, shown
with a caret; a name that is nearly a known field's is a mistake too, with the suggestion.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, NoReturn

from ...handlers.schema import FIELDS
from .filter_nodes import (
    NUMBER,
    All,
    Any_,
    Node,
    Not,
    Operator,
    Predicate,
    Test,
    Value,
    Word,
    compile_regex,
    predicate,
)

__all__ = ["LEVELS", "Filter", "FilterError", "parse"]

LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_LEVEL_ALIASES: Final = {"WARN": "WARNING", "ERR": "ERROR", "FATAL": "CRITICAL", "TRACE": "DEBUG"}
_FIELD_ALIASES: Final = {"error_type": "error.type", "error_message": "error.message"}
_GUESSES: Final = {
    "status": "status_code",
    "duration": "duration_ms",
    "trace": "trace_id",
    "msg": "message",
    "env": "environment",
    "time": "timestamp",
    "user": "user_id",
    "severity": "level",
    "app": "service",
    "route": "endpoint",
}
_BUILT_IN: Final[Mapping[str, str]] = MappingProxyType({f.name: f.type for f in FIELDS})
_MAX_TEXT: Final = 10_000
_MAX_DEPTH: Final = 50
_NEAR: Final = 0.85  # "sevice" is near to "service"; "user" is not near to "user_id", and may well be a field

_SPACE: Final = re.compile(r"\s*")
# `a:b` and `a~b` only without spaces, and not `http://`, `a::b`, `error:`: those are words of a message.
_HEAD: Final = re.compile(
    r"(?P<name>[A-Za-z_@][\w.@/-]*?)(?:(?P<tight>:(?![:/\s]|\Z)|=~|!~|~)|\s*(?P<op>!=|>=|<=|==|=|>|<)\s*)"
)
_OPERATORS: Final = {"==": "=", ":": "=", "=~": "~"}
_EVENT_ID: Final = re.compile(r"[0-9a-f]{32}-[1-9]\d{0,18}", re.ASCII)
_TRACE_ID: Final = re.compile(r"[0-9a-fA-F]{32}", re.ASCII)
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?", re.ASCII)
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h)", re.ASCII)
_MILLISECONDS: Final = {"us": 0.001, "ms": 1.0, "s": 1_000.0, "m": 60_000.0, "h": 3_600_000.0}


class FilterError(ValueError):
    """A filter that cannot be understood. `column` counts from 1; `suggestion` may be empty."""

    def __init__(self, message: str, text: str, column: int, suggestion: str = "") -> None:
        self.message, self.text, self.column, self.suggestion = message, text, column, suggestion
        start = max(0, column - 60)
        shown = re.sub(r"\s", " ", text[start : start + 100])
        hint = f"\n{suggestion}" if suggestion else ""
        super().__init__(f"column {column}: {message}\n  {shown}\n  {' ' * (column - 1 - start)}^{hint}")


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter that was understood. `hints`: sentences for when it finds nothing."""

    text: str
    node: Node
    hints: tuple[str, ...] = ()
    _predicate: Predicate = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_predicate", predicate(self.node))

    def matches(self, event: Mapping[str, Any]) -> bool:
        """Tell whether a decoded event satisfies the filter."""
        return self._predicate(event)


def parse(text: str, declared: Mapping[str, str] = MappingProxyType({})) -> Filter:
    """Understand a filter; `declared` are the schema's own fields, name → type. Raises `FilterError`.

    An empty filter holds for every event.
    """
    return _Parser(text, {**_BUILT_IN, **declared}).parse()


class _Parser:
    """Recursive descent over one text; `at` is the place of the next character."""

    def __init__(self, text: str, types: Mapping[str, str]) -> None:
        self.text, self.types, self.at, self.depth = text, types, 0, 0
        self.hints: list[str] = []

    def parse(self) -> Filter:
        if len(self.text) > _MAX_TEXT:
            self.fail(f"a filter has at most {_MAX_TEXT} characters", 0)
        if not self.text.isascii() and any("\ud800" <= c <= "\udfff" for c in self.text):
            self.fail("the text is not valid Unicode", 0)
        if not self.text.strip():
            return Filter(self.text, All(()))
        node = self.either()
        self.skip()
        if self.at < len(self.text):
            self.fail("a closing parenthesis without an opening one", self.at)
        return Filter(self.text, node, tuple(self.hints))

    def fail(self, message: str, at: int, suggestion: str = "") -> NoReturn:
        raise FilterError(message, self.text, at + 1, suggestion)

    def skip(self) -> None:
        match = _SPACE.match(self.text, self.at)
        assert match is not None
        self.at = match.end()

    def keyword(self, *words: str) -> bool:
        """Pass over one of `words` if it stands here alone."""
        self.skip()
        for word in words:
            end = self.at + len(word)
            alone = not word.isalpha() or self.text[end : end + 1] in {"", " ", "\t", "\n", "(", ")", '"'}
            if self.text.startswith(word, self.at) and alone:
                self.at = end
                return True
        return False

    def either(self) -> Node:
        nodes = [self.both()]
        while self.keyword("OR", "||"):
            nodes.append(self.both())
        return nodes[0] if len(nodes) == 1 else Any_(tuple(nodes))

    def both(self) -> Node:
        nodes = [self.term()]
        while True:
            explicit = self.keyword("AND", "&&")
            self.skip()
            rest = self.text[self.at :]
            ends = not rest or rest[0] == ")" or rest.startswith("||") or re.match(r"OR(?=[\s(\")]|\Z)", rest)
            if ends and not explicit:
                return nodes[0] if len(nodes) == 1 else All(tuple(nodes))
            nodes.append(self.term())

    def term(self) -> Node:
        self.skip()
        start = self.at
        if start >= len(self.text):
            self.fail("something is missing at the end", start, "a word, or field=value")
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            self.fail(f"nested deeper than {_MAX_DEPTH}", start)
        try:
            return self.inner(start)
        finally:
            self.depth -= 1

    def inner(self, start: int) -> Node:
        rest = self.text[start:]
        if rest[0] == "(":
            self.at += 1
            node = self.either()
            self.skip()
            if self.text[self.at : self.at + 1] != ")":
                self.fail("this parenthesis is never closed", start)
            self.at += 1
            return node
        if rest[0] == ")" or rest.startswith(("||", "&&")) or re.match(r"(?:OR|AND)(?=[\s(]|\Z)", rest):
            self.fail("a word or field=value should stand here", start)
        if self.keyword("NOT"):
            return Not(self.term())
        if rest[0] in "-!" and len(rest) > 1 and not rest[1].isspace():
            self.at += 1
            return Not(self.term())
        head = _HEAD.match(self.text, start)
        if head is not None:
            return self.test(head)
        quoted = rest[0] in "\"'"
        text = self.quoted() if quoted else self.bare("")
        return Word(text) if quoted else self.word(text, start)

    def quoted(self) -> str:
        """Read a quoted text. A backslash escapes the quote and itself, and is kept before anything else."""
        start, quote = self.at, self.text[self.at]
        out: list[str] = []
        self.at += 1
        while (char := self.text[self.at : self.at + 1]) != quote:
            if not char:
                self.fail("this quote is never closed", start)
            if char == "\\" and self.text[self.at + 1 : self.at + 2] in {quote, "\\"}:
                self.at += 1
                char = self.text[self.at]
            out.append(char)
            self.at += 1
        self.at += 1
        return "".join(out)

    def bare(self, stops: str) -> str:
        """Read up to a space, one of `stops`, or a parenthesis that was not opened in here."""
        start, depth = self.at, 0
        while self.at < len(self.text):
            char = self.text[self.at]
            if char.isspace() or char in stops or (char == ")" and depth == 0):
                break
            depth += (char == "(") - (char == ")")
            self.at += 1
        return self.text[start : self.at]

    def word(self, text: str, at: int) -> Node:
        lowered = text.lower()
        if _EVENT_ID.fullmatch(lowered):
            return Test("event_id", "=", (Value(lowered),), "string")
        if _TRACE_ID.fullmatch(text):
            return Test("trace_id", "=", (Value(lowered),), "string")
        if parent := _TRACEPARENT.fullmatch(lowered):
            return Test("trace_id", "=", (Value(parent[1]),), "string")
        if _UUID.fullmatch(text):
            both = (Value(text), Value(lowered)) if text != lowered else (Value(text),)
            trace = Test("trace_id", "=", (Value(lowered.replace("-", "")),), "string")
            others = (Test(name, "=", both, "string") for name in ("request_id", "correlation_id"))
            return Any_((trace, *others))
        if text in {"or", "and", "not"} and at > 0:
            self.hints.append(f"`{text}` was looked for as a word; the operator is written {text.upper()}")
        return Word(text)

    def test(self, head: re.Match[str]) -> Node:
        written = head["op"] or head["tight"]
        self.at = head.end()
        negated = written in {"!=", "!~"}
        name, kind = self.field(head["name"], head.start())
        sign = {"!=": "=", "!~": "~"}.get(written) or _OPERATORS.get(written, written)
        if self.at >= len(self.text) or self.text[self.at] in " \t\n)":
            self.fail("the value is missing", self.at, f'for an empty value write {head["name"]}{written}""')
        node = self.comparison(name, kind, sign)
        return Not(node) if negated else node

    def field(self, name: str, at: int) -> tuple[str, str | None]:
        """Return the field that `name` means and its type (None: undeclared). Fails for a near miss."""
        if name.startswith("fields."):
            name = name.removeprefix("fields.")
            return name, self.types.get(name)
        name = _FIELD_ALIASES.get(name, name)
        if name in self.types:
            return name, self.types[name]
        if "." not in name:
            near = difflib.get_close_matches(name, self.types, 1, _NEAR)
            if near:
                hint = f"did you mean {near[0]}? (an undeclared field of that name: fields.{name})"
                self.fail(f"there is no field {name}", at, hint)
            if name in _GUESSES:
                self.hints.append(f"`{name}` is no field of the schema; `{_GUESSES[name]}` is")
            if name in {"since", "until", "last"}:
                self.hints.append(f"`{name}` was looked for as a field; the time stands beside the filter")
        return name, None

    def comparison(self, name: str, kind: str | None, sign: str) -> Test:
        at = self.at
        if sign == "~":
            return self.expression(name, kind)
        values = [self.value()]
        while self.text[self.at : self.at + 1] == ",":
            self.at += 1
            values.append(self.value())
        if sign == "=" and values == [Value("*", wildcard=True)]:
            return Test(name, "exists", (), kind)
        if kind == "object":
            self.fail(f"{name} is an object", at, f"name a part of it, such as {name}.type=..., or {name}=*")
        if sign != "=" and len(values) > 1:
            self.fail(f"{sign} takes one value", at)
        if name == "level":
            return Test(name, "=", self.levels(values, sign, at), kind)
        operator: Operator = sign  # type: ignore[assignment] # one of the five that are left
        return Test(name, operator, tuple(self.typed(v, name, kind, sign, at) for v in values), kind)

    def value(self) -> Value:
        if self.text[self.at : self.at + 1] in {'"', "'"}:
            return Value(self.quoted())
        text = self.bare(",")
        return Value(text, wildcard="*" in text)

    def expression(self, name: str, kind: str | None) -> Test:
        at = self.at
        text = self.quoted() if self.text[at] in "\"'" else self.bare("")
        if kind in {"number", "boolean", "object", "timestamp"}:
            self.fail(f"{name} is no text", at, f"name a part of it: {name}.message~..." * (kind == "object"))
        try:
            compile_regex(text)
        except ValueError as error:
            self.fail(f"not a regular expression (RE2): {error}", at)
        return Test(name, "~", (Value(text),), kind)

    def levels(self, values: list[Value], sign: str, at: int) -> tuple[Value, ...]:
        names: list[str] = []
        for value in values:
            upper = value.text.upper()
            upper = _LEVEL_ALIASES.get(upper, upper)
            if upper not in LEVELS:
                near = difflib.get_close_matches(upper, LEVELS, 1)
                hint = f"did you mean {near[0]}?" if near else f"one of {' '.join(LEVELS)}"
                self.fail(f"there is no level {value.text}", at, hint)
            rank = LEVELS.index(upper)
            names += {
                "=": LEVELS[rank : rank + 1],
                ">=": LEVELS[rank:],
                ">": LEVELS[rank + 1 :],
                "<=": LEVELS[: rank + 1],
                "<": LEVELS[:rank],
            }[sign]
        return tuple(map(Value, names))

    def typed(self, value: Value, name: str, kind: str | None, sign: str, at: int) -> Value:
        """Check `value` against the type of its field, and bring it into the form that is compared."""
        text = value.text
        if kind == "timestamp":
            return Value(self.moment(text, at))
        duration = _DURATION.fullmatch(text) if name.endswith("_ms") and not value.wildcard else None
        if duration is not None:
            return Value(f"{float(duration[1]) * _MILLISECONDS[duration[2]]:.15g}")
        if kind == "boolean":
            word = {"1": "true", "yes": "true", "0": "false", "no": "false"}.get(text.lower(), text.lower())
            if word not in {"true", "false"} or sign != "=":
                self.fail(f"{name} is true or false", at)
            return Value(word)
        if kind == "string" and sign != "=":
            self.fail(
                f"{name} is text; {sign} compares numbers", at, f"use {name}=value or {name}~expression"
            )
        numeric = NUMBER.fullmatch(text) is not None
        if value.wildcard and sign == "=" and kind != "number":
            return value
        if not numeric and (kind in {"integer", "number"} or sign != "="):
            what = f"{name} is a number" if kind else f"{sign} compares numbers"
            self.fail(f"{what}; {text!r} is not", at)
        return Value(text)

    def moment(self, text: str, at: int) -> str:
        """Return an ISO 8601 time as events write it; without an offset it is UTC, as in the events."""
        try:
            moment = datetime.fromisoformat(text)
            moment = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
        except (ValueError, OverflowError):
            hint = "such as 2026-11-21T08:30 (UTC unless it has an offset)"
            self.fail(f"{text!r} is no time in ISO 8601", at, hint)
        return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
