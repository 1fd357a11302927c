"""From a file, a mapping or nothing to a checked `Config`: the one way in.

`load(None)` reads the file that `LOGFERRY_CONFIG` names, else `./logferry.yaml`. A `ConfigError` holds every
mistake of the file; only a file that is no YAML at all has a single one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..alerts.rules import NAME as ALERTS
from ..core.filter import FilterError, parse
from ..registry import UnknownTypeError, sink_kind, source_kind
from .bind import INVALID, Binder
from .problems import ConfigError, Problem, closest, masked_line
from .sections import Config, SinkConfig, SinkSection, SourceConfig, SourceSection, wrong_name
from .shape import section_of
from .transform_checks import check_cases, check_transforms
from .tree import NOWHERE, Entry, Leaf, Mark, Table, from_python, from_yaml

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CONFIG_VARIABLE", "DEFAULT_FILE", "find_file", "load"]

CONFIG_VARIABLE: Final = "LOGFERRY_CONFIG"
DEFAULT_FILE: Final = "logferry.yaml"
_MAX_FILE: Final = 4 * 1024 * 1024
_SHORTEST_HIDDEN: Final = 6  # a shorter value of a variable (`dev`, `prod`) is no secret, and a common word


@dataclass(slots=True)
class _Problems:
    """Collects problems of one source; knows its lines, and from which column on they may hold a secret."""

    file: str = ""
    lines: list[str] = field(default_factory=list)
    found: list[Problem] = field(default_factory=list)
    hidden: dict[int, int] = field(default_factory=dict)
    read: dict[str, str] = field(default_factory=dict)  # variables that references have asked for

    def add(self, mark: Mark, path: str, message: str, suggestion: str = "", hide: bool = False) -> None:  # noqa: FBT001, FBT002 - the binder's callback
        self.found.append(Problem(self.file, mark.line, mark.column, path, message, suggestion))
        if hide:
            self.hidden[mark.line] = min(mark.column, self.hidden.get(mark.line, mark.column))

    def stop(self) -> None:
        if self.found:
            raise ConfigError(
                [
                    replace(
                        problem,
                        message=self._named(problem.message),
                        suggestion=self._named(problem.suggestion),
                        source=self._source(problem),
                    )
                    for problem in self.found
                ]
            )

    def _named(self, text: str) -> str:
        """Return `text` with references in place of what variables hold, also where it was cut or escaped."""
        for name, value in self.read.items():
            for form in {value, repr(value)[1:-1]}:
                for end in range(len(form), _SHORTEST_HIDDEN - 1, -1):
                    if form[:end] in text:
                        text = text.replace(form[:end], f"${{{name}}}")
                        break
        return text

    def _source(self, problem: Problem) -> str:
        hidden = self.hidden.get(problem.line, sys.maxsize)
        if not 0 < problem.line <= len(self.lines) or problem.column > hidden:
            return ""
        return masked_line(self.lines[problem.line - 1], hidden)


class _Recorded(Mapping[str, str]):
    """An environment that notes in `read` what it was asked for."""

    def __init__(self, environ: Mapping[str, str], read: dict[str, str]) -> None:
        self._environ = environ
        self._read = read

    def __getitem__(self, name: str) -> str:
        value = self._environ[name]
        self._read[name] = value
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._environ)

    def __len__(self) -> int:
        return len(self._environ)


def find_file(environ: Mapping[str, str] | None = None) -> Path:
    """Return the configuration file that is meant when none is named."""
    named = (os.environ if environ is None else environ).get(CONFIG_VARIABLE)
    return Path(named) if named else Path(DEFAULT_FILE)


def load(
    source: str | Path | Mapping[str, Any] | None = None, *, environ: Mapping[str, str] | None = None
) -> Config:
    """Return the checked configuration in a file or a mapping; raises `ConfigError` with every mistake.

    `environ` stands in for the process's environment in tests.
    """
    variables = os.environ if environ is None else environ
    if not isinstance(source, str | os.PathLike | Mapping | None):
        kind = type(source).__name__  # type: ignore[unreachable]  # callers without a type checker
        raise TypeError(f"a configuration is a path, a mapping, or None for the default file; not {kind}")
    if isinstance(source, Mapping):
        problems = _Problems()
        tree: Any = from_python(source, problems.add)
        base = Path.cwd()
    else:
        path = find_file(variables) if source is None else Path(source).expanduser()
        problems = _Problems(str(path))
        text = _read(path, problems, asked=source is not None or CONFIG_VARIABLE in variables)
        problems.lines = text.splitlines()
        tree = from_yaml(text, problems.add)
        if tree is None:
            problems.stop()
            tree = Table(NOWHERE, {})
        base = path.absolute().parent
    if not isinstance(tree, Table):
        problems.add(tree.mark, "", "expected a mapping of settings such as service: checkout")
        problems.stop()
    config = _bind(tree, Binder(problems.add, _Recorded(variables, problems.read), base))
    problems.stop()
    assert config is not None  # it is only when there was a problem
    return config


def _read(path: Path, problems: _Problems, *, asked: bool) -> str:
    try:
        with path.open("rb") as stream:
            content = stream.read(_MAX_FILE + 1)
        if len(content) > _MAX_FILE:
            problems.add(NOWHERE, "", "larger than 4 MiB: this is no configuration")
        return content.decode("utf-8-sig") if not problems.found else ""
    except FileNotFoundError:
        hint = "check the path" if asked else f"write one with `logferry init`, or set {CONFIG_VARIABLE}"
        problems.add(NOWHERE, "", "no such file", hint)
    except OSError as error:
        problems.add(NOWHERE, "", f"cannot be read: {error.strerror or error}")
    except UnicodeDecodeError as error:
        problems.add(NOWHERE, "", f"is not UTF-8 (byte {error.start})")
    problems.stop()
    return ""


def _bind(tree: Table, binder: Binder) -> Config | None:
    config = binder.section(Config, tree, Mark(1, 1) if tree.mark.line else NOWHERE, "", ignore=_KINDS)
    sinks = _each(tree, "sinks", binder, _sink)
    _apart(tree, sinks, binder)
    if config is not INVALID:
        _understood(tree, sinks, config.schema.fields, binder)
    sources = _each(tree, "sources", binder, _source)
    if config is not INVALID:
        check_transforms(tree, config, sources, binder)
        check_cases(tree, config, binder)
    if config is not INVALID and config.alerts is not None:
        _check_alerts(tree, config, sinks, binder)
    if config is not INVALID and config.delivery != "thread":
        _check_delivery(tree, config, binder)
    left = config is not INVALID and config.delivery == "agent"  # the sinks are the agent's
    if not left:
        _complete(tree, "sinks", sinks, binder)
        _complete(tree, "sources", sources, binder)
    if not left and not sinks and (not (entry := tree.entries.get("sinks")) or _is_empty(entry)):
        mark = entry.mark if entry else Mark(1, 1) if tree.mark.line else NOWHERE
        binder.report(
            mark, "sinks", "name at least one", "write sinks: {here: {type: local, path: ./logs}}", False
        )
    return None if config is INVALID else replace(config, sinks=sinks, sources=sources)


def _check_delivery(tree: Table, config: Config, binder: Binder) -> None:
    """Report what does not go together with a delivery out of the process."""
    if config.spool == "memory":
        message = f"delivery: {config.delivery} needs a spool on disk"
        binder.report(tree.entries["spool"].mark, "spool", message, "write spool: {path: …}", False)
    entry = tree.entries.get("sources")
    if entry is not None and not _is_empty(entry):
        message = f"sources are read by an agent; an application with delivery: {config.delivery} has none"
        binder.report(entry.mark, "sources", message, "take delivery or sources out", False)


_KINDS: Final = frozenset({"sinks", "sources"})


def _is_empty(entry: Entry) -> bool:
    return (isinstance(entry.node, Table) and not entry.node.entries) or (
        isinstance(entry.node, Leaf) and entry.node.text is None
    )


def _each(
    tree: Table, key: str, binder: Binder, bind: Callable[[Table, Mark, str, Binder], Any]
) -> dict[str, Any]:
    entry = tree.entries.get(key)
    if entry is None or _is_empty(entry):
        return {}
    if not isinstance(entry.node, Table):
        binder.report(entry.mark, key, "expected a mapping of names to settings", "", False)
        return {}
    bound = {}
    for name, item in entry.node.entries.items():
        path = f"{key}.{name}"
        if wrong := wrong_name(name):
            binder.report(item.mark, path, wrong, "", False)
        if isinstance(item.node, Table):
            value = bind(item.node, item.mark, path, binder)
            if value is not INVALID:
                bound[name] = value
        else:
            binder.report(item.mark, path, "expected a mapping with a type", "write {type: …}", False)
    return bound


def _apart(tree: Table, sinks: Mapping[str, SinkConfig], binder: Binder) -> None:
    """Report sinks that would write to one file or directory: neither would have its own there."""
    taken: dict[str, str] = {}
    for name, sink in sinks.items():
        if sink.kind.writes is None:
            continue
        place = os.path.realpath(sink.kind.writes(sink.options))
        first = taken.setdefault(place, name)
        if first != name:
            at = _place(tree, name, "path")
            wrong = f"the sink {first} writes there already"
            binder.report(at, f"sinks.{name}.path", wrong, "give each sink a path of its own", False)


def _understood(
    tree: Table, sinks: Mapping[str, SinkConfig], declared: Mapping[str, str], binder: Binder
) -> None:
    """Report filters under `match` that cannot be understood, or that name a field that is none."""
    for name, sink in sinks.items():
        if sink.common.match is None:
            continue
        try:
            parse(sink.common.match, declared)
        except FilterError as error:
            wrong = f"column {error.column}: {error.message}"
            binder.report(_place(tree, name, "match"), f"sinks.{name}.match", wrong, error.suggestion, False)


def _check_alerts(tree: Table, config: Config, sinks: Mapping[str, SinkConfig], binder: Binder) -> None:
    """Report alerts that nobody watches, names that are taken or unknown, and filters that are none."""
    mark = tree.entries["alerts"].mark
    entry = tree.entries.get("sources")
    if entry is None or _is_empty(entry):
        wrong = "an agent watches them (`logferry run` with sources); this configuration has none"
        binder.report(mark, "alerts", wrong, "move alerts into the agent's configuration", False)
    if ALERTS in sinks:
        wrong = "the alerts' own reader of the spool has this name"
        at = _table_of(tree, "sinks").entries[ALERTS].mark
        binder.report(at, f"sinks.{ALERTS}", wrong, "give the sink another one", False)
    receivers = config.alerts.receivers if config.alerts else {}
    for name, rule in (config.alerts.rules if config.alerts else {}).items():
        for unknown in [receiver for receiver in rule.to if receiver not in receivers]:
            at = _table_of(tree, "alerts", "rules", name).entries["to"].mark
            wrong = f"there is no receiver {unknown}"
            binder.report(at, f"alerts.rules.{name}.to", wrong, closest(unknown, receivers), False)
        if rule.match is None:
            continue
        try:
            parse(rule.match, config.schema.fields)
        except FilterError as error:
            at = _table_of(tree, "alerts", "rules", name).entries["match"].mark
            wrong = f"column {error.column}: {error.message}"
            binder.report(at, f"alerts.rules.{name}.match", wrong, error.suggestion, False)


def _table_of(tree: Table, *keys: str) -> Table:
    """Return the mapping at a path of which it is known that it is there."""
    for key in keys:
        node = tree.entries[key].node
        assert isinstance(node, Table)
        tree = node
    return tree


def _complete(
    tree: Table, section: str, found: Mapping[str, SinkConfig | SourceConfig], binder: Binder
) -> None:
    """Report sinks, or sources, whose libraries are not installed."""
    for name, one in found.items():
        missing = [module for module in one.kind.needs if find_spec(module) is None]
        if missing:
            wrong = f"needs {' and '.join(missing)}, which this Python does not have"
            hint = f'pip install "logferry[{one.kind.extra}]"'
            at = _place(tree, name, "type", section)
            binder.report(at, f"{section}.{name}.type", wrong, hint, False)


def _place(tree: Table, name: str, key: str, section: str = "sinks") -> Mark:
    """Return where a key of a bound sink (or source) stands, or its name."""
    entries = tree.entries[section].node
    assert isinstance(entries, Table)  # else there were none
    entry = entries.entries[name]
    return (entry.node.entries.get(key, entry) if isinstance(entry.node, Table) else entry).mark


def _sink(table: Table, mark: Mark, path: str, binder: Binder) -> Any:
    return _bind_kind(table, mark, path, binder, (SinkSection, sink_kind, SinkConfig))


def _source(table: Table, mark: Mark, path: str, binder: Binder) -> Any:
    return _bind_kind(table, mark, path, binder, (SourceSection, source_kind, SourceConfig))


def _bind_kind(
    table: Table,
    mark: Mark,
    path: str,
    binder: Binder,
    parts: tuple[type[Any], Callable[[str], Any], Callable[[Any, Any, Any], Any]],
) -> Any:
    section, find, make = parts
    common_keys = frozenset(section_of(section))
    kind = None
    entry = table.entries.get("type")
    if entry is not None:
        named = binder.value(section_of(section)["type"].shape, entry.node, entry.mark, f"{path}.type")
        if named is not INVALID:
            try:
                kind = find(named)
            except UnknownTypeError as error:
                message = f"no {error.what} has the type {named!r}"
                binder.report(entry.mark, f"{path}.type", message, closest(named, error.known), False)
            except ImportError as error:
                binder.report(entry.mark, f"{path}.type", f"cannot be imported: {error}", "", False)
    # A key that the kind declares itself is the kind's: `max_age` of a store is its retention.
    own_keys = frozenset(section_of(kind.config)) - {"type"} if kind else frozenset()
    shared = {key: item for key, item in table.entries.items() if key in common_keys - own_keys}
    common = binder.section(section, Table(table.mark, shared), mark, path)
    if kind is None:
        return INVALID
    options = binder.section(kind.config, table, mark, path, ignore=common_keys - own_keys)
    return INVALID if common is INVALID or options is INVALID else make(common, kind, options)
