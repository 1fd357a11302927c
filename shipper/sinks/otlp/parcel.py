"""A batch sorted into log records and spans, and each kind as the body of a request. Pure but for rests.

| `kind` of the event | goes as |
|---|---|
| `span` | a span |
| `span_start` | nothing: it is noted that the span is open |
| `access`, `job` | a span, and a log record: it is both |
| `job_start` | a log record, and noted as open |
| anything else, and what has no ids | a log record |
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from ...core.spans import Span, event_of, read_span, span_of
from ...model import Batch, Refusal, Rejected
from ...turns import Turns
from .protobuf import export_request, resource_group
from .record import Recorder, Resource, resource_attributes
from .span import resource_of, span_record

__all__ = ["Parcel", "Sorter", "ends_in", "spans_body"]

_SPANS_ALONE: Final = frozenset({"span", "span_start"})


@dataclass(slots=True)
class Parcel:
    """What is to be sent of a batch. `spans` are the places of `ended` in it, `records` by place.

    `refused` is what can be sent in no form.
    """

    records: dict[int, tuple[Resource, bytes]] = field(default_factory=dict)
    spans: list[int] = field(default_factory=list)
    ended: list[Span] = field(default_factory=list)
    begun: list[Span] = field(default_factory=list)
    refused: dict[int, Refusal] = field(default_factory=dict)

    @staticmethod
    def placed(places: Sequence[int], refused: Mapping[int, Refusal]) -> dict[int, Refusal]:
        """Return refusals by place in the batch, of those by place in a request."""
        return {places[index]: why for index, why in refused.items()}


class Sorter:
    """Sorts batches. `fixed` are attributes of every resource."""

    __slots__ = ("_fixed", "_recorder", "_turns")

    def __init__(self, body: Literal["message", "line"], fixed: Mapping[str, str], turns: Turns) -> None:
        self._recorder = Recorder(body)
        self._fixed = fixed
        self._turns = turns

    def sort(self, batch: Batch, now: int, *, spans: bool, logs: bool) -> Parcel:
        """Return what is to be sent, with or without spans and log records; `now` is in nanoseconds."""
        parcel = Parcel()
        for index, line in enumerate(batch.lines):
            if index % 32 == 31:
                self._turns.rest()
            if spans and b'"kind"' in line and _is_span(line, index, parcel):
                continue
            if not logs:
                continue
            made = self._recorder.record(line, batch.event_id(index), now)
            if made is None:
                parcel.refused[index] = Rejected("not a JSON object")
            else:
                parcel.records[index] = made
        return parcel

    def records_body(self, parcel: Parcel, without: Collection[int]) -> tuple[Sequence[int], bytes]:
        """Return the request of the log records, and their places in the batch."""
        groups: dict[Resource, list[bytes]] = {}
        places = [place for place in parcel.records if place not in without]
        for place in places:
            resource, record = parcel.records[place]
            groups.setdefault(resource, []).append(record)
        return places, _body(groups, self._fixed)


def spans_body(spans: Sequence[Span], fixed: Mapping[str, str]) -> bytes:
    """Return the request of these spans; `fixed` are attributes of every resource."""
    groups: dict[Resource, list[bytes]] = {}
    for span in spans:
        groups.setdefault(resource_of(span), []).append(span_record(span))
    return _body(groups, fixed)


def ends_in(lines: Iterable[bytes]) -> Iterator[Span]:
    """Yield the spans whose ends are told in lines."""
    for line in lines:
        told = read_span(line) if b'"kind"' in line else None
        if told is not None and told[0] == "ended":
            yield told[1]


def _body(groups: Mapping[Resource, Sequence[bytes]], fixed: Mapping[str, str]) -> bytes:
    return export_request(
        resource_group(resource_attributes(resource, fixed), records) for resource, records in groups.items()
    )


def _is_span(line: bytes, index: int, parcel: Parcel) -> bool:
    """Put what an event says of a span into the parcel; True: it says nothing else."""
    event = event_of(line)
    told = None if event is None else span_of(event)
    if event is None or told is None:
        return False
    if told[0] == "begun":
        parcel.begun.append(told[1])
    else:
        parcel.spans.append(index)
        parcel.ended.append(told[1])
    return event["kind"] in _SPANS_ALONE
