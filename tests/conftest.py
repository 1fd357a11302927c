"""Fixtures for real servers: one of each kind for a test process, on loopback, ended by its own pid.

A server that cannot be had is skipped with one line that says how to get it; with LOGFERRY_REQUIRE_SERVERS=1,
as in CI, that is a failure.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# tests/ is no package (importmode=importlib): this makes `servers` importable for all test files.
sys.path.insert(0, str(Path(__file__).parent))
# Scripts beside each other, no package either: what judges measurements is tested too.
sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

from effort import effort
from evidence import evidence
from servers.aws import AwsServer
from servers.cache import binary, missing
from servers.elasticsearch import ElasticsearchServer, SearchServer
from servers.kafka import KafkaServer
from servers.loki import LokiServer
from servers.opensearch import OpenSearchServer
from servers.zipkin import ZipkinServer

__all__ = ["evidence"]  # a fixture, for every test file

# In the background Ctrl-C is ignored, also by every program that a test starts and ends with it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What people are shown is in their zone; what tests expect of it is the same everywhere.
os.environ["TZ"] = "UTC"
time.tzset()

# How long an example takes, and how long it takes to think of one, says how busy the machine is.
settings.register_profile(
    "logferry", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=effort(50)
)
settings.load_profile("logferry")


def require(name: str) -> None:
    """Skip, or fail where servers are required, when the binary of server `name` is missing."""
    if binary(name).exists():
        return
    needs = "Go, about 7 minutes" if name == "loki" else "Maven and a Java development kit, a minute"
    missing(f"{name} is not installed: python tests/servers/install.py {name} (needs {needs}, once)")


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsServer]:
    """CloudWatch Logs, S3 and STS (moto behind a strict gate); tests keep apart by groups and buckets."""
    with AwsServer(tmp_path_factory.mktemp("aws")) as server:
        yield server


@pytest.fixture(scope="session")
def search_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], SearchServer]]:
    """The one node of each kind, started when it is asked for: elasticsearch, elasticsearch-9, opensearch."""
    running: dict[str, SearchServer] = {}

    def get(name: str) -> SearchServer:
        if name not in running:
            require(name)
            place = tmp_path_factory.mktemp(name)
            running[name] = (
                OpenSearchServer(place) if name == "opensearch" else ElasticsearchServer(place, name)
            )
            running[name].start()
        return running[name]

    yield get
    for server in running.values():
        server.kill()


@pytest.fixture(scope="session")
def elasticsearch(search_of: Callable[[str], SearchServer]) -> SearchServer:
    """Elasticsearch 8; tests keep apart by data streams of their own."""
    return search_of("elasticsearch")


@pytest.fixture(scope="session")
def kafka_factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., KafkaServer]]:
    """Make further brokers (`kafka_factory(protocol="SSL", settings={...})`), started."""
    require("kafka")
    running: list[KafkaServer] = []

    def make(**options: Any) -> KafkaServer:
        server = KafkaServer(tmp_path_factory.mktemp("kafka"), **options)
        running.append(server)
        return server.start()

    yield make
    for server in running:
        server.kill()


@pytest.fixture(scope="session")
def kafka(kafka_factory: Callable[..., KafkaServer]) -> KafkaServer:
    """A broker; tests keep apart by topics of their own."""
    return kafka_factory()


@pytest.fixture(scope="session")
def loki_factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., LokiServer]]:
    """Make further Lokis, with limits of their own (`loki_factory(auth=True, limits={...})`), started."""
    require("loki")
    running: list[LokiServer] = []

    def make(**options: Any) -> LokiServer:
        server = LokiServer(tmp_path_factory.mktemp("loki"), **options)
        running.append(server)
        return server.start()

    yield make
    for server in running:
        server.kill()


@pytest.fixture(scope="session")
def loki(loki_factory: Callable[..., LokiServer]) -> LokiServer:
    """Loki with room for many events; tests keep apart by a label of their own."""
    return loki_factory()


@pytest.fixture(scope="session")
def zipkin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZipkinServer]:
    """A Zipkin; tests keep apart by their traces."""
    require("zipkin")
    with ZipkinServer(tmp_path_factory.mktemp("zipkin")) as server:
        yield server
