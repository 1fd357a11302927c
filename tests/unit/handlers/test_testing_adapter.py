"""What users get for their own tests, and the adapter."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from logferry.handlers.adapter import LoggerAdapter
from logferry.handlers.testing import capture

pytest_plugins = ["pytester"]


def test_capture_sees_events_and_puts_everything_back() -> None:
    """Decoded events, redacted; afterwards level and handlers are as before."""
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    with capture() as events:
        logging.getLogger("x").debug("order %s", 1, extra={"password": "hunter2"})
        logging.getLogger("x").error("no")
        assert len(events) == 2
        assert events.find(level="DEBUG", message="order 1")["logger"] == "x"
        assert events[-1]["level"] == "ERROR"
        assert events.messages == ["order 1", "no"]
        assert b"hunter2" not in b"".join(events.lines)
        with pytest.raises(AssertionError, match=r"(?s)0 events with .*order 1"):
            events.find(level="CRITICAL")
        events.clear()
        assert repr(events) == "(no events)"
    assert (root.level, list(root.handlers)) == before


def test_the_fixture(pytester: pytest.Pytester) -> None:
    """`logferry_events` works in a user's test, from the entry point alone."""
    pytester.makepyfile(
        """
        import logging
        def test_it(logferry_events):
            logging.getLogger("shop").info("created", extra={"order_id": 42})
            assert logferry_events.find(message="created")["order_id"] == 42
        """
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_the_plugin_imports_next_to_nothing() -> None:
    """Every pytest run in an environment with logferry loads the plugin: it must stay tiny."""
    import logferry.handlers.pytest_plugin as plugin

    assert plugin.__file__ is not None
    text = Path(plugin.__file__).read_text()
    assert [line for line in text.splitlines() if line.startswith(("import ", "from "))] == [
        "from __future__ import annotations",
        "from typing import TYPE_CHECKING",
        "import pytest",
    ]


def test_adapter_merges_and_binds() -> None:
    """The call's fields stand above the adapter's; adapters stack, and never change."""
    log = LoggerAdapter(logging.getLogger("x"), {"a": 1}, b=2)
    more = log.bind(c=3)
    given = {"b": 20}
    with capture() as events:
        more.info("m", extra=given)
        LoggerAdapter(more.unbind("a", "zz"), d=4).info("n")
        log.info("o")
    first, second, third = events
    assert (first["a"], first["b"], first["c"]) == (1, 20, 3)
    assert (second["b"], second["c"], second["d"], "a" in second) == (2, 3, 4, False)
    assert "c" not in third
    assert given == {"b": 20}
    assert first["function"] == "test_adapter_merges_and_binds"
