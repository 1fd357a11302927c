"""What every unit test begins with: nothing bound. One that fails midway leaves its context behind."""

from __future__ import annotations

import pytest

from logferry.handlers.context import clear


@pytest.fixture(autouse=True)
def nothing_bound() -> None:
    """Begin with an empty context, whatever ran before in this worker."""
    clear()
