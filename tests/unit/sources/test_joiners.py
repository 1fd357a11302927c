"""Lines that belong together become one record: by language, by format, by pattern; however they come."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from effort import effort
from hypothesis import given, settings
from hypothesis import strategies as st

from logferry.handlers.record import EventBuilder
from logferry.handlers.schema import Schema
from logferry.shipper.core.lines import LineSplitter
from logferry.shipper.core.multiline import Joiner
from logferry.shipper.sources.blocks import LineBlocks
from logferry.shipper.sources.parsers import MultilineConfig, ParserConfig, ParserName
from logferry.shipper.sources.parsers.joiners import joiner_of

TRACEBACK = """\
2026-11-21 20:17:42,123 ERROR shop: not paid
Traceback (most recent call last):
  File "a.py", line 1, in pay
    card["number"]
KeyError: 'number'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "a.py", line 3, in <module>
    pay()
ValueError: no card
at all
ask: the bank"""
GROUP = """\
ERROR:shop:neither
  + Exception Group Traceback (most recent call last):
  |   File "a.py", line 1, in <module>
  |     raise ExceptionGroup("two", [ValueError(1)])
  | ExceptionGroup: two (1 sub-exception)
  +-+---------------- 1 ----------------
    | ValueError: 1
    +------------------------------------"""
JAVA = """\
20:17:42.123 [main] ERROR a.B - not paid
java.lang.RuntimeException: order 7
\tat a.B.pay(B.java:3)
\tSuppressed: java.io.IOException: closing
\t\tat a.B.close(B.java:9)
Caused by: java.lang.IllegalStateException: no card
\tat a.B.card(B.java:5)
\t... 1 more"""
SPRING = """\
2026-11-21T20:17:42.123Z ERROR 12 --- [           main] a.B                                      : not paid

java.lang.RuntimeException: order 7
is late

at all
\tat a.B.pay(B.java:3) ~[classes/:na]
Caused by: java.lang.IllegalStateException: no card
at all
\tat a.B.card(B.java:5) ~[classes/:na]
\tSuppressed: java.io.IOException: closing
  the card
{too}
\t\tat a.B.close(B.java:9) ~[classes/:na]
\t... 1 common frames omitted
"""
UNCAUGHT = """\
Exception in thread "main" java.lang.RuntimeException: order 7
at all
\tat a.B.pay(B.java:3)
Caused by: java.io.IOException: wire"""
WERKZEUG = """\
\x1b[31m10.0.0.1 - - [21/Nov/2026 20:17:42] "GET /x"y HTTP/1.1" 500 -\x1b[0m
Traceback (most recent call last):
  File "a.py", line 1, in pay
    card["number"]
KeyError: 'number'
at all"""
DJANGO = """\
Internal Server Error: /x
Traceback (most recent call last):
  File "a.py", line 1, in pay
    card["number"]
KeyError: 'number'
at all"""
GO = """\
panic: runtime error: index out of range [3] with length 3

goroutine 1 [running]:
main.pay(0x3, {0xc000012345, 0x2})
\t/src/main.go:9 +0x1d
main.main()
\t/src/main.go:5 +0x1d

goroutine 18 [select]:
net/http.(*Server).Serve(0xc0000ae000)
\t/usr/lib/go/net/http/server.go:3 +0x5
created by main.main in goroutine 1
\t/src/main.go:4 +0x1d
exit status 2"""
GO_SERVED = """\
2026/11/21 20:17:42 http: panic serving 10.0.0.1:5: no card
goroutine 20 [running]:
net/http.(*conn).serve.func1()
\t/usr/lib/go/net/http/server.go:3 +0x5"""
NODE = """\
/srv/till.js:3
  throw new TypeError("no card", { cause: 1 });
  ^

TypeError: no card
    at pay (/srv/till.js:3:9)
    at Object.<anonymous> (/srv/till.js:5:1) {
  code: 'E_CARD',
  [cause]: 1
}

Node.js v18.19.0"""
NODE_LOGGED = """\
2026-11-21T20:17:42.123Z ERROR not paid TypeError: no card
    at pay (/srv/till.js:3:9)
    at async main (/srv/till.js:5:1)"""
BEFORE, BEHIND = "2026-11-21 20:17:41,000 INFO shop: before", "2026-11-21 20:17:43,000 INFO shop: behind"
RECORDS = {
    "traceback": (TRACEBACK, "ValueError", "no card"),
    "group": (GROUP, "ExceptionGroup", "two (1 sub-exception)"),
    "java": (JAVA, "java.lang.RuntimeException", "order 7"),
    "spring boot": (SPRING, "java.lang.RuntimeException", "order 7"),
    "uncaught java": (UNCAUGHT, "java.lang.RuntimeException", "order 7"),
    "werkzeug": (WERKZEUG, "KeyError", "'number'"),
    "django": (DJANGO, "KeyError", "'number'"),
    "go": (GO, "panic", "runtime error: index out of range [3] with length 3"),
    "go's server": (GO_SERVED, "panic", "no card"),
    "node": (NODE, "TypeError", "no card"),
    "node logged": (NODE_LOGGED, "TypeError", "no card"),
}
BUILDER = EventBuilder(Schema("edge", host="h"))


def groups(joiner: Joiner | None, data: bytes, sizes: list[int] | None = None) -> list[bytes]:
    """The records of `data`, fed in chunks of `sizes` (whole when there are none)."""
    assert joiner is not None
    splitter = LineSplitter(1 << 16)
    found: list[tuple[bytes, int]] = []
    at = 0
    for size in [*(sizes or ()), len(data)]:
        lines = splitter.feed(data[at : at + size])
        at += size
        found += [(line, len(line) + 1) for line in lines] if joiner.passes(lines) else joiner.feed_all(lines)
    if splitter.pending:
        found += joiner.feed_all(splitter.flush())
    found += joiner.flush()
    assert joiner.pending == 0
    assert sum(size for _, size in found) == len(data) + (data[-1:] not in {b"\n", b""})
    return [record for record, _ in found]


def made(parser: ParserConfig, multiline: Any, data: bytes, sizes: list[int] | None = None) -> list[Any]:
    """The events of `data`, but for times that the lines do not tell."""
    joiner = joiner_of(parser, multiline, 1 << 16)
    records = data.split(b"\n") if joiner is None else groups(joiner, data, sizes)
    found = [json.loads(one) for block, _ in LineBlocks(BUILDER, parser).blocks(records) for one in block]
    for event in found:
        if not event["timestamp"].startswith("2026-11-21T20:17:4"):
            del event["timestamp"]
    return found


@pytest.mark.parametrize("record", RECORDS)
@pytest.mark.parametrize("parser", ["auto", "text", "python", "jvm"])
def test_stacks(record: str, parser: Any) -> None:
    """A stack of any language is one event with the record that it belongs to, without any option."""
    text, kind, message = RECORDS[record]
    data = f"{BEFORE}\n{text}\n{BEHIND}\n{BEHIND}\n{text}".encode()
    events = made(ParserConfig(parser, timezone="UTC"), "auto", data)
    assert len(events) == 5
    for event in (events[1], events[4]):
        assert (event["error"]["type"], event["error"]["message"]) == (kind, message)
        assert event["level"] == "ERROR"
        last = text.rpartition("\n")[2].strip()
        assert event["error"]["stack"].endswith(last)
    for event in (events[0], events[2], events[3]):
        assert "error" not in event


@pytest.mark.parametrize("language", ["python", "java", "go", "node"])
def test_one_language(language: Any) -> None:
    """Of a language that was not asked for only what is indented is joined."""
    data = f"{BEFORE}\n{TRACEBACK}\n{JAVA}\n{GO}\n{NODE}\n{BEHIND}".encode()
    found = groups(joiner_of("text", language, 1 << 16), data)
    whole = {"python": TRACEBACK, "java": JAVA, "go": GO, "node": NODE}
    for name, text in whole.items():
        assert (text.encode() in found) is (name == language), name


def test_what_is_blank() -> None:
    """Lines of spaces are blank; a form feed is a line like others, and not lost."""
    for space, count in ((b" \t", 2), (b"\x0b", 3), (b"\x0c", 3)):
        found = groups(joiner_of("text", "auto", 1 << 16), b"WARNING:a:b\n%b\nWARNING:a:c" % space)
        assert len(found) == count, space


def test_no_language() -> None:
    """`off`: each line is an event."""
    assert joiner_of("auto", "off", 1 << 16) is None
    assert joiner_of("json", "auto", 1 << 16) is None


PG = b"""2026-11-21 20:17:42.123 UTC [12] ERROR:  no
2026-11-21 20:17:42.123 UTC [12] DETAIL:  a
\tb
2026-11-21 20:17:42.123 UTC [12] STATEMENT:  SELECT
\t1
2026-11-21 20:17:42.123 UTC [13] LOG:  next
"""
CSV = (
    b'2026-11-21 20:17:42.123 UTC,"a","b",12,,6.1,1,"SELECT",x,,0,ERROR,42P01,"no\n'
    b'such ""thing""",,,,,,"SELECT\n'
    b'1",,,"psql","client backend",,0\n'
    b'2026-11-21 20:17:42.123 UTC,,,12,,6.1,2,,x,,0,LOG,00000,"next",,,,,,,,,"","x",,0\n'
)
SLOW = b"""/usr/sbin/mariadbd, Version: 10.11 (Debian). started with:
Tcp port: 3306  Unix socket: /run/s
Time\t\t    Id Command\tArgument
# Time: 261121 20:17:42
# User@Host: a[a] @ localhost []
# Query_time: 0.1  Lock_time: 0.0  Rows_sent: 1  Rows_examined: 0
SET timestamp=1795292262;
SELECT '
  # Time: no';
# User@Host: a[a] @ localhost []
# Query_time: 0.2  Lock_time: 0.0  Rows_sent: 1  Rows_examined: 0
SET timestamp=1795292262;
SELECT 2;
"""


@pytest.mark.parametrize(
    ("data", "name", "counts"),
    [
        (PG, "postgresql", [5, 1]),
        (CSV, "postgresql", [3, 1]),
        (SLOW, "mysql", [3, 6, 4]),
        (b"2026-11-21T20:17:42.1Z 0 [Note] [MY-1] [Server] a\nb\nmysqld: no\n", "mysql", [2, 1]),
    ],
)
def test_formats_with_records_of_several_lines(data: bytes, name: Any, counts: list[int]) -> None:
    """PostgreSQL's, its CSV and MySQL's slow-query log; `auto` sees it by the first line."""
    for parser in (name, "auto"):
        joiner = joiner_of(parser, "auto", 1 << 16)
        assert joiner is not None
        assert [record.count(b"\n") + 1 for record in groups(joiner, data)] == counts


@pytest.mark.parametrize("config", [{"start": r"^\d{4}-"}, {"continuation": r"^\s|^Traceback|^\w+Error"}])
def test_patterns(config: dict[str, Any]) -> None:
    """A start or a continuation, with bounds of lines and bytes."""
    data = f"{BEFORE}\nTraceback (most recent call last):\n  x\nOSError: y\n{BEHIND}".encode()
    found = groups(joiner_of("text", MultilineConfig(**config), 1 << 16), data)
    assert [record.count(b"\n") for record in found] == [3, 0]
    many = b"2026-\n" + b" x\n" * 100
    few: Any = {"max_lines": 10}
    bounded = groups(joiner_of("text", MultilineConfig(**config, **few), 1 << 16), many)
    assert max(record.count(b"\n") + 1 for record in bounded) == 10
    few = {"max_bytes": 64}
    bounded = groups(joiner_of("text", MultilineConfig(**config, **few), 1 << 16), many)
    assert max(map(len, bounded)) <= 64
    with pytest.raises(ValueError, match="either start or continuation"):
        MultilineConfig()
    with pytest.raises(ValueError, match="RE2 cannot use"):
        MultilineConfig(start="(")


def cri(stream: str, mark: str, said: str) -> str:
    return f"2026-11-21T20:17:42.000000000Z {stream} {mark} {said}"


def docker(stream: str, said: str) -> str:
    held = {"log": said, "stream": stream, "time": "2026-11-21T20:17:42.000000000Z"}
    return json.dumps(held, separators=(",", ":"))


@pytest.mark.parametrize("runtime", ["cri", "docker"])
def test_containers(runtime: Any) -> None:
    """Parts of a line and lines of a record are joined, each stream by itself, in their order."""

    def line(stream: str, said: str, *, part: bool = False) -> str:
        if runtime == "cri":
            return cri(stream, "P" if part else "F", said)
        return docker(stream, said + "\n" * (not part))

    lines = [
        line("stdout", "a" * 10, part=True),
        line("stderr", "ERROR:shop:no"),
        line("stdout", "b" * 10),
        line("stderr", "Traceback (most recent call last):"),
        line("stdout", "INFO:shop:else"),
        line("stderr", "  File"),
        line("stderr", "OSError: wire"),
        line("stdout", '{"msg":"json","level":"warn"}'),
        "2026 no container's line",
        line("stderr", "INFO:shop:behind"),
    ]
    data = "\n".join(lines).encode()
    for parser in (runtime, "auto"):
        events = made(ParserConfig(parser, timezone="UTC"), "auto", data)
        found = [(event.get("stream"), event["message"], event["level"]) for event in events]
        assert found == [
            ("stdout", "a" * 10 + "b" * 10, "INFO"),
            ("stderr", "no", "ERROR"),
            ("stdout", "else", "INFO"),
            ("stdout", "json", "WARNING"),
            (None, "2026 no container's line", "INFO"),
            ("stderr", "behind", "INFO"),
        ]
        assert events[1]["error"]["message"] == "wire"


def test_a_container_holds_a_bounded_part() -> None:
    """Parts without an end are given out at the bound, and what waits in the other stream with them."""
    joiner = joiner_of("cri", "auto", 1000)
    assert joiner is not None
    most = 0
    for _ in range(200):
        joiner.feed(cri("stdout", "P", "x" * 50).encode())
        joiner.feed(cri("stderr", "F", "  y").encode())
        most = max(most, joiner.pending)
    assert most <= 2_100


NAMES = [name for name in get_args(ParserName) if name != "regex"]
LINES = [
    *(
        line.encode()
        for text in (BEFORE, *(text for text, _, _ in RECORDS.values()), BEHIND)
        for line in text.split("\n")
    ),
    *PG.split(b"\n"),
    *CSV.split(b"\n"),
    *SLOW.split(b"\n"),
    cri("stdout", "P", "part").encode(),
    cri("stdout", "F", "end").encode(),
    cri("stderr", "F", "  more").encode(),
    docker("stdout", "part").encode(),
    docker("stdout", "end\n").encode(),
    docker("stderr", "OSError: x\n").encode(),
    b'{"msg":"x"}',
    b'{"msg":"x"}\r',
    b"{",
    b"",
    b"\r",
    b"\xff\xfe",
]
ANY = st.lists(st.sampled_from(LINES) | st.binary(max_size=20), max_size=30)


@settings(max_examples=effort(40), deadline=None)
@given(ANY, st.sampled_from(NAMES), st.sampled_from(["auto", "python", "go"]), st.lists(st.integers(1, 90)))
def test_however_they_come(lines: list[bytes], name: Any, multiline: Any, sizes: list[int]) -> None:
    """Fed whole, in pieces or byte by byte: the same events, no byte unaccounted, none of the text lost."""
    data = b"\n".join(lines)
    parser = ParserConfig(name)
    whole = made(parser, multiline, data)
    assert made(parser, multiline, data, sizes) == whole
    assert made(parser, multiline, data, [1] * len(data)) == whole


@settings(max_examples=effort(40), deadline=None)
@given(ANY, st.sampled_from(NAMES), st.integers(64, 300))
def test_what_is_held_is_bounded(lines: list[bytes], name: Any, limit: int) -> None:
    """No more is held than the bound (twice, of containers) and the last line; blank lines count as well."""
    joiner = joiner_of(name, "auto", limit)
    if joiner is None:
        return
    for line in lines * 4:
        held = [line for line, _ in joiner.feed(line)]
        assert all(len(record) <= max(limit + len(line) + 200, 1000) for record in held)
        assert joiner.pending <= 2 * limit + 4 * max(map(len, lines)) + 200
