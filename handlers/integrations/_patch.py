"""Methods of other libraries replaced while an integration is installed, and put back afterwards.

Rules
- Installing twice is installing once, with the newer settings.
- Where somebody has wrapped ours meanwhile, theirs stays: ours becomes a way through to the original.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

__all__ = ["Patches"]


class Patches:
    """What one integration has replaced. `on` is False once it was undone."""

    def __init__(self) -> None:
        self.on = False
        self._done: list[tuple[Any, str, Any, Any, bool]] = []

    def replace(self, owner: Any, name: str, make: Callable[[Any], Callable[..., Any]]) -> None:
        """Put what `make` makes of the original in its place."""
        inherited = name not in vars(owner)
        original = getattr(owner, name)
        ours = make(original)
        alive = [True]

        @functools.wraps(original)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return ours(*args, **kwargs) if alive[0] else original(*args, **kwargs)

        setattr(owner, name, wrapper)
        self._done.append((owner, name, (wrapper, alive), original, inherited))
        self.on = True

    def undo(self) -> None:
        """Put everything back."""
        while self._done:
            owner, name, (wrapper, alive), original, inherited = self._done.pop()
            alive[0] = False
            if vars(owner).get(name) is wrapper:
                if inherited:
                    delattr(owner, name)
                else:
                    setattr(owner, name, original)
        self.on = False
