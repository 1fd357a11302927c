from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from logferry.shipper.spool import Spool, SpoolSettings

MakeSpool = Callable[..., Spool]


@pytest.fixture
def make_spool(tmp_path: Path) -> MakeSpool:
    """Make spools under one path; keyword arguments that are settings go there."""

    def make(*, memory: bool = False, options: dict[str, Any] | None = None, **settings: Any) -> Spool:
        path = None if memory else tmp_path / "spool"
        return Spool(SpoolSettings(path, "shop", **settings), **(options or {}))

    return make
