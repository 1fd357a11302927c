"""A real OpenTelemetry collector, built from its modules (otelcol/main.go), on loopback ports.

It runs `deploy/otel/collector.yaml` itself: the collector merges configurations, so that addresses alone are
told anew. `more` is merged over it; `configs` are taken instead of it.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any, Self

import yaml

from .cache import found

__all__ = ["Collector"]

DEPLOYED = Path(__file__).parents[2] / "deploy" / "otel" / "collector.yaml"


class Collector:
    """Starts and ends one collector; `said` is what it wrote."""

    def __init__(self, place: Path, more: dict[str, Any], *, deployed: bool = True) -> None:
        place.mkdir(parents=True, exist_ok=True)
        self._place = place
        self._more = place / "more.yaml"
        self._more.write_text(yaml.safe_dump(more))
        self._configs = [*([DEPLOYED] if deployed else []), self._more]
        self._process: subprocess.Popen[bytes] | None = None

    def command(self, *before: str) -> list[str]:
        """Return how to run it."""
        return [str(found("otelcol")), *before, *(f"--config={config}" for config in self._configs)]

    def validate(self) -> subprocess.CompletedProcess[str]:
        """Have it check its configuration."""
        return subprocess.run(
            self.command("validate"), env=self._environment, capture_output=True, text=True, check=False
        )

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, "ELASTIC_PASSWORD": "not-asked-for"}

    def __enter__(self) -> Self:
        with (self._place / "said").open("ab") as output:
            self._process = subprocess.Popen(
                self.command(), cwd=self._place, env=self._environment, stdout=output, stderr=output
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    @property
    def runs(self) -> bool:
        """Whether it is still there."""
        return self._process is not None and self._process.poll() is None

    @property
    def said(self) -> str:
        """Its last words."""
        return (self._place / "said").read_text(errors="replace")[-3000:]
