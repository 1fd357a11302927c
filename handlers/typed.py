"""The fastest way of a record: code made for one combination of names and types, straight to its line.

`handlers/compiled.py` makes code for names and asks each value for its type and each event for its secrets.
What comes from one place of an application has the same names and types nearly always, so here the types are
part of the combination: one check tells that the values are those that the code was made for.

Rules

- It decides nothing: `Shape` has decided, `plain` and `schema` convert. It gives the line that the general
  way would give, or None, or raises what the encoder raises; then the next way is taken. A property test
  compares the two.
- A line is only given when the redactor has said that nothing in it is a secret. Sensitive names have none.
- What is the same for every record of one place (logger, module, function, line, environment, version, host)
  is encoded once and stands in the event as a fragment under the first of these names.
- That the names are those of the combination is known by their number and by reading each of them. Their
  order is that of the first record. (Only a record that lost a standard attribute while it gained an extra
  could deceive this: nobody's filter does that.)
- Small lists and dicts, and values with one word (dates, UUIDs, Decimals, enums), are plain here too.
- Collisions and odd names have no line. Names enter the code only as `repr` of exact strings.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import orjson

from .plain import MAX_KEY, writer
from .schema import BUCKET_NAMES, BUCKETS, MISFIT, FieldType, Schema, cast
from .shape import IDS, Shape

__all__ = ["Held", "Line", "Misfit", "Prover", "compile_line", "encode_place", "prover"]

# (fields, context, place, timestamp, level, message, process, thread, task, error) → line
Line: TypeAlias = Callable[[Any, Any, orjson.Fragment, str, str, str, Any, Any, Any, Any], "bytes | None"]

_MAX_NAMES: Final = 100
_INT64: Final = 2**63 - 1
_SMALL: Final = 2**30
_ROOM: Final = 200  # values in one list or dict, and in what it holds
_DEEPEST: Final = 8
_NONE: Final = type(None)
_SCALARS: Final = frozenset({str, int, float, bool, _NONE})
_CONTAINERS: Final = frozenset({dict, list, tuple})
_READY: Final = frozenset({str, int, bool, _NONE})
# Values of these types fill a field of that type as they are.
_OWN: Final[Mapping[FieldType, type]] = {"string": str, "integer": int, "number": float, "boolean": bool}


class Prover(Protocol):
    """A redactor that can say beforehand whether `clean` would leave an event as it is."""

    def examined(self, names: frozenset[str], extras: tuple[str, ...]) -> frozenset[str] | None:
        """Return which of an event's `names` hold what is looked at; None when a name itself is sensitive."""
        ...

    def are_clean(self, texts: tuple[str, ...]) -> bool:
        """Tell whether none of the `texts` holds a secret; "no" when that is not certain."""
        ...

    def is_clean(self, value: Any) -> bool:
        """Tell the same of a list or dict in plain JSON types, whatever is in it."""
        ...


class Held(NamedTuple):
    """The values of one record, and what comes with them: what code is made from."""

    context: Mapping[Any, Any]
    fields: Mapping[Any, Any]
    skip: int  # so many of the fields come first and are always there
    beside: tuple[str, ...]  # names in `fields` that are no extras, but not always there
    task: bool
    error: bool


class Misfit(Exception):  # noqa: N818 - a decision, no error
    """A value that has to go another way."""


def prover(redactor: object) -> Prover | None:
    """Return `redactor` when its proofs can be relied on: made by the class that cleans, not one below it."""
    for kind in type(redactor).__mro__:
        if "clean" in kind.__dict__:
            proves = all(name in kind.__dict__ for name in ("examined", "are_clean", "is_clean"))
            return redactor if proves else None  # type: ignore[return-value]  # it has all three methods
    return None


def encode_place(
    schema: Schema, logger: Any, module: Any, function: Any, line: Any
) -> orjson.Fragment | None:
    """Return what every event of one place has in common, from the logger's name on; None for odd values."""
    if not (type(logger) is type(module) is type(function) is str and type(line) is int):
        return None
    if not -_INT64 <= line <= _INT64:
        return None
    fields: dict[str, Any] = {"logger": logger, "module": module, "function": function, "line": line}
    own = {"environment": schema.environment, "version": schema.version, "host": schema.host}
    fields.update((name, value) for name, value in own.items() if type(value) is str)
    return orjson.Fragment(orjson.dumps(fields)[len(b'{"logger":') : -1])


def compile_line(schema: Schema, shape: Shape, held: Held, redactor: Prover | None) -> Line | None:
    """Return the fastest way for records like `held`; None when its names have none.

    Raises Misfit when its types have none.
    """
    entries = (*(entry for _, entry in shape.ids), *shape.context, *shape.fields)
    if (
        shape.spilled
        or shape.spilled_context
        or len(entries) > _MAX_NAMES
        or any(key != name or type(key) is not str for key, _, name, _ in entries)
        or type(schema.service) is not str
    ):
        return None
    code = _Code(schema, held)
    code.show("timestamp", "moment")
    code.show("level", "level")
    code.show("service", repr(schema.service))
    for name, bound in (("trace_id", shape.trace), ("span_id", shape.span)):
        if bound:
            code.take(name, "c", "string", exact=True)
        else:
            code.show(name, "''")
    code.show("message", "message")
    ids = {entry[2]: "c" if bound else "d" for bound, entry in shape.ids}
    for name in IDS:
        if name in ids:
            code.take(name, ids[name], "string")
    code.whence()
    code.error(given=shape.code)
    for holder, group in (("c", shape.context), ("d", shape.fields)):
        for _, _, name, kind in group:
            code.take(name, holder, kind)
    watched: frozenset[str] | None = frozenset()
    if redactor is not None:
        watched = redactor.examined(frozenset(code.display), shape.extras)
    return None if watched is None else code.made(shape, watched, redactor)


class _Code:
    """Parts of the function: reads, checks, steps after them, and the event's names in order with values."""

    def __init__(self, schema: Schema, held: Held) -> None:
        self.schema = schema
        self.held = held
        self.space: dict[str, Any] = {"MISFIT": MISFIT, "cast": cast, "plain": _plain, "SCALARS": _SCALARS}
        self.reads = [f"d[{name!r}]" for name in held.beside]
        self.checks = [f"len(d) == {len(held.fields)}", f"len(c) == {len(held.context)}"]
        self.steps: list[str] = []
        self.display: dict[str, str] = {}
        self.texts: dict[str, str] = {}
        self.nested: dict[str, str] = {}

    def show(self, name: str, value: str) -> None:
        """Give `name` the value of an expression."""
        self.display[name] = value

    def take(self, name: str, holder: str, kind: FieldType | None, *, exact: bool = False) -> None:
        """Read `name` from context (`c`) or fields (`d`) as `kind`; `exact`: nothing else will do."""
        value = (self.held.context if holder == "c" else self.held.fields)[name]
        variable = self._read(holder, name)
        found = type(value)
        self._check(variable, found)
        self.display[name] = variable
        if kind == "string" and found is str:
            self.texts[name] = variable
        elif exact:
            raise Misfit
        elif found is _NONE:
            pass
        elif kind is not None and found is _OWN.get(kind):
            if found is int:
                # The first comparison is for what is small enough to be compared in a few nanoseconds.
                self.checks[-1] += f" and (-{_SMALL} < {variable} < {_SMALL} or abs({variable}) <= {_INT64})"
        elif found in _CONTAINERS and kind in ({None, "object"} if found is dict else {None}):
            self.steps.append(f"{variable} = plain({variable})")
            self.nested[name] = variable
        elif kind is None and found in _SCALARS:
            if found is str:
                self.texts[name] = variable
        else:
            self._convert(name, variable, found, kind)

    def _convert(self, name: str, variable: str, found: type, kind: FieldType | None) -> None:
        """Make what has one word plain, and then of its field's type."""
        write = writer(found)
        if write is None or (
            kind is not None and self.schema.on_violation == "dead_letter" and name in self.schema.declared
        ):
            raise Misfit
        if found not in _SCALARS:
            self.space[f"write_{variable}"] = write
            self.steps.append(f"{variable} = write_{variable}({variable})")
        if kind is not None:
            self.steps.append(f"{variable} = cast({variable}, {kind!r})")
        # MISFIT has none of these types.
        self.steps += [f"if type({variable}) not in SCALARS:", "    return None"]
        self.texts[name] = f"({variable} if type({variable}) is str else '')"

    def _read(self, holder: str, name: str) -> str:
        variable = f"v{len(self.reads)}"
        self.reads.append(f"{variable} = {holder}[{name!r}]")
        return variable

    def _check(self, variable: str, found: type) -> None:
        if found is _NONE:
            self.checks.append(f"{variable} is None")
        elif found is float:
            self.checks.append(f"type({variable}) is float and {variable} - {variable} == 0.0")
        elif found in _SCALARS or found in _CONTAINERS:
            self.checks.append(f"type({variable}) is {found.__name__}")
        else:
            self.space[f"type_{variable}"] = found
            self.checks.append(f"type({variable}) is type_{variable}")

    def whence(self) -> None:
        """Say where the event comes from."""
        self.show("logger", "place")
        self.show("process", "process")
        self.show("thread", "thread")
        self.checks += [f"type(process) is int and process < {_SMALL}", "type(thread) is str"]
        if self.held.task:
            self.show("task", "task")
        self.checks.append("type(task) is str" if self.held.task else "task is None")

    def error(self, *, given: bool) -> None:
        """Put the error in, and the code that an extra has `given`."""
        self.checks.append("error is not None" if self.held.error else "error is None")
        if given:
            code = self._read("d", "error_code")
            found = type(self.held.fields["error_code"])
            if found is not str and found is not int:
                raise Misfit
            self._check(code, found)
            text = code if found is str else f"repr({code})"
            if self.held.error:
                self.steps.append(f"error = {{**error, 'code': {text}}}")
            else:
                self.show("error", f"{{'code': {text}}}")
                self.texts["error"] = text
        if self.held.error:
            self.show("error", "error")
            self.nested["error"] = "error"

    def made(self, shape: Shape, watched: frozenset[str], redactor: Prover | None) -> Line:
        """Write the function."""
        body = [
            "try:",
            *(f"    {read}" for read in self.reads),
            "    pass",
            "except KeyError:",
            "    return None",
        ]
        body += [f"if not ({' and '.join(self.checks)}):", "    return None", *self.steps]
        if redactor is not None:
            self.space |= {"are_clean": redactor.are_clean, "is_clean": redactor.is_clean}
            texts = ["message", *(text for name, text in self.texts.items() if name in watched)]
            proofs = [f"are_clean(({', '.join(texts)},))"]
            proofs += [f"is_clean({value})" for name, value in self.nested.items() if name in watched]
            body += [f"if not ({' and '.join(proofs)}):", "    return None"]
        shown = ", ".join(f"{name!r}: {value}" for name, value in self.display.items())
        kind, duration = self.display.get("kind"), self.display.get("duration_ms")
        if shape.timed:
            body += [
                f"event = {{{shown}}}",
                f"if {kind} == 'access' and type({duration}) is float:",
                f"    event['duration_le'] = NAMES[bisect(BUCKETS, {duration})]",
                "return dumps(event)",
            ]
        else:
            body.append(f"return dumps({{{shown}}})")
        self.space |= {
            "bisect": bisect_left,
            "BUCKETS": BUCKETS,
            "NAMES": BUCKET_NAMES,
            "dumps": orjson.dumps,
        }
        head = "def line(d, c, place, moment, level, message, process, thread, task, error):"
        exec("\n".join((head, *(f"    {line}" for line in body))), self.space)  # noqa: S102 - as in `compiled`
        line: Line = self.space["line"]
        return line


def _plain(value: Any) -> Any:
    """Return a small list or dict in plain JSON types, as `normalise` would; raise `Misfit` for others."""
    return _container(value, [_ROOM], 0)


def _container(value: Any, room: list[int], depth: int) -> Any:
    # What holds many things many times runs out of room, what holds itself goes too deep.
    room[0] -= len(value)
    if room[0] < 0 or depth > _DEEPEST:
        raise Misfit
    if type(value) is dict:
        plain: dict[str, Any] = {}
        for key, item in value.items():
            if type(key) is not str or len(key) > MAX_KEY:
                raise Misfit
            plain[key] = item if type(item) in _READY else _item(item, room, depth)
        return plain
    return [item if type(item) in _READY else _item(item, room, depth) for item in value]


def _item(value: Any, room: list[int], depth: int) -> Any:
    kind = type(value)
    if kind in _CONTAINERS:
        return _container(value, room, depth + 1)
    write = writer(kind)
    if write is None:
        raise Misfit
    made = value if kind is float and value - value == 0.0 else write(value)
    if type(made) not in _SCALARS:
        raise Misfit
    return made
