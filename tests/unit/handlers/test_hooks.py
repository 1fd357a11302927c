"""What would only reach standard error becomes events, and reaches standard error all the same."""

from __future__ import annotations

import faulthandler
import gc
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from logferry.handlers import hooks
from logferry.handlers.formatter import make_builder
from logferry.handlers.testing import Events, MemoryOutlet


@pytest.fixture
def outlet() -> Iterator[MemoryOutlet]:
    yield MemoryOutlet()
    hooks.uninstall()


def emit_to(outlet: MemoryOutlet) -> hooks.Emit:
    return hooks.emitter(make_builder("s", "test"), outlet)


def test_uncaught_exceptions(outlet: MemoryOutlet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the process: CRITICAL; of a thread: ERROR; an interrupt: none. The former hooks run each time."""
    former: list[Any] = []
    monkeypatch.setattr(sys, "excepthook", lambda *args: former.append(args))
    monkeypatch.setattr(threading, "excepthook", former.append)
    hooks.install(emit_to(outlet), capture_warnings=False)
    error = ValueError("broken")
    sys.excepthook(ValueError, error, None)
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    thread = threading.Thread(target=lambda: 1 / 0, name="worker-7")
    thread.start()
    thread.join()
    events = Events(outlet)
    assert events.find(level="CRITICAL")["error"]["type"] == "ValueError"
    assert "worker-7" in events.find(level="ERROR")["message"]
    assert (len(former), len(events)) == (3, 2)


def test_unraisable(outlet: MemoryOutlet, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception in a finaliser becomes an event."""
    monkeypatch.setattr(sys, "unraisablehook", lambda args: None)
    hooks.install(emit_to(outlet), capture_warnings=False)

    class Bad:
        def __del__(self) -> None:
            raise KeyError("lost")

    Bad()
    gc.collect()
    assert Events(outlet).find(logger="logferry.unraisable")["error"]["type"] == "KeyError"


def test_warnings(outlet: MemoryOutlet) -> None:
    """A warning becomes one event and is shown as before."""
    shown: list[Any] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda *args: shown.append(args)  # type: ignore[assignment]  # a test's own
        hooks.install(emit_to(outlet))
        warnings.warn("old thing", DeprecationWarning, stacklevel=1)
        hooks.uninstall()
    assert (
        Events(outlet).find(level="WARNING", logger="py.warnings")["message"]
        == "DeprecationWarning: old thing"
    )
    assert len(shown) == 1


def test_uninstall_puts_everything_back(outlet: MemoryOutlet, tmp_path: Path) -> None:
    """Hooks and files are as before; a second uninstall is harmless."""
    before = sys.excepthook, threading.excepthook, sys.unraisablehook, warnings.showwarning
    enabled = faulthandler.is_enabled()
    hooks.install(emit_to(outlet), directory=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    hooks.uninstall()
    hooks.uninstall()
    assert (sys.excepthook, threading.excepthook, sys.unraisablehook, warnings.showwarning) == before
    assert faulthandler.is_enabled() == enabled
    assert list(tmp_path.iterdir()) == []


CRASH = """
import faulthandler, os, sys
from logferry.handlers import hooks
hooks.install(lambda **_: True, directory=sys.argv[1])
if os.fork() == 0:
    os._exit(0)
os.wait()
print("up", flush=True)
sys.stdin.readline()
faulthandler._sigsegv()
"""


def test_a_crash_becomes_an_event_at_the_next_start(outlet: MemoryOutlet, tmp_path: Path) -> None:
    """A living process's dump is left alone; a dead one's becomes a CRITICAL event, once, and is removed."""
    process = subprocess.Popen(
        [sys.executable, "-c", CRASH, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "up\n"
        assert hooks.collect_crashes(tmp_path, emit_to(outlet)) == 0
        process.stdin.write("\n")
        process.stdin.close()
        assert process.wait(30) < 0
    refusing = MemoryOutlet(accept=False)
    assert hooks.collect_crashes(tmp_path, emit_to(refusing)) == 0
    assert hooks.collect_crashes(tmp_path, emit_to(outlet)) == 1
    event = Events(outlet).find(level="CRITICAL")
    assert "Segmentation fault" in event["message"]
    assert event["crashed_process"] == str(process.pid)
    assert "_sigsegv" in event["dump"] or "File" in event["dump"]
    assert hooks.collect_crashes(tmp_path, emit_to(outlet)) == 0
    assert [path for path in tmp_path.iterdir() if path.stat().st_size] == []


def test_an_unusable_directory_is_no_error(outlet: MemoryOutlet, tmp_path: Path) -> None:
    """No crash dumps then; the application starts all the same."""
    (tmp_path / "file").write_text("")
    hooks.install(emit_to(outlet), directory=tmp_path / "file" / "x")
    assert hooks.collect_crashes(tmp_path / "nowhere", emit_to(outlet)) == 0
    assert (tmp_path / "file").exists()
