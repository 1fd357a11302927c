"""``tracestate`` of W3C Trace Context: what other tracing systems send along with ``traceparent``. Pure.

Rules
- Several headers are one list, in their order. Blanks around members and empty members don't matter.
- A key is a letter and up to 255 of ``a-z 0-9 _ - * /``, or ``tenant@system`` (241 and 14 characters); a
  value is up to 256 printable ASCII characters without comma and equals sign, and doesn't end with a blank.
- One invalid member, or more than 32, makes the list invalid, and an invalid list is not sent on.
- Of members with the same key the first, the newest, stays.
- A list of more than 512 characters is shortened as the standard says: members of more than 128 characters go
  first, from the end, then members from the end; never a part of one.
- We add no member of our own: `parent-id` in ``traceparent`` says all that we have to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

__all__ = ["MAX_LENGTH", "MAX_MEMBERS", "read_tracestate"]

MAX_MEMBERS: Final = 32
MAX_LENGTH: Final = 512
_LONG: Final = 128
# Nobody means more than this; a header of megabytes is not worth splitting.
_ABSURD: Final = 64 * 1024

_MEMBER: Final = re.compile(
    r"([a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
    r"=[ -+\--<>-~]{0,255}[!-+\--<>-~]",
    re.ASCII,
)


def read_tracestate(headers: Iterable[str]) -> str:
    """Return the list that is sent on, written as one header; `""` when there is none or it is invalid."""
    text = ",".join(headers)
    if len(text) > _ABSURD:
        return ""
    members: dict[str, str] = {}
    count = 0
    for part in text.split(","):
        member = part.strip(" \t")
        if not member:
            continue
        count += 1
        match = _MEMBER.fullmatch(member)
        if match is None or count > MAX_MEMBERS:
            return ""
        members.setdefault(match[1], member)
    kept = list(members.values())
    length = sum(map(len, kept)) + len(kept) - 1
    for bound in (_LONG, 0):
        for place in range(len(kept) - 1, -1, -1):
            if length <= MAX_LENGTH:
                return ",".join(kept)
            if len(kept[place]) > bound:
                length -= len(kept.pop(place)) + 1
    return ",".join(kept)
