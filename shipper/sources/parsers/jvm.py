"""What programs on a JVM write: the default patterns of their loggers.

These are Logback's, Log4j's, Spring Boot's, java.util.logging's, and those of Kafka and Elasticsearch. The
stack behind a message is the event's error (`core/stacks.py`).
"""

from __future__ import annotations

import re
from typing import Final

from ...core.ids import add_ids
from .levels import level_named
from .model import Fields
from .times import ISO_TIME, Times

__all__ = ["JUL_HEAD", "Jvm"]

_LEVEL: Final = r"(TRACE|DEBUG|INFO|WARN|WARNING|ERROR|FATAL|SEVERE|CONFIG|FINE|FINER|FINEST)"
_CLASS: Final = r"([A-Za-z_$][A-Za-z0-9_$.\[\]/]{0,255})"
_WHEN: Final = r"(?:" + ISO_TIME + r"|(\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?)"
# time [thread] LEVEL logger - message; time LEVEL [thread] logger: message. What Logback 1.5 knows by name
# stands between the dashes: logger -order="7"- message, logger -- message.
_MARK: Final = r"(?: +-(?:([^\s\"=]{1,128}=\"[^\n]{0,8192}?\")?-)?|:)"
_SAID: Final = r"(?:\s(.*))?\Z"
_PAIR: Final = re.compile(r'([^\s"=]{1,128})="([^"\n]*)"')
_THREAD_FIRST: Final = re.compile(
    _WHEN + r" +\[([^\]\n]{0,255})\] +" + _LEVEL + r" +" + _CLASS + r"(?::(\d{1,6}))?" + _MARK + _SAID,
    re.ASCII | re.DOTALL,
)
_LEVEL_FIRST: Final = re.compile(
    _WHEN
    + r",? +"
    + _LEVEL
    + r" +(?:\[([^\]\n]{0,255})\] +|(?=[^\[]))"
    + _CLASS
    + r"(?::(\d{1,6}))?(?:"
    + _MARK
    + r"| :)"
    + _SAID,
    re.ASCII | re.DOTALL,
)
_SPRING: Final = re.compile(
    ISO_TIME + r" +" + _LEVEL + r" +(?:\[([^\]\n]{0,255})\] +)?(\d{1,9}) --- ((?:\[[^\]\n]{0,255}\] +){1,4})"
    r"(\S{1,255}) +:" + _SAID,
    re.ASCII | re.DOTALL,
)
# What Log4j says of itself, and of others as long as nobody has told it how: time thread LEVEL message.
_BARE: Final = re.compile(ISO_TIME + r" ([^\n]{1,128}?) " + _LEVEL + r" (.*)\Z", re.ASCII | re.DOTALL)
_UNCAUGHT: Final = re.compile(r'Exception in thread "([^"\n]{0,255})" (.*)\Z', re.DOTALL)
_KAFKA: Final = re.compile(
    r"\[" + ISO_TIME + r"\] " + _LEVEL + r" (?:\[([^\]\n]{0,255})\]:? )?(.*)\Z", re.ASCII | re.DOTALL
)
_KAFKA_END: Final = re.compile(r" \(([A-Za-z0-9_.$]{3,255})\)\Z")
_ELASTIC: Final = re.compile(
    r"\[" + ISO_TIME + r"\]\[" + _LEVEL + r" *\]\[([^\]\n]{1,255})\] (?:\[([^\]\n]{1,255})\] ?)?(.*)\Z",
    re.ASCII | re.DOTALL,
)
JUL_HEAD: Final = re.compile(
    rb"([A-Z][a-z][a-z]) (\d{1,2}), (\d{4})(?: at)? (\d{1,2}):(\d\d:\d\d)[ \xe2\x80\xaf]{1,3}([AP]M)"
    rb" ([^\s]{1,255})(?: ([^\s]{1,255}))?\Z"
)
_JUL_SAID: Final = re.compile(_LEVEL + r": (.*)\Z", re.DOTALL)
_PARTS: Final = re.compile(r"\[([^\]\n]{0,255})\]")
_SLEUTH: Final = re.compile(r"[A-Za-z0-9._-]{0,64},([0-9a-f]{32})?,")


class Jvm:
    """Lines of programs on a JVM."""

    name = "jvm"

    def __init__(self, times: Times, *, alone: bool = True) -> None:
        self._times = times
        self._alone = alone  # whether a line of which only the thread is missing is a JVM's, not Python's

    def read(self, line: bytes) -> Fields | None:
        """Return what a line, or a joined record, says; None: it has no pattern that is known here."""
        if line[:1].isalpha():
            return self._jul(line) or _uncaught(line)
        text = line.decode("utf-8", "replace")
        if text[:1] == "[":
            return self._elastic(text) or self._kafka(text)
        return self._spring(text) or self._thread_first(text) or self._level_first(text) or self._bare(text)

    def _when(self, found: re.Match[str]) -> str | None:
        if found[5]:
            return self._times.clock(found[5], found[6])
        return self._times.match(found)

    def _thread_first(self, text: str) -> Fields | None:
        found = _THREAD_FIRST.match(text)
        stamp = found and self._when(found)
        if found is None or stamp is None:
            return None
        fields = _fields(stamp, found[8], found[9], found[12] or "", thread=found[7], number=found[10])
        return _paired(fields, found[11])

    def _level_first(self, text: str) -> Fields | None:
        found = _LEVEL_FIRST.match(text)
        if found is not None and found[8] is None and not self._alone:
            return None
        stamp = found and self._when(found)
        if found is None or stamp is None:
            return None
        fields = _fields(stamp, found[7], found[9], found[12] or "", thread=found[8], number=found[10])
        return _paired(fields, found[11])

    def _bare(self, text: str) -> Fields | None:
        found = _BARE.match(text) if self._alone else None
        stamp = found and self._times.match(found)
        if found is None or stamp is None:
            return None
        return _fields(stamp, found[6], "", found[7], thread=found[5])

    def _spring(self, text: str) -> Fields | None:
        if " --- [" not in text:
            return None
        found = _SPRING.match(text)
        stamp = found and self._times.match(found)
        if found is None or stamp is None:
            return None
        _, sleuth, process, brackets, logger, said = found.group(5, 6, 7, 8, 9, 10)
        parts = [part.strip() for part in _PARTS.findall(brackets)]
        # [thread]; [application] [thread]; [application] [thread] [trace-span]
        thread = parts[0] if len(parts) == 1 else parts[1]
        fields = _fields(stamp, found[5], logger, said or "", thread=thread)
        fields["process"] = int(process)
        if len(parts) > 1:
            fields["application"] = parts[0]
        ids = " ".join(f"[{part}]" for part in parts[2:]) + (f"[{sleuth}]" if sleuth else "")
        add_ids(fields, ids.replace("-", ",").replace("[", "[,") if len(parts) > 2 else ids, sleuth=True)
        return fields

    def _kafka(self, text: str) -> Fields | None:
        found = _KAFKA.match(text)
        stamp = found and self._times.match(found)
        if found is None or stamp is None:
            return None
        said = found[7]
        first = said.partition("\n")[0]
        end = _KAFKA_END.search(first, max(0, len(first) - 260))
        if end is None and not found[6] and "\n" not in said and not self._alone:
            return None  # it may be Python's as well
        fields = _fields(stamp, found[5], end[1] if end else "", said, thread=found[6])
        if end is not None:
            fields["message"] = first[: end.start()] + said[len(first) :]
        elif first is not said:  # a message of several lines has the class behind its last one
            end = _KAFKA_END.search(said, max(0, len(said) - 260))
            if end is not None:
                fields["logger"], fields["message"] = end[1], said[: end.start()].rstrip()
        return fields

    def _elastic(self, text: str) -> Fields | None:
        found = _ELASTIC.match(text)
        stamp = found and self._times.match(found)
        if found is None or stamp is None:
            return None
        fields = _fields(stamp, found[5], found[6].strip(), found[8])
        if found[7]:
            fields["node"] = found[7]
        return fields

    def _jul(self, line: bytes) -> Fields | None:
        head, _, rest = line.partition(b"\n")
        found = JUL_HEAD.match(head.rstrip(b"\r"))
        if found is None:
            return None
        month, day, year, hour, clock, half, name, method = (
            part.decode("ascii", "replace") if part else "" for part in found.groups()
        )
        clock = f"{int(hour) % 12 + 12 * (half == 'PM'):02}:{clock}"
        stamp = self._times.month(month, day, clock, None, year)
        if stamp is None:
            return None
        text = rest.decode("utf-8", "replace")
        said = _JUL_SAID.match(text)
        fields = _fields(stamp, said[1] if said else "INFO", name, said[2] if said else text or name)
        if method:
            fields["function"] = method
        return fields


def _uncaught(line: bytes) -> Fields | None:
    """Take what a JVM says of an error that nobody caught."""
    found = _UNCAUGHT.match(line.decode("utf-8", "replace"))
    if found is None:
        return None
    fields: Fields = {"level": "ERROR", "message": found[2], "logger": "", "thread": found[1]}
    add_ids(fields, found[2])
    return fields


def _paired(fields: Fields, pairs: str | None) -> Fields:
    """Add what a logger was told by name."""
    return fields if not pairs else {**dict(_PAIR.findall(pairs)), **fields}


def _fields(
    stamp: str, level: str, logger: str, said: str, *, thread: str | None = None, number: str | None = None
) -> Fields:
    fields: Fields = {"timestamp": stamp, "level": level_named(level) or "INFO", "message": said}
    fields["logger"] = logger
    if thread:
        fields["thread"] = thread.strip()
    if number:
        fields["line"] = int(number)
    add_ids(fields, said, sleuth=True)
    return fields
