"""JSON lines to streams and files, and events for human eyes."""

from __future__ import annotations

import io
import json
import logging
import logging.config
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from logferry.handlers import context
from logferry.handlers.console import ConsoleFormatter, render, wants_colour
from logferry.handlers.filters import TraceFilter
from logferry.handlers.stream import JsonHandler


def record(message: str, **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("app", 20, "x.py", 1, message, None, None, "f")
    made.__dict__.update(extra)
    return made


def test_lines_to_text_and_binary_streams() -> None:
    """One JSON line for each record, redacted."""
    text, binary, rec = io.StringIO(), io.BytesIO(), record("grüß password=hunter2")
    for stream in (text, binary):
        handler = JsonHandler(stream, service="s", environment="test")
        handler.handle(rec)
    assert text.getvalue().encode() == binary.getvalue()
    assert json.loads(text.getvalue())["service"] == "s"
    assert "hunter2" not in text.getvalue()


def test_a_file_survives_rotation(tmp_path: Path) -> None:
    """0600, appended to; when it was moved away the next look opens a new one."""
    path = tmp_path / "app.log"
    handler = JsonHandler(filename=path, service="s")
    handler.handle(record("one"))
    assert path.stat().st_mode & 0o777 == 0o600
    path.rename(tmp_path / "app.log.1")
    handler._look_at = 0.0
    handler.handle(record("two"))
    handler.close()
    assert json.loads(path.read_text())["message"] == "two"
    assert json.loads((tmp_path / "app.log.1").read_text())["message"] == "one"
    assert handler.failed == 0


def test_a_broken_pipe_is_counted() -> None:
    """The reader is gone: no exception, nothing left in a buffer that fails later."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        handler = JsonHandler(stream, service="s")
        os.close(reader)
        handler.handle(record("x"))
        assert handler.failed == 1
    handler.handle(record("closed"))
    assert handler.failed == 2


def test_one_write_per_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A line is written at once; after a torn one the next begins on a line of its own."""
    calls: list[bytes] = []
    real = os.write

    def write(fd: int, data: Any) -> int:
        calls.append(bytes(data))
        if len(calls) == 2:
            real(fd, bytes(data[:5]))
            return 5
        if len(calls) == 3:
            raise OSError(28, "disk full")
        return real(fd, data)

    monkeypatch.setattr(os, "write", write)
    path = tmp_path / "x"
    handler = JsonHandler(filename=path, service="s")
    for text in ("one", "two", "three"):
        handler.handle(record(text))
    handler.close()
    lines = path.read_text().splitlines()
    assert len(calls) == 4
    assert [json.loads(lines[0])["message"], json.loads(lines[2])["message"]] == ["one", "three"]
    assert handler.failed == 1


def test_dictconfig(tmp_path: Path) -> None:
    """The standard library's configuration makes it from keywords; stream and file together are an error."""
    path = tmp_path / "x"
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {
                "json": {
                    "class": "logferry.handlers.stream.JsonHandler",
                    "filename": str(path),
                    "service": "shop",
                    "redact": {"keys": ["loyalty"]},
                }
            },
            "loggers": {"test.dictconfig": {"handlers": ["json"], "level": "INFO", "propagate": False}},
        }
    )
    log = logging.getLogger("test.dictconfig")
    log.info("x", extra={"loyalty": "L-1"})
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()
    assert json.loads(path.read_text())["service"] == "shop"
    assert "L-1" not in path.read_text()
    with pytest.raises(ValueError, match="not both"):
        JsonHandler(sys.stderr, path)


def test_console_shows_message_first_then_fields() -> None:
    """Time, level, message, known fields, extras; what is on every line is left out."""
    line = render(
        {
            "timestamp": "2026-01-02T03:04:05.678901Z",
            "level": "INFO",
            "message": "order created",
            "service": "s",
            "logger": "app",
            "order_id": 42,
            "note": "two words",
            "status_code": 200,
        }
    )
    assert re.sub(" +", " ", line) == (
        '03:04:05.678 INFO order created status_code=200 order_id=42 note="two words" logger=app'
    )


def test_console_escapes_what_would_reach_the_terminal() -> None:
    """Terminal sequences, line breaks and bidirectional overrides in content are shown, not sent."""
    evil = "\x1b[2J\nfake\r\x9b\u202e\u2028"
    rec = record(evil, **{"key\x1b": evil})
    shown = ConsoleFormatter(colour=False, service="s").format(rec)
    assert not re.search("[\x00-\x1f\x7f-\x9f\u202e\u2028]", shown)
    assert "\\x1b[2J\\nfake" in shown
    stack = render({"level": "ERROR", "message": "x", "error": {"stack": "Traceback\n  \x1b[31mred\n"}})
    assert stack.endswith("\nTraceback\n  \\x1b[31mred")


def test_console_colours_only_where_wanted() -> None:
    """A terminal gets colours, unless NO_COLOR or a dumb terminal; a pipe none, unless forced."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert wants_colour(Terminal(), {})
    assert not wants_colour(Terminal(), {"NO_COLOR": "1"})
    assert not wants_colour(Terminal(), {"TERM": "dumb"})
    assert not wants_colour(io.StringIO(), {})
    assert wants_colour(io.StringIO(), {"FORCE_COLOR": "1"})
    assert "\x1b[32mINFO" in ConsoleFormatter(colour=True, service="s").format(record("x"))
    assert "hunter2" not in ConsoleFormatter(service="s").format(record("password=hunter2"))


def test_trace_filter() -> None:
    """Text formats get ids; an id that the caller gave stays."""
    with context.isolated():
        ids = context.set_trace_context()
        rec = record("x", span_id="mine")
        assert TraceFilter().filter(rec)
        assert logging.Formatter("%(trace_id)s %(span_id)s").format(rec) == f"{ids.trace_id} mine"
    rec = record("x")
    TraceFilter(missing="-").filter(rec)
    assert logging.Formatter("%(trace_id)s %(span_id)s").format(rec) == "- -"
    assert not TraceFilter("other").filter(record("x"))
