"""aiohttp's client (3.12 and newer): ids to the hosts that may have them, and each call told.

    from logferry.handlers.integrations.aiohttp_client import TraceClient   # makes an aiohttp.ClientSession
    async with TraceClient(propagate_to=[".example.com"]) as client: await client.get("http://stock/items")

or, without a change of code, for all sessions made from then on: ``install(propagate_to=[".example.com"])``.
It stands on aiohttp's client middlewares; a request with ``middlewares=`` of its own replaces the session's.
"""

from __future__ import annotations

from typing import Any

from ..calls import calling
from ..destinations import Destinations, PropagateTo, destinations
from ._http import Hop, drop_ours
from ._needs import missing
from ._patch import Patches

try:
    import aiohttp
    from aiohttp import ClientHandlerType, ClientRequest, ClientResponse
    from yarl import URL
except ImportError as error:
    raise missing("aiohttp 3.12 or newer", "aiohttp", error) from error

__all__ = ["TraceClient", "install", "middleware", "uninstall"]

_patches = Patches()


class middleware:  # noqa: N801 - a function to those who use it
    """A client middleware, for a session's or a request's own list."""

    def __init__(self, propagate_to: PropagateTo = ()) -> None:
        self._allow = destinations(propagate_to)

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Send one request; each redirect is another one."""
        if calling():
            return await handler(request)

        def body() -> tuple[object, str]:
            content: object = getattr(request.body, "_value", request.body)
            return content, request.headers.get("Content-Type", "")

        url = request.url
        hop = Hop(self._allow, request.method, str(url), url.raw_host, request.headers, body)
        request.headers.update(hop.headers)
        try:
            response = await handler(request)
        except BaseException as error:
            hop.failed(error)
            raise
        hop.answered(response.status, response.headers.get("Content-Length"))
        return response


def _forgetting(allow: Destinations) -> aiohttp.TraceConfig:
    """Make what removes the caller's own ids from a redirect to a stranger."""

    async def redirected(_session: Any, _context: Any, params: aiohttp.TraceRequestRedirectParams) -> None:
        target = params.response.headers.get("Location") or params.response.headers.get("URI") or ""
        try:
            host = params.url.join(URL(target)).raw_host
        except ValueError:
            host = None
        if not allow.allows(host):
            drop_ours(params.headers)

    config = aiohttp.TraceConfig()
    config.on_request_redirect.append(redirected)
    return config


def _options(allow: Destinations, options: dict[str, Any]) -> dict[str, Any]:
    own = options.get("middlewares") or ()
    if any(isinstance(one, middleware) for one in own):
        return options
    configs = [*(options.get("trace_configs") or ()), _forgetting(allow)]
    return {**options, "middlewares": (*own, middleware(allow)), "trace_configs": configs}


def TraceClient(*args: Any, propagate_to: PropagateTo = (), **options: Any) -> aiohttp.ClientSession:  # noqa: N802 - a session is not to be subclassed
    """Make a session.

    `propagate_to`: hosts beside the near ones that ids go to (see `handlers.destinations`).
    """
    return aiohttp.ClientSession(*args, **_options(destinations(propagate_to), options))


def install(*, propagate_to: PropagateTo = ()) -> None:
    """Do the same for every session that is made from here on."""
    uninstall()
    allow = destinations(propagate_to)

    def make(original: Any) -> Any:
        def init(session: Any, *args: Any, **options: Any) -> None:
            original(session, *args, **_options(allow, options))

        return init

    _patches.replace(aiohttp.ClientSession, "__init__", make)


def uninstall() -> None:
    """Undo `install`: sessions that exist keep what they have."""
    _patches.undo()
