"""What is generated from the configuration's dataclasses is what is committed, and agrees with the binder."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from logferry.shipper.cli.init import STARTER
from logferry.shipper.config import load
from logferry.shipper.config.json_schema import SCHEMA_FILE, schema, schema_json
from logferry.shipper.config.reference import reference
from logferry.shipper.config.sections import Config
from logferry.shipper.config.shape import section_of
from logferry.shipper.registry import (
    BUILT_IN_SINKS,
    BUILT_IN_SOURCES,
    UnknownTypeError,
    sink_kind,
    sink_types,
    source_kind,
    source_types,
)

ROOT = Path(__file__).parents[3]


def test_the_committed_schema_is_the_generated_one() -> None:
    """Editors check by the same rules as the binder (mend: python -m logferry.shipper.config.json_schema)."""
    assert SCHEMA_FILE.read_text() == schema_json()


def test_the_committed_reference_is_the_generated_one() -> None:
    """The page has every key (mend: python -m logferry.shipper.config.reference > docs/configuration.md)."""
    assert (ROOT / "docs" / "configuration.md").read_text() == reference()


def test_the_committed_page_of_the_event_is_the_generated_one() -> None:
    """It has every field (mend: python docs/_ext/event_reference.py > docs/event.md)."""
    made = runpy.run_path(str(ROOT / "docs" / "_ext" / "event_reference.py"))["page"]()
    assert (ROOT / "docs" / "event.md").read_text() == made


@pytest.mark.parametrize("find", [sink_kind, source_kind])
def test_every_built_in_kind_is_configurable(find: object) -> None:
    """Each key of each built-in kind has a type that configuration knows, and a line of help."""
    names = BUILT_IN_SINKS if find is sink_kind else BUILT_IN_SOURCES
    for name in names:
        kind = find(name)  # type: ignore[operator]  # one of the two functions above
        assert kind.type == name
        for key, setting in section_of(kind.config).items():
            assert setting.help, f"{name}.{key} has no help"


def test_every_key_has_help() -> None:
    """No key of the file stands without an explanation."""
    for key, setting in section_of(Config).items():
        assert setting.help, key
    assert json.loads(SCHEMA_FILE.read_text())["properties"]["service"]["description"]
    assert schema()["additionalProperties"] is False


def test_the_starter_file_is_good(tmp_path: Path) -> None:
    """What `logferry init` writes has no mistake, with the commented lines and without."""
    path = tmp_path / "logferry.yaml"
    text = STARTER.format(schema="x", service="app")
    path.write_text(text)
    assert load(path, environ={}).service == "app"
    lines = text.split("\n")
    start = next(i for i, line in enumerate(lines) if line.startswith("service:"))
    opened = [
        line.replace("# ", "", 1)
        if line.lstrip().startswith("# ") and ":" in line and "add your" not in line
        else line
        for line in lines[start:]
    ]
    opened = [line for line in opened if not line.startswith(("Passwords", "Records", "Files", "# "))]
    path.write_text("\n".join(opened))
    config = load(path, environ={})
    assert set(config.sinks) == {"here", "loki"}
    assert set(config.sources) == {"app"}


def test_an_unknown_type_names_the_known_ones() -> None:
    """The registry says which types there are, built in and installed."""
    with pytest.raises(UnknownTypeError, match=f"known: {', '.join(sink_types())}"):
        sink_kind("nope")
    assert set(BUILT_IN_SINKS) <= set(sink_types())
    assert set(BUILT_IN_SOURCES) <= set(source_types())
