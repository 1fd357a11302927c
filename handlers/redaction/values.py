"""What a found secret becomes, and the check sums that tell a card or an id from any other number.

`mask` writes `[REDACTED]`, and `[REDACTED 1111]` for cards and phones (their last four digits). `hash` writes
`[hash:<16 hex digits>]`, HMAC-SHA256 under the configured key: equal values still correlate. `drop` writes
nothing. What already is such a mark is left alone, so cleaning twice changes nothing.
"""

from __future__ import annotations

import hmac
import re
from typing import Final, Literal, TypeAlias, get_args

from .errors import RedactionError

__all__ = ["FAILED", "Marker", "Mode", "is_luhn", "is_mark", "is_resident_id"]

Mode: TypeAlias = Literal["mask", "hash", "drop"]

FAILED: Final = "[redaction failed]"
"""Stands where a defect of ours would otherwise have let a text through unexamined."""

_MARK: Final = re.compile(r"\[REDACTED(?: \d{4})?\]|\[hash:[0-9a-f]{16}\]|\[redaction failed\]", re.ASCII)
_NOT_DIGIT: Final = re.compile(r"[^0-9]")
_DOUBLED: Final = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
_ID_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def is_mark(text: str) -> bool:
    """Tell whether `text` is what a redaction left behind."""
    return _MARK.fullmatch(text) is not None


def is_luhn(digits: str) -> bool:
    """Tell whether ASCII `digits` carry a valid Luhn check digit."""
    total = sum(map(int, digits[-1::-2])) + sum(_DOUBLED[int(d)] for d in digits[-2::-2])
    return total % 10 == 0


def is_resident_id(text: str) -> bool:
    """Tell whether 18 characters are a Chinese resident id by their check character (ISO 7064, MOD 11-2)."""
    total = sum(int(d) * w for d, w in zip(text[:17], _ID_WEIGHTS, strict=True))
    return "10X98765432"[total % 11] == text[17].upper()


class Marker:
    """Makes the mark that stands in a secret's place. Raises RedactionError for a mode that cannot work."""

    __slots__ = ("_key", "mode")

    def __init__(self, mode: Mode, hash_key: bytes | None) -> None:
        if mode not in get_args(Mode):
            raise RedactionError(f"redact.mode: {mode!r}; one of {', '.join(get_args(Mode))}")
        if mode == "hash" and not hash_key:
            raise RedactionError(
                "redact.mode: hash needs a key; set redact.hash_key (a secret of 16 bytes or more)"
            )
        self.mode: Mode = mode
        self._key = hash_key or b""

    def mark(self, secret: str, *, keep_last_four: bool = False) -> str:
        """Return what stands for `secret`; `keep_last_four` digits under `mask`."""
        if self.mode == "mask":
            if keep_last_four:
                return f"[REDACTED {_NOT_DIGIT.sub('', secret)[-4:]}]"
            return "[REDACTED]"
        if self.mode == "drop":
            return ""
        digest = hmac.digest(self._key, secret.encode("utf-8", "surrogatepass"), "sha256")
        return f"[hash:{digest.hex()[:16]}]"
