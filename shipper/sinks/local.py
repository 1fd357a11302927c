"""Sink `local`: an embedded store on this machine, read with `logferry query`, DuckDB or pandas.

`Delivered` means on the disk (fsync). Compaction and retention run now and then in a process of their own at
low priority; the application never imports DuckDB. Where no process can be started or DuckDB is missing, the
store stays as NDJSON and is bounded all the same.
"""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from ..config.fields import Duration, Size, setting
from ..model import Batch, Limits, Retry, Verdict
from ..ports import SinkContext, SinkKind
from ..store.compact import Compactor
from ..store.layout import Layout, StoreError, locked
from ..store.retention import Limits as Retention
from ..store.writer import StoreWriter

__all__ = ["SINK", "LocalConfig", "LocalSink"]

_LIMITS: Final = Limits(max_events=10_000, max_bytes=4_000_000, max_event_bytes=8_000_000, overhead=70)


@dataclass(frozen=True, slots=True)
class LocalConfig:
    """Options of the sink `local`."""

    path: Path = setting(help="the store's directory, e.g. ./logs")
    retention_age: Duration | None = setting(
        Duration(7 * 86_400.0), help="events older than this, and stored longer ago, are removed; null: never"
    )
    retention_bytes: Size | None = setting(
        Size(2 << 30), help="the oldest events go when the store takes more; null: no limit", minimum=1 << 20
    )
    compact: Literal["auto", "off"] = setting(
        "auto", help="auto: turn NDJSON into Parquet, in a process of its own, if DuckDB is there; off: never"
    )
    compact_every: Duration = setting(
        Duration(60.0), help="how often to see whether there is something to compact", minimum=1
    )
    roll_bytes: Size = setting(
        Size(32 << 20), help="an NDJSON file of this size is closed", minimum=1 << 16, maximum=1 << 29
    )
    roll_age: Duration = setting(Duration(120.0), help="an NDJSON file of this age is closed", minimum=1)


class LocalSink:
    """Writes to a store, and has it compacted. `launch` starts a compaction; None: the real one."""

    def __init__(
        self,
        config: LocalConfig,
        fields: Mapping[str, str],
        *,
        clock: Callable[[], float] = time.monotonic,
        launch: Callable[[Sequence[str]], None] | None = None,
    ) -> None:
        self._config, self._fields, self._clock = config, dict(fields), clock
        self._launch = launch or _launch
        self._layout = Layout(config.path)
        self._retention = Retention(config.retention_age, config.retention_bytes)
        self._writer = StoreWriter(
            self._layout, roll_bytes=config.roll_bytes, roll_age=config.roll_age, clock=clock
        )
        self._declared = False
        self._next_look = clock() + min(config.compact_every, 5.0)

    @property
    def limits(self) -> Limits:
        """What one batch may hold."""
        return _LIMITS

    def send(self, batch: Batch) -> Verdict:
        """Store one batch, durably; now and then start a compaction."""
        if not self._declared:
            try:
                self._layout.create()
                if self._fields:
                    self._layout.declare(self._fields)
            except OSError as error:
                return Retry(f"{self._layout.path}: {error.strerror or error}", pause=True)
            self._declared = True
        verdict = self._writer.write(batch)
        if self._clock() >= self._next_look:
            self._next_look = self._clock() + self._config.compact_every
            self._look_after()
        return verdict

    def check(self) -> Sequence[str]:
        """Tell what is wrong with the place, and whether queries and compaction will work."""
        wrong = []
        try:
            self._layout.create()
            self._layout.read_manifest()
        except (OSError, StoreError) as error:
            wrong.append(f"{self._layout.path}: {error}")
        else:
            if not os.access(self._layout.fresh, os.W_OK | os.X_OK):
                wrong.append(f"{self._layout.fresh}: no permission to write")
        if self._config.compact == "auto" and not _duckdb_is_there():
            wrong.append('the store is compacted and read with DuckDB: pip install "logferry[local]"')
        return wrong

    def close(self) -> None:
        """Let go of the files; a compaction under way goes on by itself."""
        self._writer.close()

    def _look_after(self) -> None:
        """Start a compaction unless one is under way; without any, only keep the store within its bounds."""
        with contextlib.suppress(OSError, StoreError):
            if self._config.compact == "auto" and _duckdb_is_there() and _python():
                with locked(self._layout.compact_lock) as free:
                    pass
                if free and self._worth_it():
                    self._launch(self._command())
            else:
                Compactor(self._layout, self._retention, patience=0.0).retain()

    def _worth_it(self) -> bool:
        """Tell whether there are fresh files besides the one this sink is writing, or old Parquet files."""
        files = self._layout.list_fresh()
        return any(file.last is not None for file in files) or len(files) > 1 or bool(self._stale())

    def _stale(self) -> bool:
        manifest = self._layout.read_manifest()
        return sum(file.bytes for file in manifest.files) > (self._retention.bytes or float("inf")) or any(
            self._retention.age is not None and time.time() - file.stored > self._retention.age
            for file in manifest.files
        )

    def _command(self) -> list[str]:
        command = [_python(), "-m", f"{StoreWriter.__module__.rpartition('.')[0]}.compact"]
        if self._retention.age is not None:
            command += ["--age", str(self._retention.age)]
        if self._retention.bytes is not None:
            command += ["--bytes", str(self._retention.bytes)]
        return [*command, "--", str(self._layout.path)]


def _python() -> str:
    """Return the interpreter; empty when the process is something else that embeds one."""
    return sys.executable if "python" in Path(sys.executable or "").name.lower() else ""


def _duckdb_is_there() -> bool:
    return importlib.util.find_spec("duckdb") is not None


def _launch(command: Sequence[str]) -> None:
    """Start a process of its own session, and a thread that takes its exit status: no zombie stays."""
    process = subprocess.Popen(  # noqa: S603 - our own module, under our own interpreter
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    threading.Thread(target=process.wait, name="logferry-compaction", daemon=True).start()


def _build(config: LocalConfig, context: SinkContext) -> LocalSink:
    return LocalSink(config, context.schema.declared)


SINK: Final = SinkKind("local", LocalConfig, _build, writes=lambda config: config.path)
