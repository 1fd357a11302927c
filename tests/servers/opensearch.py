"""A real OpenSearch node on free loopback ports, its data in a directory of its own.

It is OpenSearch's own server from the published jars, started by the runner that programs embed it with.
"""

from __future__ import annotations

from pathlib import Path

from .cache import binary
from .elasticsearch import BULK_LIMIT, PRESSURE_LIMIT, SearchServer
from .loki import free_port
from .process import java

__all__ = ["OpenSearchServer"]

_JAVA = [
    *("-Xms512m", "-Xmx512m", "-Djna.nosys=true", "-Dio.netty.noUnsafe=true"),
]


class OpenSearchServer(SearchServer):
    """Starts, restarts and kills one node."""

    name = "opensearch"
    opensearch = True
    pit = ("_search/point_in_time", "pit_id")
    tie = "_doc"

    def __init__(self, data: Path) -> None:
        super().__init__(data)
        self._transport = free_port()

    def command(self) -> list[str]:
        """Return what starts it: our main class is compiled as it starts."""
        source = Path(__file__).parent / "opensearch" / "OneOpenSearch.java"
        settings = {
            "http.max_content_length": f"{BULK_LIMIT}b",
            "indexing_pressure.memory.limit": f"{PRESSURE_LIMIT}b",
            "cluster.routing.allocation.disk.threshold_enabled": "false",
        }
        return [
            *java(self.data, *_JAVA, "-cp", f"{binary('opensearch')}/*"),
            *(str(source), str(self.data / "node"), str(self.port), str(self._transport)),
            *(f"{name}={value}" for name, value in settings.items()),
        ]
