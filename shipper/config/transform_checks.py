"""Mistakes in `transforms` and `tests` that only show when they are compiled, reported at their places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..core.transforms import TransformError, compile_rules
from .problems import closest
from .tree import Items, Mark, Node, Table

if TYPE_CHECKING:
    from .bind import Binder
    from .sections import Config, SourceConfig
    from .transforms import Transform

__all__ = ["check_cases", "check_transforms"]


def check_transforms(
    tree: Table, config: Config, sources: Mapping[str, SourceConfig], binder: Binder
) -> None:
    """Report steps that cannot be: filters, names and expressions."""
    declared = config.schema.fields
    _check(_child(tree, "transforms"), config.transforms, "transforms", declared, binder)
    for name, source in sources.items():
        node = _child(_child(_child(tree, "sources"), name), "transforms")
        _check(node, source.common.transforms, f"sources.{name}.transforms", declared, binder)


def _check(
    node: Node | None, steps: Sequence[Transform], path: str, declared: Mapping[str, str], binder: Binder
) -> None:
    for place, step in enumerate(steps):
        try:
            compile_rules((step.rule,), declared)
        except TransformError as error:
            assert isinstance(node, Items)  # else there were no steps
            mark, key = _place(node.items[place], error)
            binder.report(mark, f"{path}[{place}].{key}", error.message, error.suggestion, False)


def _place(node: Node, error: TransformError) -> tuple[Mark, str]:
    """Return where the mistake stands, and what that place is called."""
    entry = node.entries.get(error.key) if isinstance(node, Table) else None
    if entry is None:
        return node.mark, error.key
    inner = entry.node
    if isinstance(inner, Table) and error.name in inner.entries:
        return inner.entries[error.name].mark, f"{error.key}.{error.name}"
    return entry.mark, error.key


def check_cases(tree: Table, config: Config, binder: Binder) -> None:
    """Report tests of sources that there are not, and tests that do not say of which source."""
    names = _names(_child(tree, "sources"))
    node = _child(tree, "tests")
    for place, case in enumerate(config.tests):
        path = f"tests[{place}]"
        assert isinstance(node, Items)  # else there were none
        item = node.items[place]
        if case.source is None and len(names) != 1:
            told = "name the source that reads the lines" if names else "there is no source to read the lines"
            binder.report(item.mark, path, told, f"write source: {names[0]}" if names else "", False)
        elif case.source is not None and case.source not in names:
            entry = item.entries["source"] if isinstance(item, Table) else None
            mark = item.mark if entry is None else entry.mark
            wrong = f"there is no source {case.source}"
            binder.report(mark, f"{path}.source", wrong, closest(case.source, names), False)


def _names(node: Node | None) -> list[str]:
    return list(node.entries) if isinstance(node, Table) else []


def _child(node: Node | None, key: str) -> Node | None:
    entry = node.entries.get(key) if isinstance(node, Table) else None
    return None if entry is None else entry.node
