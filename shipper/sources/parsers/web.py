"""nginx and Apache: access logs (common, combined, ours and others' JSON) and error logs.

What a configuration adds behind the combined format is taken by its shape: `name=value`, a time in seconds
(how long it took), 32 hex digits (the request's id), quoted addresses (the clients before).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import orjson
from msgspec import UNSET, UnsetType

from ...core.ids import add_ids
from .levels import level_named
from .many import Row
from .model import Fields
from .times import CLF, ISO_TIME, Times

__all__ = ["Apache", "Nginx", "access_fields", "read_access"]

_INSIDE: Final = r'[^"\\]*(?:\\.[^"\\]*)*'
_QUOTED: Final = f'"({_INSIDE})"'
_ACCESS: Final = re.compile(
    r"(?:(\S+:\d+) )?(\S+) (\S+) ([^\[\"]{1,256}?) \[" + CLF + r"\] " + _QUOTED + r" (\d{3}|-) (\d+|-)"
    r"(?: " + _QUOTED + r" " + _QUOTED + r")?(?: (.*))?\Z",
    re.ASCII | re.DOTALL,
)
_NO_CLIENT: Final = re.compile(r"\d{4}[-/]\d\d[-/]\d\dT?|\[\D|(?:DEBUG|INFO|WARNING|ERROR)\b", re.ASCII)
_REQUEST: Final = re.compile(r"([A-Z][A-Z_-]{0,31}) (\S{0,65536})(?: ((?:HTTP/)?[0-9.]{1,4}))?\Z")
_TAIL: Final = re.compile(
    rf'([A-Za-z][A-Za-z0-9_.]{{0,63}})=(?:"({_INSIDE})"|(\S*))|"({_INSIDE})"|(\S+)', re.DOTALL
)
_ESCAPE: Final = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|(.))", re.DOTALL)
_UNITS: Final = {b"t": b"\t", b"n": b"\n", b"r": b"\r", b"v": b"\v", b"b": b"\b", b"f": b"\f"}
_SECONDS: Final = re.compile(r"\d{1,9}\.\d{1,6}\Z", re.ASCII)
_HEX: Final = re.compile(r"[0-9a-f]{32}\Z")
_ADDRESSES: Final = re.compile(r"[0-9A-Fa-f.:]{3,45}(?:, ?[0-9A-Fa-f.:]{3,45})*\Z")
_TOOK: Final = frozenset({"rt", "request_time", "duration", "time", "took"})
_UPSTREAM: Final = frozenset({"urt", "uct", "uht", "upstream_response_time", "upstream_time"})
_IDS: Final = {
    "request_id": "request_id",
    "req_id": "request_id",
    "rid": "request_id",
    "trace_id": "trace_id",
    "traceid": "trace_id",
}
_SLOWEST: Final = 10**12

# What usual access lines hold.
_METHODS: Final = frozenset({"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"})
_PROTOCOLS: Final = frozenset({"HTTP/1.0", "HTTP/1.1", "HTTP/2.0", "HTTP/3.0"})
_CODES: Final = {str(code): code for code in range(100, 600)}
_MOMENT: Final = re.compile(rf"\[{CLF}\]\Z", re.ASCII)
_REFERER_AGENT: Final = 4  # parts between the quotes, and behind the last
_LONGEST_USER: Final = 256
_LONGEST_USUAL: Final = 32 * 1024
_SECONDS_KEPT: Final = 1_000

_NGINX_ERROR: Final = re.compile(
    ISO_TIME + r" \[([a-z]+)\] (\d+)#(\d+): (?:\*(\d+) )?(.*)\Z", re.ASCII | re.DOTALL
)
_NGINX_PART: Final = re.compile(
    rf', (client|server|request|upstream|host|referrer|subrequest): (?:"({_INSIDE})"|([^,"]*))', re.DOTALL
)
_APACHE_ERROR: Final = re.compile(
    r"\[(?:[A-Z][a-z][a-z] )?([A-Z][a-z][a-z]) +(\d{1,2}) (\d\d:\d\d:\d\d)(?:\.(\d{1,6}))? (\d{4})\]"
    r" \[(?:([a-z0-9_]+):)?([a-z0-9]+)\](?: \[pid (\d+)(?::tid (\d+))?\])?(.*)\Z",
    re.ASCII | re.DOTALL,
)
# Behind the process: the place in the source (where debugging is on), the system's error, the client.
_APACHE_REST: Final = re.compile(
    r"(?: ([A-Za-z0-9_.\-]{1,64}\.[ch])\((\d{1,9})\):)?(?: (\(\d{1,9}\)[^\[\n]{1,256}?:))?"
    r"(?: \[(?:client|remote) ([^\]]*)\])? ?(.*)\Z",
    re.DOTALL,
)
_APACHE_REFERER: Final = ", referer: "
_APACHE_CODE: Final = re.compile(r"(AH\d{5}): ")
_PORT: Final = re.compile(r"(.*):(\d{1,5})\Z")


def _plain(text: str) -> str:
    """Return a quoted text without its escapes, which stand for bytes of UTF-8."""
    if "\\" not in text:
        return text

    def one(found: re.Match[bytes]) -> bytes:
        return bytes.fromhex(found[1].decode()) if found[1] else _UNITS.get(found[2], found[2])

    return _ESCAPE.sub(one, text.encode("utf-8", "replace")).decode("utf-8", "replace")


@lru_cache(maxsize=1024)
def _request(text: str) -> tuple[str, str, str, str] | None:
    """Return method, path, query and protocol of a request line."""
    found = _REQUEST.match(text)
    if found is None:
        return None
    path, _, query = found[2].partition("?")
    return found[1], path, query, found[3] or ""


def access_fields(fields: Fields, request: str, status: str | int, logger: str, target: str = "") -> Fields:
    """Put into `fields` what every access event has, from the request's first line and its status.

    Where that is none, the `target` is what is known of it.
    """
    code = int(status) if status != "-" else 0
    fields["kind"] = "access"
    parts = _request(request)
    if parts is None:
        fields["message"] = f"{request} {status}"
        method, protocol = "-", ""
        path, _, query = target.partition("?")
    else:
        method, path, query, protocol = parts
        fields["message"] = f"{method} {path} {status}"
    fields["method"] = method
    fields["path"] = path
    if query:
        fields["query"] = query
    if protocol:
        fields["protocol"] = protocol
    fields["level"] = "ERROR" if code >= 500 else "INFO"
    fields["logger"] = logger
    fields["status_code"] = code
    fields["failed"] = code >= 500
    return fields


def read_access(text: str, times: Times, logger: str) -> Fields | None:
    """Return what a line in the common or combined format says, with whatever follows it."""
    found = _ACCESS.match(text)
    if found is None:
        return None
    stamp = times.clf(found, 5)
    # A space before the clock is Werkzeug's; what begins otherwise is a request in somebody's message.
    if stamp is None or text[found.start(8) - 1] != ":" or _NO_CLIENT.match(found[2]):
        return None
    server, client, ident, user = found.group(1, 2, 3, 4)
    request, status, size, referer, agent, tail = found.group(11, 12, 13, 14, 15, 16)
    fields: Fields = {"timestamp": stamp}
    access_fields(fields, request if "\\" not in request else _plain(request), status, logger)
    fields["client_ip"] = client
    if size != "-":
        fields["bytes"] = int(size) if len(size) < 18 else 0
    if agent and agent != "-":
        fields["user_agent"] = _plain(agent)
    if referer and referer != "-":
        fields["referer"] = _plain(referer)
    if user != "-":
        fields["user_id"] = user
    if ident != "-":
        fields["ident"] = ident
    if server:
        fields["server"] = server
    if tail:
        _tail(fields, tail)
    return fields


class _Access(Row, gc=False):
    timestamp: str
    kind: str
    message: str
    method: str
    path: str
    query: str | UnsetType
    protocol: str | UnsetType
    level: str
    logger: str
    status_code: int
    failed: bool
    client_ip: str
    bytes: int | UnsetType
    user_agent: str | UnsetType
    referer: str | UnsetType
    user_id: str | UnsetType
    ident: str | UnsetType


class _Many:
    """Understands usual lines of the common and combined format; no expression has to look for their parts.

    Usual is: no escape, no server before and nothing behind it, a method and a protocol that are known, and
    nothing but printable characters.
    """

    def __init__(self, times: Times, logger: str) -> None:
        self._times = times
        self._logger = logger
        self._seconds: dict[tuple[str, str], str | None] = {}

    def rows(self, texts: Sequence[str], block: bytes) -> Sequence[Row | None]:
        if len(self._seconds) > _SECONDS_KEPT:
            self._seconds.clear()
        if b"\\" in block or max(map(len, texts)) > _LONGEST_USUAL:
            texts = ["" if "\\" in text or len(text) > _LONGEST_USUAL else text for text in texts]
        row = self._row
        return [row(text) if text.isprintable() else None for text in texts]

    def _row(self, text: str) -> Row | None:
        try:
            before, request, result, *said = text.split('"')
            client, ident, user, moment, zone, none = before.split(" ")
            method, target, protocol = request.split(" ")
            status, size = result.split()
        except ValueError:
            return None
        code = _CODES.get(status)
        agent = referer = "-"
        if said:
            if len(said) != _REFERER_AGENT or said[1] != " " or said[3] or result[-1] != " ":
                return None
            referer, agent = said[0], said[2]
        if (
            code is None
            or none
            or method not in _METHODS
            or protocol not in _PROTOCOLS
            or not client
            or not ident
            or not 0 < len(user) <= _LONGEST_USER
            or before.find("[") != len(client) + len(ident) + len(user) + 3
            or (size != "-" and not (size.isdecimal() and size.isascii()))
            or result != f" {status} {size}{' ' if said else ''}"
        ):
            return None
        stamp = self._stamp(moment, zone)
        if stamp is None or _NO_CLIENT.match(client):
            return None
        path, _, query = target.partition("?")
        return _Access(
            stamp,
            "access",
            f"{method} {path} {status}",
            method,
            path,
            query or UNSET,
            protocol,
            "ERROR" if code >= 500 else "INFO",
            self._logger,
            code,
            code >= 500,
            client,
            UNSET if size == "-" else int(size) if len(size) < 18 else 0,
            agent if agent and agent != "-" else UNSET,
            referer if referer and referer != "-" else UNSET,
            user if user != "-" else UNSET,
            ident if ident != "-" else UNSET,
        )

    def _stamp(self, moment: str, zone: str) -> str | None:
        """Return the time of `[21/Nov/2026:23:11:12` and `+0000]`; None: it is none, or an unusual one."""
        key = moment, zone
        if key not in self._seconds:
            found = _MOMENT.match(f"{moment} {zone}")
            self._seconds[key] = None if found is None else self._times.clf(found)
        return self._seconds[key]


def _tail(fields: Fields, tail: str) -> None:
    rest: list[str] = []
    for name, quoted, bare, text, word in _TAIL.findall(tail):
        value = quoted or bare
        if name and value:
            _named(fields, name, value)
        elif text and text != "-":
            if _ADDRESSES.match(text):
                fields.setdefault("forwarded_for", text)
            else:
                rest.append(_plain(text))
        elif word and _SECONDS.match(word) and "duration_ms" not in fields:
            fields["duration_ms"] = round(float(word) * 1000, 3)
        elif word and _HEX.match(word):
            fields.setdefault("request_id", word)
        elif word and word != "-":
            rest.append(word)
    if rest:
        fields["tail"] = " ".join(rest)


def _named(fields: Fields, name: str, value: str) -> None:
    lower = name.lower()
    if value == "-":
        return
    if lower in _TOOK and _SECONDS.match(value):
        fields["duration_ms"] = round(float(value) * 1000, 3)
    elif lower in _UPSTREAM:
        fields["upstream_seconds" if lower in {"urt", "upstream_response_time"} else lower] = value
    elif lower in _IDS:
        fields.setdefault(_IDS[lower], value)
    else:
        fields.setdefault(lower if lower not in fields else f"tail_{lower}", value)


# Others' JSON access logs: nginx's names of variables → ours.
_JSON_NAMES: Final = {
    "client_ip": ("client_ip", "remote_addr", "remote_ip", "client", "clientip"),
    "user_agent": ("user_agent", "http_user_agent", "agent", "userAgent"),
    "referer": ("referer", "http_referer", "referrer"),
    "user_id": ("user_id", "remote_user", "user"),
    "query": ("query", "args", "query_string"),
    "protocol": ("protocol", "server_protocol"),
    "upstream_seconds": ("upstream_seconds", "upstream_response_time"),
    "server": ("server_name", "vhost"),
    "forwarded_for": ("forwarded_for", "http_x_forwarded_for"),
    "trace_id": ("trace_id", "http_x_trace_id"),
    "request_id": ("request_id", "http_x_request_id", "req_id"),
}
_STATUS: Final = ("status_code", "status", "code", "response")
_METHOD: Final = ("method", "request_method", "verb")
_URI: Final = ("path", "request_uri", "uri", "url")
_SIZE: Final = ("bytes", "body_bytes_sent", "bytes_sent", "size")
_TIME: Final = ("timestamp", "@timestamp", "time", "time_iso8601", "time_local", "msec", "ts", "date")


def _take(content: Fields, names: tuple[str, ...]) -> Any:
    for name in names:
        if name in content:
            return content.pop(name)
    return None


def _number(value: object) -> float | None:
    try:
        number = float(value) if isinstance(value, str | int | float) and len(str(value)) < 32 else None
    except ValueError:
        return None
    return number if number is not None and 0 <= number < _SLOWEST else None


def _json_access(content: Fields, times: Times, logger: str) -> Fields | None:
    """Return what a JSON access log of somebody's own says; None: it is no access log."""
    status = _number(next((content[name] for name in _STATUS if name in content), None))
    if status is None or not any(name in content for name in (*_METHOD, "request", *_URI)):
        return None
    _take(content, _STATUS)
    method, uri, request = _take(content, _METHOD), _take(content, _URI), content.pop("request", None)
    if not isinstance(request, str):
        request = f"{method or '-'} {uri or '/'}"
    fields: Fields = {}
    when = _take(content, _TIME)
    stamp = times.any(when if isinstance(when, str) else f"{when}") if when is not None else None
    if stamp is not None:
        fields["timestamp"] = stamp
    elif when is not None:
        fields["time"] = when
    access_fields(fields, request, int(status), logger, f"{uri or ''}")
    size = _number(_take(content, _SIZE))
    if size is not None:
        fields["bytes"] = int(size)
    if "duration_ms" not in content:
        took = _number(_take(content, ("request_time", "duration", "latency")))
        if took is not None:
            fields["duration_ms"] = round(took * 1000, 3)
    for name, names in _JSON_NAMES.items():
        held = _take(content, names)
        if held not in (None, "", "-"):
            fields.setdefault(name, held)
    return fields | {name: value for name, value in content.items() if name not in fields}


class Nginx:
    """nginx's access and error logs."""

    name = "nginx"

    def __init__(self, times: Times, *, alone: bool = True) -> None:
        self._times = times
        self._alone = alone  # whether JSON can be nothing but its access log
        self._accesses = _Many(times, "nginx.access")

    def read(self, line: bytes) -> Fields | None:
        """Return what a line says; None: nginx has not written it."""
        if line[:1] == b"{":
            return _read_json(line, self._times, "nginx.access", alone=self._alone)
        text = line.decode("utf-8", "replace")
        return read_access(text, self._times, "nginx.access") or self._error(text)

    def many(self, texts: Sequence[str], block: bytes) -> Sequence[Row | None]:
        """Return what usual access lines say."""
        return self._accesses.rows(texts, block)

    def _error(self, text: str) -> Fields | None:
        found = _NGINX_ERROR.match(text)
        if found is None:
            return None
        stamp = self._times.match(found)
        if stamp is None:
            return None
        level, process, thread, connection, said = found.group(5, 6, 7, 8, 9)
        fields: Fields = {"timestamp": stamp, "level": level_named(level) or "INFO", "message": said}
        fields |= {"logger": "nginx.error", "process": int(process[:9]), "thread": thread}
        if connection:
            fields["connection"] = int(connection[:18])
        for name, quoted, bare in _NGINX_PART.findall(said):
            value = quoted or bare
            if name == "request":
                parts = _request(value)
                if parts is not None:
                    fields["method"], fields["path"] = parts[0], parts[1]
            else:
                fields[_ERROR_NAMES.get(name, name)] = value
        add_ids(fields, said)
        return fields


_ERROR_NAMES: Final = {"client": "client_ip", "host": "request_host", "referrer": "referer"}


_NOT_ACCESS: Final = ("kind", "message", "msg", "level", "severity", "levelname", "log")


def _read_json(line: bytes, times: Times, logger: str, *, alone: bool) -> Fields | None:
    try:
        content = orjson.loads(line)
    except orjson.JSONDecodeError:
        try:
            content = orjson.loads(line.decode("utf-8", "replace"))
        except orjson.JSONDecodeError:
            return None
    if not isinstance(content, dict) or not (alone or all(name not in content for name in _NOT_ACCESS)):
        return None
    if content.get("kind") == "access":
        return content
    return _json_access(content, times, logger)


def _apache_rest(fields: Fields, rest: str) -> None:
    """Take what stands before and behind the message of Apache's error log."""
    found = _APACHE_REST.match(rest)
    if found is None:
        return
    file, line, system, client, said = found.groups()
    if file:
        fields["module"], fields["line"] = file, int(line)
    if client:
        address = _PORT.match(client)
        fields["client_ip"] = address[1] if address and not address[1].endswith(":") else client
        said, separates, referer = (
            said.rpartition(_APACHE_REFERER) if _APACHE_REFERER in said else (said, "", "")
        )
        if separates:
            fields["referer"] = referer
    fields["message"] = f"{system} {said}" if system else said


class Apache:
    """Apache's access and error logs."""

    name = "apache"

    def __init__(self, times: Times, *, alone: bool = True) -> None:
        self._times = times
        self._alone = alone  # whether JSON can be nothing but its access log
        self._accesses = _Many(times, "apache.access")

    def read(self, line: bytes) -> Fields | None:
        """Return what a line says; None: Apache has not written it."""
        if line[:1] == b"{":
            return _read_json(line, self._times, "apache.access", alone=self._alone)
        text = line.decode("utf-8", "replace")
        return read_access(text, self._times, "apache.access") or self._error(text)

    def many(self, texts: Sequence[str], block: bytes) -> Sequence[Row | None]:
        """Return what usual access lines say."""
        return self._accesses.rows(texts, block)

    def _error(self, text: str) -> Fields | None:
        found = _APACHE_ERROR.match(text)
        if found is None:
            return None
        month, day, clock, fraction, year, module, level, process, thread, rest = found.groups()
        stamp = self._times.month(month, day, clock, fraction, year)
        if stamp is None:
            return None
        fields: Fields = {"timestamp": stamp, "level": level_named(level) or "INFO", "message": rest.strip()}
        fields["logger"] = f"apache.{module}" if module else "apache.error"
        if process:
            fields["process"] = int(process[:9])
        if thread:
            fields["thread"] = thread
        _apache_rest(fields, rest)
        code = _APACHE_CODE.search(rest)
        if code is not None:
            fields["error_code"] = code[1]
        add_ids(fields, rest)
        return fields
