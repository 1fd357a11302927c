"""Who answers: Elasticsearch 8 or 9, OpenSearch, or something else; and how each wants to be talked to. Pure.

The compatibility headers of version 8 are understood by servers 8 and 9 alike; OpenSearch refuses them. Who
may not ask for the version (403: a key for one data stream only) is taken for Elasticsearch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

__all__ = ["Server", "read_server"]

_STREAMS_ONLY: Final = (8, 13)  # from here on a bulk request can ask for data streams only


@dataclass(frozen=True, slots=True)
class Server:
    """The server's kind. `version` is () when it was not told."""

    opensearch: bool = False
    version: tuple[int, ...] = ()

    @property
    def json(self) -> Mapping[str, str]:
        """Headers of a request with a JSON body."""
        return self._headers("json")

    @property
    def bulk(self) -> Mapping[str, str]:
        """Headers of a bulk request."""
        return self._headers("x-ndjson")

    @property
    def bulk_target(self) -> str:
        """The path and query of a bulk request, below the data stream."""
        error = "items.*.error.type,items.*.error.reason,items.*.error.caused_by.reason"
        wanted = f"errors,items.*.status,{error},items.*.failure_store"
        return f"/_bulk?filter_path={wanted}" + ("&require_data_stream=true" if self.streams_only else "")

    @property
    def streams_only(self) -> bool:
        """Whether a bulk request can ask for data streams only."""
        return not self.opensearch and self.version >= _STREAMS_ONLY

    @property
    def name(self) -> str:
        """What it is called."""
        kind = "OpenSearch" if self.opensearch else "Elasticsearch"
        return f"{kind} {'.'.join(map(str, self.version))}".rstrip()

    def _headers(self, kind: str) -> Mapping[str, str]:
        if self.opensearch:
            return {"Accept": "application/json", "Content-Type": f"application/{kind}"}
        vendor = "application/vnd.elasticsearch+{};compatible-with=8"
        return {"Accept": vendor.format("json"), "Content-Type": vendor.format(kind)}


def read_server(body: str) -> Server | str:
    """Return the server that told `body` about itself, or what is wrong with it."""
    try:
        version: Any = msgspec.json.decode(body)["version"]
        number = tuple(int(part) for part in str(version["number"]).partition("-")[0].split("."))
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):
        return "what answers is not Elasticsearch"
    if version.get("distribution") == "opensearch":
        return Server(opensearch=True, version=number)
    if number < (8,):
        return f"Elasticsearch {version['number']} is too old: versions 8 and 9 are supported"
    return Server(version=number)
