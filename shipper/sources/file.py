"""Files: read to their ends once, or followed through growth, rotation and truncation.

Rules:
- The position of every file is stored in the same append as the lines before it: after a kill nothing is lost
  and nothing repeated in the spool.
- A line without its end waits for it; with `once`, and when a rotated file is left for good, it is taken as
  it stands.
- A rotated file (renamed, removed) is read to its end through the descriptor that is still open, then left
  after `close_after`. A truncated one is read from its start.
- Compressed and binary files, and links to nothing that a pattern found, are passed over with a warning. What
  cannot be read does not keep the rest from being read; with `once` it makes `run` raise `SourceError` at the
  end.
- At most `_DESCRIPTORS` followed files stay open: beyond that the longest quiet are closed and looked at with
  the patterns. Of those, what is written between the last look and a rotation is read only under a name
  that the patterns find.
"""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

import contextlib
import glob
import os
import threading
import time
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Literal

from ..config.fields import Duration, Size, setting
from ..core.lines import LineSplitter, sizes
from ..core.multiline import TracebackJoiner
from ..core.tail import (
    FINGERPRINT_BYTES,
    Position,
    decode,
    encode,
    fingerprint,
    is_log_text,
    resume_at,
)
from ..diagnostics import say
from ..ports import SourceContext, SourceKind
from .blocks import LineBlocks
from .errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["SOURCE", "FileConfig", "FileSource"]

_CHUNK: Final = 256 * 1024
_MANY: Final = 1_000  # positions beyond which those of files that are gone are forgotten
_DESCRIPTORS: Final = 256
_SELDOM: Final = 1.0  # seconds between two looks at a file that has long been quiet
_PATIENCE: Final = 40  # it is looked at again after this part of the time that it has been quiet


@dataclass(frozen=True, slots=True)
class FileConfig:
    """Which files, and how their lines are read."""

    include: tuple[Path, ...] = setting(
        help="files to read; `*`, `?`, `[]`, `**` work", example="[/var/log/app/*.log]"
    )
    exclude: tuple[str, ...] = setting((), help="patterns of paths or names to leave out", example="['*.gz']")
    parser: Literal["auto", "json", "text"] = setting(
        "auto", help="auto: JSON field by field, the rest as text"
    )
    multiline: Literal["python"] | None = setting(
        None, help="python: join tracebacks and indented lines with the line before"
    )
    max_line_bytes: Size = setting(Size(256 << 10), help="longer lines are cut and marked", minimum=64)
    poll_interval: Duration = setting(
        Duration(0.25),
        help="how often followed files are looked at; what has been quiet for long, once a second",
        minimum=0.01,
    )
    scan_interval: Duration = setting(Duration(2.0), help="how often new files are looked for", minimum=0.01)
    close_after: Duration = setting(Duration(5.0), help="how long a rotated file may still grow", minimum=0)
    from_end: bool = setting(
        False, help="begin at the end of files that are there at the first start (when following)"
    )

    def __post_init__(self) -> None:
        if not self.include:
            raise ValueError("include is empty; name at least one file or pattern")


@dataclass(slots=True)
class _Open:
    """A file being read. `offset` is behind the last line that has been handed to the batch."""

    path: Path
    stream: BinaryIO
    device: int
    inode: int
    offset: int
    splitter: LineSplitter
    joiner: TracebackJoiner | None
    lines: LineBlocks
    at: int = 0  # behind the last byte that has been read
    head: bytes = b""
    grown: float = 0.0
    due: float = 0.0  # when it is looked at next
    left: bool = False

    @property
    def key(self) -> tuple[int, int]:
        return self.device, self.inode

    def position(self) -> Position:
        length = min(len(self.head), FINGERPRINT_BYTES)
        return Position(str(self.path), self.device, self.inode, fingerprint(self.head), length, self.offset)


@dataclass(slots=True)
class FileSource:
    """Reads files into the spool. `run` in one thread, `stop` from any."""

    config: FileConfig
    context: SourceContext
    _known: dict[tuple[int, int], Position] = field(default_factory=dict)
    _stored: dict[int, list[Position]] = field(default_factory=dict)  # as at the start, by inode
    _open: dict[tuple[int, int], _Open] = field(default_factory=dict)
    _quiet: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)  # closed: size and time
    _passed: set[str] = field(default_factory=set)
    _dangling: set[Path] = field(default_factory=set)
    _failures: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self, *, once: bool) -> None:
        """Read until `stop()`; with `once` only to the present ends. `SourceError` names what was missed."""
        stored = [p for held in self.context.appender.positions().values() for p in decode(held)]
        self._known = {(p.device, p.inode): p for p in stored}
        self._stored = {}
        for position in stored:
            self._stored.setdefault(position.inode, []).append(position)
        self._quiet.clear()
        try:
            if once:
                self._run_once()
            else:
                self._follow(skip_old=self.config.from_end and not stored)
        finally:
            for file in self._open.values():
                file.stream.close()
            self._open.clear()
        if once and self._failures:
            raise SourceError("; ".join(self._failures))

    def stop(self) -> None:
        """Ask `run` to return after the chunk at hand."""
        self._stop.set()

    def _paths(self) -> Iterator[Path]:
        seen = set()
        for pattern in self.config.include:
            text = str(pattern)
            # Path.glob takes relative patterns only; these are absolute.
            names = glob.iglob(text, recursive=True) if glob.has_magic(text) else [text]  # noqa: PTH207 - as said
            for name in names:
                if name not in seen and not self._excluded(name):
                    seen.add(name)
                    yield Path(name)

    def _excluded(self, name: str) -> bool:
        base = Path(name).name
        return any(fnmatch(name, pattern) or fnmatch(base, pattern) for pattern in self.config.exclude)

    def _run_once(self) -> None:
        files = []
        for path in self._paths():
            try:
                stat = path.stat()
            except OSError as error:
                if not self._is_gone(path, error):
                    self._fail(path, error)
                continue
            if path.is_file():
                files.append((stat.st_mtime, str(path), path))
        if not files and not self._failures:
            patterns = ", ".join(map(str, self.config.include))
            self._failures.append(f"no file matches {patterns}")
        for _, _, path in sorted(files):  # the oldest first: a rotated series is in the order of its times
            if self._stop.is_set():
                return
            file = self._enter(path)
            if file is not None:
                self._read(file)
                if not self._stop.is_set():
                    self._finish(file)
                self._leave(file)

    def _follow(self, *, skip_old: bool) -> None:
        scanned = -self.config.scan_interval
        while not self._stop.is_set():
            now = time.monotonic()
            if now - scanned >= self.config.scan_interval:
                scanned = now
                paths = list(self._paths())
                for path in paths:
                    self._enter(path, at_end=skip_old)
                    self._make_room()
                skip_old = False
                self._forget(paths)
            busy = False
            for file in list(self._open.values()):
                if now < file.due:
                    continue
                busy |= self._look(file, now)
                file.due = now + min(_SELDOM, (now - file.grown) / _PATIENCE)
                if self._stop.is_set():
                    return
            if not busy:
                self._stop.wait(self.config.poll_interval)

    def _forget(self, paths: list[Path]) -> None:
        """Drop positions of files that are gone, once there are many."""
        if len(self._known) <= _MANY:
            return
        here = set()
        for path in paths:
            with contextlib.suppress(OSError):
                stat = path.stat()
                here.add((stat.st_dev, stat.st_ino))
        for key in [key for key in self._known if key not in here and key not in self._open]:
            del self._known[key]
            self._quiet.pop(key, None)
            self.context.appender.append([], b"", _part(key))

    def _look(self, file: _Open, now: float) -> bool:
        """Read what is new in a followed file; leave it when it was rotated away and grows no more."""
        try:
            length = self._length(file)
        except OSError as error:
            self._fail(file.path, error)
            return False
        if length < file.at:
            say("WARNING", f"{file.path} was truncated: reading it from its start")
            self._finish(file)
            self._restart(file)
        if length != file.at and self._read(file):
            file.grown = now
            return True
        if file.joiner is not None and file.joiner.pending and now - file.grown > 1.0:
            self._join_rest(file)
        if file.left and now - file.grown >= self.config.close_after:
            self._finish(file)
            self._leave(file)
        return False

    @staticmethod
    def _length(file: _Open) -> int:
        """Return how long a file is now, and note whether it has left its name; mostly one system call."""
        try:
            here = os.stat(file.path)  # noqa: PTH116 - half of what `Path.stat` costs, for each file at each look
        except FileNotFoundError:
            file.left = True
        else:
            file.left = (here.st_dev, here.st_ino) != (file.device, file.inode)
            if not file.left:
                return here.st_size
        return os.fstat(file.stream.fileno()).st_size

    def _enter(self, path: Path, *, at_end: bool = False) -> _Open | None:
        """Open a file at the place where it was left; None when it is open, passed over or unreadable."""
        name = str(path)
        if name in self._passed:
            return None
        try:
            stat = path.stat()
            key = (stat.st_dev, stat.st_ino)
            if key in self._open or not path.is_file():
                return None
            if self._quiet.pop(key, None) == (stat.st_size, stat.st_mtime_ns):
                self._quiet[key] = stat.st_size, stat.st_mtime_ns
                return None
            stream = path.open("rb", buffering=0)
        except OSError as error:
            if not self._is_gone(path, error):
                self._fail(path, error)
            return None
        stat = os.fstat(stream.fileno())
        key = (stat.st_dev, stat.st_ino)
        head = stream.read(FINGERPRINT_BYTES) or b""
        if not is_log_text(head):
            stream.close()
            self._passed.add(name)
            say("WARNING", f"{path} is compressed or binary: passed over")
            return None
        known = [self._known[key]] if key in self._known else self._stored.get(key[1], [])
        offset = resume_at(known, *key, stat.st_size, lambda length: head[:length])
        begun = at_end and not offset and stat.st_size > 0
        if begun:
            offset = stat.st_size
        stream.seek(offset)
        lines = LineBlocks(self.context.builder, self.config.parser, {"log_file": name})
        file = _Open(
            path, stream, *key, offset, *self._fresh(), lines, offset, head=head, grown=time.monotonic()
        )
        self._open[key] = file
        if begun:  # else a restart before its first line would begin at its start
            self._known[key] = file.position()
            self.context.appender.append([], encode(self.context.name, [file.position()]), _part(key))
        return file

    def _is_gone(self, path: Path, error: OSError) -> bool:
        """Whether a pattern found what is not there: a link to nothing, or a file removed meanwhile."""
        if not isinstance(error, FileNotFoundError) or path in self.config.include:
            return False
        if path.is_symlink() and path not in self._dangling:
            self._dangling.add(path)
            say("WARNING", f"{path} is a link to nothing: passed over")
        return True

    def _make_room(self) -> None:
        """Close the file that was quiet for longest, once more are open than may be."""
        if len(self._open) <= _DESCRIPTORS:
            return
        here = [file for file in self._open.values() if not file.left]
        if len(here) <= _DESCRIPTORS:
            return
        file = min(here, key=lambda one: one.grown)
        self._read(file)
        if self._stop.is_set():
            return
        self._join_rest(file)
        # what was read, not how long it is now: a file that has grown meanwhile is opened at the next look
        self._quiet[file.key] = file.at, os.fstat(file.stream.fileno()).st_mtime_ns
        self._leave(file)

    def _fresh(self) -> tuple[LineSplitter, TracebackJoiner | None]:
        limit = self.config.max_line_bytes
        return LineSplitter(limit), TracebackJoiner(limit) if self.config.multiline else None

    def _restart(self, file: _Open) -> None:
        file.stream.seek(0)
        file.head = file.stream.read(FINGERPRINT_BYTES) or b""
        file.stream.seek(0)
        file.offset = file.at = 0
        file.splitter, file.joiner = self._fresh()

    def _read(self, file: _Open) -> bool:
        """Read to the present end; whether there was anything."""
        found = False
        while not self._stop.is_set():
            try:
                chunk = file.stream.read(_CHUNK)
            except OSError as error:
                self._fail(file.path, error)
                break
            if not chunk:
                break
            if len(file.head) < FINGERPRINT_BYTES:
                file.head = os.pread(file.stream.fileno(), FINGERPRINT_BYTES, 0)
            found = True
            file.at += len(chunk)
            self._take(file, file.splitter.feed(chunk))
        return found

    def _take(self, file: _Open, lines: list[bytes]) -> None:
        if file.joiner is None:
            self._append(file, lines, lambda start, stop: sizes(lines[start:stop]))
        else:
            self._append_joined(file, [group for line in lines for group in file.joiner.feed(line)])

    def _append_joined(self, file: _Open, groups: Sequence[tuple[bytes, int]]) -> None:
        lengths = [length for _, length in groups]
        self._append(file, [record for record, _ in groups], lambda start, stop: sum(lengths[start:stop]))

    def _append(self, file: _Open, records: Sequence[bytes], took: Callable[[int, int], int]) -> None:
        """Append the events of lines or joined records; `took` tells the bytes of some in the file."""
        at = 0
        for block, taken in file.lines.blocks(records):
            file.offset += took(at, at + taken)
            at += taken
            if block:
                held = self._known[file.key] = file.position()
                self.context.appender.append(block, encode(self.context.name, [held]), _part(file.key))

    def _join_rest(self, file: _Open) -> None:
        if file.joiner is not None:
            self._append_joined(file, file.joiner.flush())

    def _finish(self, file: _Open) -> None:
        """Take the last line although it has no end: there will be none."""
        if file.splitter.pending:
            file.offset -= 1  # its size will count a line break that is not there
        self._take(file, file.splitter.flush())
        self._join_rest(file)

    def _leave(self, file: _Open) -> None:
        file.stream.close()
        self._known[file.key] = file.position()
        del self._open[file.key]

    def _fail(self, path: Path, error: OSError) -> None:
        text = f"cannot read {path}: {error.strerror or error}"
        if text not in self._failures:
            self._failures.append(text)
            say("WARNING", text)


def _part(key: tuple[int, int]) -> str:
    """Return the name under which a file's position is kept."""
    return f"{key[0]:x}-{key[1]:x}"


def _build(config: FileConfig, context: SourceContext, /) -> FileSource:
    return FileSource(config, context)


SOURCE: Final = SourceKind("file", FileConfig, _build)
