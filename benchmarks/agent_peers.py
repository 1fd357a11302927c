"""What the agent costs beside those written in C: the same files, the same server, one run.

    python benchmarks/agent_peers.py [--lines 400000] [--rounds 2] [--only logferry rsyslog] [--json FILE]

Each agent reads a file of JSON lines of 300 bytes to its end and ships it to the benchmark's server, which
answers at once: logferry to Loki's interface, to Elasticsearch's and to plain HTTP, rsyslog to
Elasticsearch's (`omelasticsearch`), syslog-ng to plain HTTP. Peers come from Debian's packages, unpacked into
the tests' cache; what cannot be had is said and left out. Rules:

- CPU time is that of the whole process, for a line: the difference between all lines and a quarter of them,
  so that starting is not a line's. µs a line are seconds for a million lines. The smallest of the rounds
  counts; in a round all agents take turns.
- Wall time is from the start to the last line's arrival (for logferry to its end), memory the most the
  process ever had, both of all lines.
- Everything is delivered, or the run fails: an agent that loses lines is not quick.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent import lines
from machine import write
from rows import Row, plain, text
from server import Server

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from servers import debian

SECTION = "agent peers"
PATIENCE = 300.0  # seconds for one run
BATCH = 1000  # lines of a request, where an agent asks for it


@dataclass(frozen=True, slots=True)
class Took:
    """What one run took: seconds of CPU, seconds to the last line, the most MiB in memory."""

    cpu: float
    wall: float
    memory: float


@dataclass(frozen=True, slots=True)
class Contender:
    """An agent under one configuration: `command` writes that, and returns what to run.

    `once`: it ends by itself.
    """

    name: str
    package: str
    command: Callable[[Path, Server], tuple[list[str], dict[str, str]]]
    mode: str
    once: bool = False


# ── logferry ──


def logferry(
    sink: str, *, options: str = "", parser: str = "auto"
) -> Callable[..., tuple[list[str], dict[str, str]]]:
    """Return what runs the agent with a sink (`{url}` in it), and options at the top of its configuration."""

    def command(place: Path, server: Server) -> tuple[list[str], dict[str, str]]:
        config = place / "agent.yaml"
        config.write_text(
            f"service: edge\nspool: {{path: {place}/spool}}\n{options}"
            f"sinks: {{out: {sink.replace('URL', server.url)}}}\n"
            f"sources:\n  app: {{type: file, include: [{place}/app.log], parser: {parser}}}\n",
            encoding="utf-8",
        )
        ours = [sys.executable, "-m", "logferry", "run", "--once", "--patience", "120s", "-c", str(config)]
        return ours, dict(os.environ)

    return command


LOKI = "{type: loki, url: 'URL'}"
SEARCH = "{type: elasticsearch, hosts: ['URL'], data_stream: logs-edge-prod, setup: manual}"
HTTP = "{type: http, url: 'URL/'}"
PLAIN = "redact: false\n"
DECLARED = "schema: {fields: {order_id: integer, note: string}}\n"

# ── the others ──


def _environment(package: str) -> tuple[Path, dict[str, str]]:
    root = debian.home(package)
    libraries = [str(path) for path in (*root.glob("usr/lib/*-linux-gnu*"), *root.glob("lib/*-linux-gnu*"))]
    libraries += [str(path) for path in root.glob("usr/lib/syslog-ng")]
    return root, {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)}


def rsyslog(template: str, action: str = "") -> Callable[..., tuple[list[str], dict[str, str]]]:
    """Return what runs rsyslog: files in, `_bulk` out; `action` stands before the sending."""

    def command(place: Path, server: Server) -> tuple[list[str], dict[str, str]]:
        root, environ = _environment("rsyslog-elasticsearch")
        (modules,) = root.glob("usr/lib/*-linux-gnu*/rsyslog")
        config = place / "rsyslog.conf"
        port = server.url.rpartition(":")[2]
        config.write_text(f"""
global(workDirectory="{place}" maxMessageSize="64k" net.enableDNS="off")
main_queue(queue.type="LinkedList" queue.size="100000" queue.dequeueBatchSize="{BATCH}")
module(load="imfile" mode="inotify")
module(load="mmjsonparse")
module(load="omelasticsearch")
input(type="imfile" file="{place}/app.log" tag="app:" ruleset="out")
template(name="kept" type="string" string="{template}")
ruleset(name="out" queue.type="LinkedList" queue.size="100000" queue.dequeueBatchSize="{BATCH}") {{
  {action}
  action(type="omelasticsearch" server="127.0.0.1" serverport="{port}" bulkmode="on" maxbytes="4m"
    searchIndex="logs" searchType="" template="kept" action.resumeRetryCount="-1")
}}
""")
        ours = [str(root / "usr/sbin/rsyslogd"), "-n", "-f", str(config), "-i", str(place / "pid")]
        return [*ours, "-M", str(modules)], environ

    return command


def syslog_ng(body: str, *steps: str) -> Callable[..., tuple[list[str], dict[str, str]]]:
    """Return what runs syslog-ng: files in, HTTP out; `steps` stand between."""

    def command(place: Path, server: Server) -> tuple[list[str], dict[str, str]]:
        root, environ = _environment("syslog-ng")
        (modules,) = root.glob("usr/lib/syslog-ng/*/libhttp.so")
        config = place / "syslog-ng.conf"
        config.write_text(f"""@version: 3.38
options {{ stats-freq(0); log-msg-size(65536); }};
source s {{ file("{place}/app.log" flags(no-parse) follow-freq(0.2) log-fetch-limit({BATCH})
  log-iw-size(100000)); }};
destination d {{ http(url("{server.url}/") method("POST") headers("Content-Type: application/x-ndjson")
  batch-lines({BATCH}) batch-bytes(4Mb) batch-timeout(200) workers(1) retries(10) log-fifo-size(200000)
  body('{body}') delimiter("\\n")); }};
log {{ source(s); {" ".join(steps)} destination(d); flags(flow-control); }};
""")
        ours = [str(root / "usr/sbin/syslog-ng"), "-F", "-f", str(config), "--no-caps"]
        ours += ["-R", str(place / "persist"), "-p", str(place / "pid"), "-c", str(place / "control")]
        return [*ours, f"--module-path={modules.parent}"], environ

    return command


JSON = 'parser { json-parser(prefix(".j.")); };'
SECRETS = 'rewrite { subst("(?i)bearer [a-z0-9._-]{8,}", "[REDACTED]", value("MESSAGE") flags("global"));'
SECRETS += ' subst("\\\\b[0-9]{13,19}\\\\b", "[REDACTED]", value("MESSAGE") flags("global")); };'

CONTENDERS = (
    Contender(
        "logferry → Loki: schema, redaction", "", logferry(LOKI, options=DECLARED), "healthy", once=True
    ),
    Contender("logferry → Loki: schema", "", logferry(LOKI, options=PLAIN), "healthy", once=True),
    Contender(
        "logferry → HTTP: schema, redaction", "", logferry(HTTP, options=DECLARED), "healthy", once=True
    ),
    Contender("logferry → HTTP: schema", "", logferry(HTTP, options=PLAIN), "healthy", once=True),
    Contender(
        "logferry → Elasticsearch: schema, redaction",
        "",
        logferry(SEARCH, options=DECLARED),
        "bulk",
        once=True,
    ),
    Contender(
        "rsyslog → Elasticsearch: lines as they are", "rsyslog-elasticsearch", rsyslog("%msg%"), "bulk"
    ),
    Contender(
        "rsyslog → Elasticsearch: JSON parsed",
        "rsyslog-elasticsearch",
        rsyslog("%$!all-json%", 'action(type="mmjsonparse" cookie="")'),
        "bulk",
    ),
    Contender("syslog-ng → HTTP: lines as they are", "syslog-ng", syslog_ng("$MESSAGE"), "healthy"),
    Contender(
        "syslog-ng → HTTP: JSON parsed",
        "syslog-ng",
        syslog_ng("$(format-json .j.* --rekey .j.* --shift-levels 2)", JSON),
        "healthy",
    ),
    Contender(
        "syslog-ng → HTTP: two kinds of secrets looked for",
        "syslog-ng",
        syslog_ng("$MESSAGE", SECRETS),
        "healthy",
    ),
)


def run(one: Contender, place: Path, server: Server, count: int) -> Took:
    """Run an agent over the lines at `place`, until all of them have arrived."""
    server.mode(one.mode)
    command, environ = one.command(place, server)
    began = time.monotonic()
    with (place / "said").open("w") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env=environ, cwd=place)
        try:
            arrived = 0 if one.once else _wait(process, server, count, began + PATIENCE)
            wall = time.monotonic() - began
            if process.returncode is not None:
                told = (place / "said").read_text()[-1000:]
                raise SystemExit(f"{one.name}: ended with {process.returncode}: {told}")
            if not one.once:
                process.send_signal(signal.SIGTERM)
        except BaseException:
            process.kill()
            raise
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
    if one.once:
        wall = time.monotonic() - began
    arrived += server.events()
    if arrived < count:
        raise SystemExit(f"{one.name}: {arrived} of {count} arrived: {(place / 'said').read_text()[-1000:]}")
    return Took(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024)


def _wait(process: subprocess.Popen[bytes], server: Server, count: int, deadline: float) -> int:
    """Return how many lines have arrived, when all have or none comes any more."""
    arrived = 0
    while time.monotonic() < deadline and arrived < count and process.poll() is None:
        time.sleep(0.2)
        arrived += server.events()
    return arrived


def ready(contenders: Sequence[Contender]) -> list[Contender]:
    """Return the contenders that can run here; install what they need."""
    there = {""} | {
        package for package in {one.package for one in contenders} if package and debian.install(package)
    }
    return [one for one in contenders if one.package in there]


def measure(count: int, rounds: int, contenders: Sequence[Contender]) -> list[Row]:
    """Run all contenders in turn, over all lines and over a quarter of them."""
    found: dict[tuple[str, int], list[Took]] = {}
    with Server() as server, tempfile.TemporaryDirectory(prefix="logferry-bench-") as name:
        for size in (count // 4, count):
            lines(size, Path(name) / f"{size}.log")
        for _ in range(rounds):
            for one in contenders:
                for size in (count // 4, count):
                    with tempfile.TemporaryDirectory(prefix="logferry-bench-") as place:
                        (Path(place) / "app.log").hardlink_to(Path(name) / f"{size}.log")
                        took = run(one, Path(place), server, size)
                    found.setdefault((one.name, size), []).append(took)
                    print(f"· {one.name}, {size:,}: {took.cpu:.2f} s CPU, {took.wall:.1f} s", file=sys.stderr)
    rows = []
    for one in contenders:
        small, large = found[one.name, count // 4], found[one.name, count]
        cpu = min(took.cpu for took in large) - min(took.cpu for took in small)
        figures = {
            "cpu": cpu / (count - count // 4) * 1e6,
            "seconds": min(took.wall for took in large),
            "memory": max(took.memory for took in large),
            "delivered": 1.0,
            "records": float(count),
        }
        rows.append(Row(SECTION, one.name, figures))
    return rows


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--lines", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", nargs="+", default=["logferry", "rsyslog", "syslog-ng"])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    contenders = ready([one for one in CONTENDERS if one.name.startswith(tuple(given.only))])
    rows = measure(given.lines, given.rounds, contenders)
    print(text(rows))
    if given.json:
        write(given.json, {"lines": given.lines, "rows": plain(rows)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
