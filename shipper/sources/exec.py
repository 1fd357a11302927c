"""A command's output: one event a line, started again when it ends.

Rules

- The command runs in a process group of its own. To stop, the group gets SIGTERM and, after `stop_timeout`,
  SIGKILL; what it says until then is read. What it leaves behind when it ends by itself is ended, too.
- It is started again after a pause that doubles from `restart_after` to `restart_at_most`, and is short again
  when the command has run for longer than that.
- While the spool is full nothing is read: the pipe fills, and the command waits.
- There is no position to go back to: what has been said and not read when the agent is killed is lost with
  the pipe. A killed agent cannot end the command; that gets SIGPIPE with its next line.
- With `--once` the command runs once, to its end; a status other than 0 is an error.
"""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from ..config.fields import Duration, Size, setting
from ..core.lines import LineSplitter
from ..core.multiline import Joiner
from ..diagnostics import say
from ..ports import SourceContext, SourceKind
from .blocks import LineBlocks
from .errors import SourceError
from .parsers import (
    MULTILINE_HELP,
    PARSER_HELP,
    MultilineConfig,
    MultilineName,
    ParserConfig,
    ParserName,
    checked,
)
from .parsers.joiners import joiner_of, timeout_of

__all__ = ["SOURCE", "ExecConfig", "ExecSource"]

_CHUNK: Final = 256 * 1024
_AFTER: Final = 1.0  # seconds that what the command left behind may still say something
_NEVER: Final = float("inf")
_LOOK: Final = 0.25  # seconds between looks at a process that cannot be waited for otherwise


@dataclass(frozen=True, slots=True)
class ExecConfig:
    """Which command, and what becomes of what it says."""

    command: tuple[str, ...] = setting(
        help="the program and its arguments; no shell reads them", example="[journalctl, -f, -o, json]"
    )
    directory: Path | None = setting(None, help="where it runs; empty: where the agent runs")
    environment: Mapping[str, str] = setting(factory=dict, help="variables beside the agent's own")
    stderr: Literal["read", "ignore"] = setting(
        "read", help="read: its events have `stream: stderr`; ignore: it is thrown away"
    )
    restart: Literal["always", "on_failure", "never"] = setting(
        "always", help="whether it is started again when it has ended; on_failure: unless with status 0"
    )
    restart_after: Duration = setting(Duration(1.0), help="the first pause before that", minimum=0.01)
    restart_at_most: Duration = setting(Duration(60.0), help="the longest pause", minimum=0.01)
    stop_timeout: Duration = setting(
        Duration(5.0), help="how long it has to end when asked to, before it is killed", maximum=300
    )
    parser: ParserName | ParserConfig = setting("auto", help=PARSER_HELP)
    multiline: MultilineName | MultilineConfig | None = setting("auto", help=MULTILINE_HELP)
    max_line_bytes: Size = setting(Size(256 << 10), help="longer lines are cut and marked", minimum=64)

    def __post_init__(self) -> None:
        checked(self.parser)
        if not self.command or not self.command[0]:
            raise ValueError("command is empty; name a program")
        if any("\0" in part for part in (*self.command, *self.environment, *self.environment.values())):
            raise ValueError("command, environment: no NUL may stand in them")


@dataclass(slots=True)
class _Stream:
    """One of the command's outputs."""

    source: ExecSource
    splitter: LineSplitter
    joiner: Joiner | None
    blocks: LineBlocks

    def feed(self, chunk: bytes) -> None:
        self._take(self.splitter.feed(chunk))

    def quiet(self) -> None:
        """Take a joined record for complete."""
        if self.joiner is not None:
            self._append([record for record, _ in self.joiner.flush()])

    def end(self) -> None:
        self._take(self.splitter.flush())
        self.quiet()

    def _take(self, lines: Sequence[bytes]) -> None:
        joiner = self.joiner
        if joiner is None or joiner.passes(lines):
            self._append(lines)
        else:
            self._append([record for record, _ in joiner.feed_all(lines)])

    def _append(self, records: Sequence[bytes]) -> None:
        for block, _ in self.blocks.blocks(records):
            if block:
                self.source.context.appender.append(block, waiting=self.source.waiting)


@dataclass(slots=True)
class ExecSource:
    """Runs the command. `run` in one thread, `stop` from any."""

    config: ExecConfig
    context: SourceContext
    process: subprocess.Popen[bytes] | None = None  # while it runs
    _stop: threading.Event = field(default_factory=threading.Event)
    _waker: tuple[int, int] | None = None  # a pipe's ends: what wakes the reading
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, *, once: bool) -> None:
        """Run the command until `stop()`, again and again; with `once` one time."""
        with self._lock:
            self._waker = os.pipe()
        try:
            self._run(once=once)
        finally:
            with self._lock:
                for end in self._waker:
                    os.close(end)
                self._waker = None

    def _run(self, *, once: bool) -> None:
        config = self.config
        pause: float = config.restart_after
        while not self._stop.is_set():
            began = time.monotonic()
            status = self._run_once()
            if self._stop.is_set():
                return
            if once and status:
                raise SourceError(f"{config.command[0]} ended with {_told(status)}")
            if once or config.restart == "never" or (config.restart == "on_failure" and not status):
                return
            if time.monotonic() - began > config.restart_at_most:
                pause = config.restart_after
            level = "WARNING" if status else "INFO"
            say(level, f"source {self.context.name}: {config.command[0]} ended with {_told(status)}")
            self._stop.wait(pause)
            pause = min(2 * pause, config.restart_at_most)

    def _run_once(self) -> int:
        """Run the command to its end; return its status."""
        config = self.config
        try:
            process = self.process = subprocess.Popen(  # noqa: S603 - it is the user's own command
                config.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE if config.stderr == "read" else subprocess.DEVNULL,
                cwd=config.directory,
                env={**os.environ, **config.environment},
                start_new_session=True,
            )
        except OSError as error:
            raise SourceError(f"cannot run {config.command[0]}: {error.strerror}") from None
        try:
            self._read(process)
        finally:
            _signal(process, signal.SIGKILL)
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
            process.wait()
            self.process = None
        return process.returncode

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        """Read what it says until it has ended, and end it when it is to end."""
        streams: list[_Stream] = []
        watched = _watched(process.pid)
        try:
            with selectors.DefaultSelector() as selector:
                for pipe, name in ((process.stdout, ""), (process.stderr, "stderr")):
                    if pipe is not None:
                        streams.append(self._stream(name))
                        selector.register(pipe, selectors.EVENT_READ, streams[-1])
                assert self._waker is not None
                for number in (self._waker[0], *watched):
                    selector.register(number, selectors.EVENT_READ)
                self._read_on(process, selector, watched)
        finally:
            for number in watched:
                os.close(number)
        for stream in streams:
            stream.end()

    def _stream(self, name: str) -> _Stream:
        config, limit = self.config, self.config.max_line_bytes
        blocks = LineBlocks(self.context.builder, config.parser, {"stream": name} if name else {})
        return _Stream(self, LineSplitter(limit), joiner_of(config.parser, config.multiline, limit), blocks)

    def _read_on(
        self, process: subprocess.Popen[bytes], selector: selectors.BaseSelector, watched: Sequence[int]
    ) -> None:
        deadline = _NEVER  # when it is killed, or what it has left behind is heard no more
        asked = ended = False
        while time.monotonic() < deadline:
            if self._stop.is_set() and not asked:
                asked = True
                self.terminate()
                deadline = min(deadline, time.monotonic() + self.config.stop_timeout)
            if not ended and process.poll() is not None:
                ended = True
                deadline = min(deadline, time.monotonic() + _AFTER)
                for number in watched:
                    selector.unregister(number)
            open_ = [key.data for key in selector.get_map().values() if isinstance(key.data, _Stream)]
            if ended and not open_:
                return
            waits = [] if deadline == _NEVER else [max(0.0, deadline - time.monotonic())]
            if not watched:
                waits.append(_LOOK)
            if any(stream.joiner is not None and stream.joiner.pending for stream in open_):
                waits.append(timeout_of(self.config.multiline))
            self._turn(selector, min(waits, default=None))

    def _turn(self, selector: selectors.BaseSelector, wait: float | None) -> None:
        ready = selector.select(wait)
        if not ready:
            for key in list(selector.get_map().values()):
                if isinstance(key.data, _Stream):
                    key.data.quiet()
        for key, _ in ready:
            if isinstance(key.data, _Stream):
                chunk = os.read(key.fd, _CHUNK)
                if chunk:
                    key.data.feed(chunk)
                else:
                    selector.unregister(key.fileobj)
            elif self._waker is not None and key.fd == self._waker[0]:
                os.read(key.fd, 100)

    def waiting(self) -> None:
        """Wait a moment for room in the spool; asked to end, the command is not left waiting."""
        if self._stop.is_set():
            self.terminate()
            time.sleep(0.05)
        else:
            self._stop.wait(0.05)

    def terminate(self) -> None:
        """Ask the command to end."""
        if self.process is not None:
            _signal(self.process, signal.SIGTERM)

    def stop(self) -> None:
        """Ask `run` to return soon."""
        self._stop.set()
        with self._lock:
            if self._waker is not None:
                os.write(self._waker[1], b".")


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to the command's whole group, the command there or not."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _watched(pid: int) -> list[int]:
    """Return a descriptor that tells when the process ends, where the system has such."""
    with suppress(OSError, AttributeError):
        return [os.pidfd_open(pid)]
    return []


def _told(status: int) -> str:
    if status < 0:
        with suppress(ValueError):
            return signal.Signals(-status).name
    return f"status {status}"


def _build(config: ExecConfig, context: SourceContext, /) -> ExecSource:
    return ExecSource(config, context)


SOURCE: Final = SourceKind("exec", ExecConfig, _build)
