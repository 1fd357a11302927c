"""A real Zipkin on a free loopback port, its spans in memory.

with ZipkinServer(tmp_path) as zipkin: … zipkin.url … zipkin.trace(trace_id)
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from .cache import binary
from .loki import free_port
from .process import Process, java

__all__ = ["ZipkinServer"]


class ZipkinServer(Process):
    """Starts and ends one server."""

    name = "Zipkin"
    log = "zipkin.log"

    def __init__(self, data: Path) -> None:
        super().__init__(data)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        """Return what starts it."""
        jar = next(binary("zipkin").glob("zipkin-server-*.jar"))
        place = "--armeria.ports[0]."  # server.address is not heeded
        ours = (f"{place}ip=127.0.0.1", f"{place}port={self.port}", f"{place}protocols[0]=http")
        return [*java(self.data, "-Xmx256m", "-jar", str(jar)), *ours]

    def environment(self) -> dict[str, str]:
        """Return the tests' own: it does not trace itself."""
        return {**os.environ, "SELF_TRACING_ENABLED": "false"}

    def answers(self) -> bool:
        """Say whether it is well."""
        self._get("/health")
        return True

    def trace(self, trace_id: str) -> list[dict[str, Any]]:
        """Return the spans of a trace, merged as Zipkin merges them; empty when it knows none."""
        try:
            found: list[dict[str, Any]] = self._get(f"/api/v2/trace/{trace_id}")
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return []
            raise
        return found

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=5) as answer:
            return json.load(answer)
