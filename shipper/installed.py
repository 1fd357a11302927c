"""What `configure` puts into the standard library's logging, and takes away again: handlers, levels, hooks.

Rules
- Another configuration takes over without a gap: its handlers are put into the very slots of the old ones and
  levels are handed over, so that a thread that logs meanwhile meets one of the two, never both or none.
- A console handler is added only where the application has none of its own. It shows what the application
  logs, not what the clients of our own workers do: what matters of that is in logferry's own lines.
- With a flight recorder the loggers let more through; the root logger's other handlers are kept from it by a
  filter, as long as it is installed.
"""

from __future__ import annotations

import logging
import sys

from ..handlers import hooks, levels
from ..handlers.console import ConsoleFormatter
from ..handlers.flight import BelowLevel, FlightRecorder
from ..handlers.forward import ForwardHandler, is_suppressed
from ..handlers.outlet import Outlet
from ..handlers.spans import configure_spans
from ..handlers.stream import JsonHandler
from .plan import Plan
from .spool.directory import file_name

__all__ = ["Installed"]


class Installed:
    """Handlers, levels and hooks that send what the process logs to `outlet`, in place of `before`'s."""

    def __init__(self, plan: Plan, outlet: Outlet, before: Installed | None = None) -> None:
        self.forward = ForwardHandler(outlet, plan.builder)
        self.console: logging.Handler | None = _console(plan, before.console if before else None)
        self._filtered: list[tuple[logging.Handler, logging.Filter]] = []
        own = dict.fromkeys(("access", "job", "span"), plan.levels.access) if plan.levels.access else {}
        chosen = levels.choose(plan.levels.environment, plan.levels.level, loggers=plan.levels.loggers, **own)
        configure_spans(sample=plan.spans.sample, announce=plan.spans.announce)
        recorder = plan.levels.flight_recorder
        lowest = chosen.root if recorder is None else min(chosen.root, levels.parse(recorder))
        if lowest < chosen.root:
            self.forward.addFilter(FlightRecorder(chosen.root, plan.builder, outlet))
            self._keep_out(chosen.root, before)
        _put(self.forward, before.forward if before else None)
        _put(self.console, before.console if before else None)
        chosen = levels.Levels(lowest, chosen.loggers)
        self.levels: levels.Applied = levels.apply(chosen, before.levels if before else None)
        if before is not None:
            before.let_in()
        emit = hooks.emitter(plan.builder, outlet)
        base = plan.spool.path
        crashes = None if base is None else base / file_name(plan.spool.service) / "crashes"
        hooks.install(emit, directory=crashes)
        if crashes is not None:
            hooks.collect_crashes(crashes, emit)

    def _keep_out(self, level: int, before: Installed | None) -> None:
        """Show the root logger's other handlers what they saw without the recorder."""
        ours = {self.forward, before.forward} if before else {self.forward}
        for handler in {*logging.getLogger().handlers, self.console}:
            if handler is not None and handler not in ours:
                stop = BelowLevel(level)
                handler.addFilter(stop)
                self._filtered.append((handler, stop))

    def let_in(self) -> None:
        """Take the filters of other handlers away."""
        while self._filtered:
            handler, stop = self._filtered.pop()
            handler.removeFilter(stop)

    def remove(self) -> None:
        """Take handlers, levels and hooks away."""
        root = logging.getLogger()
        self.levels.undo()
        configure_spans()
        for handler in (self.forward, self.console):
            if handler is not None:
                root.removeHandler(handler)
        self.let_in()
        hooks.uninstall()


def _put(handler: logging.Handler | None, old: logging.Handler | None) -> None:
    """Add `handler` to the root logger, in one assignment into the place of `old` if that is there."""
    root = logging.getLogger()
    if handler is not None and old in root.handlers:
        root.handlers[root.handlers.index(old)] = handler
    elif handler is not None:
        root.addHandler(handler)
    elif old is not None:
        root.removeHandler(old)


def _console(plan: Plan, old: logging.Handler | None) -> logging.Handler | None:
    """Return the console's handler, unless the application has one of its own (`old` was ours)."""
    own = {sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__}
    if plan.console == "off" or sys.stderr is None:
        return None
    theirs = [h for h in logging.getLogger().handlers if h is not old]
    if any(isinstance(h, logging.StreamHandler) and h.stream in own for h in theirs):
        return None
    handler: logging.Handler
    if plan.console == "json":
        handler = JsonHandler(builder=plan.builder)
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(ConsoleFormatter(builder=plan.builder))
    handler.addFilter(_of_the_application)
    return handler


def _of_the_application(_record: logging.LogRecord) -> bool:
    return not is_suppressed()
