"""A logging call → one event line. The hot path: it runs in the application's thread, for every record.

Rules
- Nothing that an application logs makes it raise; the record and the caller's dict are never changed.
- Order: timestamp, level, service, trace_id, span_id, message; the other ids when there are any; logger,
  module, function, line, environment, version, host, process, thread, task; error, stack_info; bound context,
  then extras, in their own order (where a place logs the same names again and again, in that of the first
  time); `duration_le`; `extra`; `truncated`; an error's `error_pattern`. The first six are always there.
- Which name goes where is `handlers/shape.py`'s decision, looked up by the names of context and record.
- `build` and `compose` end in the same assembly: equal content gives equal bytes.
- `handlers/assemble.py` assembles any event; `handlers/compiled.py` those of plain values, fast. Values of
  exact plain types pass untouched; all others are made plain (`handlers/encoding.py`). When the encoder
  refuses an event (a lone surrogate, a huge integer), all of it is normalised and encoded again.
- `handlers/typed.py` makes code for the names and types that a place of the application logs again and again.
  It is tried first, kept with the place, and says None when it is not certain of a record.
- Redaction sees the assembled event in plain JSON types, before the size is bounded: a secret cannot hide in
  a cut.
- Levels are the standard five, by number, whatever `addLevelName` did: the nearest one below (`severity.py`).
- What is not as usual of a record is taken from it by `handlers/parts.py`; of one whose parts raise,
  `handlers/last_resort.py` says what can still be said.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from itertools import islice
from types import MappingProxyType
from typing import Any, Final, Protocol

import orjson

from .assemble import assemble
from .clock import LAST, stamp
from .compiled import RECORD, Fill, compile_fill
from .context import OTEL, current, raw
from .encoding import MAX_EVENT, encode, normalise, normalise_marked, shrink
from .failure import describe, describe_text
from .filters import untouched
from .last_resort import emergency, plainly, torn
from .outlet import Violation
from .parts import NOT_EXTRAS, STANDARD, THROUGH, message_of, not_formatted
from .pattern import FAILS, error_pattern
from .plain import safe_repr
from .schema import Schema
from .severity import BY_NAME, BY_NUMBER, level_name
from .shape import Shape, make_shape
from .typed import Held, Line, Misfit, Place, compile_line, make_place, prover

__all__ = ["EventBuilder", "Redaction", "level_name"]


def _mark_pattern(event: dict[str, Any]) -> None:
    """Put the pattern of an error behind the rest of its event."""
    if event.get("level") in FAILS:
        event.pop("error_pattern", None)
        event["error_pattern"] = error_pattern(event["message"], event.get("error"))


class _Mark:
    """Stands between the names in a key."""

    __slots__ = ()


# What follows in a key. Not text, so that no name can be mistaken for one.
_RECORD: Final = _Mark()
_FIELDS: Final = _Mark()
_ORIGIN: Final = _Mark()
_MAX_PLANS: Final = 1_024
# A shape gets its own code when it has come this often: names that are different each time never cost that.
_WORTH_CODE: Final = 8
# Code for names and types: for one combination of names, and altogether.
_MAX_TYPES: Final = 64
_MAX_LINES: Final = 512
_MAX_PLACES: Final = 4_096
_EMPTY: Final[Mapping[str, object]] = MappingProxyType({})
_OWN: Final = len(STANDARD)

_modules: Final = sys.modules


class Redaction(Protocol):
    """Removes secrets from an assembled event; decides itself, cheaply, whether there are any."""

    def clean(self, event: dict[str, Any], extras: tuple[str, ...]) -> dict[str, Any]:
        """Return `event` or a redacted copy. Must never raise.

        `event` holds plain JSON types only (but integers and strings that JSON cannot hold may still be in
        it; it is then made plain and cleaned once more). `extras` are the names of its keys that are not
        built in, in order, declared fields among them: equal for records of the same shape, so that what is
        decided about names can be kept.
        """
        ...


class _Plan:
    """What is known about one combination of names: where they go, and the code made for it."""

    __slots__ = ("fill", "lines", "shape", "used")

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.fill: Fill | None = None
        # By types: the code, how often they came while there is none, False when there can be none. None: no
        # types have any.
        self.lines: dict[tuple[object, ...], Line | int] | None = {}
        self.used = 0


class EventBuilder:
    """Turns log records and their like into event lines.

    `context` returns the bound fields (default: `handlers.context.current`). Thread-safe; made once.
    `redactor` is what removes secrets, None when nothing does.
    """

    __slots__ = (
        *("_bound", "_clean", "_context", "_made", "_places", "_plans", "_prover"),
        *("redactor", "schema"),
    )

    def __init__(
        self,
        schema: Schema,
        redactor: Redaction | None = None,
        *,
        context: Callable[[], Mapping[str, object]] | None = None,
    ) -> None:
        self.schema = schema
        self.redactor = redactor
        self._clean = None if redactor is None else redactor.clean
        self._context = current if context is None else context
        self._bound = raw if context is None else context  # the same where no span can be active
        self._plans: dict[tuple[object, ...], _Plan] = {}
        self._places: dict[tuple[object, ...], Place] = {}
        self._made = 0
        self._prover = None if redactor is None else prover(redactor)

    @property
    def bare(self) -> bool:
        """Whether nothing is bound here that events would carry."""
        try:
            return not self._context()
        except Exception:  # noqa: BLE001 - a context provider of the application's
            return False

    def build(  # noqa: C901, PLR0912, PLR0913, PLR0917 - calls cost more than branches
        self,
        record: logging.LogRecord,
        /,
        # What it uses of modules: bound here it is found in one step. Their dicts lie far off, and where
        # caches are cold a log call waits for each (2 µs of 60).
        type: Any = type,  # noqa: A002
        str: Any = str,  # noqa: A002
        int: Any = int,  # noqa: A002
        len: Any = len,  # noqa: A002
        modules: Mapping[str, Any] = sys.modules,
        otel: str = OTEL,
        last: list[tuple[int, str]] = LAST,
        most: int = MAX_EVENT,
        plain: Any = logging.LogRecord,
        has_task_name: Any = "taskName" in STANDARD,
    ) -> bytes:
        """Return the event line of `record`; a `Violation` when it breaks the schema under `dead_letter`."""
        try:
            own = record.__dict__
            try:
                context = self._context() if otel in modules else self._bound()
            except Exception:  # noqa: BLE001 - a context provider of the application's
                context = _EMPTY
            message = own["msg"]
            arguments = own["args"]
            if type(message) is not str or type(record) is not plain:
                message = message_of(record)
            elif arguments:
                try:
                    message = message % arguments
                except BaseException as failed:  # noqa: BLE001 - arguments may raise anything when formatted
                    message = not_formatted(message, arguments, failed)
            created = own["created"]
            try:
                second, text = last[0]
                micro = int((created - second) * 1e6 + 0.5)
                # What `stamp` would say; nine of ten moments need no zeros.
                moment = f"{text}{micro}Z" if 100_000 <= micro < 1_000_000 else stamp(created)
            except (TypeError, ValueError, OverflowError):  # no moment
                moment = stamp(created)
            if has_task_name:  # noqa: SIM108 - three cases are two questions
                task = own["taskName"]
            else:
                task = _task() if "asyncio.tasks" in modules else None
            error = tried = None
            if own["exc_info"] or own["exc_text"]:
                error = _failure(record)
            try:
                where = (own["levelno"], own["name"], own["module"], own["funcName"], own["lineno"])
                place = self._places.get(where)
                if place is not None and (tried := place.line) is not None and not own["stack_info"]:
                    process, thread = own["process"], own["threadName"]
                    line = tried(own, context, place, moment, message, process, thread, task, error)
                    if line is not None and len(line) <= most:
                        return line
            except Exception:  # noqa: BLE001, S110 - what is not as usual goes the next way
                pass
            own_record = untouched(record)
            if own_record is not record:
                tried = None
            level = BY_NUMBER.get(own["levelno"]) or level_name(own["levelno"])
            return self._build(own_record, context, (moment, level, message), (task, error), tried)
        except THROUGH:
            raise
        except BaseException as failed:  # noqa: BLE001 - a record that was taken apart: its words still arrive
            return self._repaired(*torn(record), failed)

    def _build(
        self,
        record: logging.LogRecord,
        context: Mapping[str, object],
        head: tuple[str, str, str],
        tail: tuple[Any, Any],
        tried: Line | None,
    ) -> bytes:
        """Build a record that the code kept with its place, `tried`, is not made for."""
        own = record.__dict__
        task, error = tail
        try:
            plan = self._plans.get((*context, _RECORD, *own))
            if plan is None or plan.used < _WORTH_CODE:
                plan = self._record_plan(plan, context, own)
        except Exception:  # noqa: BLE001 - names that cannot be hashed
            context = _EMPTY
            plan = _Plan(self._record_shape(context, own))
        if not own["stack_info"]:
            where = (own["levelno"], own["name"], own["module"], own["funcName"], own["lineno"])
            beside = tuple(name for name in ("message", "asctime") if name in own)
            held = Held(context, own, _OWN, beside, task is not None, error is not None)
            values = (own["process"], own["threadName"], task, error)
            line = self._typed(plan, where, held, head, values, tried)
            if line is not None:
                return line
            if plan.fill is not None and error is None:
                event = plan.fill(*head, own["name"], task, context, own, own)
                if event is not None:
                    return self._encode(event, plan.shape.extras)
        origin = {name: own[key] for name, key in RECORD.items()}
        origin["logger"], origin["task"] = own["name"], task
        parts = {"context": context, "fields": own, "origin": origin}
        return self._general(plan.shape, head, parts, (error, own["stack_info"]))

    def compose(
        self,
        *,
        level: str,
        message: str,
        logger: str = "",
        timestamp: float | None = None,
        fields: Mapping[str, object] | None = None,
        exc_info: object = None,
        source: Mapping[str, object] | None = None,
    ) -> bytes:
        """Return the event line of content without a LogRecord: for the same content the bytes of `build`.

        `timestamp`: seconds since 1970, now by default. `exc_info`: as for logging calls. `fields`: extras.
        `source`: module, function, line, process, thread, task, stack_info; and what a reader of foreign logs
        knows better than this process: service, environment, version, host, trace_id, span_id, parent_id,
        correlation_id. Names it does not give are left out (but service, environment, version, host).
        """
        given: Mapping[str, object] = _EMPTY if fields is None else fields
        origin: Mapping[str, object] = _EMPTY if source is None else source
        try:
            try:
                context = self._context()
            except Exception:  # noqa: BLE001 - a context provider of the application's
                context = _EMPTY
            name = BY_NAME.get(level) or level_name(level)
            text = message if type(message) is str else safe_repr(message, str)
            moment = stamp(timestamp)
            error = describe(exc_info) if exc_info else None
            where = tried = None
            try:
                if "module" in origin and len(origin) - ("task" in origin) == len(RECORD):
                    where = (name, logger, origin["module"], origin["function"], origin["line"])
                    place = self._places.get(where)
                    if place is not None and (tried := place.line) is not None:
                        process, thread, task = origin["process"], origin["thread"], origin.get("task")
                        line = tried(given, context, place, moment, text, process, thread, task, error)
                        if line is not None and len(line) <= MAX_EVENT:
                            return line
            except Exception:  # noqa: BLE001, S110 - what is not as usual goes the next way
                pass
            parts = {"context": context, "fields": given, "origin": origin}
            return self._compose((moment, name, text), logger, parts, error, (where, tried))
        except THROUGH:
            raise
        except BaseException as failed:  # noqa: BLE001 - a mapping that misbehaves: what it holds still arrives
            head = (level, message, timestamp)
            return self._repaired(head, given, {**plainly(origin), "logger": logger}, exc_info, failed)

    def _compose(
        self,
        head: tuple[str, str, str],
        logger: str,
        parts: dict[str, Any],
        error: dict[str, Any] | None,
        place: tuple[tuple[Any, ...] | None, Line | None],
    ) -> bytes:
        """Compose what the code kept with its place is not made for."""
        context, given, origin = parts.values()
        where, tried = place
        try:
            plan = self._plans.get((*context, _FIELDS, *given, _ORIGIN, *origin))
            if plan is None or plan.used < _WORTH_CODE:
                plan = self._compose_plan(plan, context, given, origin)
        except Exception:  # noqa: BLE001 - names that cannot be hashed
            context = parts["context"] = _EMPTY
            plan = _Plan(make_shape(self.schema, context, list(given)))
        if where is not None and "process" in origin and "thread" in origin:
            task = origin.get("task")
            held = Held(context, given, 0, (), task is not None, error is not None)
            values = (origin["process"], origin["thread"], task, error)
            line = self._typed(plan, where, held, head, values, tried)
            if line is not None:
                return line
        if error is None and plan.fill is not None:
            event = plan.fill(*head, logger, None, context, given, origin)
            if event is not None:
                return self._encode(event, plan.shape.extras)
        parts["origin"] = {**origin, "logger": logger}
        return self._general(plan.shape, head, parts, (error, origin.get("stack_info")))

    def _typed(
        self,
        plan: _Plan,
        where: tuple[Any, ...],
        held: Held,
        head: tuple[str, str, str],
        values: tuple[Any, ...],
        tried: Line | None,
    ) -> bytes | None:
        """Return the line by code for these names and types, made when they come often; None without."""
        if plan.lines is None:
            return None
        try:
            line = self._line(plan, plan.lines, held)
            if line is None or line is tried:
                return None
            place = self._places.get(where)
            if place is None:
                place = make_place(self.schema, head[1], *where[1:])
                if place is None:
                    return None
                if len(self._places) >= _MAX_PLACES:
                    self._places.clear()
                self._places[where] = place
            place.line = line
            made = line(held.fields, held.context, place, head[0], head[2], *values)
        except Exception:  # noqa: BLE001 - what the encoder refuses, a mapping that misbehaves
            return None
        return made if made is not None and len(made) <= MAX_EVENT else None

    def _line(self, plan: _Plan, lines: dict[tuple[object, ...], Line | int], held: Held) -> Line | None:
        own = islice(held.fields.values(), held.skip, None)
        types = (held.task, held.error, *map(type, held.context.values()), *map(type, own))
        known = lines.get(types, 0)
        if not isinstance(known, int):
            return known
        if known is False:
            return None
        if known < _WORTH_CODE:
            if known or len(lines) < _MAX_TYPES:
                lines[types] = known + 1
            return None
        if self._made >= _MAX_LINES:
            self._made = 0
            self._plans.clear()
            self._places.clear()
        self._made += 1
        try:
            if self.redactor is not None and self._prover is None:
                plan.lines = None
                return None
            made = compile_line(self.schema, plan.shape, held, self._prover)
        except Misfit:
            lines[types] = False
            return None
        if made is None:
            plan.lines = None
        else:
            lines[types] = made
        return made

    def _general(
        self, shape: Shape, head: tuple[str, str, str], parts: dict[str, Any], failure: tuple[Any, Any]
    ) -> bytes:
        error, stack_info = failure
        event, broken = assemble(self.schema, shape, head, **parts, error=error, stack_info=stack_info)
        line = self._encode(event, shape.extras)
        return Violation(line, "; ".join(broken)) if broken else line

    def _encode(self, event: dict[str, Any], extras: tuple[str, ...]) -> bytes:
        try:
            cleaned = event if self._clean is None else self._clean(event, extras)
            if cleaned["level"] in FAILS:
                _mark_pattern(cleaned)
            line = orjson.dumps(cleaned)
        except Exception:  # noqa: BLE001 - what the encoder refuses is made plain, cleaned again and encoded
            event, cut = normalise_marked(event)
            if cut:
                event["truncated"] = True
                self.schema.truncations += 1
            cleaned = event if self._clean is None else self._clean(event, extras)
            _mark_pattern(cleaned)
            line = encode(cleaned, MAX_EVENT * 64)
        if len(line) > MAX_EVENT:
            if "truncated" not in event:
                self.schema.truncations += 1
            line = shrink(normalise(cleaned), MAX_EVENT)
        return line

    def _record_plan(
        self, plan: _Plan | None, context: Mapping[str, object], own: Mapping[str, object]
    ) -> _Plan:
        if plan is None:
            return self._keep((*context, _RECORD, *own), _Plan(self._record_shape(context, own)))
        plan.used += 1
        if plan.used == _WORTH_CODE:
            plan.fill = compile_fill(self.schema, plan.shape, RECORD, with_task=True)
        return plan

    def _compose_plan(
        self,
        plan: _Plan | None,
        context: Mapping[str, object],
        fields: Mapping[str, object],
        origin: Mapping[str, object],
    ) -> _Plan:
        if plan is None:
            key = (*context, _FIELDS, *fields, _ORIGIN, *origin)
            return self._keep(key, _Plan(make_shape(self.schema, context, fields)))
        plan.used += 1
        if plan.used == _WORTH_CODE:
            named = {name: name for name in origin}
            plan.fill = compile_fill(self.schema, plan.shape, named, with_task=False)
        return plan

    def _record_shape(self, context: Mapping[str, object], own: Mapping[str, object]) -> Shape:
        return make_shape(self.schema, context, [name for name in own if name not in NOT_EXTRAS])

    def _keep(self, key: tuple[object, ...], plan: _Plan) -> _Plan:
        # 1, 1.0 and True are equal keys with different names: only text (and our marks) are kept.
        if all(type(name) is str or type(name) is _Mark for name in key):
            if len(self._plans) >= _MAX_PLANS:
                self._plans.clear()
            self._plans[key] = plan
        return plan

    def _repaired(
        self,
        head: tuple[object, object, object],
        fields: Mapping[str, object],
        origin: dict[str, Any],
        exc_info: object,
        failed: BaseException,
    ) -> bytes:
        """Build an event of which some part raised: all is made plain first, and cannot raise again."""
        level = level_name(normalise(head[0]))
        message = head[1] if type(head[1]) is str else safe_repr(head[1], str)
        try:
            try:
                context = plainly(self._context())
            except Exception:  # noqa: BLE001 - a context provider of the application's
                context = {}
            plain = plainly(fields)
            try:
                error = describe(exc_info) if exc_info else None
            except THROUGH:
                raise
            except BaseException:  # noqa: BLE001 - its truth or its type raises
                error = None
            created = normalise(head[2])
            moment = stamp(created if type(created) is float or type(created) is int else None)
            parts = {"context": context, "fields": plain, "origin": origin}
            made = (error, origin.get("stack_info"))
            return self._general(
                make_shape(self.schema, context, plain), (moment, level, message), parts, made
            )
        except Exception:  # noqa: BLE001 - nothing that is logged may fail
            return emergency(self.schema, self._clean, level, message, failed)


def _failure(record: logging.LogRecord) -> dict[str, Any] | None:
    described = describe(record.exc_info) if record.exc_info else None
    if described is None and type(record.exc_text) is str and record.exc_text:
        return describe_text(record.exc_text)
    return described


def _task() -> str | None:
    """Return the running task's name on Python 3.11 (later ones put it into the record)."""
    tasks = _modules["asyncio.tasks"]
    if tasks.events._get_running_loop() is None:  # noqa: SLF001 - the public way raises
        return None
    try:
        task = tasks.current_task()
        return None if task is None else str(task.get_name())
    except Exception:  # noqa: BLE001 - a foreign event loop
        return None
