from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from logferry.shipper.spool import Spool, SpoolSettings

MakeSpool = Callable[..., Spool]
MEMORY = Path("/dev/shm")


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory, where there is one with room: for thousands of files that ask no disk."""
    if not os.access(MEMORY, os.W_OK) or shutil.disk_usage(MEMORY).free < 256 << 20:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="logferry-", dir=MEMORY) as place:
        yield Path(place)


@pytest.fixture
def make_spool(tmp_path: Path) -> MakeSpool:
    """Make spools under one path; keyword arguments that are settings go there."""

    def make(*, memory: bool = False, options: dict[str, Any] | None = None, **settings: Any) -> Spool:
        path = None if memory else tmp_path / "spool"
        return Spool(SpoolSettings(path, "shop", **settings), **(options or {}))

    return make
