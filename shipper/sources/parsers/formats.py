"""The parsers by name, and what becomes of a line in the end: always an entry, whatever it is.

`Reader.line` gives for every line one line of JSON in the words of events: what its parser says of it, or,
where the parser does not know it, the whole text as the message with `parse_error`, counted. Time, level, ids
and a traceback are looked for in such a text too. Where the format was found, not configured, such a line
goes on as it is: as JSON or text. A blank line gives a blank one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import orjson

from ....handlers.clock import stamp
from ...core.dialects import DIALECTS, usual_words
from ...core.lines import CutLine
from ...core.parse import is_node, level_of, parse_text
from ...core.stacks import split_stack
from .auto import Guess
from .containers import Cri, Docker
from .custom import Custom
from .go import Go
from .jvm import Jvm
from .many import ManyLines, lines_of
from .model import Fields, LineParser
from .mysql import Mysql
from .node import Node
from .postgresql import Postgresql
from .programs import Klog, Logfmt, Redis
from .python import Python
from .setting import ParserConfig
from .syslog import Syslog
from .times import Times, zone_of
from .web import Apache, Nginx

__all__ = ["Reader", "formats_of", "parser_of"]

_MANY: Final = 4  # lines: fewer are understood one by one


def formats_of(times: Times, *, containers: bool = True) -> list[LineParser]:
    """Return the formats that `auto` knows, in the order in which they are tried."""
    inner: list[LineParser] = [
        Postgresql(times),
        Mysql(times),
        Redis(times),
        Klog(times),
        Nginx(times, alone=False),
        Apache(times, alone=False),
        Syslog(times),
        Jvm(times, alone=False),
        Go(times, alone=False),
        Python(times),
        Node(times, alone=False),
        Logfmt(times),
    ]
    if not containers:
        return inner
    within = _inner(times)
    return [Cri(times, within), Docker(times, within), *inner]


def _inner(times: Times) -> Callable[[bytes], Fields]:
    """Return what understands the lines of programs in containers."""
    formats = formats_of(times, containers=False)

    def read(said: bytes) -> Fields:
        body = said.lstrip()
        if body[:1] == b"{":
            try:
                content = orjson.loads(body)
            except orjson.JSONDecodeError:
                content = None
            if isinstance(content, dict):
                return _timed(content, times)
        for one in formats:
            fields = one.read(said)
            if fields is not None:
                return fields
        return text_fields(said, times)

    return read


def _timed(content: dict[str, Any], times: Times) -> dict[str, Any]:
    """Give the time of a JSON line the name and form that events have, and a level by number its name."""
    if not DIALECTS.isdisjoint(content):
        usual_words(content)
    level = content.get("level")
    if isinstance(level, int | float) and (named := level_of(level, is_node(content))) is not None:
        content["level"] = named
    for name in ("timestamp", "@timestamp", "time", "ts", "asctime"):
        value = content.get(name)
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            stamp = times.any(str(value))
            if stamp is not None:
                del content[name]
                return {"timestamp": stamp} | content
    return content


def text_fields(line: bytes, times: Times) -> Fields:
    """Return what can be said of a line of no format: its text, and what stands in it."""
    parsed = parse_text(line, times.local)
    fields: Fields = {"level": parsed.level, "message": parsed.message}
    if parsed.timestamp is not None:
        fields["timestamp"] = stamp(parsed.timestamp)
    if parsed.error:
        fields["error"] = parsed.error
    for name in ("trace_id", "span_id"):
        if getattr(parsed, name):
            fields[name] = getattr(parsed, name)
    return fields | parsed.fields


def parser_of(config: ParserConfig, times: Times | None = None) -> LineParser | None:
    """Return the parser of a configuration; None for those that need none (auto, json, text)."""
    times = times or Times(zone_of(config.timezone))
    name = config.format
    if name == "postgresql":
        return Postgresql(times, config.log_line_prefix)
    if name == "regex":
        return Custom(times, config.pattern or "")
    if name in {"docker", "cri"}:
        within = _inner(times)
        return Docker(times, within) if name == "docker" else Cri(times, within)
    made: dict[str, Callable[[Times], LineParser]] = {
        "logfmt": Logfmt,
        "python": Python,
        "jvm": Jvm,
        "go": Go,
        "node": Node,
        "nginx": Nginx,
        "apache": Apache,
        "mysql": Mysql,
        "redis": Redis,
        "syslog": Syslog,
        "klog": Klog,
    }
    return made[name](times) if name in made else None


class Reader:
    """Understands the lines of one file (or sender) and counts those that it did not."""

    __slots__ = ("_found", "_guess", "_parser", "_times", "unparsed")

    def __init__(self, config: ParserConfig) -> None:
        self._times = Times(zone_of(config.timezone))
        self._parser = parser_of(config, self._times)
        self._guess = Guess(formats_of(self._times)) if config.format == "auto" else None
        self._found = config.format == "auto"
        self.unparsed = 0

    def is_deciding(self) -> bool:
        """Whether it is not decided yet what the lines are: then `first` takes them."""
        return self._guess is not None

    @property
    def name(self) -> str:
        """The format that was configured or found; empty: none in particular."""
        return "" if self._parser is None else self._parser.name

    def understood(self, line: bytes) -> bytes:
        """Return a line as JSON in the words of events where a format takes it, else as it is."""
        if self._guess is not None:
            return self.first(line) or line
        return line if self._parser is None else self.line(line)

    def first(self, line: bytes) -> bytes | None:
        """Return one of a file's first lines as `line` does; None: it is JSON, or text of no format."""
        guess = self._guess
        if guess is None:
            return None
        body = line.rstrip(b"\r\n \t")
        fields = guess.see(body) if body else None
        if guess.decided:
            self._parser, self._guess = guess.found, None
        return None if fields is None else _dumped(fields, line)

    def lines(self, lines: Sequence[bytes]) -> list[bytes]:
        """Return many lines as `line` does each of them."""
        parser: object = self._parser
        if len(lines) >= _MANY and isinstance(parser, ManyLines):
            return lines_of(parser, lines, self.line)
        return [self.line(line) for line in lines]

    def line(self, line: bytes) -> bytes:
        """Return a line as JSON in the words of events, whatever it is."""
        body = line.rstrip(b"\r\n \t")
        if not body:
            return b""
        fields = None if self._parser is None else self._parser.read(body)
        if fields is None:
            self.unparsed += 1
            if self._found:
                return line  # other lines of its program's: JSON, or text
            fields = text_fields(body, self._times)
            if self._parser is not None:
                fields["parse_error"] = f"not {self._parser.name}"
        return _dumped(fields, line)


def _dumped(fields: Fields, line: bytes) -> bytes:
    message = fields.get("message")
    if type(message) is str and "\n" in message and "error" not in fields:
        rest, error = split_stack(message)
        if error:
            fields["message"], fields["error"] = rest, error
            if fields.get("level", "INFO") == "INFO" and not rest:
                fields["level"] = "ERROR"
    if type(line) is CutLine:
        fields["line_cut_bytes"] = line.lost
    try:
        return orjson.dumps(fields)
    except (orjson.JSONEncodeError, RecursionError):  # a lone surrogate out of somebody's JSON
        return orjson.dumps({"message": line.decode("utf-8", "replace"), "parse_error": "not encodable"})
