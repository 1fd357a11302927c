"""PostgreSQL: stderr with any `log_line_prefix`, csvlog and jsonlog.

DETAIL, HINT, STATEMENT and their like follow the line that they belong to: joined to it (`joiners.py`), they
are its fields. How long a statement took is `duration_ms`; what the statement's comment says of trace and
request is the event's.
"""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from ...core.ids import add_ids
from .levels import level_named
from .model import Fields
from .times import ISO_TIME, Times

__all__ = ["CSV_START", "PART", "SEVERITY", "Postgresql", "prefix_expression"]

SEVERITY: Final = r"(DEBUG[1-5]?|LOG|INFO|NOTICE|WARNING|ERROR|FATAL|PANIC)"
PART: Final = re.compile(rb"(?:^|[^A-Z])(?:DETAIL|HINT|QUERY|CONTEXT|STATEMENT|LOCATION|BACKTRACE):  ")
"""Found in a line that belongs to the one before."""
CSV_START: Final = re.compile(
    rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} [^,\"]{1,40},"
    rb'(?:"[^"]*(?:""[^"]*)*")?,(?:"[^"]*(?:""[^"]*)*")?,\d*,'
)
"""Time, user, database, process."""
_PART_TEXT: Final = re.compile(
    r"\n[^\t\n][^\n]{0,512}?(?<![A-Z])(DETAIL|HINT|QUERY|CONTEXT|STATEMENT|LOCATION|BACKTRACE):  "
)
_TIME: Final = re.compile(ISO_TIME, re.ASCII)
_ANY: Final = re.compile(
    r"([^\n]{0,64}?)" + ISO_TIME + r"([^\n]{0,384}?)(?<![A-Z])" + SEVERITY + r":  (?! )(.*)\Z",
    re.ASCII | re.DOTALL,
)
_USUAL: Final = re.compile(
    ISO_TIME + r" \[(\d{1,9})\]:? (?:([^@\s\[]{1,63})@([^@\s\[]{1,63}) )?" + SEVERITY + r":  (.*)\Z",
    re.ASCII | re.DOTALL,
)
_PID: Final = re.compile(r"\[(\d{1,9})(?:-\d{1,9})?\]|(?:^| )\((\d{1,9})\)")
_WHO: Final = re.compile(r"(?<![A-Za-z0-9_@=])([A-Za-z0-9_.-]{1,63})@([A-Za-z0-9_.-]{1,63})(?![A-Za-z0-9_@])")
_PAIR: Final = re.compile(r"(?<![a-z])(user|db|app|client|host|session|remote)=([^,\s]{1,128})")
_PAIRS: Final = {
    "user": "db_user",
    "db": "database",
    "app": "application",
    "client": "client_ip",
    "host": "client_ip",
    "remote": "client_ip",
    "session": "pg_session",
}
_TOOK: Final = re.compile(r"duration: (\d{1,12}(?:\.\d{1,6})?) ms")
_HOST: Final = re.compile(r"(.*?)(?:\((\d{1,5})\)|:(\d{1,5}))?\Z", re.DOTALL)

# Escapes of log_line_prefix: the field, and what it may look like (None: anything up to what follows).
_ISO_GROUP: Final = r"(?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,6})?(?: [A-Za-z0-9+:-]{1,40})?)"
_ESCAPES: Final[dict[str, tuple[str, str | None]]] = {
    "a": ("application", None),
    "u": ("db_user", None),
    "d": ("database", None),
    "r": ("client", None),
    "h": ("client", None),
    "b": ("backend_type", None),
    "p": ("process", r"\d*"),
    "P": ("leader_pid", r"\d*"),
    "t": ("timestamp", _ISO_GROUP),
    "m": ("timestamp", _ISO_GROUP),
    "n": ("epoch", r"\d+\.\d+"),
    "i": ("command", None),
    "e": ("sql_state", r"[0-9A-Z]{5}"),
    "c": ("pg_session", r"[0-9a-f]+\.[0-9a-f]+"),
    "l": ("session_line", r"\d+"),
    "s": ("session_start", _ISO_GROUP),
    "v": ("virtual_transaction", r"[0-9/]*"),
    "x": ("transaction", r"\d*"),
    "Q": ("query_id", r"-?\d*"),
}
_NUMBERS: Final = frozenset({"process", "session_line", "leader_pid"})
_ESCAPE: Final = re.compile(r"%(-?\d{0,3})([A-Za-z%])")


def prefix_expression(prefix: str, *, lazy: bool = False) -> tuple[str, list[str]]:
    """Return an expression for a `log_line_prefix`, and the names of its groups. `ValueError`: none such.

    Names end where the text begins that follows them; with `lazy` (for RE2) they may hold its beginning.
    """
    pieces: list[tuple[str, str]] = []  # (kind, text)
    at = 0
    for found in _ESCAPE.finditer(prefix):
        pieces += [("text", prefix[at : found.start()])] if found.start() > at else []
        at = found.end()
        pieces.append(("text", "%") if found[2] == "%" else ("escape", found[1] + found[2]))
    pieces += [("text", prefix[at:])] if at < len(prefix) else []
    parts: list[str] = []
    names: list[str] = []
    optional = False
    for place, (kind, text) in enumerate(pieces):
        if kind == "text":
            parts.append(re.escape(text))
            continue
        letter = text[-1]
        if letter == "q":
            if not optional:
                parts.append("(?:")
            optional = True
            continue
        if letter not in _ESCAPES:
            raise ValueError(f"log_line_prefix: PostgreSQL has no %{letter}")
        name, looks = _ESCAPES[letter]
        if looks is None:
            following = next((held for what, held in pieces[place + 1 :] if what == "text"), "")
            until = f"[^{re.escape(following[0])}\\n]*" if following else r"\S*"
            looks = r"[^\n]*?" if lazy else until
        pad = r"\ *" if len(text) > 1 else ""
        parts.append(f"{pad}({looks}){pad}")
        names.append(name)
    parts.append(")?" if optional else "")
    return "".join(parts), names


def _linear(expression: str) -> Any:
    """Return what matches an expression in linear time; None: RE2 is not there."""
    try:
        import re2
    except ImportError:
        return None
    options = re2.Options()
    options.log_errors = False
    return re2.compile(expression, options)


class Postgresql:
    """PostgreSQL's logs. `prefix` is its `log_line_prefix`; None: worked out from each line."""

    name = "postgresql"

    def __init__(self, times: Times, prefix: str | None = None) -> None:
        self._times = times
        self._line: re.Pattern[str] | None = None
        self._lazy: Any = None
        self._names: list[str] = []
        if prefix is not None:
            expression, self._names = prefix_expression(prefix)
            self._line = re.compile(f"{expression}\\s?{SEVERITY}:  (.*)\\Z", re.DOTALL)
            lazy, _ = prefix_expression(prefix, lazy=True)
            self._lazy = _linear(f"{lazy}\\s?{SEVERITY}:  ((?s:.*))\\z")

    def read(self, line: bytes) -> Fields | None:
        """Return what a line, or a joined record, says; None: PostgreSQL has not written it."""
        if line[:1] == b"{":
            return self._json(line)
        text = line.decode("utf-8", "replace")
        if CSV_START.match(line):
            return self._csv(text)
        return self._stderr(text)

    # ── stderr ──

    def _stderr(self, text: str) -> Fields | None:
        fields: Fields | None = None
        if self._line is not None:
            fields = self._prefixed(text)
        if fields is None:
            fields = self._usual(text) or self._any(text)
        if fields is None:
            return None
        message: str = fields["message"]
        if "\n" in message:
            self._parts(fields, message)
        else:
            _say(fields, message)
        return fields

    def _prefixed(self, text: str) -> Fields | None:
        assert self._line is not None
        found = self._line.match(text) or (self._lazy and self._lazy.match(text))
        if not found:
            return None
        groups = found.groups()
        fields: Fields = {}
        for name, value in zip(self._names, groups[:-2], strict=True):
            if value:
                self._put(fields, name, value.strip())
        return _severe(fields, groups[-2], groups[-1])

    def _put(self, fields: Fields, name: str, value: str) -> None:
        if name == "timestamp":
            stamp = self._times.any(value)
            fields["timestamp" if stamp else "time"] = stamp or value
        elif name == "epoch":
            stamp = self._times.epoch(value)
            if stamp:
                fields["timestamp"] = stamp
        elif name == "client":
            _client(fields, value)
        elif name in _NUMBERS:
            fields[name] = int(value[:9] or 0)
        elif value and value != "[unknown]":
            fields[name] = value

    def _usual(self, text: str) -> Fields | None:
        """Take the prefixes that nearly all servers have, quickly."""
        found = _USUAL.match(text)
        stamp = found and self._times.match(found)
        if found is None or stamp is None:
            return None
        fields: Fields = {"timestamp": stamp}
        _severe(fields, found[8], found[9])
        fields["process"] = int(found[5])
        if found[6]:
            fields["db_user"] = found[6]
        if found[7]:
            fields["database"] = found[7]
        return fields

    def _any(self, text: str) -> Fields | None:
        found = _ANY.match(text)
        if found is None:
            return None
        stamp = self._times.match(found, 2)
        if stamp is None:
            return None
        fields: Fields = {"timestamp": stamp}
        prefix = found[1] + " " + found[6]
        _severe(fields, found[7], found[8])
        pid = _PID.search(prefix)
        if pid is not None:
            fields["process"] = int(pid[1] or pid[2])
        for name, value in _PAIR.findall(prefix):
            if name in {"client", "host", "remote"}:
                _client(fields, value)
            else:
                fields[_PAIRS[name]] = value
        who = _WHO.search(prefix)
        if who is not None:
            for name, value in (("db_user", who[1]), ("database", who[2])):
                if value != "unknown":
                    fields[name] = value
        return fields

    def _parts(self, fields: Fields, message: str) -> None:
        """Take DETAIL, HINT, STATEMENT, ... out of a joined record."""
        places = list(_PART_TEXT.finditer(message))
        ends = [one.start() for one in places[1:]] + [len(message)]
        for one, end in zip(places, ends, strict=False):
            name = one[1].lower()
            fields[name] = _untabbed(message[one.end() : end])
        fields["message"] = said = _untabbed(message[: places[0].start()] if places else message)
        _say(fields, said, fields.get("statement", ""))

    # ── csvlog, jsonlog ──

    def _csv(self, text: str) -> Fields | None:
        values = _columns(text)
        if values is None or len(values) < 23:
            return None
        stamp = self._times.any(values[0])
        if stamp is None:
            return None
        fields: Fields = {"timestamp": stamp}
        _severe(fields, values[11], values[13])
        if values[3].isdigit():
            fields["process"] = int(values[3][:9])
        if values[4]:
            _client(fields, values[4])
        for place, name in _COLUMNS:
            if place < len(values) and values[place]:
                fields[name] = values[place]
        _say(fields, values[13], values[19])
        return fields

    def _json(self, line: bytes) -> Fields | None:
        try:
            content: Any = orjson.loads(line)
        except orjson.JSONDecodeError:
            return None
        if not isinstance(content, dict) or not isinstance(content.get("error_severity"), str):
            return None
        message = content.pop("message", "")
        if not isinstance(message, str):
            return None
        time = content.get("timestamp")
        stamp = self._times.any(time) if isinstance(time, str) else None
        fields: Fields = {}
        if stamp is not None:
            fields["timestamp"] = stamp
            del content["timestamp"]
        _severe(fields, content.pop("error_severity"), message)
        held: Fields = content
        for name, value in held.items():
            if value not in ("", None):
                fields[_JSON.get(name, name)] = value
        statement = fields.get("statement")
        _say(fields, message, statement if isinstance(statement, str) else "")
        return fields


_COLUMNS: Final = (
    (1, "db_user"),
    (2, "database"),
    (5, "pg_session"),
    (7, "command"),
    (12, "sql_state"),
    (14, "detail"),
    (15, "hint"),
    (16, "internal_query"),
    (18, "context"),
    (19, "statement"),
    (21, "location"),
    (22, "application"),
    (23, "backend_type"),
    (25, "query_id"),
)
_JSON: Final[dict[str, str]] = {
    "user": "db_user",
    "dbname": "database",
    "pid": "process",
    "remote_host": "client_ip",
    "remote_port": "client_port",
    "line_num": "session_line",
    "ps": "command",
    "vxid": "virtual_transaction",
    "txid": "transaction",
    "state_code": "sql_state",
    "application_name": "application",
    "file_name": "source_file",
    "func_name": "function",
    "file_line_num": "line",
}
_COLUMN: Final = re.compile(r'(?:"([^"]*(?:""[^"]*)*)"|([^,"\n]*))(,|\Z)')
_MANY: Final = 64


def _columns(text: str) -> list[str] | None:
    """Return the columns of a record; None when it is none."""
    values: list[str] = []
    at = 0
    while len(values) < _MANY:
        found = _COLUMN.match(text, at)
        if found is None:
            return None
        values.append(found[2] if found[1] is None else found[1].replace('""', '"'))
        at = found.end()
        if not found[3]:
            return values
    return None


def _severe(fields: Fields, severity: str, message: str) -> Fields:
    fields["level"] = level_named(severity) or "INFO"
    fields["message"] = message
    fields["logger"] = "postgresql"
    return fields


def _say(fields: Fields, message: str, statement: str = "") -> None:
    """Take out of a message how long it took, and the ids in a statement's comment."""
    if message.startswith("duration: "):
        took = _TOOK.match(message)
        if took is not None:
            fields["duration_ms"] = float(took[1])
    add_ids(fields, message)
    if statement:
        add_ids(fields, statement)


def _client(fields: Fields, value: str) -> None:
    if value in {"", "[unknown]"}:
        return
    found = _HOST.match(value) if value.count(":") <= 1 else None  # else an address of IPv6
    fields["client_ip"] = found[1] if found is not None else value


def _untabbed(text: str) -> str:
    """Return a text of several lines without the tabs that PostgreSQL puts before all but the first."""
    return text.replace("\n\t", "\n").rstrip()
