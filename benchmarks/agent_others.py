"""The other agents: how each is configured and run, and where it comes from.

- rsyslog and syslog-ng come from Debian's packages, unpacked into the tests' cache.
- Fluent Bit is measured where `fluent-bit` is on the PATH, Filebeat and the OpenTelemetry collector where
  `filebeat` and `otelcol` are, or in the tests' cache (`python tests/servers/install.py filebeat otelcol`).
- Nothing is told to them that makes them slower: large batches, one worker, no compression, queues in memory.
  Where an agent can keep its queue on disk, as logferry's spool always does, that is a row of its own. What
  they say of themselves (metrics, the host's data) is off.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from server import Server
from servers import cache, debian

__all__ = ["OTHERS", "Command", "Contender", "Run", "there"]

BATCH = 1000  # lines of a request, where an agent asks for it

Run = tuple[list[str], dict[str, str]]
"""A command, and its environment."""

Command = Callable[[Path, Server], Run]
"""Writes a configuration into a directory, for a server, and returns what to run."""


class Agent(Protocol):
    """Makes the command of an agent that parses the lines, or takes them as they are."""

    def __call__(self, *, parsed: bool) -> Command: ...


@dataclass(frozen=True, slots=True)
class Contender:
    """An agent under one configuration.

    `mode` is the server's, `package` Debian's, `program` one that is found. `once`: it ends by itself.
    """

    name: str
    mode: str
    command: Command
    package: str = ""
    program: str = ""
    once: bool = False


def there(one: Contender) -> bool:
    """Return whether it can run here; fetch Debian's packages for it."""
    if one.program:
        return cache.found(one.program) is not None
    return not one.package or debian.install(one.package)


def _environment(package: str) -> tuple[Path, dict[str, str]]:
    root = debian.home(package)
    libraries = [str(path) for path in (*root.glob("usr/lib/*-linux-gnu*"), *root.glob("lib/*-linux-gnu*"))]
    libraries += [str(path) for path in root.glob("usr/lib/syslog-ng")]
    return root, {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)}


def rsyslog(template: str, action: str = "") -> Command:
    """Return what runs rsyslog: files in, `_bulk` out; `action` stands before the sending."""

    def command(place: Path, server: Server) -> Run:
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


def syslog_ng(body: str, *steps: str) -> Command:
    """Return what runs syslog-ng: files in, HTTP out; `steps` stand between."""

    def command(place: Path, server: Server) -> Run:
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


def fluent_bit(output: str, *, parsed: bool = True, disk: bool = False) -> Command:
    """Return what runs Fluent Bit: its `tail`, and an output."""

    def command(place: Path, server: Server) -> Run:
        port = server.url.rpartition(":")[2]
        storage = f"    storage.path {place}/chunks\n    storage.sync normal\n" if disk else ""
        (place / "parsers.conf").write_text("[PARSER]\n    name json\n    format json\n")
        (place / "fluent-bit.conf").write_text(f"""
[SERVICE]
    flush 0.2
    grace 1
    log_level warn
    http_server off
    parsers_file {place}/parsers.conf
{storage}
[INPUT]
    name tail
    path {place}/app.log
    db {place}/positions.db
    read_from_head on
    buffer_chunk_size 512k
    buffer_max_size 4m
    mem_buf_limit 64m
    storage.type {"filesystem" if disk else "memory"}
    {"parser json" if parsed else ""}
[OUTPUT]
    match *
    host 127.0.0.1
    port {port}
{output}
""")
        program = str(cache.found("fluent-bit"))
        return [program, "-c", str(place / "fluent-bit.conf")], dict(os.environ)

    return command


def _configured(program: str, template: str, parsing: str, *options: str) -> Agent:
    """Return what makes the command of an agent of one configuration; `parsing` stands in it at @PARSED@.

    @PLACE@ and @URL@ are filled in, in the options too, where @CONFIG@ is the configuration's own path.
    """

    def of(*, parsed: bool) -> Command:
        def command(place: Path, server: Server) -> Run:
            config = place / f"{program}.yaml"
            facts = {"PLACE": place, "URL": server.url, "CONFIG": config, "PARSED": parsing if parsed else ""}
            filled = [template, *options]
            for name, fact in facts.items():
                filled = [text.replace(f"@{name}@", str(fact)) for text in filled]
            config.write_text(filled[0])
            config.chmod(0o600)
            return [str(cache.found(program)), *filled[1:]], dict(os.environ)

        return command

    return of


filebeat = _configured(
    "filebeat",
    """
filebeat.inputs:
    - type: filestream
      id: app
      paths: [@PLACE@/app.log]
@PARSED@
output.elasticsearch: {hosts: ["@URL@"], index: logs, bulk_max_size: 1600, compression_level: 0}
setup: {ilm.enabled: false, template.enabled: false}
logging: {level: warning, to_stderr: true, metrics.enabled: false}
""",
    '      parsers: [{ndjson: {target: "", overwrite_keys: true}}]',
    *("-c", "@CONFIG@", "--path.home", "@PLACE@", "--path.data", "@PLACE@/data"),
)
"""Filebeat: its `filestream`, and Elasticsearch's bulk requests."""

collector = _configured(
    "otelcol",
    f"""
receivers:
  filelog:
    include: [@PLACE@/app.log]
    start_at: beginning
@PARSED@
processors: {{batch: {{send_batch_size: {BATCH}, timeout: 200ms}}}}
exporters:
  otlphttp: {{endpoint: "@URL@", compression: none}}
service:
  telemetry: {{metrics: {{level: none}}, logs: {{level: warn}}}}
  pipelines: {{logs: {{receivers: [filelog], processors: [batch], exporters: [otlphttp]}}}}
""",
    "    operators: [{type: json_parser}]",
    *("--config", "@CONFIG@"),
)
"""The OpenTelemetry collector: its `filelog`, and OTLP."""

LOKI_OUT = """    name loki
    labels job=edge
    line_format json
"""
HTTP_OUT = """    name http
    uri /
    format json_lines
    json_date_key false
"""
SEARCH_OUT = """    name es
    index logs
    suppress_type_name on
    buffer_size 4m
"""

JSON = 'parser { json-parser(prefix(".j.")); };'
SECRETS = 'rewrite { subst("(?i)bearer [a-z0-9._-]{8,}", "[REDACTED]", value("MESSAGE") flags("global"));'
SECRETS += ' subst("\\\\b[0-9]{13,19}\\\\b", "[REDACTED]", value("MESSAGE") flags("global")); };'

OTHERS = (
    Contender("Fluent Bit → Loki: JSON parsed", "healthy", fluent_bit(LOKI_OUT), program="fluent-bit"),
    Contender(
        "Fluent Bit → Loki: JSON parsed, chunks on disk",
        "healthy",
        fluent_bit(LOKI_OUT, disk=True),
        program="fluent-bit",
    ),
    Contender("Fluent Bit → HTTP: JSON parsed", "healthy", fluent_bit(HTTP_OUT), program="fluent-bit"),
    Contender(
        "Fluent Bit → HTTP: lines as they are",
        "healthy",
        fluent_bit(HTTP_OUT, parsed=False),
        program="fluent-bit",
    ),
    Contender(
        "Fluent Bit → Elasticsearch: JSON parsed", "bulk", fluent_bit(SEARCH_OUT), program="fluent-bit"
    ),
    Contender("Filebeat → Elasticsearch: JSON parsed", "bulk", filebeat(parsed=True), program="filebeat"),
    Contender(
        "Filebeat → Elasticsearch: lines as they are", "bulk", filebeat(parsed=False), program="filebeat"
    ),
    Contender(
        "OpenTelemetry collector → OTLP: JSON parsed", "healthy", collector(parsed=True), program="otelcol"
    ),
    Contender(
        "OpenTelemetry collector → OTLP: lines as they are",
        "healthy",
        collector(parsed=False),
        program="otelcol",
    ),
    Contender(
        "rsyslog → Elasticsearch: lines as they are",
        "bulk",
        rsyslog("%msg%"),
        package="rsyslog-elasticsearch",
    ),
    Contender(
        "rsyslog → Elasticsearch: JSON parsed",
        "bulk",
        rsyslog("%$!all-json%", 'action(type="mmjsonparse" cookie="")'),
        package="rsyslog-elasticsearch",
    ),
    Contender("syslog-ng → HTTP: lines as they are", "healthy", syslog_ng("$MESSAGE"), package="syslog-ng"),
    Contender(
        "syslog-ng → HTTP: JSON parsed",
        "healthy",
        syslog_ng("$(format-json .j.* --rekey .j.* --shift-levels 2)", JSON),
        package="syslog-ng",
    ),
    Contender(
        "syslog-ng → HTTP: two kinds of secrets looked for",
        "healthy",
        syslog_ng("$MESSAGE", SECRETS),
        package="syslog-ng",
    ),
)
