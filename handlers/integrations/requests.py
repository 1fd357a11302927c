"""requests: ids to the hosts that may have them, and each call told.

    from logferry.handlers.integrations.requests import TraceClient   # a requests.Session
    with TraceClient(propagate_to=[".example.com"]) as client: client.get("http://stock/items")

or, without a change of code, for all sessions of the process: ``install(propagate_to=[".example.com"])``.
"""

from __future__ import annotations

from typing import Any

from ..calls import calling
from ..destinations import Destinations, PropagateTo, destinations
from ._http import Hop, drop_ours
from ._needs import missing
from ._patch import Patches

try:
    import requests
    from requests.adapters import BaseAdapter
    from urllib3.util import parse_url
except ImportError as error:
    raise missing("requests", "requests", error) from error

__all__ = ["TraceClient", "install", "uninstall"]

_patches = Patches()


def _host(url: str | None) -> str | None:
    """Return the host that requests will connect to: it parses URLs with urllib3."""
    try:
        return parse_url(url or "").host
    except ValueError:
        return None


class _Adapter(BaseAdapter):  # type: ignore[misc,unused-ignore] # the library has no types
    """Sends through the session's own adapter."""

    def __init__(self, inner: Any, allow: Destinations) -> None:
        self._inner = inner
        self._allow = allow

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        if calling():
            return self._inner.send(request, *args, **kwargs)

        def body() -> tuple[object, str]:
            return request.body, request.headers.get("Content-Type", "")

        hop = Hop(
            self._allow, request.method or "GET", request.url or "", _host(request.url), request.headers, body
        )
        sent = request
        if hop.headers:
            sent = request.copy()
            sent.headers.update(hop.headers)
        try:
            response = self._inner.send(sent, *args, **kwargs)
        except BaseException as error:
            hop.failed(error)
            raise
        hop.answered(response.status_code, response.headers.get("Content-Length"))
        return response

    def close(self) -> None:
        self._inner.close()


def _forget(allow: Destinations, prepared: Any) -> None:
    if not allow.allows(_host(prepared.url)):
        drop_ours(prepared.headers)


class TraceClient(requests.Session):  # type: ignore[misc,unused-ignore]
    """A session. `propagate_to`: hosts beside the near ones that ids go to (see `handlers.destinations`)."""

    def __init__(self, *, propagate_to: PropagateTo = ()) -> None:
        super().__init__()
        self._allow = destinations(propagate_to)

    def get_adapter(self, url: str) -> Any:
        """Return the adapter for a URL, with ours in front."""
        adapter = super().get_adapter(url)
        return adapter if isinstance(adapter, _Adapter) else _Adapter(adapter, self._allow)

    def rebuild_auth(self, prepared_request: Any, response: Any) -> None:
        """Remove from a redirected request what a stranger may not have."""
        super().rebuild_auth(prepared_request, response)
        _forget(self._allow, prepared_request)


def install(*, propagate_to: PropagateTo = ()) -> None:
    """Do the same for every session of the process, those that exist among them."""
    uninstall()
    allow = destinations(propagate_to)

    def adapters(original: Any) -> Any:
        def get_adapter(session: Any, *args: Any, **kwargs: Any) -> Any:
            adapter = original(session, *args, **kwargs)
            return adapter if isinstance(adapter, _Adapter) else _Adapter(adapter, allow)

        return get_adapter

    def redirects(original: Any) -> Any:
        def rebuild_auth(session: Any, prepared_request: Any, response: Any) -> None:
            original(session, prepared_request, response)
            _forget(session._allow if isinstance(session, TraceClient) else allow, prepared_request)  # noqa: SLF001

        return rebuild_auth

    _patches.replace(requests.Session, "get_adapter", adapters)
    _patches.replace(requests.Session, "rebuild_auth", redirects)


def uninstall() -> None:
    """Undo `install`."""
    _patches.undo()
