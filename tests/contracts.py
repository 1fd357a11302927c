"""What tests/unit/sinks/test_contract.py must know of each sink. A new sink adds its entry here.

    "name": Contract(page="docs/sinks-name.md", options=…)

- `page` documents every option under a heading of its own.
- `options(place)` are the least options (as in YAML) for a server at `place`, with time-outs that a test can
  wait for.
- A sink with `wire` talks to a server: what is wrong on the way must have its verdict and be named by
  `check`.
- With `http` it speaks HTTP, and each class of statuses must have its verdict. `delivers` tells a request
  that carries events from those beside it (questions, preparations); only the former get the status that is
  tried, all others get `healthy`. `verdicts` are what differs from `USUAL`.
- `secrets` are options that hold `SECRET`: it must not be in any log line, reason, complaint or
  representation.
- `largest` is what the server takes of one request before compression; `unpack` undoes the compression.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from servers.faults import Behaviour, Connection, Request, answer

__all__ = ["CONTRACTS", "SECRET", "USUAL", "Contract", "Http", "Place", "Word"]

SECRET = "hunter2-s3cr3t"
Word: TypeAlias = Literal["delivered", "retry", "pause", "rejected", "split"]

USUAL: Mapping[int, frozenset[Word]] = {
    301: frozenset({"pause"}),
    400: frozenset({"rejected", "split"}),
    401: frozenset({"pause"}),
    403: frozenset({"pause"}),
    404: frozenset({"pause"}),
    408: frozenset({"retry"}),
    413: frozenset({"split"}),
    418: frozenset({"pause"}),
    429: frozenset({"retry"}),
    500: frozenset({"retry"}),
    502: frozenset({"retry"}),
    503: frozenset({"retry"}),
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sink's other side is. `ca`: it speaks TLS, and this is whom to trust."""

    host: str
    port: int
    directory: Path
    ca: Path | None = None

    @property
    def url(self) -> str:
        return f"{'http' if self.ca is None else 'https'}://{self.host}:{self.port}"

    @property
    def tls(self) -> dict[str, Any]:
        return {} if self.ca is None else {"tls": {"ca_file": str(self.ca)}}


@dataclass(frozen=True, slots=True)
class Http:
    """How a sink's server speaks HTTP."""

    healthy: Behaviour = field(default_factory=lambda: answer(204))
    delivers: Callable[[Request], bool] = lambda _request: True
    verdicts: Mapping[int, frozenset[Word]] = field(default_factory=dict)
    honours_retry_after: bool = True
    largest: int = 64 << 20
    unpack: Callable[[Request], bytes] = lambda request: (
        gzip.decompress(request.body) if request.headers.get("content-encoding") == "gzip" else request.body
    )


@dataclass(frozen=True, slots=True)
class Contract:
    """What the suite must know of a sink."""

    page: str
    options: Callable[[Place], dict[str, Any]]
    wire: bool = False
    http: Http | None = None
    secrets: Mapping[str, Any] = field(default_factory=dict)


def _snappy(request: Request) -> bytes:
    from cramjam import snappy

    return bytes(snappy.decompress_raw(request.body))


def _otlp() -> Behaviour:
    return answer(200, b"", {"Content-Type": "application/x-protobuf"})


def _elasticsearch(connection: Connection, request: Request) -> bool:
    """The least of a version-8 server: who it is, yes to everything, and each item created."""
    body: dict[str, Any] = {"acknowledged": True}
    if request.path.partition("?")[0] == "/":
        body = {"version": {"number": "8.19.0"}, "tagline": "You Know, for Search"}
    elif "_bulk" in request.path:
        raw = gzip.decompress(request.body) if "content-encoding" in request.headers else request.body
        items = [{"create": {"status": 201}} for _ in range(raw.count(b"\n") // 2)]
        body = {"took": 1, "errors": False, "items": items}
    headers = {"Content-Type": "application/json", "X-Elastic-Product": "Elasticsearch"}
    return answer(200, json.dumps(body).encode(), headers)(connection, request)


def _aws(connection: Connection, request: Request) -> bool:
    """The least of an AWS service: yes to everything, with the request id that every answer of AWS has."""
    headers = {"Content-Type": "application/x-amz-json-1.1", "ETag": '"0"', "x-amzn-RequestId": "1"}
    body = b"" if request.method in {"PUT", "HEAD"} else b"{}"
    return answer(200, body, headers)(connection, request)


# A 400 means what its code says (tests/unit/sinks/test_aws.py); without one it is not about an event.
_AWS_400: Mapping[int, frozenset[Word]] = {400: frozenset({"pause"})}
_AWS_KEYS = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": SECRET}


def _aws_options(place: Place) -> dict[str, Any]:
    return {"endpoint_url": place.url, "region": "eu-west-1", "timeout": "500ms", **_AWS_KEYS, **place.tls}


CONTRACTS: Mapping[str, Contract] = {
    "console": Contract("docs/sinks-files.md", lambda _: {}),
    "file": Contract("docs/sinks-files.md", lambda p: {"path": str(p.directory / "out.ndjson")}),
    "memory": Contract("docs/sinks-files.md", lambda _: {}),
    "local": Contract("docs/local-store.md", lambda p: {"path": str(p.directory / "logs"), "compact": "off"}),
    "loki": Contract(
        "docs/sinks-loki.md",
        lambda p: {"url": p.url, "timeout": "500ms", **p.tls},
        wire=True,
        http=Http(largest=4 << 20, unpack=_snappy),
        secrets={"username": "u", "password": SECRET},
    ),
    "http": Contract(
        "docs/sinks-http.md",
        lambda p: {"url": f"{p.url}/in", "timeout": "500ms", **p.tls},
        wire=True,
        http=Http(),
        secrets={"username": "u", "password": SECRET, "secret_headers": {"X-Api-Key": SECRET + "2"}},
    ),
    "otlp": Contract(
        "docs/sinks-otlp.md",
        lambda p: {"url": p.url, "timeout": "500ms", **p.tls},
        wire=True,
        http=Http(healthy=_otlp(), verdicts={400: frozenset({"rejected"})}, largest=4 << 20),
        secrets={"bearer_token": SECRET, "secret_headers": {"api-key": SECRET + "2"}},
    ),
    "zipkin": Contract(
        "docs/tracing.md",
        lambda p: {"url": p.url, "timeout": "500ms", **p.tls},
        wire=True,
        http=Http(healthy=answer(202), verdicts={400: frozenset({"rejected"})}, largest=10 << 20),
        secrets={"bearer_token": SECRET, "secret_headers": {"api-key": SECRET + "2"}},
    ),
    "syslog": Contract(
        "docs/sinks-syslog.md",
        lambda p: {
            "host": p.host,
            "port": p.port,
            "timeout": "500ms",
            **({} if p.ca is None else {"protocol": "tls", **p.tls}),
        },
        wire=True,
    ),
    "elasticsearch": Contract(
        "docs/sinks-elasticsearch.md",
        lambda p: {"hosts": [p.url], "timeout": "500ms", **p.tls},
        wire=True,
        http=Http(
            healthy=_elasticsearch,
            delivers=lambda request: "_bulk" in request.path,
            largest=100_000_000,
        ),
        secrets={"username": "u", "password": SECRET},
    ),
    "kafka": Contract(
        "docs/sinks-kafka.md",
        lambda p: {"brokers": [f"{p.host}:{p.port}"], "topic": "logs", "timeout": "1s", **p.tls},
        wire=True,
        secrets={"sasl": {"username": "u", "password": SECRET}},
    ),
    "cloudwatch": Contract(
        "docs/sinks-cloudwatch.md",
        lambda p: {"log_group": "g", **_aws_options(p)},
        wire=True,
        http=Http(
            healthy=_aws,
            delivers=lambda request: request.headers.get("x-amz-target", "").endswith("PutLogEvents"),
            verdicts=_AWS_400,
            largest=1 << 21,  # JSON around what CloudWatch counts
        ),
        secrets=_AWS_KEYS,
    ),
    "s3": Contract(
        "docs/sinks-s3.md",
        lambda p: {"bucket": "acme-logs", "path_style": True, **_aws_options(p)},
        wire=True,
        http=Http(
            healthy=_aws,
            delivers=lambda request: request.method == "PUT",
            verdicts=_AWS_400,
            largest=128 << 20,
        ),
        secrets=_AWS_KEYS,
    ),
}
