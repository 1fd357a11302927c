"""systemd's journal: its entries as events, and the place in it with them.

Rules

- The place (the journal's own cursor) is stored in the same step as the entries before it: a kill loses
  nothing and repeats nothing. If the journal has forgotten the place, reading goes on with the next entry it
  still has.
- MESSAGE goes through the parser like a line of a file; PRIORITY, identifier, host and process come from the
  entry (`core/journal.py`). Lines of a program's output that belong together are one event
  (`journal_records.py`).
- Reading waits on the journal's descriptor: a silent journal costs nothing.
- With `--once` it is read to its present end. What is held when it is to stop is read again at the next
  start.
"""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from ..builder import count_unparsed
from ..config.fields import setting
from ..core.journal import complete, text_of
from ..core.multiline import Joiner
from ..core.parse import Parsed
from ..ports import SourceContext, SourceKind
from .errors import SourceError
from .foreign import compose
from .journal_records import Entry, Record, Records
from .mixed import Mixed
from .parsers import (
    MULTILINE_HELP,
    PARSER_HELP,
    MultilineConfig,
    MultilineName,
    ParserConfig,
    ParserName,
    checked,
    parser_config,
)
from .parsers.joiners import joiner_of, timeout_of
from .parsers.syslog import said_by

if TYPE_CHECKING:
    from ...handlers.record import EventBuilder

__all__ = ["SOURCE", "JournaldConfig", "JournaldSource", "event_of_entry"]

_FRAME: Final = 500
_LONGEST: Final = 128 * 1024  # of a record of several lines
_WAIT: Final = 1_000  # milliseconds; not every journal tells at once that it has grown


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
    parser: ParserName | ParserConfig = setting("auto", help=PARSER_HELP)
    multiline: MultilineName | MultilineConfig | None = setting("auto", help=MULTILINE_HELP)

    def __post_init__(self) -> None:
        checked(self.parser)
        if parser_config(self.parser).format in {"docker", "cri"}:
            raise ValueError("parser: docker and cri are formats of files")
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
    _mixed: Mixed = field(init=False)
    _records: Records = field(init=False)

    def __post_init__(self) -> None:
        config = self.config
        self._mixed = Mixed(config.parser)
        self._records = Records(partial(_joiner, config), timeout_of(config.multiline))

    def run(self, *, once: bool) -> None:
        """Read until `stop()`; with `once` to the present end."""
        reader = self._open()
        with self._lock:
            self._waker = os.pipe()
        try:
            pending = self._seek(reader)
            latest = time.monotonic()
            while not self._stop.is_set():
                if self._take(reader, pending):
                    latest = time.monotonic()
                elif once or time.monotonic() - latest >= self._records.timeout:
                    self._append(self._records.flush())
                    if once:
                        return
                    self._wait(reader)
                else:
                    self._wait(reader)
                pending = None
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
        after = self._records.resume(held).encode()
        if not after:
            reader.seek_head()
            return None
        reader.seek_cursor(after)
        entry = reader.next()
        return None if entry is None or entry.cursor == after else entry

    def _take(self, reader: Any, pending: Any) -> bool:
        """Read the next entries, append what is complete; False: there are no more."""
        records, some = self._records, False
        for _ in range(_FRAME):
            entry = pending or reader.next()
            if entry is None:
                break
            pending, some = None, True
            records.feed(Entry(entry.data, entry.get_realtime_usec(), bytes(entry.cursor).decode()))
            if records.full:
                break
        self._append(records.take())
        return some

    def _append(self, records: Sequence[Record]) -> None:
        """Append records in one frame with the place where reading goes on."""
        if records:
            builder, mixed = self.context.builder, self._mixed
            events = [event_of_entry(builder, record.fields, record.moment, mixed) for record in records]
            self.context.appender.append(events, self._records.place)

    def _wait(self, reader: Any) -> None:
        """Wait until there may be more, or somebody stops us."""
        assert self._waker is not None
        poll = select.poll()
        poll.register(reader.fd, select.POLLIN)
        poll.register(self._waker[0], select.POLLIN)
        if self._stop.is_set():
            return
        poll.poll(min(_WAIT, 1_000 * self._records.timeout) if self._records.held else _WAIT)
        reader.process_events()


def event_of_entry(builder: EventBuilder, entry: Mapping[str, Any], microseconds: int, mixed: Mixed) -> bytes:
    """Return the event of an entry, or of a record of several. `mixed` understands what it says."""
    parsed = mixed.read(text_of(entry.get("MESSAGE", "")).encode("utf-8", "replace")) or Parsed("")
    if "parse_error" in parsed.fields:
        count_unparsed(builder, 1)
    identifier = complete(parsed, entry, microseconds)
    more = said_by(identifier, parsed.message)
    if "level" in more:
        parsed.level = more.pop("level")
    parsed.fields = more | parsed.fields
    return compose(builder, parsed)


def _joiner(config: JournaldConfig) -> Joiner | None:
    """Return what joins one program's lines; what it is cannot be seen from its first ones."""
    parser = "text" if parser_config(config.parser).format == "auto" else config.parser
    return joiner_of(parser, config.multiline, _LONGEST)


def _build(config: JournaldConfig, context: SourceContext, /) -> JournaldSource:
    return JournaldSource(config, context)


SOURCE: Final = SourceKind(
    "journald", JournaldConfig, _build, needs=("cysystemd",), extra="journald", sole=True
)
