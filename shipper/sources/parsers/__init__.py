"""What lines say: the formats of programs, one module each, and the options that choose them."""

from .formats import Reader
from .model import Fields, LineParser
from .setting import (
    MULTILINE_HELP,
    PARSER_HELP,
    MultilineConfig,
    MultilineName,
    MultilineSetting,
    ParserConfig,
    ParserName,
    ParserSetting,
    checked,
    parser_config,
)

__all__ = [
    "MULTILINE_HELP",
    "PARSER_HELP",
    "Fields",
    "LineParser",
    "MultilineConfig",
    "MultilineName",
    "MultilineSetting",
    "ParserConfig",
    "ParserName",
    "ParserSetting",
    "Reader",
    "checked",
    "parser_config",
]
