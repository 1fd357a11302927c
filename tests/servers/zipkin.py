"""A real Zipkin on a free loopback port, its spans in memory.

with ZipkinServer(tmp_path) as zipkin: … zipkin.url … zipkin.trace(trace_id)
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

from .cache import binary
from .loki import free_port

__all__ = ["ZipkinServer"]


class ZipkinServer:
    """Starts and ends one server."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self, seconds: float = 90) -> Self:
        """Start and wait until it answers; raises RuntimeError with its last words when it does not."""
        jar = next(binary("zipkin").glob("zipkin-server-*.jar"))
        place = "--armeria.ports[0]."  # server.address is not heeded
        command = [
            *("java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-jar", str(jar)),
            *(f"{place}ip=127.0.0.1", f"{place}port={self.port}", f"{place}protocols[0]=http"),
        ]
        environ = {**os.environ, "SELF_TRACING_ENABLED": "false"}
        log = self.data / "zipkin.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                cwd=self.data,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                env=environ,
            )
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                self._get("/health")
            except OSError:
                time.sleep(0.1)
            else:
                return self
        self.kill()
        raise RuntimeError(f"Zipkin did not start: {log.read_text(errors='replace')[-2000:]}")

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

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
