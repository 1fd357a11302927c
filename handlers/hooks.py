"""What would only reach standard error becomes events: uncaught exceptions, warnings, crashes.

Rules
- The former hook always runs too, afterwards, whatever happens here: nothing disappears from standard error.
- Uncaught in the process: CRITICAL; in a thread, or unraisable: ERROR; a warning: WARNING, as
  ``py.warnings``. `KeyboardInterrupt` and `SystemExit` are no defects and make no event.
- A crash (segmentation fault, fatal signal) leaves no time for events: `faulthandler` writes into a file of
  this process, locked while it lives. `collect_crashes` makes events of what dead processes left.
- A forked child gets a dump file of its own, so that it never writes into its parent's.
- If `logging.captureWarnings` is on already, warnings are left to it: each becomes one event, not two.
"""

from __future__ import annotations

import faulthandler
import fcntl
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TextIO

from .plain import safe_repr

if TYPE_CHECKING:
    from types import TracebackType

    from .outlet import Outlet
    from .record import EventBuilder

__all__ = ["Emit", "collect_crashes", "emitter", "install", "uninstall"]

_DUMP_LIMIT: Final = 64 * 1024
_PREFIX: Final = "crash-"


class Emit(Protocol):
    """Makes one event of its keywords and hands it over; True when it is held safely. Never raises."""

    def __call__(
        self,
        *,
        level: str,
        message: str,
        logger: str,
        timestamp: float | None = None,
        fields: Mapping[str, object] | None = None,
        exc_info: object = None,
    ) -> bool:
        """Emit one event."""
        ...


def emitter(builder: EventBuilder, outlet: Outlet) -> Emit:
    """Return an `Emit` that makes events with `builder` and offers them to `outlet`."""

    def emit(**content: Any) -> bool:
        try:
            return outlet.offer(builder.compose(**content))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001 - the interpreter calls hooks when things are bad enough already
            return False

    return emit


class _Hooks:
    """The hooks of one `install`, and what they replaced."""

    def __init__(self, emit: Emit, directory: Path | None, *, capture_warnings: bool) -> None:
        self._emit = emit
        self._directory = directory
        self._dump: tuple[int, Path] | None = None
        self._faulthandler_was_enabled = faulthandler.is_enabled()
        self.active = True
        self._excepthook = sys.excepthook
        self._thread_hook = threading.excepthook
        self._unraisable = sys.unraisablehook
        self._showwarning: Callable[..., Any] | None = None
        # Bound once: a method makes a new object each time, and `remove` compares by identity.
        self._mine = (self._on_exception, self._on_thread, self._on_unraisable, self._on_warning)
        sys.excepthook, threading.excepthook, sys.unraisablehook = self._mine[:3]
        if capture_warnings and getattr(logging, "_warnings_showwarning", None) is None:
            self._showwarning = warnings.showwarning
            warnings.showwarning = self._mine[3]
        self.open_dump()

    def remove(self) -> None:
        """Put the former hooks back where ours are still the outermost; silence ours elsewhere."""
        self.active = False
        if sys.excepthook is self._mine[0]:
            sys.excepthook = self._excepthook
        if threading.excepthook is self._mine[1]:
            threading.excepthook = self._thread_hook
        if sys.unraisablehook is self._mine[2]:
            sys.unraisablehook = self._unraisable
        if self._showwarning is not None and warnings.showwarning is self._mine[3]:
            warnings.showwarning = self._showwarning
        dump, self._dump = self._dump, None
        if dump is None:
            return
        faulthandler.disable()
        if self._faulthandler_was_enabled and sys.__stderr__ is not None:
            faulthandler.enable(sys.__stderr__)
        os.close(dump[0])
        dump[1].unlink(missing_ok=True)

    def open_dump(self) -> None:
        """Direct `faulthandler` to a locked file of this process; without a directory, leave it alone."""
        if self._directory is None:
            return
        try:
            missing = [place for place in (self._directory, *self._directory.parents) if not place.exists()]
            for place in reversed(missing):  # `parents=True` would leave the modes of the others to the umask
                place.mkdir(mode=0o700, exist_ok=True)
            path = self._directory / f"{_PREFIX}{os.getpid()}-{os.urandom(4).hex()}"
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            faulthandler.enable(fd)
            self._dump = fd, path
        except OSError:  # no crash dumps, then; the application must start all the same
            self._dump = None

    def after_fork(self) -> None:
        """Leave the parent's dump file (its lock stays the parent's) and open one of the child's."""
        dump, self._dump = self._dump, None
        if dump is not None and self.active:
            faulthandler.disable()
            os.close(dump[0])
            self.open_dump()

    def _on_exception(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        if self.active and issubclass(kind, Exception):
            self._emit(
                level="CRITICAL",
                message=f"uncaught exception: {_type_name(kind)}",
                logger="logferry.uncaught",
                exc_info=(kind, error, trace),
            )
        self._excepthook(kind, error, trace)

    def _on_thread(self, args: threading.ExceptHookArgs) -> None:
        if self.active and issubclass(args.exc_type, Exception):
            name = args.thread.name if args.thread is not None else "?"
            self._emit(
                level="ERROR",
                message=f"uncaught exception in thread {name}: {_type_name(args.exc_type)}",
                logger="logferry.uncaught",
                exc_info=(args.exc_type, args.exc_value, args.exc_traceback),
            )
        self._thread_hook(args)

    def _on_unraisable(self, args: Any) -> None:
        if self.active:
            self._emit(
                level="ERROR",
                message=f"{args.err_msg or 'exception ignored in'}: {_name(args.object)}",
                logger="logferry.unraisable",
                exc_info=(args.exc_type, args.exc_value, args.exc_traceback),
            )
        self._unraisable(args)

    def _on_warning(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if self.active and file is None:
            self._emit(
                level="WARNING",
                message=f"{_type_name(category)}: {safe_repr(message, str)}",
                logger="py.warnings",
                fields={"warning_at": f"{filename}:{lineno}"},
            )
        if self._showwarning is not None:
            self._showwarning(message, category, filename, lineno, file, line)


def _name(thing: object) -> str:
    try:
        name = getattr(thing, "__qualname__", None)
        return name if type(name) is str else type(thing).__name__
    except Exception:  # noqa: BLE001 - a foreign __getattr__
        return "an object"


def _type_name(kind: type) -> str:
    try:
        return str(kind.__name__)
    except Exception:  # noqa: BLE001 - a metaclass may do anything
        return "exception"


_installed: list[_Hooks] = []


def install(
    emit: Emit, *, directory: str | os.PathLike[str] | None = None, capture_warnings: bool = True
) -> None:
    """Put the hooks in place (replacing those of an earlier `install`).

    `directory` is where `faulthandler` leaves what happened in a crash; None: no crash dumps.
    """
    uninstall()
    hooks = _Hooks(emit, None if directory is None else Path(directory), capture_warnings=capture_warnings)
    _installed.append(hooks)


def uninstall() -> None:
    """Take the hooks away. Harmless when there are none."""
    while _installed:
        _installed.pop().remove()


def _after_fork() -> None:
    for hooks in _installed:
        hooks.after_fork()


os.register_at_fork(after_in_child=_after_fork)


def collect_crashes(directory: str | os.PathLike[str], emit: Emit) -> int:
    """Turn the dumps that dead processes left in `directory` into CRITICAL events; return how many.

    A dump is removed when its event is held safely. Those of living processes are left alone. Never raises.
    """
    try:
        paths = sorted(Path(directory).glob(f"{_PREFIX}*"))
    except OSError:
        return 0
    return sum(_collect(path, emit) for path in paths)


def _collect(path: Path, emit: Emit) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            text = file.read(_DUMP_LIMIT).decode("utf-8", "replace").strip()
            when = os.fstat(file.fileno()).st_mtime
            if text and not emit(
                level="CRITICAL",
                message=f"process crashed: {text.splitlines()[0]}",
                logger="logferry.crash",
                timestamp=when,
                fields={"crashed_process": path.name.removeprefix(_PREFIX).split("-")[0], "dump": text},
            ):
                return False
            path.unlink()
    except OSError:  # locked by its living owner, or taken by another collector
        return False
    return bool(text)
