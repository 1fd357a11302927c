"""How sinks whose batch is one HTTP request reach their server: one connection, as the common options say.

What an answer means is each sink's own `verdict`; retries are the worker's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from .config.http import sent_headers, told_secrets
from .config.http_options import HttpOptions
from .core.gzipped import gzipped
from .model import Retry
from .transport import Answer, HttpTransport, retry_after

__all__ = ["HttpRequests"]


class HttpRequests:
    """Asks one server.

    `base` is its address, `headers` go with each request, `extra` brings what is needed.
    """

    def __init__(
        self,
        options: HttpOptions,
        base: str,
        headers: Mapping[str, str],
        *,
        extra: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        credentials = options.password, options.bearer_token, options.secret_headers
        self._clock = clock
        self._packed = {"Content-Encoding": "gzip"} if options.compression == "gzip" else {}
        self._transport = HttpTransport(
            base,
            {**sent_headers(options.username, *credentials), **headers},
            options.timeout,
            options.tls.tls(),
            extra=extra,
            secrets=told_secrets(*credentials),
        )

    def send(
        self, path: str, body: bytes, headers: Mapping[str, str] | None = None, method: str = "POST"
    ) -> Answer | Retry:
        """Send one body, compressed where that is asked for; return the answer, or why there is none."""
        if self._packed:
            body = gzipped(body)
        return self._transport.request(method, path, body, {**(headers or {}), **self._packed})

    def ask(self, method: str, path: str) -> Answer | Retry:
        """Send a request without a body; return the answer, or why there is none."""
        return self._transport.request(method, path)

    def wait(self, answer: Answer) -> float | None:
        """Return the seconds that an answer asks for; None: it says nothing of it."""
        return retry_after(answer.headers.get("retry-after"), self._clock())

    def masked(self, content: bytes) -> bytes:
        """Mask our credentials in an answer that is not text."""
        return self._transport.masked_bytes(content)

    def close(self) -> None:
        """Release the connection."""
        self._transport.close()
