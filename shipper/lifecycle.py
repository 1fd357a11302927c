"""`logferry.configure`, `flush`, `shutdown` and `logferry.Handler`: one pipeline for the process.

Rules

- `configure` checks everything before it touches anything. The same configuration again changes nothing;
  another one replaces the first: the new handler stands before the old one goes.
- The end of the process ends the pipeline, bounded by `shutdown_timeout`: at interpreter exit, and on SIGTERM
  where nobody else handles it (afterwards the process dies of SIGTERM as it would have).
- What is logged after that (by `atexit` callbacks registered earlier, finalisers, threads) is kept: the
  handlers stay until the very end, and the spool takes it for the next start.
- The signal handler waits for a thread and takes no lock: the code that it interrupts may hold any of them.
- A console handler is added only where the application has none of its own.
- A forked child has locks of its own; its pipeline starts with its first record.
"""

from __future__ import annotations

import _thread
import atexit
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from ..handlers import hooks, levels
from ..handlers.console import ConsoleFormatter
from ..handlers.forward import ForwardHandler
from ..handlers.stream import JsonHandler
from .config import Config, load
from .config.plan import plan as plan_of
from .diagnostics import set_level
from .pipeline import Pipeline
from .plan import Plan
from .spool.directory import file_name

__all__ = ["Handler", "configure", "current", "flush", "shutdown"]

Source: TypeAlias = str | Path | Mapping[str, Any] | None


@dataclass(slots=True)
class _Running:
    config: Config
    plan: Plan
    pipeline: Pipeline
    forward: logging.Handler | None = None
    console: logging.Handler | None = None
    levels: levels.Applied | None = None  # set when handlers, levels and hooks are in place

    def remove(self) -> None:
        """Take handlers, levels and hooks away."""
        root = logging.getLogger()
        for handler in (self.forward, self.console):
            if handler is not None:
                root.removeHandler(handler)
        if self.levels is not None:
            self.levels.undo()
            hooks.uninstall()
        self.forward = self.console = self.levels = None


_lock = threading.RLock()
_running: _Running | None = None
_stopping = False  # a shutdown is under way
_signalled = 0  # the signal that came meanwhile: the process dies of it when the shutdown has ended
_registered = False


def configure(source: Source = None) -> Pipeline:
    """Ship what this process logs, as `source` says; return the pipeline.

    `source` is a file, a mapping, or None for the file that `LOGFERRY_CONFIG` names (else `./logferry.yaml`).
    Raises `ConfigError`, which holds every mistake, and OSError when the metrics' port cannot be had.
    """
    config = load(source)
    with _lock:
        return _ensure(config, install=True).pipeline


def current() -> Pipeline | None:
    """Return the process's pipeline; None before `configure` and after `shutdown`."""
    return _running.pipeline if _running else None


def flush(timeout: float | None = None) -> bool:
    """Wait until every record logged so far is settled at every sink; False: not within `timeout` seconds.

    Settled is delivered, dead-lettered, filtered or dropped. The default time-out is `shutdown_timeout`.
    """
    pipeline = current()
    return pipeline is None or pipeline.flush(timeout)


def shutdown(timeout: float | None = None) -> bool:
    """Deliver what there is and stop, in at most `timeout` seconds (default: `shutdown_timeout`).

    True when nothing is left waiting; what is left waits in the spool. Records logged afterwards are not
    shipped.
    """
    return _shutdown(timeout)


def _shutdown(timeout: float | None = None, *, exiting: bool = False) -> bool:
    """Shut down. `exiting`: the handlers stay, and what is logged until the very end waits in the spool."""
    global _running, _stopping  # noqa: PLW0603 - the process's one pipeline
    with _lock:
        running, _running = _running, None
    if running is None:
        return True
    _stopping = True
    try:
        return running.pipeline.shutdown(timeout)
    finally:
        if not exiting:
            running.remove()
        _stopping = False
        if _signalled:
            os.kill(os.getpid(), _signalled)


class Handler(ForwardHandler):
    """Ships records to the sinks of a configuration: for `logging.config.dictConfig`.

        handlers: {ship: {class: logferry.Handler, config: logferry.yaml}}

    Handlers with the same configuration, and `logferry.configure`, share one pipeline. Levels and hooks are
    left alone. Raises `ConfigError` when the configuration has mistakes.
    """

    def __init__(self, config: Source = None, level: int | str = logging.NOTSET) -> None:
        checked = load(config)
        with _lock:
            running = _ensure(checked, install=False)
        super().__init__(running.pipeline.outlet, running.plan.builder, level)


def _ensure(config: Config, *, install: bool) -> _Running:
    """Have a pipeline for `config` running, in place of another one; `install`: handlers and hooks too."""
    global _running  # noqa: PLW0603 - the process's one pipeline
    before = _running
    if before is not None and before.config == config and before.pipeline.running:
        if install and before.levels is None:
            _install(before, None)
        return before
    made = plan_of(config)
    set_level(made.diagnostics_level)
    new = _running = _Running(config, made, Pipeline.from_plan(made))
    if install or (before is not None and before.levels is not None):
        _install(new, before)
    if before is not None:
        new.pipeline.succeed(before.pipeline)
        before.pipeline.shutdown()
    new.pipeline.start()
    _at_the_end()
    return new


def _install(new: _Running, before: _Running | None) -> None:
    """Put handlers, levels and hooks in place; those of `before` give way without a moment in between."""
    made = new.plan
    new.forward = ForwardHandler(new.pipeline.outlet, made.builder)
    _put(new.forward, before.forward if before else None)
    new.console = _console(made, before.console if before else None)
    _put(new.console, before.console if before else None)
    access = {"access": made.levels.access} if made.levels.access else {}
    chosen = levels.choose(made.levels.environment, made.levels.level, loggers=made.levels.loggers, **access)
    new.levels = levels.apply(chosen, before.levels if before else None)
    emit = hooks.emitter(made.builder, new.pipeline.outlet)
    base = made.spool.path
    crashes = None if base is None else base / file_name(made.spool.service) / "crashes"
    hooks.install(emit, directory=crashes)
    if crashes is not None:
        hooks.collect_crashes(crashes, emit)
    if before is not None:
        before.forward = before.console = before.levels = None


def _put(handler: logging.Handler | None, old: logging.Handler | None) -> None:
    """Add `handler` to the root logger, in the very place of `old` if that is there.

    One assignment: a thread that goes through the handlers meanwhile meets one of the two, never both.
    """
    root = logging.getLogger()
    if handler is not None and old in root.handlers:
        root.handlers[root.handlers.index(old)] = handler
    elif handler is not None:
        root.addHandler(handler)
    elif old is not None:
        root.removeHandler(old)


def _console(made: Plan, old: logging.Handler | None) -> logging.Handler | None:
    """Return the console's handler, unless the application has one of its own (`old` was ours)."""
    own = {sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__}
    if made.console == "off" or sys.stderr is None:
        return None
    theirs = [h for h in logging.getLogger().handlers if h is not old]
    if any(isinstance(h, logging.StreamHandler) and h.stream in own for h in theirs):
        return None
    if made.console == "json":
        return JsonHandler(builder=made.builder)
    handler: logging.Handler = logging.StreamHandler()
    handler.setFormatter(ConsoleFormatter(builder=made.builder))
    return handler


def _at_the_end() -> None:
    """Have the pipeline ended with the process, once per process."""
    global _registered  # noqa: PLW0603 - the process's own state
    if not _registered:
        _registered = True
        atexit.register(_shutdown, exiting=True)
    if (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    ):
        signal.signal(signal.SIGTERM, _on_sigterm)


def _on_sigterm(number: int, _frame: object) -> None:
    """Shut down, then die of the signal."""
    global _signalled  # noqa: PLW0603 - what the shutdown under way has to do at its end
    if _stopping and not _signalled:
        _signalled = number
        return
    running = _running
    seconds = running.pipeline.shutdown_timeout if running else 0.0
    done: list[bool] = []

    def work() -> None:
        with suppress(Exception):  # whatever it is, the process ends now
            _shutdown(exiting=True)
        done.append(True)

    # a bare thread: `threading.Thread.start` takes locks that the interrupted code may hold
    with suppress(RuntimeError):  # none can be started any more
        _thread.start_new_thread(work, ())
        deadline = time.monotonic() + seconds + 0.5
        while not done and time.monotonic() < deadline:
            time.sleep(0.01)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _after_fork() -> None:
    global _lock  # noqa: PLW0603 - the parent's may be held by a thread that is not here
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)
