"""Spans: ids, nesting, what is logged of them, and that they disturb nothing."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logferry.handlers import Schema, clear, get_trace_context, set_trace_context, wrap
from logferry.handlers.forward import ForwardHandler
from logferry.handlers.levels import SPAN
from logferry.handlers.record import EventBuilder
from logferry.handlers.spans import (
    MAX_EVENTS,
    MAX_TAGS,
    active_span,
    configure_spans,
    decide,
    finish_span,
    is_sampled,
    span,
    start_span,
)
from logferry.handlers.tracing import is_span_id, is_trace_id

LOG = logging.getLogger("shop")


class Events(list[dict[str, Any]]):
    """An outlet that keeps what it is offered."""

    def offer(self, line: bytes) -> bool:
        self.append(orjson.loads(line))
        return True

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self if event.get("kind") == kind]

    def ended(self, name: str) -> dict[str, Any]:
        (event,) = [event for event in self.of("span") if event["message"] == name]
        return event


@pytest.fixture
def events() -> Iterator[Events]:
    kept = Events()
    handler = ForwardHandler(kept, EventBuilder(Schema("shop", "test")))
    root, logger = logging.getLogger(), logging.getLogger(SPAN)
    before = root.level, logger.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    logger.setLevel(logging.INFO)
    clear()
    yield kept
    root.removeHandler(handler)
    root.setLevel(before[0])
    logger.setLevel(before[1])
    configure_spans()
    decide("", None)
    clear()


def test_what_is_logged_inside_carries_the_ids_and_children_their_parent(events: Events) -> None:
    with span("outer", table="orders") as outer:
        LOG.info("inside")
        with span("inner", span_kind="client") as inner:
            assert active_span() is inner
    LOG.info("after")
    inside, after = (next(e for e in events if e["message"] == name) for name in ("inside", "after"))
    assert (inside["trace_id"], inside["span_id"]) == (outer.trace_id, outer.span_id)
    assert (after["trace_id"], after["span_id"]) == ("", "")
    assert "parent_id" not in events.ended("outer")
    child = events.ended("inner")
    assert (child["trace_id"], child["parent_id"]) == (outer.trace_id, outer.span_id)
    assert child["span_kind"] == "client"
    assert child["failed"] is False
    assert child["duration_ms"] > 0
    assert events.ended("outer")["tags"] == {"table": "orders"}
    assert active_span() is None
    assert is_trace_id(outer.trace_id)
    assert is_span_id(outer.span_id)


def test_a_call_says_whom_it_calls(events: Events) -> None:
    """Spans of kind client and producer, by the first of their tags that tells; no other span."""
    with span("a", span_kind="client") as asking:
        asking.set_tag("db.system", "postgresql")
        asking.set_tag("peer.service", "stock")
    with span("b", span_kind="producer") as sending:
        sending.set_tag("messaging.system", "kafka")
    with span("c", span_kind="client") as odd:
        odd.set_tag("server.address", 7)
    with span("d") as inner:
        inner.set_tag("peer.service", "stock")
    assert [events.ended(name).get("peer") for name in "abcd"] == ["stock", "kafka", None, None]
    assert not any("peer" in begun for begun in events.of("span_start"))


def test_the_beginning_is_told_with_the_same_ids_and_time(events: Events) -> None:
    with span("job"):
        (begun,) = events.of("span_start")
    ended = events.ended("job")
    assert {k: begun[k] for k in ("trace_id", "span_id", "started")} == {
        k: ended[k] for k in ("trace_id", "span_id", "started")
    }
    assert begun["function"] == "test_the_beginning_is_told_with_the_same_ids_and_time" == ended["function"]


def test_beginnings_can_be_left_out(events: Events) -> None:
    configure_spans(announce=False)
    with span("job"):
        pass
    assert not events.of("span_start")
    assert events.ended("job")


def test_a_failure_is_told_and_goes_on(events: Events) -> None:
    with pytest.raises(ValueError, match="no stock"), span("sell"):
        raise ValueError("no stock")
    event = events.ended("sell")
    assert event["failed"] is True
    assert event["tags"]["error"] == "ValueError: no stock"
    assert get_trace_context() == ("", "", "")


def test_an_error_that_cannot_be_told_is_told_as_far_as_it_goes(events: Events) -> None:
    class OddError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    with pytest.raises(OddError), span("sell"):
        raise OddError
    assert events.ended("sell")["tags"]["error"].startswith("OddError: <unprintable ")


def test_it_continues_the_trace_in_force(events: Events) -> None:
    ids = set_trace_context("a" * 32, "b" * 16)
    with span("work") as made:
        assert (made.trace_id, made.parent_id) == (ids.trace_id, ids.span_id)
    assert get_trace_context() == ids
    assert events.ended("work")["parent_id"] == "b" * 16


def test_spans_that_end_out_of_order_leave_nothing_behind(events: Events) -> None:
    first, second = start_span("first"), start_span("second")
    finish_span(first)
    assert get_trace_context().span_id == second.span_id
    finish_span(second)
    finish_span(second)
    assert get_trace_context() == ("", "", "")
    assert active_span() is None
    assert [e["message"] for e in events.of("span")] == ["first", "second"]
    assert events.ended("first")["span_id"] == first.span_id


def test_a_span_may_end_in_another_thread(events: Events) -> None:
    made = start_span("handed over")
    thread = threading.Thread(target=finish_span, args=(made,))
    thread.start()
    thread.join()
    event = events.ended("handed over")
    assert (event["trace_id"], event["span_id"]) == (made.trace_id, made.span_id)
    with span("next") as following:
        assert following.parent_id == made.span_id  # still bound here: nobody has left it in this thread


def test_a_thread_takes_the_span_along_with_wrap(events: Events) -> None:
    def work() -> None:
        with span("in the thread"):
            pass

    with span("request") as request:
        thread = threading.Thread(target=wrap(work))
        thread.start()
        thread.join()
    assert events.ended("in the thread")["parent_id"] == request.span_id


def test_tasks_do_not_disturb_one_another(events: Events) -> None:
    @span("step", size="small")
    async def step(number: int) -> str:
        await asyncio.sleep(0)
        async with span(f"inner {number}") as inner:
            await asyncio.sleep(0)
        return inner.parent_id

    async def main() -> list[str]:
        async with span("all"):
            return await asyncio.gather(*(step(number) for number in range(20)))

    parents = asyncio.run(main())
    assert len(set(parents)) == 20
    steps = {e["span_id"] for e in events.of("span") if e["message"] == "step"}
    assert set(parents) == steps
    assert {e["parent_id"] for e in events.of("span") if e["message"] == "step"} == {
        events.ended("all")["span_id"]
    }


def test_cancelled_is_not_failed(events: Events) -> None:
    async def main() -> None:
        async def wait() -> None:
            async with span("wait"):
                await asyncio.sleep(60)

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    event = events.ended("wait")
    assert event["failed"] is False
    assert event["tags"] == {"ended_by": "CancelledError"}


def test_a_decorated_function_has_a_span_for_each_call(events: Events) -> None:
    @span("add")
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    assert add(1, 2) + add(3, b=4) == 10
    assert add.__doc__ == "Add."
    assert len(events.of("span")) == 2


def test_a_generator_is_refused_when_it_is_decorated() -> None:
    with pytest.raises(TypeError, match="numbers is a generator: use span"):

        @span("numbers")
        def numbers() -> Iterator[int]:
            yield 1


def test_what_is_not_sampled_is_passed_on_and_not_logged_unless_it_fails(events: Events) -> None:
    configure_spans(sample=0.0)
    with span("quiet") as quiet:
        assert get_trace_context().span_id == quiet.span_id
    assert not events
    with pytest.raises(KeyError), span("loud"):
        raise KeyError("x")
    assert [e["message"] for e in events] == ["loud"]


def test_the_callers_decision_counts_for_its_trace_only(events: Events) -> None:
    decide("a" * 32, sampled=False)
    assert not is_sampled("a" * 32)
    assert is_sampled("b" * 32)
    configure_spans(sample=0.0)
    decide("a" * 32, sampled=True)
    assert is_sampled("a" * 32)
    assert not is_sampled("b" * 32)


@given(st.floats(0, 1), st.floats(0, 1), st.binary(min_size=16, max_size=16))
def test_a_larger_share_holds_the_smaller(small: float, large: float, data: bytes) -> None:
    small, large = sorted((small, large))
    try:
        configure_spans(sample=small)
        kept = is_sampled(data.hex())
        configure_spans(sample=large)
        assert is_sampled(data.hex()) or not kept
    finally:
        configure_spans()


def test_the_share_is_about_what_was_asked_for() -> None:
    from random import Random

    random = Random(7)
    try:
        configure_spans(sample=0.25)
        kept = sum(is_sampled(random.randbytes(16).hex()) for _ in range(4000))
    finally:
        configure_spans()
    assert 900 < kept < 1100


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_no_share_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="sample"):
        configure_spans(sample=share)


def test_tags_and_events_are_bounded(events: Events) -> None:
    with span("much") as made:
        for number in range(1000):
            made.set_tag(f"t{number}", number)
            made.add_event("e", number=number)
        made.set_tag("t0", "changed")
    event = events.ended("much")
    assert len(event["tags"]) == MAX_TAGS
    assert event["tags"]["t0"] == "changed"
    assert len(event["span_events"]) == MAX_EVENTS
    assert event["span_events"][1]["number"] == 1


def test_with_opentelemetrys_sdk_a_span_is_one_of_its_own(
    events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("opentelemetry.sdk.trace")
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    from opentelemetry.util._once import Once

    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)  # for this test alone: it can be set once only
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    with provider.get_tracer("test").start_as_current_span("theirs") as theirs, span("ours", n=1) as ours:
        LOG.info("inside")
    inside = next(e for e in events if e["message"] == "inside")
    assert ours.trace_id == f"{theirs.get_span_context().trace_id:032x}" == inside["trace_id"]
    assert inside["span_id"] == ours.span_id
    (finished,) = [s for s in exporter.get_finished_spans() if s.name == "ours"]
    assert f"{finished.context.span_id:016x}" == ours.span_id
    assert dict(finished.attributes or {}) == {"n": 1}
    assert events.ended("ours")["parent_id"] == f"{theirs.get_span_context().span_id:016x}"
    set_trace_context("c" * 32, "d" * 16)  # of a request, or a job: OpenTelemetry has no span here
    with span("below ours") as below:
        assert (below.trace_id, below.parent_id) == ("c" * 32, "d" * 16)
    (finished,) = [s for s in exporter.get_finished_spans() if s.name == "below ours"]
    assert f"{finished.context.trace_id:032x}" == "c" * 32
    assert events.ended("below ours")["parent_id"] == "d" * 16
    assert get_trace_context() == ("c" * 32, "d" * 16, "")  # what was in force before, not the span's own
