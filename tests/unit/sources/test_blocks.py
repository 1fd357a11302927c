"""The block way gives what the line way gives: on ordinary, hostile and random lines, however cut."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from columns_of import check
from effort import effort
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_lines import BUILDER, NAMES, NESTED, ODD, RANDOM_LINES, SCALARS, SECRET, entry, make, value

from logferry.handlers.record import EventBuilder
from logferry.handlers.redaction import Redactor
from logferry.handlers.schema import Schema
from logferry.shipper.core.lines import LineSplitter
from logferry.shipper.core.parse import Parser
from logferry.shipper.sources import blocks as blocks_module
from logferry.shipper.sources.blocks import LineBlocks
from logferry.shipper.sources.decoded import getter
from logferry.shipper.sources.foreign import event_of
from logferry.shipper.sources.learned import MAX_NAMES
from logferry.shipper.sources.parsers import Reader, parser_config

EXTRA = {"log_file": "/var/log/app.log"}
NOW = re.compile(rb'"timestamp":"[^"]*"')


def _as_it_is(line: bytes) -> bytes:
    return line


def line_way(lines: Sequence[bytes], parser: Parser, builder: EventBuilder = BUILDER) -> list[bytes]:
    read = Reader(parser_config(parser)).understood if parser == "auto" else _as_it_is
    return [event for line in lines if (event := event_of(builder, read(line), parser, EXTRA)) is not None]


def block_way(lines: Sequence[bytes], parser: Parser, builder: EventBuilder = BUILDER) -> list[bytes]:
    taken, events = 0, []
    for block, count in LineBlocks(builder, parser, EXTRA).blocks(lines):
        assert len(list(block)) == len(block)
        check(block)
        taken += count
        events += block
    assert taken == len(lines)
    return events


def same(lines: Sequence[bytes], parser: Parser = "auto", builder: EventBuilder = BUILDER) -> list[bytes]:
    """Compare the two ways; return the events of the block way."""
    expected, found = line_way(lines, parser, builder), block_way(lines, parser, builder)
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        if mine != theirs and value(mine) != value(theirs):
            # Without a time of its own an event has the moment at which it was made.
            ours, others = value(mine), value(theirs)
            moments = [datetime.fromisoformat(one["timestamp"][1]) for one in (ours, others)]
            assert (datetime.now(UTC) - min(moments)).total_seconds() < 60, (mine, theirs)
            assert {**ours, "timestamp": ""} == {**others, "timestamp": ""}
        assert b"\r" not in mine
        names = re.findall(rb'"([^"\\]*)" ?:', mine) if b"\\" not in mine and b"{" not in mine[1:] else []
        assert len(names) == len(set(names)), mine
    return found


def dumped(entries: Sequence[dict[str, Any]], **options: Any) -> list[bytes]:
    return [json.dumps(one, **options).encode() for one in entries]


def test_usual_json_keeps_its_names_and_their_order(taken: list[bytes]) -> None:
    """Lines that need nothing converted are their JSON without spaces; what is missing stands in front."""
    lines = [entry(i) for i in range(700)]
    events = same(dumped(lines))
    assert not taken
    expected = [line[1:] for line in dumped(lines, separators=(",", ":"))]
    assert all(event.endswith(b'",' + line) for event, line in zip(events, expected, strict=True))


FORMS: dict[str, Any] = {
    "ours": lambda i: entry(i, service="shop", span_id="", kind="access", path="/x", duration_le="5"),
    "other names": lambda i: {"ts": 1795252730.25 + i, "lvl": "warn", "msg": f"m {i}", "user": f"u{i}"},
    "numbers": lambda i: {"time": 1795252730000 + i, "level": 30, "msg": f"m {i}", "pid": i, "v": 1},
    "pino": lambda i: (
        {"level": 10 + i % 6 * 10, "time": f"2026-11-21T17:00:00.{i % 1000:03}Z"}
        | {"pid": 7, "hostname": "till", "msg": "said"}
    ),
    "levels by Python's numbers": lambda i: {"level": 10 + i % 5 * 10, "time": 1795252730 + i, "msg": "said"},
    "milliseconds": lambda i: {"timestamp": f"2026-11-21T17:00:00.{i % 1000:03}Z", "level": "info"},
    "whole durations": lambda i: entry(i, duration_ms=i),
    "zeros": lambda i: entry(i, duration_ms=[0.0, -0.0][i % 2], status_code=[1, None][i % 3 % 2]),
    "escapes without quotes": lambda i: entry(i, message=f"line {i}\n\\ ü 漢 \x01"),
    "escapes": lambda i: entry(i, message=f'he said "{i}"\n\\ ü 漢 \x01'),
    "optional": lambda i: entry(i, **({"cart": i} if i % 3 else {}), **({"user": "a"} if i % 5 else {})),
    "mixed types": lambda i: entry(i, cart=[None, "x", 1, 1.5, True][i % 5]),
    "uuid": lambda i: entry(i, trace_id=f"0af76519-16cd-43dd-8448-{i + 1:012x}"),
    "empty ids": lambda i: entry(i, trace_id="", span_id=""),
    "place": lambda i: entry(i, module="m", function="f", line=i, process=7, thread="t", host="other"),
    "null": lambda i: entry(i, exc_info=None, user_id=None, cart=None),
    "access": lambda i: entry(i, kind="access" if i % 2 else "job"),
    "right buckets": lambda i: entry(
        i, kind="access", duration_ms=[5.0, 5.5, 0.0, 1e9][i % 4], duration_le=["5", "10", "1", "+Inf"][i % 4]
    ),
    "a bound too high": lambda i: entry(i, kind="access", duration_ms=[5.0, 5.5][i % 2], duration_le="10"),
    "a bound too low": lambda i: entry(i, kind="access", duration_ms=[5.0, 5.5][i % 2], duration_le="5"),
    "errors": lambda i: entry(i, level="ERROR", message=f"no route to 10.0.0.{i % 9}"),
    "some errors": lambda i: entry(i, level="ERROR" if i % 4 else "INFO"),
    "our errors": lambda i: entry(i, level="CRITICAL", message="m 1", error_pattern="m <num>"),
    "file": lambda i: entry(i, log_file="/other"),
    "object": lambda i: entry(
        i, http={"method": "GET", "path": f"/p/{i}", "ms": i / 7, "ok": True, "n": None}
    ),
    "list": lambda i: entry(i, tags=["a", f"b{i}", {"c": [i]}], none=[], nothing={}),
    "object now and then": lambda i: entry(i, **({"cart": {"x": i}} if i % 3 else {})),
    "object or not": lambda i: entry(i, cart=[{"a": 1}, [1, 2], "x", None, 5][i % 5]),
    "object with escapes": lambda i: entry(i, cart={'a"b': f'q"{i}'}),
    "deep object": lambda i: entry(i, cart={"a": {"b": {"c": {"d": {"e": [i]}}}}}),
}


@pytest.mark.parametrize(
    "form", ["ours", "zeros", "other names", "pino", "some errors", "access", "null", "file"]
)
def test_what_lines_say_is_written_beside_them(form: str) -> None:
    """Blocks that one call has made have columns; those with a line of another way have none."""
    lines = dumped([FORMS[form](i) for i in range(400)])
    blocks = [block for block, _ in LineBlocks(BUILDER, "auto", EXTRA).blocks(lines)]
    assert check(blocks[-1])
    way = LineBlocks(BUILDER, "auto", EXTRA)
    list(way.blocks(lines))
    (block,) = [block for block, _ in way.blocks([*lines[:9], b"no JSON {", *lines[9:]])]
    assert not check(block)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("separators", [(", ", ": "), (",", ":")])
def test_forms_of_json(form: str, separators: tuple[str, str], taken: list[bytes]) -> None:
    """Other names, levels, times, types and ids go the block way, and become what they would."""
    same(dumped([FORMS[form](i) for i in range(400)], separators=separators))
    assert not taken


LOOKED_INTO: dict[str, Any] = {
    "level": lambda i: {"ts": i + 1e9, "lvl": "warn", "msg": "m", "name": "a", "log": {"level": "ERROR"}},
    "level, settled": lambda i: entry(i, log={"level": "ERROR", "n": i}, logger="a"),
    "logger": lambda i: entry(i, log={"logger": f"l{i}"}),
    "service": lambda i: entry(i, service={"name": "till", "n": i}),
    "service, settled": lambda i: entry(i, service="shop", log={"offset": i}, logger=""),
    "empty id": lambda i: entry(i, trace_id="", trace={"id": f"{i + 1:032x}"}),
    "no id": lambda i: entry(i, trace_id="none", trace={"id": f"{i + 1:032x}"}, span={"id": "x"}),
}


@pytest.mark.parametrize("form", LOOKED_INTO)
def test_objects_that_may_hold_what_an_event_always_has(form: str) -> None:
    """They are taken apart, or stay whole where the line says it before."""
    same(dumped([LOOKED_INTO[form](i) for i in range(80)]))


ROLES_BEHIND: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "time": ({"timestamp": True}, {"time": "2026-11-21T17:00:00.000000Z"}),
    "level": ({"level": None}, {"severity": "ERROR"}),
    "service": ({"service": 5}, {"service_name": "till"}),
    "id": ({"trace_id": None}, {"traceId": "0af7651916cd43dd8448eb211c80319c"}),
}


@pytest.mark.parametrize("role", ROLES_BEHIND)
def test_a_second_name_counts_where_the_first_one_says_nothing(role: str) -> None:
    """Also in lines that come later and do not have the first."""
    first, second = ROLES_BEHIND[role]
    lines = [{"message": "m", **first, **second}] * 40
    same(dumped([*lines, *[{"message": "m", **second}] * 40]))


def test_messages_are_looked_into_although_few_were_known() -> None:
    """One of few messages has a secret, so that others are expected, too: such as hold JSON."""
    few = [{"message": "m" if i % 5 else "password=hunter2", "n": i} for i in range(40)]
    same(dumped([*few, *[{"message": '{"a":1,"message":"within"}', "n": 1}] * 3]))


@pytest.mark.parametrize("level", ["INFO", "ERROR"])
def test_patterns_in_lines_that_say_no_error(level: str) -> None:
    """A line may bring what only errors have: many of it, and texts that redaction looks at."""
    entries = [entry(i, level=[level, "INFO"][i % 2], error_pattern=f"p {i}") for i in range(60)]
    same(dumped(entries))


@pytest.mark.parametrize("name", ["error_pattern", "duration_le"])
def test_what_follows_from_others_where_some_lines_hold_something_else(name: str) -> None:
    """Lines without it have it, although no text was ever seen there."""
    lines = [entry(i, level="ERROR", kind="access", **({name: i} if i % 2 else {})) for i in range(80)]
    same(dumped(lines))


def test_names_without_end_are_forgotten() -> None:
    """What is known of lines stays small, whatever names come, also such as no shape has."""
    way = LineBlocks(BUILDER, "json", EXTRA)
    for number in range(8):
        odd = [b'{"message":"m","error.%d":1}' % place for place in range(number * 250, number * 250 + 250)]
        list(way.blocks([*odd, *[b'{"message":"m"}'] * 300]))
    assert len(way._learned.names) <= 2 * MAX_NAMES


PARSERS: tuple[Parser, ...] = ("auto", "json", "text")


@pytest.mark.parametrize("odd", ODD)
def test_odd_lines(odd: str) -> None:
    """One odd line, or every seventh, among usual ones of either kind: all become what they would."""
    usual = dumped([entry(i) for i in range(34)])
    texts = [b"2026-11-21 17:00:00,%03d INFO shop: order %d" % (i, i) for i in range(10)]
    for parser in PARSERS:
        same([*usual, ODD[odd], *usual], parser)
        same([*texts, ODD[odd], *texts], parser)
        same([ODD[odd]] * 34, parser)
    same([ODD[odd] if i % 7 == 3 else line for i, line in enumerate([*usual, *usual])])


@pytest.mark.parametrize("name", ["$[1]", f"$[{'9' * 5000}]", "a` - at `$[1]", "a - at `$[1].b`"])
def test_a_name_like_the_number_of_a_line(name: str, taken: list[bytes]) -> None:
    """Which line the decoder refuses is told by a number: a name that looks like it sends no other away."""
    usual = dumped([entry(i) for i in range(40)])
    odd = dumped([entry(1, **{name: 1})])
    same([*usual, *odd, *usual])
    assert taken == odd


STRADDLING: dict[str, list[bytes]] = {
    "two objects, and a blank line": [b'{"message":"a"}{"message":"b"}', b""],
    "an object over two lines, and two in one": [b'{"message":', b'"a"}', b'{"message":"b"}{"message":"c"}'],
    "nested over two lines": [b'{"message":"a","cart":', b'{"n":1}}', b'{"message":"b","cart":{}}' * 2],
    "blank": [b""],
    "space": [b" "],
}


@pytest.mark.parametrize("form", STRADDLING)
@pytest.mark.parametrize("nested", [{}, {"cart": {"n": 1}}], ids=["flat", "nested"])
def test_a_line_is_an_object(form: str, nested: dict[str, Any]) -> None:
    """As many objects as lines are not enough: each line is one."""
    usual = dumped([{"message": f"m {i}", **nested} for i in range(40)])
    same([*usual, *STRADDLING[form], *usual])


@pytest.mark.parametrize(
    "pair",
    [
        ("2026-11-21T17:00:00.000000Z2026", "-11-21T17:00:00.000000Z"),
        ("2026-11-21T17:00:00.000000Z", "2026-11-21T17:60:00.000000Z"),
        ("2026-11-21T17:00:00.000000Z", "2026-11-21T24:00:00.000000Z"),
        ("2026-02-28T23:59:59.000000Z", "2026-02-29T00:00:00.000000Z"),
        ("2026-11-21T17:00:00.000000Z", "2026-11-21T17:00:00.00000\u0660Z"),
    ],
)
def test_times_are_looked_at_one_by_one(pair: tuple[str, str]) -> None:
    """Texts that are times only together are none; nor are those with a wrong hour, minute or day."""
    usual = dumped([entry(i) for i in range(40)])
    same([*usual, *dumped([entry(1, timestamp=text) for text in pair]), *usual])


IDS = ("0af7651916cd43dd8448eb211c80319c", "0" * 32, "", "-" * 32, "0af7651916cd43dd", "ABCDEF" * 5 + "00")


@pytest.mark.parametrize("first", [1, 0], ids=["ids", "empty"])
def test_ids_are_looked_at_one_by_one(first: int) -> None:
    """Each of the ids among usual ones, and in pairs whose lengths are right together."""
    usual = dumped([entry(i, **({} if first else {"trace_id": ""})) for i in range(40)])
    for one in (*IDS, *(f"{IDS[0]}{IDS[0]}"[:cut] for cut in (16, 31, 33))):
        for other in (IDS[0], IDS[0][:31], IDS[0] + "a", f"{IDS[0][:15]}-{IDS[0][16:]}"):
            same([*usual, *dumped([entry(1, trace_id=one), entry(2, trace_id=other)]), *usual])


OTHERS: dict[str, Any] = {
    "texts": lambda i: f"req-{i}",
    "one text": lambda _: "none",
    "half as long": lambda i: f"{i + 1:016x}",
    "as long": lambda i: f"{i:032}"[::-1].replace("0", "x", 1),
    "numbers": lambda i: i,
    "nothing": lambda _: None,
    "empty": lambda _: "",
    "mixed": lambda i: [None, "x", 7, "", {"a": "b"}][i % 5],
}


@pytest.mark.parametrize("form", OTHERS)
@pytest.mark.parametrize("name", ["traceId", "trace.id", "spanId"])
def test_names_of_ids_that_hold_something_else(name: str, form: str, taken: list[bytes]) -> None:
    """They are like any other; ids among them go the line way alone, also where another name has one, too."""
    others = [{name: OTHERS[form](i), **entry(i)} for i in range(70)]
    for one in others:
        del one["trace_id"]
    own = {name: IDS[4] if name == "spanId" else IDS[0]}
    same(dumped([{**one, **own} for one in others]))
    assert not taken
    same(dumped(others))
    assert not (taken and form != "half as long")
    odd = [{**entry(1), **own}, {**others[1], **own}, {**others[1], "otelTraceID": IDS[0]}]
    odd += [{**others[1], **own, "otelTraceID": IDS[5].lower()}, {**others[1], name: IDS[5]}]
    for before in (9, 70):
        same(dumped([*others[:before], *odd, *others[:40], *odd[:2]]))


TIMES = (
    *("2026-11-21 17:00:00", "2026-11-21 17:00:00,123", "2026-11-21 17:00:00.123456", "[2026-11-21T17:00:00"),
    *(
        "2026-11-21 17:00:00,1234",
        "2026-11-21 17:00:00Z",
        "2026-11-21 17:00:00,123+01:00",
        "2026-02-30 17:00:00",
    ),
    *("2026-11-21 17:00:00,123 +0100", "2026-11-21 17:00:00,123 Z", "2026-11-21 17:00:00,123456789", ""),
)
BEHIND = (
    *(
        " INFO x",
        " shop WARNING: x",
        " ERROR",
        " INFORMATION",
        "\tDEBUG x",
        " [CRITICAL] x",
        " WARN",
        "INFO",
        " x",
    ),
    *(" a.long.name.of.it INFO x", " a.long.name.of.it ERROR x", " abcdefghi ERR", " abcdefghi ERRX"),
)


@pytest.mark.parametrize("first", TIMES)
def test_times_and_levels_of_text(first: str, taken: list[bytes]) -> None:
    """Each form of a time, alone and with another among its lines, and levels anywhere behind it."""
    lines = [f"{first}{behind}{i}".encode() for i, behind in enumerate(BEHIND * 3)]
    same(lines, "text")
    for other in TIMES:
        same([*lines, *[f"{other}{behind}".encode() for behind in BEHIND], *lines[:3]], "text")
    assert not taken


@pytest.mark.parametrize("number", [2**63 - 1, 2**63, 2**64 - 1, -(2**63) + 1, -(2**63)])
def test_a_large_integer_in_every_line(number: int) -> None:
    """Where a name has one value only, and that is an integer of 64 bits, with a sign or without one."""
    same(dumped([entry(i, n=number, line=number) for i in range(40)]))


@pytest.mark.parametrize("form", ["%d", "%d.5", "%de3", "-0", "1e20", "-%d.0e19"])
def test_numbers_in_any_form(form: str, taken: list[bytes]) -> None:
    """Integers where floats are wanted, negative zeros, large ones: none goes the line way."""
    lines = [line.replace(b'"N"', (form % i if "%" in form else form).encode()) for i, line in NUMBERED]
    same(lines)
    others = [line.replace(b'"N"', b"%d" % i) for i, line in NUMBERED]
    same([line for pair in zip(lines, others, strict=True) for line in pair])
    assert not taken


@pytest.mark.parametrize("number", [2**53 - 1, 2**53, 2**53 + 1, 2**63, 2**64, 10**30])
@pytest.mark.parametrize("form", ["%d", "-%d", "%d.0", "-%d.5"])
def test_numbers_at_the_end_of_what_floats_tell_apart(form: str, number: int) -> None:
    """Among usual ones, and in every line."""
    odd = [line.replace(b'"N"', (form % number).encode()) for _, line in NUMBERED]
    usual = [line.replace(b'"N"', b"%d.5" % i) for i, line in NUMBERED]
    same([*usual, odd[0], *usual])
    same(odd)


NUMBERED = [
    (i, line) for i, line in enumerate(dumped([entry(i, duration_ms="N", amount="N") for i in range(90)]))
]


def test_a_secret_costs_only_its_own_line(taken: list[bytes]) -> None:
    """Of a block in which the detector hits, the lines without a secret are given on."""
    lines = dumped([entry(i, note=SECRET if i == 77 else "ok") for i in range(300)])
    events = same(lines)
    assert taken == [lines[77]]
    assert b"abcdefgh12345678" not in b"".join(events)
    texts = [b"INFO order %d" % i for i in range(300)]
    texts[5] = b"INFO password=hunter2"
    taken.clear()
    assert b"hunter2" not in b"".join(same(texts))
    assert taken == [texts[5]]


@pytest.mark.parametrize("name", ["password", "X-API-Key", "loyalty", SECRET])
def test_a_sensitive_name_costs_only_its_own_lines(name: str, taken: list[bytes]) -> None:
    """Also among the first lines, from which is learned what all have."""
    lines = dumped([entry(i, **({name: "hunter2"} if i % 50 == 7 else {})) for i in range(300)])
    assert b"hunter2" not in b"".join(same(lines)) or name == SECRET
    assert taken == lines[7::50]


def test_a_sensitive_name_in_every_line(taken: list[bytes]) -> None:
    """Then there is nothing to be taken together."""
    lines = dumped([entry(i, password="hunter2") for i in range(60)])
    assert b"hunter2" not in b"".join(same(lines))
    assert taken == lines


def test_a_secret_among_the_first_lines(taken: list[bytes]) -> None:
    """Secrets in what is learned from send only their own lines line by line, then and later."""
    lines = dumped([entry(i, note=SECRET if i % 20 == 7 else "ok") for i in range(300)])
    assert b"abcdefgh12345678" not in b"".join(same(lines))
    assert len(taken) == 15


def test_lines_that_end_with_cr(taken: list[bytes]) -> None:
    """CR LF is no part of an event."""
    same([line + b"\r" for line in dumped([entry(i) for i in range(60)])])
    same([b"INFO text %d\r" % i for i in range(60)])
    assert not taken


def test_a_file_that_changes_its_ways(taken: list[bytes]) -> None:
    """Other names, or other types, are learned, and what was learned before is no hindrance."""
    before = dumped([entry(i) for i in range(300)])
    other = dumped([FORMS["other names"](i) for i in range(400)])
    types = dumped([entry(i, note=i, order_id=None) for i in range(400)])
    same([*before, *other, *types, *before])
    assert len(taken) < 400


def test_lines_without_a_time_cost_only_themselves(taken: list[bytes]) -> None:
    """They have the moment at which they are read; all others have their own."""
    lines = dumped([entry(i) for i in range(300)])
    for place in range(5, 300, 10):
        lines[place] = lines[place].replace(b'"timestamp"', b'"then"')
    same(lines)
    assert taken == lines[5::10]


def test_lines_of_many_kinds(taken: list[bytes]) -> None:
    """Names of their own in each of ten kinds of lines, a hundred in all."""
    same(dumped([entry(i, **{f"f{i % 10}_{k}": "x" for k in range(10)}) for i in range(300)]))
    assert not taken


def test_declared_types_and_dead_letters() -> None:
    """Where violations are dead letters nothing is cast."""
    builder = make(on_violation="dead_letter")
    lines = dumped([entry(i, amount=i if i % 2 else float(i)) for i in range(90)])
    odd = dumped([entry(i, order_id=str(i)) for i in range(10)])
    same([*lines, *odd, *lines], builder=builder)


class Careless(Redactor):
    """One that cannot vouch for anything."""

    def clean(self, event: dict[str, Any], extras: tuple[str, ...]) -> dict[str, Any]:
        return {**event, "message": "gone"}


def test_a_redactor_that_proves_nothing_sees_every_line() -> None:
    """What somebody else's redactor does is done to each event."""
    builder = EventBuilder(Schema("edge", host="h"), Careless())
    events = block_way([*dumped([entry(i) for i in range(60)]), b"text"], "auto", builder)
    assert [json.loads(event)["message"] for event in events] == ["gone"] * 61


def test_what_is_bound_enters_the_events() -> None:
    """While a context is bound the line way puts it into every event."""
    builder = EventBuilder(Schema("edge", host="h"), context=lambda: {"tenant": "t1"})
    events = same(dumped([entry(i) for i in range(60)]), builder=builder)
    assert all(json.loads(event)["tenant"] == "t1" for event in events)


@settings(deadline=None, max_examples=effort(40))
@given(st.lists(RANDOM_LINES, min_size=1, max_size=12), st.sampled_from(PARSERS), st.randoms())
def test_random_lines(lines: list[bytes], parser: Parser, chance: random.Random) -> None:
    """Any lines, often enough to be learned from and in any order, become what they would."""
    many = [line for line in lines for _ in range(8)]
    chance.shuffle(many)
    same(many, parser)


@settings(deadline=None, max_examples=effort(40))
@given(st.lists(st.tuples(NAMES, st.one_of(SCALARS, NESTED)), min_size=1, max_size=8), st.integers(0, 2**32))
def test_lines_of_one_shape(pairs: list[tuple[str, Any]], seed: int) -> None:
    """Lines with the same names, which come twice perhaps, with bytes changed in some of them."""
    chance = random.Random(seed)
    body = ", ".join(f"{json.dumps(name)}: {json.dumps(held)}" for name, held in pairs)
    lines = [f"{{{body}}}".encode()] * 50
    for _ in range(chance.randrange(4)):
        place = chance.randrange(40, 50)
        raw = bytearray(lines[place])
        raw[chance.randrange(len(raw))] = chance.choice(b'"\\,:{} 019eE-.\t\xff\x00a')
        lines[place] = bytes(raw)
    same(lines)


@pytest.mark.parametrize("seed", range(effort(3)))
def test_fed_whole_or_in_pieces(seed: int) -> None:
    """A stream fed whole, in pieces or byte by byte gives the same events."""
    chance = random.Random(seed)
    odd = [line for line in ODD.values() if type(line) is bytes and b"\n" not in line]
    lines = dumped([entry(i) for i in range(80)]) + [b"INFO text %d" % i for i in range(30)] + odd
    chance.shuffle(lines)
    stream = b"\n".join(lines) + b"\n"
    expected = [value(event) for event in line_way(LineSplitter(1 << 18).feed(stream), "auto")]
    for longest in (1, 50, 5000):
        splitter, way, found = LineSplitter(1 << 18), LineBlocks(BUILDER, "auto", EXTRA), []
        at = 0
        while at < len(stream):
            piece = chance.randint(1, longest)
            for block, _ in way.blocks(splitter.feed(stream[at : at + piece])):
                found += [value(event) for event in block]
            at += piece
        for mine, theirs in zip(found, expected, strict=True):
            assert {**mine, "timestamp": 0} == {**theirs, "timestamp": 0}


NESTED: list[dict[str, Any]] = [
    {"log": {"level": "error", "logger": "a.b"}, "trace": {"id": "0af7651916cd43dd8448eb211c80319c"}},
    {"service": {"name": "till", "x": 1}, "span": {"id": "b7ad6b7169203331"}},
    {"log": {"level": "no level"}, "service": {"version": 2}},
    {"message": '{"msg":"in","a":1}'},
    {"message": "{no"},
]


@pytest.mark.parametrize("held", NESTED)
def test_what_is_nested_counts_in_both_ways(held: dict[str, Any]) -> None:
    """A level, a service, ids within objects, and JSON within a message."""
    usual = {"timestamp": "2026-11-21T17:00:00.000000Z", "message": "x"}
    same(dumped([{**usual, **held, "number": number} for number in range(80)]), "json")


@pytest.mark.parametrize(
    ("shape", "lines"),
    [("JsonShape", dumped([entry(n) for n in range(300)])), ("TextShape", [b"up"] * 300)],
)
def test_a_defect_of_the_block_way_costs_no_line(
    shape: str, lines: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said, without what may have been in a line; the lines go the line way."""

    def fails(*_: object) -> None:
        raise KeyError("hunter2")

    said = list[str]()
    monkeypatch.setattr(LineBlocks, "strict", False)
    monkeypatch.setattr(blocks_module, "say", lambda _, words, *__: said.append(words))
    monkeypatch.setattr(getattr(blocks_module, shape), "take", fails)
    assert len(same(lines)) == len(lines)
    assert "KeyError" in "".join(said)
    assert "hunter2" not in "".join(said)
    monkeypatch.setattr(LineBlocks, "strict", True)
    with pytest.raises(KeyError):
        block_way(lines, "auto")


@pytest.mark.parametrize("name", ["", "a.b", "a or exit()", "x]; import os #"])
def test_nothing_but_a_name_enters_the_code_that_fetches(name: str) -> None:
    with pytest.raises(ValueError, match="no attribute's name"):
        getter(name)
