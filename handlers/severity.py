"""The standard five levels, by number and by name, whatever `addLevelName` did."""

from __future__ import annotations

from typing import Final

__all__ = ["BY_NAME", "BY_NUMBER", "level_name"]

BY_NUMBER: Final = {10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR", 50: "CRITICAL"}
BY_NAME: Final = {
    "TRACE": "DEBUG",
    "DEBUG": "DEBUG",
    "NOTSET": "DEBUG",
    "INFO": "INFO",
    "SUCCESS": "INFO",
    "NOTICE": "INFO",
    "WARN": "WARNING",
    "WARNING": "WARNING",
    "ERR": "ERROR",
    "ERROR": "ERROR",
    "EXCEPTION": "ERROR",
    "CRITICAL": "CRITICAL",
    "FATAL": "CRITICAL",
    "EMERG": "CRITICAL",
    "ALERT": "CRITICAL",
    "PANIC": "CRITICAL",
}


def level_name(level: object) -> str:
    """Return the standard name of a level given by number (the nearest below; under 10: DEBUG) or by name."""
    if isinstance(level, str):
        return BY_NAME.get(level.strip().upper(), "INFO")
    if isinstance(level, (int, float)) and level == level:  # noqa: PLR0124 - is not NaN
        return BY_NUMBER[max(10, min(50, int(min(max(level, 0), 50)) // 10 * 10))]
    return "INFO"
