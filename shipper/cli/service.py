"""`logferry run` without an end of its own: signals, reloads, and what the service manager is told."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final, Literal

from ..notify import notify, reloading
from .codes import OK, UNAVAILABLE
from .common import fail, report_config
from .output import warn

if TYPE_CHECKING:
    from types import FrameType

    from ..config import Config
    from ..handover import Handover
    from ..plan import Plan

__all__ = ["serve", "signalled"]

_LOOK: Final = 1.0  # seconds between two looks at the file

Wish = Literal["stop", "reload"]


def serve(
    config: Config, plan: Plan, config_path: str | None, wishes: SimpleQueue[Wish], *, watch: bool
) -> int:
    """Run until it is wished to stop; a wish, and with `watch` a change of the file, reloads it."""
    from ..handover import Handover

    running = Handover(plan)
    try:
        running.pipeline.start()
    except OSError as error:
        fail(f"cannot start: {error}", UNAVAILABLE)
    file = _File(config_path)
    _say(f"running ({_parts(plan)})")
    notify("READY=1", f"STATUS={_parts(plan)}")
    while True:
        try:
            wish = wishes.get(timeout=_LOOK if watch else None)
        except Empty:
            if not file.changed():
                continue
            config = _reload(running, config, config_path, always=False)
            continue
        if wish == "stop":
            break
        file.seen()
        config = _reload(running, config, config_path, always=True)
    notify("STOPPING=1")
    _say("stopping")
    running.pipeline.shutdown()  # what is not delivered in time is said by it, and waits in the spool
    return OK


def signalled() -> SimpleQueue[Wish]:
    """Return the queue that SIGTERM, Ctrl-C and SIGHUP write to from now on.

    To put into one takes no lock that a signal may meet.
    """
    wishes: SimpleQueue[Wish] = SimpleQueue()

    def stop(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)  # the second one ends the process at once
        wishes.put("stop")

    def reload(_number: int, _: FrameType | None) -> None:
        wishes.put("reload")

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    signal.signal(signal.SIGHUP, reload)
    return wishes


def _reload(running: Handover, config: Config, config_path: str | None, *, always: bool) -> Config:
    """Take the configuration as it is in the file now; return the one that runs then."""
    from ..config import ConfigError, load
    from ..config.plan import plan
    from ..handover import HandoverError

    reloading()
    try:
        new = load(config_path)
        if not always and new == config:
            return config
        made = plan(new)
        started = time.monotonic()
        running.to(made)
    except ConfigError as error:
        with suppress(OSError):
            report_config(error)
        _say("the configuration was not reloaded; the old one goes on")
    except HandoverError as error:
        _say(f"the configuration was not reloaded: {error}; the old one goes on")
    else:
        _say(f"reloaded in {time.monotonic() - started:.1f} s ({_parts(made)})")
        config = new
    finally:
        notify("READY=1", f"STATUS={_parts(running.plan)}")
    return config


def _parts(plan: Plan) -> str:
    sinks = ", ".join(spec.name for spec in plan.sinks)
    sources = ", ".join(spec.name for spec in plan.sources) or "none; delivering what is in the spool"
    return f"sources: {sources}; sinks: {sinks}"


def _say(text: str) -> None:
    with suppress(OSError):  # a terminal that is gone sent the very signal
        warn(f"logferry: {text}")


class _File:
    """The configuration's file: whether it has changed, and rests since the last look."""

    def __init__(self, config_path: str | None) -> None:
        from ..config.loading import find_file

        self._path = find_file() if config_path is None else Path(config_path).expanduser()
        self._known = self._last = self._mark()

    def changed(self) -> bool:
        """Say, once, that it is another one; an editor that is still writing is waited for."""
        mark = self._mark()
        rests, self._last = mark == self._last, mark
        if not rests or mark == self._known:
            return False
        self._known = mark
        return True

    def seen(self) -> None:
        """Take it as it is for known."""
        self._known = self._last = self._mark()

    def _mark(self) -> tuple[int, int, int]:
        try:
            facts = self._path.stat()
        except OSError:
            return (0, 0, 0)
        return (facts.st_mtime_ns, facts.st_size, facts.st_ino)
