"""Trace ids are read strictly, kept when well formed, and the same in every service."""

from __future__ import annotations

import hashlib
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logferry.handlers.tracing import (
    Incoming,
    format_b3,
    format_traceparent,
    from_headers,
    is_span_id,
    is_trace_id,
    new_span_id,
    new_trace_id,
    normalise,
    parse_b3,
    parse_traceparent,
)

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_new_ids_are_well_formed_and_never_zero() -> None:
    """Even a source of zeros gives ids."""
    assert is_trace_id(new_trace_id())
    assert is_span_id(new_span_id())
    assert is_trace_id(new_trace_id(bytes))
    assert is_span_id(new_span_id(bytes))


@pytest.mark.parametrize(
    "text",
    [
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-0g",
        f"00-{TRACE}-{SPAN}-01\n",
        f"0-{TRACE}-{SPAN}-01",
        f"01-{TRACE}-{SPAN}-01x",
        "",
    ],
)
def test_invalid_traceparents(text: str) -> None:
    """What the standard calls invalid is invalid."""
    assert parse_traceparent(text) is None


def test_valid_traceparents() -> None:
    """Version 00, later versions with more parts, and the sampling flag among others."""
    assert parse_traceparent(f"00-{TRACE}-{SPAN}-00") == (TRACE, SPAN, False)
    assert parse_traceparent(f"cc-{TRACE}-{SPAN}-03-what-ever") == (TRACE, SPAN, True)
    assert parse_traceparent(format_traceparent(TRACE, SPAN)) == (TRACE, SPAN, True)
    with pytest.raises(ValueError, match="not a trace id"):
        format_traceparent("x", SPAN)
    with pytest.raises(ValueError, match="not a span id"):
        format_traceparent(TRACE, "x")


def test_b3() -> None:
    """64 or 128 bits, with and without decision and parent; a lone decision is no trace."""
    assert parse_b3(f"{TRACE}-{SPAN}") == (TRACE, SPAN, None)
    assert parse_b3(f"{SPAN}-{SPAN}-d") == ("0" * 16 + SPAN, SPAN, True)
    assert parse_b3(f"{TRACE}-{SPAN}-0-{SPAN}") == (TRACE, SPAN, False)
    assert parse_b3(format_b3(TRACE, SPAN, parent_id=SPAN)) == (TRACE, SPAN, True)
    assert [parse_b3(text) for text in ("0", "d", f"{TRACE}-{'0' * 16}", f"{TRACE}-{SPAN}-2")] == [None] * 4


@given(st.uuids())
def test_a_uuid_loses_its_dashes(value: uuid.UUID) -> None:
    """A UUID is the trace id, however it is written."""
    assert normalise(str(value)) == normalise(value.hex.upper())
    made = normalise(str(value))
    assert made == (None if value.int == 0 else (value.hex, ""))


@given(st.from_regex(r"[A-Za-z0-9._:-]{1,128}", fullmatch=True))
def test_any_other_id_is_hashed_and_kept(text: str) -> None:
    """Whatever well-formed id comes in makes a trace id; if it is not one itself it is kept beside it."""
    made = normalise(text)
    if made is None:
        assert not text.replace("-", "").strip("0")
        return
    assert is_trace_id(made.trace_id)
    if made.correlation_id:
        assert made == (hashlib.sha256(text.encode()).hexdigest()[:32], text)


@pytest.mark.parametrize("text", ["", "a b", "x" * 129, "é", "a\n", "<script>", "٣"])
def test_malformed_ids(text: str) -> None:
    """Everything else is malformed."""
    assert normalise(text) is None


def test_precedence_and_what_loses() -> None:
    """The strongest header decides; the first that says something else is kept as correlation."""
    got = from_headers(
        {
            "Traceparent": f"00-{TRACE}-{SPAN}-01",
            "b3": f"{TRACE}-{SPAN}-1",
            "X-Trace-ID": "order-7",
            "X-Request-ID": "r-1",
        }
    )
    assert got == Incoming(
        TRACE,
        SPAN,
        "r-1",
        "order-7",
        sampled=True,
        forwarded={"x-trace-id": "order-7", "x-request-id": "r-1"},
    )
    turned = from_headers(
        [("x-request-id", "r-1"), ("traceparent", f"00-{TRACE}-{SPAN}-01")], ("x-request-id",)
    )
    assert (turned.correlation_id, turned.parent_id) == ("r-1", "")


def test_a_uuid_request_id_is_the_trace_and_forwarded_as_it_came() -> None:
    """In events without dashes, on the wire with them."""
    text = str(uuid.UUID(hex=TRACE)).upper()
    got = from_headers({"x-request-id": f" {text} "})
    assert (got.trace_id, got.request_id, got.correlation_id) == (TRACE, text, "")
    assert got.forwarded == {"x-request-id": text}


def test_malformed_and_contradicting_headers_are_ignored() -> None:
    """A header is input from strangers: the next one counts."""
    got = from_headers(
        [("traceparent", "nonsense"), ("x-trace-id", "a"), ("x-trace-id", "b"), ("x-request-id", "c")]
    )
    assert got.correlation_id == "c"
    assert from_headers({"x-request-id": "<script>"}) == Incoming()


@given(
    st.lists(st.tuples(st.sampled_from(["traceparent", "b3", "x-trace-id", "X-Request-Id", "z"]), st.text()))
)
def test_headers_never_raise(headers: list[tuple[str, str]]) -> None:
    """Whatever strangers send, the result is well formed."""
    got = from_headers(headers)
    assert got.trace_id == "" or is_trace_id(got.trace_id)
