"""Planted secrets, and everything that a real application and its pipeline leave behind searched for them.

The application logs secrets in every place and is killed; a server that lies sends back what it was sent; the
delivery runs in a process of its own; configurations with secrets in the wrong places are checked. Then all
bytes are searched: spool, store, dead letters, salvage, what came over the wire, metrics, standard output and
error of every process, and the command lines in /proc.
"""

from __future__ import annotations

import http.server
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(180),
    pytest.mark.skipif(sys.platform != "linux", reason="command lines are read from /proc"),
]

# What an application must not leak, and what a configuration must not.
LOGGED = {
    "password": "correct-Horse-1",
    "bearer": "abcdEFGH" + "12345678ijkl",
    "aws": "AKI" + "A" + "QWERTYUIOPASDFGH",
    "card": "4539 5787 6362 1486",
    "url": "s3cretInUrl",
    "note": "n0te-Secret",
    "local": "sourceLine-Secret9",
}
CONFIGURED = {"LOKI_PASSWORD": "l0ki-Passw0rd", "HASH_KEY": "hash-Key-0123456789", "STRAY": "str4y-Secret"}

APP = """
import logging, os, sys, time, warnings
import logferry
from logferry.handlers import context

logferry.configure(sys.argv[1])
log = logging.getLogger("app")
s = dict(item.split("=", 1) for item in os.environ["SECRETS"].split("|"))
number = 0
while True:
    number += 1
    with context.bound(note=f"api_key={s['password']}"):
        log.info("login with password=%s and header Authorization: Bearer %s", s["password"], s["bearer"])
        log.info("password=%s for %s", s["password"])
        log.info("m", extra={"nested": [{"Api-Key": s["password"], "x": ["key " + s["aws"]]}]})
        log.info("m", extra={"token": s["bearer"]})
        log.info("m", extra={f"card {s['card']}": 1, "items": [{"name": "password", "value": s["password"]}]})
        log.info("postgres://app:%s@db/shop", s["url"])
    try:
        password = "sourceLine-Secret9"; raise ValueError(f"card {s['card']}")
    except ValueError as error:
        error.add_note(f"password: {s['note']}")
        log.exception("could not pay by %s", s["card"])
    if number < 3:
        log.info("poison", extra={"password": s["password"], "text": f"Bearer {s['bearer']}"})
    if number == 3:
        print("ready", flush=True)
    time.sleep(0.005 if number > 3 else 0)
"""


class Liar(http.server.BaseHTTPRequestHandler):
    """Refuses some pushes, and answers with all that it was sent."""

    bodies: list[bytes]
    authorised: list[str]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.bodies.append(body)
        self.authorised.append(self.headers.get("Authorization", ""))
        status = 400 if b"poison" in decompressed(body) else 204
        answer = b"" if status == 204 else str(self.headers).encode() + body[:2000]
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_GET(self) -> None:
        self.do_answer(401, str(self.headers).encode())

    def do_answer(self, status: int, answer: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def liar() -> Iterator[http.server.ThreadingHTTPServer]:
    Liar.bodies, Liar.authorised = [], []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Liar)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def environment() -> dict[str, str]:
    """Return this environment with the secrets in it."""
    return {**os.environ, **CONFIGURED, "SECRETS": "|".join(f"{k}={v}" for k, v in LOGGED.items())}


def run(*args: str) -> bytes:
    """Run a command to its end; return what it says on both streams."""
    done = subprocess.run(
        [sys.executable, "-m", "logferry", *args],
        capture_output=True,
        env=environment(),
        check=False,
        timeout=60,
    )
    return b"$ " + " ".join(args).encode() + b"\n" + done.stdout + done.stderr


def spellings(secret: str) -> set[bytes]:
    """Return how a secret may be written."""
    import base64
    import urllib.parse

    plain = secret.encode()
    return {
        plain,
        json.dumps(secret)[1:-1].encode(),
        urllib.parse.quote(secret).encode(),
        base64.b64encode(plain).rstrip(b"="),
        base64.b64encode(b"bob:" + plain).rstrip(b"="),
        plain.hex().encode(),
    }


def leaks(name: str, data: bytes, secrets: dict[str, str]) -> list[str]:
    """Return which secrets are in some bytes."""
    return [
        f"{key} in {name}: ...{data[max(0, at - 80) : at + 60]!r}"
        for key, secret in secrets.items()
        for spelled in spellings(secret)
        if (at := data.find(spelled)) >= 0
    ]


def processes() -> dict[str, bytes]:
    """Return the command lines of all processes that this machine shows."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found[str(path)] = path.read_bytes()
        except OSError:
            continue
    return found


def write(directory: Path, text: dict[str, Any], name: str = "logferry.yaml") -> str:
    """Write a configuration; JSON is YAML."""
    path = directory / name
    path.write_text(json.dumps(text))
    return str(path)


def decompressed(body: bytes) -> bytes:
    """Return a push's body, decompressed when it is compressed with snappy or gzip."""
    import gzip

    import cramjam

    if body[:2] == b"\x1f\x8b":
        return gzip.decompress(body)
    try:
        return bytes(cramjam.snappy.decompress_raw(body))
    except cramjam.DecompressionError:
        return body


@pytest.mark.parametrize("delivery", ["thread", "process"])
def test_no_planted_secret_leaves(
    tmp_path: Path, liar: http.server.ThreadingHTTPServer, delivery: str
) -> None:
    """Nothing that the application or its pipeline writes, sends, shows or is started with holds a secret."""
    url = f"http://127.0.0.1:{liar.server_port}"
    loki = {"type": "loki", "url": url, "username": "bob", "password": "${LOKI_PASSWORD}"}
    config = write(
        tmp_path,
        {
            "service": "leaky",
            "environment": "test",
            "delivery": delivery,
            "logging": {"level": "DEBUG", "console": "json"},
            "spool": {"path": str(tmp_path / "spool")},
            "sinks": {"loki": loki, "here": {"type": "local", "path": str(tmp_path / "logs")}},
        },
    )
    program = tmp_path.parent / f"app-{delivery}.py"
    program.write_text(APP)
    said: list[bytes] = []
    with (
        (tmp_path / "stderr").open("wb") as stderr,
        subprocess.Popen(
            [sys.executable, str(program), config],
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment(),
            umask=0,
        ) as app,
    ):
        assert app.stdout is not None
        assert app.stdout.readline() == b"ready\n"
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if len(Liar.bodies) > 2 and any(tmp_path.rglob("dead-letters/*.ndjson")):
                break
            time.sleep(0.05)
        lines = processes()
        os.kill(app.pid, signal.SIGKILL)
    said.append((tmp_path / "stderr").read_bytes())
    assert len(Liar.bodies) >= 3
    assert any(line.startswith("Basic ") for line in Liar.authorised), "the password was used"
    raw = [(str(path), path.read_bytes()) for path in tmp_path.rglob("*") if path.is_file()]
    said += [
        run("check", "-c", config),
        run("check", "--connect", "-c", config),
        run("run", "--once", "-c", config),
        run("audit", "-c", config),
        run("spool", "ls", "-c", config),
        run("spool", "verify", "-c", config),
        run("dead-letter", "ls", "-c", config),
        run("dead-letter", "show", "loki", "-c", config),
        run("query", "-c", config),
    ]
    raw += [(str(path), path.read_bytes()) for path in tmp_path.rglob("*") if path.is_file()]
    wire = b"\n".join(decompressed(body) for body in Liar.bodies)
    assert b"could not pay by" in wire, "the search would find what it looks for"
    assert any(b"could not pay by" in data for name, data in raw if ".seg" in name or "spool" in name)
    assert any("dead-letters" in name for name, _ in raw), "the liar's answers have made dead letters"
    secrets = {**LOGGED, **CONFIGURED}
    found = leaks("the wire", wire, LOGGED)
    for name, data in raw:
        found += leaks(name, data, secrets)
    for text in said:
        found += leaks("output", text, secrets)
    for name, line in lines.items():
        found += leaks(name, line, secrets)
    assert found == []
    for path in (tmp_path / "spool", tmp_path / "logs"):
        for inner in (path, *path.rglob("*")):
            mode = stat.S_IMODE(inner.lstat().st_mode)
            assert mode & 0o077 == 0, (inner, oct(mode))


MISTAKES: dict[str, Any] = {
    "a password in the URL": {
        "sinks": {"loki": {"type": "loki", "url": "http://bob:${STRAY}@localhost:3100"}}
    },
    "a typed password in the URL": {
        "sinks": {"loki": {"type": "loki", "url": "http://bob:str4y-Secret@h:x"}}
    },
    "a secret that is no text": {
        "sinks": {"loki": {"type": "loki", "url": "http://h", "password": ["${STRAY}"]}}
    },
    "an unknown key": {"sinks": {"loki": {"type": "loki", "url": "http://h", "pasword": "${STRAY}"}}},
    "without its user": {"sinks": {"loki": {"type": "loki", "url": "http://h", "password": "${STRAY}"}}},
    "a control character": {
        "sinks": {"loki": {"type": "loki", "url": "http://h", "username": "b", "password": "${STRAY}\n"}}
    },
    "a token where a number belongs": {"spool": {"max_bytes": "${STRAY}"}},
    "a token where a choice belongs": {"logging": {"level": "${STRAY}"}},
    "a secret as a header": {"sinks": {"loki": {"type": "loki", "url": "http://h", "headers": "${STRAY}"}}},
    "a secret as a service": {"service": ["${STRAY}"]},
    "a key for hashing in the wrong place": {"redact": {"mode": "hash", "hash_key": ["${STRAY}"]}},
    "an unknown top key": {"password": "${STRAY}"},
    "a pattern that is none": {"redact": {"patterns": {"p": "(${STRAY}"}}},
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told_without_secrets(tmp_path: Path, mistake: str) -> None:
    """A mistake is told by place and kind, without what a variable holds and without a password in a URL."""
    config = write(tmp_path, {"service": "s", **MISTAKES[mistake]})
    for command in (("check", "-c", config), ("run", "--once", "-c", config)):
        said = run(*command)
        assert leaks(mistake, said, CONFIGURED) == []
        assert b"Traceback" not in said
    assert b"error" in said.lower() or b"mistake" in said.lower() or b":" in said


def test_metrics_and_health_hold_no_secret(tmp_path: Path, liar: http.server.ThreadingHTTPServer) -> None:
    """What `logferry run` tells over HTTP, and says while it runs, holds no secret."""
    loki = {"type": "loki", "url": f"http://127.0.0.1:{liar.server_port}", "username": "bob"}
    (tmp_path / "app.log").write_text(f"password={LOGGED['password']}\nBearer {LOGGED['bearer']}\n" * 50)
    port = _free_port()
    config = write(
        tmp_path,
        {
            "service": "agent",
            "environment": "test",
            "spool": {"path": str(tmp_path / "spool")},
            "metrics": {"listen": f"127.0.0.1:{port}"},
            "sources": {"app": {"type": "file", "include": [str(tmp_path / "app.log")]}},
            "sinks": {"loki": {**loki, "password": "${LOKI_PASSWORD}"}},
        },
    )
    told = b""
    with subprocess.Popen(
        [sys.executable, "-m", "logferry", "run", "-c", config],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment(),
    ) as agent:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and not (Liar.bodies and told):
            try:
                for page in ("metrics", "healthz", "readyz"):
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=5) as answer:
                        told += answer.read()
            except OSError:
                time.sleep(0.1)
        lines = processes()
        agent.send_signal(signal.SIGTERM)
        said = agent.stdout.read() if agent.stdout else b""
    assert b"logferry" in told
    secrets = {**LOGGED, **CONFIGURED}
    found = leaks("metrics", told, secrets) + leaks("output", said, secrets)
    for name, line in lines.items():
        found += leaks(name, line, secrets)
    found += leaks("the wire", b"\n".join(map(decompressed, Liar.bodies)), LOGGED)
    for path in (tmp_path / "spool").rglob("*"):
        if path.is_file():
            found += leaks(str(path), path.read_bytes(), secrets)
    assert found == []


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
