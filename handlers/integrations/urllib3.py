"""urllib3: ids to the hosts that may have them, and each call told.

    from logferry.handlers.integrations.urllib3 import TraceClient   # a urllib3.PoolManager
    with TraceClient(propagate_to=[".example.com"]) as client: client.request("GET", "http://stock/items")

or, without a change of code, for all pools of the process: ``install(propagate_to=[".example.com"])``.
A retry within urllib3 is part of its call; a redirect to another host is a call of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final

from ..calls import calling
from ..destinations import Destinations, PropagateTo, destinations
from ._http import Hop, drop_ours
from ._needs import missing
from ._patch import Patches

try:
    import urllib3
    from urllib3.util import parse_url
except ImportError as error:
    raise missing("urllib3", "urllib3", error) from error

__all__ = ["TraceClient", "install", "uninstall"]

_patches = Patches()
_inside: Final[ContextVar[bool]] = ContextVar("logferry_urllib3", default=False)


def _send(
    original: Any, allow: Destinations, pool: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Call a pool's `urlopen`."""
    if calling():
        return original(pool, *args, **kwargs)
    given = dict(zip(("method", "url", "body", "headers"), args, strict=False))
    method = str(given.get("method") or kwargs.get("method") or "GET")
    url = str(given.get("url") or kwargs.get("url") or "")
    body = given.get("body", kwargs.get("body"))
    headers = given.get("headers", kwargs.get("headers"))
    headers = pool.headers if headers is None else headers
    # Through a proxy for http the pool is the proxy's: then the URL is absolute and names the real host.
    absolute = not url.startswith("/") and "://" in url
    host = parse_url(url).host if absolute else pool.host
    full = url if absolute else f"{pool.scheme}://{pool.host}{f':{pool.port}' if pool.port else ''}{url}"

    def content() -> tuple[object, str]:
        types = [value for name, value in (headers or {}).items() if name.lower() == "content-type"]
        return body, str(types[0]) if types else ""

    hop = Hop(allow, method, full, host, headers or (), content)
    if hop.headers:
        headers = urllib3.HTTPHeaderDict(headers)
        headers.update(hop.headers)
        if len(args) > 3:
            args = (*args[:3], headers, *args[4:])
        else:
            kwargs = {**kwargs, "headers": headers}
    try:
        response = original(pool, *args, **kwargs)
    except BaseException as error:
        hop.failed(error)
        raise
    hop.answered(response.status, response.headers.get("Content-Length"))
    return response


def _redirecting(original: Any, allow: Destinations, manager: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Call a manager's `urlopen`, which calls itself for each redirect."""
    redirected = _inside.get()
    if redirected and kwargs.get("headers") is not None:
        url = str(args[1] if len(args) > 1 else kwargs.get("url", ""))
        if not allow.allows(parse_url(url).host):
            given: Mapping[str, str] = kwargs["headers"]
            headers = urllib3.HTTPHeaderDict(given)
            drop_ours(headers)
            kwargs = {**kwargs, "headers": headers}
    token = _inside.set(True)
    try:
        return original(manager, *args, **kwargs)
    finally:
        _inside.reset(token)


class TraceClient(urllib3.PoolManager):
    """A pool manager.

    `propagate_to`: hosts beside the near ones that ids go to (see `handlers.destinations`).
    """

    def __init__(self, *args: Any, propagate_to: PropagateTo = (), **options: Any) -> None:
        super().__init__(*args, **options)
        self._allow = allow = destinations(propagate_to)
        self.pool_classes_by_scheme = {
            scheme: _tracing(kind, allow) for scheme, kind in self.pool_classes_by_scheme.items()
        }

    def urlopen(self, method: str, url: str, *args: Any, **kw: Any) -> Any:
        """Send a request, and those that it is redirected to."""
        return _redirecting(urllib3.PoolManager.urlopen, self._allow, self, (method, url, *args), kw)


def _tracing(kind: Any, allow: Destinations) -> Any:
    def urlopen(pool: Any, *args: Any, **kwargs: Any) -> Any:
        return _send(kind.urlopen, allow, pool, args, kwargs)

    return type(kind.__name__, (kind,), {"urlopen": urlopen})


def install(*, propagate_to: PropagateTo = ()) -> None:
    """Do the same for every pool of the process, those that exist among them."""
    uninstall()
    allow = destinations(propagate_to)

    def pools(original: Any) -> Any:
        def urlopen(pool: Any, *args: Any, **kwargs: Any) -> Any:
            return _send(original, allow, pool, args, kwargs)

        return urlopen

    def managers(original: Any) -> Any:
        def urlopen(manager: Any, *args: Any, **kwargs: Any) -> Any:
            return _redirecting(original, allow, manager, args, kwargs)

        return urlopen

    _patches.replace(urllib3.HTTPConnectionPool, "urlopen", pools)
    _patches.replace(urllib3.PoolManager, "urlopen", managers)


def uninstall() -> None:
    """Undo `install`."""
    _patches.undo()
