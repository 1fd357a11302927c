"""Lines that a source has not understood: kept whole, and counted where people look."""

from __future__ import annotations

import json
import time
from pathlib import Path

from logferry.handlers.schema import Schema
from logferry.shipper.builder import SourceBuilder
from logferry.shipper.config.loading import load
from logferry.shipper.config.plan import plan
from logferry.shipper.metrics import render
from logferry.shipper.overview import Watcher
from logferry.shipper.pipeline import Pipeline
from logferry.shipper.sources.parsed_blocks import ParsedBlocks
from logferry.shipper.sources.syslog.message import told_of_message

NGINX = '192.0.2.7 - - [21/Nov/2026:20:17:42 +0000] "GET /orders HTTP/1.1" 200 612 "-" "curl/8"\n'


def test_they_are_counted_for_each_source(tmp_path: Path) -> None:
    """In `/metrics`, and in what the agent tells `logferry top`; every line is there all the same."""
    texts = {
        "edge": NGINX * 3 + "no such line\n" + NGINX + "  at all\n",
        "app": '{"msg": "one"}\nnot JSON\n{"msg": "tw\n' + '{"msg": "three"}\n' * 60,
        "any": "anything\ngoes\n",
        "off": "one\n\ntwo\n",
    }
    parsers = {"edge": "nginx", "app": "json", "any": "auto", "off": "text"}
    for name, text in texts.items():
        (tmp_path / f"{name}.log").write_text(text)
    sources = {
        name: {"type": "file", "include": [str(tmp_path / f"{name}.log")], "parser": parser}
        for name, parser in parsers.items()
    }
    out = tmp_path / "out.ndjson"
    sinks = {"out": {"type": "file", "path": str(out)}}
    pipeline = Pipeline.from_plan(
        plan(load({"service": "s", "spool": {"path": str(tmp_path)}, "sinks": sinks, "sources": sources}))
    )
    pipeline.start(sources=False)
    try:
        assert pipeline.read_sources_once() == {}
        assert pipeline.flush(30)
        assert pipeline.unparsed() == {"edge": 2, "app": 2, "any": 0, "off": 0}
        text = render(pipeline.accounts(), pipeline.states(), pipeline.unparsed())
        assert 'logferry_unparsed_lines_total{source="edge"} 2\n' in text
        assert 'logferry_unparsed_lines_total{source="any"} 0\n' in text
        watcher, deadline = Watcher([tmp_path]), time.monotonic() + 30
        while True:
            [view] = watcher.look()
            told = {name: source.unparsed for name, source in view.sources.items()}
            if told == {"edge": 2, "app": 2, "any": 0, "off": 0}:
                break
            assert time.monotonic() < deadline, told
            time.sleep(0.02)
    finally:
        pipeline.shutdown()
    messages = [json.loads(line)["message"] for line in out.read_text().splitlines()]
    assert len(messages) == 6 + 63 + 2 + 2
    for kept in ("no such line", "  at all", "not JSON", '{"msg": "tw'):
        assert kept in messages


def test_messages_that_are_none_are_counted_too() -> None:
    """What comes over the network is understood one by one: syslog that is none, for instance."""
    builder = SourceBuilder(Schema("s", host="h"))
    raws = (b"<13>Nov  1 02:03:04 a: fine", b"plain", b"<999>too large")
    told = [told_of_message(raw, 0.0, {}) for raw in raws]
    blocks = ParsedBlocks(builder).blocks([one for one in told if one])
    made = [event for events, _ in blocks for event in events]
    assert (len(made), builder.unparsed) == (3, 2)
