"""What a user can set about requests: the same for every framework, checked once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from time import monotonic, perf_counter
from typing import Any, Final, TypedDict

from ..redaction import Redactor
from ..tracing import PRECEDENCE
from .body import Cleans
from .clients import Clients
from .told import REQUEST

__all__ = ["Options", "Policy"]

_log: Final = logging.getLogger(REQUEST)
_COMPLAIN_EVERY: Final = 60.0


class Options(TypedDict, total=False):
    """The options of every adapter; see `Policy`."""

    slow_ms: float | None
    exclude: Iterable[str]
    trusted_proxies: Iterable[str]
    user_id: Callable[[Any], object] | None
    body_limit: int
    redactor: Cleans | None
    precedence: tuple[str, ...]
    clock: Callable[[], float]


class Policy:
    """Settings of the requests of one application.

    `slow_ms`: requests that take longer are logged as WARNING (None: never). `exclude`: paths without access
    events; one that ends with ``*`` is a beginning. `trusted_proxies`: as in `clients.Clients`. `user_id`: a
    function that gets the request (ASGI: the scope, WSGI: the environ, else the framework's request) and
    returns the user's id or None; it is asked at the beginning, and where it had no answer at the end.
    `body_limit`: bytes of a body that are kept for its summary (0: none). `redactor` cleans query strings and
    bodies; by default a `Redactor` with the built-in rules. `precedence` as in `tracing.from_headers`.
    `clock` returns seconds. Raises TypeError for another option, ValueError for a proxy that is no address.
    """

    __slots__ = (
        *("body_limit", "clients", "clock", "precedence", "redactor", "slow_ms", "user_id"),
        *("_complained", "_exact", "_prefixes"),
    )

    def __init__(
        self,
        *,
        slow_ms: float | None = 1_000.0,
        exclude: Iterable[str] = (),
        trusted_proxies: Iterable[str] = (),
        user_id: Callable[[Any], object] | None = None,
        body_limit: int = 16 * 1024,
        redactor: Cleans | None = None,
        precedence: tuple[str, ...] = PRECEDENCE,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        paths = [exclude] if isinstance(exclude, str) else list(exclude)
        self.slow_ms = float("inf") if slow_ms is None else slow_ms
        self.clients = Clients(trusted_proxies)
        self.user_id = user_id
        self.body_limit = body_limit
        self.redactor = Redactor() if redactor is None else redactor
        self.precedence = PRECEDENCE if tuple(precedence) == PRECEDENCE else tuple(precedence)
        self.clock = clock
        self._exact = frozenset(path for path in paths if not path.endswith("*"))
        self._prefixes = tuple(path[:-1] for path in paths if path.endswith("*"))
        self._complained = float("-inf")

    def excludes(self, path: str) -> bool:
        """Tell whether requests for `path` have no access event."""
        return path in self._exact or (bool(self._prefixes) and path.startswith(self._prefixes))

    def ask_user(self, request: object) -> str:
        """Return what the hook says of a request's user; `""` where it says nothing, or fails."""
        if self.user_id is None:
            return ""
        try:
            found = self.user_id(request)
            return "" if found is None else str(found)
        except Exception:  # noqa: BLE001 - the hook is the application's; its mistake fails no request
            now = monotonic()
            if now - self._complained > _COMPLAIN_EVERY:
                self._complained = now
                _log.warning("the user_id hook failed", exc_info=True)
            return ""
