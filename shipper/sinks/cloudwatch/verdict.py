"""What CloudWatch Logs' answer means: answer or failure in, verdict out. No I/O, no state.

| answer | verdict |
|---|---|
| success | delivered, but for what `rejectedLogEventsInfo` names: dead letters with the reason |
| `DataAlreadyAcceptedException` | delivered |
| `ResourceNotFoundException` | group and stream are made, then once more; else the batch waits |
| throttled (as HTTP 400), 5xx, no answer | retry |
| credentials, permissions, region | pause: a human must mend it, nothing is dropped |
| `InvalidParameterException` and other 4xx about the events | halve until the bad one is alone, reject it |
| 413 | halve |
| any other 4xx | pause |

`rejectedLogEventsInfo`: all before `tooOldLogEventEndIndex` and before `expiredLogEventEndIndex` was refused,
and all from `tooNewLogEventStartIndex` on, itself included. The rest is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ...aws import Failure, common_verdict
from ...model import Delivered, Partial, Refusal, Rejected, Retry, Split, Verdict
from .puts import Put

__all__ = ["Fold", "judge", "missing", "rejected"]

_EVENTS: Final = {"InvalidParameterException", "SerializationException", "ValidationException"}


def missing(failure: object) -> bool:
    """Say whether group or stream are not there."""
    return isinstance(failure, Failure) and failure.code == "ResourceNotFoundException"


def judge(failure: Failure, events: int) -> Delivered | Retry | Rejected | Split:
    """Return what a failed put of `events` events means."""
    if failure.code == "DataAlreadyAcceptedException":
        return Delivered(duplicates=events)
    if missing(failure) or failure.code == "InvalidSequenceTokenException":
        return Retry(failure.text)
    if (common := common_verdict(failure)) is not None:
        return common
    if failure.code in _EVENTS or failure.status == 413:
        return Split(failure.text) if events > 1 else Rejected(failure.text)
    return Retry(failure.text, failure.after, pause=True)


def rejected(answer: Mapping[str, Any], events: int) -> dict[int, Rejected]:
    """Return what a successful put of `events` events refused, by place in the put."""
    info = answer.get("rejectedLogEventsInfo")
    if not isinstance(info, Mapping):
        return {}
    found: dict[int, Rejected] = {}
    for name, reason in _ENDS:
        end = info.get(name)
        if type(end) is int:
            found.update((place, reason) for place in range(min(end, events)))
    start = info.get("tooNewLogEventStartIndex")
    if type(start) is int:
        found.update((place, _TOO_NEW) for place in range(max(start, 0), events))
    return found


_ENDS: Final = (
    ("expiredLogEventEndIndex", Rejected("older than the log group's retention", own=True)),
    (
        "tooOldLogEventEndIndex",
        Rejected("more than 14 days old, which CloudWatch Logs does not take", own=True),
    ),
)
_TOO_NEW: Final = Rejected("more than 2 hours in the future, which CloudWatch Logs does not take")


@dataclass(slots=True)
class Fold:
    """What became of a batch's events so far, by index."""

    delivered: int = 0
    duplicates: int = 0
    refused: dict[int, Refusal] = field(default_factory=dict)
    split: set[str] = field(default_factory=set)

    def answered(self, put: Put, refused: Mapping[int, Rejected]) -> None:
        """Take a successful put, and what it refused by place."""
        self.delivered += len(put.indexes) - len(refused)
        self.refused.update((put.indexes[place], reason) for place, reason in refused.items())

    def failed(self, put: Put, verdict: Delivered | Retry | Rejected | Split) -> None:
        """Take a put that did not succeed."""
        if isinstance(verdict, Delivered):
            self.delivered += len(put.indexes)
            self.duplicates += verdict.duplicates
            return
        if isinstance(verdict, Split):
            # In company of other puts the worker cannot halve it: it comes back by itself first.
            self.split.add(verdict.reason)
            verdict = Retry(verdict.reason)
        self.refused.update((index, verdict) for index in put.indexes)

    def verdict(self, events: int) -> Verdict:
        """Return the verdict on a batch of `events`."""
        if not self.refused:
            return Delivered(self.duplicates)
        retries = [refusal for refusal in self.refused.values() if isinstance(refusal, Retry)]
        if self.delivered == 0 and len(retries) == events:
            plain = [retry for retry in retries if retry.reason not in self.split]
            if not plain:
                return Split(min(self.split)) if events > 1 else Rejected(min(self.split))
            # One Retry for all: the one that asks for most patience.
            return max(plain, key=lambda retry: (retry.pause, retry.after or 0.0))
        if events == 1:
            return next(iter(self.refused.values()))
        return Partial(self.refused, self.duplicates)
