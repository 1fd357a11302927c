"""A real Jaeger on free loopback ports, its spans in memory. The project does not install it.

LOGFERRY_JAEGER=<path of jaeger's all-in-one> python -m pytest tests/integration/test_jaeger_real.py
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from .loki import free_port
from .process import Process

__all__ = ["JaegerServer"]

_OTHERS = (
    *("collector.grpc-server", "collector.http-server", "collector.otlp.grpc", "query.grpc-server"),
    *("admin.http", "http-server"),
)


class JaegerServer(Process):
    """Starts and ends one server. `otlp` and `zipkin` are where it takes spans in those forms."""

    name = "Jaeger"
    log = "jaeger.log"

    def __init__(self, binary: Path, data: Path) -> None:
        super().__init__(data)
        self._binary = binary
        self._query, otlp, zipkin = (f"127.0.0.1:{free_port()}" for _ in range(3))
        self._flags = {
            "query.http-server.host-port": self._query,
            "collector.otlp.http.host-port": otlp,
            "collector.zipkin.host-port": zipkin,
            **{f"{name}.host-port": f"127.0.0.1:{free_port()}" for name in _OTHERS},
            **{f"processor.{name}.server-host-port": f"127.0.0.1:{free_port()}" for name in _PROCESSORS},
        }
        self.otlp, self.zipkin = f"http://{otlp}", f"http://{zipkin}"

    def command(self) -> list[str]:
        """Return what starts it."""
        return [str(self._binary), *(f"--{name}={value}" for name, value in self._flags.items())]

    def answers(self) -> bool:
        """Say whether it knows of services."""
        self._get("/api/services")
        return True

    def trace(self, trace_id: str) -> dict[str, dict[str, Any]]:
        """Return the spans of a trace by their names, with `service`, `parent` and `tag` (a mapping)."""
        try:
            (trace,) = self._get(f"/api/traces/{trace_id}")["data"]
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return {}
            raise
        for span in trace["spans"]:
            span["service"] = trace["processes"][span["processID"]]["serviceName"]
            span["parent"] = next((ref["spanID"] for ref in span["references"]), "")
            span["tag"] = {tag["key"]: tag["value"] for tag in span["tags"]}
        return {span["operationName"]: span for span in trace["spans"]}

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://{self._query}{path}", timeout=5) as answer:
            return json.load(answer)


_PROCESSORS = ("jaeger-binary", "jaeger-compact", "zipkin-compact")
