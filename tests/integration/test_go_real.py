"""What Go's packages and klog write is understood completely, and so are their panics.

The programs are built from tests/servers/writers with the packages that everybody's programs are built with.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from programs.understood import Event, events_of, one, understood
from servers.cache import binary, required

from logferry.shipper.sources.parsers import MultilineConfig, ParserConfig

pytestmark = pytest.mark.integration

TRACE = "0af7651916cd43dd8448eb211c80319c"
GO = ParserConfig("go", timezone="UTC")


@pytest.fixture(scope="module", autouse=True)
def _there() -> None:
    required("writers", "Go")


def written(directory: Path, what: str) -> Path:
    """The log of one of the programs."""
    path = directory / f"{what}.log"
    with path.open("wb") as log:
        command = [str(binary("writers")), "go", what]
        subprocess.run(command, stdout=log, stderr=log, env={"TZ": "UTC"}, timeout=60, check=False)
    return path


def test_log(tmp_path: Path) -> None:
    """The standard library's, with its flags and prefixes: the time is the line's."""
    events = understood(written(tmp_path, "log"), GO, named=False)
    assert [(event["level"], event["logger"], event["message"]) for event in events] == [
        ("INFO", "", "open"),
        ("INFO", "", "order 7 paid [req-1234-abcd]"),
        ("ERROR", "", "two lines\n\tthe second"),
        ("INFO", "till", "with a prefix"),
        ("INFO", "till", "closed"),
    ]
    assert events[1]["request_id"] == "req-1234-abcd"
    opened, paid = understood(written(tmp_path, "located"), GO, named=False)
    assert (opened["message"], opened["module"], paid["message"]) == ("open", "programs.go", "till: paid")
    assert 0 < opened["line"] < paid["line"]


@pytest.mark.parametrize("what", ["slog", "slog-text", "slog-json"])
def test_slog(tmp_path: Path, what: str) -> None:
    """log/slog in its three forms: levels between levels, groups, quotes, line breaks."""
    parser = {"slog": GO, "slog-text": "logfmt", "slog-json": "json"}[what]
    path = written(tmp_path, what)
    options = {"multiline": MultilineConfig(start=r"^\d{4}/")} if what == "slog" else {}
    events = understood(path, parser, named=False, guessed=what != "slog", **options)
    if what != "slog":  # which does not say less than INFO
        assert one(events, message="asked")["level"] == "DEBUG"
    opened = one(events, message="open")
    assert (opened["order"], opened["paid"], opened["took"], opened["level"]) == (7, True, 1.5, "INFO")
    refused = one(events, level="WARNING")
    assert refused["trace_id"] == TRACE
    assert refused["message"].startswith('say "no"\nand go')
    if what != "slog":
        assert (refused["message"], refused["customer"]) == ('say "no"\nand go', "Ann Smith")
    lost = one(events, message="lost")
    assert (lost["level"], lost["empty"]) == ("ERROR", "")
    failed = one(events, message="not paid")
    assert failed["level"] == "ERROR"
    card = failed["card"] if what == "slog-json" else failed
    prefix = "" if what == "slog-json" else "card."
    assert (card[f"{prefix}error"], card[f"{prefix}number"]) == ("no card: at all", 4000)


def test_klog(tmp_path: Path) -> None:
    """With structured values or without: texts of several lines, JSON, named loggers."""
    path = written(tmp_path, "klog")
    parser = ParserConfig("klog", timezone="UTC")
    events = understood(path, parser, guessed=False, multiline=MultilineConfig(start=r"^[IWEF]\d{4} "))
    assert [(event["level"], event["message"]) for event in events] == [
        ("INFO", "open"),
        ("WARNING", "order 7 is slow"),
        ("ERROR", "Not paid"),
        ("INFO", "Paid"),
        ("INFO", "Closing"),
        ("ERROR", "plain: two\nlines, of which\n\tone is indented"),
        ("INFO", "no file"),
        ("CRITICAL", "closed"),
    ]
    failed, paid, closing = events[2:5]
    assert (failed["error"]["message"], failed["pod"], failed["order"]) == (
        'no "card" at all',
        "shop/till-0",
        7,
    )
    assert failed["trace_id"] == TRACE
    told = (paid["text"], paid["took"], paid["list"], paid["of"])
    assert told == ("two\nlines", 1.5, [1, 2], {"a": 1})
    assert (closing["logger"], closing["zone"], closing["done"]) == ("till", "a b", True)
    assert {event["module"] for event in events} == {"programs.go"}
    # Without a pattern all of it is there too: only what klog wrote into lines of their own is apart.
    plain = events_of(path, "klog")
    apart = [event for event in plain if "parse_error" in event]
    assert [event["message"] for event in apart] == ["lines, of which\n\tone is indented"]
    assert one(plain, message="Paid")["text"] == "two\nlines"


PANICS = {
    "panic": ("panic", "no card"),
    "again": ("panic", "no card [recovered]"),
    "error": ("panic", "order 7: file does not exist"),
    "value": ("panic", "(main.card) "),
    "lines": ("panic", "no card"),
    "goroutine": ("panic", "no card"),
    "segment": ("panic", "runtime error: invalid memory address or nil pointer dereference"),
    "deadlock": ("fatal error", "all goroutines are asleep - deadlock!"),
}


@pytest.mark.parametrize("what", PANICS)
def test_panics(tmp_path: Path, what: str) -> None:
    """A panic is one event behind the line before, whatever was thrown and wherever: to its last line."""
    path = written(tmp_path, what)
    kind, message = PANICS[what]
    for parser in ("go", "auto"):
        events = events_of(path, ParserConfig(parser, timezone="UTC"))
        assert events[0]["message"] == "open"
        assert not [event for event in events if "parse_error" in event]
        (panic,) = events[1:]
        error = panic["error"]
        assert (panic["level"], error["type"]) == ("ERROR", kind)
        assert error["message"].startswith(message)
        assert error["stack"].splitlines() == path.read_text().splitlines()[1:]
        assert "programs.go:" in error["stack"]


def test_a_server_that_goes_on(tmp_path: Path) -> None:
    """net/http's own words for a handler that panics, and the lines that follow."""
    path = written(tmp_path, "served")
    events = understood(path, GO, named=False)
    failed = [event for event in events if "error" in event]
    others: list[Event] = [event for event in events if "error" not in event]
    assert [event["message"] for event in others] == ["asked: true"] * 2
    assert [event["message"].partition(" 127")[0] for event in failed] == ["http: panic serving"] * 2
    for event in failed:
        assert event["level"] == "ERROR"
        assert (event["error"]["type"], event["error"]["message"]) == ("panic", "no card")
        assert "created by net/http.(*Server).Serve" in event["error"]["stack"]
