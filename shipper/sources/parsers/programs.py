"""Small formats: logfmt, klog (Kubernetes' own), Redis."""

from __future__ import annotations

import re
from json import JSONDecoder
from typing import Any, Final

from ...core.ids import add_ids
from .levels import LETTERS, level_named
from .model import Fields
from .times import Times

__all__ = ["Klog", "Logfmt", "Redis", "pairs_of"]

_INSIDE: Final = r'[^"\\]*(?:\\.[^"\\]*)*'
_PAIR: Final = re.compile(
    rf'\s*([A-Za-z_@][A-Za-z0-9_.@/-]{{0,127}})=(?:"({_INSIDE})"(?=\s|\Z)|([^\s"=]*)(?=\s|\Z))',
    re.DOTALL,
)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED: Final = {"n": "\n", "t": "\t", "r": "\r"}
_INTEGER: Final = re.compile(r"-?(?:0|[1-9]\d{0,14})\Z", re.ASCII)
_REAL: Final = re.compile(r"-?(?:0|[1-9]\d{0,14})\.\d{1,9}\Z", re.ASCII)
_TEXTS: Final = frozenset({"msg", "message", "trace_id", "span_id", "request_id", "id", "user_id", "version"})
_CONSTANTS: Final = {"true": True, "false": False}
_FEWEST: Final = 2
_KLOG: Final = re.compile(
    r"([IWEF])(\d\d)(\d\d) (\d\d:\d\d:\d\d)\.(\d{1,6}) +(\d{1,9}) ([^\s:\]]{1,256}):(\d{1,9})\] ?(.*)\Z",
    re.ASCII | re.DOTALL,
)
_KLOG_SAID: Final = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"(?= |\Z)', re.DOTALL)
_KLOG_NAME: Final = re.compile(r" ?([A-Za-z_@][A-Za-z0-9_.@/-]{0,127})=(?=[<\[{])")
_KLOG_LINES: Final = re.compile(r"<\n((?:\t[^\n]*\n?)+) >(?= |\Z)")
_JSON: Final = JSONDecoder()
_REDIS: Final = re.compile(
    r"(\d{1,9}):([MSCX]) (?:(\d\d) ([A-Z][a-z][a-z]) (?:(\d{4}) )?(\d\d:\d\d:\d\d)(?:\.(\d{3}))?"
    r"|(\d{13}|\d{4}-\d\d-\d\dT[\d:.]{8,12}[\d:Z+-]{1,6})) ([.*#-]) (.*)\Z",
    re.ASCII | re.DOTALL,
)
_VALKEY: Final = re.compile(  # `log-format logfmt`
    r'pid=(\d{1,9}) role=([A-Za-z/]{1,16}) timestamp="([^"]{1,40})" level=([a-z]{1,16}) message="(.*)"\Z',
    re.ASCII | re.DOTALL,
)
_REDIS_SIGNAL: Final = re.compile(r"(\d{1,9}):signal-handler \((\d{9,11})\) (.*)\Z", re.ASCII | re.DOTALL)
_REDIS_LEVELS: Final = {".": "DEBUG", "-": "DEBUG", "*": "INFO", "#": "WARNING"}
_REDIS_ROLES: Final = {"M": "master", "S": "replica", "C": "child", "X": "sentinel"}
_VALKEY_ROLES: Final = {"primary": "master", "RDB/AOF": "child"}


def _unescaped(found: re.Match[str]) -> str:
    return _ESCAPED.get(found[1], found[1])


def pairs_of(text: str, at: int = 0) -> tuple[Fields, int]:
    """Return the `name=value` pairs that stand in `text` from `at` on, and where they end."""
    fields: Fields = {}
    while (found := _PAIR.match(text, at)) is not None:
        at = found.end()
        fields[found[1]] = _value(found)
    return fields, at


def _value(found: re.Match[str]) -> Any:
    name, quoted, bare = found.groups()
    if quoted is not None:
        return _ESCAPE.sub(_unescaped, quoted) if "\\" in quoted else quoted
    if name in _TEXTS:
        return bare
    if _INTEGER.match(bare):
        return int(bare)
    return float(bare) if _REAL.match(bare) else _CONSTANTS.get(bare, bare)


class Logfmt:
    """`time=… level=info msg="…" any=thing`: at least two pairs, and nothing else."""

    name = "logfmt"

    def __init__(self, times: Times) -> None:
        self._times = times

    def read(self, line: bytes) -> Fields | None:
        """Return what a line says; None: it is no logfmt."""
        first, newline, rest = line.partition(b"\n")
        if b"=" not in first:
            return None
        text = first.decode("utf-8", "replace")
        fields, end = pairs_of(text)
        if len(fields) < _FEWEST or text[end:].strip():
            return None
        for name in ("time", "ts", "timestamp", "t", "@timestamp"):
            value = fields.get(name)
            stamp = self._times.any(str(value)) if isinstance(value, str | int | float) else None
            if stamp is not None:
                del fields[name]
                fields = {"timestamp": stamp} | fields
                break
        for alias in ("requestId", "req_id", "reqid", "request-id"):
            if alias in fields and "request_id" not in fields:
                fields["request_id"] = str(fields.pop(alias))
        if newline:
            said = next((name for name in ("message", "msg") if isinstance(fields.get(name), str)), "message")
            fields[said] = f"{fields.get(said, '')}\n{rest.decode('utf-8', 'replace')}"
        return fields


def _klog_pairs(text: str, at: int) -> tuple[Fields, int]:
    """Return the pairs of klog's: those of logfmt, texts of several lines, and JSON."""
    fields: Fields = {}
    while True:
        found = _KLOG_NAME.match(text, at)
        if found is None:
            found = _PAIR.match(text, at)
            if found is None:
                return fields, at
            fields[found[1]], at = _value(found), found.end()
            continue
        lines = _KLOG_LINES.match(text, found.end())
        if lines is not None:
            fields[found[1]], at = lines[1][1:].replace("\n\t", "\n").removesuffix("\n"), lines.end()
            continue
        try:
            fields[found[1]], at = _JSON.raw_decode(text, found.end())
        except (ValueError, RecursionError):
            return fields, at


class Klog:
    """The format of Kubernetes' own programs, with structured values or without."""

    name = "klog"

    def __init__(self, times: Times) -> None:
        self._times = times

    def read(self, line: bytes) -> Fields | None:
        """Return what a line says; None: klog has not written it."""
        found = _KLOG.match(line.decode("utf-8", "replace"))
        if found is None:
            return None
        letter, month, day, clock, fraction, process, file, number, said = found.groups()
        stamp = self._times.yearless(month, day, clock, fraction)
        if stamp is None:
            return None
        fields: Fields = {"timestamp": stamp, "level": LETTERS[letter], "message": said, "logger": "klog"}
        fields |= {"module": file, "line": int(number), "process": int(process)}
        told = _KLOG_SAID.match(said)
        if told is not None:
            more, end = _klog_pairs(said, told.end())
            if not said[end:].strip():
                fields["message"] = _ESCAPE.sub(_unescaped, told[1])
                fields = {**more, **fields}
                if isinstance(more.get("logger"), str):
                    fields["logger"] = more["logger"]
        add_ids(fields, said)
        return fields


class Redis:
    """Redis, and Valkey with its `log-format` and `log-timestamp-format`."""

    name = "redis"

    def __init__(self, times: Times) -> None:
        self._times = times

    def read(self, line: bytes) -> Fields | None:
        """Return what a line says; None: Redis has not written it."""
        text = line.decode("utf-8", "replace")
        found = _REDIS.match(text)
        if found is None:
            return self._logfmt(text) or self._signal(text)
        process, role, day, month, year, clock, fraction, other, mark, said = found.groups()
        stamp = self._times.any(other) if other else self._times.month(month, day, clock, fraction, year)
        if stamp is None:
            return None
        fields: Fields = {
            "timestamp": stamp,
            "level": _REDIS_LEVELS[mark],
            "message": said,
            "logger": "redis",
        }
        fields |= {"process": int(process), "role": _REDIS_ROLES[role]}
        return fields

    def _logfmt(self, text: str) -> Fields | None:
        found = _VALKEY.match(text)
        stamp = found and self._times.any(found[3])
        if found is None or stamp is None:
            return None
        level = level_named(found[4]) or "INFO"
        fields: Fields = {"timestamp": stamp, "level": level, "message": found[5], "logger": "redis"}
        fields |= {"process": int(found[1]), "role": _VALKEY_ROLES.get(found[2], found[2])}
        return fields

    def _signal(self, text: str) -> Fields | None:
        found = _REDIS_SIGNAL.match(text)
        stamp = found and self._times.epoch(found[2])
        if found is None or stamp is None:
            return None
        fields: Fields = {"timestamp": stamp, "level": "WARNING", "message": found[3], "logger": "redis"}
        fields["process"] = int(found[1])
        return fields
