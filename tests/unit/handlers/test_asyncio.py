"""What asyncio hides: errors nobody waits for, blocked loops, and what tasks wait for."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import orjson
import pytest

from logferry.handlers import Schema, bound, clear
from logferry.handlers.forward import ForwardHandler
from logferry.handlers.integrations.asyncio import (
    background,
    install,
    tasks_snapshot,
    uninstall,
    waiting_counts,
)
from logferry.handlers.record import EventBuilder


class Events(list[dict[str, Any]]):
    """An outlet that keeps what it is offered."""

    def offer(self, line: bytes) -> bool:
        self.append(orjson.loads(line))
        return True


@pytest.fixture
def events() -> Iterator[Events]:
    kept = Events()
    handler = ForwardHandler(kept, EventBuilder(Schema("shop", "test")))
    logger = logging.getLogger("logferry.asyncio")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    clear()
    yield kept
    logger.removeHandler(handler)
    logger.setLevel(before)
    clear()


async def fail() -> None:
    raise ValueError("nobody waits")


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the condition is a list of the test's
            await asyncio.sleep(0.001)


def test_an_error_that_nobody_retrieves_is_told_with_its_task_and_context(events: Events) -> None:
    async def main() -> None:
        install(slow_ms=None)
        with bound(request_id="r-1"):
            task = asyncio.create_task(fail(), name="mailer")
        await asyncio.wait([task])
        del task
        gc.collect()

    asyncio.run(main())
    (event,) = events
    assert (event["level"], event["error"]["type"], event["task_name"]) == ("ERROR", "ValueError", "mailer")
    assert event["coroutine"] == "fail"
    assert event["request_id"] == "r-1"
    assert "test_asyncio.py" in event["created_at"]
    assert event["created_at"].endswith("main")


def test_it_chains_and_is_taken_away_again(events: Events) -> None:
    told: list[str] = []
    made: list[str] = []

    def theirs(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        told.append(context["message"])

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **more: Any) -> Any:
        made.append(coro.__qualname__)
        return asyncio.Task(coro, loop=loop, **more)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(theirs)
        loop.set_task_factory(factory)
        install(slow_ms=None)
        install(slow_ms=None)
        await asyncio.wait([asyncio.create_task(asyncio.sleep(0))])
        loop.call_exception_handler({"message": "odd", "exception": KeyError("x")})
        uninstall()
        uninstall()
        assert loop.get_exception_handler() is theirs
        assert loop.get_task_factory() is factory
        loop.call_exception_handler({"message": "again"})

    asyncio.run(main())
    assert told == ["odd", "again"]
    assert made[0] == "sleep"
    assert [(e["message"], e["error"]["type"]) for e in events] == [("odd", "KeyError")]


def test_a_callback_that_holds_the_loop_is_told_in_its_context(events: Events) -> None:
    async def hold() -> None:
        with bound(request_id="r-2"):
            await asyncio.sleep(0)
            time.sleep(0.06)  # noqa: ASYNC251 - that is the point
            await asyncio.sleep(0)

    async def main() -> None:
        install(slow_ms=50)
        await asyncio.sleep(0)
        await asyncio.create_task(hold(), name="holder")
        asyncio.get_running_loop().call_soon(time.sleep, 0.06)
        await asyncio.sleep(0.01)
        uninstall()

    asyncio.run(main())
    first, second = [event for event in events if "loop was held" in event["message"]]
    assert (first["level"], first["task_name"], first["request_id"]) == ("WARNING", "holder", "r-2")
    assert first["duration_ms"] >= 60
    assert "sleep" in second["message"]
    assert asyncio.Handle._run.__name__ == "_run"


def test_background_tasks_are_kept_and_their_end_is_told(events: Events) -> None:
    async def main() -> None:
        async def work() -> int:
            await asyncio.sleep(0)
            gc.collect()
            return 7

        with bound(request_id="r-3"):
            done = background(work(), name="good")
            background(fail(), name="bad")
            stopped = background(asyncio.sleep(60), name="stopped")
        await asyncio.sleep(0)
        stopped.cancel()
        assert await done == 7
        await until(lambda: len(events) == 3)
        gc.collect()
        await asyncio.sleep(0)

    asyncio.run(main())
    ends = {event["task_name"]: event for event in events}
    assert len(events) == 3
    assert {event["request_id"] for event in events} == {"r-3"}
    assert (ends["good"]["level"], ends["good"]["message"]) == ("INFO", "task good is done")
    assert (ends["bad"]["level"], ends["bad"]["error"]["message"]) == ("ERROR", "nobody waits")
    assert (ends["stopped"]["level"], ends["stopped"]["ended_by"]) == ("INFO", "CancelledError")
    assert ends["good"]["duration_ms"] > 0


def test_a_background_task_of_a_group_is_the_groups(events: Events) -> None:
    async def main() -> None:
        with pytest.raises(ExceptionGroup) as raised:  # noqa: PT012 - it is the group that raises
            async with asyncio.TaskGroup() as group:
                background(fail(), name="bad", group=group)
                background(asyncio.sleep(60), name="sibling", group=group)
        assert [type(one) for one in raised.value.exceptions] == [ValueError]

    asyncio.run(main())
    assert sorted((e["task_name"], e["level"]) for e in events) == [("bad", "ERROR"), ("sibling", "INFO")]


def test_a_snapshot_says_what_each_task_waits_for() -> None:
    async def main() -> None:
        install()
        queue: asyncio.Queue[int] = asyncio.Queue()
        lock = asyncio.Lock()
        await lock.acquire()
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        never = loop.create_future()
        reader, writer = await asyncio.open_connection(sock=theirs)

        async def deep(inner: Callable[[], Coroutine[Any, Any, Any]]) -> None:
            await inner()

        async def gathered() -> None:
            await asyncio.gather(asyncio.sleep(60), asyncio.sleep(60))

        async def a_task() -> None:
            await tasks["sleep"]

        waits: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
            "sleep": lambda: asyncio.sleep(60),
            "queue": queue.get,
            "lock": lock.acquire,
            "wait_for": lambda: asyncio.wait_for(queue.get(), 60),
            "socket": lambda: loop.sock_recv(ours, 1),
            "stream": lambda: reader.read(1),
        }
        tasks = {name: asyncio.create_task(deep(wait), name=name) for name, wait in waits.items()}
        tasks["gather"] = asyncio.create_task(gathered(), name="gather")
        tasks["task"] = asyncio.create_task(a_task(), name="task")

        async def other() -> None:
            await never

        with bound(trace_id="a" * 32, request_id="r-4"):
            tasks["other"] = background(other(), name="other", daemon=True)
        await asyncio.sleep(0.02)
        found = {info.name: info for info in tasks_snapshot()}
        for name in tasks:
            assert found[name].waiting == ("socket" if name == "stream" else name), name
        me = asyncio.current_task()
        assert me is not None
        assert found[me.get_name()].waiting == "running"
        assert found["queue"].coroutine.endswith("deep")
        assert len(found["queue"].frames) == 2
        assert found["queue"].frames[-1].endswith("Queue.get")
        assert (found["sleep"].age_s or 0) >= 0.02
        assert found["sleep"].created_at.startswith(__file__)
        assert (found["other"].trace_id, found["other"].request_id) == ("a" * 32, "r-4")
        counts = waiting_counts(tasks_snapshot(daemons=False, hide=["Task-*"]))
        assert counts == {
            **dict.fromkeys(("sleep", "queue", "lock", "wait_for", "gather", "task"), 1),
            "socket": 2,
        }
        assert orjson.dumps(found["queue"].as_dict())
        for task in tasks.values():
            task.cancel()
        await asyncio.wait(tasks.values())
        writer.close()
        ours.close()

    asyncio.run(main())
