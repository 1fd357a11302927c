"""systemd's journal: its entries as events, and the place in it with them.

Rules

- The place (the journal's own cursor) is stored in the same step as the entries before it: a kill loses
  nothing and repeats nothing. If the journal has forgotten the place, reading goes on with the next entry it
  still has.
- MESSAGE goes through the parser like a line of a file; PRIORITY, identifier, host and process come from the
  entry. What a program has added by its own names is kept by these, in lower case; of what journald adds, the
  unit, the transport and the command are kept.
- Reading waits on the journal's descriptor: a silent journal costs nothing.
- With `--once` it is read to its present end.
"""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

import os
import select
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from ..config.fields import setting
from ..core.parse import Parsed, parse, service_of
from ..ports import SourceContext, SourceKind
from .errors import SourceError
from .foreign import compose

if TYPE_CHECKING:
    from ...handlers.record import EventBuilder

__all__ = ["SOURCE", "JournaldConfig", "JournaldSource", "event_of_entry"]

_FRAME: Final = 500
_FRAME_BYTES: Final = 256 * 1024
_WAIT: Final = 1_000  # milliseconds; not every journal tells at once that it has grown
_LEVELS: Final = ("CRITICAL", "CRITICAL", "CRITICAL", "ERROR", "WARNING", "INFO", "INFO", "DEBUG")
_NAMES: Final[Mapping[str, str]] = {
    "CODE_FUNC": "function",
    "CODE_LINE": "line",
    "CODE_FILE": "file",
    "_SYSTEMD_UNIT": "unit",
    "_SYSTEMD_USER_UNIT": "user_unit",
    "_TRANSPORT": "transport",
    "_COMM": "command",
    "_HOSTNAME": "host",
    "_PID": "process",
    "SYSLOG_PID": "process",
}
_NUMBERS: Final = frozenset({"line", "process"})
_TAKEN: Final = frozenset({"MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "SYSLOG_TIMESTAMP", "SYSLOG_RAW"})


@dataclass(frozen=True, slots=True)
class JournaldConfig:
    """Which entries of which journal."""

    units: tuple[str, ...] = setting(
        (), help="entries of these units only; empty: of all", example="[nginx.service, postgresql.service]"
    )
    identifiers: tuple[str, ...] = setting((), help="entries with these identifiers only", example="[sshd]")
    directory: Path | None = setting(None, help="a directory of journal files; empty: this machine's journal")
    start_at: Literal["beginning", "end"] = setting(
        "beginning", help="where to begin at the first start; end: with what comes from then on"
    )

    def __post_init__(self) -> None:
        if self.units and self.identifiers:
            raise ValueError("units and identifiers: name one of them")


@dataclass(slots=True)
class JournaldSource:
    """Reads the journal. `run` in one thread, `stop` from any."""

    config: JournaldConfig
    context: SourceContext
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _waker: tuple[int, int] | None = None  # a pipe's ends: what wakes the reading

    def run(self, *, once: bool) -> None:
        """Read until `stop()`; with `once` to the present end."""
        reader = self._open()
        with self._lock:
            self._waker = os.pipe()
        try:
            pending = self._seek(reader)
            while not self._stop.is_set():
                full = self._take(reader, pending)
                pending = None
                if not full:
                    if once:
                        return
                    self._wait(reader)
        finally:
            with self._lock:
                for end in self._waker:
                    os.close(end)
                self._waker = None

    def stop(self) -> None:
        """Ask `run` to return soon."""
        self._stop.set()
        with self._lock:
            if self._waker is not None:
                os.write(self._waker[1], b".")

    def _open(self) -> Any:
        try:
            from cysystemd.reader import JournalOpenMode, JournalReader, Rule
        except ImportError as missing:
            text = 'source journald needs a library: pip install "logferry[journald]"'
            raise ImportError(text) from missing
        reader = JournalReader()
        try:
            if self.config.directory is None:
                reader.open(JournalOpenMode.SYSTEM)
            else:
                reader.open_directory(str(self.config.directory))
        except (OSError, ValueError) as error:
            where = self.config.directory or "this machine's journal"
            raise SourceError(f"cannot read {where}: {error}") from None
        rule = None
        names = [("_SYSTEMD_UNIT", unit) for unit in self.config.units]
        names += [("SYSLOG_IDENTIFIER", name) for name in self.config.identifiers]
        for name, value in names:
            one = Rule(name, value)
            rule = one if rule is None else rule | one
        if rule is not None:
            reader.add_filter(rule)
        return reader

    def _seek(self, reader: Any) -> Any:
        """Go to where reading was left; return the entry there, if it has not been read yet."""
        held = self.context.appender.last_position(self.context.name)
        if not held:
            if self.config.start_at == "end":
                reader.seek_tail()
                return reader.previous() and None
            reader.seek_head()
            return None
        reader.seek_cursor(held)
        entry = reader.next()
        return None if entry is None or entry.cursor == held else entry

    def _take(self, reader: Any, pending: Any) -> bool:
        """Append the next entries with the place behind them; False: there are no more."""
        events: list[bytes] = []
        size, cursor, entry = 0, b"", pending
        while len(events) < _FRAME and size < _FRAME_BYTES:
            entry = entry or reader.next()
            if entry is None:
                break
            event = event_of_entry(self.context.builder, entry.data, entry.get_realtime_usec())
            events.append(event)
            size += len(event)
            cursor, entry = entry.cursor, None
        if events:
            self.context.appender.append(events, bytes(cursor))
        return bool(events)

    def _wait(self, reader: Any) -> None:
        """Wait until there may be more, or somebody stops us."""
        assert self._waker is not None
        poll = select.poll()
        poll.register(reader.fd, select.POLLIN)
        poll.register(self._waker[0], select.POLLIN)
        if self._stop.is_set():
            return
        poll.poll(_WAIT)
        reader.process_events()


def event_of_entry(builder: EventBuilder, entry: Mapping[str, Any], microseconds: int) -> bytes:
    """Return the event of an entry."""
    parsed = parse(_text(entry.get("MESSAGE", "")).encode("utf-8", "replace")) or Parsed("")
    if parsed.timestamp is None:
        parsed.timestamp = microseconds / 1e6
    priority = _text(entry.get("PRIORITY", ""))
    level = _LEVELS[int(priority)] if priority in set("01234567") else ""
    if level and (parsed.level == "INFO" or level != "INFO"):
        parsed.level = level
    identifier = _text(entry.get("SYSLOG_IDENTIFIER", ""))
    parsed.service = parsed.service or service_of(identifier) or ""
    if identifier and identifier != parsed.service:
        parsed.fields.setdefault("app_name", identifier)
    for name, value in entry.items():
        known = _NAMES.get(name)
        if known is None and (name in _TAKEN or name.startswith("_")):
            continue
        text = _text(value)
        number = known in _NUMBERS and text.isascii() and text.isdecimal() and len(text) < 10
        parsed.fields.setdefault(known or name.lower(), int(text) if number else text)
    return compose(builder, parsed)


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):  # a field that stands several times in an entry
        return "\n".join(map(_text, value))
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _build(config: JournaldConfig, context: SourceContext, /) -> JournaldSource:
    return JournaldSource(config, context)


SOURCE: Final = SourceKind(
    "journald", JournaldConfig, _build, needs=("cysystemd",), extra="journald", sole=True
)
