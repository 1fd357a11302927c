"""gRPC (grpcio): the trace in a call's metadata, client and server, sync and aio, all four kinds of calls.

    from logferry.handlers.integrations import grpc as traced
    channel = grpc.intercept_channel(grpc.insecure_channel(target), traced.ClientInterceptor(target))
    channel = grpc.aio.insecure_channel(target, interceptors=traced.aio_client_interceptors(target))
    server = grpc.server(executor, interceptors=[traced.ServerInterceptor()])
    server = grpc.aio.server(interceptors=[traced.AioServerInterceptor()])

Rules
- An interceptor is not told whom its channel talks to, so it takes the target: ids are not for strangers
  (`handlers.destinations`). Without one it sends none.
- A client's call is told as HTTP calls are (`handlers.calls`), with `grpc_status`. A stream's call ends
  when the stream does. What follows in the caller's own code is not inside it.
- A server's call runs in a context of its own: the ids that came in, a span, `endpoint` is the method. What a
  streaming handler binds stays for its next step and goes with the call.
- A handler's exception is logged once as ERROR within its trace (gRPC itself logs it outside of it).
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from typing import Any, Final
from urllib.parse import unquote

from ..calls import Call, calling
from ..carry import Received, extract_headers, inject_headers
from ..destinations import PropagateTo, destinations
from ._needs import missing

try:
    import grpc
    import grpc.aio
except ImportError as error:
    raise missing("grpcio", "grpc", error) from error

__all__ = [
    "AioServerInterceptor",
    "ClientInterceptor",
    "ServerInterceptor",
    "aio_client_interceptors",
    "target_host",
]

_log: Final = logging.getLogger("logferry.grpc")


def target_host(target: str) -> str | None:
    """Return the host of a channel's target (``dns:///host:port``, ``unix:path``, ...); None: unknown."""
    scheme, colon, rest = target.partition(":")
    if colon and scheme in {"unix", "unix-abstract", "vsock"}:
        return "localhost"
    if colon and scheme == "dns" and rest.startswith("/"):
        target = rest.rpartition("/")[2]  # dns://authority/host:port
    elif colon and scheme in {"ipv4", "ipv6"}:
        target = "" if "," in rest else unquote(rest)  # several addresses: who knows which
    if not target or "/" in target:
        return None
    if target.startswith("["):
        return target[1:].partition("]")[0]
    return target if target.count(":") > 1 else target.partition(":")[0]


class _Details(grpc.ClientCallDetails):  # type: ignore[misc,unused-ignore] # grpc has no types
    """A call's details with other metadata."""

    def __init__(self, of: Any, metadata: list[tuple[str, str]]) -> None:
        self.method, self.timeout, self.metadata, self.credentials = (
            of.method,
            of.timeout,
            metadata,
            of.credentials,
        )
        self.wait_for_ready = getattr(of, "wait_for_ready", None)
        self.compression = getattr(of, "compression", None)


class _Client:
    """What sync and aio clients share. `target`: the channel's; `propagate_to` as for HTTP clients."""

    def __init__(self, target: str = "", *, propagate_to: PropagateTo = ()) -> None:
        self._host = target_host(target)
        self._allowed = destinations(propagate_to).allows(self._host)

    def _begin(self, details: Any) -> tuple[Call, list[tuple[str, str]]]:
        method = _text(details.method)
        peer = self._host or ""
        call = Call.begin(f"grpc {method}", lambda: {"method": method, "peer": peer}, peer=peer)
        metadata: list[tuple[str, str]] = list(details.metadata or ())
        return call, inject_headers(metadata, text=True) if self._allowed else metadata


def _text(method: Any) -> str:
    return method.decode("latin-1") if isinstance(method, bytes) else str(method)


def _end(call: Call, code: Any) -> None:
    name = getattr(code, "name", "CANCELLED")
    call.end(None if name == "OK" else f"gRPC {name}", grpc_status=name)


class ClientInterceptor(
    _Client,
    grpc.UnaryUnaryClientInterceptor,  # type: ignore[misc,unused-ignore]
    grpc.UnaryStreamClientInterceptor,  # type: ignore[misc,unused-ignore]
    grpc.StreamUnaryClientInterceptor,  # type: ignore[misc,unused-ignore]
    grpc.StreamStreamClientInterceptor,  # type: ignore[misc,unused-ignore]
):
    """For `grpc.intercept_channel`."""

    def _intercept(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        if calling():
            return continuation(details, request)
        own = copy_context()  # the call is active in there, and in nothing that the caller does meanwhile
        return own.run(self._send, own, continuation, details, request)

    def _send(self, own: Context, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        call, metadata = self._begin(details)
        try:
            answer = continuation(_Details(details, metadata), request)
        except BaseException as error:
            call.end(error)
            raise
        if _is_done(answer):
            _end(call, answer.code() if hasattr(answer, "code") else None)
            return answer
        held = weakref.ref(
            answer
        )  # an answer that nobody holds is cancelled by gRPC: not held by its callback

        def ended() -> None:
            gone = held()
            own.run(_end, call, None if gone is None else gone.code())

        if not answer.add_callback(ended):
            _end(call, answer.code())
        return answer

    intercept_unary_unary = intercept_unary_stream = _intercept
    intercept_stream_unary = intercept_stream_stream = _intercept


def _is_done(answer: Any) -> bool:
    try:
        return bool(answer.done())
    except (AttributeError, NotImplementedError):
        return False


class _AioClient(_Client):
    _tasks: Final[set[asyncio.Task[None]]] = set()  # held until they end

    async def _send(
        self, continuation: Callable[..., Any], details: Any, request: Any
    ) -> tuple[Any, Call | None]:
        if calling():
            return await continuation(details, request), None
        call, metadata = self._begin(details)
        changed = details._replace(metadata=grpc.aio.Metadata(*metadata))
        try:
            return await continuation(changed, request), call
        except BaseException as error:
            call.end(error)
            raise

    async def _unary(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        answer, call = await self._send(continuation, details, request)
        if call is not None:
            try:
                _end(call, await answer.code())
            except BaseException as error:
                call.end(error)
                raise
        return answer

    async def _stream(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        answer, call = await self._send(continuation, details, request)
        if call is not None:
            own = copy_context()

            async def end(ended: Any) -> None:
                _end(call, await ended.code())

            def ended(gone: Any) -> None:
                task = asyncio.get_running_loop().create_task(end(gone), context=own)
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

            answer.add_done_callback(ended)
        return answer


class _UnaryUnary(_AioClient, grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[misc,unused-ignore]
    intercept_unary_unary = _AioClient._unary  # noqa: SLF001 - its own


class _UnaryStream(_AioClient, grpc.aio.UnaryStreamClientInterceptor):  # type: ignore[misc,unused-ignore]
    intercept_unary_stream = _AioClient._stream  # noqa: SLF001


class _StreamUnary(_AioClient, grpc.aio.StreamUnaryClientInterceptor):  # type: ignore[misc,unused-ignore]
    intercept_stream_unary = _AioClient._unary  # noqa: SLF001


class _StreamStream(_AioClient, grpc.aio.StreamStreamClientInterceptor):  # type: ignore[misc,unused-ignore]
    intercept_stream_stream = _AioClient._stream  # noqa: SLF001


def aio_client_interceptors(target: str = "", *, propagate_to: PropagateTo = ()) -> list[Any]:
    """Return the interceptors for a `grpc.aio` channel: it wants one for each kind of calls."""
    kinds = (_UnaryUnary, _UnaryStream, _StreamUnary, _StreamStream)
    return [kind(target, propagate_to=propagate_to) for kind in kinds]


class _Handled:
    """One call at the server."""

    def __init__(self, details: Any) -> None:
        method = _text(details.method)
        metadata = [(key, value) for key, value in details.invocation_metadata or ()]
        self._message = Received(extract_headers(metadata), f"grpc {method}", {"endpoint": method}, "server")
        self._method = method

    def begin(self) -> None:
        self._message.begin()

    def end(self, error: BaseException | None, context: Any) -> None:
        if isinstance(error, Exception) and not _answered(context):
            _log.error("%s failed", self._method, exc_info=error)
        self._message.end(error)

    @contextmanager
    def inside(self, context: Any) -> Iterator[None]:
        self.begin()
        try:
            yield
        except BaseException as error:
            self.end(error, context)
            raise
        self.end(None, context)


def _answered(context: Any) -> bool:
    """Whether the handler has chosen a status itself: `abort` ends it with an exception, too."""
    try:
        code = context.code()
    except Exception:  # noqa: BLE001 - an older or a foreign context
        return False
    return code not in {None, 0, grpc.StatusCode.OK}


def _plain(inner: Callable[..., Any], details: Any) -> Callable[..., Any]:
    def handle(request: Any, context: Any) -> Any:
        def run() -> Any:
            with _Handled(details).inside(context):
                return inner(request, context)

        return copy_context().run(run)

    return handle


def _generator(inner: Callable[..., Any], details: Any) -> Callable[..., Any]:
    def handle(request: Any, context: Any) -> Iterator[Any]:
        own, handled = copy_context(), _Handled(details)
        own.run(handled.begin)
        failed: BaseException | None = None
        try:
            answers = iter(own.run(inner, request, context))
            while True:
                try:
                    answer = own.run(next, answers)
                except StopIteration:
                    return
                yield answer
        except BaseException as error:
            failed = error
            raise
        finally:
            own.run(handled.end, failed, context)

    return handle


def _coroutine(inner: Callable[..., Any], details: Any) -> Callable[..., Any]:
    async def handle(request: Any, context: Any) -> Any:
        with _Handled(details).inside(context):
            return await inner(request, context)

    return handle


def _async_generator(inner: Callable[..., Any], details: Any) -> Callable[..., Any]:
    async def handle(request: Any, context: Any) -> AsyncIterator[Any]:
        with _Handled(details).inside(context):
            async for answer in inner(request, context):
                yield answer

    return handle


def _traced(handler: Any, details: Any) -> Any:
    """Return the handler in its call's context: of the same kind, sync or async, as it was."""
    if handler is None:
        return None
    asked, answered = (
        "stream" if streams else "unary"
        for streams in (handler.request_streaming, handler.response_streaming)
    )
    kind = f"{asked}_{answered}"
    inner = getattr(handler, kind)
    if inspect.isasyncgenfunction(inner):
        wrapped = _async_generator(inner, details)
    elif inspect.iscoroutinefunction(inner):
        wrapped = _coroutine(inner, details)
    elif handler.response_streaming:
        wrapped = _generator(inner, details)
    else:
        wrapped = _plain(inner, details)
    make = getattr(grpc, f"{kind}_rpc_method_handler")
    return make(wrapped, handler.request_deserializer, handler.response_serializer)


class ServerInterceptor(grpc.ServerInterceptor):  # type: ignore[misc,unused-ignore]
    """For `grpc.server`."""

    def intercept_service(self, continuation: Callable[..., Any], handler_call_details: Any) -> Any:
        """Return the handler of one call, in its context."""
        return _traced(continuation(handler_call_details), handler_call_details)


class AioServerInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc,unused-ignore]
    """For `grpc.aio.server`."""

    async def intercept_service(self, continuation: Callable[..., Any], handler_call_details: Any) -> Any:
        """Return the handler of one call, in its context."""
        return _traced(await continuation(handler_call_details), handler_call_details)
