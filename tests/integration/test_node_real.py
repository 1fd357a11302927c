"""What Node, pino, bunyan and winston write is understood: levels, causes, and what nobody caught."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from programs.understood import Event, events_of, one, understood
from servers.cache import binary, required

from logferry.shipper.sources.parsers import ParserConfig

pytestmark = pytest.mark.integration

TRACE = "0af7651916cd43dd8448eb211c80319c"
NODE = ParserConfig("node", timezone="UTC")


@pytest.fixture(scope="module", autouse=True)
def _there() -> None:
    required("npm", "Node.js and npm")


def written(directory: Path, what: str) -> Path:
    """The log of one of the programs."""
    path = directory / f"{what}.log"
    with path.open("wb") as log:
        command = ["node", str(binary("npm") / "programs.js"), what]
        subprocess.run(command, stdout=log, stderr=log, timeout=100, check=False)
    return path


def stacked(event: Event, kind: str, message: str) -> Any:
    """The error of an event."""
    error = event["error"]
    assert (event["level"], error["type"], error["message"]) == ("ERROR", kind, message)
    assert "    at " in error["stack"]
    return error


@pytest.mark.parametrize("parser", ["node", "auto"])
def test_console(tmp_path: Path, parser: str) -> None:
    """console.error of an error with a cause and fields of its own, and of one behind a text."""
    opened, failed, order, closing = events_of(written(tmp_path, "console"), parser)
    assert [opened["message"], closing["message"]] == ["open", "closing"]
    error = stacked(failed, "CardError", "no card")
    assert "code: 'E_CARD'" in error["stack"]
    assert error["stack"].endswith("}")
    assert error["causes"] == [{"type": "TypeError", "message": "no bank", "relation": "cause"}]
    stacked(order, "RangeError", "too many")
    assert order["message"] == "order 7: RangeError: too many"


REPORTS = {
    "uncaught": ("CardError", "no card"),
    "lines": ("CardError", "no card\nat all\n\nask: the bank"),
    "rejected": ("CardError", "no card"),
    "awaited": ("CardError", "no card"),
    "thrown": ("Uncaught", "{ code: 7, why: 'no error' }"),
    "text": ("Uncaught", "no card"),
    "aggregate": ("AggregateError", "both"),
}


@pytest.mark.parametrize("what", REPORTS)
def test_what_nobody_caught(tmp_path: Path, what: str) -> None:
    """Node's report, from the place to its version, is one event, whatever was thrown."""
    path = written(tmp_path, what)
    kind, message = REPORTS[what]
    for parser in ("node", "auto"):
        opened, failed = events_of(path, parser)
        assert opened["message"] == "open"
        error = failed["error"]
        assert (failed["level"], error["type"]) == ("ERROR", kind)
        assert error["message"].startswith(message)
        assert (
            error["stack"].splitlines()
            == path.read_text().strip().splitlines()[-error["stack"].count("\n") - 1 :]
        )
        assert "Node.js v" in error["stack"]
        assert "^" in error["stack"]
        if kind == "CardError":
            assert error["causes"][0]["message"] == "no bank"


def test_pino(tmp_path: Path) -> None:
    """Its numbers are its own, not Python's; its errors have stack and cause; levels by name, too."""
    levels = {
        "asked": "DEBUG",
        "open now": "INFO",
        "slow": "WARNING",
        "no card": "ERROR",
        "not paid": "ERROR",
        "closed": "CRITICAL",
    }
    events = understood(written(tmp_path, "pino"), "json")  # pino may write its first line last
    assert len(events) == len(levels)
    assert {event["message"]: event["level"] for event in events} == levels
    assert {event["logger"] for event in events} == {"till"}
    opened, slow = one(events, message="open now"), one(events, message="slow")
    assert (opened["trace_id"], opened["order"]) == (TRACE, 7)
    assert (slow["request_id"], slow["took"]) == ("req-1234-abcd", 1.5)
    for message in ("no card", "not paid"):
        error = stacked(one(events, message=message), "CardError", "no card: no bank")
        assert error["code"] == "E_CARD"
        assert "caused by: TypeError: no bank" in error["stack"]
    for name in ("pino-bare", "pino-iso"):
        others = understood(written(tmp_path, name), "json", named=False)
        assert sorted(event["level"] for event in others) == ["ERROR", "INFO", "WARNING"]
        assert one(others, message="open")["trace_id"] == TRACE
        assert one(others, message="slow")["level"] == "WARNING"
        stacked(one(others, message="not paid"), "CardError", "no card: no bank")


def test_bunyan(tmp_path: Path) -> None:
    """Its numbers are pino's, its times have words."""
    events = understood(written(tmp_path, "bunyan"), "json")
    assert [(event["level"], event["message"]) for event in events] == [
        ("DEBUG", "asked"),
        ("INFO", "open now"),
        ("WARNING", "slow"),
        ("ERROR", "no card"),
        ("ERROR", "not paid"),
        ("CRITICAL", "closed"),
    ]
    assert {event["logger"] for event in events} == {"till"}
    assert (events[1]["trace_id"], events[1]["order"]) == (TRACE, 7)
    assert (events[2]["request_id"], events[2]["took"]) == ("req-1234-abcd", 1.5)
    for event in events[3:5]:
        assert stacked(event, "CardError", "no card")["code"] == "E_CARD"


def test_winston(tmp_path: Path) -> None:
    """Its JSON, with the stack beside the message; its lines with a time and a label; its simple ones."""
    events = understood(written(tmp_path, "winston"), "json", named=False)
    assert [(event["level"], event["message"]) for event in events] == [
        ("DEBUG", "asked"),
        ("INFO", "open"),
        ("WARNING", "slow"),
        ("ERROR", "no card"),
        ("ERROR", "not paid"),
    ]
    assert stacked(events[3], "CardError", "no card")["code"] == "E_CARD"
    assert {event["component"] for event in events} == {"till"}
    lines = understood(written(tmp_path, "winston-line"), NODE)
    assert [(event["level"], event["message"]) for event in lines] == [
        ("INFO", "open"),
        ("WARNING", "slow"),
        ("ERROR", "CardError: no card"),
        ("INFO", "closed"),
    ]
    stacked(lines[2], "CardError", "no card")
    assert {event["logger"] for event in lines} == {"till"}
    opened, failed = understood(written(tmp_path, "winston-simple"), NODE, named=False)
    assert (one([opened], level="INFO", message="open")["order"], failed["level"]) == (7, "ERROR")
