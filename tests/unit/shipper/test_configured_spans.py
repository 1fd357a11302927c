"""What `spans:` and `logging.access` say is what the process does, until it is shut down."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

import logferry
from logferry.handlers.levels import ACCESS, JOB, SPAN
from logferry.handlers.spans import is_sampled, span
from logferry.shipper.config import ConfigError


def test_the_share_and_the_beginnings_are_configured(tmp_path: Path) -> None:
    config = {
        "service": "s",
        "environment": "prod",
        "logging": {"console": "off"},
        "spool": {"path": str(tmp_path / "spool")},
        "sinks": {"here": {"type": "file", "path": str(tmp_path / "out.ndjson")}},
    }
    logferry.configure({**config, "spans": {"announce": False}})
    with span("kept"):
        pass
    logferry.configure({**config, "spans": {"sample": 0.0}})
    assert not is_sampled("a" * 32)
    with span("left out"):
        pass
    logferry.shutdown()
    assert is_sampled("a" * 32)
    lines = (tmp_path / "out.ndjson").read_text().splitlines()
    assert ["kept" in line and '"kind":"span"' in line for line in lines] == [True]


def test_one_level_for_access_job_and_span_events(tmp_path: Path) -> None:
    logferry.configure(
        {
            "service": "s",
            "logging": {"access": "ERROR", "console": "off"},
            "spool": "memory",
            "sinks": {"m": {"type": "memory"}},
        }
    )
    try:
        assert {logging.getLogger(name).level for name in (ACCESS, JOB, SPAN)} == {logging.ERROR}
    finally:
        logferry.shutdown()


def test_spans_go_where_they_are_sent_until_another_configuration(tmp_path: Path) -> None:
    """A file beside the spool; the next configuration has none, and the spool takes them again."""
    config = {
        "service": "s",
        "environment": "prod",
        "logging": {"console": "off"},
        "spool": {"path": str(tmp_path / "spool")},
        "sinks": {"here": {"type": "file", "path": str(tmp_path / "out.ndjson")}},
    }
    logferry.configure({**config, "spans": {"to": f"file://{tmp_path}/spans.ndjson"}})
    try:
        with span("beside"):
            logging.getLogger("app").warning("in the spool")
        logferry.configure(config)
        with span("through"):
            pass
    finally:
        logferry.shutdown()
    spans = (tmp_path / "spans.ndjson").read_text()
    out = (tmp_path / "out.ndjson").read_text()
    assert [name in spans for name in ("beside", "in the spool", "through")] == [True, False, False]
    assert [name in out for name in ("beside", "in the spool", "through")] == [False, True, True]
    with pytest.raises(ConfigError, match="names are not looked up"):
        logferry.configure({**config, "spans": {"to": "udp://collector:9411"}})
