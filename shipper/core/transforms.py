"""What a source's events become before schema and redaction: compiled once, then pure.

    drop, keep   by a filter, the language of `query`
    sample       keeps a share of the traces, each whole, and every error
    add          sets fields
    rename       gives a field another name where it stands
    move         puts a field elsewhere: into an object, or out of one
    remove       takes fields away
    cast         string, integer, number, boolean or timestamp; what would lose something stays as it is
    mask         whole values, or what a regular expression finds in them

Rules
- They run in order; `when` lets one run for some events only. What one has done the next one sees.
- `apply` changes the event it is given and says why it is left out (`""`: it is not). The same event gives
  the same result: sampling decides by the trace id, else by what the event says.
- Nothing raises for what an event holds. Every event has a time, a level, a service, an environment and a
  host: they can be set, and not taken away.
- A mistake is a `TransformError` with the place within the list, told before anything runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NoReturn, TypeAlias
from zlib import crc32

from .casts import CASTS
from .filter import Filter, FilterError, parse
from .paths import ABSENT, Event, holder, put, take, wrong_path
from .patterns import replacer

__all__ = ["ACTIONS", "NOTHING", "Rule", "TransformError", "Transforms", "compile_rules"]

ACTIONS: Final = ("add", "rename", "move", "remove", "cast", "mask", "drop", "keep", "sample")
_SIFTING: Final = frozenset({"drop", "keep", "sample"})
MASK: Final = "[REDACTED]"
_ALWAYS: Final = frozenset({"timestamp", "level", "service", "environment", "host"})
_KEPT: Final = ("ERROR", "CRITICAL")  # compared, not hashed: a level may be anything here

Step: TypeAlias = Callable[[Event], bool]
"""Changes an event; False: it is left out."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One transform as it is written: its action, what stands behind that, and its condition."""

    action: str
    value: Any
    when: str | None = None


class TransformError(ValueError):
    """A transform that cannot be: the `place`th of its list, under `key` (and `name` within that)."""

    def __init__(self, place: int, key: str, message: str, suggestion: str = "", name: str = "") -> None:
        self.place, self.key, self.name = place, key, name
        self.message, self.suggestion = message, suggestion
        super().__init__(f"{place}.{key}: {message}")


@dataclass(frozen=True, slots=True)
class Transforms:
    """A list that was understood: what each one does, and how it is called where it leaves an event out.

    `sifts`: they leave events out, or as they are.
    """

    steps: tuple[tuple[Step, str], ...] = ()
    sifts: bool = True

    def __bool__(self) -> bool:
        return bool(self.steps)

    def __add__(self, other: Transforms) -> Transforms:
        return Transforms(self.steps + other.steps, self.sifts and other.sifts)

    def apply(self, event: Event) -> str:
        """Change `event`; return which transform leaves it out, `""` when none does."""
        for step, name in self.steps:
            if not step(event):
                return name
        return ""


NOTHING: Final = Transforms()


def compile_rules(
    rules: Sequence[Rule],
    declared: Mapping[str, str] = MappingProxyType({}),
    *,
    path: str = "transforms",
) -> Transforms:
    """Return what `rules` do; `declared` are the schema's own fields. Raises `TransformError`.

    `path` is how the list is called in the configuration.
    """
    steps = []
    for place, rule in enumerate(rules):
        step = _Compiler(place, rule.action, declared).step(rule)
        if rule.when is not None:
            step = _when(_Compiler(place, "when", declared).filter(rule.when), step)
        shown = f" ({rule.value})" if rule.action in _SIFTING else ""
        steps.append((step, f"{path}[{place}].{rule.action}{shown}"))
    return Transforms(tuple(steps), all(rule.action in _SIFTING for rule in rules))


def _when(condition: Filter, step: Step) -> Step:
    holds = condition.matches
    return lambda event: step(event) if holds(event) else True


@dataclass(frozen=True, slots=True)
class _Compiler:
    """Compiles the transform at `place` of its list; `key` is what is being read."""

    place: int
    key: str
    declared: Mapping[str, str]

    def step(self, rule: Rule) -> Step:
        make: Mapping[str, Callable[[Any], Step]] = {
            "add": self.add,
            "rename": self.rename,
            "move": self.move,
            "remove": self.remove,
            "cast": self.cast,
            "mask": self.mask,
            "drop": self.drop,
            "keep": self.keep,
            "sample": _sample,
        }
        return make[rule.action](rule.value)

    def fail(self, message: str, suggestion: str = "", name: str = "") -> NoReturn:
        raise TransformError(self.place, self.key, message, suggestion, name)

    def filter(self, text: str) -> Filter:
        if not text.strip():
            self.fail("is empty: it would hold for every event")
        try:
            return parse(text, self.declared)
        except FilterError as error:
            self.fail(f"column {error.column}: {error.message}", error.suggestion)

    def names(self, names: Sequence[str] | Mapping[str, Any], *, away: bool = False) -> None:
        if not names:
            self.fail("names no field")
        for name in names:
            if wrong := wrong_path(name):
                self.fail(wrong, name=name)
            if away and name in _ALWAYS:
                self.fail(f"every event has a {name}", f"set it with add: {{{name}: …}}", name)

    def drop(self, text: str) -> Step:
        matches = self.filter(text).matches
        return lambda event: not matches(event)

    def keep(self, text: str) -> Step:
        return self.filter(text).matches

    def add(self, fields: Mapping[str, Any]) -> Step:
        self.names(fields)
        pairs = tuple(fields.items())
        plain = all("." not in name for name in fields)

        def step(event: Event) -> bool:
            if plain:
                event.update(pairs)
            else:
                for name, value in pairs:
                    put(event, name, value)
            return True

        return step

    def rename(self, names: Mapping[str, str]) -> Step:
        self.names(names, away=True)
        for name, new in names.items():
            if wrong := wrong_path(new):
                self.fail(wrong, name=name)
            if "." in new:
                self.fail(f"{new} is another place, not a name", f"write move: {{{name}: {new}}}", name)
        pairs = tuple(names.items())

        def step(event: Event) -> bool:
            for name, new in pairs:
                held = holder(event, name)
                if held is not None:
                    place, key = held
                    place[new] = place.pop(key)
            return True

        return step

    def move(self, names: Mapping[str, str]) -> Step:
        self.names(names, away=True)
        for name, target in names.items():
            if wrong := wrong_path(target):
                self.fail(wrong, name=name)
            if target == name or target.startswith(f"{name}."):
                self.fail(f"{name} cannot be moved into itself", name=name)
        pairs = tuple(names.items())

        def step(event: Event) -> bool:
            for name, target in pairs:
                value = take(event, name)
                if value is not ABSENT:
                    put(event, target, value)
            return True

        return step

    def remove(self, names: Sequence[str]) -> Step:
        self.names(names, away=True)

        def step(event: Event) -> bool:
            for name in names:
                take(event, name)
            return True

        return step

    def cast(self, kinds: Mapping[str, str]) -> Step:
        self.names(kinds)
        pairs = tuple((name, CASTS[kind]) for name, kind in kinds.items())

        def step(event: Event) -> bool:
            for name, cast in pairs:
                held = holder(event, name)
                if held is not None:
                    place, key = held
                    place[key] = cast(place[key])
            return True

        return step

    def mask(self, what: Sequence[str] | Mapping[str, str]) -> Step:
        self.names(what, away=True)
        if not isinstance(what, Mapping):
            return _mask_whole(tuple(what))
        pairs = []
        for name, pattern in what.items():
            try:
                pairs.append((name, replacer(pattern, MASK)))
            except ValueError as error:
                self.fail(f"not a regular expression (RE2): {error}", name=name)

        def step(event: Event) -> bool:
            for name, replace in pairs:
                held = holder(event, name)
                if held is not None and type(text := held[0][held[1]]) is str:
                    held[0][held[1]] = replace(text)
            return True

        return step


def _mask_whole(names: tuple[str, ...]) -> Step:
    def step(event: Event) -> bool:
        for name in names:
            held = holder(event, name)
            if held is not None:
                held[0][held[1]] = MASK
        return True

    return step


def _sample(share: float) -> Step:
    bound = int(share * (1 << 32))

    def step(event: Event) -> bool:
        if event.get("level") in _KEPT or event.get("failed") is True:
            return True
        trace = event.get("trace_id")
        said = trace if type(trace) is str and trace else repr(event)
        return crc32(said.encode("utf-8", "replace")) < bound

    return step
