"""Which logger logs from which level on: decided by the environment, refined by the configuration.

Rules
- ``dev`` begins at DEBUG, ``test`` at INFO, ``prod`` at WARNING, any other environment at INFO.
- Access, job and span events have loggers of their own with levels of their own (INFO): a quiet production
  must not silence the events that rates and percentiles are made of.
- `apply` touches levels only, never handlers, and returns what undoes it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

__all__ = ["ACCESS", "ENVIRONMENTS", "JOB", "SPAN", "Levels", "apply", "choose", "parse"]

ACCESS: Final = "logferry.access"
JOB: Final = "logferry.job"
SPAN: Final = "logferry.span"

ENVIRONMENTS: Final[Mapping[str, int]] = MappingProxyType(
    {
        **dict.fromkeys(("dev", "development", "local"), logging.DEBUG),
        **dict.fromkeys(("test", "testing", "ci"), logging.INFO),
        **dict.fromkeys(("prod", "production"), logging.WARNING),
    }
)

_NAMES: Final[Mapping[str, int]] = MappingProxyType(
    {
        "NOTSET": logging.NOTSET,
        "DEBUG": logging.DEBUG,
        "INFO": logging.INFO,
        "WARNING": logging.WARNING,
        "WARN": logging.WARNING,
        "ERROR": logging.ERROR,
        "CRITICAL": logging.CRITICAL,
        "FATAL": logging.CRITICAL,
    }
)


@dataclass(frozen=True, slots=True)
class Levels:
    """The root logger's level, and those of loggers by name."""

    root: int
    loggers: Mapping[str, int]


def parse(level: str | int) -> int:
    """Return the number of a level given by name (in any case) or number. Raises ValueError for others."""
    if isinstance(level, int) and not isinstance(level, bool):
        return level
    text = str(level).strip().upper()
    if text in _NAMES:
        return _NAMES[text]
    if text.isascii() and text.isdigit():
        return int(text)
    custom = logging.getLevelName(text)  # a name that the application has given with addLevelName
    if isinstance(custom, int):
        return custom
    raise ValueError(f"no level {level!r}: DEBUG, INFO, WARNING, ERROR, CRITICAL or a number")


def choose(
    environment: str,
    level: str | int | None = None,
    *,
    access: str | int = logging.INFO,
    job: str | int = logging.INFO,
    span: str | int = logging.INFO,
    loggers: Mapping[str, str | int] = MappingProxyType({}),
) -> Levels:
    """Decide the levels. `level` overrules the environment's; `loggers` overrules everything by name.

    Raises ValueError for a level that isn't one.
    """
    root = ENVIRONMENTS.get(environment.strip().lower(), logging.INFO) if level is None else parse(level)
    named = {ACCESS: parse(access), JOB: parse(job), SPAN: parse(span)}
    named.update((name, parse(value)) for name, value in loggers.items())
    return Levels(named.pop("root", root), MappingProxyType(named))


def apply(levels: Levels) -> Callable[[], None]:
    """Set the levels; return a function that puts the former ones back.

    A level that someone else has changed since is left alone by the undoing.
    """
    done: list[tuple[logging.Logger, int, int]] = []
    for name, level in (("", levels.root), *levels.loggers.items()):
        logger = logging.getLogger(name or None)
        done.append((logger, logger.level, level))
        logger.setLevel(level)

    def undo() -> None:
        while done:
            logger, before, ours = done.pop()
            if logger.level == ours:
                logger.setLevel(before)

    return undo
