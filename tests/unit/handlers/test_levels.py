"""Levels by environment, refined by name, applied and undone."""

from __future__ import annotations

import logging

import pytest

from logferry.handlers.levels import ACCESS, apply, choose, parse


@pytest.mark.parametrize(("environment", "level"), [("dev", 10), ("test", 20), ("prod", 30), ("Staging", 20)])
def test_the_environment_decides(environment: str, level: int) -> None:
    """Each environment has its level; access events keep theirs."""
    levels = choose(environment)
    assert levels.root == level
    assert levels.loggers[ACCESS] == logging.INFO


def test_configuration_overrules() -> None:
    """A level, one of its own for access, and loggers by name."""
    levels = choose("prod", "info", access="WARNING", loggers={"a.b": "error", "root": 10})
    assert (levels.root, dict(levels.loggers)[ACCESS], levels.loggers["a.b"]) == (10, 30, 40)


def test_parse() -> None:
    """Names in any case, numbers, names that the application made; all else is an error."""
    logging.addLevelName(7, "FINE")
    assert [parse(x) for x in ("debug", " Warn ", 15, "25", "fine")] == [10, 30, 15, 25, 7]
    for bad in ("loud", True, "", "1.5"):
        with pytest.raises(ValueError, match="no level"):
            parse(bad)


def test_apply_and_undo() -> None:
    """Levels are put back, except where someone has changed them since."""
    a, b = logging.getLogger("levels.a"), logging.getLogger("levels.b")
    root = logging.getLogger().level
    applied = apply(choose("prod", loggers={"levels.a": "ERROR", "levels.b": "ERROR"}))
    assert logging.getLogger().level == 30
    assert logging.getLogger(ACCESS).isEnabledFor(logging.INFO)
    b.setLevel(5)
    applied.undo()
    assert (a.level, b.level, logging.getLogger().level) == (0, 5, root)
    b.setLevel(0)


def test_levels_that_replace_others_undo_to_the_first() -> None:
    """The second configuration's levels stand for the first's, and are undone to what was before both."""
    root, a, b = (logging.getLogger(name) for name in (None, "levels.a", "levels.b"))
    was = root.level
    first = apply(choose("prod", loggers={"levels.a": "ERROR", "levels.b": "ERROR"}))
    second = apply(choose("test", loggers={"levels.a": "DEBUG"}), first)
    assert (root.level, a.level, b.level) == (logging.INFO, logging.DEBUG, 0)
    first.undo()
    assert (root.level, a.level) == (logging.INFO, logging.DEBUG)
    second.undo()
    assert (root.level, a.level, b.level) == (was, 0, 0)
