"""The local store on disk: its names, its manifest, and the order in which things change.

    <path>/fresh/<spool>-<first>.ndjson          the file being written: events of one spool, in order
    <path>/fresh/<spool>-<first>-<last>.ndjson   sealed: never written again
    <path>/events/date=YYYY-MM-DD/<n>.parquet    compacted: events by the UTC date of their time
    <path>/manifest.json                         which Parquet files count, and what they hold
    <path>/schema.json                           declared fields, name → type
    <path>/staging/                              half-made Parquet files; emptied by the next compaction
    <path>/damaged.ndjson                        lines that were no events, as they were found
    <path>/compact.lock, readers.lock            held by the one compactor; by readers, shared

Rules that everything here depends on:

1. A fresh file is appended to and sealed (renamed) only under an exclusive flock of it. A spool's sequences
   grow within a file and from file to file, so names say which sequences a file holds.
2. `manifest.high_water[spool]` is the last sequence of that spool that the Parquet files hold (or that
   retention removed). A fresh file that begins at or below it is *consumed*: no reader counts it any more.
3. Compaction puts Parquet files in place, then replaces the manifest (the one step at which readers change
   over), then deletes what was consumed. A Parquet file that the manifest does not name does not count.
4. A reader lists fresh files until two listings agree, and reads the manifest after that. So an event is in
   what it sees exactly once; a file that vanishes before it is opened means: look again.
5. Only the holder of `compact.lock` deletes, and it first waits (bounded) for readers to let go.

Someone who reads the directories with other tools sees every event, and in the moment between the change of
the manifest and the deletion some of them twice; `event_id` tells.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import orjson

from ..moment import moment

__all__ = [
    "FreshFile",
    "Layout",
    "Manifest",
    "ParquetFile",
    "StoreError",
    "locked",
    "sync_directory",
]

_FRESH: Final = re.compile(r"([0-9a-f]{32})-(\d{1,20})(?:-(\d{1,20}))?\.ndjson", re.ASCII)
_PARQUET: Final = re.compile(r"date=\d{4}-\d{2}-\d{2}/[0-9-]+\.parquet", re.ASCII)
_VERSION: Final = 1
_PRIVATE: Final = 0o600


class StoreError(Exception):
    """The store cannot be used: what happened, where, and what to do."""


@dataclass(frozen=True, slots=True)
class FreshFile:
    """One NDJSON file of one spool. `last` None: it is still being written."""

    path: Path
    spool: str
    first: int
    last: int | None

    @classmethod
    def of(cls, path: Path) -> FreshFile | None:
        """Read a file's name; None when it is not ours."""
        match = _FRESH.fullmatch(path.name)
        if match is None:
            return None
        return cls(path, match[1], int(match[2]), int(match[3]) if match[3] else None)

    def sealed_as(self, last: int) -> FreshFile:
        """Return this file under the name that says it ends with `last`."""
        name = f"{self.spool}-{self.first:012}-{last:012}.ndjson"
        return replace(self, path=self.path.with_name(name), last=last)


@dataclass(frozen=True, slots=True)
class ParquetFile:
    """One Parquet file: `path` below `events/`; times of its events as in events; `stored`: Unix time."""

    path: str
    rows: int
    bytes: int
    oldest: str
    newest: str
    stored: float


@dataclass(frozen=True, slots=True)
class Manifest:
    """What counts. `high_water`: spool → (last sequence compacted, Unix time of that)."""

    generation: int = 0
    files: tuple[ParquetFile, ...] = ()
    high_water: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    damaged: int = 0
    expired: int = 0

    def consumed(self, file: FreshFile) -> bool:
        """Tell whether the events of a fresh file are in the Parquet files already."""
        mark = self.high_water.get(file.spool)
        return mark is not None and file.first <= mark[0]


class Layout:
    """The places of one store."""

    __slots__ = (
        "compact_lock",
        "damaged",
        "events",
        "fresh",
        "manifest",
        "path",
        "readers",
        "schema",
        "staging",
    )

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).expanduser().absolute()
        self.fresh = self.path / "fresh"
        self.events = self.path / "events"
        self.staging = self.path / "staging"
        self.manifest = self.path / "manifest.json"
        self.schema = self.path / "schema.json"
        self.damaged = self.path / "damaged.ndjson"
        self.compact_lock = self.path / "compact.lock"
        self.readers = self.path / "readers.lock"

    def create(self) -> None:
        """Make the directories (0700), durably. Raises OSError."""
        if self.fresh.is_dir() and self.events.is_dir() and self.readers.exists():
            return
        above = [place for place in self.path.parents if not place.exists()]
        # `parents=True` would leave the modes of those above to the umask.
        for directory in (*reversed(above), self.path, self.fresh, self.events, self.staging):
            directory.mkdir(mode=0o700, exist_ok=True)
        os.close(os.open(self.readers, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE))
        sync_directory(self.path)
        sync_directory(self.path.parent)

    def new_fresh(self, spool: str, first: int) -> FreshFile:
        """Return the name of the file that begins with `first`."""
        return FreshFile(self.fresh / f"{spool}-{first:012}.ndjson", spool, first, None)

    def list_fresh(self) -> list[FreshFile]:
        """Return the fresh files in order of spool and sequence, consumed ones included.

        Listing a directory while a file in it is renamed may show the file twice or not at all, so it is done
        until two listings agree (bounded: under constant change the last one is taken).
        """
        before: list[str] | None = None
        for _ in range(20):
            try:
                names = sorted(entry.name for entry in self.fresh.iterdir())
            except FileNotFoundError:
                return []
            if names == before:
                break
            before = names
        found: dict[tuple[str, int], FreshFile] = {}
        for name in before or []:
            file = FreshFile.of(self.fresh / name)
            if file is not None and (file.last is not None or (file.spool, file.first) not in found):
                found[file.spool, file.first] = file
        return [found[key] for key in sorted(found)]

    def read_manifest(self) -> Manifest:
        """Return the manifest; empty when there is none. Raises `StoreError` when it is not ours."""
        try:
            raw: dict[str, Any] = orjson.loads(self.manifest.read_bytes())
        except FileNotFoundError:
            return Manifest()
        except orjson.JSONDecodeError as error:
            raise StoreError(f"{self.manifest}: not a manifest ({error}); restore it from a backup") from None
        if raw.get("version") != _VERSION:
            raise StoreError(f"{self.manifest}: version {raw.get('version')}; this logferry reads {_VERSION}")
        files = tuple(ParquetFile(**file) for file in raw["files"])
        for file in files:
            if not _PARQUET.fullmatch(file.path):
                raise StoreError(f"{self.manifest}: {file.path!r} is no name of ours")
        marks = {spool: (int(mark[0]), float(mark[1])) for spool, mark in raw["high_water"].items()}
        return Manifest(raw["generation"], files, marks, raw["damaged"], raw["expired"])

    def write_manifest(self, manifest: Manifest) -> None:
        """Replace the manifest in one step, durably. Only for the holder of `compact.lock`."""
        self._replace(self.manifest, orjson.dumps({"version": _VERSION, **_plain(manifest)}))

    def read_declared(self) -> dict[str, str]:
        """Return the declared fields of all services that write here, name → type."""
        try:
            raw = orjson.loads(self.schema.read_bytes())
        except (FileNotFoundError, orjson.JSONDecodeError):
            return {}
        return {str(name): str(kind) for name, kind in raw.items()}

    def declare(self, fields: Mapping[str, str]) -> None:
        """Add declared fields; a name that is there keeps its type. Raises OSError."""
        with locked(self.path / "schema.lock", wait=True):
            known = self.read_declared()
            if not fields.keys() <= known.keys():
                self._replace(self.schema, orjson.dumps({**fields, **known}, option=orjson.OPT_INDENT_2))

    def _replace(self, target: Path, content: bytes) -> None:
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _PRIVATE)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
        sync_directory(target.parent)


def _plain(manifest: Manifest) -> dict[str, Any]:
    return {
        "generation": manifest.generation,
        "files": manifest.files,
        "high_water": manifest.high_water,
        "damaged": manifest.damaged,
        "expired": manifest.expired,
    }


def sync_directory(path: Path) -> None:
    """Make names in a directory durable. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def locked(path: Path, *, shared: bool = False, wait: bool = False) -> Iterator[bool]:
    """Hold the flock of `path` (made when missing, unless shared); yield whether it was to be had.

    A shared lock is asked of a file that may be read-only or missing: then there is nothing to hold.
    """
    flags = os.O_RDONLY if shared else os.O_RDWR | os.O_CREAT
    try:
        fd = os.open(path, flags | os.O_CLOEXEC, _PRIVATE)
    except OSError:
        if not shared:
            raise
        yield False
        return
    with moment(fd):
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
