"""The sections `transforms` and `tests`: what becomes of a source's events, and examples that prove it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ..core.transforms import ACTIONS, Rule, Transforms, compile_rules
from .fields import setting

if TYPE_CHECKING:
    from .sections import Config

__all__ = ["Case", "Kind", "Transform", "rules_of", "transforms"]

Kind: TypeAlias = Literal["string", "integer", "number", "boolean", "timestamp"]


@dataclass(frozen=True, slots=True)
class Transform:
    """One step, with exactly one action. Steps run in order, before the schema and redaction."""

    add: Mapping[str, Any] | None = setting(
        None, help="fields to set, whatever they were", example="{team: payments}"
    )
    rename: Mapping[str, str] | None = setting(
        None, help="old names and new ones, where the fields stand", example="{lvl: level}"
    )
    move: Mapping[str, str] | None = setting(
        None,
        help="fields and the places they go to; a dot is a step into an object",
        example="{ip: client.ip}",
    )
    remove: tuple[str, ...] | None = setting(None, help="fields to take away", example="[debug_info]")
    cast: Mapping[str, Kind] | None = setting(
        None,
        help="fields and their types; what would lose something stays as it is",
        example="{status: integer}",
    )
    mask: tuple[str, ...] | Mapping[str, str] | None = setting(
        None,
        help="fields whose values become [REDACTED], or fields with an expression (RE2) of what does",
        example="{message: 'card=\\S+'}",
    )
    drop: str | None = setting(
        None, help="leave out what this filter finds (the language of `query`)", example="path=/health*"
    )
    keep: str | None = setting(None, help="leave out what this filter does not find", example="level>=INFO")
    sample: float | None = setting(
        None, help="keep this share of the traces, each whole, and every error", minimum=0.0, maximum=1.0
    )
    when: str | None = setting(None, help="only for events that this filter finds", example="service=edge")

    def __post_init__(self) -> None:
        named = [action for action in ACTIONS if getattr(self, action) is not None]
        if len(named) != 1:
            what = " and ".join(named) if named else "nothing"
            raise ValueError(f"does {what}; each step has one of {', '.join(ACTIONS)}, and perhaps `when`")

    @property
    def rule(self) -> Rule:
        """What it does, as `core.transforms` takes it."""
        action = next(action for action in ACTIONS if getattr(self, action) is not None)
        return Rule(action, getattr(self, action), self.when)


@dataclass(frozen=True, slots=True)
class Case:
    """Lines, and the events that they must become; `logferry check` tries it."""

    input: str | tuple[str, ...] = setting(
        help="a line, several, or a text of several", example="GET /health"
    )
    expect: Mapping[str, Any] | tuple[Mapping[str, Any], ...] = setting(
        help="for each event some of its fields and their values (null: it has none); []: no event",
        example="{level: INFO}",
    )
    source: str | None = setting(None, help="the source that reads them; empty: the only one there is")
    name: str = setting("", help="what it shows")


def rules_of(steps: Sequence[Transform]) -> list[Rule]:
    """Return what steps do."""
    return [step.rule for step in steps]


def transforms(config: Config, source: str) -> Transforms:
    """Return what becomes of the events of a source: its own steps, then those of all sources."""
    declared = config.schema.fields
    own = config.sources[source].common.transforms
    first = compile_rules(rules_of(own), declared, path=f"sources.{source}.transforms")
    rest = compile_rules(rules_of(config.transforms), declared)
    return first + rest
