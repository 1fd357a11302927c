"""The end of processes that leave past `atexit`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["Ending", "end_with_multiprocessing"]


class Ending(Protocol):
    """What is ended by calling `end`, whatever that is at that time."""

    end: Callable[[], object]


def end_with_multiprocessing(what: Ending) -> None:
    """End `what` when a child of `multiprocessing` ends: it leaves with `os._exit`."""
    process: Any = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        util: Any = importlib.import_module("multiprocessing.util")
        util.Finalize(None, lambda: what.end(), exitpriority=0)  # noqa: PLW0108 - `end` as it is by then
