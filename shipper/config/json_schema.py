"""The JSON Schema of the configuration, for editors: made from the same dataclasses that the binder reads.

`python -m logferry.shipper.config.json_schema` prints it; the copy beside this module is what `logferry init`
points editors to, and a test holds the two together. It knows the built-in kinds; a sink or source of another
distribution is accepted with any keys. A value with a `${VAR}` is accepted wherever a scalar may stand.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from ..registry import BUILT_IN_SINKS, BUILT_IN_SOURCES, sink_kind, source_kind
from .fields import Duration, Secret, Size
from .sections import Config, SinkConfig, SinkSection, SourceConfig, SourceSection
from .shape import Anything, Choice, Either, ListOf, MapOf, Scalar, Section, Setting, Shape, section_of

__all__ = ["SCHEMA_FILE", "schema", "schema_json"]

SCHEMA_FILE: Final = Path(__file__).with_name("logferry.schema.json")
_REFERENCE: Final = {"type": "string", "pattern": r"\$\{"}
_SIZE: Final = r"^[0-9]+(\.[0-9]+)? *([KMGTkmgt][iI]?[Bb]|[Bb])?$"
_DURATION: Final = r"^([0-9]+(\.[0-9]+)? *(ms|[wdhms])? *)+$"
_SCALARS: Final[dict[Any, dict[str, Any]]] = {
    str: {"type": ["string", "number", "boolean"]},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    Path: {"type": "string", "minLength": 1},
    Secret: {"type": "string", "description": "text, ${VAR} or file:/path"},
    Size: {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": _SIZE}]},
    Duration: {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": _DURATION}]},
}


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a whole configuration."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "logferry",
        **_section(Config),
    }


def schema_json() -> str:
    """Return the JSON Schema as the text of the committed file."""
    return json.dumps(schema(), indent=2) + "\n"


def _section(kind: type[Any]) -> dict[str, Any]:
    settings = section_of(kind)
    made: dict[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {key: _setting(setting) for key, setting in settings.items()},
    }
    if not any(setting.required for setting in settings.values()):
        made["type"] = ["object", "null"]  # a key whose every line is commented out
    if required := [key for key, setting in settings.items() if setting.required]:
        made["required"] = required
    return made


def _setting(setting: Setting) -> dict[str, Any]:
    made = _shape(setting.shape)
    if setting.help:
        made = {"description": setting.help, **{k: v for k, v in made.items() if k != "description"}}
    plain = isinstance(setting.shape, Scalar) and setting.shape.type in {int, float}
    if plain:
        bounds = {"minimum": setting.minimum, "maximum": setting.maximum}
        for option in made["anyOf"]:
            if "pattern" not in option:
                option.update({name: bound for name, bound in bounds.items() if bound is not None})
    return made


def _shape(shape: Shape) -> dict[str, Any]:  # noqa: C901, PLR0911 - one line for each shape
    match shape:
        case Section(type=kind) if kind is SinkConfig:
            return _kinds(SinkSection, BUILT_IN_SINKS, sink_kind)
        case Section(type=kind) if kind is SourceConfig:
            return _kinds(SourceSection, BUILT_IN_SOURCES, source_kind)
        case Section(type=kind):
            return _section(kind)
        case Anything():
            return {}
        case ListOf(item=item):
            return {"type": "array", "items": _shape(item)}
        case MapOf(item=item):
            return {"type": ["object", "null"], "additionalProperties": _shape(item)}
        case Either(options=options, null=null):
            return {"anyOf": [*map(_shape, options), *([{"type": "null"}] if null else [])]}
        case Choice(values=values):
            # A bare `off` is a boolean to editors that read YAML 1.1.
            words = [*values, *([False] if "off" in values else [])]
            return {"anyOf": [{"enum": words}, dict(_REFERENCE)]}
        case Scalar(type=kind) if kind in {str, Path, Secret}:
            return dict(_SCALARS[kind])
        case Scalar(type=kind):
            return {"anyOf": [dict(_SCALARS[kind]), dict(_REFERENCE)]}


def _kinds(common: type[Any], names: tuple[str, ...], find: Any) -> dict[str, Any]:
    rules = []
    for name in names:
        settings = {**section_of(common), **section_of(find(name).config)}
        properties: dict[str, Any] = {key: _setting(setting) for key, setting in settings.items()}
        properties["type"] = {"const": name}
        then = {
            "properties": properties,
            "required": [key for key, setting in settings.items() if setting.required],
            "additionalProperties": False,
        }
        rules.append({"if": {"properties": {"type": {"const": name}}, "required": ["type"]}, "then": then})
    return {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"anyOf": [{"enum": list(names)}, {"type": "string"}]}},
        "allOf": rules,
    }


if __name__ == "__main__":
    sys.stdout.write(schema_json())
