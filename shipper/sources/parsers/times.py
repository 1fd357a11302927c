"""Times as programs write them → time stamps as events have them.

Lines that follow each other share their second: it is worked out once and remembered. A time without a zone
is in the zone that was given (by default the machine's); one without a year is in the last twelve months.
Nothing here raises: what is no time is None.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Final

__all__ = ["CLF", "ISO_TIME", "MONTHS", "Times", "zone_of"]

MONTHS: Final = {
    name: f"{number:02}"
    for number, name in enumerate(
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"], 1
    )
}
ISO_TIME: Final = (
    r"(\d{4}[-/]\d\d[-/]\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?"
    r"(?: ?(Z|[+-]\d\d(?::?\d\d)?|(?:UTC|GMT|[A-Z]{3,5})(?![A-Za-z])))?"
)
"""Day, clock, fraction and zone (with a name of a zone, as PostgreSQL writes it)."""
CLF: Final = r"(\d\d)/([A-Z][a-z][a-z])/(\d{4})[: ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?(?: ([+-]\d{4}))?"
"""Day, month, year, clock, fraction and zone, as in access logs."""

_MANY: Final = 1024
_LONGEST: Final = 64
_FIRST_YEAR, _LAST_YEAR = 1971, 2200
_OFFSET: Final = re.compile(r"([+-])(\d\d):?(\d\d)?\Z", re.ASCII)
_UTC: Final = frozenset({"Z", "UTC", "GMT", "z"})
_NUMBER: Final = re.compile(r"(\d{9,19})(?:\.(\d{1,9}))?\Z", re.ASCII)
_ISO: Final = re.compile(ISO_TIME + r"\Z", re.ASCII)
_CLF: Final = re.compile(CLF + r"\Z", re.ASCII)
_WORDS: Final = re.compile(
    r"(?:[A-Z][a-z][a-z],? )?([A-Z][a-z][a-z]) +(\d{1,2})(?:,? (\d{4}))? (\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?"
    r"(?: (\d{4}))?\Z",
    re.ASCII,
)
_DAY_FIRST: Final = re.compile(
    r"(?:[A-Z][a-z][a-z],? )?(\d{1,2})[ -]([A-Z][a-z][a-z])[ -](\d{4}) (\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?"
    r"(?: ?(Z|UTC|GMT|[+-]\d\d:?\d\d))?\Z",
    re.ASCII,
)

# By the number of digits, of which there may be nine.
_FRACTIONS: Final[list[Callable[[str], str]]] = [
    ("{}" + "0" * (6 - size) + "Z").format if size <= 6 else "{:.6}Z".format for size in range(10)
]


def zone_of(name: str) -> tzinfo | None:
    """Return a zone by name (`Europe/Berlin`, `UTC`, `+02:00`), None for `local`; else `ValueError`."""
    if name == "local":
        return None
    if name in _UTC:
        return UTC
    match = _OFFSET.match(name)
    if match is not None:
        return _offset(match)
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"no time zone {name!r}; write one such as Europe/Berlin, UTC or +02:00") from None


def _offset(match: re.Match[str]) -> tzinfo:
    sign = -1 if match[1] == "-" else 1
    return timezone(sign * timedelta(hours=int(match[2]), minutes=int(match[3] or 0)))


class Times:
    """Reads times. `zone` is that of times which name none (None: the machine's)."""

    __slots__ = ("_latest", "_now", "_seconds", "_zone")

    def __init__(self, zone: tzinfo | None = None, *, now: Callable[[], float] = time.time) -> None:
        self._zone = zone
        self._now = now
        self._latest = (0.0, 0, "")  # the hour, and the year and the day that are tomorrow
        self._seconds: dict[tuple[str, ...], str | None] = {}

    def iso(self, day: str, clock: str, fraction: str | None = None, zone: str | None = None) -> str | None:
        """Return the stamp of a day (`2026-11-21`, `2026/11/21`) and a clock."""
        key = (day, clock, zone or "")
        second = self._seconds.get(key, "")
        if second == "":
            second = self._remember(key, day.replace("/", "-"), clock, zone)
        return second and second + (_FRACTIONS[len(fraction)](fraction) if fraction else "000000Z")

    def match(self, found: re.Match[str], group: int = 1) -> str | None:
        """Return the stamp of what `ISO_TIME` found, whose groups begin at `group`."""
        return self.iso(found[group], found[group + 1], found[group + 2], found[group + 3])

    def clf(self, found: re.Match[str], group: int = 1) -> str | None:
        """Return the stamp of what `CLF` found, whose groups begin at `group`."""
        key = found.group(group, group + 1, group + 2, group + 3)
        zone = found[group + 5]
        at = (*key, zone or "")
        second = self._seconds.get(at, "")
        if second == "":
            day, month, year, clock = key
            second = self._remember(at, f"{year}-{MONTHS.get(month, '')}-{day}", clock, zone)
        fraction = found[group + 4]
        return second and second + (_FRACTIONS[len(fraction)](fraction) if fraction else "000000Z")

    def month(
        self, month: str, day: str, clock: str, fraction: str | None = None, year: str | None = None
    ) -> str | None:
        """Return the stamp of `Nov 21 20:17:42`, with a year or without."""
        number = MONTHS.get(month)
        if number is None:
            return None
        if year is not None:
            return self.iso(f"{year}-{number}-{int(day):02}", clock, fraction)
        return self.yearless(number, f"{int(day):02}", clock, fraction)

    def yearless(self, month: str, day: str, clock: str, fraction: str | None = None) -> str | None:
        """Return the stamp of a day without a year: the last such day that is not after tomorrow."""
        hour = self._now() // 3600
        if hour != self._latest[0]:
            try:
                latest = datetime.fromtimestamp(hour * 3600, UTC) + timedelta(days=1)
            except (OverflowError, ValueError, OSError):
                return None
            self._latest = hour, latest.year, f"{latest:%m-%d}"
        _, year, until = self._latest
        if until < f"{month}-{day}":
            year -= 1
        return self.iso(f"{year}-{month}-{day}", clock, fraction)

    def clock(self, clock: str, fraction: str | None = None) -> str | None:
        """Return the stamp of a clock without a day: the last such moment, an hour ahead at most."""
        try:
            latest = datetime.fromtimestamp(self._now() + 3600, self._zone)
            day = latest.date() - timedelta(days=f"{latest:%H:%M:%S}" < clock)
        except (OverflowError, ValueError, OSError):
            return None
        return self.iso(f"{day:%Y-%m-%d}", clock, fraction)

    def epoch(self, text: str) -> str | None:
        """Return the stamp of a number of seconds, milli-, micro- or nanoseconds, by its length."""
        match = _NUMBER.match(text)
        if match is None:
            return None
        whole, fraction = match[1], match[2] or ""
        cut = next(size for size in (10, 13, 16, 19) if len(whole) <= size) - 10
        seconds = int(whole[: len(whole) - cut])
        fraction = whole[len(whole) - cut :] + fraction
        try:
            moment = datetime.fromtimestamp(seconds, UTC)
        except (OverflowError, ValueError, OSError):
            return None
        if not _FIRST_YEAR <= moment.year < _LAST_YEAR:
            return None
        return f"{moment:%Y-%m-%dT%H:%M:%S}.{fraction[:6]:0<6}Z"

    def any(self, text: str) -> str | None:
        """Return the stamp of a text that is a time in one of the usual forms."""
        if len(text) > _LONGEST:
            return None
        found = _ISO.match(text)
        if found is not None:
            return self.match(found)
        found = _CLF.match(text)
        if found is not None:
            return self.clf(found)
        found = _WORDS.match(text)
        if found is not None:
            month, day, year, clock, fraction, behind = found.groups()
            return self.month(month, day, clock, fraction, year or behind)
        found = _DAY_FIRST.match(text)
        if found is not None:
            number = MONTHS.get(found[2], "")
            return self.iso(f"{found[3]}-{number}-{int(found[1]):02}", found[4], found[5], found[6])
        return self.epoch(text)

    def local(self, moment: datetime) -> float:
        """Return the seconds since 1970 of a moment without a zone."""
        return moment.replace(tzinfo=self._zone).timestamp()

    def _remember(self, key: tuple[str, ...], day: str, clock: str, zone: str | None) -> str | None:
        second = self._second(day, clock, zone)
        if len(self._seconds) >= _MANY:
            self._seconds.clear()
        self._seconds[key] = second
        return second

    def _second(self, day: str, clock: str, zone: str | None) -> str | None:
        """Return the beginning of the stamps of a second."""
        leap = clock.endswith(":60")
        try:
            moment = datetime.fromisoformat(f"{day}T{clock[:6]}59" if leap else f"{day}T{clock}")
            where = self._where(zone)
            if not _FIRST_YEAR <= moment.year < _LAST_YEAR:
                return None
            moment = (moment.astimezone() if where is None else moment.replace(tzinfo=where)).astimezone(UTC)
        except (ValueError, OverflowError, OSError):
            return None
        return f"{moment:%Y-%m-%dT%H:%M:%S}."

    def _where(self, zone: str | None) -> tzinfo | None:
        if not zone:
            return self._zone
        if zone in _UTC:
            return UTC
        match = _OFFSET.match(zone)
        # The name of a zone can mean several: the one that was configured is meant.
        return self._zone if match is None else _offset(match)
