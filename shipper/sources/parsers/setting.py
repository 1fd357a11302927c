"""The options `parser` and `multiline`, the same for every source that reads lines."""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from ...config.fields import Duration, Size, setting
from .patterns import pattern_of
from .postgresql import prefix_expression
from .times import zone_of

__all__ = [
    "MULTILINE_HELP",
    "PARSER_HELP",
    "MultilineConfig",
    "MultilineName",
    "MultilineSetting",
    "ParserConfig",
    "ParserName",
    "ParserSetting",
    "checked",
    "parser_config",
]

ParserName: TypeAlias = Literal[
    "auto",
    "json",
    "text",
    "logfmt",
    "python",
    "jvm",
    "go",
    "node",
    "nginx",
    "apache",
    "postgresql",
    "mysql",
    "redis",
    "syslog",
    "klog",
    "docker",
    "cri",
    "regex",
]
"""What a line is. The names of programs stand for all formats of the program."""

PARSER_HELP: Final = (
    "what the lines are: a format, a program, or auto, which decides for each file from its first lines; "
    "a mapping for more options"
)
MULTILINE_HELP: Final = (
    "which lines belong together. auto: what the parser says, and tracebacks and stacks of Python, Java, Go "
    "and Node; off: each line is an event; a mapping for patterns of your own"
)
MultilineName: TypeAlias = Literal["auto", "python", "java", "go", "node", "off"]


def _zone(name: str) -> str:
    try:
        zone_of(name)
    except ValueError as error:
        return str(error)
    return ""


@dataclass(frozen=True, slots=True)
class ParserConfig:
    """A parser with options of its own."""

    format: ParserName = setting(help="what the lines are", example="postgresql")
    timezone: str = setting(
        "local",
        help="the zone of times that name none: Europe/Berlin, UTC, +02:00; local is the machine's",
        check=_zone,
    )
    log_line_prefix: str | None = setting(
        None, help="PostgreSQL's setting of this name, for lines of its stderr", example="'%m [%p] %q%u@%d '"
    )
    pattern: str | None = setting(
        None,
        help="for regex: an expression (RE2) with named groups, which become fields; timestamp, level, "
        "message, logger, trace_id and span_id become the event's own",
        example="'^(?P<timestamp>\\S+) (?P<level>\\w+) (?P<message>.*)'",
    )

    def __post_init__(self) -> None:
        if self.format == "regex" and self.pattern is None:
            raise ValueError("regex needs a pattern; write {format: regex, pattern: '(?P<message>.*)'}")
        if self.format != "regex" and self.pattern is not None:
            raise ValueError("pattern is an option of format: regex")
        if self.log_line_prefix is not None:
            if self.format != "postgresql":
                raise ValueError("log_line_prefix is an option of format: postgresql")
            prefix_expression(self.log_line_prefix)
        if self.pattern is not None and not pattern_of(self.pattern, "pattern").names:
            raise ValueError("pattern has no named group; write (?P<message>.*) or the like")


@dataclass(frozen=True, slots=True)
class MultilineConfig:
    """Lines that belong together, by a pattern of the user's."""

    start: str | None = setting(None, help="an expression (RE2): a line that it is found in begins an event")
    continuation: str | None = setting(
        None, help="an expression (RE2): a line that it is found in belongs to the line before"
    )
    timeout: Duration = setting(
        Duration(1.0), help="what nothing was added to for so long is complete", minimum=0.01
    )
    max_lines: int = setting(10_000, help="more lines begin another event", minimum=1)
    max_bytes: Size = setting(Size(256 << 10), help="more bytes begin another event", minimum=64)

    def __post_init__(self) -> None:
        if (self.start is None) == (self.continuation is None):
            raise ValueError("multiline takes either start or continuation")
        pattern_of(self.start or self.continuation or "", "start" if self.start else "continuation")


ParserSetting: TypeAlias = ParserName | ParserConfig
MultilineSetting: TypeAlias = MultilineName | MultilineConfig | None
_NAMES: Final = frozenset(get_args(ParserName))


def parser_config(value: ParserSetting) -> ParserConfig:
    """Return the options of a parser that may be only a name. `ValueError`: it needs some."""
    if isinstance(value, ParserConfig):
        return value
    if value not in _NAMES:
        raise ValueError(f"there is no parser {value!r}")
    return ParserConfig(value)


def checked(value: ParserSetting) -> None:
    """Raise `ValueError` when a parser lacks options that it needs."""
    parser_config(value)
