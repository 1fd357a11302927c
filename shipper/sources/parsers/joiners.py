"""Which lines make one record, by format: what stands between a source's lines and its parser.

- Tracebacks and stacks: `core/multiline.py`. The rest is here: PostgreSQL's continuation and its DETAIL,
  HINT, STATEMENT; records of csvlog, by their quotes; MySQL's slow-query log; a user's pattern; and
  containers.
- Of containers the runtime's parts of a line are joined first (each stream by itself), then what the program
  wrote as several lines. The record is one line of the same format that holds them all.
- `auto` decides by the first line.
- A group is never more than `max_bytes` and `max_lines`, but for the line that it began with.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Final

import orjson

from ...core.lines import CutLine, size
from ...core.multiline import Group, Joiner, TracebackJoiner, joined
from .containers import CRI_LINE, DOCKER_START
from .mysql import MYSQL_ERROR
from .patterns import pattern_of
from .postgresql import CSV_START, PART, SEVERITY
from .setting import MultilineConfig, MultilineSetting, ParserSetting, parser_config

__all__ = ["joiner_of", "timeout_of"]

_LINES: Final = 10_000
_ALONE: Final = frozenset({"json", "logfmt", "nginx", "apache", "redis"})  # each line is a record
_PG_LINE: Final = re.compile(rb"[^\n]{0,512}?(?<![A-Z])" + SEVERITY.encode() + rb":  (?! )")
_CLOCK: Final = re.compile(rb"\d\d:\d\d:\d\d")
_SLOW_HEAD: Final = (b"# Time: ", b"# User@Host: ")
_SLOW_BEGUN: Final = b"started with:"
_SLOW_TITLE: Final = (b"Tcp port: ", b"Time\t", b"Time ")
_STREAMS: Final = 4


def timeout_of(multiline: MultilineSetting) -> float:
    """Return after how many seconds without more a record is complete."""
    return multiline.timeout if isinstance(multiline, MultilineConfig) else 1.0


def joiner_of(parser: ParserSetting, multiline: MultilineSetting, max_bytes: int) -> Joiner | None:
    """Return what joins the lines of one file; None: each line is a record."""
    name = parser_config(parser).format
    inner = _chosen(name, multiline, max_bytes)
    if name in {"docker", "cri"}:
        return ContainerJoiner(max_bytes, inner)
    return None if inner is None else inner()


def _chosen(  # noqa: PLR0911 - one line for each case
    name: str, multiline: MultilineSetting, max_bytes: int
) -> Callable[[], Joiner] | None:
    if multiline is None or multiline == "off":
        return None
    if isinstance(multiline, MultilineConfig):
        return lambda: PatternJoiner(multiline)
    if multiline != "auto":
        return lambda: TracebackJoiner(max_bytes, languages=frozenset({multiline}))
    if name in _ALONE:
        return None
    if name == "auto":
        return lambda: AutoJoiner(max_bytes)
    if name == "postgresql":
        return lambda: PostgresJoiner(max_bytes)
    if name == "mysql":
        return lambda: SlowJoiner(max_bytes)
    return lambda: TracebackJoiner(max_bytes)


class _Joiner:
    """Lines that belong together by a rule of the format's: `_continues`."""

    __slots__ = ("_group", "_lines", "_max", "_size", "_text")

    def __init__(self, max_bytes: int, max_lines: int = _LINES) -> None:
        self._max = max_bytes
        self._lines = max_lines
        self._group: list[bytes] = []
        self._size = 0
        self._text = 0

    @property
    def pending(self) -> int:
        """The bytes of lines that were fed and not given out."""
        return self._size

    def passes(self, lines: Sequence[bytes]) -> bool:
        """Whether `lines` are all records of their own, and nothing is held: never known here."""
        return not lines and not self._group

    def feed_all(self, lines: Sequence[bytes]) -> list[Group]:
        """Return what feeding each of `lines` gives."""
        return [group for line in lines for group in self.feed(line)]

    def feed(self, line: bytes) -> list[Group]:
        """Return the groups that `line` shows to be complete."""
        done: list[Group] = []
        if self._group and (
            self._text + len(line) > self._max or len(self._group) >= self._lines or not self._continues(line)
        ):
            done = self.flush()
        self._group.append(line)
        self._size += size(line)
        self._text += len(line) + 1
        return done

    def flush(self) -> list[Group]:
        """Give out the group at hand, complete or not."""
        if not self._group:
            return []
        done = [(joined(self._group), self._size)]
        self._group, self._size, self._text = [], 0, 0
        return done

    def continues(self, line: bytes) -> bool:
        """Whether `line` would go on with what is held."""
        return bool(self._group) and self._continues(line)

    def _continues(self, line: bytes) -> bool:
        raise NotImplementedError


class PatternJoiner(_Joiner):
    """By an expression that the user wrote."""

    __slots__ = ("_found", "_starts")

    def __init__(self, config: MultilineConfig) -> None:
        super().__init__(config.max_bytes, config.max_lines)
        self._starts = config.start is not None
        self._found = pattern_of(config.start or config.continuation or "", "multiline").search

    def _continues(self, line: bytes) -> bool:
        return (self._found(line) is None) is self._starts


class PostgresJoiner(_Joiner):
    """stderr: what is indented with a tab, and DETAIL and the like. csvlog: up to the end of its quotes."""

    __slots__ = ("_open",)

    def __init__(self, max_bytes: int, max_lines: int = _LINES) -> None:
        super().__init__(max_bytes, max_lines)
        self._open = False

    def feed(self, line: bytes) -> list[Group]:
        """Return the groups that `line` shows to be complete."""
        done = super().feed(line)
        if len(self._group) == 1:
            self._open = False
            if not CSV_START.match(line):
                return done
        if b'"' in line and CSV_START.match(self._group[0]) and line.count(b'"') % 2:
            self._open = not self._open
        if not self._open and CSV_START.match(self._group[0]):
            return done + self.flush()  # it has its end
        return done

    def _continues(self, line: bytes) -> bool:
        if self._open or line[:1] == b"\t":
            return True
        return PART.search(line, 0, 640) is not None and _PG_LINE.match(self._group[0]) is not None


class SlowJoiner(_Joiner):
    """MySQL's slow-query log: from its comments to the next. Its error log: from a time to the next."""

    __slots__ = ("_said", "_slow")

    def __init__(self, max_bytes: int, max_lines: int = _LINES) -> None:
        super().__init__(max_bytes, max_lines)
        self._slow = self._said = False

    def _continues(self, line: bytes) -> bool:
        first = self._group[0]
        if len(self._group) == 1:
            self._slow = first.startswith(b"# ")
            self._said = False
        if not self._slow:
            if first.rstrip().endswith(_SLOW_BEGUN):
                return line.startswith(_SLOW_TITLE)
            if MYSQL_ERROR.match(first):
                return not MYSQL_ERROR.match(line) and not line.startswith(_SLOW_HEAD)
            return line[:1] in {b" ", b"\t"}
        if not line.startswith(b"# "):
            self._said = True
            return not line.rstrip().endswith(_SLOW_BEGUN)
        # the time stands before the user, and only where it is another than that of the record before
        return not (self._said and line.startswith(_SLOW_HEAD))


Wrap = Callable[[bytes], bytes]


@dataclass(slots=True)
class _Said:
    """One line of a program's: of which lines of the file it is made, and how to write it again."""

    size: int
    first: int
    last: int
    raw: bytes | None  # the line as it stands, where it is one
    wrap: Wrap


@dataclass(slots=True)
class _Stream:
    """What is held of one stream: parts of a line, and the lines of a record."""

    joiner: Joiner | None
    partial: bytes = b""
    begun: _Said | None = None
    lines: deque[_Said] = field(default_factory=deque)

    @property
    def first(self) -> int | None:
        """The number of the first line that is held."""
        if self.lines:
            return self.lines[0].first
        return None if self.begun is None else self.begun.first


class ContainerJoiner:
    """Docker's and the CRI's lines: the parts of a line, then the lines of a record, each stream by itself.

    Records are given out in the order of their first lines, and none before all lines up to its last one are
    in records that are complete: a position in the file is never behind a line that is still held.
    """

    __slots__ = ("_done", "_inner", "_max", "_next", "_sizes", "_streams", "_total")

    def __init__(self, max_bytes: int, inner: Callable[[], Joiner] | None = None) -> None:
        self._max = max_bytes
        self._inner = inner
        self._streams: dict[bytes, _Stream] = {}
        self._done: list[tuple[int, int, bytes]] = []  # first line, last line, record
        self._sizes: deque[int] = deque()  # of the lines that were not given out
        self._next = 0  # the number of the first of them
        self._total = 0

    @property
    def pending(self) -> int:
        """The bytes of lines that were fed and not given out."""
        return self._total

    def passes(self, lines: Sequence[bytes]) -> bool:
        """Whether `lines` are all records of their own, and nothing is held: never known here."""
        return not lines and not self._total

    def feed_all(self, lines: Sequence[bytes]) -> list[Group]:
        """Return what feeding each of `lines` gives."""
        return [group for line in lines for group in self.feed(line)]

    def feed(self, line: bytes) -> list[Group]:
        """Return the groups that `line` shows to be complete."""
        number = self._next + len(self._sizes)
        took = size(line)
        self._sizes.append(took)
        self._total += took
        part = None if type(line) is CutLine else _part(line)
        stream = None if part is None else self._stream(part[0])
        if part is None or stream is None:
            self._done.append((number, number, line))
        else:
            self._take(stream, line, part, number)
        if self._total > 2 * self._max:
            return self.flush()
        return self._given()

    def flush(self) -> list[Group]:
        """Give out what is at hand, complete or not."""
        for stream in self._streams.values():
            if stream.begun is not None:
                self._line(stream, stream.begun, stream.partial)
            if stream.joiner is not None:
                self._records(stream, stream.joiner.flush())
        return self._given()

    def continues(self, line: bytes) -> bool:
        """Whether `line` would go on with what is held of its stream, or a line is held in parts."""
        if any(stream.begun is not None for stream in self._streams.values()):
            return True  # the rest of that line may stand behind lines of the other stream
        part = None if type(line) is CutLine else _part(line)
        stream = None if part is None else self._streams.get(part[0])
        if part is None or stream is None:
            return False
        return stream.joiner is not None and stream.joiner.continues(part[1])

    def _stream(self, name: bytes) -> _Stream | None:
        stream = self._streams.get(name)
        if stream is None and len(self._streams) < _STREAMS:
            joiner = None if self._inner is None else self._inner()
            stream = self._streams[name] = _Stream(joiner)
        return stream

    def _take(self, stream: _Stream, line: bytes, part: tuple[bytes, bytes, bool, Wrap], number: int) -> None:
        _, text, whole, wrap = part
        begun = stream.begun
        if begun is None:
            said = _Said(0, number, number, line, wrap)
        else:
            said = begun
            said.last, said.raw = number, None
            text = stream.partial + text
        if whole or len(text) >= self._max:
            self._line(stream, said, text)
        else:
            stream.begun, stream.partial = said, text

    def _line(self, stream: _Stream, said: _Said, text: bytes) -> None:
        """Take a whole line of the program's."""
        stream.begun, stream.partial = None, b""
        if stream.joiner is None:
            self._done.append((said.first, said.last, said.wrap(text) if said.raw is None else said.raw))
            return
        said.size = size(text)
        stream.lines.append(said)
        self._records(stream, stream.joiner.feed(text))

    def _records(self, stream: _Stream, groups: Sequence[Group]) -> None:
        """Note records of the program's; their sizes tell of which lines they are."""
        for text, took in groups:
            first = stream.lines[0]
            last = first
            raw = first.raw
            left = took
            while left > 0:
                last = stream.lines.popleft()
                left -= last.size
            whole = raw if last is first else None
            self._done.append((first.first, last.last, first.wrap(text) if whole is None else whole))

    def _given(self) -> list[Group]:
        """Give out the records of which nothing that stands before their ends is held."""
        if not self._done:
            return []
        held = [first for stream in self._streams.values() if (first := stream.first) is not None]
        bound = min(held, default=self._next + len(self._sizes))
        self._done.sort(key=itemgetter(0))
        for first, last, _ in reversed(self._done):
            if first < bound <= last:
                bound = first
        ready = [one for one in self._done if one[1] < bound]
        if not ready:
            return []
        self._done = [one for one in self._done if one[1] >= bound]
        groups: list[Group] = []
        behind = 0
        for place, (_, last, record) in enumerate(ready):
            behind = max(behind, last)
            together = place + 1 < len(ready) and ready[place + 1][0] <= behind
            groups.append((record, 0 if together else self._passed(behind)))
        return groups

    def _passed(self, last: int) -> int:
        """Count the lines up to `last` as given out; return their bytes."""
        took = 0
        while self._next <= last:
            took += self._sizes.popleft()
            self._next += 1
        self._total -= took
        return took


def _part(line: bytes) -> tuple[bytes, bytes, bool, Wrap] | None:
    """Return a line's stream, what the program wrote, whether that ends here, and how to write it again."""
    if line[:1] == b"{":
        return _docker_part(line)
    found = CRI_LINE.match(line)
    if found is None:
        return None
    head = found[1] + b" " + found[2] + b" F "
    return found[2], line[found.end() :], found[3] == b"F", lambda text: head + text


def _docker_part(line: bytes) -> tuple[bytes, bytes, bool, Wrap] | None:
    try:
        content: Any = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(content, dict) or not isinstance(content.get("log"), str):
        return None
    said: str = content["log"]

    def wrap(text: bytes) -> bytes:
        return orjson.dumps({**content, "log": text.decode("utf-8", "replace") + "\n"})

    whole = said.endswith("\n")
    stream = content.get("stream")
    name = stream.encode("utf-8", "replace") if isinstance(stream, str) else b""
    return name, (said[:-1] if whole else said).encode("utf-8", "replace"), whole, wrap


class AutoJoiner:
    """Decides by the first line that is not blank; most files are of records with tracebacks or stacks."""

    __slots__ = ("_joiner", "_max")

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._joiner: Joiner | None = None

    @property
    def pending(self) -> int:
        """The bytes of lines that were fed and not given out."""
        return 0 if self._joiner is None else self._joiner.pending

    def passes(self, lines: Sequence[bytes]) -> bool:
        """Whether `lines` are all records of their own, and nothing is held."""
        if self._joiner is None:
            if not lines or not lines[0].strip(b" \t\r"):
                return False
            self._decide(lines[0])
        assert self._joiner is not None
        return self._joiner.passes(lines)

    def feed_all(self, lines: Sequence[bytes]) -> list[Group]:
        """Return what feeding each of `lines` gives."""
        at = 0
        while self._joiner is None and at < len(lines):
            if lines[at].strip(b" \t\r"):
                self._decide(lines[at])
                break
            at += 1  # a blank line before anything
        before = [(line, size(line)) for line in lines[:at]]
        return before if self._joiner is None else before + self._joiner.feed_all(lines[at:])

    def feed(self, line: bytes) -> list[Group]:
        """Return the groups that `line` shows to be complete."""
        return self.feed_all((line,))

    def continues(self, line: bytes) -> bool:
        """Whether `line` would go on with what is held."""
        return self._joiner is not None and self._joiner.continues(line)

    def flush(self) -> list[Group]:
        """Give out the group at hand, complete or not."""
        return [] if self._joiner is None else self._joiner.flush()

    def _decide(self, first: bytes) -> None:
        line = _PG_LINE.match(first)  # without a time before it, it is uvicorn's
        if CSV_START.match(first) or (line is not None and _CLOCK.search(line[0])):
            self._joiner = PostgresJoiner(self._max)
        elif first.startswith(_SLOW_HEAD) or first.rstrip().endswith(_SLOW_BEGUN) or MYSQL_ERROR.match(first):
            self._joiner = SlowJoiner(self._max)
        elif (first.startswith(DOCKER_START) and b'"stream":"' in first) or CRI_LINE.match(first):
            self._joiner = ContainerJoiner(self._max, lambda: TracebackJoiner(self._max))
        else:
            self._joiner = TracebackJoiner(self._max)
