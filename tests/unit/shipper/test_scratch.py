"""Directories for a while: gone at the end, and those of killed processes with the next process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from logferry.shipper.scratch import Scratch, _sweep

_QUERIES = """
import os, sys
from pathlib import Path
from logferry.shipper.store import Store
(Path(sys.argv[1]) / "fresh").mkdir(parents=True)
store = Store(sys.argv[1])
list(store.query())
os.kill(os.getpid(), 9)
"""
_MAKES_AN_OBJECT = """
import os
from logferry.shipper.model import Batch
from logferry.shipper.sinks.s3.objects import Piece
from logferry.shipper.sinks.s3.parquet import ParquetMaker
batch = Batch("0" * 32, [1], [b"{}"])
ParquetMaker({}).content(batch, Piece("key", [0]), lambda: os.kill(os.getpid(), 9))
"""
_FORKS = """
import os, signal, sys
from logferry.shipper.scratch import Scratch
scratch = Scratch("query")
if not (child := os.fork()):
    sys.exit()
os.waitpid(child, 0)
if not os.fork():
    print(scratch.path, flush=True)  # by the child: its parent's lock is closed by now
    sys.stdin.read()
    os._exit(0)
signal.pause()
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where temporary directories are made, where nobody has looked yet."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def looked(place: Path) -> set[str]:
    """Return what is there after the look of the next process."""
    _sweep.cache_clear()
    Scratch("check").close()
    return {path.name for path in place.iterdir()}


@pytest.mark.parametrize("program", [_QUERIES, _MAKES_AN_OBJECT])
def test_what_a_killed_process_leaves_goes_with_the_next(program: str, place: Path) -> None:
    """A page that was killed, and a sink in the middle of an object."""
    done = subprocess.run(
        [sys.executable, "-c", program, str(place / "store")], check=False, capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    (left,) = place.glob("logferry-*")
    assert any(left.iterdir())
    assert left.name not in looked(place)


def test_what_is_in_use_stays_and_a_child_of_the_dead_does_not_use_it(place: Path) -> None:
    """A child that ends takes nothing away either."""
    process = subprocess.Popen(
        [sys.executable, "-c", _FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        name = Path(process.stdout.readline().strip()).name
        with Scratch("s3") as ours:
            assert {name, ours.path.name} <= looked(place)
        process.kill()
        process.wait()
        assert not looked(place)  # its child waits for the end of its input, and lives
    finally:
        process.kill()
        process.communicate()


def test_what_is_not_proven_to_be_ours_and_dead_stays(place: Path) -> None:
    """Links, names and modes of others, and what has no lock."""
    dead = place / "logferry-query-abcdefgh"
    with Scratch("query") as made:
        shutil.copytree(made.path, dead)
    dead.chmod(0o700)
    others = ["logferry-demo-0", "logferry-query-short", "logferry-query-abcdefgh.d", "other"]
    for name in others:
        shutil.copytree(dead, place / name)
        (place / name).chmod(0o700)
    (place / "logferry-query-aaaaaaaa").symlink_to(place / "other")
    shutil.copytree(dead, place / "logferry-query-bbbbbbbb")
    (place / "logferry-query-bbbbbbbb").chmod(0o755)
    (place / "logferry-query-cccccccc").mkdir(mode=0o700)
    stays = {*others, *(f"logferry-query-{letter * 8}" for letter in "abc")}
    assert looked(place) == stays


def test_a_directory_is_private_and_gone_at_the_end(place: Path) -> None:
    with Scratch("edit") as made:
        assert made.path.stat().st_mode & 0o777 == 0o700
        assert made.path.stat().st_uid == os.geteuid()
    assert not list(place.iterdir())
