"""Which logger logs from which level on: decided by the environment, refined by the configuration.

Rules
- ``dev`` begins at DEBUG, ``test`` at INFO, ``prod`` at WARNING, any other environment at INFO.
- Access, job and span events have loggers of their own with levels of their own (INFO): a quiet production
  must not silence the events that rates and percentiles are made of.
- `apply` touches levels only, never handlers, and returns what undoes it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

__all__ = [
    "ACCESS",
    "ENVIRONMENTS",
    "JOB",
    "SPAN",
    "Applied",
    "Levels",
    "apply",
    "choose",
    "overridden",
    "parse",
]

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

# Loggers (`""`: the root) whose level someone has changed for a while in this running process.
overridden: Final[set[str]] = set()


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


class Applied:
    """Levels that were set, with those that they took the place of, by logger name (`""`: the root)."""

    def __init__(self, former: dict[str, int], ours: dict[str, int]) -> None:
        self._former = former
        self._ours = ours

    def undo(self) -> None:
        """Put the former levels back. One that someone else has changed since is left alone."""
        while self._ours:
            name, level = self._ours.popitem()
            logger = logging.getLogger(name or None)
            if logger.level == level:
                logger.setLevel(self._former[name])

    def hand_over(self, name: str) -> int | None:
        """Return the former level of a logger whose level is ours, which is then the caller's to undo."""
        level = self._ours.pop(name, None)
        return self._former[name] if level == logging.getLogger(name or None).level else None


def apply(levels: Levels, before: Applied | None = None) -> Applied:
    """Set the levels; `Applied.undo` puts the former ones back.

    `before` are levels that these replace, without a moment in which neither is in force.
    """
    wanted = {"": levels.root, **levels.loggers}
    former: dict[str, int] = {}
    for name, level in wanted.items():
        logger = logging.getLogger(name or None)
        first = before.hand_over(name) if before is not None else None
        former[name] = logger.level if first is None else first
        logger.setLevel(level)
    if before is not None:
        before.undo()
    return Applied(former, wanted)
