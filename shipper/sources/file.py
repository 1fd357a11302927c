"""Files: read to their ends once, or followed through growth, rotation and truncation.

Rules:
- The position of every file is stored in the same append as the lines before it (`file_places.py`): after a
  kill nothing is lost and nothing repeated in the spool.
- What a path is decides `file_enter.py`; what has been read of a file knows `file_tail.py`.
- Everybody has a turn: of each file a bounded part is read, then the next one's. So a flood does not keep a
  trickle waiting, and memory is the same whatever waits to be read.
- A line without its end waits for it; with `once`, and when a rotated file is left for good, it is taken as
  it stands.
- A rotated file (renamed, removed) is read to its end through the descriptor that is still open, then left
  after `close_after`. A truncated one is read from its start. What had been read of its last line waits as
  long for a copy of it, which has the whole line.
- What cannot be read does not keep the rest from being read; with `once` it makes `run` raise `SourceError`
  at the end.
- At most `max_open_files` stay open: of more the longest quiet are closed. Of those, what is written between
  the last look and a rotation is read only under a name that the patterns find.
- A file that is quiet is watched, and costs nothing (`file_watch.py`); without a watch it is looked at.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final

from ..core.tail import Position, is_copy_name, predecessors
from ..diagnostics import say
from ..ports import SourceContext, SourceKind
from .errors import SourceError
from .file_config import FileConfig
from .file_enter import Entrance, Packed
from .file_find import Patterns
from .file_packed import DamagedError, PackedTail
from .file_places import Places
from .file_succession import link, may_begin
from .file_tail import CHUNK, ChangedError, Tail
from .file_watch import Noticed, Watcher, watcher

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["SOURCE", "FileConfig", "FileSource"]

_TURN: Final = 4 * CHUNK
_SELDOM: Final = 1.0  # seconds between two looks at a file that has long been quiet
_PATIENCE: Final = 40  # it is looked at again after this part of the time that it has been quiet
_LOOKS: Final = 1_000  # at so many files a second, however many there are
_QUIET: Final = 1.0  # seconds without growth after which a file is watched
_SAFETY: Final = 60.0  # seconds between two looks for new files although they would be told
_SHARE: Final = 10  # looking for files takes one part of so many of the time that names come and go
_TOLD: Final = 10  # problems: there may be one with each of thousands of files
_LITTLE: Final = 100  # and where nobody tells, one of so many


@dataclass(slots=True)
class FileSource:
    """Reads files into the spool. `run` in one thread, `stop` from any."""

    config: FileConfig
    context: SourceContext
    _failures: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _tails: dict[tuple[int, int], Tail] = field(default_factory=dict)
    _opened: dict[tuple[int, int], Tail] = field(default_factory=dict)  # the longest unused first
    _awake: dict[tuple[int, int], Tail] = field(default_factory=dict)
    _paths: dict[str, Tail] = field(default_factory=dict)
    _broken: list[tuple[float, Tail]] = field(default_factory=list)  # truncated within a line; until when
    _packed: list[Packed] = field(default_factory=list)
    _unpacking: PackedTail | None = None
    _stuck: float = 0.0  # since when that does not go on
    _scan_at: float = 0.0
    _scan_again: float = 0.0
    _unlinked: bool = False  # whether there are new files of which it is not known what was before
    _places: Places = field(init=False)
    _patterns: Patterns = field(init=False)
    _entrance: Entrance = field(init=False)
    _watch: Watcher = field(init=False)

    def __post_init__(self) -> None:
        self._patterns = Patterns(self.config.include, self.config.exclude)

    def run(self, *, once: bool) -> None:
        """Read until `stop()`; with `once` only to the present ends. `SourceError` names what was missed."""
        self._scan_at = self._scan_again = 0.0
        self._unlinked = False
        self._places = Places(self.context.name, self.context.appender)
        self._entrance = Entrance(
            self.config,
            self.context,
            self._places,
            self._patterns,
            self._tails,
            self._paths,
            self._fail,
        )
        try:
            if once:
                self._run_once()
            else:
                self._watch = watcher(self.config.watch, self._stop)
                try:
                    self._follow(skip_old=self.config.start_at == "end" and not len(self._places))
                finally:
                    self._watch.close()
        finally:
            self._close()
        if once and self._failures:
            raise SourceError("; ".join(self._failures))

    def check(self) -> Sequence[str]:
        """Return what keeps it from reading: places and files that it may not read."""
        return list(islice(self._patterns.problems(), _TOLD))

    def absent(self) -> Sequence[str]:
        """Return what is not there yet. That is no mistake: they are read as soon as they come."""
        return [f"{place} is not there yet" for place in self._patterns.absent()]

    def stop(self) -> None:
        """Ask `run` to return after the chunk at hand."""
        self._stop.set()

    def _close(self) -> None:
        for tail in self._opened.values():
            tail.close()
        if self._unpacking is not None:
            self._unpacking.close()
            self._unpacking = None
        for known in (self._tails, self._opened, self._awake, self._paths):
            known.clear()
        self._broken.clear()
        self._packed.clear()

    # ── once ──

    def _run_once(self) -> None:
        found = []
        for path in self._patterns.paths():
            facts = self._entrance.facts(path)
            if facts is not None:
                found.append((facts.st_mtime, path, facts))
        if not found and not self._failures:
            patterns = ", ".join(map(str, self.config.include))
            self._failures.append(f"no file matches {patterns}")
        # The oldest first: a rotated series is in the order of its times.
        waiting = self._read_all([(path, facts) for _, path, facts in sorted(found)])
        if not self._stop.is_set():
            for tail in waiting:
                tail.finish()

    def _read_all(self, found: Sequence[tuple[str, os.stat_result]]) -> Iterable[Tail]:
        """Read all files; return those whose last lines waited for the next one's."""
        before = predecessors(path for path, _ in found)
        awaited, waiting = set(before.values()), dict[str, Tail]()
        for path, facts in found:
            entered = self._entrance.enter(path, facts)
            older = waiting.pop(before.get(path, ""), None)
            if isinstance(entered, Tail) and entered.is_new:
                entered.before = older
                may_begin(entered, 0.0, 0.0)
            if older is not None:
                older.finish()
            if isinstance(entered, Tail):
                if not self._read_whole(entered):
                    pass
                elif path in awaited:
                    waiting[path] = entered
                else:
                    entered.finish()
            elif entered is not None:
                self._unpack_whole(entered)
            if self._stop.is_set():
                break
        return waiting.values()

    def _read_whole(self, tail: Tail) -> bool:
        """Read a file but for the lines that wait for more; False: it was not read to its end."""
        try:
            while not self._stop.is_set() and tail.read(CHUNK):
                pass
            return not self._stop.is_set()
        except ChangedError:
            self._failures.append(f"{tail.path} was truncated while it was read")
        except OSError as error:
            self._fail(tail.path, error)
        finally:
            tail.close()
        return False

    def _unpack_whole(self, found: Packed) -> None:
        tail = self._entrance.enter_packed(found)
        if tail is None:
            return
        try:
            while not self._stop.is_set() and tail.turn(CHUNK):
                pass
            if not self._stop.is_set():
                if not tail.whole:
                    tail.decide()
                    while tail.turn(CHUNK):
                        pass
                    self._failures.append(f"{tail.path} ends in the middle")
                tail.finish()
        except DamagedError as error:
            self._failures.append(f"{tail.path} is damaged: {error}")
            tail.finish()
        except OSError as error:
            self._fail(tail.path, error)
        finally:
            tail.close()

    # ── following ──

    def _follow(self, *, skip_old: bool) -> None:
        noticed = Noticed()
        while not self._stop.is_set():
            now = time.monotonic()
            self._wake(noticed, now)
            if now >= self._scan_at:
                self._scan(now, at_end=skip_old)
                skip_old = False
            busy = self._turns(now)
            busy |= self._unpack(now)
            self._give_up_broken(now)
            noticed = self._watch.wait(0.0 if busy else self._pause(time.monotonic()))
        self._give_up_broken(float("inf"))

    def _pause(self, now: float) -> float:
        """Return how long there is nothing to do."""
        due = [
            self._scan_at,
            *(tail.due for tail in self._awake.values()),
            *(until for until, _ in self._broken if until > now),
        ]
        if self._unpacking is not None:
            due.append(now + self.config.poll_interval)
        return max(0.001, min(due) - now)

    def _wake(self, noticed: Noticed, now: float) -> None:
        if noticed.names or noticed.lost or not self._tails.keys() >= noticed.files:
            self._scan_at = min(self._scan_at, max(now, self._scan_again))
        marks = self._tails.keys() if noticed.lost else self._tails.keys() & noticed.files
        for mark in marks:
            self._look_at(self._tails[mark])

    def _look_at(self, tail: Tail) -> None:
        tail.due = 0.0
        self._awake[tail.key] = tail

    def _scan(self, now: float, *, at_end: bool) -> None:
        """Find what is new, and what is no more."""
        began = time.thread_time()
        watched = self._watch.watch_directories(self._patterns.directories())
        self._entrance.waiting.clear()
        here = self._find(at_end=at_end)
        if self._stop.is_set():
            return
        for key, tail in self._tails.items():
            if key not in here:
                self._look_at(tail)
        if at_end:
            self._pass_over_packed()
        self._entrance.forget(here)
        self._places.forget(here)
        took = time.thread_time() - began
        self._scan_again = now + min(took * _SHARE, _SELDOM)
        self._scan_at = now + (_SAFETY if watched else max(self.config.scan_interval, took * _LITTLE))
        self._await_more(now)

    def _await_more(self, now: float) -> None:
        """Look again when there is more of the files that wait."""
        for path, size in self._entrance.waiting.items():
            if not self._watch.watch_file(path, path):
                self._scan_at = min(self._scan_at, now + self.config.scan_interval)
                continue
            facts = self._entrance.facts(path)
            if facts is None or facts.st_size != size:  # since it was looked at: that would not be told
                self._scan_at = min(self._scan_at, max(now, self._scan_again))

    def _find(self, *, at_end: bool) -> set[tuple[int, int]]:
        """Enter what is new; return all files there are."""
        here = set()
        waiting = {packed.path for packed in self._packed}
        # The short names first: of a copy, which has a longer one, it is asked what its original begins with.
        for path in sorted(self._patterns.paths(), key=len):
            facts = self._entrance.facts(path)
            if facts is None:
                continue
            key = facts.st_dev, facts.st_ino
            here.add(key)
            if key in self._tails or path in waiting:
                continue
            entered = self._entrance.enter(path, facts, at_end=at_end)
            if isinstance(entered, Tail):
                self._follow_tail(entered)
            elif entered is not None and not self._is_unpacked(key):
                self._packed.append(entered)
            if self._stop.is_set():
                break
        self._packed.sort(key=lambda packed: packed.written, reverse=True)
        if self._unlinked:
            link(self._paths)
            self._unlinked = False
        return here

    def _follow_tail(self, tail: Tail) -> None:
        if tail.copy_of:
            self._settle_original(tail)
        elif tail.is_new:
            tail.before = self._paths.get(tail.path)
            self._unlinked |= tail.before is None
        self._tails[tail.key] = self._paths[tail.path] = tail
        self._opened[tail.key] = tail
        self._look_at(tail)
        self._make_room()

    def _settle_original(self, copy: Tail) -> None:
        """Read no more of what a copy goes on with, also if it is not known yet that it was truncated."""
        for tail in self._tails.values():
            if tail.part == copy.copy_of and tail.file is not None:
                self._changed(tail)
                break
        for _, tail in self._broken:
            if tail.part == copy.copy_of and tail.settle():
                copy.go_to(tail.offset)
        self._broken = [(until, tail) for until, tail in self._broken if tail.part != copy.copy_of]
        for tail in self._tails.values():
            if tail.before is not None and tail.before.part == copy.copy_of:
                tail.before = copy

    def _turns(self, now: float) -> bool:
        """Give each file that is due its turn; whether any had something."""
        busy = False
        for tail in list(self._awake.values()):
            if now < tail.due:
                continue
            if self._turn(tail, now):
                busy = True
            if self._stop.is_set():
                break
        return busy

    def _turn(self, tail: Tail, now: float) -> bool:
        """Give a file its turn; whether there was anything to read."""
        try:
            read = self._read(tail)
        except ChangedError:
            say("WARNING", f"{tail.path} was truncated: reading it from its start")
            self._changed(tail)
            return True
        except OSError as error:
            if tail.file is None and isinstance(error, FileNotFoundError):
                self._leave(tail)
                return False
            self._fail(tail.path, error)
            tail.due = now + _SELDOM
            return False
        if read:
            tail.grown, tail.due = now, 0.0
        elif tail.left and self._is_done(tail, now):
            self._leave(tail)
        else:
            self._rest_awhile(tail, now)
        return read > 0

    def _read(self, tail: Tail) -> int:
        """Read what is new in a file, or a part of it. Raises OSError and ChangedError."""
        length = tail.length()
        if tail.file is None:
            if tail.left or length == tail.at:
                return 0
            if not tail.reopen():
                tail.left = tail.left or time.monotonic()
                return 0
            self._opened[tail.key] = tail
            self._make_room()
        if tail.lent_to is not None:
            return 0
        if length < tail.at:
            raise ChangedError
        if length == tail.at or not may_begin(tail, time.monotonic()):
            return 0
        read = tail.read(_TURN)
        if read:
            self._opened[tail.key] = self._opened.pop(tail.key)
        return read

    def _is_done(self, tail: Tail, now: float) -> bool:
        """Whether a rotated file grows no more; then its last line is complete."""
        if tail.lent_to is not None or (tail.before is not None and not tail.is_at_end()):
            return False
        if tail.file is not None:
            if now - max(tail.grown, tail.left) < self.config.close_after:
                return False
            tail.finish()
        return True

    def _rest_awhile(self, tail: Tail, now: float) -> None:
        """Say when a file is looked at again: when it is told to have changed, or in a while."""
        quiet = now - tail.grown
        if tail.feed.joining and quiet > tail.feed.patience and tail.file is not None:
            tail.join_rest()
        settled = not tail.left and quiet > max(_QUIET, tail.feed.patience if tail.feed.joining else 0.0)
        # Looked at once more after the watch has begun: what was written in between would not be told.
        if (
            settled
            and self._watch.watch_file(tail.path, tail.key)
            and tail.length() == tail.at
            and not tail.left
        ):
            self._awake.pop(tail.key, None)
            return
        seldom = max(_SELDOM, len(self._awake) / _LOOKS)
        tail.due = now + max(self.config.poll_interval, min(seldom, quiet / _PATIENCE))

    def _changed(self, tail: Tail, *, handed_on: bool = True) -> None:
        """Read a file that holds another content from its start; its last record may go on there."""
        heir = tail.heir(self._places.fresh(*tail.key))
        if handed_on:
            heir.before = tail if tail.feed.joining else tail.before
        if tail.feed.pending:
            self._broken.append((time.monotonic() + self.config.close_after, tail))
        self._tails[heir.key] = self._opened[heir.key] = self._paths[heir.path] = heir
        self._look_at(heir)
        self._scan_at = 0.0  # for a copy of what was there

    def _leave(self, tail: Tail) -> None:
        """Close a file for good, and see under which names it is found."""
        tail.close()
        for known in (self._tails, self._opened, self._awake):
            known.pop(tail.key, None)
        if self._paths.get(tail.path) is tail:
            del self._paths[tail.path]
        self._scan_at = min(self._scan_at, max(time.monotonic(), self._scan_again))

    def _give_up_broken(self, now: float) -> None:
        """Take the beginnings of lines whose ends no copy has, as far as that is known."""
        packed = self._unpacking
        kept = []
        for until, tail in self._broken:
            undecided = packed is not None and not packed.decided and not self._stop.is_set()
            if until > now or (undecided and packed and is_copy_name(packed.path, tail.path, packed=True)):
                kept.append((until, tail))
            else:
                tail.finish()
        self._broken = kept

    def _make_room(self) -> None:
        """Close the files that were quiet for longest, while more are open than may be."""
        over = len(self._opened) - self.config.max_open_files
        if over <= 0:
            return
        for tail in list(self._here())[:over]:
            tail.rest()
            del self._opened[tail.key]

    def _here(self) -> Iterator[Tail]:
        last = next(reversed(self._opened.values()))
        for tail in self._opened.values():
            if not tail.left and tail.lent_to is None and tail is not last:
                yield tail

    # ── compressed ──

    def _pass_over_packed(self) -> None:
        """Note that the compressed files that are there are not to be read."""
        for packed in self._packed:
            opened = self._entrance.enter_packed(packed, at_end=True)
            if opened is not None:
                opened.close()
        self._packed.clear()

    def _is_unpacked(self, key: tuple[int, int]) -> bool:
        return self._unpacking is not None and self._unpacking.key == key

    def _unpack(self, now: float) -> bool:
        """Read a part of the oldest compressed file; whether there was anything."""
        tail = self._unpacking
        if tail is None:
            if not self._packed:
                return False
            packed = self._packed.pop()
            self._settle_for(packed)
            tail = self._unpacking = self._entrance.enter_packed(packed)
            self._stuck = 0.0
            return True
        try:
            read = tail.turn(_TURN)
            if tail.copy_of is not None:
                self._settle_packed(tail.copy_of)
            if read:
                self._stuck = 0.0
                return True
            if not tail.whole:
                self._stuck = self._stuck or now
                if now - self._stuck < self.config.close_after:
                    return False
                if not tail.decided:
                    tail.decide()
                    return True
                say("WARNING", f"{tail.path} ends in the middle")
        except DamagedError as error:
            say("WARNING", f"{tail.path} is damaged: {error}")
        except OSError as error:
            self._fail(tail.path, error)
        self._finish_packed(tail)
        return True

    def _settle_for(self, packed: Packed) -> None:
        """Say where that was left of which a compressed file may be made: from there on it has all."""
        for tail in self._tails.values():
            if tail.lent_to is not None:
                tail.settle()
        for _, broken in self._broken:
            broken.settle()
            if is_copy_name(packed.path, broken.path, packed=True):
                for tail in self._tails.values():
                    tail.before = None if tail.before is broken else tail.before

    def _settle_packed(self, original: Position) -> None:
        """Read no more of what a compressed file goes on with, also where nobody saw yet that it has gone."""
        tail = self._tails.get((original.device, original.inode))
        if tail is not None and tail.file is not None and tail.is_at(original):
            self._changed(tail, handed_on=False)
        self._broken = [(until, tail) for until, tail in self._broken if not tail.is_at(original)]

    def _finish_packed(self, tail: PackedTail) -> None:
        tail.finish()
        try:
            self._entrance.settle(tail.key, tail.facts())
        except OSError as error:
            self._fail(tail.path, error)
        tail.close()
        self._unpacking = None

    def _fail(self, path: str, error: OSError) -> None:
        text = f"cannot read {path}: {error.strerror or error}"
        if text not in self._failures:
            self._failures.append(text)
            say("WARNING", text)


def _build(config: FileConfig, context: SourceContext, /) -> FileSource:
    return FileSource(config, context)


SOURCE: Final = SourceKind("file", FileConfig, _build, sole=True)
