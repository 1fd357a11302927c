"""Dead letters sent again: crash-safe, with a journal that knows which of them may be delivered twice.

    <spool path>/<service>/dead-letters/<sink>.replay

    {"token":"…"}                                   this replay, for the ledger
    {"sending":{"spool":"…","letters":{"<id>":1}}}  before a batch is sent: each letter's place in it
    {"taken":["<id>"]}                              the sink has acknowledged them
    {"refused":["<id>"]}                            the sink will not take them
    {"doubtful":{…}}                                as `sending`: of a replay that was killed meanwhile

Rules

- One replay for a sink at a time, under `<sink>.replay.lock`.
- Letters are sent in batches, and `sending` is synced first. So a kill, or a power cut, leaves one batch of
  which nobody knows what the sink has. Its letters stay, are shown as `in doubt`, and the next replay sends
  them first, in the same places of the same batch: stores that know ids take them once. Sinks that do not
  (file, console, syslog, http, CloudWatch) may have them twice. No other letter can be lost, hidden or
  doubled. Who wants no more than one letter in doubt sends them one by one.
- A batch that is in doubt is sent again whole, also when only some of its letters are meant: a store that
  knows how far it has come in a spool (the local one) must get them in their order.
- `settle` removes what was taken from the letters, counts it in the ledger under the token, and then empties
  the journal. Killed in between, the next one does the rest: each step may be repeated.
- A letter carries its old id in front of its fields, and keeps it in every store. The batch has a spool id of
  its own, made from the ids in it: the old one would be taken for a repetition.
- What a verdict means is decided as in a worker (`core/delivery.py`). A sink that cannot be reached ends the
  replay: the rest is not tried, and stays.
"""

from __future__ import annotations

import fcntl
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final

import orjson

from .core.delivery import Delivery, Wait
from .core.identified import ID_BYTES, identified
from .core.retry import Backoff
from .deadletter import DeadLetter, DeadLetters
from .durable import append, make_private, sync, sync_directory
from .model import Batch, Limits
from .spool.ledger import note_replayed

if TYPE_CHECKING:
    from .ports import Sink

__all__ = ["BATCH", "Group", "Journal", "Replay", "ReplayBusyError", "Seen", "replay", "seen"]

BATCH: Final = 500
"""Letters of one batch, at most: so many may be in doubt after a kill."""

_TRIES: Final = 5
_PACE: Final = Backoff(cap=10.0, floor=0.2, longest_advice=10.0)
_NEVER: Final = 1 << 62
"""Rejections after which a sink counts as one that rejects everything: these letters were rejected before."""


class ReplayBusyError(RuntimeError):
    """Another replay to the same sink is under way."""


@dataclass(frozen=True, slots=True)
class Group:
    """Letters that are sent as one batch: the place of each in it, from 1, by its id."""

    spool: str
    letters: Mapping[str, int]

    @classmethod
    def of(cls, ids: Sequence[str]) -> Group:
        """Return a new group; the same letters in the same order make the same one."""
        spool = sha256(f"replay of {' '.join(ids)}".encode()).digest()[:16].hex()
        return cls(spool, {one: place for place, one in enumerate(ids, 1)})

    def only(self, ids: AbstractSet[str]) -> Group:
        """Return the group without the letters that are not among `ids`; the others keep their places."""
        return Group(self.spool, {one: place for one, place in self.letters.items() if one in ids})

    def row(self) -> dict[str, Any]:
        """Return what the journal holds of it."""
        return {"spool": self.spool, "letters": dict(self.letters)}


@dataclass(slots=True)
class Seen:
    """What a journal says. `doubted`: batches sent, of whose letters nobody knows whether they were taken."""

    token: str = ""
    taken: set[str] = field(default_factory=set)
    doubted: list[Group] = field(default_factory=list)

    @property
    def doubtful(self) -> set[str]:
        """Ids of the letters that are in doubt."""
        return {one for group in self.doubted for one in group.letters}


def seen(letters: DeadLetters) -> Seen:
    """Return what the journal of these letters says, without touching it."""
    path = _path(letters)
    return Seen() if path is None else _read(path)


def _path(letters: DeadLetters) -> Path | None:
    return None if letters.path is None else letters.path.with_suffix(".replay")


def _read(path: Path) -> Seen:
    found = Seen()
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return found
    for line in data.split(b"\n"):
        try:
            ((kind, value),) = orjson.loads(line).items()
        except (ValueError, AttributeError):
            continue  # the end of a journal whose writer was killed
        if kind == "token":
            found.token = value
        elif kind in {"sending", "doubtful"}:
            group = Group(value["spool"], value["letters"])
            found.doubted = [other for other in found.doubted if other.spool != group.spool]
            found.doubted.append(group)
        else:
            said = set(value)
            left = (group.only(group.letters.keys() - said) for group in found.doubted)
            found.doubted = [group for group in left if group.letters]
            if kind == "taken":
                found.taken |= said
    return found


class Journal:
    """The journal of one sink's letters, held for a replay. Raises `ReplayBusyError`, and OSError.

    What an earlier replay left is settled first. Letters in memory have none: they end with the process.
    """

    def __init__(self, letters: DeadLetters) -> None:
        self._letters = letters
        self._path = _path(letters)
        self._fd = self._lock = -1
        self.doubted: list[Group] = []
        """Batches of earlier replays, with the letters of which nobody knows whether they were taken."""
        if self._path is None:
            return
        make_private(self._path.parent)
        lock = self._path.with_suffix(".replay.lock")
        self._lock = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.settle()
        except BaseException as error:
            self._let_go()
            if not isinstance(error, BlockingIOError):
                raise
            raise ReplayBusyError(f"another replay to {letters.sink} is under way") from None

    @property
    def doubtful(self) -> set[str]:
        """Ids of the letters that an earlier replay left in doubt."""
        return {one for group in self.doubted for one in group.letters}

    def sending(self, group: Group) -> None:
        """Note, durably, that the letters are about to be sent."""
        self._write({"sending": group.row()})
        if self._fd >= 0:
            sync(self._fd)

    def taken(self, ids: Iterable[str]) -> None:
        """Note that the sink has the letters."""
        self._write({"taken": list(ids)})

    def refused(self, ids: Iterable[str]) -> None:
        """Note that the sink will not take the letters."""
        self._write({"refused": list(ids)})

    def settle(self) -> int:
        """Remove what was taken from the letters and count it; return how many."""
        if self._path is None or self._letters.path is None:
            return 0
        said = _read(self._path)
        if said.taken:
            self._letters.remove(said.taken)
            service = self._letters.path.parent.parent
            note_replayed(service, self._letters.sink, len(said.taken), said.token)
        there = {letter.id for letter in self._letters.read()}
        left = (group.only(there) for group in said.doubted)
        self.doubted = [group for group in left if group.letters]
        self._begin()
        return len(said.taken)

    def close(self) -> None:
        """Settle, and let others replay."""
        if self._lock < 0:
            return
        try:
            self.settle()
        finally:
            self._let_go()

    def _begin(self) -> None:
        """Put a new journal in the place of the one that is settled, in one step."""
        assert self._path is not None
        rows = [{"token": token_hex(8)}, *({"doubtful": group.row()} for group in self.doubted)]
        temporary = self._path.with_suffix(".replay.new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(temporary, flags, 0o600)
        try:
            append(fd, b"".join(orjson.dumps(row) + b"\n" for row in rows), 0)
            sync(fd)
            temporary.replace(self._path)
            sync_directory(self._path.parent)
        except OSError:
            os.close(fd)
            raise
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd

    def _let_go(self) -> None:
        for fd in (self._fd, self._lock):
            if fd >= 0:
                os.close(fd)
        self._fd = self._lock = -1

    def _write(self, row: Mapping[str, Any]) -> None:
        if self._fd >= 0:
            end = os.fstat(self._fd).st_size
            append(self._fd, orjson.dumps(row) + b"\n", end)


@dataclass(slots=True)
class Replay:
    """What became of letters that were sent again. `unreachable`: why the sink could not be asked."""

    taken: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)
    untried: int = 0
    unreachable: str = ""


def replay(
    sink: Sink,
    letters: DeadLetters,
    journal: Journal,
    chosen: Sequence[DeadLetter],
    *,
    most: int = BATCH,
    told: Callable[[int], object] = lambda _done: None,
    sleep: Callable[[float], object] = time.sleep,
) -> Replay:
    """Send the chosen letters; what is taken is removed when the journal is settled.

    First come the batches that hold a chosen letter and are in doubt, whole. Others have at most `most`
    letters. `told` is called with how many are done, after each batch.
    """
    result = Replay()
    wanted = {letter.id for letter in chosen}
    again = [group for group in journal.doubted if wanted & group.letters.keys()]
    held = {letter.id: letter for letter in letters.read()} if again else {}
    held |= {letter.id: letter for letter in chosen}
    met = {one for group in again for one in group.letters}
    fresh = [letter for letter in chosen if letter.id not in met]
    total, done = len(fresh) + len(met), 0
    for group in (*again, *_groups(fresh, sink.limits, most)):
        told(done)
        journal.sending(group)
        batch = [held[one] for one in group.letters if one in held]
        result.unreachable = _send(sink, batch, group, journal, result, sleep)
        if result.unreachable:
            result.untried = total - len(result.taken) - len(result.refused)
            break
        done += len(group.letters)
    told(total - result.untried)
    if letters.path is None:
        letters.remove(result.taken)
    return result


def _groups(letters: Sequence[DeadLetter], limits: Limits, most: int) -> Iterator[Group]:
    """Yield the letters in batches that the sink may be given."""
    ids: list[str] = []
    room = 0
    for letter in letters:
        size = len(letter.event) + ID_BYTES + limits.overhead
        if ids and (len(ids) >= min(most, limits.max_events) or size > room):
            yield Group.of(ids)
            ids = []
        room = (room if ids else limits.max_bytes) - size
        ids.append(letter.id)
    if ids:
        yield Group.of(ids)


def _send(
    sink: Sink,
    letters: Sequence[DeadLetter],
    group: Group,
    journal: Journal,
    result: Replay,
    sleep: Callable[[float], object],
) -> str:
    """Send one batch until each letter's fate is known; return why that cannot be had, or nothing."""
    places = [group.letters[letter.id] for letter in letters]
    delivery, done = Delivery(_PACE, patience=_NEVER), 0
    delivery.begin(Batch(group.spool, places, [_line(letter) for letter in letters]), sink.limits, {})
    wait: Wait | None = None
    while True:
        if (settled := delivery.take()) is not None:
            refused = {letters[index].id: fate.reason for index, fate in settled.fates}
            end = places.index(settled.upto) + 1
            taken = [letter.id for letter in letters[done:end] if letter.id not in refused]
            done = end
            if taken:
                journal.taken(taken)
            if refused:
                journal.refused(refused)
            result.taken.update(taken)
            result.refused.update(refused)
        if delivery.done:
            return ""
        if wait is not None:
            if wait.paused or delivery.failures >= _TRIES:
                return wait.reason
            sleep(wait.seconds)
        wait = delivery.settle(sink.send(delivery.part()), random.random())  # noqa: S311 - jitter


def _line(letter: DeadLetter) -> bytes:
    """Return the letter's event with its id in front; what is no object goes as it is."""
    return identified(letter.event, letter.id.encode()) if letter.event[:1] == b"{" else letter.event
