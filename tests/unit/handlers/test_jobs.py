"""Jobs: beginning, end, counts, and whose lines are whose."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from logferry.handlers import Schema, clear, get_trace_context, span
from logferry.handlers.forward import ForwardHandler
from logferry.handlers.jobs import MAX_FAILED_IDS, current_job, job
from logferry.handlers.record import EventBuilder
from logferry.shipper.core.spans import read_span

LOG = logging.getLogger("shop")


class Events(list[dict[str, Any]]):
    """An outlet that keeps what it is offered."""

    def offer(self, line: bytes) -> bool:
        self.append(orjson.loads(line))
        return True


@pytest.fixture
def events() -> Iterator[Events]:
    kept = Events()
    handler = ForwardHandler(kept, EventBuilder(Schema("shop", "test")))
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    clear()
    yield kept
    root.removeHandler(handler)
    root.setLevel(before)
    clear()


def test_a_job_has_a_beginning_an_end_and_a_trace_of_its_own(events: Events) -> None:
    with job("invoices.send", batch=7) as run:
        run.done(3)
        LOG.info("inside")
    LOG.info("after")
    begin, inside, end, after = events
    assert [begin["kind"], end["kind"]] == ["job_start", "job"]
    assert begin["trace_id"] == inside["trace_id"] == end["trace_id"] != ""
    assert begin["span_id"] == inside["span_id"] == end["span_id"]
    assert inside["batch"] == 7
    assert (end["level"], end["job"], end["items_done"], end["items_failed"], end["failed"]) == (
        *("INFO", "invoices.send", 3, 0),
        False,
    )
    assert end["message"] == "invoices.send ended: 3 done, 0 failed"
    assert end["started"] == begin["started"]
    assert after["trace_id"] == ""
    assert current_job() is None


def test_items_that_fail_are_counted_and_named_and_the_rest_goes_on(events: Events) -> None:
    with job("invoices.send") as run:
        for number in range(5):
            with run.item(number):
                if number % 2:
                    raise ValueError(f"no address {number}")
    end = events[-1]
    assert (end["level"], end["items_done"], end["items_failed"], end["failed_ids"]) == (
        "ERROR",
        3,
        2,
        [1, 3],
    )
    failures = [event for event in events if event["message"] == "invoices.send: an item failed"]
    assert [(e["level"], e["item"], e["error"]["message"]) for e in failures] == [
        ("WARNING", 1, "no address 1"),
        ("WARNING", 3, "no address 3"),
    ]
    assert {e["span_id"] for e in failures} == {end["span_id"]}


def test_an_exception_goes_on_and_is_told_once(events: Events) -> None:
    with pytest.raises(KeyError), job("import"):
        raise KeyError("x")
    end = events[-1]
    assert (end["level"], end["failed"], end["error"]["type"]) == ("ERROR", True, "KeyError")
    assert get_trace_context() == ("", "", "")


def test_failed_ids_are_bounded(events: Events) -> None:
    with job("import") as run:
        for number in range(MAX_FAILED_IDS + 5):
            run.failed(number)
    assert events[-1]["items_failed"] == MAX_FAILED_IDS + 5
    assert events[-1]["failed_ids"] == list(range(MAX_FAILED_IDS))


def test_functions_of_both_kinds(events: Events) -> None:
    @job("plain")
    def plain(a: int) -> int:
        run = current_job()
        assert run is not None
        run.done(a)
        return a

    @job("async")
    async def later(a: int) -> int:
        await asyncio.sleep(0)
        with span("step"):
            return a

    assert plain(2) == 2
    assert asyncio.run(later(3)) == 3
    ends = [event for event in events if event["kind"] == "job"]
    assert [(e["job"], e["items_done"]) for e in ends] == [("plain", 2), ("async", 0)]
    (step,) = [event for event in events if event["kind"] == "span"]
    assert (step["trace_id"], step["parent_id"]) == (ends[1]["trace_id"], ends[1]["span_id"])


def test_cancelled_is_not_failed(events: Events) -> None:
    async def main() -> None:
        async def wait() -> None:
            async with job("wait"):
                await asyncio.sleep(60)

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert (events[-1]["failed"], events[-1]["ended_by"]) == (False, "CancelledError")


def test_a_job_is_a_span_to_those_who_draw_them(events: Events) -> None:
    with job("outer"), job("inner"):
        pass
    told = [read_span(orjson.dumps(event)) for event in events]
    spans = [one for one in told if one is not None]
    assert [(what, made.name) for what, made in spans] == [
        ("begun", "outer"),
        ("begun", "inner"),
        ("ended", "inner"),
        ("ended", "outer"),
    ]
    assert spans[2][1].parent_id == spans[3][1].span_id
