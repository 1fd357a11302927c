"""Dead letters: what a sink will never take, kept with the reason, one JSON line each, bounded.

    {"id":"<spool>-<sequence>","sink":"loki","reason":"too old","at":"2026-01-31T08:00:00.0Z","event":{…}}

Rules

- One file per sink, shared by all processes of the service; every operation holds the lock file beside it.
- Durable (fsync) before `add` returns: the cursor that counts a dead letter moves afterwards. A crash between
  the two repeats the letter; readers see an id once, the last one counts.
- Bounded: what does not fit is *not* kept and `add` says so; the worker then counts it as dropped
  (`dead_letters_full`). Older letters are never pushed out in silence: they are counted in the books as kept.
- `rewrite` (edit, removal after replay) replaces the file in one step; a torn last line is cut off.
- Without a directory (a spool in memory) the letters are kept in memory, with the same bound.
- Files are 0600, directories 0700.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson

from .durable import append, cut_torn_line, make_private, sync_directory
from .moment import moment
from .spool.directory import file_name

__all__ = ["DeadLetter", "DeadLetters"]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One event that a sink will not take. `event` is its line as it was made; `at` is ISO 8601 in UTC."""

    id: str
    sink: str
    reason: str
    at: str
    event: bytes

    def encode(self) -> bytes:
        """Return the JSON line, with its line break."""
        head = orjson.dumps({"id": self.id, "sink": self.sink, "reason": self.reason, "at": self.at})
        try:
            orjson.loads(self.event)
        except orjson.JSONDecodeError:  # bytes that some source let through: kept readable, as a string
            event = orjson.dumps(self.event.decode("utf-8", "backslashreplace"))
        else:
            event = self.event.replace(b"\n", b" ").replace(b"\r", b" ")  # only ever between JSON tokens
        return head[:-1] + b',"event":' + event + b"}\n"


def _decode(line: bytes) -> DeadLetter | None:
    try:
        found = orjson.loads(line)
        raw = found["event"]
        # the event's own bytes, not an encoding of them again: numbers and order stay as they were
        marker = line.index(b',"event":') + len(b',"event":')
        event = raw.encode() if isinstance(raw, str) else line[marker:].rstrip()[:-1]
        return DeadLetter(found["id"], found["sink"], found["reason"], found["at"], event)
    except (ValueError, KeyError, TypeError):
        return None


class DeadLetters:
    """The dead letters of one sink. Any thread and any process may use it; errors of the disk are OSError."""

    def __init__(self, directory: Path | None, sink: str, max_bytes: int) -> None:
        self.sink = sink
        self.max_bytes = max_bytes
        self.path = None if directory is None else directory / f"{file_name(sink)}.ndjson"
        self._memory: list[bytes] = []

    @property
    def size(self) -> int:
        """Bytes held now."""
        if self.path is None:
            return sum(map(len, self._memory))
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def add(self, letters: Sequence[tuple[str, str, bytes]], now: float) -> int:
        """Keep (id, reason, event line) triples, durably; return how many, from the front, fitted.

        `now` is the time of day in seconds since 1970.
        """
        at = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        lines = [DeadLetter(id_, self.sink, reason, at, event).encode() for id_, reason, event in letters]
        if self.path is None:
            fitting = self._fitting(lines, self.size)
            self._memory += lines[:fitting]
            return fitting
        with self._locked(create=True):
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                end = cut_torn_line(handle)
                fitting = self._fitting(lines, end)
                append(handle, b"".join(lines[:fitting]), end)
                os.fsync(handle)
            finally:
                os.close(handle)
        return fitting

    def read(self) -> Iterator[DeadLetter]:
        """Yield the letters, oldest first, each id once (as it was last written)."""
        found: dict[str, DeadLetter] = {}
        for line in self._lines():
            letter = _decode(line)
            if letter is not None:
                found[letter.id] = letter
        yield from found.values()

    def get(self, letter_id: str) -> DeadLetter | None:
        """Return the letter with this id."""
        return next((letter for letter in self.read() if letter.id == letter_id), None)

    def rewrite(self, change: Callable[[DeadLetter], DeadLetter | None]) -> int:
        """Pass each letter through `change` (None removes it); return how many were changed or removed.

        What others add meanwhile waits for the lock, so nothing is lost.
        """
        with self._locked(create=False) as exists:
            if not exists:
                return 0
            before = list(self.read())
            after = [change(letter) for letter in before]
            changed = sum(old != new for old, new in zip(before, after, strict=True))
            if changed:
                self._replace([letter.encode() for letter in after if letter is not None])
            return changed

    def remove(self, ids: set[str]) -> int:
        """Remove letters by id, after they were delivered otherwise; return how many there were."""
        return self.rewrite(lambda letter: None if letter.id in ids else letter)

    def _fitting(self, lines: Sequence[bytes], size: int) -> int:
        for count, line in enumerate(lines):
            size += len(line)
            if size > self.max_bytes:
                return count
        return len(lines)

    def _lines(self) -> Iterator[bytes]:
        if self.path is None:
            yield from list(self._memory)
            return
        try:
            with self.path.open("rb") as file:
                yield from file
        except FileNotFoundError:
            return

    def _replace(self, lines: list[bytes]) -> None:
        if self.path is None:
            self._memory = lines
            return
        temporary = self.path.with_suffix(".ndjson.new")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            append(handle, b"".join(lines), 0)
            os.fsync(handle)
        finally:
            os.close(handle)
        temporary.replace(self.path)
        sync_directory(self.path.parent)

    @contextmanager
    def _locked(self, *, create: bool) -> Iterator[bool]:
        if self.path is None:
            yield True
            return
        new = not self.path.exists()
        if new and not create:
            yield False
            return
        make_private(self.path.parent)
        lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with moment(lock):
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield True
            if new:
                sync_directory(self.path.parent)
