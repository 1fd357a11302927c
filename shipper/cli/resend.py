"""Dead letters on their way again: what `dead-letter replay` and `dead-letter edit` share."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from .codes import UNAVAILABLE
from .common import fail
from .output import stdout, warn

if TYPE_CHECKING:
    from ..deadletter import DeadLetter
    from ..plan import Plan
    from ..replay import Journal, Replay
    from .letters import Box, Chosen

__all__ = ["missing", "send_again"]

_EVERY = 0.1  # seconds between two lines of progress
_NAMED = 5  # letters in doubt that are named one by one


def missing(boxes: Sequence[Box], chosen: Chosen) -> list[str]:
    """Say which of the ids that were named are no dead letters; return them."""
    there = {letter.id for box in boxes for letter in box.chosen}
    gone = [letter_id for letter_id in chosen.ids if letter_id not in there]
    for letter_id in gone:
        warn(f"no dead letter has the id {letter_id}")
    return gone


def send_again(made: Plan, boxes: Sequence[Box], *, most: int = 0) -> int:
    """Replay the letters that are meant, sink by sink; say what became of them, return how many are left.

    `most` letters go in one batch; 0: as many as the sink takes.
    """
    from ..replay import Journal, ReplayBusyError

    left = 0
    for box in boxes:
        if not box.chosen:
            # A replay that was killed at its very end has left nothing but to be counted.
            if box.noted is not None and box.noted.taken:
                with suppress(ReplayBusyError):
                    Journal(box.letters).close()
            continue
        if box.spec is None:
            warn(f"logferry: {box.name} is not among the sinks of the configuration: it is not sent to")
            left += len(box.chosen)
            continue
        try:
            journal = Journal(box.letters)
        except ReplayBusyError as error:
            fail(str(error), UNAVAILABLE)
        try:
            # As they are now: another replay may have sent some since they were chosen.
            held = {letter.id: letter for letter in box.letters.read()}
            chosen = [held[letter.id] for letter in box.chosen if letter.id in held]
            doubtful = _warn_of_doubt(box, journal, chosen)
            meant = {letter.id for letter in chosen}
            chosen += [held[one] for one in doubtful if one not in meant and one in held]
            result = _replay(made, box, journal, chosen, most)
        finally:
            journal.close()
        left += len(chosen) - len(result.taken)
        _tell(box, result, len(chosen), doubtful)
    return left


def _warn_of_doubt(box: Box, journal: Journal, chosen: Sequence[DeadLetter]) -> list[str]:
    """Say what may arrive twice: whole batches go again, also for one letter in them. Return their ids."""
    meant = {letter.id for letter in chosen}
    doubtful = [one for group in journal.doubted if meant & group.letters.keys() for one in group.letters]
    if not doubtful:
        return []
    if len(doubtful) <= _NAMED:
        for letter_id in doubtful:
            warn(f"{letter_id}: a replay was killed while it was sent; {box.name} may have it twice")
    else:
        text = f"{len(doubtful):,} letters were on their way when a replay was killed"
        warn(f"{text}; {box.name} may have them twice: {doubtful[0]} to {doubtful[-1]}")
    if more := len(set(doubtful) - meant):
        warn(f"{more:,} of them were not named, but go in one batch with those that were")
    return doubtful


def _replay(made: Plan, box: Box, journal: Journal, chosen: Sequence[DeadLetter], most: int) -> Replay:
    from ..ports import SinkContext
    from ..replay import BATCH
    from ..replay import replay as send

    assert box.spec is not None
    sink = box.spec.kind.build(box.spec.options, SinkContext(box.name, made.schema, made.spool.path))
    try:
        told = _progress(box.name, len(chosen))
        return send(sink, box.letters, journal, chosen, most=most or BATCH, told=told)
    finally:
        sink.close()


def _progress(name: str, count: int) -> Callable[[int], None]:
    """Return what shows, on a terminal, how far a replay has come."""
    shown = time.monotonic()

    def told(done: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if not sys.stderr.isatty() or (now - shown < _EVERY and done < count):
            return
        shown = now
        text = "" if done >= count else f"{name}: {done:,} of {count:,}"
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()

    return told


def _tell(box: Box, result: Replay, count: int, doubtful: Sequence[str]) -> None:
    out = stdout()
    left = count - len(result.taken)
    if not out.people:
        row = {"sink": box.name, "replayed": len(result.taken), "left": left, "refused": result.refused}
        out.json({**row, "untried": result.untried, "error": result.unreachable, "doubtful": list(doubtful)})
        out.flush()
        return
    out.line(f"{box.name}: {len(result.taken):,} delivered, {left:,} left", "red" if left else "green")
    for letter_id, reason in result.refused.items():
        warn(f"{letter_id}: {reason}")
    if result.untried:
        warn(f"{box.name}: {result.untried:,} were not tried: {result.unreachable}")
