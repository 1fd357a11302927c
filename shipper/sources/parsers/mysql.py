"""MySQL and MariaDB: the error log, and the slow-query log, whose records have several lines.

- A statement's time is when it began, where the log says it: `SET timestamp=` has whole seconds, and where
  its end less what it took is within that second, that is taken. `duration_ms` is how long it took.
- What a statement's comment says of trace and request is the event's.
- What the server says before it has a log (`mysqld: …`) has no time.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final

from ...core.ids import add_ids
from .levels import level_named
from .model import Fields
from .times import Times

__all__ = ["MYSQL_ERROR", "Mysql"]

MYSQL_ERROR: Final = re.compile(
    rb"(?:\d{4}-\d\d-\d\d[T ] ?\d{1,2}:\d\d:\d\d\S{0,20}|\d{6} +\d{1,2}:\d\d:\d\d) (?:\d{1,19} "
    rb"\[(?:ERROR|Error|Warning|Note|System|WARNING|NOTE|ERR)\] |mysqld_safe |mariadbd-safe |\[Note\] )"
    rb"|(?:/\S{0,255}/)?(?:mysqld|mariadbd): "
)
"""What the records of the error log begin with."""

_ERROR: Final = re.compile(
    r"(?:(\d{4}-\d\d-\d\d)[T ] ?(\d{1,2}:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)?"
    r"|(\d{6}) +(\d{1,2}:\d\d:\d\d)) (?:(\d{1,19}) )?"
    r"(?:\[(ERROR|Error|Warning|Note|System|WARNING|NOTE|ERR|INFO|DEBUG)\] |(mysqld_safe|mariadbd-safe) )"
    r"(?:\[(MY-\d{6})\] )?(?:\[([A-Za-z_-]{1,32})\] )?(.*)\Z",
    re.ASCII | re.DOTALL,
)
_TIME: Final = re.compile(
    r"# Time: (?:(\d\d)(\d\d)(\d\d) +(\d{1,2}:\d\d:\d\d)"
    r"|(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)?)",
    re.ASCII,
)
_USER: Final = re.compile(
    r"# User@Host: ([^\[\]\n]{0,128})\[([^\[\]\n]{0,128})\] @ +([^\[\n ]{0,255}) *\[([^\]\n]{0,64})\]"
    r"(?: +Id: +(\d{1,19}))?"
)
_PAIR: Final = re.compile(r"([A-Za-z_]{1,64}): ([^\s:]{1,128})(?=\s|\Z)")
_SET: Final = re.compile(r"SET timestamp=(\d{9,11}(?:\.\d{1,6})?);\Z", re.ASCII)
_BEGUN: Final = re.compile(r"[^\n]{0,512}, Version: [^\n]{0,512}started with:\Z")
_EARLY: Final = re.compile(r"(?:/\S{0,255}/)?(mysqld|mariadbd): (.*)\Z", re.DOTALL)
_USE: Final = re.compile(r"use [^;\n]{1,256};\Z")
_NUMBER: Final = re.compile(r"\d{1,15}(?:\.\d{1,9})?\Z", re.ASCII)
_NAMES: Final = {
    "query_time": "duration_ms",
    "lock_time": "lock_ms",
    "schema": "database",
    "thread_id": "thread",
    "id": "thread",
}


class Mysql:
    """The logs of MySQL and of MariaDB."""

    name = "mysql"

    def __init__(self, times: Times) -> None:
        self._times = times

    def read(self, line: bytes) -> Fields | None:
        """Return what a line, or a joined record, says; None: it is neither log's."""
        text = line.decode("utf-8", "replace")
        if text.startswith("# "):
            return self._slow(text)
        return self._error(text) or _early(text) or _header(text)

    def _error(self, text: str) -> Fields | None:
        found = _ERROR.match(text)
        if found is None:
            return None
        day, clock, fraction, zone, short, old, thread, level, safe, code, part, said = found.groups()
        if short:
            day, clock = f"20{short[:2]}-{short[2:4]}-{short[4:]}", old
        stamp = self._times.iso(day, f"{clock:0>8}", fraction, zone)
        if stamp is None:
            return None
        fields: Fields = {
            "timestamp": stamp,
            "level": level_named(level or "NOTE") or "INFO",
            "message": said,
        }
        fields["logger"] = f"mysql.{part.lower()}" if part else safe or "mysql.error"
        if thread and thread != "0":
            fields["thread"] = thread
        if code:
            fields["error_code"] = code
        add_ids(fields, said)
        return fields

    def _slow(self, text: str) -> Fields | None:
        lines = text.split("\n")
        fields: Fields = {"level": "INFO", "message": "", "logger": "mysql.slow"}
        at = 0
        known = False
        while at < len(lines) and lines[at].startswith("# "):
            known |= self._head(fields, lines[at])
            at += 1
        if not known:
            return None
        if at < len(lines) and _USE.match(lines[at]):
            fields["database"] = lines[at][4:-1].strip("` ")
            at += 1
        if at < len(lines):
            moment = _SET.match(lines[at].rstrip())
            if moment is not None:
                at += 1
                stamp = self._times.epoch(moment[1])
                if stamp is not None:
                    fields["timestamp"] = _begun(fields, stamp)
        statement = "\n".join(lines[at:]).rstrip()
        fields["message"] = statement or lines[0]
        add_ids(fields, statement)
        return fields

    def _head(self, fields: Fields, line: str) -> bool:
        """Take what one of the lines before the statement says; whether it is one of them."""
        found = _TIME.match(line)
        if found is not None:
            year, month, day, clock, date, its, fraction, zone = found.groups()
            if year:
                date, its = f"20{year}-{month}-{day}", f"{clock:0>8}"
            stamp = self._times.iso(date, its, fraction, zone)
            if stamp is not None:
                fields["timestamp"] = stamp
            return True
        found = _USER.match(line)
        if found is not None:
            for name, value in zip(
                ("db_user", "client_host", "client_ip", "thread"), found.group(1, 3, 4, 5), strict=True
            ):
                if value:
                    fields[name] = value.strip()
            return True
        pairs = _PAIR.findall(line)
        for name, value in pairs:
            lower = name.lower()
            key = _NAMES.get(lower, lower)
            if _NUMBER.match(value) and key != "thread":
                number = float(value) if "." in value else int(value)
                fields[key] = round(number * 1000, 3) if key.endswith("_ms") else number
            else:
                fields[key] = value
        return bool(pairs)


def _begun(fields: Fields, second: str) -> str:
    """Return when a statement began, if its end less what it took is within the second that the log says."""
    ended, took = fields.get("timestamp"), fields.get("duration_ms")
    if ended is None or ended.endswith(".000000Z") or not isinstance(took, int | float):
        return second
    try:
        moment = datetime.fromisoformat(ended) - timedelta(milliseconds=took)
    except OverflowError:
        return second
    return (
        f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond:06}Z"
        if f"{moment:%Y-%m-%dT%H:%M:%S}" == second[:19]
        else second
    )


def _early(text: str) -> Fields | None:
    """Return what the server says while it has no log yet."""
    found = _EARLY.match(text)
    if found is None:
        return None
    return {
        "level": "WARNING" if found[2].startswith("Warning") else "ERROR",
        "message": found[2],
        "logger": found[1],
    }


def _header(text: str) -> Fields | None:
    """Return what the lines say with which a server begins its slow-query log."""
    first = text.partition("\n")[0]
    if _BEGUN.match(first) or first.startswith(("Tcp port: ", "Time\t", "Time  ")):
        return {"level": "INFO", "message": text, "logger": "mysql.slow"}
    return None
