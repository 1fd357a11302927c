"""Entries of the journal as events; a missing library is told."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from taking import Kept, context

from logferry.handlers.record import EventBuilder
from logferry.handlers.schema import Schema
from logferry.shipper.sources.journald import JournaldConfig, JournaldSource, event_of_entry
from logferry.shipper.sources.mixed import Mixed

BUILDER = EventBuilder(Schema("here", host="agent"))


def event(**entry: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(event_of_entry(BUILDER, entry, 1_767_000_000_123_456, Mixed("auto")))
    return found


def test_an_entry_is_an_event() -> None:
    """What journald knows finds its place; a program's own fields keep their names."""
    found = event(
        MESSAGE="it broke",
        PRIORITY="4",
        SYSLOG_IDENTIFIER="app",
        _PID="7",
        _HOSTNAME="box",
        _SYSTEMD_UNIT="app.service",
        _CMDLINE="app --password x",
        CODE_FUNC="main",
        CODE_LINE="12",
        ORDER=["a", b"b\xff"],
    )
    assert (found["message"], found["level"], found["service"]) == ("it broke", "WARNING", "app")
    assert (found["process"], found["host"], found["unit"], found["function"], found["line"]) == (
        7,
        "box",
        "app.service",
        "main",
        12,
    )
    assert found["order"] == "a\nb\ufffd"
    assert not any("cmdline" in name.lower() for name in found)
    assert found["timestamp"] == "2025-12-29T09:20:00.123456Z"


def test_a_parser_and_sshd() -> None:
    """MESSAGE goes through the parser that is configured; what sshd says of who came is read without one."""
    mixed = Mixed("klog")
    entry = {"MESSAGE": 'E1121 20:17:42.123000      12 pod.go:7] "Killed" pod="a/b"', "PRIORITY": "6"}
    found = json.loads(event_of_entry(BUILDER, entry, 1_767_000_000_123_456, mixed))
    assert (found["message"], found["pod"], found["level"]) == ("Killed", "a/b", "ERROR")
    entry["MESSAGE"] = "else"
    found = json.loads(event_of_entry(BUILDER, entry, 1_767_000_000_123_456, mixed))
    assert (found["message"], found["parse_error"]) == ("else", "not klog")
    found = event(
        MESSAGE="Failed password for invalid user x from 10.0.0.1 port 22 ssh2",
        SYSLOG_IDENTIFIER="sshd",
        PRIORITY="6",
    )
    assert (found["level"], found["auth_result"], found["client_ip"]) == ("WARNING", "failed", "10.0.0.1")
    with pytest.raises(ValueError, match="formats of files"):
        JournaldConfig(parser="cri")


def test_a_container() -> None:
    """As Docker's journald driver writes it: stderr is no error, and the daemon is not the program."""
    entry = {
        "CONTAINER_ID": "0af765190af7",
        "CONTAINER_ID_FULL": "0af76519" * 8,
        "CONTAINER_NAME": "till",
        "CONTAINER_TAG": "0af765190af7",
        "CONTAINER_LOG_ORDINAL": "1",
        "IMAGE_NAME": "shop/till:1",
        "TEAM": "shop",
        "SYSLOG_IDENTIFIER": "0af765190af7",
        "PRIORITY": "3",
        "MESSAGE": "INFO up",
        "_PID": "77",
        "_SYSTEMD_UNIT": "docker.service",
        "_HOSTNAME": "box",
    }
    found = event(**entry)
    assert (found["level"], found["service"], found["stream"]) == ("INFO", "till", "stderr")
    assert (found["container"], found["image"], found["team"]) == ("till", "shop/till:1", "shop")
    assert (found["container_id"], found["host"]) == ("0af76519" * 8, "box")
    assert not {"unit", "container_tag", "container_log_ordinal", "app_name"} & set(found)
    assert found.get("process") != 77
    assert event(**{**entry, "SYSLOG_IDENTIFIER": "web"})["service"] == "web"


def test_json_in_the_message_counts_more() -> None:
    """Its own fields and time; the priority that programs leave at 6 says nothing."""
    found = event(
        MESSAGE=b'{"message": "x", "level": "error", "n": 1}', PRIORITY="6", SYSLOG_IDENTIFIER="no name!"
    )
    assert (found["message"], found["level"], found["n"]) == ("x", "ERROR", 1)
    assert (found["service"], found["app_name"]) == ("here", "no name!")


@given(st.dictionaries(st.sampled_from(["MESSAGE", "PRIORITY", "_PID", "X", "_X"]), st.text() | st.binary()))
def test_any_entry_is_an_event(entry: dict[str, Any]) -> None:
    """Nothing raises."""
    assert event(**entry)["timestamp"]


def test_a_missing_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra that brings it."""
    monkeypatch.setitem(sys.modules, "cysystemd.reader", None)
    with pytest.raises(ImportError, match=r"logferry\[journald\]"):
        JournaldSource(JournaldConfig(directory=Path("/x")), context(Kept())).run(once=True)
