"""The fastest way of a record: code made for one combination of names and types, straight to its line.

`handlers/compiled.py` makes code for names and asks each value for its type and each event for its secrets.
What comes from one place of an application has the same names and types nearly always, so here the types are
part of the combination: one check tells that the values are those that the code was made for.

Rules

- It decides nothing: `Shape` has decided, `plain` and `schema` convert. It gives the line that the general
  way would give, or None, or raises what the encoder raises; then the next way is taken. A property test
  compares the two.
- A line is only given when the redactor has said that nothing in it is a secret. Sensitive names have none.
- What is the same for every record of one place (level and service; logger, module, function, line,
  environment, version, host) is encoded once and stands in the event as fragments under the first names.
- What a context has for good (it cannot change, and its values are plain) is read, proven and encoded when
  the same context comes a second time in a row, and kept while it comes again.
- That the names are those of the combination is known by their number and by reading each of them. Their
  order is that of the first record. (Only a record that lost a standard attribute while it gained an extra
  could deceive this: nobody's filter does that.)
- Small lists and dicts, and values with one word (dates, UUIDs, Decimals, enums), are plain here too.
- Collisions and odd names have no line. Names enter the code only as `repr` of exact strings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import orjson

from .context import Fields
from .pattern import FAILS, error_pattern
from .plain import MAX_KEY, writer
from .schema import MISFIT, FieldType, Schema, bucket_code, cast
from .shape import IDS, Shape

__all__ = ["Held", "Line", "Misfit", "Place", "Prover", "compile_line", "make_place", "prover"]

# (fields, context, place, timestamp, message, process, thread, task, error) → line
Line: TypeAlias = Callable[[Any, Any, "Place", str, str, Any, Any, Any, Any], "bytes | None"]

_MAX_NAMES: Final = 100
_AT_ONCE: Final = 15
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

    @property
    def knows(self) -> Callable[[Iterable[object]], bool]:
        """What tells whether some texts are all known to be clean. Raises TypeError for what is no text."""
        ...

    def examined(self, names: frozenset[str], extras: tuple[str, ...]) -> frozenset[str] | None:
        """Return which of an event's `names` hold what is looked at; None when a name itself is sensitive."""
        ...

    def are_clean(self, texts: tuple[str, ...]) -> bool:
        """Tell whether none of the `texts` holds a secret; "no" when that is not certain."""
        ...

    def is_clean(self, texts: tuple[str, ...], nested: tuple[Any, ...]) -> bool:
        """Tell the same of `texts` together with lists and dicts in plain JSON types."""
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
            proves = all(name in kind.__dict__ for name in ("knows", "examined", "are_clean", "is_clean"))
            return redactor if proves else None  # type: ignore[return-value]  # it has all of them
    return None


class Place:
    """A place of the application that logs: what its events have in common, and the code that fitted last."""

    __slots__ = ("fails", "head", "line", "text", "untraced")

    def __init__(self, head: dict[str, Any], fields: dict[str, Any]) -> None:
        self.fails = head["level"] in FAILS
        self.head = _glued(head)
        self.untraced = _glued({**head, "trace_id": "", "span_id": ""})
        self.text = _glued(fields)
        self.line: Line | None = None


def make_place(
    schema: Schema, level: str, logger: Any, module: Any, function: Any, line: Any
) -> Place | None:
    """Return a place; None for values that are not usual there."""
    if not (type(logger) is type(module) is type(function) is str and type(line) is int):
        return None
    if not -_INT64 <= line <= _INT64:
        return None
    fields: dict[str, Any] = {"logger": logger, "module": module, "function": function, "line": line}
    own = {"environment": schema.environment, "version": schema.version, "host": schema.host}
    fields.update((name, value) for name, value in own.items() if type(value) is str)
    return Place({"level": level, "service": schema.service}, fields)


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
    code.show("level", "place.head" if shape.trace or shape.span else "place.untraced")
    for name, bound in (("trace_id", shape.trace), ("span_id", shape.span)):
        if bound:
            code.take(name, code.context, "string", exact=True)
        elif shape.trace or shape.span:
            code.show(name, "''")
    code.show("message", "message")
    ids = {entry[2]: code.context if bound else code.fields for bound, entry in shape.ids}
    for name in IDS:
        if name in ids:
            code.take(name, ids[name], "string")
    code.whence()
    code.error(given=shape.code)
    for source, group in ((code.context, shape.context), (code.fields, shape.fields)):
        for _, _, name, kind in group:
            code.take(name, source, kind)
    watched: frozenset[str] | None = frozenset()
    if redactor is not None:
        watched = redactor.examined(frozenset(code.display), shape.extras)
    return None if watched is None else code.made(shape, watched, redactor)


class _Source:
    """What is done with the values of one mapping, `name` in the code."""

    def __init__(self, name: str, values: Mapping[Any, Any]) -> None:
        self.name = name
        self.values = values
        self.reads: list[str] = []
        self.checks = [f"len({name}) == {len(values)}"]
        self.steps: list[str] = []
        self.texts: dict[str, str] = {}
        self.nested: dict[str, str] = {}

    def code(self) -> list[str]:
        """Return the lines that read and check the values."""
        lines = ["try:", *(f"    {read}" for read in self.reads), "except KeyError:", "    return None"]
        return [
            *(lines if self.reads else ()),
            *(f"if not ({' and '.join(self.checks)}):", "    return None"),
            *self.steps,
        ]


class _Code:
    """Parts of the function, and the event's names in order with the values they are set to."""

    def __init__(self, schema: Schema, held: Held) -> None:
        self.schema = schema
        self.held = held
        self.context = _Source("c", held.context)
        self.fields = _Source("d", held.fields)
        self.fields.reads += [f"d[{name!r}]" for name in held.beside]
        self.variables = 0
        self.display: dict[str, str] = {}
        self.constant: list[str] = []  # names of values that a context has for good
        self.space: dict[str, Any] = {"MISFIT": MISFIT, "cast": cast, "plain": _plain, "SCALARS": _SCALARS}

    def show(self, name: str, value: str) -> None:
        """Give `name` the value of an expression."""
        self.display[name] = value

    def take(self, name: str, source: _Source, kind: FieldType | None, *, exact: bool = False) -> None:
        """Read `name` from a source as `kind`; `exact`: nothing else will do."""
        found = type(source.values[name])
        variable = self._read(source, name, found)
        self.display[name] = variable
        if source is self.context and found in _SCALARS:
            self.constant.append(name)
        if kind == "string" and found is str:
            source.texts[name] = variable
        elif exact:
            raise Misfit
        elif found is _NONE:
            pass
        elif kind is not None and found is _OWN.get(kind):
            if found is int:
                # The first comparison is for what is small enough to be compared in a few nanoseconds.
                small = f"-{_SMALL} < {variable} < {_SMALL}"
                source.checks.append(f"({small} or -{_INT64} <= {variable} <= {_INT64})")
        elif found in _CONTAINERS and kind in ({None, "object"} if found is dict else {None}):
            source.steps.append(f"{variable} = plain({variable})")
            source.nested[name] = variable
        elif kind is None and found in _SCALARS:
            if found is str:
                source.texts[name] = variable
        else:
            self._convert(name, source, variable, kind)

    def _convert(self, name: str, source: _Source, variable: str, kind: FieldType | None) -> None:
        """Make what has one word plain, and then of its field's type."""
        found = type(source.values[name])
        write = writer(found)
        if write is None or (
            kind is not None and self.schema.on_violation == "dead_letter" and name in self.schema.declared
        ):
            raise Misfit
        if found not in _SCALARS:
            self.space[f"write_{variable}"] = write
            source.steps.append(f"{variable} = write_{variable}({variable})")
        if kind is not None:
            source.steps.append(f"{variable} = cast({variable}, {kind!r})")
        # MISFIT has none of these types.
        source.steps += [f"if type({variable}) not in SCALARS:", "    return None"]
        source.texts[name] = f"({variable} if type({variable}) is str else '')"

    def _read(self, source: _Source, name: str, found: type) -> str:
        variable = f"v{self.variables}"
        self.variables += 1
        source.reads.append(f"{variable} = {source.name}[{name!r}]")
        if found is _NONE:
            source.checks.append(f"{variable} is None")
        elif found is float:
            source.checks.append(f"type({variable}) is float and {variable} - {variable} == 0.0")
        elif found in _SCALARS or found in _CONTAINERS:
            source.checks.append(f"type({variable}) is {found.__name__}")
        else:
            self.space[f"type_{variable}"] = found
            source.checks.append(f"type({variable}) is type_{variable}")
        return variable

    def whence(self) -> None:
        """Say where the event comes from."""
        self.show("logger", "place.text")
        self.show("process", "process")
        self.show("thread", "thread")
        self.fields.checks += [f"type(process) is int and process < {_SMALL}", "type(thread) is str"]
        if self.held.task:
            self.show("task", "task")
        self.fields.checks.append("type(task) is str" if self.held.task else "task is None")

    def error(self, *, given: bool) -> None:
        """Put the error in, and the code that an extra has `given`."""
        fields = self.fields
        fields.checks.append("error is not None" if self.held.error else "error is None")
        if given:
            found = type(self.held.fields["error_code"])
            if found is not str and found is not int:
                raise Misfit
            code = self._read(fields, "error_code", found)
            text = code if found is str else f"repr({code})"
            if self.held.error:
                fields.steps.append(f"error = {{**error, 'code': {text}}}")
            else:
                self.show("error", f"{{'code': {text}}}")
                fields.texts["error"] = text
        if self.held.error:
            self.show("error", "error")
            fields.nested["error"] = "error"

    def made(self, shape: Shape, watched: frozenset[str], redactor: Prover | None) -> Line:
        """Write the function."""
        if redactor is not None:
            self.space["knows"] = redactor.knows
            self.space["PLAIN_ERROR"] = redactor.is_clean((), ({"type": "", "message": "", "stack": ""},))
            self.space |= {"are_clean": redactor.are_clean, "is_clean": redactor.is_clean}
        proved = redactor is not None
        ways = [
            *self.context.code(),
            *(_proof((self.fields, self.context), watched) if proved else ()),
            *_event(self.display),
        ]
        timing = {"kind", "duration_ms"} if shape.timed else set()
        if 0 < len(self.context.values) == len(self.constant) and timing.isdisjoint(self.constant):
            brief, kept = self._kept()
            ways = [
                "held, kept = last",
                "if held is c and kept is not None:",
                *(f"    {line}" for line in (_proof((self.fields,), watched) if proved else ())),
                *(f"    {line}" for line in _event(brief)),
                "else:",
                *(f"    {line}" for line in ways),
                "    if type(c) is Fields:",
                f"        last = (c, ({kept},) if held is c else None)",
            ]
            self.space |= {"last": (None, None), "Fields": Fields, "glued": _glued}
        kind, duration = self.display.get("kind"), self.display.get("duration_ms")
        bucket = [
            f"if {kind} == 'access' and type({duration}) is float:",
            f"    event['duration_le'] = {bucket_code(str(duration))}",
        ]
        self.space |= {"dumps": orjson.dumps, "pattern": error_pattern}
        # Names bound there are found in one step, and take a third of the code.
        bound = "type=type, str=str, int=int, float=float, bool=bool"
        head = f"def line(d, c, place, moment, message, process, thread, task, error, {bound}):"
        body = [
            *("global last", *self.fields.code(), *ways),
            *(bucket if shape.timed else ()),
            "if place.fails:",
            "    event['error_pattern'] = pattern(message, error)",
            "return dumps(event)",
        ]
        exec("\n".join((head, *(f"    {line}" for line in body))), self.space)  # noqa: S102 - as in `compiled`
        line: Line = self.space["line"]
        return line

    def _kept(self) -> tuple[dict[str, str], str]:
        """Return the event with what a context has for good as kept fragments, and what makes these."""
        brief: dict[str, str] = {}
        groups: list[list[str]] = []
        joined = False
        for name, value in self.display.items():
            if name not in self.constant:
                brief[name] = value
            elif joined:
                groups[-1].append(name)
            else:
                brief[name] = f"kept[{len(groups)}]"
                groups.append([name])
            joined = name in self.constant
        made = (_display({name: self.display[name] for name in names}) for names in groups)
        return brief, ", ".join(f"glued({names})" for names in made)


def _event(values: Mapping[str, str]) -> list[str]:
    """Return the lines that make the event.

    A display of up to 15 names makes the dict in one step, with room for 21; one of more makes it grow twice.
    """
    at_once, rest = islice(values.items(), _AT_ONCE), islice(values.items(), _AT_ONCE, None)
    made = _display(dict(at_once))
    return [f"event = {made}", *(f"event[{name!r}] = {value}" for name, value in rest)]


def _display(event: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{name!r}: {value}" for name, value in event.items()) + "}"


def _proof(sources: Iterable[_Source], watched: frozenset[str]) -> list[str]:
    """Return the lines that let an event pass only when the redactor is certain of it."""
    texts, nested = "message, ", ""
    for source in sources:
        texts += "".join(f"{text}, " for name, text in source.texts.items() if name in watched)
        nested += "".join(f"{value}, " for name, value in source.nested.items() if name in watched)
    looked = [f"texts = ({texts})", "if not (knows(texts) or are_clean(texts)):", "    return None"]
    if not nested:
        return looked
    proof = [f"if not is_clean(({texts}), ({nested})):", "    return None"]
    if nested != "error, ":
        return proof
    # What most errors are: type, message and stack. A user may have said that these names are sensitive.
    # `are_clean` knows what `knows` knows, and an error's texts are seldom all known.
    looked = [f"if not are_clean(({texts}*error.values(), )):", "    return None"]
    return [
        "if len(error) == 3 and 'stack' in error and PLAIN_ERROR:",
        *(f"    {line}" for line in looked),
        "else:",
        *(f"    {line}" for line in proof),
    ]


def _glued(fields: dict[str, Any]) -> orjson.Fragment:
    """Return what stands behind the first name's colon when these fields are part of an object."""
    return orjson.Fragment(orjson.dumps(fields)[len(orjson.dumps(next(iter(fields)))) + 2 : -1])


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
