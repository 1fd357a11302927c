"""Docker's own json-file logger and containerd's own CRI logger write what programs say; nothing is lost.

Both are run as their daemons run them (tests/servers/writers): long lines are cut at 16 KiB, logs are rotated
while they are followed, two streams mix. The programs are Python's, Go's and Node's.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from effort import effort
from programs.followed import Kept, source, until
from programs.understood import Event, events_of, one
from servers.cache import binary, required

from logferry.shipper.config.fields import Duration
from logferry.shipper.sources.parsers import MultilineConfig

pytestmark = pytest.mark.integration

CONTAINER = "ab" * 32
POD_UID = "0af76519-16cd-43dd-8448-eb211c80319c"
TRACE = "0af7651916cd43dd8448eb211c80319c"
LINES = 600 * effort(1)
LONG = 40_000
PATIENT = MultilineConfig(start="^line ", timeout=Duration(60.0))  # a slow machine is no end of a line
# Numbered lines on both streams, one in fifty longer than a part.
SPEAKER = """
import sys, time
for number in range(int(sys.argv[1])):
    size = int(sys.argv[2]) if number % 50 == 7 else 60
    stream = sys.stderr if number % 3 == 0 else sys.stdout
    print(f"line {number} {'x' * size} end", file=stream, flush=True)
    time.sleep(0.001)
"""
FAILING = """
import logging
logging.basicConfig()
print("no end", end="", flush=True)
try:
    {}["card"]
except KeyError:
    logging.exception("not paid")
"""
KNOWN = {
    "docker": {"container_id": CONTAINER, "container.tag": "till", "container.team": "shop"},
    "cri": {
        "namespace": "shop",
        "pod": "till-0",
        "pod_uid": POD_UID,
        "container": "till",
        "container_restart": "0",
    },
}


@pytest.fixture(scope="module", autouse=True)
def _there() -> None:
    required("writers", "Go")


def place(directory: Path, runtime: str) -> Path:
    """Where the runtime keeps the log of its container."""
    if runtime == "docker":
        return directory / "containers" / CONTAINER / f"{CONTAINER}-json.log"
    return directory / "pods" / f"shop_till-0_{POD_UID}" / "till" / "0.log"


def run(path: Path, runtime: str, *command: str, size: str = "10000000") -> None:
    """Run a program in a container of the runtime's, to its end."""
    rotation = [size, "100"] if runtime == "docker" else [size]
    writers = [str(binary("writers")), runtime, str(path), *rotation, *command]
    done = subprocess.run(writers, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


@contextmanager
def followed(kept: Kept, include: Path, parser: str) -> Iterator[None]:
    running = source(kept, include, parser=parser, multiline=PATIENT)
    thread = threading.Thread(target=running.run, kwargs={"once": False})
    thread.start()
    try:
        yield
    finally:
        running.stop()
        thread.join(60)
        assert not thread.is_alive()


def whole(events: list[Event], runtime: str) -> None:
    """Each line is there once, on its stream, whole, and with what the path says."""
    wanted = {
        f"line {number} {'x' * (LONG if number % 50 == 7 else 60)} end": (
            "stdout" if number % 3 else "stderr"
        )
        for number in range(LINES)
    }
    got = [(event["message"], event["stream"]) for event in events]
    odd = [(text[:40], len(text), stream) for text, stream in got if wanted.get(text) != stream]
    assert (odd, len(got), len(set(got))) == ([], LINES, LINES)
    for event in events:
        assert KNOWN[runtime].items() <= event.items()


@pytest.mark.parametrize("runtime", ["docker", "cri"])
def test_followed_through_rotations(tmp_path: Path, runtime: str) -> None:
    """The runtime rotates in the middle of lines, and of their parts; and what it left is read in one go."""
    path, kept = place(tmp_path, runtime), Kept()
    path.parent.mkdir(parents=True)
    speaker = [sys.executable, "-c", SPEAKER, str(LINES), str(LONG)]
    every = path.with_name(f"{path.name}*")  # a busy machine may see a file only when it has another name
    with followed(kept, every, runtime):
        run(path, runtime, *speaker, size="150000")
        # Of each file and stream the last line may be held: more of it might follow.
        wanted = LINES - 2 * len(list(path.parent.iterdir()))
        until(lambda: len(kept.lines) >= wanted, lambda: [len(kept.lines), kept.lines[-1:]])
    source(kept, every, parser=runtime).run(once=True)  # the last lines, which more might follow
    assert len(list(path.parent.iterdir())) >= 3
    whole([json.loads(line) for line in kept.lines], runtime)
    left = events_of(every, runtime)
    whole(left, runtime)
    for stream in ("stdout", "stderr"):  # in the order in which it was said
        numbers = [int(event["message"].split()[1]) for event in left if event["stream"] == stream]
        assert numbers == sorted(numbers)


@pytest.mark.parametrize("parser", ["named", "auto"])
@pytest.mark.parametrize("runtime", ["docker", "cri"])
def test_programs_in_containers(tmp_path: Path, runtime: str, parser: str) -> None:
    """What stands in the container's log is understood like the program's own: its stacks, too."""
    name = runtime if parser == "named" else parser

    def said(what: str, *command: str) -> list[Event]:
        path = place(tmp_path / what, runtime)
        run(path, runtime, *command)
        events = events_of(path, name)
        assert not [event for event in events if "parse_error" in event]
        for event in events:  # a line's own `pod`, as klog's programs have it, is left as it is
            known = {name: event.get(name) for name in KNOWN[runtime]}
            assert known == KNOWN[runtime] or what == "klog"
        return events

    go = str(binary("writers"))
    events = said("panic", go, "go", "panic")
    assert [event["message"] for event in events] == ["open", "no card"]
    assert events[1]["error"]["stack"].startswith("panic: no card\n\ngoroutine 1 [running]:\nmain.pay(")
    paid = one(said("slog", go, "go", "slog-json"), message="not paid")
    assert (paid["level"], paid["card"]["number"]) == ("ERROR", 4000)
    klog = said("klog", go, "go", "klog")
    assert one(klog, message="Not paid")["trace_id"] == TRACE
    assert one(klog, message="Paid")["text"] == "two\nlines"
    python = said("python", sys.executable, "-c", FAILING)
    failed: Any = one(python, message="not paid")
    assert (failed["level"], failed["error"]["type"]) == ("ERROR", "KeyError")
    assert one(python, message="no end")["stream"] == "stdout"
