"""A real Jaeger on free loopback ports, its spans in memory. The project does not install it.

LOGFERRY_JAEGER=<path of jaeger's all-in-one> python -m pytest tests/integration/test_jaeger_real.py
"""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

from .loki import free_port

__all__ = ["JaegerServer"]

_OTHERS = (
    *("collector.grpc-server", "collector.http-server", "collector.otlp.grpc", "query.grpc-server"),
    *("admin.http", "http-server"),
)


class JaegerServer:
    """Starts and ends one server. `otlp` and `zipkin` are where it takes spans in those forms."""

    def __init__(self, binary: Path, data: Path) -> None:
        self._binary, self._data = binary, data
        self._query, otlp, zipkin = (f"127.0.0.1:{free_port()}" for _ in range(3))
        self._flags = {
            "query.http-server.host-port": self._query,
            "collector.otlp.http.host-port": otlp,
            "collector.zipkin.host-port": zipkin,
            **{f"{name}.host-port": f"127.0.0.1:{free_port()}" for name in _OTHERS},
            **{f"processor.{name}.server-host-port": f"127.0.0.1:{free_port()}" for name in _PROCESSORS},
        }
        self.otlp, self.zipkin = f"http://{otlp}", f"http://{zipkin}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        log = self._data / "jaeger.log"
        command = [str(self._binary), *(f"--{name}={value}" for name, value in self._flags.items())]
        with log.open("ab") as output:
            self._process = subprocess.Popen(command, cwd=self._data, stdout=output, stderr=output)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                self._get("/api/services")
            except OSError:
                time.sleep(0.1)
            else:
                return self
        self.__exit__()
        raise RuntimeError(f"Jaeger did not start: {log.read_text(errors='replace')[-2000:]}")

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

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
