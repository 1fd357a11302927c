r"""Joining the lines of one record: message, indented continuation, traceback or stack with its causes.

A state machine over lines, chunking-invariant like the splitter before it. A group is `(lines, size)`: the
lines joined with `\n`, and the bytes that they took in the file. Rules:

- An indented line belongs to the group before it, and so does `Traceback (most recent call last):`.
- Inside a traceback indented lines go on; the first that is not indented is the exception's. What follows it
  belongs to it (notes, messages of several lines) only where the group begins like a record (with a time or
  a level) and the line does not. `During handling of …` and `The above exception …` (after blank lines) open
  the next one.
- Java: `Caused by:`, `Suppressed:`, `... 5 more`, and the name of a class behind the line of a record (also
  after one blank line, as Spring Boot has it). What follows such a line up to the frames is the error's
  message, unless it is a record.
- Go: `panic:`, `fatal error:` and `goroutine 1 [running]:` open a group that holds blank lines, functions and
  places. Node: a place in a script opens one that holds the source, and behind the mark below it all that is
  no record, to Node's version.
- A line that begins with `{` is a record of its own, and complete when it ends with `}`. A group beyond
  `max_bytes` or `max_lines` is given out, and the next line begins another.
- Nobody can see from another group's last line that it is complete: `flush` when nothing came for a while.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Protocol, TypeAlias

from .ended import are_braced
from .lines import CutLine, size

__all__ = ["LANGUAGES", "Group", "Joiner", "TracebackJoiner", "joined"]

Group: TypeAlias = tuple[bytes, int]

LANGUAGES: Final = frozenset({"python", "java", "go", "node"})
_HEAD: Final = b"Traceback (most recent call last):"
_GROUP_HEAD: Final = b"+ Exception Group Traceback (most recent call last):"
_CHAINS: Final = (
    b"During handling of the above exception, another exception occurred:",
    b"The above exception was the direct cause of the following exception:",
)
_JAVA_SAYS: Final = (b"Caused by: ", b"Suppressed: ", b"[CIRCULAR REFERENCE")
_JAVA: Final = (*_JAVA_SAYS, b"... ")
_JAVA_FRAME: Final = (b"at ", b"... ")
_UNCAUGHT: Final = b'Exception in thread "'
_THROWN: Final = re.compile(
    rb"(?:[a-z_][A-Za-z0-9_$]{0,127}\.){1,16}[A-Z][A-Za-z0-9_$]{0,127}(?::[^\n]*)?\r?\Z"
)
_JUL: Final = re.compile(rb"[A-Z][a-z][a-z] \d{1,2}, \d{4}[^\n]{1,20}[AP]M ")
_JUL_LEVEL: Final = (b"SEVERE:", b"WARNING:", b"INFO:", b"CONFIG:", b"FINE:", b"FINER:", b"FINEST:")
_GO: Final = (b"panic: ", b"fatal error: ", b"SIGQUIT: quit", b"unexpected fault address ")
_GO_DUMP: Final = re.compile(rb"goroutine \d{1,19} \[")
_GO_LINE: Final = re.compile(
    rb"goroutine \d|panic: |created by |\[signal |exit status \d|runtime: |\.\.\.additional frames|"
    rb"[^\s(]{1,512}\([^\n]*\)\r?\Z|r[a-z0-9]{1,7} {1,8}0x"
)
_NODE: Final = re.compile(
    rb"(?:file://|node:)?[^\s:]{1,512}\.[cm]?[jt]s:\d{1,9}\r?\Z|node:[a-z/_]{1,128}:\d{1,9}\r?\Z"
)
_NODE_LINE: Final = re.compile(
    rb"(?:Uncaught )?[A-Za-z_$][A-Za-z0-9_$.]{0,127}(?:Error|Exception)\b|Node\.js v\d|\^"
)
_NODE_END: Final = b"Node.js v"
_CLOSES: Final = frozenset({b"}", b"]", b"})", b"},", b"];", b"};", b"])"})
_RECORD: Final = re.compile(
    rb"(?:\x1b\[[0-9;]{0,16}m){0,4}[\[<(]?(?:\d{4}-\d\d-\d\d|\d\d/[A-Z][a-z][a-z]/\d{4}|\d{4}/\d\d/\d\d|\d\d:\d\d:\d\d|<?\d{1,3}>|"
    rb"[A-Z][a-z][a-z] [ \d]\d[ ,]|"
    rb"(?:TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|CRITICAL|FATAL)\b|Exception in thread \"|"
    # an access line; what Django says of a request
    rb"[0-9A-Za-z:.\]-]{1,64} (?:[^ ]{1,64} [^ ]{1,64} \[\d\d/[A-Z][a-z][a-z]/\d{4}|- \"[A-Z]{1,16} )|"
    rb"(?:Bad Request|Unauthorized|Forbidden|Not Found|Method Not Allowed|Gone|Internal Server Error|"
    rb"Service Unavailable)(?: \([^)\n]{1,128}\))?: /)"
)
_PLAIN, _INSIDE, _BEHIND, _CHAINED, _SAYING, _PANIC, _SCRIPT, _REPORT = range(8)
_ANY: Final = frozenset({_SAYING, _REPORT})  # inside of a text that may have any lines
_OPENS: Final = b"TpfgSu/E"  # first bytes of what may begin a stack
# First bytes of lines that neither continue anything nor open a stack, where nothing is open; and the
# beginnings of those that may.
_QUICK: Final = frozenset(b"%c" % byte for byte in b"{[<0123456789")
_SPECIAL: Final = re.compile(
    rb"[ \t\r}\])/]|\Z|Traceback |panic: |fatal error: |goroutine |SIGQUIT|unexpected fault|"
    rb"Caused by: |Suppressed: |\.\.\. |Exception in thread |"
    rb"(?:SEVERE|WARNING|INFO|CONFIG|FINE|FINER|FINEST):|(?:file|node):|"
    rb"(?:[a-z_][A-Za-z0-9_$]{0,127}\.){1,16}[A-Z]|[^\s:]{1,512}\.[cm]?[jt]s:\d"
)
_LONG: Final = 10_000


class Joiner(Protocol):
    """What makes records of lines."""

    @property
    def pending(self) -> int:
        """The bytes of lines that were fed and not given out."""
        ...

    def feed(self, line: bytes) -> list[Group]:
        """Return the groups that `line` shows to be complete."""
        ...

    def feed_all(self, lines: Sequence[bytes]) -> list[Group]:
        """Return what feeding each of `lines` gives."""
        ...

    def passes(self, lines: Sequence[bytes]) -> bool:
        """Whether they need not be fed: each begins with a brace and ends with one, and nothing is held."""
        ...

    def continues(self, line: bytes) -> bool:
        """Whether `line` would go on with what is held; nothing is held: False."""
        ...

    def flush(self) -> list[Group]:
        """Give out the group at hand, complete or not."""
        ...


def joined(lines: Sequence[bytes]) -> bytes:
    r"""Return lines joined by `\n`; a single one as it is."""
    return lines[0] if len(lines) == 1 else b"\n".join([line.rstrip(b"\r") for line in lines])


class TracebackJoiner:
    """Joins lines into records; `feed` gives out what has become complete."""

    __slots__ = (
        "_blank",
        "_go",
        "_group",
        "_java",
        "_lines",
        "_max",
        "_node",
        "_python",
        "_size",
        "_state",
        "_text",
    )

    def __init__(self, max_bytes: int, max_lines: int = _LONG, languages: frozenset[str] = LANGUAGES) -> None:
        self._max = max_bytes
        self._lines = max_lines
        self._python = "python" in languages
        self._java = "java" in languages
        self._go = "go" in languages
        self._node = "node" in languages
        self._group: list[bytes] = []
        self._blank: list[bytes] = []
        self._state = _PLAIN
        self._size = 0
        self._text = 0

    @property
    def pending(self) -> int:
        """The bytes of lines that were fed and not given out."""
        return self._size

    def passes(self, lines: Sequence[bytes]) -> bool:
        """Whether all are JSON objects, and nothing is held."""
        return not self._group and are_braced(lines)

    def feed_all(self, lines: Sequence[bytes]) -> list[Group]:
        """Return what feeding each of `lines` gives."""
        done: list[Group] = []
        at, end = 0, len(lines)
        while at < end:
            if self._state == _PLAIN and not self._blank and at + 2 < end:
                stop = self._quick(lines, at)
                if stop > at:
                    done += self.flush()
                    part = lines[at:stop]
                    cut = CutLine in set(map(type, part))
                    done += [(line, size(line) if cut else len(line) + 1) for line in part]
                    at = stop
            done += self.feed(lines[at])
            at += 1
        return done

    def continues(self, line: bytes) -> bool:
        """Whether `line` would go on with what is held."""
        return bool(self._group) and (not line.strip(b" \t\r") or self._next_state(line) is not None)

    @staticmethod
    def _quick(lines: Sequence[bytes], at: int) -> int:
        """Return the place up to which lines from `at` on are surely records of their own."""
        special = _SPECIAL.match
        for place in range(at, len(lines)):
            line = lines[place]
            if line[:1] not in _QUICK and special(line) is not None:
                return max(at, place - 1)  # the one before may go on in this one
        return len(lines) - 1

    def feed(self, line: bytes) -> list[Group]:
        """Return the groups that `line` shows to be complete."""
        if self._group and not line.strip(b" \t\r"):
            self._blank.append(line)  # belongs to the group only if the traceback's next part follows
            self._size += size(line)
            return []
        state = self._next_state(line)
        many = len(self._group) + len(self._blank) >= self._lines
        if state is None or many or self._text + len(line) > self._max:
            done = self.flush()
            if line[:1] == b"{" and line.rstrip(b"\r")[-1:] == b"}":
                return [*done, (line, size(line))]
            self._state = self._opened(line)
        else:
            done = []
            self._group += self._blank
            self._blank.clear()
            self._state = state
        self._group.append(line)
        self._size += size(line)
        self._text += len(line) + 1
        return done

    def flush(self) -> list[Group]:
        """Give out the group at hand, complete or not."""
        if not self._group:
            return []
        done = [(joined(self._group), self._size)]
        self._group, self._blank = [], []
        self._state, self._size, self._text = _PLAIN, 0, 0
        return done

    def _opened(self, line: bytes) -> int:
        """Return the state after a line that begins a group."""
        if line[:1] not in _OPENS and line[:1] not in {b" ", b"n"}:
            return _PLAIN
        if self._opens(line):
            return _INSIDE if line.startswith(_HEAD) else _BEHIND
        if self._go and (line.startswith(_GO) or _GO_DUMP.match(line)):
            return _PANIC
        if self._node and _NODE.match(line):
            return _SCRIPT
        return _SAYING if self._java and line.startswith(_UNCAUGHT) else _PLAIN

    def _opens(self, line: bytes) -> bool:
        return self._python and (line.startswith(_HEAD) or line.lstrip().startswith(_GROUP_HEAD))

    def _next_state(self, line: bytes) -> int | None:  # noqa: PLR0911 - one for each rule
        """Return the state after `line` as part of the group; None: it begins another."""
        state = self._state
        if not self._group or (line.startswith(b"{") and (state not in _ANY or line.startswith(b'{"'))):
            return None
        indented = line[:1] in {b" ", b"\t"}
        if state >= _PANIC:
            return self._goes_on(line, state, indented=indented)
        if self._opens(line):
            inside = _INSIDE if line.startswith(_HEAD) else _BEHIND
            return None if self._blank and state != _CHAINED else inside
        if state == _BEHIND and line.startswith(_CHAINS):
            return _CHAINED
        if state == _INSIDE:  # loguru marks the place where it was caught
            return _INSIDE if indented or line.startswith(b"> File ") else _BEHIND
        if indented:
            return None if self._blank and state != _SAYING else self._indented(line, state)
        if self._blank and state != _SAYING and not (self._go and _GO_DUMP.match(line)):
            alone = (
                len(self._group) == len(self._blank) == 1
            )  # Spring Boot's stacks stand behind a blank line
            if not alone or not self._java or not _THROWN.match(line):
                return None
        return self._others(line, state)

    def _indented(self, line: bytes, state: int) -> int:
        """Return the state after an indented line where no traceback is open."""
        if not self._java:
            return state
        inner = line.lstrip(b" \t")
        if inner.startswith(_JAVA_SAYS):
            return _SAYING
        return _PLAIN if state == _SAYING and inner.startswith(_JAVA_FRAME) else state

    def _goes_on(self, line: bytes, state: int, *, indented: bool) -> int | None:
        """Return the state inside of a panic or of a script's error."""
        if state == _REPORT:
            return _PLAIN if line.startswith(_NODE_END) else None if _RECORD.match(line) else state
        if indented:
            return _REPORT if state == _SCRIPT and not line.strip(b" \t\r^") and b"^" in line else state
        if state == _PANIC:
            return state if _GO_LINE.match(line) else None
        # the source's line, which may be anything, follows its place
        if len(self._group) == 1 and not self._blank:
            return state
        return state if _NODE_LINE.match(line) or line.strip() in _CLOSES else None

    def _others(self, line: bytes, state: int) -> int | None:  # noqa: PLR0911 - one for each rule
        """Return the state after a line that is not indented, where no traceback is open."""
        if line.strip() in _CLOSES:
            return state if len(self._group) > 1 else None
        first = self._group[0]
        if state == _BEHIND:
            return state if _RECORD.match(first) and not _RECORD.match(line) else None
        if self._go and _GO_DUMP.match(line):
            return _PANIC if _RECORD.match(first) else None
        if self._java:
            if line.startswith(_JAVA) and len(self._group) > 1:
                return _SAYING if line.startswith(_JAVA_SAYS) else _PLAIN
            if state == _SAYING:
                return None if _RECORD.match(line) else state
            if _THROWN.match(line) and _RECORD.match(first):
                return _SAYING
            if line.startswith(_JUL_LEVEL) and len(self._group) == 1 and _JUL.match(first):
                return state
        return None
