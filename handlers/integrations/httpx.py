"""httpx, sync and async: ids to the hosts that may have them, and each call told.

    from logferry.handlers.integrations.httpx import AsyncTraceClient, TraceClient   # httpx.AsyncClient,
    httpx.Client async with AsyncTraceClient(propagate_to=[".example.com"]) as client: await
    client.get("http://stock/items")

or, without a change of code, for all clients of the process: ``install(propagate_to=[".example.com"])``.
`duration_ms` ends with the answer's headers: its body may be read for as long as the caller likes.
"""

from __future__ import annotations

from typing import Any, Final

from ..calls import calling
from ..destinations import Destinations, PropagateTo, destinations
from ._http import Hop, drop_ours
from ._needs import missing
from ._patch import Patches

try:
    import httpx
except ImportError as error:
    raise missing("httpx", "httpx", error) from error

__all__ = ["AsyncTraceClient", "TraceClient", "install", "uninstall"]

_FIRST: Final = "logferry.host"  # in a request's extensions, which its redirects share: the first hop's host
_patches = Patches()


def _begin(request: httpx.Request, allow: Destinations) -> tuple[Hop, httpx.Request]:
    """Return the hop, and what is to be sent in place of the request."""

    def body() -> tuple[object, str]:
        try:
            content: object = request.content
        except httpx.RequestNotRead:
            content = request.stream
        return content, request.headers.get("Content-Type", "")

    host = request.url.host
    headers = httpx.Headers(request.headers)
    if request.extensions.setdefault(_FIRST, host) != host and not allow.allows(host):
        drop_ours(headers)
    hop = Hop(allow, request.method, str(request.url), host, headers, body)
    headers.update(hop.headers)
    sent = httpx.Request(
        request.method, request.url, headers=headers, stream=request.stream, extensions=request.extensions
    )
    return hop, sent


class _Transport(httpx.BaseTransport):
    def __init__(self, inner: httpx.BaseTransport, allow: Destinations) -> None:
        self._inner = inner
        self._allow = allow

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if calling():
            return self._inner.handle_request(request)
        hop, sent = _begin(request, self._allow)
        try:
            response = self._inner.handle_request(sent)
        except BaseException as error:
            hop.failed(error)
            raise
        hop.answered(response.status_code, response.headers.get("Content-Length"))
        return response


class _AsyncTransport(httpx.AsyncBaseTransport):
    def __init__(self, inner: httpx.AsyncBaseTransport, allow: Destinations) -> None:
        self._inner = inner
        self._allow = allow

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if calling():
            return await self._inner.handle_async_request(request)
        hop, sent = _begin(request, self._allow)
        try:
            response = await self._inner.handle_async_request(sent)
        except BaseException as error:
            hop.failed(error)
            raise
        hop.answered(response.status_code, response.headers.get("Content-Length"))
        return response


class TraceClient(httpx.Client):
    """A client. `propagate_to`: hosts beside the near ones that ids go to (see `handlers.destinations`)."""

    def __init__(self, *, propagate_to: PropagateTo = (), **options: Any) -> None:
        super().__init__(**options)
        self._allow = destinations(propagate_to)

    def _transport_for_url(self, url: httpx.URL) -> httpx.BaseTransport:
        return _sync(super()._transport_for_url(url), self._allow)


class AsyncTraceClient(httpx.AsyncClient):
    """The same for asyncio."""

    def __init__(self, *, propagate_to: PropagateTo = (), **options: Any) -> None:
        super().__init__(**options)
        self._allow = destinations(propagate_to)

    def _transport_for_url(self, url: httpx.URL) -> httpx.AsyncBaseTransport:
        return _async(super()._transport_for_url(url), self._allow)


def _sync(transport: httpx.BaseTransport, allow: Destinations) -> httpx.BaseTransport:
    return transport if isinstance(transport, _Transport) else _Transport(transport, allow)


def _async(transport: httpx.AsyncBaseTransport, allow: Destinations) -> httpx.AsyncBaseTransport:
    return transport if isinstance(transport, _AsyncTransport) else _AsyncTransport(transport, allow)


def install(*, propagate_to: PropagateTo = ()) -> None:
    """Do the same for every client of the process, those that exist among them."""
    uninstall()
    allow = destinations(propagate_to)

    def each(wrap: Any) -> Any:
        def make(original: Any) -> Any:
            def transport_for_url(client: Any, url: httpx.URL) -> Any:
                return wrap(original(client, url), allow)

            return transport_for_url

        return make

    _patches.replace(httpx.Client, "_transport_for_url", each(_sync))
    _patches.replace(httpx.AsyncClient, "_transport_for_url", each(_async))


def uninstall() -> None:
    """Undo `install`."""
    _patches.undo()
