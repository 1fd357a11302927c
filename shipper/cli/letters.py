"""Which dead letters are meant: ids and filters, over the letters of every sink."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import reduce
from typing import TYPE_CHECKING, Any, TypeVar

import click
import orjson

from .codes import USAGE
from .common import config_option, fail, load_config

if TYPE_CHECKING:
    from ..deadletter import DeadLetter, DeadLetters
    from ..plan import Plan, SinkSpec
    from ..replay import Seen

__all__ = ["Box", "Chosen", "choosing", "event_of", "find"]

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    config_option,
    click.option("--sink", "sinks", multiple=True, help="Of this sink only; may be repeated."),
    click.option("--reason", help="Only those whose reason holds this text."),
    click.option("--since", help="Refused since then: 15m (ago), today, 08:30, 2026-11-21."),
    click.option("--match", "wanted", help="Only events that this filter finds (as for `logferry query`)."),
)


def choosing(command: F) -> F:
    """Give a command the options that say which letters are meant; they arrive as `Chosen` does."""
    return reduce(lambda made, option: option(made), reversed(_OPTIONS), command)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which letters somebody named. Empty: every one."""

    ids: Sequence[str] = ()
    sinks: Sequence[str] = ()
    reason: str | None = None
    since: str | None = None
    wanted: str | None = None

    @property
    def named(self) -> bool:
        """Whether anything was said at all."""
        return bool(self.ids or self.sinks or self.reason or self.since or self.wanted)


@dataclass(slots=True)
class Box:
    """The letters of one sink that are meant, and what was noted of their replays.

    `spec` is None when the sink is not in the configuration any more.
    """

    name: str
    spec: SinkSpec | None
    letters: DeadLetters
    chosen: list[DeadLetter] = field(default_factory=list)
    noted: Seen | None = None

    def state(self, letter: DeadLetter) -> str:
        """Return `in doubt` for a letter that was on its way when a replay was killed."""
        return "in doubt" if self.noted is not None and letter.id in self.noted.doubtful else ""


def event_of(letter: DeadLetter) -> Mapping[str, Any]:
    """Return the letter's event; an empty one when it is no JSON object."""
    try:
        found = orjson.loads(letter.event)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def find(config_path: str | None, chosen: Chosen) -> tuple[Plan, list[Box]]:
    """Return the plan, and the letters that are meant, by sink. A mistake ends the command with 2."""
    from ..config.plan import plan
    from ..core.filter import FilterError
    from ..replay import seen

    made = plan(load_config(config_path))
    boxes = list(_boxes(made))
    known = [box.name for box in boxes]
    for name in chosen.sinks:
        if name not in known:
            fail(f"there is no sink {name!r}; there are: {', '.join(known)}", USAGE)
    try:
        passes = _test(chosen, made)
    except (FilterError, ValueError) as error:
        fail(str(error), USAGE)
    found = []
    for box in boxes:
        if not chosen.sinks or box.name in chosen.sinks:
            box.noted = seen(box.letters)
            # What a replay that was killed had delivered is no dead letter, though it is still in the file.
            box.chosen = [one for one in box.letters.read() if one.id not in box.noted.taken and passes(one)]
            found.append(box)
    return made, found


def _boxes(made: Plan) -> Iterator[Box]:
    """Give the letters of all configured sinks, and of those that are gone and left some."""
    from ..deadletter import DeadLetters
    from ..pipeline import dead_letter_directory
    from ..spool.directory import name_of

    directory = dead_letter_directory(made.spool)
    specs: dict[str, SinkSpec | None] = {spec.name: spec for spec in made.sinks}
    for path in sorted(directory.glob("*.ndjson")) if directory is not None else ():
        specs.setdefault(name_of(path.stem), None)
    for name, spec in specs.items():
        yield Box(name, spec, DeadLetters(directory, name, made.dead_letters_max_bytes))


def _test(chosen: Chosen, made: Plan) -> Callable[[DeadLetter], bool]:
    from ..core.filter import parse
    from ..store.moments import as_event_time, parse_moment

    ids = set(chosen.ids)
    reason = (chosen.reason or "").lower()
    since = as_event_time(parse_moment(chosen.since, datetime.now(UTC).astimezone())) if chosen.since else ""
    wanted = parse(chosen.wanted, made.schema.declared) if chosen.wanted else None

    def passes(letter: DeadLetter) -> bool:
        return (
            (not ids or letter.id in ids)
            and (not reason or reason in letter.reason.lower())
            and letter.at >= since
            and (wanted is None or wanted.matches(event_of(letter)))
        )

    return passes
