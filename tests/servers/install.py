"""Install the real servers that tests talk to: `python tests/servers/install.py loki`.

Loki comes as source from the Go module proxy and is built once, in about seven minutes on two cores; Kafka
comes as jars from a Maven repository. What is in the cache already is left alone, so a second run takes no time
and needs no network. Exit code 0: it is there; 1: it could not be had.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cache import KAFKA_VERSION, LOKI_VERSION, binary

HERE = Path(__file__).parent


def say(text: str) -> None:
    print(f"· {text}", flush=True)


def go(arguments: list[str], directory: Path, what: str) -> bool:
    """Run `go`, saying every 20 seconds that it is still at work; its own output only when it fails."""
    environment = {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=mod",
        "GOTOOLCHAIN": os.environ.get("GOTOOLCHAIN", "auto"),
    }
    begun = time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            ["go", *arguments], cwd=directory, env=environment, stdout=output, stderr=output
        )
        try:
            while True:
                try:
                    process.wait(20)
                    break
                except subprocess.TimeoutExpired:
                    say(f"{what}: {time.monotonic() - begun:.0f} s")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode:
            output.seek(0)
            sys.stderr.write(output.read().decode("utf-8", "replace")[-4000:])
    return process.returncode == 0


def loki() -> bool:
    """Build Loki into the cache, unless it is there."""
    target = binary("loki")
    if target.exists():
        say(f"Loki {LOKI_VERSION} is there: {target}")
        return True
    if shutil.which("go") is None:
        say("Loki is built with Go, which is not on the PATH: install it from https://go.dev/dl")
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        work = Path(scratch)
        shutil.copy(HERE / "loki" / "go.mod", work)  # a copy: the build adds what it finds to it
        built = work / "loki-built"
        say(f"fetching Loki {LOKI_VERSION}'s source with the Go modules it needs (once)")
        if not go(["mod", "download"], work, "fetching"):
            return False
        say("building it: about seven minutes on two cores (once)")
        arguments = [
            "build",
            "-p",
            "2",
            "-ldflags",
            "-s -w",
            "-o",
            str(built),
            "github.com/grafana/loki/v3/cmd/loki",
        ]
        if not go(arguments, work, "building"):
            return False
        built.replace(target)
    say(f"Loki {LOKI_VERSION}: {target}")
    return True


def maven(pom: Path, target: Path, what: str) -> bool:
    """Put the jars that `pom` names, and all that they need, into the directory `target`, whole or not at all."""
    for tool in ("mvn", "java"):
        if shutil.which(tool) is None:
            say(f"{what} needs {tool} on the PATH: install Maven and a Java runtime (17 or newer)")
            return False
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        work = Path(scratch)
        shutil.copy(pom, work / "pom.xml")
        say(f"fetching {what} with Maven (once)")
        command = ["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={work / 'jars'}"]
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.stderr.write((done.stdout + done.stderr)[-4000:])
            return False
        (work / "jars").replace(target)
    return True


def kafka() -> bool:
    """Fetch Kafka's jars into the cache, unless they are there."""
    target = binary("kafka")
    if not target.exists() and not maven(HERE / "kafka" / "pom.xml", target, f"Kafka {KAFKA_VERSION}"):
        return False
    say(f"Kafka {KAFKA_VERSION} is there: {target}")
    return True


SERVERS = {"loki": loki, "kafka": kafka}

if __name__ == "__main__":
    unknown = [name for name in sys.argv[1:] if name not in SERVERS]
    if unknown or len(sys.argv) < 2:
        sys.exit(f"usage: python tests/servers/install.py {'|'.join(SERVERS)}")
    sys.exit(0 if all(SERVERS[name]() for name in sys.argv[1:]) else 1)
