"""Every option of every source has a heading of its own on the page of sources."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from logferry.shipper.registry import BUILT_IN_SOURCES, source_kind

DOCS = Path(__file__).parents[3] / "docs"
PAGES = {"kafka": "sinks-kafka.md"}  # all others share one


@pytest.mark.parametrize("name", BUILT_IN_SOURCES)
def test_every_option_has_a_heading(name: str) -> None:
    """A new option, or a new source, without its heading fails here."""
    page = DOCS / PAGES.get(name, "sources.md")
    headings = re.findall(r"^#{2,5} (.*)$", page.read_text(), re.MULTILINE)
    named = {word for heading in headings for word in re.findall(r"`([^`]+)`", heading)}
    options = {option.metadata.get("key", option.name) for option in fields(source_kind(name).config)}
    assert options
    assert options <= named, f"{page.name} has no heading for {sorted(options - named)}"
    assert page.stem in (DOCS / "index.md").read_text().split()
