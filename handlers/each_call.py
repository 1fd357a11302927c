"""A function wrapped so that each of its calls runs inside a block of its own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar, cast

__all__ = ["each_call"]

F = TypeVar("F", bound=Callable[..., Any])


def each_call(function: F, block: Callable[[], AbstractContextManager[Any]], name: str) -> F:
    """Return `function`, plain or async, with a new `block()` around each call.

    Raises TypeError for a generator: what would be its block, the call or the reading, is ambiguous. `name`
    is what the message calls the block.
    """
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{function.__qualname__} is a generator: use {name}(...) inside it")

    @functools.wraps(function)
    def plain(*args: Any, **kwargs: Any) -> Any:
        with block():
            return function(*args, **kwargs)

    @functools.wraps(function)
    async def awaited(*args: Any, **kwargs: Any) -> Any:
        with block():
            return await function(*args, **kwargs)

    return cast("F", awaited if inspect.iscoroutinefunction(function) else plain)
