r"""The spool: one append-only log of events per process, with one cursor per sink.

Places
    <path>/.lock                               held while a segment is made: the bound on disk is the path's
    <path>/<service>/ledger.json, ledger.lock  books of spools that are no more (`ledger.py`)
    <path>/<service>/salvage/                  copies of damaged bytes, bounded
    <path>/<service>/<spool id>/lock           JSON about the owner, who holds a `flock` on it
    <path>/<service>/<spool id>/00000001.seg   segments
    <path>/<service>/<spool id>/evicted.json   sequences that were given up on purpose, with the reason
    <path>/<service>/<spool id>/cursors/<sink> place and books (`books.py`)

A segment, version 1 (little endian)
    0   8   magic "LFSPOOL\\x1e"
    8   2   version
    10  2   flags; 1: segments that were only in memory came before
    12  4   number
    16  16  spool id
    32  8   lowest sequence it can hold; 0: made ahead, not in use
    40  8   created, nanoseconds since 1970
    48  8   size in bytes
    56  4   CRC-32 of the above
    64  16  note: sequence that comes next (8), reason (4: 1 full, 2 memory_full, 3 max_age, 4 memory_lost),
            CRC-32 started at the reason (4): what is missing between the last frame and that sequence was
            refused, or was only in memory when the owner ended
    96      frames (`shipper/core/framing.py`), then zeros; room for four more headers is kept at the end

Rules
- *Appended means it survives the process.* The log call copies the frame into a mapped page (`pwrite` where
  maps are not to be trusted, and in an agent). It survives the machine after the next `Spool.sync()`, which
  the delivering thread calls every `sync` seconds; `sync: always` does it within the append.
- *Sequences are the truth.* Every event offered gets one, accepted or refused, without gaps; frames stand
  in the order of their sequences. What a reader finds missing is lost, and it knows why: from the note in
  the segment, from `evicted.json`, or because it saw the damage.
- *A frame that is not sound* is unfinished while the owner may still write, and damaged afterwards. Reading
  goes on at the next sound frame; no length of an unsound one is believed. Nothing in a file makes a reader
  raise.
- *A segment is closed by a `SEAL` frame* and a spool by a `SHUTDOWN` frame: one without it was killed. That
  a file with a higher number exists proves nothing: it may have been made and not yet be in use.
- *The writer writes segments, the delivering process writes cursors* and deletes segments that all cursors
  passed. A full path: whoever needs room deletes what `share.py` says, owners and readers notice. What a
  reader holds open it may finish.
- *The newest segment begins with the newest position of every source* (`POSITIONS`), so deleting older ones
  forgets none; the ledger keeps those of spools that are gone.
- *Dead is whose lock can be taken.* A forked child closes its copy of the lock, so the lock is the
  process's own.

The modules: `writer`, `supply` (where segments come from), `share` (who makes room) and `parting` (what
becomes of memory at the end), `reader`, `blocks` and `cursor`, `books` (cursor files), `directory`, `ledger`,
`spoolset` (the delivering side), `death`, `scan`, `audit`.
"""

from __future__ import annotations

from .audit import AuditReport, SpoolInfo, Verified, audit, list_spools, repair, verify
from .death import DeathNotice
from .settings import SpoolSettings
from .spoolset import AdoptedSpool, SpoolSet
from .writer import SourceAppender, Spool, SpoolClosedError

__all__ = [
    "AdoptedSpool",
    "AuditReport",
    "DeathNotice",
    "SourceAppender",
    "Spool",
    "SpoolClosedError",
    "SpoolInfo",
    "SpoolSet",
    "SpoolSettings",
    "Verified",
    "audit",
    "list_spools",
    "repair",
    "verify",
]
