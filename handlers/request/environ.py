"""A WSGI environ (and Django's `META`, which is one): its headers, its path, and its body as it is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ..tracing import HEADERS
from .body import Body
from .exchange import READ, Exchange
from .policy import Policy

__all__ = ["EXCHANGE", "Tee", "made", "path_of"]

EXCHANGE: Final = "logferry.exchange"  # the environ's key for the request's `Exchange`
_CGI: Final = {"content-length": "CONTENT_LENGTH", "content-type": "CONTENT_TYPE"}


def _key(name: str) -> str:
    return _CGI.get(name) or "HTTP_" + name.upper().replace("-", "_")


_TRACE: Final = tuple((_key(name), name) for name in sorted(HEADERS))
_READ: Final = tuple((_key(name), name) for name in sorted(READ))


def path_of(environ: Mapping[str, Any]) -> str:
    """Return the path as text."""
    path = f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}" or "/"
    try:
        return path if path.isascii() else path.encode("latin-1").decode("utf-8", "replace")
    except UnicodeEncodeError:
        return path


def made(policy: Policy, environ: Mapping[str, Any], path: str, request: object) -> Exchange:
    """Return the `Exchange` of a request. Headers of one name were joined with commas by the server."""
    more = [(_key(name), name) for name in policy.precedence if name not in HEADERS]
    return Exchange(
        policy,
        str(environ.get("REQUEST_METHOD", "")),
        path,
        str(environ.get("QUERY_STRING") or ""),
        [(name, str(environ[key])) for key, name in (*_TRACE, *more) if key in environ],
        {name: str(environ[key]) for key, name in _READ if environ.get(key)},
        str(environ.get("REMOTE_ADDR") or ""),
        request,
    )


class Tee:
    """A request's input: the application reads it as ever, and `body` sees what it reads."""

    def __init__(self, source: Any, body: Body) -> None:
        self._source = source
        self._body = body

    def read(self, *size: Any) -> bytes:
        """Read bytes."""
        return self._seen(self._source.read(*size))

    def readline(self, *size: Any) -> bytes:
        """Read a line."""
        return self._seen(self._source.readline(*size))

    def readlines(self, *hint: Any) -> list[bytes]:
        """Read lines."""
        return [self._seen(line) for line in self._source.readlines(*hint)]

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer."""
        count: int = self._source.readinto(buffer)
        self._seen(bytes(memoryview(buffer)[: count or 0]))
        return count

    def __iter__(self) -> Iterator[bytes]:
        return map(self._seen, self._source)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def _seen(self, data: bytes) -> bytes:
        if data:
            self._body.feed(data)
        return data
