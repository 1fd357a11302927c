"""syslog: RFC 5424, RFC 3164 with its priority or without it (as in /var/log), and with ISO times.

The program is the event's `logger`, the machine its `host`, the number in brackets its `process`. Of sshd's
lines who came from where and how is read as well.
"""

from __future__ import annotations

import re
from typing import Final

from ...core.facilities import FACILITIES
from ...core.ids import add_ids
from .levels import SYSLOG, level_in
from .model import Fields
from .times import ISO_TIME, Times

__all__ = ["Syslog", "said_by"]

_NEW: Final = re.compile(
    r"<(\d{1,3})>1 (?:-|" + ISO_TIME + r") (\S{1,255}) (\S{1,48}) (\S{1,128}) (\S{1,32}) (-|(?=\[))(.*)\Z",
    re.ASCII | re.DOTALL,
)
_ELEMENT: Final = re.compile(
    r'\[([^\s=\]"]{1,64})((?: [^\s=\]"]{1,64}="[^"\\\]]*(?:\\.[^"\\\]]*)*")*)\]', re.DOTALL
)
_ESCAPED: Final = re.compile(r"\\([\"\\\]])")
_PARAMETER: Final = re.compile(r' ([^\s=\]"]{1,64})="([^"\\\]]*(?:\\.[^"\\\]]*)*)"', re.DOTALL)
_STAMP: Final = r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)"
_OLD: Final = re.compile(
    r"(?:<(\d{1,3})>)?(?:([A-Z][a-z][a-z]) +(\d{1,2}) (\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?|" + _STAMP + r")"
    r" ([A-Za-z0-9._:%-]{1,255}) ([A-Za-z0-9_./@()+-]{1,128})(?:\[(\d{1,10})\])?: ?(.*)\Z",
    re.ASCII | re.DOTALL,
)
_BARE: Final = re.compile(r"<(\d{1,3})>(.*)\Z", re.ASCII | re.DOTALL)
_AUTH: Final = re.compile(
    r"(Accepted|Failed) ([A-Za-z0-9/-]{1,64}) for (invalid user )?(\S{0,256}) from (\S{1,64}) port (\d{1,5})"
)
_CAME: Final = re.compile(
    r"(Invalid user|Connection closed by|Connection reset by|Disconnected from|Received disconnect from)"
    r"(?: (?:authenticating |invalid )?user)?(?: (\S{0,256}))??"
    r" (?:from )?([0-9A-Fa-f.:]{3,45}) port (\d{1,5})"
)
_SSHD: Final = frozenset({"sshd", "sshd-session"})


class Syslog:
    """Lines of syslog."""

    name = "syslog"

    def __init__(self, times: Times) -> None:
        self._times = times

    def read(self, line: bytes) -> Fields | None:
        """Return what a line, or a message from the network, says; None: it has no form of syslog's."""
        text = line.decode("utf-8", "replace")
        if text[:1] == "<":
            return self._new(text) or self._old(text) or self._bare(text)
        return self._old(text)

    def _new(self, text: str) -> Fields | None:
        found = _NEW.match(text)
        if found is None:
            return None
        fields: Fields = {}
        if found[2]:
            stamp = self._times.match(found, 2)
            if stamp is None:
                return None
            fields["timestamp"] = stamp
        if not _priority(fields, found[1]):
            return None
        host, program, process, kind, none, rest = found.group(6, 7, 8, 9, 10, 11)
        if not none:
            rest = _data(fields, rest)
        fields["message"] = rest.lstrip(" ").removeprefix("\ufeff")
        if host != "-":
            fields["host"] = host
        fields["logger"] = "" if program == "-" else program
        if process.isdecimal() and len(process) < 10:
            fields["process"] = int(process)
        elif process != "-":
            fields["procid"] = process
        if kind != "-":
            fields["msgid"] = kind
        return _said(fields)

    def _old(self, text: str) -> Fields | None:
        found = _OLD.match(text)
        if found is None:
            return None
        priority, month, day, clock, fraction = found.group(1, 2, 3, 4, 5)
        stamp = self._times.month(month, day, clock, fraction) if month else self._times.match(found, 6)
        if stamp is None:
            return None
        fields: Fields = {"timestamp": stamp}
        host, program, process, said = found.group(10, 11, 12, 13)
        if priority is None:
            fields["level"] = level_in(said)
        elif not _priority(fields, priority):
            return None
        fields["message"] = said
        fields["host"] = host
        fields["logger"] = program
        if process and len(process) < 10:
            fields["process"] = int(process)
        return _said(fields)

    @staticmethod
    def _bare(text: str) -> Fields | None:
        """Take a priority and nothing else that is known."""
        found = _BARE.match(text)
        fields: Fields = {}
        if found is None or not _priority(fields, found[1]):
            return None
        fields["message"] = found[2]
        fields["logger"] = ""
        return _said(fields)


def _priority(fields: Fields, text: str) -> bool:
    number = int(text)
    if number >= 8 * len(FACILITIES):
        return False
    fields["level"] = SYSLOG[number % 8]
    fields["facility"] = FACILITIES[number // 8]
    return True


def _data(fields: Fields, rest: str) -> str:
    """Take the structured data off the beginning of `rest`."""
    at = 0
    while (found := _ELEMENT.match(rest, at)) is not None:
        at = found.end()
        for name, value in _PARAMETER.findall(found[2]):
            plain = _ESCAPED.sub(r"\1", value) if "\\" in value else value
            fields[f"{found[1]}.{name}"] = plain
    return rest[at:]


def _said(fields: Fields) -> Fields:
    message: str = fields["message"]
    fields |= said_by(fields["logger"], message)
    add_ids(fields, message)
    return fields


def said_by(program: str, message: str) -> Fields:
    """Return what a message of sshd's says of who came, and a level where it counts more; else nothing."""
    if program not in _SSHD:
        return {}
    found = _AUTH.match(message)
    if found is not None:
        result, method, _, user, address, port = found.groups()
        fields: Fields = {"auth_result": result.lower(), "auth_method": method}
        fields |= {"login_user": user, "client_ip": address, "client_port": int(port)}
        return fields | {"level": "WARNING"} if result == "Failed" else fields
    found = _CAME.match(message)
    if found is None:
        return {}
    fields = {"login_user": found[2]} if found[2] else {}
    fields |= {"client_ip": found[3], "client_port": int(found[4])}
    return fields | {"level": "WARNING"} if found[1] == "Invalid user" else fields
