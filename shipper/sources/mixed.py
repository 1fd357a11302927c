"""Texts of many origins that come mixed, each understood by itself: nothing is guessed from their order."""

from __future__ import annotations

from ..core.parse import Parsed, Parser, parse
from .parsers import ParserSetting, Reader, parser_config

__all__ = ["Mixed"]


class Mixed:
    """Understands texts by the option `parser`; those that are not of its format say `parse_error`."""

    __slots__ = ("_base", "_reader")

    def __init__(self, parser: ParserSetting) -> None:
        config = parser_config(parser)
        name = config.format
        self._base: Parser = name if name in {"text", "json"} else "auto"
        self._reader = None if name in {"auto", "text", "json"} else Reader(config)

    def read(self, text: bytes) -> Parsed | None:
        """Return what a text, or a joined record, says; None for a blank one."""
        return parse(text, self._base) if self._reader is None else parse(self._reader.line(text))
