"""What real programs write is understood completely: by the parser of their name, and by `auto`.

Each program runs, is asked a few things and one wrong one, and what it wrote goes through the file source.
"""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from programs.followed import Kept, source
from programs.understood import one, understood, until
from servers.cache import binary
from servers.debian import Mariadb, Nginx, Postgres, Redis, required

from logferry.shipper.sources.parsers import ParserConfig

pytestmark = pytest.mark.integration

TRACE = "0af7651916cd43dd8448eb211c80319c"
COMMENT = f"/*traceparent='00-{TRACE}-b7ad6b7169203331-01'*/"


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def test_nginx(tmp_path: Path) -> None:
    """Combined, combined with what people add, JSON of one's own, and the error log."""
    required("nginx")
    added = (
        '\'$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" \'\n'
        '\'"$http_user_agent" "$http_x_forwarded_for" \'\n'
        "'rt=$request_time urt=$upstream_response_time $request_id'"
    )
    own = (
        '\'{"time":"$time_iso8601","remote_addr":"$remote_addr","request":"$request",\'\n'
        "'\"status\":$status,'\n"
        '\'"body_bytes_sent":$body_bytes_sent,"request_time":$request_time,\'\n'
        '\'"http_user_agent":"$http_user_agent"}\''
    )
    logs = {name: tmp_path / f"{name}.log" for name in ("combined", "added", "json")}
    http_block = (
        f"log_format added {added};\nlog_format own escape=json {own};\n"
        f"access_log {logs['combined']} combined;\naccess_log {logs['added']} added;\n"
        f"access_log {logs['json']} own;\n"
        f"server {{ listen 127.0.0.1:{{PORT}}; root /usr/share; location /down {{ return 503; }}\n"
        f"location = / {{ return 200 hello; }}\n"
        f"location /away {{ proxy_pass http://127.0.0.1:9; }} }}"
    )
    agent = 'Mozilla/5.0 (X11; "Linux\\" é)'
    with Nginx(tmp_path / "nginx", http_block) as server:
        for path in ("/", "/?q=1&token=hunter2", "/missing", "/down", "/away"):
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
            connection.request("GET", path, headers={"User-Agent": agent, "X-Forwarded-For": "10.0.0.9"})
            connection.getresponse().read()
            connection.close()
        with socket.create_connection(("127.0.0.1", server.port), 20) as raw:
            raw.sendall(b'\x16\x03\x01 "GET\\ \xff\r\n\r\n')
            raw.recv(4096)
        until(lambda: all(path.read_bytes().count(b"\n") == 6 for path in logs.values()))
    for name, path in logs.items():
        events = understood(path, "nginx")
        assert [event["status_code"] for event in events] == [200, 200, 404, 503, 502, 400], name
        assert {event["kind"] for event in events} == {"access"}
        first, queried, _, down, away, hostile = events
        assert (first["method"], first["path"], first["bytes"]) == ("GET", "/", 5)
        assert (first["client_ip"], first["failed"], first["level"]) == ("127.0.0.1", False, "INFO")
        assert first["user_agent"] == agent.encode("latin-1").decode("utf-8", "replace")
        assert (queried["path"], queried["message"]) == ("/", "GET / 200")
        assert "q=1" in queried["query"]
        assert down["failed"] is True
        assert down["level"] == "ERROR"
        if name != "combined":
            assert away["duration_ms"] >= 0
            assert away["duration_le"]
        if name == "added":
            assert first["forwarded_for"] == "10.0.0.9"
            assert len({event["request_id"] for event in events}) == 6
        assert hostile["path"] == "" or hostile["method"]
    errors = understood(tmp_path / "nginx" / "error.log", "nginx")
    missing = one(errors, level="ERROR", path="/missing")
    assert missing["client_ip"] == "127.0.0.1"
    assert one(errors, path="/away")["upstream"] == "http://127.0.0.1:9/away"


class LoggingPostgres(Postgres):
    """PostgreSQL that writes all its three formats; csvlog and jsonlog into files of their own."""

    prefix = "%m [%p] %q%u@%d/%a %e:%l "
    more = (
        "-c logging_collector=on -c log_destination=stderr,csvlog,jsonlog -c log_directory=log "
        "-c log_filename=pg.log -c log_connections=on -c log_timezone=Asia/Shanghai"
    )

    def command(self) -> list[str]:
        return [*super().command(), *self.more.split(), "-c", f"log_line_prefix={self.prefix}"]

    def logged(self, ending: str) -> Path:
        return self.directory / "data" / "log" / f"pg.{ending}"

    def answers(self) -> bool:
        path = self.logged("log")
        return path.exists() and "ready to accept connections" in path.read_text()


def test_postgresql(tmp_path: Path) -> None:
    """stderr with a prefix that was given, csvlog and jsonlog tell the same."""
    required("postgresql")
    import psycopg

    statement = f"SELECT 'a\tb',\n  'x\"y' FROM nowhere {COMMENT}"
    with LoggingPostgres(tmp_path) as server:
        with psycopg.connect(server.url, autocommit=True, application_name="till 1") as connection:
            with pytest.raises(psycopg.errors.UndefinedTable):
                connection.execute(statement)
            connection.execute(f"SELECT 1 {COMMENT}")
            connection.execute(
                "DO $$ BEGIN RAISE WARNING 'careful' USING DETAIL = E'line\nof two', HINT = 'h'; END $$"
            )
        until(lambda: "careful" in server.logged("json").read_text())
        until(lambda: "careful" in server.logged("csv").read_text())
        prefixed = ParserConfig("postgresql", log_line_prefix=server.prefix, timezone="Asia/Shanghai")
        plain = ParserConfig("postgresql", timezone="Asia/Shanghai")
        logs = [
            (server.logged("log"), prefixed),
            (server.logged("csv"), plain),
            (server.logged("json"), plain),
        ]
        results = []
        for path, parser in logs:
            kept = Kept()
            source(kept, path, parser=parser).run(once=True)
            results.append([json.loads(line) for line in kept.lines])
        if sum(map(len, results)) == 0:
            pytest.fail("nothing was logged")
    for (path, _), events in zip(logs, results, strict=True):
        assert not [event for event in events if "parse_error" in event], path
        for event in events:
            age = datetime.now(UTC) - datetime.fromisoformat(event["timestamp"])
            assert timedelta(seconds=-2) < age < timedelta(minutes=10), event
        failed = one(events, level="ERROR")
        assert failed["message"] == 'relation "nowhere" does not exist' + " at character 28" * (
            path.suffix == ".log"
        )
        assert failed["statement"] == statement
        assert (failed["trace_id"], failed["span_id"]) == (TRACE, "b7ad6b7169203331")
        assert (failed["db_user"], failed["database"]) == ("shop", "postgres")
        assert failed["sql_state"] == "42P01"
        assert failed["application"] == "till 1"
        assert isinstance(failed["process"], int)
        careful = one(events, message="careful")
        assert (careful["level"], careful["detail"], careful["hint"]) == ("WARNING", "line\nof two", "h")
        timed = [event for event in events if "duration_ms" in event and event["trace_id"] == TRACE]
        assert timed, path
        assert all(0 < event["duration_ms"] < 60_000 for event in timed)
        # Connections are logged before there is a name; the lines are those that the server counted.
        assert [event for event in events if "connection received" in event["message"]]
    assert (
        len({tuple(event["message"].partition(" at char")[0] for event in events) for events in results}) == 1
    )
    counted = Counter(event["level"] for event in results[1])
    assert counted == Counter(event["level"] for event in results[2])


def test_postgresql_without_a_prefix(tmp_path: Path) -> None:
    """The usual prefixes are understood without being given, by `auto` too."""
    required("postgresql")
    import psycopg

    with Postgres(tmp_path) as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(f"SELECT\n 1 {COMMENT}")
            with pytest.raises(psycopg.errors.UndefinedTable):
                connection.execute("SELECT * FROM nowhere")
        until(lambda: "nowhere" in server.log())
        server.run(["sync", "-d", str(tmp_path / "output")])
        shutil.copy(tmp_path / "output", tmp_path / "pg.log")
    events = understood(tmp_path / "pg.log", "postgresql")
    assert one(events, trace_id=TRACE)["duration_ms"] > 0
    assert one(events, level="ERROR")["statement"] == "SELECT * FROM nowhere"


def test_mariadb(tmp_path: Path) -> None:
    """The slow-query log, whose records have several lines, and the error log."""
    required("mariadb")
    import pymysql

    with Mariadb(tmp_path) as server:
        connection = pymysql.connect(host="127.0.0.1", port=server.port, user="root", autocommit=True)
        with connection.cursor() as cursor:
            cursor.execute("CREATE DATABASE shop")
            cursor.execute("USE shop")
            for number in range(3):
                cursor.execute(f"SELECT {number},\n  '# Time: no' /* request_id='r-{number}' */")
            with pytest.raises(pymysql.err.MySQLError):
                cursor.execute("SELECT * FROM nowhere")
        connection.close()
        until(lambda: "nowhere" in server.log())
    events = understood(tmp_path / "slow.log", "mysql")
    for number in range(3):
        slow = one(events, request_id=f"r-{number}")
        assert slow["message"] == f"SELECT {number},\n  '# Time: no' /* request_id='r-{number}' */;"
        assert slow["duration_ms"] >= 0
        assert (slow["rows_sent"], slow["database"], slow["db_user"]) == (1, "shop", "root")
    lines = (tmp_path / "slow.log").read_text().splitlines()
    assert len(events) == sum(line.startswith("# User@Host") for line in lines) + 1  # and how it began
    errors = understood(tmp_path / "output", "mysql")
    assert [event for event in errors if "ready for connections" in event["message"]]


def test_redis(tmp_path: Path) -> None:
    """Its start, with a warning, and its end."""
    required("redis")
    with Redis(tmp_path) as server:
        server.ending = 15
    lines = (tmp_path / "output").read_text().splitlines()
    events = understood(tmp_path / "output", "redis")
    assert len(events) == len(lines)
    assert one(events, message="Ready to accept connections")["level"] == "INFO"


RSYSLOG = """
module(load="imtcp")
global(workDirectory="{directory}")
template(name="WithPriority" type="string"
  string="<%PRI%>%TIMESTAMP% %HOSTNAME% %syslogtag%%msg:::sp-if-no-1st-sp%%msg%\\n")
input(type="imtcp" port="{port}" address="127.0.0.1" ruleset="all")
ruleset(name="all") {{
  action(type="omfile" file="{directory}/traditional.log" template="RSYSLOG_TraditionalFileFormat")
  action(type="omfile" file="{directory}/iso.log" template="RSYSLOG_FileFormat")
  action(type="omfile" file="{directory}/new.log" template="RSYSLOG_SyslogProtocol23Format")
  action(type="omfile" file="{directory}/forward.log" template="WithPriority")
}}
"""
SSHD = [
    "Accepted publickey for deploy from 10.1.2.3 port 50022 ssh2: ED25519 SHA256:abc",
    "Failed password for invalid user admin from 203.0.113.9 port 50023 ssh2",
    "Connection closed by authenticating user root 203.0.113.9 port 50024 [preauth]",
    "pam_unix(sshd:session): session opened for user deploy(uid=1000) by (uid=0)",
]


@pytest.fixture
def rsyslog(tmp_path: Path) -> Iterator[int]:
    root = binary("rsyslog")
    if not root.exists():
        required("rsyslog")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    config = tmp_path / "rsyslog.conf"
    config.write_text(RSYSLOG.format(directory=tmp_path, port=port))
    libraries = ":".join(str(path) for path in root.glob("usr/lib/*-linux-gnu*"))
    (modules,) = root.glob("usr/lib/*/rsyslog")
    command = [str(root / "usr/sbin/rsyslogd"), "-n", "-f", str(config), "-i", str(tmp_path / "pid")]
    with (tmp_path / "output").open("wb") as output:
        running = subprocess.Popen(
            [*command, "-M", str(modules)],
            env={"LD_LIBRARY_PATH": libraries, "TZ": "UTC"},
            stdout=output,
            stderr=output,
        )
    try:
        until(lambda: _listens(port), (tmp_path / "output").read_text())
        yield port
    finally:
        running.kill()
        running.wait()


def test_rsyslog_and_sshd(rsyslog: int, tmp_path: Path) -> None:
    """sshd's words in each of the forms in which rsyslog writes them."""
    now = datetime.now(UTC)
    with socket.create_connection(("127.0.0.1", rsyslog), 20) as sending:
        for number, said in enumerate(SSHD):
            sending.sendall(f"<86>{now:%b %e %H:%M:%S} gate sshd[{4000 + number}]: {said}\n".encode())
        sending.sendall(f"<11>{now:%b %e %H:%M:%S} gate till: request_id=r-1 failed\n".encode())
    logs = [tmp_path / f"{name}.log" for name in ("traditional", "iso", "new", "forward")]
    until(lambda: all(path.exists() and path.read_bytes().count(b"\n") >= 5 for path in logs))
    for path in logs:
        events = understood(path, ParserConfig("syslog", timezone="UTC"))
        assert [event["message"] for event in events] == [*SSHD, "request_id=r-1 failed"], path
        assert {event["host"] for event in events} == {"gate"}
        accepted, failed, closed, _, till = events
        assert (accepted["logger"], accepted["process"]) == ("sshd", 4000)
        assert (accepted["auth_result"], accepted["login_user"]) == ("accepted", "deploy")
        assert (failed["auth_result"], failed["client_ip"]) == ("failed", "203.0.113.9")
        assert (closed["login_user"], closed["client_port"]) == ("root", 50024)
        assert till["request_id"] == "r-1"
        if path.stem in {"new", "forward"}:
            assert (till["level"], accepted["facility"]) == ("ERROR", "authpriv")


JAVA = """
import java.util.logging.*;
public class Till {
    static void pay(int depth) {
        if (depth > 0) pay(depth - 1); else throw new IllegalStateException("no card");
    }
    public static void main(String[] arguments) {
        Logger log = Logger.getLogger("shop.Till");
        log.info("open");
        try {
            try { pay(2); } catch (RuntimeException failed) { throw new RuntimeException("order 7", failed); }
        } catch (RuntimeException failed) { log.log(Level.SEVERE, "not paid", failed); }
        log.warning("closing");
        LOG4J
        pay(1);
    }
}
"""
LOG4J = """
org.apache.logging.log4j.Logger other = org.apache.logging.log4j.LogManager.getLogger("shop.Other");
other.error("by log4j", new RuntimeException("order 8", new java.io.IOException("wire")));
"""

PATTERN = """
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{HH:mm:ss.SSS} [%t] %-5level %logger{36} - %msg%n
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
"""


def test_a_jvm(tmp_path: Path) -> None:
    """java.util.logging's two lines, the pattern of Log4j and Logback, causes, an uncaught exception."""
    if shutil.which("javac") is None:
        pytest.skip("there is no Java compiler here")
    jars = [str(path) for name in ("api", "core") for path in binary("kafka").glob(f"log4j-{name}-*.jar")]
    (tmp_path / "Till.java").write_text(JAVA.replace("LOG4J", LOG4J if jars else ""))
    (tmp_path / "log4j2.properties").write_text(PATTERN)
    classes = ["-cp", ":".join([*jars, "."])]
    subprocess.run(["javac", "-proc:none", *classes, "Till.java"], cwd=tmp_path, check=True, timeout=100)
    command = ["java", "-XX:TieredStopAtLevel=1", "-Duser.timezone=UTC", "-Duser.language=en"]
    command += [*classes, "Till"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    said = done.stderr
    assert "no card" in said, done
    path = tmp_path / "till.log"
    path.write_text(said + done.stdout)
    parser = ParserConfig("jvm", timezone="UTC")
    kept = Kept()
    source(kept, path, parser=parser).run(once=True)
    events = [json.loads(line) for line in kept.lines]
    failed = one(events, message="not paid")
    assert (failed["level"], failed["logger"]) == ("ERROR", "Till")
    assert failed["error"]["type"] == "java.lang.RuntimeException"
    assert failed["error"]["causes"][0]["message"] == "no card"
    assert failed["error"]["stack"].count("\n") >= 4
    assert one(events, message="open")["level"] == "INFO"
    assert one(events, message="closing")["level"] == "WARNING"
    uncaught = one(events, message="java.lang.IllegalStateException: no card", thread="main")
    assert uncaught["error"]["type"] == "java.lang.IllegalStateException"
    if jars:
        other = one(events, logger="shop.Other")
        assert other["error"]["causes"] == [
            {"type": "java.io.IOException", "message": "wire", "relation": "cause"}
        ]
    assert len(events) == 4 + len(jars[:1])


PYTHON = """
import logging, sys
logging.basicConfig(level="INFO", format=sys.argv[1], stream=sys.stdout)
log = logging.getLogger("shop.orders")
log.info("order 7 [req-1234-abcd]")
def pay():
    try:
        {}["card"]
    except KeyError as failed:
        raise ValueError("no card\\nat all") from failed
try:
    pay()
except ValueError as failed:
    failed.add_note("ask: the bank")
    log.exception("not paid")
try:
    raise ExceptionGroup("two", [ValueError(1), TypeError(2)])
except ExceptionGroup:
    log.exception("neither")
log.warning("closing")
"""


@pytest.mark.parametrize(
    "form",
    [
        "%(asctime)s - %(name)s - %(levelname)s - %(message)s",
        "%(levelname)s:%(name)s:%(message)s",
        "%(asctime)s %(levelname)s %(name)s: %(message)s",
        "[%(asctime)s] [%(process)d] [%(levelname)s] %(name)s: %(message)s",
    ],
)
def test_python(tmp_path: Path, form: str) -> None:
    """Chained tracebacks, with notes, and groups: each with its record, whatever the usual format is."""
    command = [sys.executable, "-c", PYTHON, form]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    path = tmp_path / "app.log"
    path.write_text(done.stdout)
    for parser in ("python", "auto"):
        kept = Kept()
        source(kept, path, parser=parser).run(once=True)
        events = [json.loads(line) for line in kept.lines]
        assert not [event for event in events if "parse_error" in event]
        wanted = ["order 7 [req-1234-abcd]", "not paid", "neither", "closing"]
        assert [event["message"] for event in events] == wanted
        assert [event["level"] for event in events] == ["INFO", "ERROR", "ERROR", "WARNING"]
        order, paid, neither, _ = events
        assert {event["logger"] for event in events} == {"shop.orders"}
        assert order["request_id"] == "req-1234-abcd"
        assert paid["error"]["type"] == "ValueError"
        assert paid["error"]["message"] == "no card"
        assert paid["error"]["stack"].startswith("Traceback")
        assert paid["error"]["stack"].endswith("ask: the bank")
        assert "KeyError: 'card'" in paid["error"]["stack"]
        assert neither["error"]["type"] == "ExceptionGroup"
        assert neither["error"]["stack"].endswith("+------------------------------------")
