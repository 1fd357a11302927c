"""examples/shop over real servers: PostgreSQL, Redis, Kafka and nginx, all on free ports of loopback.

with ShopServers(directory, kafka) as servers, servers.shop():
    ... servers.url, servers.state

python tests/servers/shop.py            # and it runs until Ctrl-C
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

if __name__ == "__main__":  # tests/ is no package
    sys.path.insert(0, str(Path(__file__).parents[1]))

from servers.debian import Postgres, Redis, home
from servers.kafka import KafkaServer
from servers.loki import free_port

__all__ = ["EXAMPLE", "JsonLogPostgres", "ShopServers"]

EXAMPLE = Path(__file__).parents[2] / "examples/shop"


class JsonLogPostgres(Postgres):
    """PostgreSQL that logs every statement as a line of JSON."""

    @property
    def logs(self) -> Path:
        return self.directory / "logs"

    def command(self) -> list[str]:
        settings = {
            "logging_collector": "on",
            "log_destination": "jsonlog",
            "log_directory": str(self.logs),
            "log_filename": "postgresql.log",
            "log_rotation_size": "0",
            "log_file_mode": "0644",
        }
        return [*super().command(), *(text for pair in settings.items() for text in ("-c", "=".join(pair)))]

    def log(self) -> str:
        file = self.logs / "postgresql.json"
        return file.read_text(errors="replace") if file.exists() else ""

    def lines(self) -> list[dict[str, Any]]:
        """Return what it has logged so far, whole lines only."""
        return [json.loads(line) for line in self.log().split("\n")[:-1]]


class ShopServers:
    """The servers; `shop` runs the shop over them. The broker is started here unless it is given."""

    def __init__(self, directory: Path, kafka: KafkaServer | None = None) -> None:
        self.directory = directory
        self.state = directory / "state"
        self.postgres = JsonLogPostgres(directory / "postgresql")
        self.redis = Redis(directory / "redis")
        self.kafka = kafka
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            if self.kafka is None:
                self.kafka = KafkaServer(self.directory / "kafka").start()
                stack.callback(self.kafka.kill)
            stack.enter_context(self.postgres)
            stack.enter_context(self.redis)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def environ(self) -> dict[str, str]:
        assert self.kafka is not None
        return os.environ | {
            "SHOP_STATE": str(self.state),
            "SHOP_PORT": str(self.port),
            "SHOP_POSTGRES": self.postgres.url,
            "SHOP_POSTGRES_LOG": str(self.postgres.logs),
            "SHOP_REDIS": self.redis.url,
            "SHOP_KAFKA": self.kafka.bootstrap,
            "SHOP_TOPIC": self.kafka.create(f"orders-{self.port}", partitions=2),
            "SHOP_NGINX": str(self._nginx()),
        }

    def _nginx(self) -> Path:
        """Write what starts nginx with the libraries that were unpacked beside it."""
        root = home("nginx")
        libraries = [str(path) for path in root.glob("usr/lib/*-linux-gnu*") if path.is_dir()]
        program = self.directory / "nginx"
        program.write_text(
            f"#!/bin/sh\nLD_LIBRARY_PATH='{':'.join(libraries)}' exec '{root}/usr/sbin/nginx' \"$@\"\n"
        )
        program.chmod(0o755)
        return program

    @contextmanager
    def shop(self, under: Sequence[str] = ()) -> Iterator[None]:
        """Run examples/shop/run.py until the block ends. Raises RuntimeError when it does not open."""
        command = [*under, sys.executable, str(EXAMPLE / "run.py")]
        words = self.directory / "shop.out"
        with words.open("wb") as out:
            process = subprocess.Popen(
                command, env=self.environ(), stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        try:
            deadline = time.monotonic() + 240
            while b"open:" not in words.read_bytes():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(words.read_text(errors="replace")[-4000:])
                time.sleep(0.05)
            yield
            assert process.poll() is None, words.read_text(errors="replace")[-4000:]
        finally:
            process.terminate()
            try:
                process.wait(120)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch, ShopServers(Path(scratch)) as servers:
        servers.state = Path(os.environ.get("SHOP_STATE", EXAMPLE / "state")).resolve()
        servers.port = int(os.environ.get("SHOP_PORT", "8080"))
        servers.url = f"http://127.0.0.1:{servers.port}"
        with servers.shop():
            print(f"curl -X POST {servers.url}/orders/A000001")
            print(f"what it logs is in {servers.state}/logs; Ctrl-C ends it all", flush=True)
            with suppress(KeyboardInterrupt):
                threading.Event().wait()


if __name__ == "__main__":
    main()
