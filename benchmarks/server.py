"""The one server that all benchmarks deliver to: a process of its own that costs the measured one nothing.

    with Server() as server:        # its address: server.url
        server.mode("hang")         # healthy (204 at once), hang (reads, never answers), refuse (503), bulk
        server.events()             # how many events it has taken since the last call
        server.found("GET / 200")   # how often a text stands in what was taken since then
        server.raw                  # another port, which takes bytes without a protocol

It takes any POST and keeps bodies as they came; they are decoded only when `events` asks, so that counting
does not take the processor from what is measured. It knows Loki's pushes (protobuf with snappy, JSON plain or
gzipped) and OTLP's logs; of other bodies it counts the lines.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import subprocess
import sys
import urllib.parse
import urllib.request
from typing import Self

__all__ = ["Server"]

_ANSWERS = {
    "healthy": b"HTTP/1.1 204 No Content\r\n\r\n",
    "aws": b'HTTP/1.1 200 OK\r\nx-amzn-RequestId: 1\r\nETag: "0"\r\nContent-Length: 0\r\n\r\n',
    "otlp": b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n",
    "refuse": b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nbusy\n",
    "hang": b"",
}


_VERSION = b'{"name":"n","cluster_name":"c","version":{"number":"8.19.0"},"tagline":"You Know, for Search"}'
# What Elasticsearch says when it is asked whether it is there.
_SEARCH = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Elastic-Product: Elasticsearch\r\n"


def searching(body: bytes) -> bytes:
    """Return Elasticsearch's answer: to a bulk request that all is stored, else which version it is."""
    if not body:
        return b"%bContent-Length: %d\r\n\r\n%b" % (_SEARCH, len(_VERSION), _VERSION)
    if body[:2] == b"\x1f\x8b":
        body = gzip.decompress(body)
    items = b",".join([b'{"create":{"status":201}}'] * (body.count(b"\n") // 2))
    said = b'{"errors":false,"took":1,"items":[%b]}' % items
    return b"%bContent-Length: %d\r\n\r\n%b" % (_SEARCH, len(said), said)


class Server:
    """The server's process, from the benchmark's side."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout
        port, raw = self._process.stdout.readline().split()
        self.url, self.raw = f"http://127.0.0.1:{port}", int(raw)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def mode(self, name: str) -> None:
        """Answer in another way from now on; connections that hang are closed."""
        self._ask(f"/-/mode/{name}")

    def events(self) -> int:
        """Return the events that were taken since the last call."""
        return int(self._ask("/-/events"))

    def found(self, text: str) -> int:
        """Return how often `text` stands in what was taken since the last call of this or `events`."""
        return int(self._ask(f"/-/found/{urllib.parse.quote(text, safe='')}"))

    def _ask(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=300) as answer:
            body: bytes = answer.read()
            return body


# ── the process ──


def varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number in base 128 at `at`, and the place behind it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def entries(data: bytes, path: bytes = b"\x0a\x12") -> int:
    """Return how many messages stand at the end of a path of tags; entries of a Loki push, unless told."""
    count, at = 0, 0
    while at < len(data):
        tag = data[at]
        size, at = varint(data, at + 1)
        if tag & 7 != 2:  # a number, and no message
            continue
        if tag == path[0]:
            count += entries(data[at : at + size], path[1:]) if len(path) > 1 else 1
        at += size
    return count


def count(head: bytes, body: bytes) -> int:
    """Return the events in one request."""
    head = head.lower()
    if not body:
        return 0  # somebody asks whether it is there
    if b"application/x-protobuf" in head and b"/loki/api/" in head:
        from cramjam import snappy

        return entries(bytes(snappy.decompress_raw(body)))
    if body[:2] == b"\x1f\x8b":
        body = gzip.decompress(body)
    if b"application/x-protobuf" in head and b"/v1/logs" in head:
        return entries(body, b"\x0a\x12\x12")
    if b"/loki/api/" in head:
        return sum(len(stream["values"]) for stream in json.loads(body)["streams"])
    made = body.count(b"\n") + (not body.endswith(b"\n"))
    return made // 2 if b"/_bulk" in head else made


def found(text: bytes, head: bytes, body: bytes) -> int:
    """Return how often `text` stands in a body, compressed or not."""
    if body[:2] == b"\x1f\x8b":
        body = gzip.decompress(body)
    elif b"application/x-protobuf" in head.lower():
        # Loki's is a snappy block, in which the text's first occurrence stands as it is; OTLP's is plain.
        with contextlib.suppress(Exception):
            from cramjam import snappy

            body = bytes(snappy.decompress_raw(body))
    return body.count(text)


class Raw(asyncio.Protocol):
    """One client's connection without a protocol; its bytes count when it is closed."""

    def connection_made(self, _transport: asyncio.BaseTransport) -> None:
        self.data = bytearray()
        Connection.raw.append(self.data)

    def data_received(self, data: bytes) -> None:
        self.data += data


class Connection(asyncio.Protocol):
    """One client's connection: requests with a Content-Length, one after the other."""

    mode = "healthy"
    taken: list[tuple[bytes, bytes]] = []  # noqa: RUF012 - one server a process
    raw: list[bytearray] = []  # noqa: RUF012
    open: set[Connection] = set()  # noqa: RUF012

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport, self.data = transport, bytearray()
        self.open.add(self)

    def connection_lost(self, _error: Exception | None) -> None:
        self.open.discard(self)

    def data_received(self, data: bytes) -> None:
        self.data += data
        while (end := self.data.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.data[: end + 2])
            _, _, rest = head.lower().partition(b"\r\ncontent-length:")
            stop = end + 4 + int(rest.partition(b"\r\n")[0] or b"0")
            if len(self.data) < stop:
                return
            body = bytes(self.data[end + 4 : stop])
            del self.data[:stop]
            self.answer(head, body)

    def answer(self, head: bytes, body: bytes) -> None:
        """Take a delivery as the mode says, or do what the benchmark asks."""
        path = head.split(b" ", 2)[1].decode()
        if path.startswith("/-/"):
            self.obey(path)
            return
        if body and self.mode in {"healthy", "bulk"}:
            self.taken.append((head, body))
        self.transport.write(searching(body) if self.mode == "bulk" else _ANSWERS[self.mode])

    def obey(self, path: str) -> None:
        """Change the mode, or count."""
        said = b""
        if path == "/-/events":
            said = b"%d" % sum(count(head, body) for head, body in self.taken)
            self.taken.clear()
        elif path.startswith("/-/found/"):
            text = urllib.parse.unquote_to_bytes(path.removeprefix("/-/found/"))
            bodies = [*self.taken, *((b"", bytes(data)) for data in self.raw)]
            said = b"%d" % sum(found(text, head, body) for head, body in bodies)
            self.taken.clear()
            self.raw.clear()
        else:
            Connection.mode = path.rpartition("/")[2]
            for other in self.open - {self}:
                other.transport.close()
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(said)
        )
        self.transport.write(said)


async def serve() -> None:
    """Serve until standard input ends: the benchmark is gone."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0)
    raw = await loop.create_server(Raw, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], raw.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()
    raw.close()


if __name__ == "__main__":
    asyncio.run(serve())
