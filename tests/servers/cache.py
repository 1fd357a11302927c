"""Where the servers' binaries are kept: outside the repository, one file for each name and version."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["LOKI_VERSION", "binary"]

LOKI_VERSION = "3.7.6"


def binary(name: str) -> Path:
    """Return where the server `name` is kept, whether it is there or not."""
    own = os.environ.get("LOGFERRY_CACHE")
    base = Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "logferry"
    return base / "servers" / {"loki": f"loki-{LOKI_VERSION}"}[name]
