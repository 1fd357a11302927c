"""Dead letters on their way again: what `dead-letter replay` and `dead-letter edit` share."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
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


def missing(boxes: Sequence[Box], chosen: Chosen) -> list[str]:
    """Say which of the ids that were named are no dead letters; return them."""
    there = {letter.id for box in boxes for letter in box.chosen}
    gone = [letter_id for letter_id in chosen.ids if letter_id not in there]
    for letter_id in gone:
        warn(f"no dead letter has the id {letter_id}")
    return gone


def send_again(made: Plan, boxes: Sequence[Box]) -> int:
    """Replay the letters that are meant, sink by sink; say what became of them, return how many are left."""
    from ..replay import Journal, ReplayBusyError

    left = 0
    for box in boxes:
        if not box.chosen:
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
            doubtful = [letter.id for letter in chosen if letter.id in journal.doubtful]
            for letter_id in doubtful:
                warn(f"{letter_id}: a replay was killed while it was sent; {box.name} may have it twice")
            result = _replay(made, box, journal, chosen)
        finally:
            journal.close()
        left += len(chosen) - len(result.taken)
        _tell(box, result, len(chosen), doubtful)
    return left


def _replay(made: Plan, box: Box, journal: Journal, chosen: Sequence[DeadLetter]) -> Replay:
    from ..ports import SinkContext
    from ..replay import replay as send

    assert box.spec is not None
    sink = box.spec.kind.build(box.spec.options, SinkContext(box.name, made.schema, made.spool.path))
    try:
        return send(sink, box.letters, journal, chosen, told=_progress(box.name, len(chosen)))
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
