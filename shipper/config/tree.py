"""A configuration as a tree that remembers where everything stands: from YAML text or from a mapping.

Rules:
- The safe loader's grammar, composed and never constructed: no tag can make an object.
- A scalar keeps its text as written: what it means (`off`, `1.10`, `0777`) is decided by the type that the
  field has, not by YAML 1.1's guess.
- A key stands once; a key is text. Aliases and merge keys (`<<`) work, within a bound on the number of nodes,
  so that a "billion laughs" file ends as a problem.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Final, TypeAlias

import yaml

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NOWHERE", "Entry", "Items", "Leaf", "Mark", "Node", "Table", "from_python", "from_yaml"]

MAX_NODES: Final = 100_000
_MERGE: Final = "tag:yaml.org,2002:merge"
_NULL: Final = "tag:yaml.org,2002:null"


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the file, counted from 1; 0:0 is nowhere (a mapping)."""

    line: int
    column: int


NOWHERE: Final = Mark(0, 0)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A scalar. `text` is what was written (None: null); `value` is the Python value if it came from one."""

    mark: Mark
    text: str | None
    quoted: bool = False
    value: object = None


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    mark: Mark
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """A key's place and its value."""

    mark: Mark
    node: Node


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping."""

    mark: Mark
    entries: Mapping[str, Entry]


Node: TypeAlias = Leaf | Items | Table
Report: TypeAlias = "Callable[[Mark, str, str], None]"


class _Composer:
    """Turns PyYAML's nodes into ours and reports keys that stand twice or are no text."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._left = MAX_NODES
        self._open: set[int] = set()

    def node(self, node: yaml.Node, path: str) -> Node:
        mark = _mark(node)
        self._left -= 1
        if self._left < 0 or id(node) in self._open:
            if self._left >= -1:
                self._report(mark, path, "the file repeats itself too often through aliases")
            self._left = min(self._left, 0)
            return Leaf(mark, None)
        if isinstance(node, yaml.ScalarNode):
            plain = node.style is None
            return Leaf(mark, None if plain and node.tag == _NULL else node.value, quoted=not plain)
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return Items(
                    mark, tuple(self.node(item, f"{path}[{i}]") for i, item in enumerate(node.value))
                )
            assert isinstance(node, yaml.MappingNode)  # the composer makes these three only
            return self._table(node, path)
        finally:
            self._open.discard(id(node))

    def _table(self, node: yaml.MappingNode, path: str) -> Table:
        own: dict[str, Entry] = {}
        merged: dict[str, Entry] = {}
        for key, value in node.value:
            mark = _mark(key)
            if not isinstance(key, yaml.ScalarNode):
                self._report(mark, path, "a key must be text")
                continue
            if key.tag == _MERGE:
                for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    table = self.node(source, path)
                    if isinstance(table, Table):
                        merged = {**table.entries, **merged}
                    else:
                        self._report(mark, path, "<< takes a mapping or a list of mappings")
                continue
            inner = f"{path}.{key.value}" if path else key.value
            if key.value in own:
                first = own[key.value].mark
                self._report(mark, inner, f"stands here a second time (first in line {first.line})")
                continue
            own[key.value] = Entry(mark, self.node(value, inner))
        return Table(_mark(node), {**merged, **own})


def _mark(node: yaml.Node) -> Mark:
    return Mark(node.start_mark.line + 1, node.start_mark.column + 1)


def from_yaml(text: str, report: Report) -> Node | None:
    """Return the tree of a YAML text (None: empty, or so broken that `report` has been told all there is)."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark or error.context_mark
        mark = Mark(at.line + 1, at.column + 1) if at else Mark(1, 1)
        report(mark, "", f"not YAML: {_complaint(error, text)}")
        return None
    except (yaml.YAMLError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error).splitlines()[0]
        report(Mark(1, 1), "", f"not YAML: {reason}")
        return None
    return None if node is None else _Composer(report).node(node, "")


def _complaint(error: yaml.MarkedYAMLError, text: str) -> str:
    """Return what is wrong in words for people who do not write parsers."""
    at = error.problem_mark
    if at is not None and text[at.index : at.index + 1] == "\t":
        return "a tab stands where YAML takes spaces only; indent with spaces"
    return error.problem or error.context or "cannot be read"


def from_python(value: object, report: Report, path: str = "") -> Node:
    """Return the tree of Python values: mappings, sequences and scalars."""
    if isinstance(value, Mapping):
        entries = {}
        for key, item in value.items():
            if not isinstance(key, str):
                report(NOWHERE, path, f"a key must be text, not {key!r}")
                continue
            entries[key] = Entry(NOWHERE, from_python(item, report, f"{path}.{key}" if path else key))
        return Table(NOWHERE, entries)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        return Items(
            NOWHERE, tuple(from_python(item, report, f"{path}[{i}]") for i, item in enumerate(value))
        )
    if value is None:
        return Leaf(NOWHERE, None)
    if isinstance(value, bool):
        return Leaf(NOWHERE, "true" if value else "false", value=value)
    if isinstance(value, str | int | float | PurePath):
        return Leaf(NOWHERE, str(value), quoted=isinstance(value, str), value=value)
    return Leaf(NOWHERE, "", value=value)
