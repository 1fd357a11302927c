"""What becomes of a file that a real program has written: by the parser of its name, and by `auto`."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from logferry.shipper.sources.parsers import ParserConfig

from .followed import Kept, source

__all__ = ["Event", "events_of", "one", "server_log", "understood", "until"]

Event = dict[str, Any]
_TIMED = re.compile(r"\[\d{4}-\d\d-\d\d")


def until(condition: Callable[[], object], what: object = "") -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def events_of(path: Path, parser: str | ParserConfig, **options: Any) -> list[Event]:
    kept = Kept()
    source(kept, path, parser=parser, **options).run(once=True)
    return [json.loads(line) for line in kept.lines]


def understood(
    path: Path, parser: str | ParserConfig, *, named: bool = True, guessed: bool = True, **options: Any
) -> list[Event]:
    """The events of a file. Every line was understood: it has its own time, and no parser complained.

    `named`: each says what wrote it. `guessed`: `auto` makes the same of them.
    """
    name = parser if isinstance(parser, str) else parser.format
    events = events_of(path, parser, **options)
    assert events, path.read_text(errors="replace")
    for event in events:
        assert "parse_error" not in event, event
        assert event["logger"] or not named, event
        assert event["log_file"] == str(path)
        age = datetime.now(UTC) - datetime.fromisoformat(event["timestamp"])
        assert timedelta(seconds=-2) < age < timedelta(minutes=10), (name, event)
    if guessed:  # a time that the line does not tell is that of its reading
        for mine, other in zip(events, events_of(path, "auto", **options), strict=True):
            assert {**mine, "timestamp": ""} == {**other, "timestamp": ""}, name
    return events


def server_log(log: Path, place: Path) -> list[Event]:
    """The events of what a server on a JVM has logged so far: each line with a time began one."""
    copied = shutil.copy(log, place / "copied.log")
    lines = copied.read_text(errors="replace").splitlines()[:-1]  # the last one may not be whole
    copied.write_text("".join(f"{line}\n" for line in lines))
    begun = [line for line in lines if _TIMED.match(line)]
    assert begun
    made = events_of(copied, "jvm")
    known = [event for event in made if "parse_error" not in event]  # the JVM itself may have said something
    assert len(known) == len(begun), (len(made), len(known), len(begun))
    assert all(event["logger"] for event in known)
    return known


def one(events: list[Event], **wanted: Any) -> Event:
    """The only event that has these values."""
    found = [event for event in events if all(event.get(name) == value for name, value in wanted.items())]
    assert len(found) == 1, (wanted, found, events)
    return found[0]
