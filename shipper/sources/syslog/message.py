r"""What a syslog message says, and what a line would say in its place. Pure.

    <PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID MSGID [SD-ID name="value" …] MSG      RFC 5424
    <PRI>Mmm dd hh:mm:ss HOSTNAME TAG[PID]: MSG                                     RFC 3164, its common form

Rules

- MSG goes through the parser like a line of a file: JSON field by field, a time, a level, a traceback.
- What MSG says itself counts; the header says the rest: time, host, service (APP-NAME or TAG), process,
  level. Where the header says only INFO, a level in the text is believed: most programs send all as INFO.
- RFC 3164 has no year and no zone: the year is the one that comes nearest to now, the zone is local.
- Its HOSTNAME may be missing (`logger`, the C library), and so may everything but `<PRI>`. The message is
  what follows.
- Structured data is kept as `structured_data`; what logferry's own sink has put there is taken back.
- What does not begin with `<PRI>` is no syslog: whole, it is the message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from ...core.facilities import FACILITIES
from ...core.lines import CutLine
from ...core.parse import Local, Parsed, moment_of, parse, service_of, span_of, trace_of
from ..listen.identity import known_id
from ..parsed_blocks import Told

__all__ = ["Message", "read_message", "told_of_message"]

_LEVELS: Final = ("CRITICAL", "CRITICAL", "CRITICAL", "ERROR", "WARNING", "INFO", "INFO", "DEBUG")
_PRI: Final = re.compile(rb"<(\d{1,3})>")
_MODERN: Final = re.compile(rb"1 (\S{1,64}) (\S{1,255}) (\S{1,255}) (\S{1,255}) (\S{1,255}) (?=[\[-])")
_ELEMENT: Final = re.compile(
    rb'\[([^\s="\]]{1,255})((?: +[^\s="\]]{1,255}="(?:[^"\\\]]|\\.|\\\n)*")*) *\]', re.DOTALL
)
_PARAM: Final = re.compile(rb'([^\s="\]]{1,255})="((?:[^"\\\]]|\\.)*)"', re.DOTALL)
_ESCAPE: Final = re.compile(r'\\(["\\\]])')
_OLD_TIME: Final = re.compile(
    rb"(?:(?P<bsd>(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ \d]\d \d\d:\d\d:\d\d)(?:\.\d{1,6})?"
    rb"|(?P<iso>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S{0,20}))(?: |\Z)"
)
# Behind a PID the colon may be missing: rsyslog forwards what came to it by RFC 5424 so.
_TAG: Final = re.compile(rb"(?P<tag>[^\s:\[\]<>{}\"]{1,64})(?:\[(?P<pid>[^\]\s]{1,128})\]:?|:)(?: |\Z)")
_HOST: Final = re.compile(rb"(?P<host>[0-9A-Za-z_.:-]{1,255}) (?=\S)")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_BOM: Final = b"\xef\xbb\xbf"
_OURS: Final = ("request_id", "user_id")
_MOST_ELEMENTS: Final = 64


@dataclass(slots=True)
class Message:
    """A message's header as understood, and its text. `timestamp` is seconds since 1970."""

    text: bytes
    level: str = ""
    facility: str = ""
    timestamp: float | None = None
    host: str = ""
    app: str = ""
    process: str = ""
    msgid: str = ""
    data: dict[str, dict[str, str]] = field(default_factory=dict)


def read_message(raw: bytes, now: float, local: Local = datetime.timestamp) -> Message | None:
    """Return what a message says; None: it does not begin like one. `now` is seconds since 1970."""
    pri = _PRI.match(raw)
    if pri is None or int(pri[1]) > 191:
        return None
    number, body = int(pri[1]), raw[pri.end() :]
    found = _modern(body, local) or _old(body, now, local)
    found.facility, found.level = FACILITIES[number >> 3], _LEVELS[number & 7]
    return found


def _modern(body: bytes, local: Local) -> Message | None:
    head = _MODERN.match(body)
    if head is None:
        return None
    stamp, host, app, process, msgid = (_word(part) for part in head.groups())
    data: dict[str, dict[str, str]] = {}
    at = head.end()
    if body[at : at + 1] == b"-":
        at += 1
    else:
        while (element := _ELEMENT.match(body, at)) is not None:
            if len(data) < _MOST_ELEMENTS:
                data[_word(element[1])] = {
                    _word(name): _ESCAPE.sub(r"\1", value.decode("utf-8", "replace"))
                    for name, value in _PARAM.findall(element[2])
                }
            at = element.end()
        if at == head.end():
            return None  # structured data that is none: nothing of it is taken for understood
    text = body[at:].removeprefix(b" ").removeprefix(_BOM)
    return Message(text, "", "", moment_of(stamp, local) if stamp else None, host, app, process, msgid, data)


def _old(body: bytes, now: float, local: Local) -> Message:
    found = Message(body)
    time = _OLD_TIME.match(body)
    at = 0
    if time is not None:
        found.timestamp = (
            nearest(time["bsd"].decode(), now, local) if time["bsd"] else moment_of(_word(time["iso"]), local)
        )
        at = time.end()
        if _TAG.match(body, at) is None and (host := _HOST.match(body, at)) is not None:
            found.host = _word(host["host"])
            at = host.end()
    tag = _TAG.match(body, at)
    if tag is not None and (time is not None or tag["pid"]):
        found.app, found.process = _word(tag["tag"]), _word(tag["pid"] or b"")
        at = tag.end()
    found.text = body[at:].removeprefix(_BOM)
    return found


def nearest(text: str, now: float, local: Local) -> float | None:
    """Return the moment nearest to `now` at which a clock showed `Mmm dd hh:mm:ss`; None: never."""
    month, day, clock = _MONTHS.index(text[:3]) + 1, text[4:6].replace(" ", "0"), text[7:15]
    year = datetime.fromtimestamp(now).year  # noqa: DTZ006 - the sender's clock shows local time
    found = []
    for candidate in (year, year - 1, year + 1):
        try:
            found.append(local(datetime.fromisoformat(f"{candidate}-{month:02}-{day}T{clock}")))
        except (ValueError, OverflowError, OSError):
            continue
    return min(found, key=lambda moment: abs(moment - now), default=None)


def _word(part: bytes) -> str:
    return "" if part == b"-" else part.decode("utf-8", "replace")


def told_of_message(raw: bytes, now: float, extra: Mapping[str, Any]) -> Told | None:
    """Return what a message says; None: there is nothing in it. What is none is kept whole."""
    message = read_message(raw, now)
    own = ""
    if message is None:
        parsed = parse(raw, "text")
        if parsed is None:
            return None
        parsed.fields["parse_error"] = "not a syslog message"
    else:
        text = CutLine(message.text, raw.lost) if isinstance(raw, CutLine) else message.text
        parsed = parse(text) or Parsed("")
        own = _complete(parsed, message, is_json=message.text.lstrip()[:1] == b"{")
    for name, value in extra.items():
        parsed.fields.setdefault(name, value)
    return parsed, own


def _complete(parsed: Parsed, message: Message, *, is_json: bool) -> str:
    """Add what the header says to what the text says; return the event's id, if it brings one."""
    fields = parsed.fields
    if not (is_json and parsed.timestamp is not None):
        parsed.timestamp = parsed.timestamp if message.timestamp is None else message.timestamp
    if parsed.level == "INFO" or not (is_json or message.level == "INFO"):
        parsed.level = message.level
    service = service_of(message.app)
    if not parsed.service:
        parsed.service = service or ""
    if message.app and message.app != parsed.service:
        fields.setdefault("app_name", message.app)
    if message.host:
        fields.setdefault("host", message.host)
    if message.process:
        number = message.process.isascii() and message.process.isdecimal() and len(message.process) < 10
        fields.setdefault(
            "process" if number else "procid", int(message.process) if number else message.process
        )
    if message.msgid:
        fields.setdefault("msgid", message.msgid)
    fields.setdefault("facility", message.facility)
    own = _take_own(parsed, message.data) or known_id(fields.get("event_id"))
    if own:
        fields.pop("event_id", None)
    if message.data:
        fields.setdefault("structured_data", message.data)
    return own


def _take_own(parsed: Parsed, data: dict[str, dict[str, str]]) -> str:
    """Take back what logferry's sink has put into structured data; return the event's id."""
    for name, params in data.items():
        own = known_id(params.get("event_id"))
        if not own:
            continue
        del data[name]
        parsed.trace_id = parsed.trace_id or trace_of(params.get("trace_id")) or ""
        parsed.span_id = parsed.span_id or span_of(params.get("span_id")) or ""
        for field_name in _OURS:
            if params.get(field_name):
                parsed.fields.setdefault(field_name, params[field_name])
        return own
    return ""
