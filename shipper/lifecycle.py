"""`logferry.configure`, `flush`, `shutdown` and `logferry.Handler`: one pipeline for the process.

Rules

- `configure` checks everything before it touches anything. The same configuration again changes nothing;
  another one replaces the first: the new handler stands before the old one goes.
- The end of the process ends the pipeline, bounded by `shutdown_timeout`: at interpreter exit, and on SIGTERM
  where nobody else handles it (afterwards the process dies of SIGTERM as it would have).
- What is logged after that (by `atexit` callbacks registered earlier, finalisers, threads) is kept: the
  handlers stay until the very end, and the spool takes it for the next start.
- Who asks for a shutdown while another thread is at it waits for that one: a process does not end under it.
- The signal handler waits for a thread and takes no lock: the code that it interrupts may hold any of them.
- A forked child has locks of its own; its pipeline starts with its first record.
"""

from __future__ import annotations

import _thread
import atexit
import logging
import os
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import get_ident
from typing import Any, Final, TypeAlias

from ..handlers.forward import ForwardHandler
from ..handlers.outlet import Outlet
from .config import Config, load
from .config.plan import plan as plan_of
from .courier.choose import Shipping, shipping
from .diagnostics import set_level
from .installed import Installed
from .plan import Plan
from .span_outlet import SpanOutlet, with_spans_to

__all__ = ["Handler", "configure", "current", "flush", "shutdown"]

Source: TypeAlias = str | Path | Mapping[str, Any] | None


@dataclass(slots=True)
class _Running:
    config: Config
    plan: Plan
    pipeline: Shipping
    outlet: Outlet  # the pipeline's, or one in front of it
    installed: Installed | None = None  # handlers, levels and hooks, where `configure` was called

    def remove(self) -> None:
        """Take handlers, levels and hooks away."""
        if self.installed is not None:
            self.installed.remove()
            self.installed = None
        self.let_go()

    def let_go(self) -> None:
        """Let go of what stands in front of the pipeline's outlet; what is offered to it goes through."""
        if isinstance(self.outlet, SpanOutlet):
            self.outlet.close()


_PATIENCE: Final = 60.0  # seconds for a shutdown that another thread is at: its own bound is there before

_lock = threading.RLock()
_running: _Running | None = None
_stopping = False  # a shutdown is under way
_stopper = 0  # the thread that is at it
_stopped = threading.Event()  # set when no shutdown is under way
_stopped.set()
_signalled = 0  # the signal that came meanwhile: the process dies of it when the shutdown has ended
_registered = False


def configure(source: Source = None) -> Shipping:
    """Ship what this process logs, as `source` says; return the pipeline, or what stands for it here.

    `source` is a file, a mapping, or None for the file that `LOGFERRY_CONFIG` names (else `./logferry.yaml`).
    Raises `ConfigError`, which holds every mistake, and OSError when the metrics' port cannot be had.
    """
    config = load(source)
    with _lock:
        return _ensure(config, install=True).pipeline


def current() -> Shipping | None:
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
    global _running, _stopper, _stopping
    with _lock:
        running, _running = _running, None
        if running is not None:
            _stopping, _stopper = True, get_ident()
            _stopped.clear()
    if running is None:
        if _stopper == get_ident():  # a signal handler of the application's, in the middle of a shutdown
            return False
        return _stopped.wait(_PATIENCE if timeout is None else timeout)
    try:
        return running.pipeline.shutdown(timeout)
    finally:
        if not exiting:
            running.remove()
        _stopping, _stopper = False, 0
        _stopped.set()
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
        super().__init__(running.outlet, running.plan.builder, level)


def _ensure(config: Config, *, install: bool) -> _Running:
    """Have a pipeline for `config` running, in place of another one; `install`: handlers and hooks too."""
    global _running  # noqa: PLW0603 - the process's one pipeline
    before = _running
    if before is not None and before.config == config and before.pipeline.running:
        if install and before.installed is None:
            before.installed = Installed(before.plan, before.outlet)
        return before
    made = plan_of(config)
    set_level(made.diagnostics_level)
    pipeline = shipping(config, made)
    new = _running = _Running(config, made, pipeline, with_spans_to(made.spans.to, pipeline.outlet))
    was = None if before is None else before.installed
    if install or was is not None:
        new.installed = Installed(made, new.outlet, was)
    if before is not None:
        new.pipeline.succeed(before.pipeline)
        before.pipeline.shutdown()
        before.let_go()
    new.pipeline.end = partial(_shutdown, exiting=True)  # a signal that comes meanwhile waits for it
    new.pipeline.start()
    _at_the_end()
    return new


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
    """Have no lock that a thread holds, and no shutdown that a thread is at, which are not here."""
    global _lock, _signalled, _stopped, _stopper, _stopping
    _lock, _stopped = threading.RLock(), threading.Event()
    _stopped.set()
    _stopping, _stopper, _signalled = False, 0, 0


os.register_at_fork(after_in_child=_after_fork)
