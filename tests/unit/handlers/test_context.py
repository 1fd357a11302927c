"""Bound fields and the trace, across tasks, threads, executors, generators and OpenTelemetry."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import pickle
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from logferry.handlers import context
from logferry.handlers.context import bind, bound, clear, current, isolated, set_trace_context, unbind, wrap

T1, T2 = "4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    clear()
    yield
    clear()


def test_bind_and_unbind() -> None:
    """Fields accumulate, the last value counts, unknown names are ignored."""
    bind(a=1, b=2)
    bind(b=3)
    unbind("a", "nothing")
    assert current() == {"b": 3}


def test_the_mapping_never_changes() -> None:
    """What `current` returned stays as it was, refuses every change, and can be copied and pickled."""
    bind(a=1)
    before = current()
    bind(a=2)
    assert before == {"a": 1}
    for change in (
        lambda: before.update(a=3),
        lambda: before.__setitem__("a", 3),
        lambda: before.pop("a"),
        before.clear,
        lambda: before.setdefault("z", 1),
        lambda: before.__ior__({"a": 3}),
    ):
        with pytest.raises(TypeError, match="bind"):
            change()
    assert pickle.loads(pickle.dumps(before)) == copy.copy(before) == copy.deepcopy(before) == {"a": 1}


def test_bound_restores_only_its_own_names() -> None:
    """A block puts back what it replaced and leaves what others bound inside."""
    bind(a=1)
    with bound(a=2, b=2):
        assert current() == {"a": 2, "b": 2}
        bind(c=3)
    assert current() == {"a": 1, "c": 3}


def test_bound_restores_the_very_mapping_when_nothing_else_happened() -> None:
    """A reader that caches by identity finds the former mapping again."""
    bind(a=1)
    before = current()
    with bound(b=2):
        pass
    assert current() is before


def test_bound_with_values_that_cannot_be_compared() -> None:
    """Values are never compared: one whose `==` raises does no harm."""

    class Odd:
        def __eq__(self, other: object) -> bool:
            raise RuntimeError

        __hash__ = None  # type: ignore[assignment]  # likewise

    with bound(a=Odd()):
        bind(c=1)
    assert current() == {"c": 1}


def test_bound_decorates_functions_and_coroutines() -> None:
    """Each call sees the fields, recursion too, and the caller does not."""

    @bound(a=1)
    def plain(depth: int) -> dict[str, object]:
        return plain(depth - 1) if depth else dict(current())

    @bound(a=2)
    async def later() -> dict[str, object]:
        await asyncio.sleep(0)
        return dict(current())

    assert plain(3) == {"a": 1}
    assert asyncio.run(later()) == {"a": 2}
    assert current() == {}


def test_bound_decorates_generators() -> None:
    """A generator's fields are bound while it runs and never in its caller; send, throw and return work."""
    seen: list[Any] = []

    @bound(a=1)
    def numbers() -> Iterator[Any]:
        seen.append(dict(current()))
        try:
            got = yield 1
            seen.append(got)
            yield 2
        except KeyError:
            seen.append(("thrown", dict(current())))
            yield 3
        finally:
            seen.append(("closed", dict(current())))
        return "end"

    stepping: Any = numbers()
    assert next(stepping) == 1
    assert current() == {}
    assert stepping.send("x") == 2
    assert stepping.throw(KeyError) == 3
    with pytest.raises(StopIteration, match="end"):
        next(stepping)
    assert seen == [{"a": 1}, "x", ("thrown", {"a": 1}), ("closed", {"a": 1})]
    abandoned = numbers()
    next(abandoned)
    abandoned.close()  # type: ignore[attr-defined]  # a generator
    assert seen[-1] == ("closed", {"a": 1})
    assert current() == {}


def test_bound_decorates_asynchronous_generators() -> None:
    """The same for asynchronous generators."""
    closed = []

    @bound(a=1)
    async def numbers() -> AsyncIterator[Any]:
        try:
            yield dict(current())
            await asyncio.sleep(0)
            yield dict(current())
        finally:
            closed.append(dict(current()))

    async def main() -> None:
        values = [(value, dict(current())) async for value in numbers()]
        assert values == [({"a": 1}, {}), ({"a": 1}, {})]
        half: Any = numbers()
        await anext(half)
        await half.aclose()

    asyncio.run(main())
    assert closed == [{"a": 1}, {"a": 1}]


def test_decorated_generator_serves_contextmanager() -> None:
    """The decorated function is still a generator function for those who ask."""

    @contextmanager
    @bound(a=1)
    def managed() -> Iterator[int]:
        yield 1

    with managed() as value:
        assert value == 1
        assert current() == {}


def test_tasks_inherit_and_keep_theirs() -> None:
    """A task starts with what was bound when it was made; what it binds stays its own."""

    async def child(name: str) -> dict[str, object]:
        bind(child=name)
        await asyncio.sleep(0)
        return dict(current())

    async def main() -> None:
        bind(parent=1)
        assert await asyncio.gather(child("x"), child("y")) == [
            {"parent": 1, "child": "x"},
            {"parent": 1, "child": "y"},
        ]
        assert current() == {"parent": 1}

    asyncio.run(main())


def test_wrap_takes_the_context_into_executors() -> None:
    """Concurrent calls of one wrapped function each have their own copy; an unwrapped thread has none."""
    bind(a=1)
    barrier = threading.Barrier(3, timeout=10)

    def work(number: int) -> dict[str, object]:
        bind(number=number)
        barrier.wait()
        return dict(current())

    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(wrap(work), range(3)))
    assert results == [{"a": 1, "number": n} for n in range(3)]
    assert current() == {"a": 1}


def test_isolated_forgets_everything_bound_inside() -> None:
    """After a request nothing of it remains."""
    bind(a=1)
    with isolated(b=2):
        bind(a=5, c=3)
    assert current() == {"a": 1}


def test_bound_may_end_in_another_context() -> None:
    """Entered in one context and left in another (as asynchronous fixtures do), it does not raise."""
    block = bound(a=1)
    contextvars.copy_context().run(block.__enter__)
    block.__exit__(None, None, None)
    assert current() == {}


def test_set_trace_context() -> None:
    """None keeps or makes, another trace begins anew, `""` removes."""
    first = set_trace_context(T1)
    assert first.trace_id == T1
    assert len(first.span_id) == 16
    assert first.parent_id == ""
    assert set_trace_context(span_id="b7ad6b7169203331", parent_id=first.span_id) == (
        T1,
        "b7ad6b7169203331",
        first.span_id,
    )
    assert context.get_trace_context() == (T1, "b7ad6b7169203331", first.span_id)
    other = set_trace_context(T2)
    assert other.parent_id == ""
    assert other.span_id != "b7ad6b7169203331"
    assert set_trace_context("", "", "") == ("", "", "")
    assert current() == {}
    assert set_trace_context().trace_id != ""


def test_set_trace_context_takes_any_id() -> None:
    """A UUID loses its dashes, a free id is hashed and kept, a malformed one is replaced."""
    assert set_trace_context("4bf92f35-77b3-4da6-a3ce-929d0e0e4736").trace_id == T1
    assert set_trace_context("order:42").trace_id == set_trace_context("order:42").trace_id
    assert current()["correlation_id"] == "order:42"
    assert set_trace_context("bad id\n").trace_id not in {"", T1}
    assert "correlation_id" not in current()


def test_opentelemetry_has_precedence() -> None:
    """An active span decides the trace; our own trace id is kept as correlation; one can switch it off."""
    trace = pytest.importorskip("opentelemetry.sdk.trace")
    tracer = trace.TracerProvider().get_tracer("t")
    bind(a=1)
    set_trace_context(T1)
    with tracer.start_as_current_span("outer") as outer, tracer.start_as_current_span("inner") as inner:
        got = current()
        assert got["trace_id"] == f"{inner.get_span_context().trace_id:032x}"
        assert got["span_id"] == f"{inner.get_span_context().span_id:016x}"
        assert got["parent_id"] == f"{outer.get_span_context().span_id:016x}"
        assert (got["a"], got["correlation_id"]) == (1, T1)
        assert current() is got
        context.prefer_opentelemetry(False)
        assert current()["trace_id"] == T1
        context.prefer_opentelemetry(True)
    assert current()["trace_id"] == T1
