"""gRPC over a real channel on loopback: all four kinds of calls, sync and aio."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio
import pytest

from logferry.handlers import context
from logferry.handlers.formatter import make_builder
from logferry.handlers.integrations import grpc as traced
from logferry.handlers.testing import Events, capture

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
BUILDER = make_builder("test", "test")


@pytest.fixture
def events() -> Iterator[Events]:
    with capture(builder=BUILDER) as found:
        yield found


def told() -> bytes:
    """What the handler sees, as its answer."""
    ids = context.get_trace_context()
    fields = context.current()
    return "|".join([*ids, str(fields.get("request_id")), str(fields.get("endpoint"))]).encode()


def step(seen: list[bytes]) -> bytes:
    """A streaming handler binds in one step and finds it in the next; nobody else's."""
    found = context.current().get("step", 0)
    assert isinstance(found, int)
    context.bind(step=found + 1)
    seen.append(str(found).encode())
    return told() + b"|" + seen[-1]


class Sync(grpc.GenericRpcHandler):  # type: ignore[misc,unused-ignore]
    def service(self, details: Any) -> Any:
        kind = details.method.rpartition("/")[2]
        if kind == "fails":
            return grpc.unary_unary_rpc_method_handler(self.fails)
        if kind == "aborts":
            return grpc.unary_unary_rpc_method_handler(self.aborts)
        return getattr(grpc, f"{kind}_rpc_method_handler")(getattr(self, kind))

    def unary_unary(self, request: bytes, _: Any) -> bytes:
        context.bind(left="behind")
        return told()

    def stream_unary(self, requests: Any, _: Any) -> bytes:
        assert len(list(requests)) == 3
        return told()

    def unary_stream(self, request: bytes, _: Any) -> Iterator[bytes]:
        seen: list[bytes] = []
        for _step in range(3):
            yield step(seen)

    def stream_stream(self, requests: Any, _: Any) -> Iterator[bytes]:
        seen: list[bytes] = []
        for _request in requests:
            yield step(seen)

    def fails(self, request: bytes, _: Any) -> bytes:
        raise ZeroDivisionError("in the handler")

    def aborts(self, request: bytes, servicer: Any) -> bytes:
        servicer.abort(grpc.StatusCode.NOT_FOUND, "no such order")
        return b""


class Aio(Sync):
    async def unary_unary(self, request: bytes, _: Any) -> bytes:  # type: ignore[override]
        await asyncio.sleep(0)
        return told()

    async def stream_unary(self, requests: Any, _: Any) -> bytes:  # type: ignore[override]
        assert len([request async for request in requests]) == 3
        return told()

    async def unary_stream(self, request: bytes, _: Any) -> Any:  # type: ignore[override]
        seen: list[bytes] = []
        for _step in range(3):
            yield step(seen)
            await asyncio.sleep(0)

    async def stream_stream(self, requests: Any, servicer: Any) -> None:  # type: ignore[override]
        """The other way to stream: a coroutine that writes."""
        seen: list[bytes] = []
        async for _request in requests:
            await servicer.write(step(seen))

    async def fails(self, request: bytes, _: Any) -> bytes:  # type: ignore[override]
        raise ZeroDivisionError("in the handler")

    async def aborts(self, request: bytes, servicer: Any) -> bytes:  # type: ignore[override]
        await servicer.abort(grpc.StatusCode.NOT_FOUND, "no such order")
        return b""


def check(answers: list[bytes], kind: str) -> None:
    for number, answer in enumerate(answers):
        trace_id, span_id, parent_id, request_id, endpoint, *steps = answer.decode().split("|")
        assert (trace_id, request_id, endpoint) == (TRACE, "r-1", f"/shop.Stock/{kind}")
        assert span_id != SPAN
        assert parent_id not in {"", SPAN}  # the client's call stands between
        assert steps in ([], [str(number)])
    assert len(answers) == (3 if kind.endswith("_stream") else 1)


def spans(events: Events, *, wait: int) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 20
    while True:
        found = [event for event in events if event.get("kind") == "span"]
        if len(found) >= wait:
            return found
        assert time.monotonic() < deadline, events
        time.sleep(0.01)


def check_tree(events: Events) -> None:
    """The client's span is the caller's child, the server's is the client's."""
    client, server = sorted(spans(events, wait=2), key=lambda event: event["span_kind"])
    assert (client["span_kind"], client["parent_id"]) == ("client", SPAN)
    assert (server["span_kind"], server["parent_id"]) == ("server", client["span_id"])
    assert client["tags"]["grpc_status"] == "OK"
    told = [event for event in events if event.get("kind") == "call"]
    assert [(one["trace_id"], one["span_id"]) for one in told] == [(TRACE, client["span_id"])] * 2


@pytest.fixture
def sync_target() -> Iterator[str]:
    with ThreadPoolExecutor(2) as threads:
        server = grpc.server(threads, interceptors=[traced.ServerInterceptor()])
        server.add_generic_rpc_handlers((Sync(),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None).wait()


def call_sync(target: str, kind: str, interceptor: Any, *, future: bool = False) -> list[bytes]:
    with grpc.insecure_channel(target) as plain:
        channel = grpc.intercept_channel(plain, interceptor)
        method = getattr(channel, kind)(f"/shop.Stock/{kind}")
        request: Any = iter([b"1", b"2", b"3"]) if kind.startswith("stream") else b"1"
        if kind.endswith("_stream"):
            return list(method(request, timeout=20))
        return [method.future(request, timeout=20).result() if future else method(request, timeout=20)]


@pytest.mark.parametrize("future", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_sync(kind: str, future: bool, sync_target: str, events: Events) -> None:
    """The handler is in the caller's trace in each of its steps; the caller's context is as it was."""
    with context.isolated(trace_id=TRACE, span_id=SPAN, request_id="r-1"):
        for _ in range(3):  # the same threads serve one after the other
            events.clear()
            check(call_sync(sync_target, kind, traced.ClientInterceptor(sync_target), future=future), kind)
            assert context.get_trace_context() == (TRACE, SPAN, "")
            check_tree(events)


def test_threads_of_the_server_keep_nothing(sync_target: str) -> None:
    """A call without a trace gets one of its own, and nothing of the call before."""
    with context.isolated(trace_id=TRACE, span_id=SPAN, request_id="r-1"):
        for _ in range(4):
            call_sync(sync_target, "unary_unary", traced.ClientInterceptor(sync_target))
    seen = set()
    for _ in range(4):
        with grpc.insecure_channel(sync_target) as channel:
            answer: bytes = channel.unary_unary("/shop.Stock/unary_unary")(b"", timeout=20)
        trace_id, _, parent_id, request_id, _ = answer.decode().split("|")
        assert (parent_id, request_id) == ("", trace_id)
        seen.add(trace_id)
    assert len(seen) == 4
    assert TRACE not in seen


def test_a_stranger_gets_no_ids(sync_target: str) -> None:
    """Without a target, or with one that is not allowed, nothing is sent."""
    with context.isolated(trace_id=TRACE, span_id=SPAN, request_id="r-1"):
        for target in ("", "api.example.com:443"):
            (answer,) = call_sync(sync_target, "unary_unary", traced.ClientInterceptor(target))
            assert TRACE.encode() not in answer
        friend = traced.ClientInterceptor("api.example.com:443", propagate_to=["api.example.com"])
        assert TRACE.encode() in call_sync(sync_target, "unary_unary", friend)[0]


def check_errors(events: Events) -> None:
    (logged,) = (event for event in events if event["logger"] == "logferry.grpc")
    assert (logged["trace_id"], logged["level"]) == (TRACE, "ERROR")
    assert logged["error"]["type"] == "ZeroDivisionError"
    statuses = {e["tags"]["grpc_status"] for e in spans(events, wait=4) if e["span_kind"] == "client"}
    assert statuses == {"UNKNOWN", "NOT_FOUND"}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_sync_errors(sync_target: str, events: Events) -> None:
    """A handler's exception is one ERROR in its trace; an abort is none."""
    with context.isolated(trace_id=TRACE, span_id=SPAN):
        for kind in ("fails", "aborts"):
            with grpc.insecure_channel(sync_target) as plain:
                channel = grpc.intercept_channel(plain, traced.ClientInterceptor(sync_target))
                with pytest.raises(grpc.RpcError):
                    channel.unary_unary(f"/shop.Stock/{kind}")(b"", timeout=20)
    check_errors(events)


async def aio_server() -> tuple[Any, str]:
    server = grpc.aio.server(interceptors=[traced.AioServerInterceptor()])
    server.add_generic_rpc_handlers((Aio(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, f"127.0.0.1:{port}"


async def call_aio(target: str, kind: str) -> list[bytes]:
    interceptors = traced.aio_client_interceptors(target)
    async with grpc.aio.insecure_channel(target, interceptors=interceptors) as channel:
        method = getattr(channel, kind)(f"/shop.Stock/{kind}")

        async def requests() -> Any:
            for number in (b"1", b"2", b"3"):
                yield number

        request: Any = requests() if kind.startswith("stream") else b"1"
        if kind.endswith("_stream"):
            return [answer async for answer in method(request, timeout=20)]
        return [await method(request, timeout=20)]


@pytest.mark.parametrize("kind", KINDS)
def test_aio(kind: str, events: Events) -> None:
    """The same for asyncio, concurrently with a call of another trace."""

    async def one(trace_id: str, request_id: str) -> list[bytes]:
        with context.isolated(trace_id=trace_id, span_id=SPAN, request_id=request_id):
            answers = await call_aio(target, kind)
            assert context.get_trace_context() == (trace_id, SPAN, "")
            return answers

    async def main() -> None:
        nonlocal target
        server, target = await aio_server()
        try:
            check(await one(TRACE, "r-1"), kind)
            await asyncio.to_thread(check_tree, events)
            ours, theirs = await asyncio.gather(one(TRACE, "r-1"), one("f" * 32, "r-2"))
            check(ours, kind)
            assert all(TRACE.encode() not in answer for answer in theirs)
        finally:
            await server.stop(None)

    target = ""
    asyncio.run(main())


def test_aio_errors(events: Events) -> None:
    """A handler's exception is one ERROR in its trace; an abort is none."""

    async def main() -> None:
        server, target = await aio_server()
        interceptors = traced.aio_client_interceptors(target)
        try:
            with context.isolated(trace_id=TRACE, span_id=SPAN):
                for kind in ("fails", "aborts"):
                    async with grpc.aio.insecure_channel(target, interceptors=interceptors) as channel:
                        with pytest.raises(grpc.RpcError):
                            await channel.unary_unary(f"/shop.Stock/{kind}")(b"", timeout=20)
        finally:
            await server.stop(None)

    asyncio.run(main())
    check_errors(events)


@pytest.mark.parametrize(
    ("target", "host"),
    [
        ("stock.internal:50051", "stock.internal"),
        ("dns:///stock.internal:50051", "stock.internal"),
        ("dns://8.8.8.8/evil.com:50051", "evil.com"),
        ("[::1]:50051", "::1"),
        ("ipv6:%5B::1%5D:50051", "::1"),
        ("ipv4:10.0.0.1:50051,8.8.8.8:50051", None),
        ("unix:/run/stock.sock", "localhost"),
        ("unix:///run/stock.sock", "localhost"),
        ("xds:///stock", None),
        ("", None),
        ("::1", "::1"),
    ],
)
def test_targets(target: str, host: str | None) -> None:
    """What a channel's target says of its host; what is not understood is nobody."""
    assert traced.target_host(target) == host


logging.getLogger("grpc").setLevel(logging.CRITICAL)  # it logs a handler's exception on its own account
