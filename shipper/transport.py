"""HTTP as the sinks use it: one request, one answer, within one time-out. urllib3 makes the connections.

Rules:

- No retries and no redirects: the worker has the one retry policy, and a redirect would carry credentials
  away.
- `timeout` bounds the whole answer, not each read: a server that sends one byte a second is a dead server.
  (Only the resolver cannot be bounded: `getaddrinfo` takes as long as the system lets it.)
- At most `body_bytes` of an answer are read; what is longer costs the connection.
- A failure to get an answer is a `Retry` value whose reason holds no header, no credential and no path.
- One thread uses a transport at a time. Connections are made on first use and kept alive.
"""

from __future__ import annotations

import base64
import http.client
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from .model import Retry
from .trouble import why

if TYPE_CHECKING:
    from .bounded_http import Line

__all__ = ["BODY_BYTES", "Answer", "HttpTransport", "Tls", "basic_auth", "retry_after", "tls_context"]

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
    """What came back. `body` is cut at the transport's `body_bytes`; header names are in lower case.

    `content` is the body as it came, for answers that are not text: what is quoted of it is not masked.
    """

    status: int
    body: str
    headers: Mapping[str, str]
    content: bytes = b""


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

    `secrets` are masked, beside the credentials of the Authorization header, in what a server sends back.
    `extra` names the extra to install when urllib3 is missing (`loki`). At most `body_bytes` of an answer are
    read.
    """

    url: str
    headers: Mapping[str, str]
    timeout: float = 10.0
    tls: Tls = field(default_factory=Tls)
    extra: str = "loki"
    secrets: tuple[str, ...] = ()
    body_bytes: int = BODY_BYTES
    _line: Line | None = None

    def __repr__(self) -> str:
        return f"HttpTransport({self.url})"

    def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer | Retry:
        """Send one request to `path` (below the url's own path); return its answer, or why there is none."""
        try:
            import urllib3  # before any part of it: another sink's thread may be in the middle of it
        except ImportError as missing:
            raise ImportError(f'this sink needs urllib3: pip install "logferry[{self.extra}]"') from missing
        parts = urlsplit(self.url)
        where = f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
        try:
            if self._line is None:
                self._line = self._open()
            target, sent = parts.path.rstrip("/") + path, {**self.headers, **(headers or {})}
            reply = self._line.request(method, target, sent, body, self.timeout, self.body_bytes)
            said = self.masked(reply.body.decode("utf-8", "replace"))
            return Answer(reply.status, said, reply.headers, reply.body)
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError) as problem:
            self.close()
            return Retry(f"{where}: {why(problem, self.timeout)}")

    def _open(self) -> Line:
        from .bounded_http import Line

        parts = urlsplit(self.url)
        context = tls_context(self.tls) if parts.scheme == "https" else None
        return Line(parts.hostname or "", parts.port, context)

    def masked(self, body: str) -> str:
        """Mask what a server sends back of our credentials: an answer ends in logs and dead letters."""
        for credential in (self.headers.get("Authorization", "").partition(" ")[2], *self.secrets):
            body = body.replace(credential, "***") if credential else body
        return body

    def masked_bytes(self, content: bytes) -> bytes:
        """Mask the same in an answer that is not text; lengths stay, or its framing would break."""
        for credential in (self.headers.get("Authorization", "").partition(" ")[2], *self.secrets):
            secret = credential.encode()
            content = content.replace(secret, b"*" * len(secret)) if secret else content
        return content

    def close(self) -> None:
        """Close the connections; the next request makes new ones."""
        if self._line is not None:
            self._line.close()
            self._line = None


def tls_context(tls: Tls) -> ssl.SSLContext:
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
