"""What Logback, Spring Boot and Log4j write is understood completely, as lines and as their kinds of JSON."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from programs.understood import Event, events_of, one, understood
from servers.cache import binary, required
from servers.process import java

from logferry.shipper.sources.parsers import ParserConfig

pytestmark = pytest.mark.integration

TRACE = "0af7651916cd43dd8448eb211c80319c"
ZONE = "Asia/Shanghai"
JVM = ParserConfig("jvm", timezone=ZONE)
CAUSES = [("java.lang.IllegalStateException", "no card"), ("java.io.IOException", "wire")]


def written(directory: Path, what: str, *options: str) -> Path:
    """What the program says by one of the loggers, with its options."""
    required("jvm", "Maven and a Java development kit")
    home = binary("jvm")
    jars = [path for path in sorted((home / "lib").iterdir()) if ("log4j" in path.name) is (what == "log4j")]
    command = java(directory, f"-Duser.timezone={ZONE}", "-Duser.language=en")
    command += [option.format(home=home) for option in options]
    path = directory / f"{what}.log"
    with path.open("wb") as log:
        command += ["-cp", ":".join(map(str, [*jars, home / "classes"])), "shop.Till", what]
        subprocess.run(command, stdout=log, stderr=log, timeout=100, check=False)
    return path


def sold(events: list[Event], path: Path, closing: str = "INFO", causes: bool | None = True) -> None:
    """The events are the program's: levels, and a failure with its causes and what it suppressed."""
    own = [event for event in events if event["logger"] == "shop.orders.Till" and event["level"] != "DEBUG"]
    assert [(event["level"], event["message"]) for event in own] == [
        ("INFO", "open"),
        ("WARNING", "slow [req-1234-abcd]"),
        ("ERROR", "not paid"),
        (closing, "closed"),
    ]
    failed(own[2], path, causes=causes)


def failed(event: Event, path: Path, *, causes: bool | None = True) -> None:
    """The error is whole, also behind a message of two lines. `causes`: None: the logger leaves them out."""
    error = event["error"]
    assert event["level"] == "ERROR"
    assert (error["type"], error["message"]) == ("java.lang.RuntimeException", "order 7")
    stack = error["stack"]
    assert stack.startswith("java.lang.RuntimeException: order 7\n\tat shop.Till.failure(Till.java:")
    if causes is None:
        return
    assert "\nCaused by: java.lang.IllegalStateException: no card\nat all\n\tat shop.Till.failure(" in stack
    assert "\n\tSuppressed: java.lang.ArithmeticException: not closed\n\t\tat shop.Till.failure(" in stack
    assert "\nCaused by: java.io.IOException: wire\n\tat shop.Till.bank(" in stack
    text = path.read_text()
    assert stack in text or text[:1] == "{"
    if causes:
        assert [(cause["type"], cause["message"]) for cause in error["causes"]] == CAUSES


def test_logback(tmp_path: Path) -> None:
    """As it writes when nobody has told it how; what it was told by name stands between its dashes."""
    path = written(tmp_path, "logback")
    events = understood(path, JVM)
    sold(events, path)
    assert len(events) == 4
    assert {event["thread"] for event in events} == {"till-1"}
    assert (events[0]["order"], events[1]["request_id"]) == ("7", "req-1234-abcd")


def test_logstash_encoder(tmp_path: Path) -> None:
    """Logback's most used JSON: the stack beside the message."""
    path = written(tmp_path, "logback", "-Dlogback.configurationFile={home}/encoder.xml")
    events = understood(path, "json")
    sold(events, path)
    assert (len(events), events[1]["order"], events[2]["trace_id"]) == (5, 7, TRACE)


def test_spring_boot(tmp_path: Path) -> None:
    """Its stacks stand behind a blank line; what it prints before it logs is kept as text."""
    path = written(tmp_path, "spring")
    events = events_of(path, JVM)
    begun = next(at for at, event in enumerate(events) if event["message"].startswith("Starting Till"))
    assert begun == 3  # the banner
    known = [event for event in events if "parse_error" not in event]
    assert len(events) - len(known) == begun + 1  # a message of several lines
    sold(known, path)
    failed(one(known, message="Application run failed"), path)
    failed(known[-1], path)  # what the JVM says of it
    assert {event["thread"] for event in known} == {"till-1"}
    assert len({event["process"] for event in known[:-1]}) == 1
    guessed = events_of(path, ParserConfig("auto", timezone=ZONE))
    assert [event["error"] for event in guessed if "error" in event] == [
        event["error"] for event in known if "error" in event
    ]


def test_spring_boot_as_gelf(tmp_path: Path) -> None:
    """Syslog's numbers for levels, a line before names, the stack in the long message."""
    path = written(tmp_path, "spring", "-Dlogging.structured.format.console=gelf")
    events = events_of(path, "auto")
    sold(events, path)
    opened = one(events, message="open", logger="shop.orders.Till")
    assert (opened["order"], opened["thread"]) == (7, "till-1")
    assert one(events, level="WARNING")["trace_id"] == TRACE


def test_log4j(tmp_path: Path) -> None:
    """A pattern, and four of its templates for JSON."""
    options = ["-Dlog4j2.configurationFile={home}/log4j2.xml", f"-Ddirectory={tmp_path}"]
    assert written(tmp_path, "log4j", *options).read_bytes() == b""
    lines = understood(tmp_path / "lines.log", JVM)
    sold(lines, tmp_path / "lines.log", "CRITICAL")
    for name, causes in (("ecs", False), ("logstash", False), ("gelf", True), ("json", None)):
        path = tmp_path / f"{name}.log"
        events = understood(path, "json")
        assert len(events) == len(lines) == 5
        sold(events, path, "CRITICAL", causes)
        assert events[2]["trace_id"] == TRACE, name
