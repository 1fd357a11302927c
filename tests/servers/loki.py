"""A real Loki on a free loopback port, its data in a directory of its own."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3

from .cache import binary
from .process import Process

__all__ = ["LokiServer"]

_PAGE = 5_000


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class LokiServer(Process):
    """Starts, restarts and kills one Loki; reads back what it holds.

    `limits` are entries of Loki's limits_config. The server is ours alone: it is killed by its own pid.
    """

    name = "Loki"
    log = "loki.log"
    pause = 0.05

    def __init__(self, data: Path, *, auth: bool = False, limits: dict[str, Any] | None = None) -> None:
        super().__init__(data)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(connect=30, read=300))
        template = (Path(__file__).parent / "loki" / "config.yaml").read_text()
        facts = {
            "AUTH": str(auth).lower(),
            "HTTP": str(self.port),
            "GRPC": str(free_port()),
            "DATA": str(data),
            # Room for tests that push a lot; what a test wants refused, it sets itself.
            "LIMITS": json.dumps(
                {
                    "ingestion_rate_mb": 1000,
                    "ingestion_burst_size_mb": 1000,
                    "per_stream_rate_limit": "1GB",
                    "per_stream_rate_limit_burst": "1GB",
                    "max_query_series": 10000,
                    "query_timeout": "5m",
                    # Where Loki spreads a stream by itself it cannot tell what it has had already.
                    "shard_streams": {"enabled": False},
                    **(limits or {}),
                }
            ),
        }
        for name, value in facts.items():
            template = template.replace(f"@{name}@", value)
        (data / "config.yaml").write_text(template)

    def command(self) -> list[str]:
        """Return what starts it."""
        return [str(binary("loki")), f"-config.file={self.data / 'config.yaml'}"]

    def answers(self) -> bool:
        """Say whether it takes pushes."""
        try:
            return self._http.request("GET", f"{self.url}/ready").status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def get(self, path: str, tenant: str | None = None, **query: Any) -> Any:
        """Return the JSON answer of a GET."""
        headers = {"X-Scope-OrgID": tenant} if tenant else {}
        answer = self._http.request("GET", f"{self.url}{path}?{urlencode(query)}", headers=headers)
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {answer.data[:500]!r}")
        return json.loads(answer.data)

    def flush(self) -> None:
        """Make entries older than three hours visible: queries for such times do not ask the memory."""
        self._http.request("POST", f"{self.url}/flush")

    def page(
        self, query: str, start: int, end: int, tenant: str | None = None
    ) -> list[tuple[int, str, dict[str, str]]]:
        """Return up to 5,000 entries from `start` (ns) to before `end`, oldest first: ns, line, labels."""
        found = self.get(
            "/loki/api/v1/query_range",
            tenant,
            query=query,
            start=start,
            end=end,
            limit=_PAGE,
            direction="forward",
        )
        entries = [
            (int(value[0]), value[1], stream["stream"])
            for stream in found["data"]["result"]
            for value in stream["values"]
        ]
        return sorted(entries, key=lambda entry: entry[0])

    def entries(
        self, query: str, start: int, end: int, tenant: str | None = None
    ) -> list[tuple[int, str, dict[str, str]]]:
        """Return all entries between two times (ns). Labels hold the structured metadata as well."""
        return list(self.walk(query, start, end, tenant))

    def walk(
        self, query: str, start: int, end: int, tenant: str | None = None
    ) -> Iterator[tuple[int, str, dict[str, str]]]:
        """Yield all entries between two times (ns), a page in memory at a time."""
        while True:
            page = self.page(query, start, end, tenant)
            if len(page) < _PAGE:
                yield from page
                return
            last = page[-1][0]
            assert page[0][0] != last, "more than a page of entries in one nanosecond"
            # The page may have been cut within the last nanosecond: read that one again.
            yield from (entry for entry in page if entry[0] < last)
            start = last
