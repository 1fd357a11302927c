"""Transforms: what each does, what they cannot do, and that redaction and the schema come after them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from logferry.handlers.outlet import Violation
from logferry.handlers.redaction import Redactor
from logferry.handlers.schema import Schema
from logferry.shipper.builder import SourceBuilder
from logferry.shipper.core.transforms import Rule, TransformError, Transforms, compile_rules
from logferry.shipper.sources.blocks import LineBlocks
from logferry.shipper.sources.foreign import event_of

DECLARED = {"order_id": "integer"}
SCHEMA = Schema("edge", host="h", fields={"order_id": "integer"})
REDACTOR = Redactor(schema=SCHEMA)
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
LINE = {
    "timestamp": "2026-11-21T10:00:00.000000Z",
    "level": "INFO",
    "message": "card=55 ok",
    "http": {"method": "GET", "path": "/health"},
    "count": "12",
    "note": None,
}


def builder(*rules: Rule, schema: Schema = SCHEMA) -> SourceBuilder:
    return SourceBuilder(schema, REDACTOR, transforms=compile_rules(rules, DECLARED))


def become(line: dict[str, Any] | bytes, *rules: Rule) -> dict[str, Any] | None:
    """Return what a line becomes; None: it is left out."""
    event = event_of(builder(*rules), line if isinstance(line, bytes) else json.dumps(line).encode())
    assert event is not None
    found: dict[str, Any] | None = orjson.loads(event) if event else None
    return found


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Rule("add", {"team": "x", "http.version": 2}), {"team": "x", "http": LINE["http"] | {"version": 2}}),
        (Rule("add", {"message": "said", "level": "warn"}), {"message": "said", "level": "WARNING"}),
        (Rule("add", {"trace_id": TRACE.upper()}), {"trace_id": TRACE}),
        (Rule("add", {"service": "not a service"}), {"service": "edge"}),
        (Rule("add", {"timestamp": 1_700_000_000}), {"timestamp": "2023-11-14T22:13:20.000000Z"}),
        (Rule("rename", {"http.method": "verb"}), {"http": {"verb": "GET", "path": "/health"}}),
        (Rule("rename", {"count": "level"}), {"count": None, "level": "INFO"}),
        (Rule("move", {"http.method": "verb"}), {"verb": "GET", "http": {"path": "/health"}}),
        (Rule("move", {"count": "http.count"}), {"http": LINE["http"] | {"count": "12"}}),
        (Rule("move", {"count": "message"}), {"message": "12"}),
        (Rule("move", {"absent": "there"}), {"there": None}),
        (Rule("remove", ("http.method", "http.path")), {"http": None}),
        (Rule("remove", ("message",)), {"message": ""}),
        (Rule("cast", {"count": "integer"}), {"count": 12}),
        (Rule("cast", {"count": "number", "message": "integer"}), {"count": 12.0, "message": "card=55 ok"}),
        (Rule("cast", {"http": "string"}), {"http": '{"method":"GET","path":"/health"}'}),
        (Rule("cast", {"count": "boolean", "note": "string"}), {"count": "12", "note": None}),
        (Rule("mask", ("count", "http")), {"count": "[REDACTED]", "http": "[REDACTED]"}),
        (Rule("mask", {"message": r"card=\S+", "count": "x"}), {"message": "[REDACTED] ok", "count": "12"}),
        (Rule("add", {"x": 1}, when="http.path=/health"), {"x": 1}),
        (Rule("add", {"x": 1}, when="http.path=/other"), {"x": None}),
        (Rule("drop", "count=12", when="level>INFO"), {"count": "12"}),
        (Rule("keep", "level>=INFO"), {"count": "12"}),
        (Rule("sample", 1.0), {"count": "12"}),
    ],
    ids=str,
)
def test_what_each_does(rule: Rule, expected: dict[str, Any]) -> None:
    """Each action does what the page says, and the rest of the event stays as it was."""
    event, plain = become(LINE, rule), become(LINE)
    assert event is not None
    assert plain is not None
    for name, value in expected.items():
        assert (event.get(name), type(event.get(name))) == (value, type(value)), name
    if rule.action in {"add", "cast", "mask"}:
        untouched = plain.keys() - {name.partition(".")[0] for name in expected} - {"http"}
        assert {name: event[name] for name in untouched} == {name: plain[name] for name in untouched}


@pytest.mark.parametrize(
    "rule",
    [Rule("drop", "http.path=/health*"), Rule("keep", "level>INFO"), Rule("sample", 0.0)],
    ids=str,
)
def test_what_leaves_out(rule: Rule) -> None:
    """A line that is left out becomes an empty event, and an error is never sampled away."""
    assert become(LINE, rule) is None
    if rule.action == "sample":
        assert become({**LINE, "level": "ERROR"}, rule) is not None


def test_sampling_keeps_traces_whole_and_about_the_share() -> None:
    """Lines of one trace share their fate, and the share is what was asked for."""
    rules = (Rule("sample", 0.25),)
    kept = [become({"trace_id": f"{n + 1:032x}", "n": n}, *rules) is not None for n in range(2000)]
    again = [become({"trace_id": f"{n + 1:032x}", "m": -n}, *rules) is not None for n in range(2000)]
    assert kept == again
    assert 380 < sum(kept) < 620


def test_they_run_in_order() -> None:
    """What one has done the next one sees."""
    rules = (Rule("move", {"count": "n"}), Rule("cast", {"n": "integer"}), Rule("drop", "n>11"))
    assert become(LINE, *rules) is None
    assert become({**LINE, "count": "11"}, *rules) is not None


def test_redaction_comes_after() -> None:
    """A secret that a transform brings to light, or under a sensitive name, is masked all the same."""
    held = {"wrapped": {"a": "Authorization: Bearer abcdefgh12345678"}, "plain": "hunter2"}
    event = become(held, Rule("move", {"wrapped.a": "said"}), Rule("rename", {"plain": "password"}))
    assert event is not None
    assert "abcdefgh12345678" not in json.dumps(event)
    assert event["password"] == "[REDACTED]"


def test_the_schema_comes_after() -> None:
    """A declared field is repaired, or is a violation, whatever made it."""
    event = become({"id": "17"}, Rule("rename", {"id": "order_id"}))
    assert event is not None
    assert event["order_id"] == 17
    strict = Schema("edge", host="h", fields={"order_id": "integer"}, on_violation="dead_letter")
    made = event_of(builder(Rule("add", {"order_id": "many"}), schema=strict), b"{}")
    assert isinstance(made, Violation)
    lines = [b'{"order_id":1}', b'{"order_id":"many"}', b'{"order_id":2}']
    for rules in ((), (Rule("drop", "order_id=1"),)):
        ((block, _),) = LineBlocks(builder(*rules, schema=strict)).blocks(lines)
        assert list(block.violations) == [1 - len(rules)]


def test_left_out_lines_are_counted_in_their_block() -> None:
    """A block knows how many of its lines have no event; blank lines are none."""
    lines = [b'{"n":%d}' % n for n in range(700)] + [b"", b"  "]
    took = left_out = 0
    events: list[bytes] = []
    for block, count in LineBlocks(builder(Rule("drop", "n>=100"))).blocks(lines):
        took, left_out, events = took + count, left_out + block.left_out, events + list(block)
        assert block
    assert (took, left_out, len(events)) == (702, 600, 100)


@pytest.mark.parametrize(
    ("rule", "key", "message"),
    [
        (Rule("drop", "staus_code=2"), "drop", "no field staus_code"),
        (Rule("drop", " "), "drop", "empty"),
        (Rule("keep", "("), "keep", "missing"),
        (Rule("add", {"x": 1}, when="a="), "when", "value is missing"),
        (Rule("add", {}), "add", "no field"),
        (Rule("add", {"a..b": 1}), "add", "empty parts"),
        (Rule("remove", ("level",)), "remove", "every event has a level"),
        (Rule("rename", {"timestamp": "t"}), "rename", "every event has a timestamp"),
        (Rule("rename", {"a": "b.c"}), "rename", "another place"),
        (Rule("move", {"a": "a.b"}), "move", "into itself"),
        (Rule("mask", {"message": "(?=x)"}), "mask", "not a regular expression"),
        (Rule("mask", {"message": "x*"}), "mask", "empty text"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(rule: Rule, key: str, message: str) -> None:
    """A mistake is told before anything runs, with its place."""
    with pytest.raises(TransformError, match=message) as caught:
        compile_rules((Rule("add", {"a": 1}), rule), DECLARED)
    assert (caught.value.place, caught.value.key) == (1, key)


NAMES = st.sampled_from(
    ["a", "b", "a.b", "b.a.c", "message", "level", "timestamp", "trace_id", "error", "host"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
EVENTS = st.dictionaries(NAMES, VALUES, max_size=6)
FREE = st.sampled_from(["a", "b", "a.b", "b.a.c", "message", "error", "trace_id"])
RULES = st.lists(
    st.one_of(
        st.builds(Rule, st.just("add"), st.dictionaries(NAMES, VALUES, min_size=1, max_size=2)),
        st.builds(
            Rule, st.just("rename"), st.dictionaries(FREE, st.sampled_from(["a", "c", "level"]), min_size=1)
        ),
        st.builds(
            Rule,
            st.just("move"),
            st.dictionaries(st.sampled_from(["a", "b.a"]), st.sampled_from(["c.d", "m"]), min_size=1),
        ),
        st.builds(Rule, st.just("remove"), st.lists(FREE, min_size=1, max_size=3).map(tuple)),
        st.builds(
            Rule,
            st.just("cast"),
            st.dictionaries(
                NAMES, st.sampled_from(["string", "integer", "number", "boolean", "timestamp"]), min_size=1
            ),
        ),
        st.builds(Rule, st.just("mask"), st.lists(FREE, min_size=1, max_size=2).map(tuple)),
        st.builds(Rule, st.sampled_from(["drop", "keep"]), st.sampled_from(["a=1", "b.a~x", "level>=INFO"])),
        st.builds(Rule, st.just("sample"), st.floats(0, 1)),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=60, deadline=None)
@given(EVENTS, RULES)
def test_any_event_through_any_rules(event: dict[str, Any], rules: list[Rule]) -> None:
    """Nothing raises, the same event gives the same result, and what comes out is an event."""
    compiled = compile_rules(rules)
    first, second = copy.deepcopy(event), copy.deepcopy(event)
    assert compiled.apply(first) == compiled.apply(second)
    assert repr(first) == repr(second)
    made = event_of(builder(*rules), orjson.dumps(event, default=str) if _json(event) else b"text")
    assert made is not None
    if made:
        found = orjson.loads(made)
        assert found["level"] in {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}
        assert type(found["message"]) is str
        assert found["service"]
        assert found["timestamp"].endswith("Z")


def _json(event: dict[str, Any]) -> bool:
    try:
        return bool(orjson.dumps(event))
    except (TypeError, orjson.JSONEncodeError):
        return False


@settings(max_examples=60, deadline=None)
@given(EVENTS, st.booleans())
@example(event={"timestamp": ""}, with_time=False)
def test_rules_that_do_nothing_change_nothing(event: dict[str, Any], with_time: bool) -> None:
    """What goes through transforms untouched becomes the very event that it becomes without any."""
    if with_time:
        event["timestamp"] = "2026-11-21T10:00:00.000000Z"
    if not _json(event):
        return
    line = orjson.dumps(event)
    idle: Callable[..., SourceBuilder] = builder
    through = event_of(idle(Rule("drop", "zzz=1"), Rule("remove", ("zzz",))), line)
    direct = event_of(idle(), line)
    assert through is not None
    assert direct is not None
    one, other = orjson.loads(through), orjson.loads(direct)
    if not with_time:
        one["timestamp"] = other["timestamp"] = ""
    assert one == other


@settings(max_examples=60, deadline=None)
@given(
    st.lists(EVENTS, min_size=1, max_size=6), st.sampled_from(["a=1", "b.a~x", "level>=INFO", "message=*"])
)
def test_leaving_out_first_and_then_by_blocks_is_the_line_way(
    events: list[dict[str, Any]], text: str
) -> None:
    """Transforms that only leave lines out do so before the block way, which then gives the same events."""
    lines = [orjson.dumps(event) for event in events if _json(event)] * 9
    rules = (Rule("drop", text), Rule("sample", 0.5))
    expected = [event_of(builder(*rules), line) for line in lines]
    found: list[bytes] = []
    left_out = 0
    for block, _ in LineBlocks(builder(*rules)).blocks(lines):
        found, left_out = found + list(block), left_out + block.left_out
    assert left_out == expected.count(b"")
    kept = [event for event in expected if event]
    assert list(map(_timeless, found)) == list(map(_timeless, kept))


def _timeless(event: bytes | None) -> dict[str, Any]:
    assert event is not None
    return {**orjson.loads(event), "timestamp": ""}


def test_none_at_all_are_false() -> None:
    """So that a source without transforms takes the block way."""
    assert not Transforms()
