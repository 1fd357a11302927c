"""Install the real servers that tests talk to: `python tests/servers/install.py loki`.

Loki comes as source from the Go module proxy and is built once, in about seven minutes on two cores; the
others come as jars from a Maven repository. What is in the cache already is left alone, so a second run takes
no time and needs no network. Exit code 0: it is there; 1: it could not be had.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from cache import ELASTICSEARCH_VERSION, KAFKA_VERSION, LOKI_VERSION, binary

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
    """Put the jars that `pom` names, and all that they need, into the directory `target`: all or none."""
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


def elasticsearch() -> bool:
    """Fetch Elasticsearch's jars into the cache and compile what starts it, unless it is there."""
    target, own = binary("elasticsearch"), HERE / "elasticsearch"
    what = f"Elasticsearch {ELASTICSEARCH_VERSION}"
    if target.exists():
        say(f"{what} is there: {target}")
        return True
    if shutil.which("javac") is None:
        say(f"{what} needs a Java development kit (javac, 17 or newer) on the PATH")
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        home = Path(scratch) / "home"
        if not maven(own / "pom.xml", home / "lib", what):
            return False
        _lay_out(home, own)
        home.replace(target)
    say(f"{what}: {target}")
    return True


def _lay_out(home: Path, own: Path) -> None:
    """Put the HTTP layer where the server looks for modules, and our two classes beside it."""
    lib, module = home / "lib", home / "modules" / "transport-netty4"
    plugin, classes = home / "plugins" / "stand-ins", home / "classes"
    for directory in (module, plugin, classes):
        directory.mkdir(parents=True)
    descriptor = "META-INF/es-plugins/transport-netty4/plugin-descriptor.properties"
    with zipfile.ZipFile(next(lib.glob("transport-netty4-*.jar"))) as jar:
        (module / "plugin-descriptor.properties").write_bytes(jar.read(descriptor))
    for pattern in ("netty-*.jar", "transport-netty4-*.jar", "elasticsearch-ssl-config-*.jar"):
        for jar_file in lib.glob(pattern):
            jar_file.rename(module / jar_file.name)
    compiler = ["javac", "-nowarn", "-Xlint:none", "--release", "17", "-cp", f"{lib}/*"]
    subprocess.run([*compiler, "-d", classes, own / "OneNode.java"], check=True)
    made = home / "plugin-classes"
    subprocess.run([*compiler, "-d", made, own / "StandIns.java"], check=True)
    with zipfile.ZipFile(plugin / "stand-ins.jar", "w") as jar:
        for file in made.glob("*.class"):
            jar.write(file, file.name)
    shutil.copy(own / "plugin-descriptor.properties", plugin)
    shutil.rmtree(made)


def rsyslog() -> bool:
    """Unpack Debian's rsyslog and the libraries that it alone needs into the cache."""
    target = binary("rsyslog")
    if target.exists():
        say(f"rsyslog is there: {target}")
        return True
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        say("rsyslog comes as Debian packages, and this is no Debian: an own receiver stands in")
        return True
    target.parent.mkdir(parents=True, exist_ok=True)
    packages = ["rsyslog", "rsyslog-gnutls", "libestr0", "libfastjson4", "liblognorm5"]
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        fetch = ["apt-get", "download", "-q", *packages]
        done = subprocess.run(fetch, cwd=scratch, capture_output=True, text=True, check=False)
        if done.returncode:  # the lists of packages may never have been fetched
            subprocess.run(["apt-get", "update", "-q"], capture_output=True, check=False)
            done = subprocess.run(fetch, cwd=scratch, capture_output=True, text=True, check=False)
        if done.returncode:
            say(f"rsyslog: {done.stderr.strip()[-500:]}")
            return False
        root = Path(scratch) / "root"
        for package in Path(scratch).glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, root], check=True)
        root.replace(target)
    say(f"rsyslog: {target}")
    return True


SERVERS = {"loki": loki, "elasticsearch": elasticsearch, "kafka": kafka, "rsyslog": rsyslog}

if __name__ == "__main__":
    unknown = [name for name in sys.argv[1:] if name not in SERVERS]
    if unknown or len(sys.argv) < 2:
        sys.exit(f"usage: python tests/servers/install.py {'|'.join(SERVERS)}")
    sys.exit(0 if all(SERVERS[name]() for name in sys.argv[1:]) else 1)
