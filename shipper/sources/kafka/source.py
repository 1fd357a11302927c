"""A member of a consumer group: messages → spool → sinks → committed offsets.

Rules

- An offset is committed when every event before it is settled at every sink of this process: delivered,
  dead-lettered, filtered or dropped by a bound. A machine that burns down with its spool loses nothing: the
  next member begins behind what was settled.
- Events and the place behind them go into the spool in one step (`offsets.Place`). A process that is killed
  and started again goes on behind what its spool holds; nothing is appended twice. Only another machine's
  member reads again what this spool still holds; those events have the same ids (`messages`), and a store
  that knows ids keeps them once.
- Partitions are given away when what was read of them is settled, or after `handover`. The messages in hand
  are appended before the consumer is asked for more, so that a hand-over never meets half a batch.
- While the spool is full all partitions are paused and the consumer is still polled: the member stays in its
  group, and Kafka keeps what the spool cannot.
- What is committed has been appended: the next offset of a partition moves after the append, never before.
- Messages that were fetched before a change of hands say nothing of what lies before them: a partition that
  has just become ours is read from where the group and the spool say, or it is fetched again.
- The consumer is made by `run`, in its thread; a forked child gives its copy up.
- Callbacks of librdkafka raise nothing: what they meet is raised by `run` afterwards.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from ...diagnostics import say
from ...kafka import Finding, abandon_after_fork, explain
from ...ports import Settlement, SourceContext
from ..errors import SourceError
from .config import KafkaSourceConfig
from .messages import Known, Reader
from .offsets import NONE, Partition, Place, Seen, resume_at

__all__ = ["KafkaSource"]

_MESSAGES: Final = 1_000  # asked for at a time, and at most in a frame
_LOOK: Final = 0.2  # seconds between looks at `stop` and at marks
_TURN: Final = 0.05  # seconds between tries to append to a full spool
_ANSWER: Final = 10.0  # seconds that the brokers have for an answer

Name = tuple[str, int]
"""A partition: topic and number."""


class _LeavingError(Exception):
    """The source is to stop, or the partition is no longer ours: what waits to be appended is not."""


@dataclass(slots=True)
class _Mark:
    """Offsets that may be committed as soon as `settled()`."""

    offsets: dict[Name, int]
    settled: Callable[[], bool]


@dataclass(slots=True, eq=False, weakref_slot=True)
class KafkaSource:
    """Reads topics into the spool. `run` in one thread, `stop` from any."""

    config: KafkaSourceConfig
    context: SourceContext
    client: Any = None
    _reader: Reader = field(init=False)
    _settlement: Settlement = field(init=False)
    _ours: dict[Name, Partition] = field(default_factory=dict)
    _seen: Seen = field(default_factory=Seen)
    _mark: _Mark | None = None
    _next_commit: float = 0.0
    _paused: bool = False
    _begun: bool = False  # partitions have been given to us at least once
    _early: list[Any] = field(default_factory=list)  # messages that came while the spool was full
    _fresh: set[Name] = field(default_factory=set)  # partitions of which nothing was taken yet
    _trouble: Finding | None = None
    _failure: Exception | None = None
    _stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        abandon_after_fork(self, self._ours.clear)

    def run(self, *, once: bool) -> None:
        """Read until `stop()`; with `once` only to the present ends. `SourceError`: it cannot."""
        if self.context.settlement is None:
            raise SourceError("the source kafka needs to know what its sinks have settled")
        self._settlement = self.context.settlement
        self._reader = Reader(self.context.builder, self.config.parser, self.config.trust)
        self._reset()
        self.client = consumer = self._consumer()
        try:
            consumer.subscribe(
                list(self.config.topics),
                on_assign=partial(self._guarded, self._assigned),
                on_revoke=partial(self._guarded, self._revoked),
                on_lost=partial(self._guarded, self._lost),
            )
            self._read(once=once)
        except _LeavingError:
            pass
        finally:
            consumer.close()  # gives the partitions away, with `_revoked`
            self.client = None
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Ask `run` to return soon."""
        self._stop.set()

    def check(self) -> Sequence[str]:
        """Ask for the topics; one sentence for each thing that is wrong."""
        consumer = self._consumer()
        try:
            known = consumer.list_topics(timeout=_ANSWER).topics
        except Exception as error:  # noqa: BLE001 - KafkaException, whose module is imported lazily
            consumer.poll(0)
            return [f"{self.context.name}: {(self._trouble or _finding(error)).reason}"]
        finally:
            consumer.close()
        missing = [topic for topic in self.config.topics if topic[:1] != "^" and topic not in known]
        return [
            f"{self.context.name}: topic {topic} does not exist, or we may not see it" for topic in missing
        ]

    def _reset(self) -> None:
        self._ours.clear()
        self._early.clear()
        self._fresh.clear()
        self._mark, self._failure = None, None
        self._paused = self._begun = False

    def _consumer(self) -> Any:
        try:
            from confluent_kafka import Consumer
        except ImportError as missing:
            raise ImportError('source kafka needs a library: pip install "logferry[kafka]"') from missing
        calls = {"error_cb": self._complain, "on_commit": self._committed}
        return Consumer({**self.config.consumer(), **calls})

    # ── reading ──

    def _read(self, *, once: bool) -> None:
        limit = time.monotonic() + 3 * _ANSWER
        while not self._stop.is_set():
            early, self._early = self._early, []
            messages = early or self.client.consume(_MESSAGES, _LOOK)
            if self._failure is not None:
                return
            self._take(messages)
            self._commit()
            if once and self._begun and all(held.at_end for held in self._ours.values()):
                return
            if once and not self._begun and time.monotonic() > limit:
                raise SourceError(
                    self._trouble.reason if self._trouble else "the group gives us no partitions"
                )

    def _take(self, messages: Iterable[Any]) -> None:
        """Append messages, partition by partition."""
        sorted_: dict[Name, list[Any]] = {}
        for message in messages:
            name = message.topic(), message.partition()
            if (error := message.error()) is None:
                sorted_.setdefault(name, []).append(message)
                if name in self._ours:
                    self._ours[name].at_end = False
            else:
                self._note(error, name)
        for name, some in sorted_.items():
            try:
                if self._in_line(name, some):
                    self._take_from(name, some)
            except _LeavingError:
                if self._stop.is_set():
                    raise
        if self._paused:
            self._paused = False
            self.client.resume(self.client.assignment())

    def _note(self, error: Any, name: Name) -> None:
        """Take what comes in a message's place: the end of a partition, or what is wrong with it."""
        if error.name() == "_PARTITION_EOF":
            if name in self._ours:
                self._ours[name].at_end = True
            return
        finding = explain(error.name(), error.str())
        self._trouble = finding
        say("WARNING", f"source {self.context.name}: {finding.reason}", f"{self.context.name} {error.name()}")

    def _take_from(self, name: Name, messages: Sequence[Any]) -> None:
        held = self._ours.get(name)
        if held is None:
            return  # given away meanwhile: another member reads them
        new: dict[bytes, Known] = {}  # by id
        upto = held.next
        for message in messages:
            offset = message.offset()
            if offset < upto:
                continue
            known = self._reader.known(message)
            if known is not None and known.event not in self._seen:
                new.setdefault(known.event, known)
            upto = offset + 1
        some, at = list(new.values()), 0
        for events, taken in self._reader.events(some):
            part = some[at : at + taken]
            at += taken
            self._append(name, held, events, part[-1].message.offset() + 1 if at < len(some) else upto)
            self._seen.add([known.event for known in part])
        held.next = upto

    def _append(self, name: Name, held: Partition, events: Sequence[bytes], upto: int) -> None:
        """Append events with the place behind them, in one step; then `upto` is the next offset."""
        if events:
            place = Place(upto, held.committed).encode()
            waiting = partial(self._waiting, name)
            self.context.appender.append(events, place, self._part(name), waiting=waiting)
        held.next = upto

    def _in_line(self, name: Name, messages: Sequence[Any]) -> bool:
        """Whether messages of a partition may be taken; if it has just become ours they may be old ones."""
        if name not in self._fresh:
            return True
        self._fresh.discard(name)
        held = self._ours.get(name)
        if held is None or held.next in {NONE, messages[0].offset()}:
            return True
        from confluent_kafka import TopicPartition

        self.client.seek(TopicPartition(*name, held.next))
        return False

    def _waiting(self, name: Name) -> None:
        """Stay in the group while the spool is full."""
        if not self._paused:
            self._paused = True
            self.client.pause(self.client.assignment())
        message = self.client.poll(_TURN)
        if message is not None:
            self._early.append(message)
        if self._stop.is_set() or self._failure is not None or name not in self._ours:
            raise _LeavingError

    def _part(self, name: Name) -> str:
        """Return the name under which a partition's place is kept."""
        return f"{self.config.group}/{name[0]}/{name[1]}"

    # ── committing ──

    def _commit(self) -> None:
        """Commit what is settled; take a mark of what has come since."""
        mark, now = self._mark, time.monotonic()
        if mark is not None and mark.settled():
            self._mark = None
            self._send(mark.offsets, wait=False)
        if self._mark is None and now >= self._next_commit:
            self._next_commit = now + self.config.commit_interval
            self._mark = self._new_mark(self._ours)

    def _new_mark(self, names: Iterable[Name]) -> _Mark | None:
        """Mark what has been appended of some partitions; None: nothing, or not now."""
        offsets = {name: held.next for name in names if (held := self._ours[name]).dirty}
        settled = self._settlement.mark() if offsets else None
        return None if settled is None else _Mark(offsets, settled)

    def _send(self, offsets: dict[Name, int], *, wait: bool) -> None:
        from confluent_kafka import KafkaException, TopicPartition

        ours = [TopicPartition(*name, offset) for name, offset in offsets.items() if name in self._ours]
        if not ours:
            return
        try:
            self.client.commit(offsets=ours, asynchronous=not wait)
        except KafkaException as error:
            self._committed(error.args[0], [])
            return
        if wait:
            self._committed(None, ours)

    def _committed(self, error: Any, partitions: Sequence[Any]) -> None:
        """Take the answer to a commit. What was not committed will be with the next one."""
        if error is not None:
            reason = explain(error.name(), error.str()).reason
            say(
                "WARNING",
                f"source {self.context.name}: not committed: {reason}",
                f"{self.context.name} commit",
            )
            return
        for place in partitions:
            held = self._ours.get((place.topic, place.partition))
            if held is not None and place.error is None:
                held.committed = max(held.committed, place.offset)

    # ── changes of hands ──

    def _guarded(self, call: Callable[[Any, Sequence[Any]], None], consumer: Any, partitions: Any) -> None:
        """Keep what a callback raises for `run`: librdkafka's caller cannot take it."""
        try:
            call(consumer, partitions)
        except Exception as error:  # noqa: BLE001 - raised again by `run`
            self._failure = self._failure or error

    def _assigned(self, consumer: Any, partitions: Sequence[Any]) -> None:
        """Begin with partitions, each where the group and the spool say."""
        if not self._reader.cluster:
            self._reader.cluster = consumer.cluster_id(_ANSWER) or ""
        places = self.context.appender.positions()
        for known in consumer.committed(list(partitions), timeout=_ANSWER) if partitions else ():
            name = known.topic, known.partition
            committed = known.offset if known.offset >= 0 else NONE
            place = Place.decode(places.get(self._part(name), b""))
            begin = resume_at(place, committed)
            self._ours[name] = Partition(begin, committed)
            self._fresh.add(name)
            for partition in partitions:
                if (partition.topic, partition.partition) == name and begin != NONE:
                    partition.offset = begin
        consumer.incremental_assign(list(partitions))
        self._begun = True
        if self._paused:
            consumer.pause(list(partitions))

    def _revoked(self, consumer: Any, partitions: Sequence[Any]) -> None:
        """Give partitions away, committed as far as they are settled within `handover`."""
        names = [n for p in partitions if (n := (p.topic, p.partition)) in self._ours]
        deadline = time.monotonic() + self.config.handover
        for mark in (self._mark, self._new_mark(names)):
            while mark is not None and not mark.settled() and time.monotonic() < deadline:
                time.sleep(_TURN)
            if mark is not None and mark.settled():
                self._send(mark.offsets, wait=True)
        self._mark = None
        self._lost(consumer, partitions)

    def _lost(self, consumer: Any, partitions: Sequence[Any]) -> None:
        """Forget partitions that others have already."""
        gone = {(partition.topic, partition.partition) for partition in partitions}
        for name in gone:
            self._ours.pop(name, None)
        self._early = [one for one in self._early if (one.topic(), one.partition()) not in gone]
        consumer.incremental_unassign(list(partitions))

    def _complain(self, error: Any) -> None:
        """Take an error that concerns the connection."""
        if error.name() == "_ALL_BROKERS_DOWN" and self._trouble is not None:
            return
        self._trouble = finding = explain(error.name(), error.str())
        say("WARNING", f"source {self.context.name}: {finding.reason}", f"{self.context.name} connection")


def _finding(error: Exception) -> Finding:
    """Return what a KafkaException means; anything else by its own words."""
    found: Any = error.args[0] if error.args else None
    if hasattr(found, "name"):
        return explain(found.name(), found.str())
    return Finding(str(error))
