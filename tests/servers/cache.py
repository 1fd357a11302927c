"""Where the servers' binaries are kept: outside the repository, one file (or directory of jars) for each name and version."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["KAFKA_VERSION", "LOKI_VERSION", "binary"]

LOKI_VERSION = "3.7.6"
KAFKA_VERSION = "4.4.0"  # as in kafka/pom.xml


def binary(name: str) -> Path:
    """Return where the server `name` is kept, whether it is there or not."""
    own = os.environ.get("LOGFERRY_CACHE")
    base = Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "logferry"
    names = {"loki": f"loki-{LOKI_VERSION}", "kafka": f"kafka-{KAFKA_VERSION}"}
    return base / "servers" / names[name]
