"""W3C Trace Context to the letter, B3 in all its forms, and garbage: what comes in, and what goes on.

The cases are those of the W3C's own test suite for the standard's level 1, and the random flag of level 2.
"""

from __future__ import annotations

import re
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logferry.handlers import context
from logferry.handlers.propagation import CARRIED, entered_fields, extract, inject, outgoing
from logferry.handlers.spans import decide
from logferry.handlers.tracestate import MAX_LENGTH, read_tracestate
from logferry.handlers.tracing import HEADERS, PRECEDENCE, Incoming, from_headers, is_span_id, is_trace_id

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
OTHER, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = ("traceparent", f"00-{TRACE}-{SPAN}-01")


def went_on(*headers: tuple[str, str]) -> dict[str, str]:
    """Bind what comes in and return what goes out, as a service in the middle does."""
    incoming = extract(list(headers))
    with context.isolated(**entered_fields(incoming)):
        token = CARRIED.set(incoming)
        decide(incoming.trace_id, incoming.sampled)
        try:
            return outgoing()
        finally:
            CARRIED.reset(token)
            decide("", None)


def continues(*headers: tuple[str, str]) -> bool:
    return went_on(*headers)["traceparent"].startswith(f"00-{TRACE}-")


@pytest.mark.parametrize(
    ("value", "goes_on"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f" \t00-{TRACE}-{SPAN}-01\t ", True),
        (f"00-{TRACE}-{SPAN}-ff", True),
        (f"cc-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", True),
        (f"cc-{TRACE}-{SPAN}-01.what-the-future-will-not-be-like", False),
        (f"fe-{TRACE}-{SPAN}-01", True),
        (f"ff-{TRACE}-{SPAN}-01", False),
        (f"00-{TRACE}-{SPAN}-01-what-the-future-will-be-like", False),
        (f"00-{TRACE}-{SPAN}-01.", False),
        (f"0-{TRACE}-{SPAN}-01", False),
        (f".0-{TRACE}-{SPAN}-01", False),
        (f"000-{TRACE}-{SPAN}-01", False),
        (f"00-{'0' * 32}-{SPAN}-01", False),
        (f"00-{TRACE[:-1]}.-{SPAN}-01", False),
        (f"00-{TRACE[:-1]}-{SPAN}-01", False),
        (f"00-{TRACE}0-{SPAN}-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f"00-{TRACE}-{SPAN[:-1]}.-01", False),
        (f"00-{TRACE}-{SPAN[:-1]}-01", False),
        (f"00-{TRACE}-{SPAN}0-01", False),
        (f"00-{TRACE}-{SPAN}-.0", False),
        (f"00-{TRACE}-{SPAN}-0.", False),
        (f"00-{TRACE}-{SPAN}-001", False),
        (f"00-{TRACE}-{SPAN}-1", False),
        (f"00-{TRACE}-{SPAN}-0F", False),
        (f"00-{TRACE.upper()}-{SPAN}-01", False),
        (f"00-{TRACE}-{SPAN.upper()}-01", False),
        (f"00_{TRACE}_{SPAN}_01", False),
        (f"00-{TRACE}-{SPAN}-01,00-{OTHER}-{SPAN}-01", False),
        (f"cc-{TRACE}-{SPAN}-01-a,cc-{TRACE}-{SPAN}-01-b", False),
        ("", False),
    ],
)
def test_traceparent(value: str, goes_on: bool) -> None:
    """A valid one goes on with a span of our own, an invalid one is as if it were not there."""
    told = went_on(("Traceparent", value), ("tracestate", "a=1"))
    assert told["traceparent"].startswith(f"00-{TRACE}-") is goes_on
    assert SPAN not in told["traceparent"]
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]", told["traceparent"])
    assert ("tracestate" in told) is goes_on


def test_several_traceparents() -> None:
    """Two that differ say nothing, in two headers or joined to one; twice the same is once."""
    other = ("traceparent", f"00-{OTHER}-{SPAN}-01")
    assert not continues(GOOD, other)
    assert not continues(("traceparent", f"{GOOD[1]}, {other[1]}"))
    assert continues(GOOD, GOOD)
    assert continues(("traceparent", f"{GOOD[1]}, {GOOD[1]}"))


@pytest.mark.parametrize(
    ("flags", "out"), [("00", "00"), ("01", "01"), ("02", "02"), ("03", "03"), ("ff", "03"), ("fc", "00")]
)
def test_flags(flags: str, out: str) -> None:
    """Sampled and random are passed on; every other one is set to zero."""
    assert went_on(("traceparent", f"00-{TRACE}-{SPAN}-{flags}"))["traceparent"].endswith(f"-{out}")


def test_a_new_trace_is_the_root_of_its_own() -> None:
    """A UUID4's digits; nothing of another trace goes along."""
    told = went_on(("tracestate", "a=1"))
    made = told["traceparent"].split("-")[1]
    assert (made[12], made[16] in "89ab") == ("4", True)
    assert set(told) == {"traceparent", "x-request-id"}
    assert told["x-request-id"] == made


@pytest.mark.parametrize(
    ("headers", "out"),
    [
        (["foo=1,bar=2"], "foo=1,bar=2"),
        (["foo=1", "bar=2"], "foo=1,bar=2"),
        (["foo=1 \t , \t bar=2, \t baz=3"], "foo=1,bar=2,baz=3"),
        (["foo=1,", "", ",,bar=2"], "foo=1,bar=2"),
        ([""], ""),
        (["foo=1,foo=2"], "foo=1"),
        (["foo=1", "foo=2,bar=1"], "foo=1,bar=1"),
        (["foo=1=2"], ""),
        (["foo"], ""),
        (["foo="], ""),
        (["=1"], ""),
        (["foo =1"], ""),
        (["FOO=1"], ""),
        (["foo.bar=1"], ""),
        (["1foo=1"], ""),
        (["foo@=1,bar=2"], ""),
        (["@foo=1,bar=2"], ""),
        (["foo@@bar=1,bar=2"], ""),
        (["foo@bar@baz=1,bar=2"], ""),
        (["1a-2/b*_@vendor=x"], "1a-2/b*_@vendor=x"),
        (["a-_*/9=1"], "a-_*/9=1"),
        (["foo=a b"], "foo=a b"),
        (["foo=a\tb"], ""),
        (["foo=é"], ""),
        (["foo=~!#$&'()*+-./:;<>?@[]^_`{|}"], "foo=~!#$&'()*+-./:;<>?@[]^_`{|}"),
        (["z" * 256 + "=1"], "z" * 256 + "=1"),
        (["z" * 257 + "=1"], ""),
        (["t" * 241 + "@" + "v" * 14 + "=1"], "t" * 241 + "@" + "v" * 14 + "=1"),
        (["t" * 242 + "@v=1"], ""),
        (["t@" + "v" * 15 + "=1"], ""),
        (["a=" + "v" * 256], "a=" + "v" * 256),
        (["a=" + "v" * 257], ""),
        ([",".join(f"k{n}=1" for n in range(32))], ",".join(f"k{n}=1" for n in range(32))),
        ([",".join(f"k{n}=1" for n in range(33))], ""),
        (["k=1,"] * 33, ""),
        (["a=1"] * 40_000, ""),
    ],
)
def test_tracestate(headers: list[str], out: str) -> None:
    """Joined, freed of blanks, and sent on as it is; nothing at all when a member is invalid."""
    assert read_tracestate(headers) == out
    told = went_on(GOOD, *(("TraceState", value) for value in headers))
    assert told.get("tracestate", "") == out


def test_a_long_tracestate_is_shortened_as_the_standard_says() -> None:
    """Long members go first, then those at the end; whole ones only."""
    long, short = "l=" + "x" * 200, [f"k{n:02}={'v' * 30}" for n in range(14)]
    assert read_tracestate([",".join([long, *short])]) == ",".join(short)
    medium = [f"k{n:02}={'v' * 60}" for n in range(10)]
    assert read_tracestate([",".join(medium)]) == ",".join(medium[:7])


@given(st.lists(st.text(st.characters(codec="latin-1"), max_size=400), max_size=6))
def test_any_tracestate_is_valid_or_gone(headers: list[str]) -> None:
    """Whatever comes, what is sent on is short, and reads as itself."""
    found = read_tracestate(headers)
    assert len(found) <= MAX_LENGTH
    assert found.isascii()
    assert read_tracestate([found]) == found


def test_b3_in_several_headers() -> None:
    """IDs, decision and debug flag; the single header is the stronger; half of it is nothing."""
    ids = {"X-B3-TraceId": TRACE, "X-B3-SpanId": SPAN}
    assert from_headers(ids) == Incoming(TRACE, SPAN)
    assert from_headers({**ids, "X-B3-ParentSpanId": PARENT, "X-B3-Sampled": "0"}).sampled is False
    assert from_headers({**ids, "X-B3-Sampled": "true"}).sampled is True
    assert from_headers({**ids, "X-B3-Sampled": "0", "X-B3-Flags": "1"}).sampled is True
    assert from_headers({**ids, "X-B3-Sampled": "maybe"}).sampled is None
    assert from_headers({**ids, "X-B3-TraceId": SPAN}).trace_id == "0" * 16 + SPAN
    assert from_headers({**ids, "b3": f"{OTHER}-{PARENT}-1"})[:2] == (OTHER, PARENT)
    assert from_headers({**ids, "b3": "0"})[:2] == (TRACE, SPAN)
    assert from_headers({"X-B3-TraceId": TRACE}) == Incoming()
    assert from_headers({**ids, "X-B3-SpanId": "x"}) == Incoming()
    assert from_headers([*ids.items(), ("X-B3-TraceId", OTHER)]) == Incoming()


def test_precedence_over_all_headers() -> None:
    """traceparent, B3, X-Trace-ID, X-Request-ID; what loses first is kept; another order is the user's."""
    everything = [
        ("x-request-id", "r-1"),
        ("X-Trace-ID", "t-1"),
        ("b3", f"{OTHER}-{PARENT}-1"),
        GOOD,
    ]
    assert from_headers(everything)[:4] == (TRACE, SPAN, "r-1", OTHER)
    assert from_headers(everything[:3])[:4] == (OTHER, PARENT, "r-1", "t-1")
    assert from_headers(everything[:2]).correlation_id == "t-1"
    assert from_headers(everything[:1]).correlation_id == "r-1"
    assert from_headers(everything, ("x-trace-id", "traceparent")).correlation_id == "t-1"
    assert from_headers([("X-Amzn-Trace", "a-1")], ("x-amzn-trace",)).correlation_id == "a-1"


def test_spans_that_the_caller_has_made() -> None:
    """X-Span-ID is this request's span and X-Parent-ID its parent; not beside a traceparent."""
    ids = {"X-Trace-ID": TRACE, "X-Span-ID": SPAN.upper(), "X-Parent-ID": PARENT}
    got = from_headers(ids)
    assert (got.trace_id, got.span_id, got.parent_id) == (TRACE, SPAN, PARENT)
    assert entered_fields(got) == {
        "trace_id": TRACE,
        "span_id": SPAN,
        "parent_id": PARENT,
        "request_id": TRACE,
    }
    malformed = from_headers({"X-Span-ID": "1", "X-Parent-ID": "0" * 16})
    assert (malformed.span_id, malformed.parent_id) == ("", "")
    assert is_span_id(str(entered_fields(malformed)["span_id"]))
    traced = from_headers({**ids, "traceparent": f"00-{OTHER}-{SPAN}-01"})
    assert (traced.span_id, traced.parent_id, traced.correlation_id) == ("", SPAN, TRACE)


def test_ids_go_on_as_they_came() -> None:
    """An X-Trace-ID with dashes or of any form; the request id; what is there already stays."""
    told = went_on(("x-trace-id", "order:7"), ("x-request-id", "5D8C8A9E-6F0B-4A53-8A6B-6A8D0F8C6D11"))
    assert told["x-trace-id"] == "order:7"
    assert told["x-request-id"] == "5D8C8A9E-6F0B-4A53-8A6B-6A8D0F8C6D11"
    with context.isolated(trace_id=TRACE, span_id=SPAN, request_id="r-1"):
        assert outgoing() == {"traceparent": GOOD[1], "x-request-id": "r-1"}
        assert outgoing(PARENT)["traceparent"] == f"00-{TRACE}-{PARENT}-01"
        headers = {"X-Request-Id": "mine"}
        inject(headers)
        assert headers == {"X-Request-Id": "mine", "traceparent": GOOD[1]}
    assert outgoing() == {}


def test_what_could_break_a_header_is_not_sent() -> None:
    """Whatever the application binds under these names."""
    with context.isolated(trace_id="x\r\nSet-Cookie: a=b", span_id=7, request_id="r\r\nX: y"):
        assert outgoing() == {}
    with context.isolated(trace_id=TRACE, span_id="\r\n", request_id=7):
        assert re.fullmatch(rf"00-{TRACE}-[0-9a-f]{{16}}-01", outgoing()["traceparent"])


def test_tracestate_stays_with_its_trace() -> None:
    """Another trace in the same task is not sent with it."""
    incoming = extract([GOOD, ("tracestate", "a=1"), ("x-trace-id", "t-1")])
    token = CARRIED.set(incoming)
    try:
        with context.isolated(trace_id=OTHER, span_id=SPAN):
            assert outgoing() == {"traceparent": f"00-{OTHER}-{SPAN}-01"}
    finally:
        CARRIED.reset(token)


def test_messages_have_headers_of_other_kinds() -> None:
    """Bytes, None, numbers: read what is readable."""
    pairs = [("traceparent", GOOD[1].encode()), ("x", None), (b"tracestate", b"a=1"), ("b3", 7)]
    assert extract(pairs).tracestate == "a=1"
    assert extract(None) == extract({}) == Incoming()


NAMES = st.sampled_from([*sorted(HEADERS), *(name.title() for name in sorted(HEADERS)), "cookie"])
PIECES = st.sampled_from(
    [
        "00",
        "ff",
        "cc",
        "-",
        "-",
        "-",
        TRACE,
        TRACE,
        SPAN,
        SPAN,
        "01",
        "0" * 32,
        ",",
        "a=1",
        " ",
        "\t",
        "é",
        "1",
    ]
)
VALUES = st.one_of(
    st.text(max_size=40),
    st.lists(PIECES, max_size=9).map("".join),
    st.sampled_from([GOOD[1], f"{TRACE}-{SPAN}-1", "order-7", "a=1,b=2"]),
)


@settings(max_examples=300)
@given(st.lists(st.tuples(NAMES, VALUES), max_size=8), st.permutations(PRECEDENCE))
def test_whatever_comes_in_what_goes_out_is_well_formed(
    headers: list[tuple[str, str]], precedence: tuple[str, ...]
) -> None:
    """Nothing raises; ids are well formed, and one that came in well formed and alone is not replaced."""
    incoming = extract(headers, tuple(precedence))
    fields = entered_fields(incoming)
    assert is_trace_id(str(fields["trace_id"]))
    assert is_span_id(str(fields["span_id"]))
    assert is_span_id(str(fields.get("parent_id", SPAN)))
    assert re.fullmatch(r"[A-Za-z0-9._:-]{1,128}", str(fields["request_id"]))
    for value in went_on(*headers).values():
        assert value.isascii()
        assert value.isprintable()
    lowered = {name.lower() for name, _ in headers}
    if lowered and lowered <= {"traceparent", "tracestate", "cookie"}:
        parents = {value.strip(" \t") for name, value in headers if name.lower() == "traceparent"}
        if parents == {GOOD[1]}:
            assert (fields["trace_id"], fields["parent_id"]) == (TRACE, SPAN)


@settings(max_examples=200)
@given(
    st.sampled_from(
        [GOOD[1], f"00-{TRACE}-{SPAN}-02", f"00-{TRACE}-{SPAN}-ff", f"cc-{TRACE}-{SPAN}-01", "x"]
    ),
    st.sampled_from(["r-1", TRACE, TRACE.upper(), str(uuid.UUID(TRACE)), OTHER, "0" * 32, "<", ""])
    | st.text(max_size=8),
    st.booleans(),
)
def test_the_usual_headers_are_read_like_all_others(parent: str, request_id: str, alone: bool) -> None:
    """The short way for what most calls bring decides as the general way does."""
    headers = [("traceparent", parent), *([] if alone else [("x-request-id", request_id)])]
    assert from_headers(headers) == from_headers(headers, (*PRECEDENCE,))
