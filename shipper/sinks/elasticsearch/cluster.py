"""Several hosts as one, behind the elasticsearch package's transport.

The package's transport chooses the node, remembers which did not answer, and tries the next one; below it
each node is our own `HttpTransport`, so that an answer has a deadline and an end. Its serialisers hand bytes
through: what is sent is ready, and what comes back is read by `verdict`. The package's client is not used: it
refuses OpenSearch, and would decode every answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

from ...model import Retry
from ...transport import Answer, HttpTransport, Tls

if TYPE_CHECKING:
    import elastic_transport

__all__ = ["ANSWER_BYTES", "Cluster"]

ANSWER_BYTES: Final = 4 << 20
"""What is read of one answer. Five thousand refusals with their reasons are about three megabytes."""

_ELSEWHERE: Final = (502, 503, 504)
"""Answers of a node, or of what stands before it, that another node may not give."""


class _Reply(NamedTuple):
    """What the package's transport takes from a node."""

    meta: Any
    body: Answer


class Cluster:
    """Talks to whichever of `urls` answers. One thread uses it at a time."""

    def __init__(self, urls: Sequence[str], headers: Mapping[str, str], timeout: float, tls: Tls) -> None:
        self._nodes = [
            HttpTransport(url, headers, timeout, tls, extra="elasticsearch", body_bytes=ANSWER_BYTES)
            for url in urls
        ]
        self._transport: elastic_transport.Transport | None = None

    def request(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes = b""
    ) -> Answer | Retry:
        """Send one request to one node after the other until one answers; return that, or why none did."""
        if self._transport is None:
            self._transport = _transport(self._nodes)
        from elastic_transport import TransportError

        try:
            # Its result's type says what a JSON answer would be; ours is what our node made.
            answer: Any = self._transport.perform_request(
                method, target, body=body or None, headers=headers, request_timeout=None
            ).body
        except TransportError as error:
            told = [str(entry.message) for entry in (*error.errors, error) if hasattr(entry, "message")]
            return Retry("; ".join(dict.fromkeys(told)))
        return answer if isinstance(answer, Answer) else Retry("no answer")

    def close(self) -> None:
        """Release all connections."""
        for node in self._nodes:
            node.close()
        self._transport = None


def _transport(nodes: Sequence[HttpTransport]) -> elastic_transport.Transport:
    try:
        import elastic_transport as et
    except ImportError as missing:
        raise ImportError(
            'the elasticsearch sink needs elasticsearch: pip install "logferry[elasticsearch]"'
        ) from missing
    places = {_place(node.url): node for node in nodes}

    class Through(et.Serializer):
        """Hands on what it is given."""

        mimetype = "*/*"

        def loads(self, data: Any) -> Any:
            return data

        def dumps(self, data: Any) -> bytes:
            made: bytes = data
            return made

    class Node(et.BaseNode):
        """One host, over our own transport."""

        def perform_request(
            self,
            method: str,
            target: str,
            body: bytes | None = None,
            headers: Any = None,
            request_timeout: Any = None,  # noqa: ARG002 - the transport has its own
        ) -> Any:
            answer = places[self.host, self.port, self.path_prefix].request(
                method, target, body or b"", dict(headers or {})
            )
            if isinstance(answer, Retry):
                raise et.ConnectionError(answer.reason)
            meta = et.ApiResponseMeta(
                node=self.config,
                duration=0.0,
                http_version="1.1",
                status=answer.status,
                headers=et.HttpHeaders(),
            )
            return _Reply(meta, answer)

        def close(self) -> None:
            """Nothing: `Cluster` closes the connections."""

    through = Through()
    kinds = ("*/*", "application/json", "application/x-ndjson")
    vendor = ("application/vnd.elasticsearch+json", "application/vnd.elasticsearch+x-ndjson")
    return et.Transport(
        [
            et.NodeConfig(urlsplit(node.url).scheme, host, port, path_prefix=prefix)
            for (host, port, prefix), node in places.items()
        ],
        node_class=Node,
        serializers=dict.fromkeys((*kinds, *vendor), through),
        default_mimetype="*/*",
        max_retries=len(places) - 1,
        retry_on_status=_ELSEWHERE,
        meta_header=False,
    )


def _place(url: str) -> tuple[str, int, str]:
    parts = urlsplit(url)
    return (
        parts.hostname or "",
        parts.port or (443 if parts.scheme == "https" else 80),
        parts.path.rstrip("/"),
    )
