"""What every unit test begins with: nothing bound. One that fails midway leaves its context behind."""

from __future__ import annotations

import pytest

from logferry.handlers.context import clear
from logferry.shipper.floor import FLOOR
from logferry.shipper.sources.blocks import LineBlocks


@pytest.fixture(autouse=True)
def nothing_bound() -> None:
    """Begin with an empty context, no agent, and defects to be seen, whatever ran before in this worker."""
    clear()
    FLOOR.shared = False
    LineBlocks.strict = True
