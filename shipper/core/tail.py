"""Which file is this, and from where on is it new? Pure decisions about files that are written and rotated.

Rules:
- A file is known by device, inode and fingerprints: a hash of its first bytes, and one of those before the
  place that has been reached. The inode alone is not enough, for it is used again; the beginning alone is
  not, for files may begin alike.
- Renamed: the same inode with the same content goes on at its offset, under whatever name.
- Truncated (shorter than the offset), or another content: a new file, read from its start. What a
  truncation removed before it was read is lost at the file, not here, unless a copy holds it.
- A copy (copy-and-truncate, or compressed) goes on where its original was left. It has a name that rotation
  makes of the original's, and holds the same bytes before the same place.
- When in doubt a file is read again: a repeated line can be seen, a lost one cannot.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = [
    "FINGERPRINT_BYTES",
    "TAIL_BYTES",
    "Position",
    "decode",
    "decode_lenders",
    "encode",
    "fingerprint",
    "fits",
    "is_copy_name",
    "is_log_text",
    "is_unclear",
    "originals",
    "packed_as",
    "predecessors",
    "resume",
]

FINGERPRINT_BYTES: Final = 256
TAIL_BYTES: Final = 128
_VERSION: Final = 1
_BYTES: Final = "\0"  # no path holds it
_MAGIC: Final = {b"\x1f\x8b": "gz", b"\x28\xb5\x2f\xfd": "zst", b"\xfd7zXZ\x00": "xz"}
_BINARY: Final = (b"BZh", b"PK\x03\x04", b"PAR1", *_MAGIC)
_WIDE: Final = (b"\xff\xfe", b"\xfe\xff")  # a text in UTF-16 begins so, and is full of NUL
_ENDINGS: Final = (".gz", ".zst", ".zstd", ".xz")
_ROTATED: Final = re.compile(r"(?:[-._]\d[\dT:._-]*)+\Z")  # .1  -20261121  .2026-11-20_10
_SEPARATES: Final = frozenset("-._")
_NUMBERED: Final = re.compile(r"(.+)\.([1-9]\d{0,3})\Z", re.DOTALL)  # app.log.1
# app.log-20261121  app.log.2026-11-21_10  app-2026-11-21.log
_DATED: Final = re.compile(
    r"(.+?)[-._](?:19|20)\d\d[-._]?(?:0[1-9]|1[0-2])[-._]?(?:0[1-9]|[12]\d|3[01])(?!\d)"
    r"[\dT:._-]*?(\.[^.\d/][^./]*)?\Z",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Position:
    """How far a file has been read: `offset` bytes of the file that `device`, `inode` and beginning name.

    `length` is how many bytes the fingerprint covers: a short file has a short one, which grows with it. So
    does `tail_length` for `tail`, the hash of what stands before the offset. Of a compressed file the
    content counts, and `packed` is the file's size when it was read to its end (-1: it was not yet).
    `over`: the file has gone on with other content.
    """

    path: str
    device: int
    inode: int
    fingerprint: str
    length: int
    offset: int
    tail: str = ""
    tail_length: int = 0
    packed: int = 0
    over: bool = False

    def ended(self) -> Position:
        """Return it as that of a content which the file has no more."""
        return replace(self, over=True)


def fingerprint(head: bytes) -> str:
    """Return the hash of a file's first bytes (at most `FINGERPRINT_BYTES` of them count)."""
    return blake2b(head[:FINGERPRINT_BYTES], digest_size=12).hexdigest()


def is_log_text(head: bytes) -> bool:
    """Whether a file that begins with `head` is text, not something compressed or binary."""
    return head.startswith(_WIDE) or (b"\0" not in head and not head.startswith(_BINARY))


def is_unclear(head: bytes) -> bool:
    """Whether a file that begins with `head`, and goes no further yet, may still become a compressed one."""
    return any(magic.startswith(head) for magic in _MAGIC)


def packed_as(head: bytes) -> str:
    """Return how a file that begins with `head` is compressed (`gz`, `zst`, `xz`); `""`: it is not."""
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), "")


def fits(position: Position, size: int, read: Callable[[int, int], bytes]) -> bool:
    """Whether a content of `size` bytes is the one of `position`, as far as that goes.

    `read(at, n)` returns n bytes of it.
    """
    if position.offset > size or position.length > size:
        return False
    if fingerprint(read(0, position.length)) != position.fingerprint:
        return False
    length = position.tail_length
    return not length or fingerprint(read(position.offset - length, length)) == position.tail


def resume(
    known: Iterable[Position], device: int, inode: int, size: int, read: Callable[[int, int], bytes]
) -> Position | None:
    """Return the position to go on from in the file that is (`device`, `inode`) and `size` bytes long.

    A device number may change with a mount, so the inode and the content decide, and the device only between
    several that fit.
    """
    best: Position | None = None
    for position in known:
        if position.inode != inode or not fits(position, size, read):
            continue
        if best is None or (position.device == device, position.offset) >= (
            best.device == device,
            best.offset,
        ):
            best = position
    return best


def is_copy_name(path: str, original: str, *, packed: bool = False) -> bool:
    """Whether rotation makes such a name of the original's: `app.log` → `app.log.1`, `app-20261121.log`.

    What a compressed file was called before may be rotated already: `app.log.1` → `app.log.2.gz`.
    """
    new, old = PurePath(path), PurePath(original)
    if packed:
        name = new.name
        for ending in _ENDINGS:
            name = name.removesuffix(ending)
        return _ROTATED.sub("", name) == _ROTATED.sub("", old.name) or _extends(name, old)
    return new.parent == old.parent and new.name != old.name and _extends(new.name, old)


def originals(path: str) -> Iterator[str]:
    """Yield the paths of which rotation makes `path`, as `is_copy_name` says."""
    place, slash, name = path.rpartition("/")
    for at, letter in enumerate(name):
        if at and letter in _SEPARATES:
            yield f"{place}{slash}{name[:at]}"
            for dot in range(at + 1, len(name)):
                if name[dot] == ".":
                    yield f"{place}{slash}{name[:at]}{name[dot:]}"


def predecessors(paths: Iterable[str]) -> dict[str, str]:
    """Return of the files of a rotated series which one was before: those of the paths that are in one.

    Before `app.log` it is `app.log.1`, before that one `app.log.2`; or before `app.log` the newest of
    `app.log-20261121`, and before that one the next older.
    """
    here = set(paths)
    found: dict[str, str] = {}
    series: dict[str, list[str]] = {}
    for path in here:
        if numbered := _NUMBERED.match(path):
            number = int(numbered[2])
            newer = numbered[1] if number == 1 else f"{numbered[1]}.{number - 1}"
            if newer in here:
                found[newer] = path
        elif dated := _DATED.match(path):
            series.setdefault(dated[1] + (dated[2] or ""), []).append(path)
    for newest, older in series.items():
        chain = [*sorted(older), *({newest} & here)]
        found.update(zip(chain[1:], chain, strict=False))
    return found


def _extends(name: str, old: PurePath) -> bool:
    for stem, ending in ((old.name, ""), (old.stem, old.suffix)):
        if name.startswith(stem) and name.endswith(ending) and name[len(stem) : len(stem) + 1] in _SEPARATES:
            return True
    return False


def encode(source: str, positions: Iterable[Position], lenders: Iterable[tuple[str, Position]] = ()) -> bytes:
    """Return the positions of all files of `source` as the bytes that are stored with an append.

    `lenders` are the parts and positions of files in which the first of the appended records began.
    """
    content: dict[str, object] = {"v": _VERSION, "source": source, "files": [_row(p) for p in positions]}
    if began := {part: _row(position) for part, position in lenders}:
        content["began"] = began
    return orjson.dumps(content)


def _row(p: Position) -> list[object]:
    place = p.fingerprint, p.length, p.offset, p.tail, p.tail_length
    row: list[object] = [_path(p.path), p.device, p.inode, *place]
    return [*row, p.packed, p.over] if p.packed or p.over else row


def _path(path: str) -> str:
    """Return a path as JSON may hold it: a name that is no UTF-8 as its bytes, behind a mark."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return _BYTES + path.encode("utf-8", "surrogateescape").decode("latin-1")
    return path


def _position(path: str, *rest: Any) -> Position:
    if path.startswith(_BYTES):
        path = path[len(_BYTES) :].encode("latin-1").decode("utf-8", "surrogateescape")
    return Position(path, *rest)


def decode(stored: bytes) -> list[Position]:
    """Return the stored positions; none when there are none, or they cannot be read."""
    try:
        return [_position(*row) for row in _content(stored).get("files", [])]
    except (TypeError, AttributeError, UnicodeError):
        return []


def decode_lenders(stored: bytes) -> list[tuple[str, Position]]:
    """Return what was stored of the files in which a record began that ends in another."""
    try:
        return [(str(part), _position(*row)) for part, row in _content(stored).get("began", {}).items()]
    except (TypeError, AttributeError, UnicodeError):
        return []


def _content(stored: bytes) -> dict[str, Any]:
    try:
        content = orjson.loads(stored) if stored else None
    except orjson.JSONDecodeError:
        return {}
    return content if isinstance(content, dict) and content.get("v") == _VERSION else {}
