"""What a refusal of one message means. Pure.

Rules

- The broker takes or refuses a batch of librdkafka's whole: of what it refuses for its size, or for a record
  in it, only a message that was alone is known to be guilty. `ALONE`: try again, alone.
- A refusal that nobody knows is tried again: nothing is lost by an error that is new.
- `RENEW`: the producer itself is beyond repair. Another one takes its place, and the message is tried again.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from ...kafka import explain
from ...model import Refusal, Rejected, Retry

__all__ = ["Next", "judge", "refusal"]


class Next(Enum):
    """What to do with a message that was refused."""

    RETRY = "retry"
    ALONE = "alone"
    RENEW = "renew"


_ALONE: Final = frozenset(
    {"MSG_SIZE_TOO_LARGE", "RECORD_LIST_TOO_LARGE", "INVALID_RECORD", "INVALID_TIMESTAMP", "INVALID_MSG_SIZE"}
)
_RENEW: Final = frozenset({"_FATAL", "_FENCED", "PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH"})
_REJECTED: Final = {
    "MSG_SIZE_TOO_LARGE": "larger than the topic takes (its max.message.bytes)",
    "RECORD_LIST_TOO_LARGE": "larger than the topic takes (its segment.bytes)",
    "INVALID_MSG_SIZE": "larger than the broker takes",
    "INVALID_RECORD": "the broker refuses the record",
    "INVALID_TIMESTAMP": "the broker refuses its time (the topic's message.timestamp settings)",
}


def judge(name: str) -> Next:
    """Return what to do about the error called `name`."""
    if name in _ALONE:
        return Next.ALONE
    return Next.RENEW if name in _RENEW else Next.RETRY


def refusal(name: str, text: str, *, alone: bool) -> Refusal:
    """Return what the worker is told of a message that was refused, `alone` in its request or not."""
    if alone and name in _REJECTED:
        return Rejected(f"{_REJECTED[name]}: {text}"[:300])
    finding = explain(name, text)
    return Retry(finding.reason, pause=finding.pause)
