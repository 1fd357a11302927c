"""Dead letters sent again: crash-safe, with a journal that knows which of them may be delivered twice.

    <spool path>/<service>/dead-letters/<sink>.replay

    {"token":"…"}            this replay, for the ledger
    {"sending":"<id>"}       on the disk before the letter is sent
    {"taken":"<id>"}         the sink has acknowledged it
    {"refused":"<id>"}       the sink will not take it
    {"doubtful":"<id>"}      of an earlier replay that was killed while the letter was under way

Rules

- One replay for a sink at a time, under `<sink>.replay.lock`.
- Letters are sent one by one, and `sending` is synced first. So a kill, or a power cut, leaves one letter of
  which nobody knows whether the sink has it. It stays among the letters, is shown as `in doubt`, and the next
  replay sends it again: under the same id, which stores that know ids take once. Sinks that keep no ids
  (file, console, syslog, http) may have it twice. No other letter can be lost, hidden or doubled.
- `settle` removes what was taken from the letters, counts it in the ledger under the token, and then empties
  the journal. Killed in between, the next one does the rest: each step may be repeated.
- A letter goes out under an id of its own, made from the old one: a store that knows how far it has come in a
  spool would take the old id for a repetition. Replayed twice, it still has one id.
- A sink that cannot be reached ends the replay: the rest is not tried, and stays.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Final, Literal

import orjson

from .deadletter import DeadLetter, DeadLetters
from .durable import append, make_private, sync, sync_directory
from .model import Batch, Delivered, Partial, Rejected, Retry, Split
from .spool.ledger import note_replayed

if TYPE_CHECKING:
    from .ports import Sink

__all__ = ["Journal", "Replay", "ReplayBusyError", "Seen", "replay", "replay_id", "seen"]

_TRIES: Final = 5
_LONGEST: Final = 10.0  # seconds between two tries


class ReplayBusyError(RuntimeError):
    """Another replay to the same sink is under way."""


@dataclass(slots=True)
class Seen:
    """What a journal says. `doubtful`: sent, and nobody knows whether they were taken."""

    token: str = ""
    taken: set[str] = field(default_factory=set)
    doubtful: set[str] = field(default_factory=set)


def replay_id(letter_id: str) -> str:
    """Return the id under which a replayed letter is delivered."""
    return f"{sha256(f'replay of {letter_id}'.encode()).digest()[:16].hex()}-1"


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
            found.doubtful.add(value)
        else:
            found.doubtful.discard(value)
            if kind == "taken":
                found.taken.add(value)
    return found


class Journal:
    """The journal of one sink's letters, held for a replay. Raises `ReplayBusyError`, and OSError.

    What an earlier replay left is settled first. Letters in memory have none: they end with the process.
    """

    def __init__(self, letters: DeadLetters) -> None:
        self._letters = letters
        self._path = _path(letters)
        self._fd = self._lock = -1
        self.doubtful: set[str] = set()
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

    def sending(self, letter_id: str) -> None:
        """Note, durably, that the letter is about to be sent."""
        self._write({"sending": letter_id})
        if self._fd >= 0:
            sync(self._fd)

    def taken(self, letter_id: str) -> None:
        """Note that the sink has the letter."""
        self._write({"taken": letter_id})

    def refused(self, letter_id: str) -> None:
        """Note that the sink will not take the letter."""
        self._write({"refused": letter_id})

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
        self.doubtful = said.doubtful & there
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
        rows = [{"token": token_hex(8)}, *({"doubtful": one} for one in sorted(self.doubtful))]
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

    def _write(self, row: dict[str, str]) -> None:
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
    told: Callable[[int], object] = lambda _done: None,
    sleep: Callable[[float], object] = time.sleep,
) -> Replay:
    """Send the chosen letters one by one; what is taken is removed when the journal is settled.

    `told` is called with how many are done, after each.
    """
    result = Replay()
    for done, letter in enumerate(chosen):
        told(done)
        journal.sending(letter.id)
        state, reason = _send(sink, letter, sleep)
        if state == "taken":
            journal.taken(letter.id)
            result.taken.add(letter.id)
        elif state == "refused":
            journal.refused(letter.id)
            result.refused[letter.id] = reason
        else:
            result.unreachable, result.untried = reason, len(chosen) - done
            break
    told(len(chosen) - result.untried)
    if letters.path is None:
        letters.remove(result.taken)
    return result


def _send(
    sink: Sink, letter: DeadLetter, sleep: Callable[[float], object]
) -> tuple[Literal["taken", "refused", "unreachable"], str]:
    spool = replay_id(letter.id).partition("-")[0]
    reason = "it was not taken"
    for attempt in range(1, _TRIES + 1):
        verdict: object = sink.send(Batch(spool, (1,), (letter.event,), attempt))
        if isinstance(verdict, Partial):
            verdict = verdict.refused.get(0, Delivered())
        if isinstance(verdict, Delivered):
            return "taken", ""
        if isinstance(verdict, Rejected | Split):
            return "refused", verdict.reason
        if isinstance(verdict, Retry):
            reason = verdict.reason
            if verdict.pause or attempt == _TRIES:
                break
            sleep(min(verdict.after or 0.2 * 2**attempt, _LONGEST))
    return "unreachable", reason
