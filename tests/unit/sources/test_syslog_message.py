"""What syslog messages say: both RFCs, what real programs send, and what is none."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logferry.handlers.record import EventBuilder
from logferry.handlers.schema import Schema
from logferry.shipper.core.lines import CutLine
from logferry.shipper.sources.foreign import compose
from logferry.shipper.sources.listen.identity import with_id
from logferry.shipper.sources.syslog.message import nearest, read_message, told_of_message

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC).timestamp()
BUILDER = EventBuilder(Schema("here", host="agent"))


def at(*parts: int) -> datetime:
    """Return what a clock shows, in no zone."""
    return datetime(*parts)  # type: ignore[arg-type]  # noqa: DTZ001


def utc(moment: datetime) -> float:
    return moment.replace(tzinfo=UTC).timestamp()


def line_of(raw: bytes, now: float, extra: Mapping[str, Any]) -> bytes | None:
    """Return the event line of a message."""
    told = told_of_message(raw, now, extra)
    return None if told is None else with_id(compose(BUILDER, told[0]), told[1])


def event(raw: bytes) -> dict[str, Any]:
    made = line_of(raw, time.time(), {})
    assert made is not None
    found: dict[str, Any] = json.loads(made)
    return found


def test_rfc_5424_is_read_field_by_field() -> None:
    """The RFC's own example, with escapes in its structured data."""
    found = event(
        b"<165>1 2026-10-11T22:14:15.003Z mymachine.example.com evntslog 8710 ID47 "
        rb'[exampleSDID@32473 iut="3" eventSource="App\"lica\]tion" x="a\\b"][other@1]'
        b" \xef\xbb\xbfAn application event"
    )
    assert found["message"] == "An application event"
    assert found["timestamp"] == "2026-10-11T22:14:15.003000Z"
    assert (found["level"], found["facility"], found["host"]) == ("INFO", "local4", "mymachine.example.com")
    assert (found["service"], found["process"], found["msgid"]) == ("evntslog", 8710, "ID47")
    assert found["structured_data"] == {
        "exampleSDID@32473": {"iut": "3", "eventSource": 'App"lica]tion', "x": "a\\b"},
        "other@1": {},
    }


def test_rfc_5424_with_nothing_but_dashes() -> None:
    """What the header does not say is not made up."""
    found = event(b"<11>1 - - - - - - it broke")
    assert (found["message"], found["level"], found["service"], found["host"]) == (
        "it broke",
        "ERROR",
        "here",
        "agent",
    )
    assert "structured_data" not in found


@pytest.mark.parametrize(
    ("raw", "app", "process", "host", "text"),
    [
        (b"<34>Oct 11 22:14:15 mymachine su: 'su root' failed", "su", None, "mymachine", "'su root' failed"),
        (b"<13>Nov  1 02:03:04 root[12]: hello", "root", 12, "agent", "hello"),
        (b"<13>Nov  1 02:03:04 box sshd[99]: Accepted publickey", "sshd", 99, "box", "Accepted publickey"),
        (b"<30>2026-11-01T02:03:04.5+01:00 box app: hi", "app", None, "box", "hi"),
        (b"<29>Nov 21 08:00:00 box shop[42] no colon", "shop", 42, "box", "no colon"),
        (b"<14>only a text", "here", None, "agent", "only a text"),
        (b"<14>note: no time, so no tag", "here", None, "agent", "note: no time, so no tag"),
        (b"<14>app[7]: pid", "app", 7, "agent", "pid"),
    ],
)
def test_rfc_3164_as_it_is_really_sent(raw: bytes, app: str, process: Any, host: str, text: str) -> None:
    """With and without host, tag and time."""
    found = event(raw)
    assert (found["service"], found.get("process"), found["host"], found["message"]) == (
        app,
        process,
        host,
        text,
    )


@pytest.mark.parametrize(
    ("text", "now", "expected"),
    [
        ("Dec 31 23:59:59", at(2027, 1, 1, 0, 0, 5), at(2026, 12, 31, 23, 59, 59)),
        ("Jan  1 00:00:03", at(2026, 12, 31, 23, 59, 58), at(2027, 1, 1, 0, 0, 3)),
        ("Feb 29 10:00:00", at(2025, 1, 10), at(2024, 2, 29, 10)),
        ("Jun 15 10:00:00", at(2026, 6, 15, 11), at(2026, 6, 15, 10)),
    ],
)
def test_the_year_is_the_nearest(text: str, now: datetime, expected: datetime) -> None:
    """Around the turn of the year, and a day that not every year has."""
    assert nearest(text, utc(now), utc) == utc(expected)
    assert nearest("Feb 30 10:00:00", utc(now), utc) is None


def test_json_in_a_message_counts_more_than_its_header() -> None:
    """Fields, time, service and level are those of the object; the header adds what it lacks."""
    found = event(
        b'<14>Nov  1 02:03:04 box app[5]: {"message": "x", "level": "error", "order": 7, "service": "shop",'
        b' "timestamp": "2026-01-02T03:04:05Z"}'
    )
    assert (found["message"], found["level"], found["order"], found["service"]) == ("x", "ERROR", 7, "shop")
    assert (found["timestamp"], found["host"], found["process"]) == ("2026-01-02T03:04:05.000000Z", "box", 5)


def test_a_level_in_the_text_is_believed_where_the_header_says_only_info() -> None:
    """Most programs send all as INFO; a severity that says more is right."""
    assert event(b"<13>Nov  1 02:03:04 a: ERROR no disk")["level"] == "ERROR"
    assert event(b"<12>Nov  1 02:03:04 a: ERROR no disk")["level"] == "WARNING"
    assert event(b"<15>Nov  1 02:03:04 a: nothing")["level"] == "DEBUG"


def test_what_is_no_message_is_kept_whole() -> None:
    """No PRI, one that is too large, a broken header: nothing is lost."""
    assert event(b"plain")["parse_error"] == "not a syslog message"
    assert event(b"<999>x")["message"] == "<999>x"
    assert event(b"<13>1 - - - - - broken")["message"] == "1 - - - - - broken"
    assert event(b'<13>1 - - - - - [a b="c] open')["message"] == '1 - - - - - [a b="c] open'
    assert line_of(b"", NOW, {}) is None
    assert event(CutLine(b"<13>abc", 5))["line_cut_bytes"] == 5


def test_an_event_of_logferry_keeps_its_id() -> None:
    """The id of the syslog sink's structured data stands in front of the line again."""
    own = "0123456789abcdef" * 2 + "-42"
    data = f'[logferry@32473 event_id="{own}" trace_id="{"ab" * 16}" user_id="u7"]'
    made = line_of(f"<14>1 - - shop - - {data} text".encode(), NOW, {})
    assert made is not None
    assert made.startswith(b'{"event_id":"' + own.encode() + b'",')
    found = json.loads(made)
    assert (found["trace_id"], found["user_id"]) == ("ab" * 16, "u7")
    assert "structured_data" not in found


@given(st.binary(max_size=200) | st.binary(max_size=60).map(b"<14>1 - - - - - [".__add__))
def test_any_bytes_are_an_event_or_nothing(raw: bytes) -> None:
    """Nothing raises, and what comes out is a line of JSON."""
    read_message(raw, NOW)
    for one in (raw, b"<14>" + raw, b"<14>Nov  1 02:03:04 " + raw, b"<14>1 - - - - - " + raw):
        made = line_of(one, NOW, {"sender": "10.0.0.1"})
        assert made is None or json.loads(made)["sender"] == "10.0.0.1"
