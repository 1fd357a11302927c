"""A real Elasticsearch node on free loopback ports, its data in a directory of its own.

It is Elastic's own server and HTTP layer from the published jars. What is missing beside it (security, index
lifecycle management, licences) stands in docs/testing.md. `elasticsearch/StandIns.java` fills two gaps.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import urllib3

from .cache import binary
from .loki import free_port
from .process import Process, java

__all__ = ["BULK_LIMIT", "PRESSURE_LIMIT", "ElasticsearchServer", "SearchServer"]

BULK_LIMIT = 12 << 20
"""Bytes from which on a request is answered with 413."""

PRESSURE_LIMIT = 8 << 20
"""Bytes of all requests under way from which on they are answered with 429."""

_PAGE = 10_000
_SETTINGS: Mapping[str, object] = {
    "cluster.name": "logferry-tests",
    "node.name": "one",
    "network.host": "127.0.0.1",
    "discovery.type": "single-node",
    "cluster.routing.allocation.disk.threshold_enabled": False,
    "http.max_content_length": f"{BULK_LIMIT}b",
    "indexing_pressure.memory.limit": f"{PRESSURE_LIMIT}b",
    # What is garbage, and not collected yet, is not counted: with this collector a node that is full of it
    # answers 429 to all, takes nothing, so collects nothing, and stays so.
    "indices.breaker.total.use_real_memory": False,
}
_JAVA = [
    *("-Xms512m", "-Xmx512m", "-Xss1m", "-Djna.nosys=true"),
    *("-Dio.netty.noUnsafe=true", "-Dio.netty.noKeySetOptimization=true", "-Djava.awt.headless=true"),
    *("-Dlog4j.shutdownHookEnabled=false", "-Dlog4j2.disable.jmx=true", "-Djava.locale.providers=SPI,COMPAT"),
]


class SearchServer(Process):
    """Starts, restarts and kills one node; reads back what it holds. It is killed by its own pid."""

    log = "node.log"
    opensearch = False
    pit = ("_pit", "id")
    """Where a point in time is had, and what its name is called."""
    tie = "_shard_doc"

    def __init__(self, data: Path) -> None:
        super().__init__(data)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._http = urllib3.PoolManager(retries=False, timeout=60)

    def answers(self) -> bool:
        """Say whether its shards are there."""
        try:
            health = self._http.request("GET", f"{self.url}/_cluster/health?wait_for_status=yellow")
        except urllib3.exceptions.HTTPError:
            return False
        return health.status == 200

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Return the JSON answer to a request; RuntimeError when it is no success."""
        answer = self._http.request(
            method,
            f"{self.url}{path}",
            body=None if body is None else json.dumps(body),
            headers={"Content-Type": "application/json"},
        )
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.data[:500]!r}")
        return json.loads(answer.data)

    def ids(self, stream: str) -> list[str]:
        """Return the `_id` of all events that a data stream holds, in all of its indices."""
        return [hit["_id"] for hit in self.hits(stream, source=False)]

    def events(self, stream: str, query: str = "*") -> list[dict[str, Any]]:
        """Return the events that a query (in Lucene's language) finds, ordered by their ids."""
        return [hit["_source"] for hit in self.hits(stream, query)]

    def hits(
        self,
        stream: str,
        query: str = "*",
        *,
        source: bool | Sequence[str] = True,
        sort: Sequence[str] = ("event_id",),
    ) -> Iterator[dict[str, Any]]:
        """Yield what a query finds, page by page, with all that an event holds, nothing, or some fields."""
        self.ask("POST", f"/{stream}/_refresh")
        order = [*sort, self.tie] if self.tie not in sort else list(sort)
        search: dict[str, Any] = {"size": _PAGE, "sort": order, "_source": source}
        search["query"] = {"query_string": {"query": query}}
        # A point in time: pages of one and the same state, and a tie-breaker for equal ids.
        search["pit"] = {"id": self.ask("POST", f"/{stream}/{self.pit[0]}?keep_alive=1m")[self.pit[1]]}
        while True:
            page = self.ask("POST", "/_search", search)["hits"]["hits"]
            yield from page
            if len(page) < _PAGE:
                return
            search["search_after"] = page[-1]["sort"]


class ElasticsearchServer(SearchServer):
    """Elasticsearch 8, or 9 with `name` elasticsearch-9."""

    def __init__(self, data: Path, name: str = "elasticsearch") -> None:
        super().__init__(data)
        self.name = name
        config = data / "config"
        config.mkdir(parents=True)
        shutil.copy(Path(__file__).parent / "elasticsearch" / "log4j2.properties", config)
        places = {"path.data": str(data / "data"), "path.logs": str(data / "logs")}
        # Nobody asks for the transport's port: the first free one below those that clients are given.
        ports = {"http.port": self.port, "transport.port": "20300-20500"}
        # JSON is YAML.
        (config / "elasticsearch.yml").write_text(json.dumps({**_SETTINGS, **places, **ports}))

    def command(self) -> list[str]:
        """Return what starts it; version 9 brings its own Java."""
        home = binary(self.name)
        own = home / "java" / "bin" / "java"
        modules = "jdk.net,jdk.management.agent,ALL-MODULE-PATH"
        return [
            *java(self.data, *_JAVA, program=str(own) if own.exists() else "java"),
            *("--module-path", str(home / "lib"), f"--add-modules={modules}", "-cp", str(home / "classes")),
            *("OneNode", str(home), str(self.data / "config")),
        ]
