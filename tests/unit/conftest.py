"""What every unit test begins with: nothing bound. One that fails midway leaves its context behind."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from logferry.handlers.context import clear
from logferry.shipper.floor import FLOOR
from logferry.shipper.sources.blocks import LineBlocks


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[object]:
    """What all tests have imported stays to the end: the collector need not go through it again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_unconfigure() -> None:
    """Let all of it go at the end: DuckDB says of what is left then that it was leaked."""
    gc.unfreeze()


@pytest.fixture(autouse=True)
def nothing_bound() -> None:
    """Begin with an empty context, no agent, and defects to be seen, whatever ran before in this worker."""
    clear()
    FLOOR.shared = False
    LineBlocks.strict = True
