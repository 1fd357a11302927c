"""What is made many at once is what `compose` makes one by one: of all that is understood, and of Loki's."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from effort import effort
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_lines import BUILDER, ENTRIES, NAMES, ODD, RANDOM_LINES, SECRET, TEXTS, entry, make, value

from logferry.handlers.outlet import Violation
from logferry.handlers.record import EventBuilder
from logferry.shipper.core.block import Block
from logferry.shipper.core.parse import Parsed, parse
from logferry.shipper.sources import parsed_blocks
from logferry.shipper.sources.foreign import compose
from logferry.shipper.sources.http.labels import Fronts
from logferry.shipper.sources.http.records import Entry, told_of_entry
from logferry.shipper.sources.listen.identity import with_id
from logferry.shipper.sources.parsed_blocks import Line, ParsedBlocks, Told

OWN = "0123456789abcdef" * 2
NOW = 1_795_000_000
USUAL = [json.dumps(entry(number)).encode() for number in range(34)]


@pytest.fixture
def singly(monkeypatch: pytest.MonkeyPatch) -> list[Parsed]:
    """What was composed one by one within the block way."""
    composed: list[Parsed] = []

    def noted(builder: EventBuilder, parsed: Parsed) -> bytes:
        composed.append(parsed)
        return compose(builder, parsed)

    monkeypatch.setattr(parsed_blocks, "compose", noted)
    return composed


def _told(one: Told | Line) -> Told:
    return one.read() if isinstance(one, Line) else one


def same(told: Sequence[Told | Line], builder: EventBuilder = BUILDER) -> list[bytes]:
    """Compare the two ways; return the events."""
    expected = []
    for one in told:
        parsed, own = _told(one)
        expected.append(with_id(compose(builder, replace(parsed, fields=dict(parsed.fields))), own))
    found: list[bytes] = []
    for block, taken in ParsedBlocks(builder).blocks(told):
        assert len(block) == taken
        assert isinstance(block, Block)
        found += block
    assert len(found) == len(expected)
    for mine, theirs, one in zip(found, expected, told, strict=True):
        if mine == theirs:
            continue
        ours, others = value(mine), value(theirs)
        moment = _told(one)[0].timestamp
        if moment is None or moment > 1e11:  # none that is: the moment at which each was made
            ours, others = {**ours, "timestamp": ""}, {**others, "timestamp": ""}
        assert ours == others, one
    return found


def told_of(line: bytes, /, **more: Any) -> Told:
    parsed = parse(line) or Parsed("")
    for name, one in more.items():
        parsed.fields.setdefault(name, one)
    return parsed, ""


def test_usual_things_go_together(singly: list[Parsed]) -> None:
    """Nothing is composed by itself; ids and ids only stand in front of those that bring one."""
    told = [told_of(line, sender="10.0.0.1", log={"offset": at}) for at, line in enumerate(USUAL * 9)]
    told = [(parsed, f"{OWN}-{at + 1}" if at % 3 else "") for at, (parsed, _) in enumerate(told)]
    events = same(told)
    assert not singly
    assert [event.startswith(b'{"event_id":"') for event in events] == [bool(own) for _, own in told]


@pytest.mark.parametrize("odd", ODD)
def test_odd_things_among_usual_ones(odd: str) -> None:
    """Whatever one line says, alone and beside others, with what is not known in JSON."""
    usual = [told_of(line) for line in USUAL]
    strange = [told_of(ODD[odd], ratio=number, deep=[number]) for number in (math.nan, math.inf, 2**70, 1.5)]
    moved = [(Parsed("m", timestamp=at), "") for at in (0.0, 1e6, 7e9, 9e9, -5.0, 1e300)]
    same([*usual, told_of(ODD[odd]), *strange, *moved, *usual])


def test_an_event_that_breaks_the_schema_keeps_its_mark_beside_its_id() -> None:
    """In the block way, and composed by itself: it is a dead letter, never sent."""
    builder = make(on_violation="dead_letter")
    for wrong in ({"order_id": "many"}, {"order_id": "many", "error": {"type": "E", "message": "m"}}):
        line = json.dumps(entry(1, **wrong)).encode()
        told = [(told_of(one)[0], f"{OWN}-7") for one in [*USUAL, line]]
        blocks = [block for block, _ in ParsedBlocks(builder).blocks(told)]
        assert isinstance(blocks[-1], Block)
        assert list(blocks[-1].violations) == [34]
        marked = with_id(compose(builder, told_of(line)[0]), f"{OWN}-7")
        assert isinstance(marked, Violation)


def test_numbers_that_json_does_not_know_are_not_taken_for_null() -> None:
    """Where other things have null, or the number, under the same name."""
    values = (None, 1.5, math.nan, math.inf)
    same([told_of(line, ratio=values[at % 4], deep=[values[at % 4]]) for at, line in enumerate(USUAL * 4)])


def test_a_block_that_grows_too_large_is_made_again_of_the_same() -> None:
    """Composing takes what was understood apart; nothing of it is missing the second time."""
    failed = [entry(number, host="other", error={"type": "E", "message": "m" * 900}) for number in range(600)]
    events = same([told_of(json.dumps(one).encode()) for one in failed])
    assert all(json.loads(event)["host"] == "other" for event in events)


VALUES = ENTRIES.map(lambda made: {name: one for name, one in made.items() if one is not None})


@settings(deadline=None, max_examples=effort(25))
@given(st.lists(st.tuples(RANDOM_LINES, VALUES, st.sampled_from(["", f"{OWN}-1"])), max_size=8))
def test_random_things(random_things: list[tuple[bytes, dict[str, Any], str]]) -> None:
    """Lines of any kind with fields of any name beside them."""
    told = [(told_of(line, **beside)[0], own) for line, beside, own in random_things]
    same([*(told_of(line) for line in USUAL), *told])


# ── lines of Loki ──

LABELS = (
    {},
    {"app": "shop", "pod": "a-1", "namespace": "prod"},
    {"app": "shop", "level": "info"},
    {"app": "shop", "job": "shop", "level": "error"},
    {"pod": "a", "level": "error"},
    {"note": "mine"},
    {"service_name": "not a name", "job": "till"},
    {"level": "loud", "method": "PUT"},
    {"message": "m", "pod": "a"},
    {"trace_id": "ab" * 16},
    {"logger": "x.y"},
    {"error": "boom", "host": "other", "line": "7"},
    {"password": "hunter2", "note": SECRET},
)


def entries(lines: Sequence[bytes], labels: Any, time: int = NOW * 10**9 + 123_456_789) -> list[Entry]:
    # What is pushed was never cut.
    return [Entry(time + at, bytes(line), labels, {}) for at, line in enumerate(lines)]


def told_by(some: Sequence[Entry]) -> list[Told | Line]:
    told = Fronts().told(some)
    meant = [found for one in some if (found := told_of_entry(one)) is not None]
    assert [_told(one) for one in told] == meant
    return told


TIMELESS = [json.dumps({k: v for k, v in entry(n).items() if k != "timestamp"}).encode() for n in range(34)]


@pytest.mark.parametrize("labels", LABELS)
def test_lines_behind_their_labels(labels: dict[str, str]) -> None:
    """With times of their own and without, usual and odd, with the labels of all kinds of streams."""
    lines = [*USUAL, *ODD.values(), *USUAL, *(line.replace(b'"level": "INFO", ', b"") for line in USUAL)]
    bare = [line.replace(b'"level": "INFO"', b'"levelname": "ERROR"') for line in TIMELESS]
    nested = [b'{"a": {"time": 1795000000, "service": "s"}, "b": %d}' % n for n in range(40)]
    hidden = [b'{"ti\\u006de": %d, "b": %d, "servi\\u0063e": "s"}' % (NOW - n, n) for n in range(40)]
    served = [json.dumps(entry(n, service=f"till-{n}")).encode() for n in range(40)]
    levels = [json.dumps(entry(n, level=("INFO", "ERROR", "DEBUG")[n % 3])).encode() for n in range(60)]
    for some in (lines, hidden, served, levels, [*TIMELESS, *ODD.values(), *TIMELESS], bare, nested):
        same(told_by(entries(some, labels)))
    same(told_by(entries(TIMELESS, labels, 5)))  # a time that is none
    same(told_by([*entries(TIMELESS, labels), *entries(USUAL, {"app": "till"}), *entries(lines, labels)]))


def test_usual_lines_of_loki_go_together(singly: list[Parsed]) -> None:
    """Neither decoded nor composed one by one."""
    told = told_by(entries([*USUAL, *USUAL], LABELS[1]) + entries(USUAL * 2, {**LABELS[1], "pod": "a-2"}))
    assert all(isinstance(one, Line) for one in told)
    events = [json.loads(event) for block, _ in ParsedBlocks(BUILDER).blocks(told) for event in block]
    assert len(singly) <= 1  # what learning has not seen
    assert {(one["service"], one["pod"]) for one in events} == {("shop", "a-1"), ("shop", "a-2")}


@settings(deadline=None, max_examples=effort(25))
@given(st.lists(RANDOM_LINES, max_size=8), st.dictionaries(NAMES, TEXTS, max_size=4))
def test_random_lines_of_loki(lines: list[bytes], labels: dict[str, str]) -> None:
    """Random lines behind random labels, among usual ones."""
    same(told_by(entries([*USUAL, *lines, *TIMELESS, *lines], labels)))
