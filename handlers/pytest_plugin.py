"""The pytest fixture `logferry_events`. Every pytest run loads this: it imports nothing until it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .testing import Events

__all__ = ["logferry_events"]


@pytest.fixture
def logferry_events() -> Iterator[Events]:
    """Give the events logged during the test, decoded (see `logferry.handlers.testing.Events`)."""
    from .testing import capture

    with capture() as events:
        yield events
