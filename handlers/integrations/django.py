"""Django: a middleware, synchronous and asynchronous, that gives each request its trace context.

    MIDDLEWARE = ["logferry.handlers.integrations.django.TraceMiddleware", ...]     # the first one
    LOGFERRY_REQUESTS = {"exclude": ["/health"], "user_id": "shop.auth.user_id"}    # handlers.request.Policy

Rules (those of every framework stand in `handlers/request/__init__.py`)
- `endpoint` is the route's template (``/orders/<int:order>/``), bound when Django has resolved it. The
  `user_id` hook gets Django's request; it is asked at the beginning, then, when all middlewares have run, and
  again at the end. It may be given as a dotted path.
- The event is logged when Django closes the answer, after its last byte. What is bound is bound for the views
  and for each step of a streaming answer.
- Django turns exceptions into answers before they come here; the signal `got_request_exception` tells of
  them. Its own record of them (``django.request``) is no second event.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Final, cast

try:
    from asgiref.sync import iscoroutinefunction, markcoroutinefunction
    from django.conf import settings
    from django.core.signals import got_request_exception
    from django.utils.module_loading import import_string
except ImportError as error:
    from ._needs import missing

    raise missing("Django", "django", error) from error

import asyncio

from ..request.environ import Tee, made
from ..request.exchange import Exchange
from ..request.inside import Inside
from ..request.policy import Options, Policy
from ..request.told import tell_once

__all__ = ["TraceMiddleware"]

_EXCHANGE: Final = "logferry_exchange"  # an attribute of requests


class TraceMiddleware:
    """Django's middleware; its options stand in the setting ``LOGFERRY_REQUESTS``."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        options: dict[str, Any] = dict(getattr(settings, "LOGFERRY_REQUESTS", {}))
        if isinstance(options.get("user_id"), str):
            options["user_id"] = import_string(options["user_id"])
        self._policy = Policy(**cast("Options", options))
        self._get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)
            setattr(self, "process_view", self._process_view)  # noqa: B010 - a coroutine needs no thread
        got_request_exception.connect(_failed, dispatch_uid="logferry")
        tell_once("django.request")

    def __call__(self, request: Any) -> Any:
        """Serve one request."""
        if getattr(request, _EXCHANGE, None) is not None:
            return self._get_response(request)
        if self._is_async:
            return self._serve(request)
        exchange = self._enter(request)
        try:
            return _watched(exchange, self._get_response(request))
        except BaseException as error:
            exchange.fail(error)
            exchange.report()
            raise
        finally:
            exchange.leave()

    async def _serve(self, request: Any) -> Any:
        exchange = self._enter(request)
        try:
            return _watched(exchange, await cast("Awaitable[Any]", self._get_response(request)))
        except asyncio.CancelledError:
            exchange.went_away()
            exchange.report()
            raise
        except BaseException as error:
            exchange.fail(error)
            exchange.report()
            raise
        finally:
            exchange.leave()

    def _enter(self, request: Any) -> Exchange:
        exchange = made(self._policy, request.META, request.path, request)
        setattr(request, _EXCHANGE, exchange)
        exchange.enter()
        stream = getattr(request, "_stream", None)
        if stream is not None and exchange.expects_body() and exchange.body is not None:
            request._stream = Tee(stream, exchange.body)  # noqa: SLF001 - what Django itself reads from
        return exchange

    def process_view(self, request: Any, _view: Any, _args: Any, _kwargs: Any) -> None:
        """Take note of the route and the user."""
        exchange: Exchange | None = getattr(request, _EXCHANGE, None)
        if exchange is not None:
            match = getattr(request, "resolver_match", None)
            if match is not None:
                exchange.found_endpoint("/" + str(match.route).lstrip("/"))
            exchange.ask_user()

    async def _process_view(self, request: Any, view: Any, args: Any, kwargs: Any) -> None:
        TraceMiddleware.process_view(self, request, view, args, kwargs)


def _failed(sender: object, request: Any = None, **_kwargs: object) -> None:  # noqa: ARG001 - a signal's form
    exchange: Exchange | None = getattr(request, _EXCHANGE, None)
    error = sys.exc_info()[1]
    if exchange is not None and error is not None:
        exchange.fail(error)


def _watched(exchange: Exchange, response: Any) -> Any:
    """Give an answer its ids, and log its event when Django closes it."""
    exchange.status = response.status_code
    response["X-Request-ID"], response["traceparent"] = exchange.answer_headers()
    if not response.streaming:
        exchange.bytes = len(response.content)
    elif getattr(response, "file_to_stream", None) is not None:  # the server sends it by itself
        size = response.get("Content-Length", "")
        exchange.bytes = int(size) if size.isdecimal() else 0
    else:
        steps = _async_steps if getattr(response, "is_async", False) else _steps
        response.streaming_content = steps(exchange, response.streaming_content, Inside())
    close = response.close

    def closed() -> None:
        try:
            close()
        finally:
            exchange.end()
            exchange.report()

    response.close = closed
    return response


def _steps(exchange: Exchange, content: Any, inside: Inside) -> Iterator[bytes]:
    steps = iter(content)
    while True:
        with inside:
            try:
                data = next(steps)
            except StopIteration:
                exchange.end()
                return
            except BaseException as error:
                exchange.fail(error)
                raise
        exchange.bytes += len(data)
        yield data


async def _async_steps(exchange: Exchange, content: Any, inside: Inside) -> AsyncIterator[bytes]:
    steps = aiter(content)
    while True:
        with inside:
            try:
                data = await anext(steps)
            except StopAsyncIteration:
                exchange.end()
                return
            except asyncio.CancelledError:
                exchange.went_away()
                raise
            except BaseException as error:
                exchange.fail(error)
                raise
        exchange.bytes += len(data)
        yield data
