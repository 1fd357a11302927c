"""What all HTTP clients have in common: one hop of one request, told, and with ids if its host may have them.

Rules
- A hop is one exchange with one host: each redirect is a hop of its own, and decided anew.
- Ids are put into a copy of the request that is sent, never into the one that redirects are made from.
- Headers of ours that the caller has set by hand stay, but for a redirect to a stranger: there they go too.
- A hop inside another call (requests' inside urllib3's) is left to the outer one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, Final

from ..calls import Call, clean_url, summarise_body
from ..carry import sent
from ..destinations import Destinations

__all__ = ["OURS", "Hop", "drop_ours"]

# Everything that tells of a trace, in lower case.
OURS: Final = frozenset(
    {
        *("traceparent", "tracestate", "x-request-id", "x-trace-id", "x-span-id", "x-parent-id"),
        *("b3", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags"),
    }
)


def drop_ours(headers: MutableMapping[str, Any]) -> None:
    """Remove every header that tells of a trace."""
    for name in [name for name in headers if name.lower() in OURS]:
        del headers[name]


class Hop:
    """One exchange. `headers` are those to add to what is sent."""

    __slots__ = ("_call", "headers")

    def __init__(
        self,
        allow: Destinations,
        method: str,
        url: str,
        host: str | None,
        there: Iterable[str],
        body: Any = None,
    ) -> None:
        def describe() -> Mapping[str, object]:
            content = body() if callable(body) else (body, "")
            arguments = summarise_body(*content)
            known: dict[str, object] = {"method": method, "url": clean_url(url)}
            return {**known, "arguments": arguments} if arguments else known

        self._call = Call.begin(f"{method} {host or ''}".strip(), describe, peer=host or "")
        self.headers: dict[str, str] = {}
        if allow.allows(host):
            present = {name.lower() for name in there}
            self.headers = {name: value for name, value in sent().items() if name not in present}

    def answered(self, status: int, length: str | None) -> None:
        """Tell the answer's beginning; `length` is its Content-Length."""
        size = int(length) if length and length.isascii() and length.isdigit() else None
        error = f"HTTP {status}" if status >= 500 else None
        self._call.end(error, status_code=status, bytes=size)

    def failed(self, error: BaseException) -> None:
        """Tell that there was no answer."""
        self._call.end(error)
