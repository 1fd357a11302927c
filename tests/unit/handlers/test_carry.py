"""The trace out of one task and into the next: messages, environments, threads; calls to SDKs."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from decimal import Decimal
from threading import Thread
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from logferry.handlers import context
from logferry.handlers.calls import CALLS, calling, external, summarise
from logferry.handlers.carry import extract_headers, from_environ, inject_headers, received, to_environ
from logferry.handlers.formatter import make_builder
from logferry.handlers.forward import suppressed
from logferry.handlers.testing import Events, capture

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
BUILDER = make_builder("test", "test")


@pytest.fixture
def events() -> Iterator[Events]:
    with capture(builder=BUILDER) as found:
        yield found


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    with context.isolated():
        context.clear()
        yield


@pytest.mark.parametrize("carrier", [{}, [], {"X-REQUEST-ID": "mine"}, [("X-Request-ID", b"mine")]])
def test_there_and_back(carrier: Any) -> None:
    """What is injected is extracted; what was there by hand stays."""
    had = bool(carrier)
    with context.isolated(trace_id=TRACE, span_id=SPAN, request_id="r-1"):
        assert inject_headers(carrier) is carrier
    incoming = extract_headers(carrier)
    assert (incoming.trace_id, incoming.parent_id) == (TRACE, SPAN)
    assert incoming.request_id == ("mine" if had else "r-1")
    assert len(carrier) == 2


@pytest.mark.parametrize(
    "carrier",
    [
        {"traceparent": f"00-{TRACE}-{SPAN}-01"},
        {b"Traceparent": f"00-{TRACE}-{SPAN}-01".encode()},
        [("traceparent", f"00-{TRACE}-{SPAN}-01".encode()), ("other", None), ("bad",), 7],
        (("TRACEPARENT", f"00-{TRACE}-{SPAN}-01"),),
    ],
)
def test_carriers_of_every_kind(carrier: Any) -> None:
    """Mappings and pairs, texts and bytes; what is neither is passed over."""
    assert extract_headers(carrier).trace_id == TRACE


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.one_of(
        st.none(),
        st.dictionaries(st.one_of(st.text(), st.binary()), st.one_of(st.text(), st.binary(), st.none())),
    )
)
def test_strangers_headers_never_raise(carrier: Any) -> None:
    """A message is input from strangers."""
    with received(carrier):
        assert len(context.get_trace_context().trace_id) == 32


def test_a_message_is_one_context(events: Events) -> None:
    """Its trace, a span of its own whose parent is the sender's.

    Nothing of the one before, nothing afterwards.
    """
    context.bind(worker=3, user_id="7", request_id="old", endpoint="/old")
    before = context.current()
    with received({"traceparent": f"00-{TRACE}-{SPAN}-01"}, "receive orders", order_id=42):
        ids = context.get_trace_context()
        assert (ids.trace_id, ids.parent_id) == (TRACE, SPAN)
        fields = context.current()
        assert (fields["worker"], fields["order_id"], fields["request_id"]) == (3, 42, TRACE)
        assert "user_id" not in fields
        assert "endpoint" not in fields
        context.bind(left="behind")
    assert context.current() is before
    span = events.find(kind="span")
    assert (span["span_kind"], span["span_id"], span["parent_id"]) == ("consumer", ids.span_id, SPAN)


def test_what_fails_is_a_failed_span(events: Events) -> None:
    """The exception goes on; the context is restored all the same."""
    with pytest.raises(ZeroDivisionError), received(None):
        raise ZeroDivisionError
    assert events.find(kind="span")["failed"]
    assert not context.current()


def test_tracestate_goes_on() -> None:
    """What belongs to others in the trace is handed on with it, and forgotten with it."""
    with received({"traceparent": f"00-{TRACE}-{SPAN}-00", "tracestate": "vendor=1"}):
        ours = inject_headers({})
        assert ours["tracestate"] == "vendor=1"
        assert ours["traceparent"].endswith("-00")
    assert "tracestate" not in inject_headers({})


CHILD = """
import json, sys
from logferry.handlers import context
from logferry.handlers.context import from_environ, to_environ
from_environ()
print(json.dumps([dict(context.current()), to_environ({})]))
"""


def test_a_subprocess_is_in_the_trace() -> None:
    """The environment of this process is not changed; the grandchild's parent is the child."""
    with context.isolated(trace_id=TRACE, span_id=SPAN, request_id="r-1"):
        environ = to_environ()
    done = subprocess.run(
        [sys.executable, "-c", CHILD], env=environ, capture_output=True, text=True, check=True
    )
    fields, on = json.loads(done.stdout)
    assert (fields["trace_id"], fields["parent_id"], fields["request_id"]) == (TRACE, SPAN, "r-1")
    assert fields["span_id"] != SPAN
    assert on["TRACEPARENT"] == f"00-{TRACE}-{fields['span_id']}-01"
    assert on["X_REQUEST_ID"] == "r-1"


def test_environments_without_a_trace() -> None:
    """Nothing is bound; what an old trace has left there is not handed on."""
    assert from_environ({"TRACEPARENT": "rubbish"}).trace_id == ""
    assert not context.current()
    environ = to_environ({"TRACEPARENT": f"00-{TRACE}-{SPAN}-01", "TRACESTATE": "a=1", "PATH": "/bin"})
    assert TRACE not in environ["TRACEPARENT"]
    assert "TRACESTATE" not in environ
    assert environ["PATH"] == "/bin"


def _in_child() -> str:
    return context.get_trace_context().trace_id


def test_threads_executors_and_tasks() -> None:
    """`wrap` takes the context along; a task keeps it by itself; a pool's processes are fed by hand."""
    seen: list[str] = []
    with ThreadPoolExecutor(1) as pool:
        with context.isolated(trace_id=TRACE, span_id=SPAN):
            wrapped = context.wrap(_in_child)
            thread = Thread(target=context.wrap(lambda: seen.append(_in_child())))
            thread.start()
            thread.join()

            async def main() -> str:
                return await asyncio.create_task(asyncio.to_thread(_in_child))

            seen.append(asyncio.run(main()))
        seen += [pool.submit(wrapped).result(), *pool.map(wrapped.__call__, [])]
        assert pool.submit(_in_child).result() == ""
    assert seen == [TRACE] * 3
    with ProcessPoolExecutor(1) as processes:
        assert processes.submit(_in_child).result() == ""


def test_external_is_told(events: Events) -> None:
    """Before and after, with what it was called with, redacted and bounded, and what came of it.

    And a span.
    """
    with (
        context.isolated(trace_id=TRACE, span_id=SPAN),
        external(
            "sms.send", to="+4915112345678", text="x" * 5000, api_key="sk-1", amount=Decimal("9.99")
        ) as call,
    ):
        assert context.get_trace_context().parent_id == SPAN
        call.answer(status_code=202, message_id="m-1")
    before, after = (event for event in events if event["logger"] == CALLS)
    assert before["message"] == "→ sms.send"
    assert before["level"] == after["level"] == "DEBUG"
    assert before["arguments"]["amount"] == "9.99"
    assert len(json.dumps(before["arguments"])) < 500
    assert "sk-1" not in str(list(events))
    assert "15112345678" not in str(list(events))
    assert (after["status_code"], after["message_id"], after["failed"]) == (202, "m-1", False)
    span = events.find(kind="span")
    assert (span["message"], span["span_kind"], span["trace_id"]) == ("sms.send", "client", TRACE)


def test_external_as_a_decorator(events: Events) -> None:
    """Plain and async functions, with their arguments by name; what fails says why, without secrets."""

    class Till:
        @external("till.pay", currency="EUR")
        def pay(self, amount: int, *, name: str = "") -> int:
            return amount

        @external("till.refund")
        async def refund(self, amount: int) -> None:
            raise ValueError(f"declined: {amount}, password=hunter2")

    assert Till().pay(3, name="Ada") == 3
    with pytest.raises(ValueError, match="declined"):
        asyncio.run(Till().refund(4))
    with pytest.raises(TypeError, match="missing"):
        Till().pay()  # type: ignore[call-arg]
    told = [event for event in events if event["logger"] == CALLS]
    assert told[0]["arguments"] == {"currency": "EUR", "amount": 3, "name": "Ada"}
    assert told[3]["failed"]
    assert "declined: 4" in told[3]["reason"]
    assert "hunter2" not in str(list(events))


def test_our_own_workers_tell_nothing(events: Events) -> None:
    """A suppressed thread's calls are nobody's business."""
    with suppressed():
        assert calling()
        with external("s3.put"):
            pass
    assert not len(events)


class Foreign:
    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __repr__


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.recursive(
        st.one_of(st.text(), st.binary(), st.integers(), st.none()),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_a_summary_is_bounded(value: Any) -> None:
    """Whatever it is of."""
    assert (
        len(json.dumps(summarise({"value": value, "foreign": Foreign(), "many": list(range(1000))}))) < 20_000
    )


def test_celery_called_eagerly() -> None:
    """An eager task runs inside its caller, whose context is as it was afterwards; a failing one, too."""
    from celery import Celery

    from logferry.handlers.integrations import celery as traced

    app = Celery("shop")
    app.conf.task_always_eager = True
    seen: list[context.Fields] = []

    @app.task
    def inner() -> None:
        seen.append(context.current())
        context.bind(left="behind")

    @app.task
    def outer(fail: bool) -> None:
        seen.append(context.current())
        inner.delay()
        assert context.current() is seen[-2]
        if fail:
            raise ZeroDivisionError

    traced.install()
    traced.install()
    try:
        with context.isolated(trace_id=TRACE, span_id=SPAN, request_id="r-1"):
            before = context.current()
            outer.delay(False)
            outer.delay(True)
            assert context.current() is before
    finally:
        traced.uninstall()
    assert [one["trace_id"] for one in seen] == [TRACE] * 4
    assert [one["parent_id"] for one in seen] == [SPAN, seen[0]["span_id"], SPAN, seen[2]["span_id"]]
    assert seen[1]["task_name"] == inner.name
    inner.delay()
    assert "task_name" not in seen[-1]  # uninstalled
