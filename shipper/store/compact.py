"""Compaction: `python -m logferry.shipper.store.compact PATH`, one at a time, in a process of its own.

Fresh lines become Parquet files by date; small Parquet files of a date become larger ones; what is too old or
too much goes. A crash at any point loses and doubles nothing: until the manifest is replaced, everything that
was made is swept away by the next run; after it, everything that was replaced is. `step` names the points.

Nothing is taken that was written within the last `settle` seconds, so that whoever follows the fresh files
(`tail`) has seen it before it goes.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final, TypeAlias

import orjson

from . import parquet, retention
from .layout import FreshFile, Layout, Manifest, ParquetFile, StoreError, locked, sync_directory
from .merging import mergeable
from .retention import Limits
from .rewrite import Rewriter, columns
from .writer import ROLL_AGE, seal

__all__ = ["Compactor", "Report", "main"]

_ROUND_BYTES: Final = 256 * 1024 * 1024  # NDJSON that one round takes at most: bounds disk and memory
# What one Parquet file is made of at most. DuckDB sorts rows of JSON in memory: 500,000 of them did not fit
# into what it is given, and a backlog was never compacted. Merging, later, sorts Parquet, which spills.
_PART_ROWS: Final = 122_880
_PART_BYTES: Final = 64 * 1024 * 1024
_DAMAGED_BYTES: Final = 16 * 1024 * 1024
_FORGET: Final = 90 * 86_400.0  # a spool that has written nothing for so long is not retried any more
_Staged: TypeAlias = tuple[Path, ParquetFile]  # where it lies, and what it is to be


@dataclass(slots=True)
class Report:
    """What one run did, in events and files."""

    events: int = 0
    damaged: int = 0
    merged: int = 0
    expired: int = 0
    skipped: str = ""


def _no_step(_: str) -> None:
    pass


class Compactor:
    """One store's compaction. `now`: Unix time. `settle`, `idle`, `patience`: seconds.

    `idle`: an unsealed file not written for so long is sealed. `patience`: how long readers are waited for
    before what was replaced is deleted (a reader that is slower looks again by itself).
    """

    def __init__(
        self,
        layout: Layout,
        limits: Limits = Limits(),  # noqa: B008 - a frozen value
        *,
        now: Callable[[], float] = time.time,
        step: Callable[[str], None] = _no_step,
        settle: float = 3.0,
        idle: float = ROLL_AGE,
        patience: float = 30.0,
    ) -> None:
        self.layout, self.limits = layout, limits
        self._now, self._step = now, step
        self._settle, self._idle, self._patience = settle, idle, patience
        self._manifest = Manifest()

    def run(self) -> Report:
        """Do everything there is to do; nothing when another process is at it.

        Raises OSError, `StoreError`.
        """
        report = Report()
        with locked(self.layout.compact_lock) as mine:
            if not mine:
                report.skipped = "another process is compacting"
                return report
            self._manifest = self.layout.read_manifest()
            self.sweep()
            try:
                while self._compact(report):
                    pass
                while self._merge(report):
                    pass
            finally:
                self._expire(report)
                self._drop_staging()
        return report

    def retain(self) -> Report:
        """Only delete what is too old or too much: for stores that are not compacted. Needs no DuckDB."""
        report = Report()
        with locked(self.layout.compact_lock) as mine:
            if mine:
                self._manifest = self.layout.read_manifest()
                self._expire_fresh(report)
                self._expire(report)
        return report

    def sweep(self) -> None:
        """Delete what an interrupted run left: half-made files, and files that do not count (any more)."""
        self._drop_staging()
        counted = {file.path for file in self._manifest.files}
        for path in self.layout.events.glob("date=*/*.parquet"):
            if f"{path.parent.name}/{path.name}" not in counted:
                path.unlink()
        self._delete(f.path for f in self.layout.list_fresh() if self._manifest.consumed(f))

    def _drop_staging(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.layout.staging)
        self.layout.staging.mkdir(mode=0o700)

    def _due(self) -> list[FreshFile]:
        """Seal what lies idle; return sealed files to take, of each spool the oldest first, up to a bound."""
        now, taken, size = self._now(), [], 0
        held_back: set[str] = set()
        for found in self.layout.list_fresh():
            try:
                facts = found.path.stat()
            except FileNotFoundError:  # its writer sealed it just now
                held_back.add(found.spool)
                continue
            file: FreshFile | None = found
            if found.last is None and facts.st_mtime <= now - self._idle:
                file = seal(found)
            ready = file is not None and file.last is not None and facts.st_mtime <= now - self._settle
            # The high-water mark allows no gaps: once a file of a spool has to wait, later ones wait too.
            if not ready or size >= _ROUND_BYTES:
                held_back.add(found.spool)
            elif file is not None and found.spool not in held_back:
                taken.append(file)
                size += facts.st_size
        return taken

    def _compact(self, report: Report) -> bool:
        files = self._due()
        if not files:
            return False
        known = columns(self.layout.read_declared())
        parts, damaged = self._split(files, known)
        self._step("split")
        made: list[_Staged] = []
        for number, (date, rows, count) in enumerate(parts):
            name = f"date={date}/{self._manifest.generation + 1:08}-{number:04}.parquet"
            target = self.layout.staging / f"{number}.parquet"
            with parquet.session(self.layout.staging) as connection:
                written = parquet.from_rows(connection, rows, known, target)
            if written.rows != count:
                raise StoreError(f"{target}: {written.rows} of {count} events; nothing was changed")
            rows.unlink()
            made.append((target, self._described(name, written)))
        self._step("parquet")
        self._quarantine(damaged)
        marks = dict(self._manifest.high_water)
        for file in files:
            assert file.last is not None
            marks[file.spool] = (max(file.last, marks.get(file.spool, (0, 0.0))[0]), self._now())
        changed = replace(self._manifest, high_water=marks, damaged=self._manifest.damaged + len(damaged))
        self._publish(changed, made, [])
        self._delete(file.path for file in files)
        report.events += sum(file.rows for _, file in made)
        report.damaged += len(damaged)
        return True

    def _split(
        self, files: Sequence[FreshFile], known: dict[str, str]
    ) -> tuple[list[tuple[str, Path, int]], list[bytes]]:
        """Write rows into staging files of one date each; return date, file, count, and what is no event."""
        outs: dict[str, tuple[Path, IO[bytes]]] = {}
        parts: dict[Path, tuple[str, int]] = {}
        damaged: list[bytes] = []
        rewriter = Rewriter(known)
        with contextlib.ExitStack() as stack:
            for file in files:
                written = datetime.fromtimestamp(file.path.stat().st_mtime, UTC)
                fallback = written.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
                with file.path.open("rb") as lines:
                    for line in lines:
                        made = rewriter.row(line, fallback)
                        if made is None:
                            damaged.append(line.rstrip(b"\n"))
                            continue
                        date, data = made
                        if date not in outs:
                            path = self.layout.staging / f"{date}-{len(parts)}.ndjson"
                            outs[date] = path, stack.enter_context(path.open("wb"))
                        path, out = outs[date]
                        out.write(data)
                        count = parts.get(path, ("", 0))[1] + 1
                        parts[path] = date, count
                        if count >= _PART_ROWS or out.tell() >= _PART_BYTES:
                            out.close()
                            del outs[date]
        return [(date, path, count) for path, (date, count) in parts.items()], damaged

    def _quarantine(self, lines: Sequence[bytes]) -> None:
        """Keep lines that are no events where a human can look at them, up to a bound; all are counted."""
        if not lines:
            return
        fd = os.open(self.layout.damaged, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "ab") as file:
            for line in lines:
                if file.tell() < _DAMAGED_BYTES:
                    file.write(line + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _merge(self, report: Report) -> bool:
        """Merge one group of small files of one date; False when there is none."""
        today = datetime.fromtimestamp(self._now(), UTC).strftime("date=%Y-%m-%d")
        group = mergeable(self._manifest.files, today)
        if not group:
            return False
        date = group[0].path.split("/")[0]
        name = f"{date}/{self._manifest.generation + 1:08}-0000.parquet"
        target = self.layout.staging / "0.parquet"
        with parquet.session(self.layout.staging) as connection:
            paths = [self.layout.events / file.path for file in group]
            made = self._described(name, parquet.merged(connection, paths, target))
        if made.rows != sum(file.rows for file in group):
            raise StoreError(f"{target}: {made.rows} events after merging; nothing was changed")
        made = replace(made, stored=max(file.stored for file in group))
        self._step("merged")
        self._publish(self._manifest, [(target, made)], group)
        self._delete(self.layout.events / file.path for file in group)
        report.merged += len(group)
        return True

    def _described(self, name: str, written: parquet.Written) -> ParquetFile:
        return ParquetFile(
            name, written.rows, written.bytes, written.oldest, written.newest, stored=self._now()
        )

    def _publish(self, manifest: Manifest, made: Sequence[_Staged], gone: Sequence[ParquetFile]) -> None:
        """Put staged files in place, then replace the manifest: the one step at which readers change over."""
        for staged, file in made:
            target = self.layout.events / file.path
            target.parent.mkdir(mode=0o700, exist_ok=True)
            staged.rename(target)
            sync_directory(target.parent)
        sync_directory(self.layout.events)
        self._step("placed")
        kept = tuple(file for file in manifest.files if file not in gone)
        self._manifest = replace(
            manifest, generation=manifest.generation + 1, files=(*kept, *(file for _, file in made))
        )
        self.layout.write_manifest(self._manifest)
        self._step("manifest")

    def _delete(self, paths: Iterable[Path]) -> None:
        """Delete what does not count any more, when readers have let go of it or patience is at its end."""
        gone = list(paths)
        if not gone:
            return
        deadline = time.monotonic() + self._patience
        while not self._readers_gone() and time.monotonic() < deadline:
            time.sleep(0.05)
        for number, path in enumerate(gone):
            path.unlink(missing_ok=True)
            if number == 0:
                self._step("deleting")
        for directory in {path.parent for path in gone}:
            if directory.parent == self.layout.events:
                with contextlib.suppress(OSError):  # not empty
                    directory.rmdir()
                    continue
            sync_directory(directory)

    def _readers_gone(self) -> bool:
        with locked(self.layout.readers) as mine:
            return mine

    def _expire(self, report: Report) -> None:
        fresh = 0
        for file in self.layout.list_fresh():
            with contextlib.suppress(FileNotFoundError):
                fresh += file.path.stat().st_size
        gone = retention.expired_parquet(self._manifest.files, fresh, self.limits, self._now())
        old = {spool for spool, mark in self._manifest.high_water.items() if mark[1] < self._now() - _FORGET}
        if not gone and not old:
            return
        marks = {spool: mark for spool, mark in self._manifest.high_water.items() if spool not in old}
        rows = sum(file.rows for file in gone)
        self._publish(
            replace(self._manifest, high_water=marks, expired=self._manifest.expired + rows), [], gone
        )
        self._delete(self.layout.events / file.path for file in gone)
        report.expired += rows

    def _expire_fresh(self, report: Report) -> None:
        files = []
        for file in self.layout.list_fresh():
            with contextlib.suppress(FileNotFoundError):
                facts = file.path.stat()
                files.append((file, facts.st_size, facts.st_mtime))
        gone = retention.expired_fresh(files, self.limits, self._now())
        if not gone:
            return
        marks = dict(self._manifest.high_water)
        rows = 0
        for file in gone:
            assert file.last is not None
            marks[file.spool] = (max(file.last, marks.get(file.spool, (0, 0.0))[0]), self._now())
            rows += _lines(file.path)
        # The mark swallows whatever is older in the same spool; the oldest go first, so that is nothing else.
        self._publish(
            replace(self._manifest, high_water=marks, expired=self._manifest.expired + rows), [], []
        )
        self._delete(file.path for file in gone)
        report.expired += rows


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compact one store at low priority; the outcome is left in `compaction.json`. 0: done, 1: failed."""
    parser = argparse.ArgumentParser(
        prog="python -m logferry.shipper.store.compact", description=main.__doc__
    )
    parser.add_argument("path", type=Path)
    parser.add_argument("--age", type=float, help="seconds to keep events for")
    parser.add_argument("--bytes", type=int, help="bytes the store may take")
    parser.add_argument("--now", action="store_true", help="take everything, also what was written just now")
    options = parser.parse_args(arguments)
    with contextlib.suppress(OSError):
        os.nice(10)
    layout = Layout(options.path)
    limits = Limits(options.age, options.bytes)
    timing: dict[str, Any] = {"settle": 0.0, "idle": 0.0} if options.now else {}
    outcome: dict[str, Any] = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "error": None}
    try:
        layout.create()
        report = Compactor(layout, limits, **timing).run()
        outcome |= {"events": report.events, "merged": report.merged, "expired": report.expired}
    except Exception as error:  # noqa: BLE001 - whatever it was, it is kept for `Store.stats` and told
        outcome["error"] = f"{type(error).__name__}: {error}"
        sys.stderr.write(f"{outcome['error']}\n")
        with contextlib.suppress(OSError, StoreError):  # what cannot be compacted is still bounded
            Compactor(layout, limits).retain()
    with contextlib.suppress(OSError):
        draft = layout.path / f".compaction.{os.getpid()}"
        draft.write_bytes(orjson.dumps(outcome))
        draft.chmod(0o600)
        draft.replace(layout.path / "compaction.json")
    return 0 if outcome["error"] is None else 1


if __name__ == "__main__":
    sys.exit(main())
