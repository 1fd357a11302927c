"""Where the servers' binaries are kept: outside the repository, one place for each name and version."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["ELASTICSEARCH_VERSION", "KAFKA_VERSION", "LOKI_VERSION", "RSYSLOG_VERSION", "binary"]

LOKI_VERSION = "3.7.6"
ELASTICSEARCH_VERSION = "8.19.21"  # as in elasticsearch/pom.xml and its plugin-descriptor.properties
KAFKA_VERSION = "4.4.0"  # as in kafka/pom.xml
RSYSLOG_VERSION = "debian"  # whatever the distribution has


def binary(name: str) -> Path:
    """Return where the server `name` is kept, whether it is there or not."""
    own = os.environ.get("LOGFERRY_CACHE")
    base = Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "logferry"
    versions = {
        "rsyslog": RSYSLOG_VERSION,
        "loki": LOKI_VERSION,
        "kafka": KAFKA_VERSION,
        "elasticsearch": ELASTICSEARCH_VERSION,
    }
    return base / "servers" / f"{name}-{versions[name]}"
