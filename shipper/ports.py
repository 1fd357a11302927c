"""The Protocols by which the shipper's parts know each other. Imports point at this module, never back."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

from ..handlers.record import EventBuilder
from ..handlers.schema import Schema
from .model import Account, Batch, Limits, Verdict

__all__ = [
    "Appender",
    "Cursor",
    "Outcome",
    "Relay",
    "SetsUp",
    "Settlement",
    "SetupStep",
    "Sink",
    "SinkContext",
    "SinkKind",
    "Source",
    "SourceContext",
    "SourceKind",
    "Ticks",
]

C = TypeVar("C")
C_contra = TypeVar("C_contra", contravariant=True)


class Sink(Protocol):
    """Where batches go. One worker thread calls it, never two at once; it keeps no queue of its own."""

    @property
    def limits(self) -> Limits:
        """What one batch may hold."""
        ...

    def send(self, batch: Batch) -> Verdict:
        """Deliver one batch; blocks, bounded by the sink's own time-outs.

        `Delivered` means durable at the other side. Raises nothing for what the server may do; an exception
        is a defect, and the worker takes it as `Retry`.
        """
        ...

    def check(self) -> Sequence[str]:
        """Try the connection and the credentials; one sentence for each thing that is wrong."""
        ...

    def close(self) -> None:
        """Release connections and files. Called once, by the worker, after its last `send`."""
        ...


@dataclass(frozen=True, slots=True)
class SetupStep:
    """One thing that a sink needs at its server: a template, a stream, a group, a topic.

    `what` names it ("index template logferry-logs-shop"). `action` is what was done, or with `dry_run` would
    be; `none`: it is there as it should be. `body` is what is sent, for the eye. `problem`: why it could not
    be done, in one sentence; nothing after it was tried.
    """

    what: str
    action: Literal["create", "change", "none"]
    body: Mapping[str, Any] | None = None
    problem: str = ""


@runtime_checkable
class SetsUp(Protocol):
    """What a sink offers beside `Sink` when its server must be prepared; `logferry setup` calls it."""

    def setup(self, *, dry_run: bool) -> Sequence[SetupStep]:
        """Make what is missing and change what differs; a second call changes nothing. Raises nothing.

        With `dry_run` the server is only asked, and a server that cannot be asked is no problem: then all
        steps are told as `create`.
        """
        ...


@runtime_checkable
class Ticks(Protocol):
    """What a sink offers beside `Sink` when it has something to do without events; its worker calls it."""

    def tick(self) -> None:
        """Do what is due. Called between batches, every few seconds; blocks no longer than `send`."""
        ...


@dataclass(frozen=True, slots=True)
class SinkContext:
    """What a sink may know of its surroundings."""

    name: str
    schema: Schema
    state_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class SinkKind(Generic[C]):
    """A sink type as the registry knows it: its configuration dataclass, and how to make one.

    `config` is a frozen, slotted dataclass whose fields are the YAML keys (types and `metadata` as
    `shipper/config/fields.py` says). `build` does no I/O: connections are made on the first `send`.
    `writes` returns the path that a sink must have for itself: two sinks with one path are a mistake of the
    configuration. `needs` names the modules that the sink cannot do without, `extra` the extra that brings
    them: where they are missing, the configuration says so before anything starts. `match` is the route of a
    sink that takes certain events only, or what returns it, unless its section says another.
    """

    type: str
    config: builtins.type[C]
    build: SinkFactory[C]
    writes: Callable[[C], Path] | None = None
    needs: tuple[str, ...] = ()
    extra: str = ""
    match: str | Callable[[C], str] = ""


class SinkFactory(Protocol[C_contra]):
    """Make a sink from its configuration."""

    def __call__(self, config: C_contra, context: SinkContext, /) -> Sink:
        """Return the sink; no I/O here."""
        ...


class Appender(Protocol):
    """The writing end of the spool as sources see it: they wait when it is full and are never evicted."""

    def append(
        self,
        lines: Sequence[bytes],
        position: bytes = b"",
        part: str = "",
        *,
        waiting: Callable[[], object] | None = None,
    ) -> int:
        """Append whole event lines in one frame with the source's `position`; return the first sequence.

        An empty line stands for one that the source's transforms left out; it is counted.

        Blocks while the spool is full (sources wait, they do not lose), calling `waiting` again and again in
        place of a short sleep; what that raises ends the wait. When it has returned, lines and
        position survive the process together. A source that reads many things keeps a position for each
        `part`; an empty one forgets the part. At most 60,000 bytes.
        """
        ...

    def last_position(self, source: str) -> bytes:
        """Return the newest position stored by `source` (`b""`: none)."""
        ...

    def positions(self) -> Mapping[str, bytes]:
        """Return the newest position of each part of this source."""
        ...


class Settlement(Protocol):
    """Tells a source when what it has appended needs it no more."""

    def mark(self) -> Callable[[], bool] | None:
        """Return a question that costs nothing, whether everything that waits now is settled at every sink.

        None: that cannot be told yet; ask for a mark later. Take one mark at a time: each one wakes the
        workers, also out of a back-off.
        """
        ...


class Relay(Protocol):
    """Whole spools of others, handed to the workers as they are: no second copy, no new ids."""

    @property
    def sinks(self) -> Sequence[str]:
        """The names of the sinks."""
        ...

    @property
    def guard(self) -> AbstractContextManager[Any]:
        """Held while cursors are touched."""
        ...

    def attach(self, sink: str, cursor: Cursor, *, growing: bool) -> None:
        """Deliver from this cursor too; `growing`: another process may write its spool still."""
        ...

    def serve(self, path: Path, service: str) -> None:
        """Count the spools of `service` under `path` in the accounts."""
        ...

    def tell(self, message: str, fields: Mapping[str, object], *, frees: bool = False) -> bool:
        """Put a notice into the log stream; False: not now. `frees`: it makes more room than it takes."""
        ...

    def at_end(self, close: Callable[[], None]) -> None:
        """Call `close` when the workers have ended."""
        ...


@dataclass(frozen=True, slots=True)
class SourceContext:
    """What a source may know of its surroundings."""

    name: str
    builder: EventBuilder
    appender: Appender
    state_dir: Path | None = None
    relay: Relay | None = None
    settlement: Settlement | None = None


class Source(Protocol):
    """Reads bytes from somewhere, makes events, appends them."""

    def run(self, *, once: bool) -> None:
        """Read until `stop()`; with `once` only to the present end. Raises what makes it unable to go on."""
        ...

    def stop(self) -> None:
        """Ask `run` to return soon; safe from any thread."""
        ...


class SourceFactory(Protocol[C_contra]):
    """Make a source from its configuration."""

    def __call__(self, config: C_contra, context: SourceContext, /) -> Source:
        """Return the source; no I/O here."""
        ...


@dataclass(frozen=True, slots=True)
class SourceKind(Generic[C]):
    """A source type as the registry knows it. `needs` and `extra` are as for `SinkKind`.

    `sole`: one process reads it at a time, for another would read the same (`shipper/sole_reader.py`).
    """

    type: str
    config: builtins.type[C]
    build: SourceFactory[C]
    needs: tuple[str, ...] = ()
    extra: str = ""
    sole: bool = False


@dataclass(slots=True)
class Outcome:
    """What became of the events between a cursor's old place and its new one, by count."""

    delivered: int = 0
    dead_lettered: int = 0
    filtered: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    retried: int = 0
    duplicates: int = 0


class Cursor(Protocol):
    """One sink's place in one spool. Used by one worker thread; the books are kept on disk with the place."""

    @property
    def spool(self) -> str:
        """The spool's id, 32 hex digits."""
        ...

    @property
    def drained(self) -> bool:
        """True when the spool's owner is gone and everything in it has been committed by this cursor."""
        ...

    def read(self, max_events: int, max_bytes: int, overhead: int = 0) -> Batch | None:
        """Return the next events after what was read before (one at least); None: nothing new.

        Never blocks. What cannot be read any more (evicted, expired, damaged) is passed over and enters the
        books as dropped, with the reason, at the next `commit`.
        """
        ...

    def violations(self) -> Mapping[int, str]:
        """Return, for events of the last `read` that broke the schema, sequence → reason."""
        ...

    def commit(self, upto: int, outcome: Outcome) -> None:
        """Move the place behind sequence `upto` and add `outcome` to the books, in one crash-safe step."""
        ...

    def rewind(self) -> None:
        """Read again from the committed place."""
        ...

    def account(self) -> Account:
        """Return the books of this sink for this spool, `pending` included."""
        ...

    def close(self) -> None:
        """Let go of files and maps."""
        ...
