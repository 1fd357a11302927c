"""Each parser by lines of its programs; all of them by any bytes: nothing raises, nothing is lost."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any, get_args

import pytest
from effort import effort
from hypothesis import given, settings
from hypothesis import strategies as st

from logferry.handlers.record import EventBuilder
from logferry.handlers.redaction import Redactor
from logferry.handlers.schema import Schema
from logferry.shipper.sources.blocks import LineBlocks
from logferry.shipper.sources.parsers import ParserConfig, ParserName, Reader, parser_config
from logferry.shipper.sources.parsers.containers import metadata_of
from logferry.shipper.sources.parsers.formats import formats_of, parser_of
from logferry.shipper.sources.parsers.times import Times, zone_of

T = "2026-11-21T20:17:42.000000Z"
MS = "2026-11-21T20:17:42.123000Z"
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"/*traceparent='00-{TRACE}-{SPAN}-01'*/"
ACCESS = {
    "kind": "access",
    "method": "GET",
    "path": "/x",
    "status_code": 200,
    "timestamp": T,
    "failed": False,
}
NOW = datetime(2026, 11, 21, 21, tzinfo=UTC).timestamp()
COMBINED = '10.0.0.1 - bob [21/Nov/2026:20:17:42 +0000] "GET /x?a=1 HTTP/1.1" 200 612 "http://r/" "curl/8"'

# parser, line, what it says at least
SAMPLES: list[tuple[str, str, dict[str, Any]]] = [
    ("nginx", COMBINED, {**ACCESS, "query": "a=1", "user_id": "bob", "bytes": 612, "user_agent": "curl/8"}),
    ("nginx", COMBINED + ' "10.0.0.9" rt=0.123 rid=r1', {"duration_ms": 123.0, "request_id": "r1"}),
    ("nginx", COMBINED + f" 0.004 {TRACE}", {"duration_ms": 4.0, "request_id": TRACE}),
    ("nginx", COMBINED.replace(" 200 ", " 503 "), {"level": "ERROR", "failed": True}),
    (
        "nginx",
        r'10.0.0.1 - - [21/Nov/2026:20:17:42 +0000] "\x16\x03\"" 400 157 "-" "-"',
        {"message": '\x16\x03" 400', "method": "-", "status_code": 400},
    ),
    ("nginx", '10.0.0.1 - - [21/Nov/2026:20:17:42 +0000] "" 400 0 "-" "-"', {"status_code": 400}),
    (
        "nginx",
        (
            "2026/11/21 20:17:42 [crit] 12#13: *45 connect() failed, client: 10.0.0.1, server: a, "
            'request: "GET /x HTTP/1.1", upstream: "http://u/", host: "h:80"'
        ),
        {"level": "CRITICAL", "process": 12, "connection": 45, "client_ip": "10.0.0.1", "path": "/x"},
    ),
    ("nginx", '{"status":200,"request":"GET /x HTTP/1.1","msec":1795292262.5}', {"status_code": 200}),
    ("nginx", '{"path":"/healthz?a=1","status":200}', {"path": "/healthz", "query": "a=1", "method": "-"}),
    ("apache", '10.0.0.1 - - [21/Nov/2026:20:17:42 +0000] "GET /x HTTP/1.0" 200 -', ACCESS),
    (
        "apache",
        'shop:443 10.0.0.1 - - [21/Nov/2026:20:17:42 +0000] "GET /x HTTP/1.0" 200 1 "-" "-"',
        {**ACCESS, "server": "shop:443"},
    ),
    (
        "apache",
        "[Sat Nov 21 20:17:42.123000 2026] [core:error] [pid 35:tid 43] [client 10.0.0.1:1234] AH00037: no",
        {"timestamp": MS, "logger": "apache.core", "client_ip": "10.0.0.1"},
    ),
    (
        "postgresql",
        f"2026-11-21 20:17:42.123 UTC [12] shop@db LOG:  duration: 1.5 ms  statement: SELECT 1 {PARENT}",
        {"timestamp": MS, "process": 12, "db_user": "shop", "duration_ms": 1.5, "trace_id": TRACE},
    ),
    (
        "postgresql",
        "2026-11-21 20:17:42 UTC:10.0.0.1(4711):shop@db:[12]:FATAL:  no",
        {"timestamp": T, "level": "CRITICAL", "database": "db", "process": 12, "message": "no"},
    ),
    (
        "postgresql",
        "2026-11-21 20:17:42 UTC [12]: user=shop,db=db,app=till,client=10.0.0.1 ERROR:  no",
        {"db_user": "shop", "application": "till", "client_ip": "10.0.0.1", "level": "ERROR"},
    ),
    (
        "postgresql",
        (
            "2026-11-21 20:17:42 UTC [12] ERROR:  no\n2026-11-21 20:17:42 UTC [12] DETAIL:  a\n\tb\n"
            "2026-11-21 20:17:42 UTC [12] STATEMENT:  SELECT\n\t1"
        ),
        {"message": "no", "detail": "a\nb", "statement": "SELECT\n1"},
    ),
    (
        "postgresql",
        (
            '2026-11-21 20:17:42.123 UTC,"shop","db",12,"10.0.0.1:4711",6.1,1,"SELECT",'
            '2026-11-21 20:17:40 UTC,3/4,0,ERROR,42P01,"relation ""x"" does\nnot exist",,"hint",,,,'
            '"SELECT 1",15,,"psql","client backend",,0'
        ),
        {"timestamp": MS, "message": 'relation "x" does\nnot exist', "hint": "hint", "client_ip": "10.0.0.1"},
    ),
    ("mysql", "2026-11-21 20:17:42 0 [Note] InnoDB: x", {"timestamp": T, "message": "InnoDB: x"}),
    (
        "mysql",
        "2026-11-21T20:17:42.123000Z 7 [Warning] [MY-010116] [Server] x",
        {
            "timestamp": MS,
            "level": "WARNING",
            "error": {"code": "MY-010116"},
            "thread": "7",
        },
    ),
    (
        "mysql",
        (
            "# Time: 2026-11-21T20:17:43.000000Z\n# User@Host: root[root] @ localhost []  Id:     8\n"
            "# Query_time: 1.500000  Lock_time: 0.000002 Rows_sent: 1  Rows_examined: 9\n"
            "SET timestamp=1795292262;\nSELECT 1 -- request_id=r1\n;"
        ),
        {"timestamp": T, "duration_ms": 1500.0, "rows_examined": 9, "request_id": "r1", "thread": "8"},
    ),
    (  # MySQL 9.7 with `log_slow_extra`: it began at `Start`
        "mysql",
        (
            "# Time: 2026-11-22T12:46:55.352256Z\n# User@Host: root[root] @ localhost [127.0.0.1]  Id: 10\n"
            "# Query_time: 0.000124  Lock_time: 0.000000 Rows_sent: 1  Rows_examined: 1 Errno: 1146 "
            "Killed: 0  Start: 2026-11-22T12:46:55.352132Z End: 2026-11-22T12:46:55.352256Z\n"
            "SET timestamp=1795351615;\nSELECT 7 /* request_id='r-7' */;"
        ),
        {
            "timestamp": "2026-11-22T12:46:55.352132Z",
            "errno": 1146,
            "request_id": "r-7",
            "duration_ms": 0.124,
        },
    ),
    (  # a replicated statement: what the session set is not when it ran here
        "mysql",
        "# Time: 2026-11-22T12:46:55.352256Z\n# Query_time: 0.5\nSET timestamp=1795292262;\nSELECT 1;",
        {"timestamp": T, "duration_ms": 500.0},
    ),
    (
        "mysql",
        "mysqld: Error on realpath() on '/var/lib/mysql-files' (Error 2 - No such file or directory)",
        {"level": "ERROR", "logger": "mysqld"},
    ),
    (
        "redis",
        "12:M 21 Nov 2026 20:17:42.123 # careful",
        {"timestamp": MS, "level": "WARNING", "process": 12},
    ),
    # Valkey 9.1 with `log-timestamp-format` iso8601 and milliseconds, and with `log-format logfmt`
    (
        "redis",
        "12:C 2026-11-21T20:17:42.123+00:00 * saved",
        {"timestamp": MS, "level": "INFO", "role": "child"},
    ),
    ("redis", "12:S 1795292262123 # lost", {"timestamp": MS, "level": "WARNING", "role": "replica"}),
    (
        "redis",
        'pid=12 role=primary timestamp="21 Nov 2026 20:17:42.123" level=notice message="Running mode=x"',
        {
            "timestamp": MS,
            "level": "INFO",
            "process": 12,
            "role": "master",
            "message": "Running mode=x",
        },
    ),
    ("redis", 'pid=12 role=RDB/AOF timestamp="1795292262123" level=debug message=""', {"timestamp": MS}),
    (
        "syslog",
        '<34>1 2026-11-21T20:17:42.123Z web su 12 ID47 [a@1 k="v\\"w"][b] \ufeffno',
        {"timestamp": MS, "level": "CRITICAL", "host": "web", "a@1.k": 'v"w', "message": "no", "process": 12},
    ),
    (
        "syslog",
        "Nov 21 20:17:42 web sshd[12]: Failed password for invalid user x from 10.0.0.1 port 22 ssh2",
        {"timestamp": T, "host": "web", "logger": "sshd", "auth_result": "failed", "level": "WARNING"},
    ),
    (  # OpenSSH 9.2
        "syslog",
        "Nov 21 20:17:42 web sshd[12]: Connection closed by invalid user bob 127.0.0.1 port 49656 [preauth]",
        {"login_user": "bob", "client_ip": "127.0.0.1", "client_port": 49656, "level": "INFO"},
    ),
    ("syslog", "<13>no header at all", {"message": "no header at all", "facility": "user"}),
    (
        "klog",
        'W1121 20:17:42.123000      12 pod.go:7] "Killed" pod="a/b" exit=9',
        {"timestamp": MS, "level": "WARNING", "message": "Killed", "pod": "a/b", "exit": 9, "line": 7},
    ),
    (
        "klog",
        'I1121 20:17:42.123000      12 pod.go:7] "Paid" text=<\n\ttwo\n\tlines\n > list=[1,2] of={"a":1}',
        {"message": "Paid", "text": "two\nlines", "list": [1, 2], "of": {"a": 1}},
    ),
    (
        "jvm",
        "[2026-11-21 20:17:42,123] INFO Values: \n\ta = 1\n\tb = 2\n (kafka.Config)",
        {"timestamp": MS, "logger": "kafka.Config", "message": "Values: \n\ta = 1\n\tb = 2"},
    ),
    (
        "go",
        "till: 2026/11/21 20:17:42.123000 pay.go:7: WARNING: no card [req-1234-abcd]",
        {
            "timestamp": MS,
            "level": "WARNING",
            "message": "no card [req-1234-abcd]",
            "logger": "till",
            "module": "pay.go",
            "line": 7,
            "request_id": "req-1234-abcd",
        },
    ),
    (
        "go",
        '2026/11/21 20:17:42 ERROR+4 a=1 is not paid order=7 error="no card"',
        {"timestamp": T, "level": "CRITICAL", "message": "a=1 is not paid", "order": 7},
    ),
    (
        "node",
        '2026-11-21T20:17:42.123Z [till] warn: slow {"took":1.5}',
        {"timestamp": MS, "level": "WARNING", "message": "slow", "logger": "till", "took": 1.5},
    ),
    ("node", '{"level":40,"time":1795292262123,"msg":"slow"}', {"level": "WARNING"}),
    (
        "apache",
        (
            "[Sat Nov 21 20:17:42.123000 2026] [proxy:error] [pid 35] proxy_util.c(7): "
            "(111)Connection refused: [client 10.0.0.1:1234] AH00957: no, referer: http://r/"
        ),
        {
            "message": "(111)Connection refused: AH00957: no",
            "module": "proxy_util.c",
            "client_ip": "10.0.0.1",
            "referer": "http://r/",
        },
    ),
    (
        "logfmt",
        'ts=2026-11-21T20:17:42Z level=warn msg="a \\"b\\"" n=1 f=1.5 ok=true requestId=r1',
        {"timestamp": T, "message": 'a "b"', "n": 1, "f": 1.5, "ok": True, "request_id": "r1"},
    ),
    ("python", "WARNING:shop:low", {"level": "WARNING", "logger": "shop", "message": "low"}),
    ("python", "2026-11-21 20:17:42,123 - shop - ERROR - no", {"timestamp": MS, "logger": "shop"}),
    (
        "python",
        "2026-11-21 20:17:42.123 | SUCCESS  | shop.orders:pay:8 - a | b",
        {"timestamp": MS, "level": "INFO", "logger": "shop.orders", "function": "pay", "line": 8},
    ),
    (
        "python",
        "2026-11-21T20:17:42.123Z [warning  ] a=b is it [x.y] n=1 f=1.5 s='a \\'b\\'' level=up ok=True",
        {
            "timestamp": MS,
            "level": "WARNING",
            "message": "a=b is it",
            "logger": "x.y",
            "n": 1,
            "level_": "up",
        },
    ),
    ("python", "2026-11-21 20:17:42 [info     ] n=1 of m", {"message": "n=1 of m"}),
    ("python", "[2026-11-21 20:17:42 +0000] [12] [INFO] Booting", {"timestamp": T, "process": 12}),
    ("python", 'INFO:     10.0.0.1:50 - "GET /x HTTP/1.1" 200 OK', {"client_ip": "10.0.0.1", "path": "/x"}),
    (
        "python",
        '10.0.0.1 - - [21/Nov/2026 20:17:42] "GET /x HTTP/1.1" 200 -',
        {**ACCESS, "logger": "werkzeug"},
    ),
    (
        "python",
        "[2026-11-21 20:17:42,123: INFO/MainProcess] Task a[0af76519-16cd-43dd-8448-eb211c80319c] received",
        {"timestamp": MS, "task_id": "0af76519-16cd-43dd-8448-eb211c80319c"},
    ),
    (
        "python",
        '\x1b[33m10.0.0.1 - - [21/Nov/2026 20:17:42] "\x1b[35mGET /x"y HTTP/1.1\x1b[0m" 500 -\nTraceback',
        {"kind": "access", "path": '/x"y', "status_code": 500, "message": 'GET /x"y 500\nTraceback'},
    ),
    (
        "python",
        "[21/Nov/2026 20:17:42] code 400, message Bad request syntax ('GET')",
        {"timestamp": T, "level": "WARNING", "logger": "django.server"},
    ),
    (
        "python",
        (
            "[2026-11-21 20:17:42 +0000] [12] [INFO] 10.0.0.1:50 - - [21/Nov/2026:20:17:42 +0000] "
            '"GET /x 2" 200 7 "-" "-"'
        ),
        {**ACCESS, "protocol": "2", "client_ip": "10.0.0.1", "process": 12, "logger": "hypercorn.access"},
    ),
    (
        "python",
        "Forbidden (CSRF cookie not set.): /x",
        {"level": "WARNING", "logger": "django.request", "path": "/x"},
    ),
    (
        "python",
        "[2026-11-21 20:17:42,123] ERROR in app: Exception on /x [GET]",
        {"timestamp": MS, "level": "ERROR", "module": "app", "message": "Exception on /x [GET]"},
    ),
    (
        "python",
        '2026-11-21 20:17:42,123 INFO:     10.0.0.1:50 - "GET /x HTTP/1.1" 200',
        {"timestamp": MS, "kind": "access", "logger": "uvicorn.access"},
    ),
    (
        "jvm",
        '20:17:42.123 [main] INFO a.b.C -order="7" who="x y"- x',
        {"timestamp": MS, "logger": "a.b.C", "message": "x", "order": "7", "who": "x y"},
    ),
    ("jvm", "20:17:42.123 [main] INFO a.b.C -- x", {"message": "x"}),
    ("jvm", "2026-11-21T20:17:42.123Z  INFO 12 --- [main] a.b.C  :", {"message": "", "logger": "a.b.C"}),
    (
        "jvm",
        'Exception in thread "a b" x.Y: no\nat all\n\tat x.Z.f(Z.java:3)',
        {"level": "ERROR", "thread": "a b", "message": "x.Y: no"},
    ),
    ("jvm", "20:17:42.123 [main] WARN  a.b.C - x", {"timestamp": MS, "thread": "main", "logger": "a.b.C"}),
    (
        "jvm",
        f"2026-11-21T20:17:42.123Z  INFO 12 --- [till] [main] [{TRACE}-{SPAN}] a.b.C  : x",
        {"process": 12, "application": "till", "trace_id": TRACE, "span_id": SPAN, "message": "x"},
    ),
    ("jvm", "[2026-11-21 20:17:42,123] INFO [id=1] up (kafka.Server)", {"logger": "kafka.Server"}),
    ("jvm", "[2026-11-21T20:17:42,123][WARN ][o.e.n.Node] [n1] x", {"node": "n1", "level": "WARNING"}),
    (
        "jvm",
        "Nov 21, 2026 8:17:42 PM a.B run\nSEVERE: no\njava.io.IOException: wire\n\tat a.B.run(B.java:3)",
        {"timestamp": T, "level": "ERROR", "message": "no", "function": "run"},
    ),
    (
        "cri",
        '2026-11-21T20:17:42.123000456Z stderr F {"level":"warn","msg":"x","n":1}',
        {"timestamp": MS, "stream": "stderr", "level": "WARNING", "n": 1},
    ),
    (
        "docker",
        (
            '{"log":"2026-11-21 01:00:00,000 - shop - INFO - x\\n","stream":"stdout",'
            '"time":"2026-11-21T20:17:42.123Z"}'
        ),
        {"timestamp": MS, "logger": "shop", "message": "x", "stream": "stdout"},
    ),
]
REGEX = ParserConfig(
    "regex",
    timezone="UTC",
    pattern=r"(?P<timestamp>\S+ \S+) (?P<level>\w+) took=(?P<duration_ms>\d+) (?P<message>.*)",
)


def builder() -> EventBuilder:
    schema = Schema("edge", host="h")
    return EventBuilder(schema, Redactor(schema=schema))


BUILDER = builder()


def event(line: str | bytes, parser: ParserConfig, extra: dict[str, str] | None = None) -> dict[str, Any]:
    given = line.encode() if isinstance(line, str) else line
    ((block, _),) = LineBlocks(BUILDER, parser, extra or {}).blocks([given])
    (made,) = block
    found: dict[str, Any] = json.loads(made)
    return found


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has no year, or no day, is of this one."""
    plain = Times.__init__

    def fixed(self: Times, zone: Any = None, *, now: Any = None) -> None:
        plain(self, zone, now=lambda: NOW)

    monkeypatch.setattr(Times, "__init__", fixed)


@pytest.mark.parametrize(("name", "line", "wanted"), SAMPLES, ids=lambda one: str(one)[:40])
def test_samples(name: Any, line: str, wanted: dict[str, Any]) -> None:
    """What each line says; `auto` finds the same by itself."""
    found = event(line, ParserConfig(name, timezone="UTC"))
    assert {key: found.get(key) for key in wanted} == wanted
    assert "parse_error" not in found
    if line[:1] != "{" or name == "docker":
        guessed = event(line, ParserConfig("auto", timezone="UTC"))
        if name != "apache" or "kind" not in wanted:  # nginx writes the same
            assert guessed == found | {"timestamp": guessed["timestamp"]}


def test_log4j_about_itself() -> None:
    """A line that Python's loggers may write as well, so only by name."""
    found = event("2026-11-21T20:17:42.123456789Z main ERROR no file", ParserConfig("jvm"))
    assert (found["level"], found["thread"], found["message"]) == ("ERROR", "main", "no file")


def test_requests_in_messages() -> None:
    """What stands before a request is no client because it stands there."""
    said = COMBINED.replace("- bob ", "")
    basic = event("INFO:aiohttp.access:" + said, ParserConfig("auto"))
    assert (basic["timestamp"], basic["client_ip"], basic["logger"]) == (T, "10.0.0.1", "aiohttp.access")
    for parser in ("auto", "python"):
        found = event(
            "2026-11-21 20:17:42,123 INFO aiohttp.access: " + said, ParserConfig(parser, timezone="UTC")
        )
        assert (found["client_ip"], found["logger"]) == ("10.0.0.1", "aiohttp.access"), parser
        assert (found["timestamp"], found["kind"], found["user_agent"]) == (MS, "access", "curl/8")


def test_daphne() -> None:
    """Its access lines look like nginx's to `auto`, but for the port and the zone."""
    found = event(
        '10.0.0.1:50 - - [21/Nov/2026:20:17:42] "GET /x" 200 7', ParserConfig("python", timezone="UTC")
    )
    wanted = {**ACCESS, "bytes": 7, "client_ip": "10.0.0.1", "logger": "daphne.access"}
    assert {key: found.get(key) for key in wanted} == wanted


def test_regex() -> None:
    """Named groups are fields, numbers where the schema has numbers; what does not match is kept."""
    found = event("2026-11-21 20:17:42 warn took=7 late request_id=r1", REGEX)
    assert (found["timestamp"], found["level"], found["duration_ms"]) == (T, "WARNING", 7.0)
    assert (found["message"], found["request_id"]) == ("late request_id=r1", "r1")
    kept = event("else", REGEX)
    assert (kept["message"], kept["parse_error"]) == ("else", "not regex")


@pytest.mark.parametrize(
    ("prefix", "line", "wanted"),
    [
        ("%m [%p] ", "2026-11-21 20:17:42.123 UTC [12] ", {"timestamp": MS, "process": 12}),
        ("%n %u/%d ", "1795292262.123 shop/db ", {"timestamp": MS, "db_user": "shop", "database": "db"}),
        ("%t|%a|%h|%e|", "2026-11-21 20:17:42 UTC|my app|10.0.0.1|42P01|", {"application": "my app"}),
        ("app=%a,user=%u ", "app=two, words,user=shop ", {"application": "two, words", "db_user": "shop"}),
        ("[%p]%q %u@%d: ", "[12]", {"process": 12}),
        ("%-8p|%5l|%%|%c ", "12      |    3|%|6.1f ", {"session_line": 3, "pg_session": "6.1f"}),
        (
            "%r %v %x %i %b %s ",
            "10.0.0.1(47) 3/4 0 SELECT client 2026-11-21 20:17:42 UTC ",
            {"command": "SELECT"},
        ),
    ],
)
def test_log_line_prefix(prefix: str, line: str, wanted: dict[str, Any]) -> None:
    """Any prefix that PostgreSQL allows."""
    found = event(line + "ERROR:  no", ParserConfig("postgresql", timezone="UTC", log_line_prefix=prefix))
    assert {key: found.get(key) for key in wanted} == wanted
    assert (found["level"], found["message"]) == ("ERROR", "no")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"format": "regex"}, "needs a pattern"),
        ({"format": "regex", "pattern": "("}, "RE2 cannot use"),
        ({"format": "regex", "pattern": "x"}, "no named group"),
        ({"format": "json", "pattern": "(?P<a>x)"}, "option of format: regex"),
        ({"format": "nginx", "log_line_prefix": "%m "}, "option of format: postgresql"),
        ({"format": "postgresql", "log_line_prefix": "%z "}, "no %z"),
    ],
)
def test_mistakes_are_told(options: dict[str, Any], said: str) -> None:
    """Options that do not go together are refused with words."""
    with pytest.raises(ValueError, match=said):
        ParserConfig(**options)
    with pytest.raises(ValueError, match="Europe/Berlin"):
        zone_of("Nowhere/Town")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2026-11-21T20:17:42Z", T),
        ("2026-11-21 21:17:42,123+01:00", MS),
        ("2026-11-21 15:17:42 -0500", T),
        ("21/Nov/2026:20:17:42 +0000", T),
        ("Sat Nov 21 20:17:42 2026", T),
        ("Sat, 21 Nov 2026 20:17:42 GMT", T),
        ("Nov 21 20:17:42", T),
        ("Dec 31 23:59:59", "2025-12-31T23:59:59.000000Z"),
        ("1795292262", T),
        ("1795292262123", MS),
        ("1795292262.123", MS),
        ("2026-02-30 20:17:42", None),
        ("2026-11-21 20:17:60", "2026-11-21T20:17:59.000000Z"),
        ("yesterday", None),
        ("9" * 40, None),
    ],
)
def test_times(text: str, wanted: str | None) -> None:
    """The usual forms, in UTC where they name no zone."""
    assert Times(UTC).any(text) == wanted


def test_a_zone_is_asked_for_where_none_is_named() -> None:
    """`timezone` is that of times that name none, winter and summer."""
    times = Times(zone_of("Europe/Berlin"))
    assert times.any("2026-11-21 21:17:42") == T
    assert times.any("2026-07-01 12:00:00") == "2026-07-01T10:00:00.000000Z"
    assert times.any("2026-11-21 20:17:42 UTC") == T


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a [req-8a3c-11] b", {"request_id": "req-8a3c-11"}),
        ("X-Request-ID: r.1:2", {"request_id": "r.1:2"}),
        ("paid request_id=r1.", {"request_id": "r1"}),
        ("x /* request_id='a%3A1' */", {"request_id": "a:1"}),
        (f"x {PARENT}", {"trace_id": TRACE, "span_id": SPAN}),
        (f'{{"traceId": "{TRACE}"', {"trace_id": TRACE}),
        ("trace_id=0AF76519-16CD-43DD-8448-EB211C80319C", {"trace_id": TRACE}),
        ("trace_id=xyz request=1", {"trace_id": "", "request_id": None}),
        ("unrequested_idea=1", {"request_id": None}),
    ],
)
def test_ids_in_text(text: str, wanted: dict[str, Any]) -> None:
    """Ids of requests and traces wherever they stand; the text stays whole."""
    found = event(text, ParserConfig("text"))
    assert {key: found.get(key) for key in wanted} == wanted
    assert found["message"] == text


def test_json_in_json_and_behind_text() -> None:
    """A message that is JSON is taken apart, a prefix kept; nested names are found."""
    found = event('{"log":"{\\"msg\\":\\"x\\",\\"n\\":1}","n":2,"k":3}', ParserConfig("json"))
    assert (found["message"], found["n"], found["outer_n"], found["k"]) == ("x", 1, 2, 3)
    found = event('2026-11-21T20:17:42Z ERROR till: {"msg":"x","a":{"b":1}}', ParserConfig("json"))
    assert (found["timestamp"], found["level"], found["message"], found["a"]) == (T, "ERROR", "x", {"b": 1})
    assert found["prefix"] == "2026-11-21T20:17:42Z ERROR till:"
    found = event('{"log":{"level":"error"},"service":{"name":"till"},"message":"x"}', ParserConfig("json"))
    assert (found["level"], found["service"]) == ("ERROR", "till")
    found = event('{"message":"{no"}', ParserConfig("json"))
    assert found["message"] == "{no"


def test_containers_of_a_path() -> None:
    """Kubernetes' and Docker's paths say whose lines these are."""
    pod = "/var/log/pods/shop_till-7d_0af76519-16cd-43dd-8448-eb211c80319c/web/3.log"
    assert metadata_of(pod) == {
        "namespace": "shop",
        "pod": "till-7d",
        "pod_uid": "0af76519-16cd-43dd-8448-eb211c80319c",
        "container": "web",
        "container_restart": "3",
    }
    link = metadata_of(f"/var/log/containers/till-7d_shop_web-app-{'a' * 64}.log")
    assert (link["container"], link["container_id"]) == ("web-app", "a" * 64)
    docker = f"/var/lib/docker/containers/{'b' * 64}/{'b' * 64}-json.log"
    found = event(SAMPLES[-1][1], ParserConfig("auto"), {"log_file": docker})
    assert found["container_id"] == "b" * 64
    assert metadata_of("/srv/app.log") == {}


def test_what_is_not_understood_is_kept_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole line is the message, with its time, level and ids; cut lines say so."""
    said: list[str] = []
    monkeypatch.setattr("logferry.shipper.sources.blocks.say", lambda *words: said.append(words[1]))
    blocks = LineBlocks(BUILDER, "nginx")
    lines = [COMBINED.encode(), b"2026-11-21T20:17:42Z ERROR request_id=r1 \xff", b"", COMBINED.encode()]
    made = [json.loads(one) for block, _ in blocks.blocks(lines) for one in block]
    assert len(made) == 3
    assert blocks.unparsed == 1
    odd = made[1]
    assert odd["message"] == "2026-11-21T20:17:42Z ERROR request_id=r1 \ufffd"
    assert (odd["level"], odd["timestamp"], odd["request_id"]) == ("ERROR", T, "r1")
    assert odd["parse_error"] == "not nginx"
    assert said == ["a source: 1 lines so far are not of nginx's formats: kept as text"]


def test_auto_decides_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three lines of a format in a row are enough; JSON stays as it is; a file of neither has no format."""
    said: list[str] = []
    monkeypatch.setattr("logferry.shipper.sources.blocks.say", lambda *words: said.append(words[1]))
    for lines, name in (
        ([COMBINED] * 4, "nginx"),
        (['{"message":"x","status":200,"path":"/"}'] * 4, ""),
        (["order 7 paid"] * 60, ""),
        (["hello", COMBINED, "hello", *[COMBINED] * 3], "nginx"),
    ):
        reader = Reader(parser_config("auto"))
        for line in lines:
            reader.understood(line.encode())
        assert (reader.is_deciding(), reader.name) == (False, name), lines[0]
    list(LineBlocks(BUILDER, "auto", {"log_file": "a.log"}).blocks([COMBINED.encode()] * 3))
    assert said == ["a.log: the lines are taken as nginx's"]


NAMES = [name for name in get_args(ParserName) if name != "regex"]
PIECES = [line for _, line, _ in SAMPLES]
ANY_LINE = st.binary(max_size=60) | st.builds(
    lambda line, at, more, skip: line.encode()[:at] + more + line.encode()[at + skip :],
    st.sampled_from(PIECES),
    st.integers(0, 200),
    st.binary(max_size=6) | st.sampled_from([b'"', b"\\", b"[", b"%", b"{", b"\n", b"\x00", b"=", b" " * 5]),
    st.integers(0, 30),
)


@settings(max_examples=effort(60), deadline=None)
@given(st.lists(ANY_LINE, max_size=8), st.sampled_from(NAMES))
def test_any_bytes(lines: list[bytes], name: Any) -> None:
    """No line makes a parser raise; each that is not blank becomes one event, whatever it is."""
    for parser in (ParserConfig(name), REGEX):
        blocks = LineBlocks(BUILDER, parser, {"log_file": "x"})
        made = [one for block, _ in blocks.blocks(lines) for one in block]
        assert len(made) == sum(bool(line.rstrip(b"\r\n \t")) for line in lines)
        for one in made:
            assert json.loads(one)["message"] is not None


@pytest.mark.parametrize(
    "unit",
    [
        b'a="',
        b"ab\\x",
        b', request: "',
        b"\\x",
        b'" "',
        b"[a",
        b"request_id=",
        b'trace_id: "',
        b"a b@",
        b"0 ",
        b"=a,",
        b"\t\n",
        b"\n# Time: ",
        b"  at a(",
        b"a.",
        b" - ",
        b'{"a":',
        b"[2026-11-21 20:17:42,123: ",
        b"DETAIL:  ",
        b'""",',
    ],
)
def test_time_is_linear(unit: bytes) -> None:
    """Twice the bytes cost about twice the time, for any parser, behind any beginning of its lines."""
    times = Times(UTC)
    parsers = [*formats_of(times), parser_of(REGEX, times)]
    heads = [b"", *(line.encode()[:40] for _, line, _ in SAMPLES[::3]), COMBINED[:60].encode()]

    def took(size: int) -> float:
        texts = [head + unit * (size // len(unit)) for head in heads]
        start = time.process_time()
        for one in parsers:
            for text in texts:
                assert one is not None
                one.read(text)
        return time.process_time() - start

    short = min(took(4_000) for _ in range(2))
    assert min(took(16_000) for _ in range(2)) < 16 * short + 0.25
