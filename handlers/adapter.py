"""A logger with fields of its own.

Rules
- Fields given in a call (`extra=`) stand above the adapter's; neither mapping is changed.
- `bind` and `unbind` return a new adapter; an adapter never changes, so it can be shared.
- Adapters may be stacked: the inner one's fields are kept, the outer one's stand above them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    _Base = logging.LoggerAdapter["logging.Logger | logging.LoggerAdapter[Any]"]
else:
    _Base = logging.LoggerAdapter

__all__ = ["LoggerAdapter"]


class LoggerAdapter(_Base):
    """Adds `fields` to every record that is logged through it.

    Unlike the standard library's before Python 3.13 (`merge_extra`), it keeps the call's own `extra`.
    """

    def __init__(
        self,
        logger: logging.Logger | logging.LoggerAdapter[Any],
        extra: Mapping[str, object] | None = None,
        **fields: object,
    ) -> None:
        super().__init__(logger, {**(extra or {}), **fields})

    def bind(self, **fields: object) -> LoggerAdapter:
        """Return an adapter with more fields."""
        return type(self)(self.logger, {**(self.extra or {}), **fields})

    def unbind(self, *names: str) -> LoggerAdapter:
        """Return an adapter without these fields; unknown names are ignored."""
        return type(self)(self.logger, {k: v for k, v in (self.extra or {}).items() if k not in names})

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Merge the adapter's fields with the call's."""
        return msg, {**kwargs, "extra": {**(self.extra or {}), **(kwargs.get("extra") or {})}}
