"""HTTP as the sinks use it: one request, one answer, within one time-out. urllib3 makes the connections.

Rules:

- No retries and no redirects: the worker has the one retry policy, and a redirect would carry credentials
  away.
- `timeout` bounds the whole answer, not each read: a server that sends one byte a second is a dead server.
  (Only the resolver cannot be bounded: `getaddrinfo` takes as long as the system lets it.)
- At most `BODY_BYTES` of an answer are read; what is longer costs the connection.
- A failure to get an answer is a `Retry` value whose reason holds no header, no credential and no path.
- One thread uses a transport at a time. Connections are made on first use and kept alive.
"""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from .model import Retry

if TYPE_CHECKING:
    from .bounded_http import Line

__all__ = ["BODY_BYTES", "Answer", "HttpTransport", "Tls", "basic_auth", "retry_after"]

BODY_BYTES: Final = 64 * 1024
_LONGEST_WAIT: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Tls:
    """How the server's certificate is checked; `cert_file` and `key_file` are our own certificate."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    verify: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `body` is cut at `BODY_BYTES`; header names are in lower case."""

    status: int
    body: str
    headers: Mapping[str, str]


def basic_auth(username: str, password: str) -> str:
    """Return the value of an Authorization header."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def retry_after(value: str | None, now: float) -> float | None:
    """Return the seconds that a Retry-After header asks for, at most an hour; None when it says nothing."""
    if not value:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return min(float(text), _LONGEST_WAIT)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max((moment - datetime.fromtimestamp(now, UTC)).total_seconds(), 0.0), _LONGEST_WAIT)


@dataclass(slots=True, repr=False)
class HttpTransport:
    """Talks to one server. `headers` go with each request and are never shown. Times are seconds.

    `extra` names the extra to install when urllib3 is missing (`loki`).
    """

    url: str
    headers: Mapping[str, str]
    timeout: float = 10.0
    tls: Tls = field(default_factory=Tls)
    extra: str = "loki"
    _line: Line | None = None

    def __repr__(self) -> str:
        return f"HttpTransport({self.url})"

    def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer | Retry:
        """Send one request to `path` (below the url's own path); return its answer, or why there is none."""
        try:
            from urllib3.exceptions import HTTPError
        except ImportError as missing:
            raise ImportError(f'this sink needs urllib3: pip install "logferry[{self.extra}]"') from missing
        parts = urlsplit(self.url)
        where = f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
        try:
            if self._line is None:
                self._line = self._open()
            target, sent = parts.path.rstrip("/") + path, {**self.headers, **(headers or {})}
            reply = self._line.request(method, target, sent, body, self.timeout, BODY_BYTES)
            said = self._without_credentials(reply.body.decode("utf-8", "replace"))
            return Answer(reply.status, said, reply.headers)
        except (HTTPError, http.client.HTTPException, OSError, ValueError) as problem:
            self.close()
            return Retry(f"{where}: {_reason(problem, self.timeout)}")

    def _open(self) -> Line:
        from .bounded_http import Line

        parts = urlsplit(self.url)
        context = _context(self.tls) if parts.scheme == "https" else None
        return Line(parts.hostname or "", parts.port, context)

    def _without_credentials(self, body: str) -> str:
        """Mask what a server sends back of our credentials: an answer ends in logs and dead letters."""
        credential = self.headers.get("Authorization", "").partition(" ")[2]
        return body.replace(credential, "***") if credential else body

    def close(self) -> None:
        """Close the connections; the next request makes new ones."""
        if self._line is not None:
            self._line.close()
            self._line = None


def _context(tls: Tls) -> ssl.SSLContext:
    """Return the TLS context; OSError (which names the file) when a file cannot be used."""
    for file in (tls.ca_file, tls.cert_file, tls.key_file):
        if file is not None:
            file.open("rb").close()  # else a missing file's error would not name it
    context = ssl.create_default_context(cafile=None if tls.ca_file is None else str(tls.ca_file))
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert_file is not None:
        context.load_cert_chain(tls.cert_file, tls.key_file)
    return context


def _reason(problem: Exception, timeout: float) -> str:
    """Say in words of ours why there was no answer: an exception's own text may hold headers or URLs."""
    from urllib3 import exceptions

    chain: list[BaseException] = [problem]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and len(chain) < 10:
        chain.append(cause)
    # urllib3 wraps what happened; some of its errors carry it as an argument instead.
    chain += [arg for error in tuple(chain) for arg in error.args if isinstance(arg, BaseException)]
    for kind, text in (
        (ssl.SSLCertVerificationError, "its certificate was not accepted"),
        (socket.gaierror, "the name cannot be resolved"),
        (exceptions.NameResolutionError, "the name cannot be resolved"),
        (ConnectionRefusedError, "connection refused: nothing listens there"),
        (ssl.SSLError, "TLS failed: does the other side speak it?"),
        (ConnectionError, "the connection was cut before the answer was whole"),
        (http.client.IncompleteRead, "the connection was cut before the answer was whole"),
        (exceptions.IncompleteRead, "the connection was cut before the answer was whole"),
        (FileNotFoundError, "a file of the tls settings is not there"),
        (PermissionError, "a file of the tls settings cannot be read"),
        (TimeoutError, f"no whole answer within {timeout:g} s"),
        (exceptions.ReadTimeoutError, f"no whole answer within {timeout:g} s"),
        (exceptions.ConnectTimeoutError, f"no connection within {timeout:g} s"),
        (http.client.HTTPException, "what answered does not speak HTTP"),
        (exceptions.ProtocolError, "what answered does not speak HTTP, or was cut off"),
    ):
        for error in chain:
            if isinstance(error, kind):
                return text + _detail(error)
    return f"no answer ({type(problem).__name__})"


def _detail(error: BaseException) -> str:
    """Return what is safe to say more: the verifier's finding, a file's name."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f": {error.verify_message}"
    if isinstance(error, OSError) and isinstance(error.filename, (str, Path)):
        return f": {error.filename}"
    return ""
