"""Secrets that have a shape of their own, wherever they stand in a text.

Each rule has a `find` expression (Python's `re`, linear: what it has begun to match it consumes, and a
`check` decides afterwards) and a `detect` expression (RE2, without anchors or look-around) that
hits whenever `find` does. A new rule needs both; the property tests compare them.

A `detect` expression should give the automaton little to count: one begun at any digit of a number makes
states by the thousand. `_BEGINS` and `_ENDS` stand for the edges of a token: the detector sees each text
between two NULs.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as BadBase64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from .values import is_luhn, is_resident_id

__all__ = ["EMAIL", "RULES", "Rule"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of secret. `find`'s group `s`, when it has one, is the secret; otherwise all of the match."""

    kind: str
    find: re.Pattern[str]
    detect: str
    check: Callable[[str], bool] | None = None
    keep_last_four: bool = False

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield where secrets of this kind stand in `text`."""
        named = "s" in self.find.groupindex
        for match in self.find.finditer(text):
            group = "s" if named and match["s"] is not None else 0
            if self.check is None or self.check(match[group]):
                yield match.span(group)


# Where a token may begin: not inside a word, except behind an escape (`\n`, `\u0022`, `%3D`) whose last
# character only looks like one.
_START: Final = (
    r"(?:(?<![A-Za-z0-9])|(?<=\\[nrtbfv])|(?<=\\u[0-9A-Fa-f]{4})|(?<=\\x[0-9A-Fa-f]{2})|(?<=%[0-9A-Fa-f]{2}))"
)
_ESCAPES: Final = r"\\[nrtbfv]|\\u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2}|%[0-9A-Fa-f]{2}"
_BEGINS: Final = rf"(?:[^A-Za-z0-9]|{_ESCAPES})"
_BEGINS_NO_FRACTION: Final = rf"(?:[^A-Za-z0-9.]|[^0-9]\.|{_ESCAPES})"
_ENDS: Final = "[^A-Za-z0-9]"
_T: Final = "[A-Za-z0-9_-]"
_END: Final = r"(?![A-Za-z0-9])"


def _has_digit(token: str) -> bool:
    return any(c.isdigit() for c in token)


def _bearer(token: str) -> bool:
    """Tell a token from a word of prose: `bearer authentication`, `Bearer Scheme`."""
    return _has_digit(token) or len(token) >= 30 or token[1:].lower() != token[1:] != token[1:].upper()


def _basic(token: str) -> bool:
    """Tell whether it is base64 of `user:password`."""
    try:
        return b":" in b64decode(token + "=" * (-len(token) % 4), validate=True)
    except (BadBase64, ValueError):
        return False


def _digits(text: str) -> str:
    return "".join(c for c in text if c.isdigit())


def _card(text: str) -> bool:
    """Check issuer range, length and Luhn."""
    digits = _digits(text)
    n, two, four = len(digits), int(digits[:2]), int(digits[:4])
    known = (
        (two // 10 == 4 and n in {13, 16, 19})
        or ((51 <= two <= 55 or 2221 <= four <= 2720) and n == 16)
        or (two in {34, 37} and n == 15)
        or ((two in {36, 38, 39} or 3000 <= four <= 3059) and 14 <= n <= 19)
        or (3528 <= four <= 3589 and n >= 16)
        or (
            (two in {62, 64, 65} or four in {6011, 5018, 5020, 5038, 5893, 6304, 6759, 6761, 6762, 6763})
            and n >= 16
        )
    )
    return known and is_luhn(digits) and len(set(digits)) > 1


def _token(kind: str, body: str, detect: str, check: Callable[[str], bool] | None = None) -> Rule:
    return Rule(kind, re.compile(_START + f"(?:{body})"), f"{_BEGINS}(?:{detect})", check)


_PASSWORDS: Final = "pass ?words?|pass ?wd|pwd|pass ?phrase|pass ?code"
_CODES: Final = (
    "pin(?: code| number)?|(?:client |shared )?secret(?: key)?|(?:[a-z]{1,12} )?token|api[ _-]?key|otp"
    "|(?:private|access|encryption|signing) key|(?:verification|security|one.time|access|recovery|login) code"
    "|cvv2?|cvc"
)
_SAYS: Final = (
    "(?:(?:is|was|are|were)(?: now)?(?: (?:re)?set to| changed to)?|(?:re)?set to|changed to|equals)"
)
_CHANGES: Final = (
    "(?:(?:re)?set(?:ting)?|chang(?:ed?|ing)|updat(?:ed?|ing)) (?:the |your |his |her |their |user )?"
)
# What a password may be said to be without being told.
_PROSE: Final = frozenset(
    """
    a about above absent again all already also always an and any as at bad being below blank both but by
    case common compromised correct default different due easy either empty equal exactly false fine for
    from gone good greater guessable here hidden in incorrect insecure it its just kept known later less
    long longer lost mandatory missing more most my never no none not now null of off ok okay old older on
    one only optional or our out over plain present public put read readable ready reset right safe same
    secret secure sent set short shorter simple so sometimes somewhere stale still strong stronger such text
    that the their there this to too trivial true unchanged undefined under unique unknown unsafe unset
    unsupported up used useless valid very via wanted weak weaker what where which with within without wrong
    yet your
    """.split()  # noqa: SIM905 (a list of words is read as words)
)
_ADJECTIVE: Final = re.compile("[A-Za-z-]+(?:ed|ing|able|ible|ly|ive|ory|ent|ary|less)")
_LEFT_BEHIND: Final = ("[REDACTED", "[hash:", "[redaction")


def _said(word: str) -> bool:
    """Tell a password from a word of prose: `password is required`, `the password is not ...`."""
    bare = word.strip("*")  # `***` is a mask of somebody else's
    if not bare or word.startswith(_LEFT_BEHIND):
        return False
    return bare.lower() not in _PROSE and _ADJECTIVE.fullmatch(bare) is None


def _told(word: str) -> bool:
    """Tell a code or token from a word of prose: it holds a digit or is mixed from letters and signs."""
    return _said(word) and (_has_digit(word) or (len(word) >= 8 and not word.replace("-", "").isalpha()))


def _prose(before: str, check: Callable[[str], bool]) -> Rule:
    """Make the rule for what stands as one word, or in quotes, behind `before`."""
    value = r"(?>(?P<s>[^\s\"'`]{0,255}[^\s\"'`.,;:!?)\]}]))"
    units = (
        r"(?!\s(?:char|letter|digit|by|bit|day|hour|minute|second|ms|time|year|month|week|of|more|less|or))"
    )
    find = rf"{_START}(?i:{before})[\"'`]?{value}{units}"
    return Rule("prose", re.compile(find), f"(?i:{before.replace('{1,64}', '+')})", check)


_FOR: Final = r"(?: (?:for|of) [^\s]{1,64})?"
_SPACE: Final = r"[ \t]{1,3}"

RULES: Final = (
    _prose(rf"(?:{_PASSWORDS}){_FOR}{_SPACE}{_SAYS}:?{_SPACE}", _said),
    _prose(rf"(?:{_CODES}){_FOR}{_SPACE}{_SAYS}:?{_SPACE}", _told),
    _prose(rf"{_CHANGES}(?:{_PASSWORDS}){_FOR}{_SPACE}to{_SPACE}", _said),
    _prose(rf"{_CHANGES}(?:{_CODES}){_FOR}{_SPACE}to{_SPACE}", _told),
    Rule(  # ALTER USER bob WITH PASSWORD 'x'; IDENTIFIED BY 'x'
        "prose",
        re.compile(
            _START + r"(?i:password|passwd|identified(?: with \w{1,32})? by)[ \t]{1,4}(?P<q>[\"'])"
            r"(?P<s>[^\"'\r\n]{1,256})(?P=q)"
        ),
        r"(?i:password|passwd|identified(?: with \w+)? by)[ \t]{1,4}[\"']",
    ),
    Rule(
        "private_key",
        re.compile(
            r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?s:.*?)"
            r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)"
        ),
        "-----BEGIN [A-Z0-9 ]*PRIVATE KEY",
    ),
    Rule(
        "url_password",
        re.compile(
            r"""://[^\s/:@"'<>\[]{0,256}:(?P<s>[^\s/?#"'<>]{1,256}(?=@)|(?!\d{1,5}[/?#,])[^\s"'<>@]{1,128}(?=@))"""
        ),
        r"""://[^\s/:@"'<>\[]*:[^\s"'<>]+@""",
    ),
    Rule(
        "bearer",
        re.compile(_START + r"(?i:bearer)(?:\s|%20|\+|\\t){1,4}(?P<s>[A-Za-z0-9+/_.~=-]{8,}+)"),
        r"(?i:bearer)(?:\s|%20|\+|\\t){1,4}[A-Za-z0-9+/_.~=-]{8}",
        _bearer,
    ),
    Rule(
        "basic",
        re.compile(_START + r"(?i:basic)(?:\s|%20|\+|\\t){1,4}(?P<s>[A-Za-z0-9+/]{6,}+={0,2})"),
        r"(?i:basic)(?:\s|%20|\+|\\t){1,4}[A-Za-z0-9+/]{6}",
        _basic,
    ),
    _token("jwt", rf"eyJ{_T}{{8,}}+(?:\.{_T}*+){{0,4}}", "eyJ[A-Za-z0-9_-]{8}", lambda t: "." in t),
    _token("aws", r"A(?:KI|SI|BI|CC)A[A-Z0-9]{16}" + _END, "A(?:KI|SI|BI|CC)A[A-Z0-9]{16}"),
    _token(
        "github",
        "gh[pousr]_[A-Za-z0-9]{20,}+|github_pat_[A-Za-z0-9_]{20,}+",
        "gh[pousr]_[A-Za-z0-9]{20}|github_pat_",
    ),
    _token(
        "gitlab",
        rf"gl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|oas|soat)-{_T}{{20,}}+",
        "gl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|oas|soat)-[A-Za-z0-9_-]{20}",
    ),
    _token(
        "slack",
        r"xox[a-z](?:\.xox[a-z])?-[A-Za-z0-9-]{10,}+|xapp-[A-Za-z0-9-]{10,}+"
        r"|hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/_-]{10,}+",
        r"xox[a-z](?:\.xox[a-z])?-[A-Za-z0-9-]{10}|xapp-[A-Za-z0-9-]{10}"
        r"|hooks\.slack\.com/(?:services|workflows|triggers)/",
    ),
    _token(
        "stripe",
        "[rsp]k_(?:live|test)_[A-Za-z0-9]{10,}+|whsec_[A-Za-z0-9+/]{16,}+",
        "[rsp]k_(?:live|test)_|whsec_",
    ),
    _token(
        "google",
        rf"AIza{_T}{{30,}}+|ya29\.{_T}{{20,}}+|GOCSPX-{_T}{{20,}}+|1//0{_T}{{30,}}+",
        r"AIza[A-Za-z0-9_-]{30}|ya29\.[A-Za-z0-9_-]{20}|GOCSPX-|1//0[A-Za-z0-9_-]{30}",
    ),
    # OpenAI, Anthropic and those who follow them; a digit tells a key from `sk-loading-indicator-wrapper`.
    _token("llm_key", rf"sk-{_T}{{20,}}+", "sk-[A-Za-z0-9_-]{20}", _has_digit),
    _token(
        "registry_token",
        rf"npm_[A-Za-z0-9]{{30,}}+|pypi-{_T}{{30,}}+|dckr_pat_{_T}{{20,}}+|hf_[A-Za-z0-9]{{30,}}+",
        "npm_[A-Za-z0-9]{30}|pypi-[A-Za-z0-9_-]{30}|dckr_pat_|hf_[A-Za-z0-9]{30}",
    ),
    _token("sendgrid", rf"SG\.{_T}{{16,}}+\.{_T}{{16,}}+", r"SG\.[A-Za-z0-9_-]{16}"),
    _token("twilio", "SK[0-9a-f]{32}" + _END, "SK[0-9a-f]{32}"),
    _token(
        "vendor_token",
        rf"dop_v1_[0-9a-f]{{40,}}+|shp(?:at|ca|pa|ss)_[0-9a-fA-F]{{32,}}+|[0-9]{{8,10}}:AA{_T}{{30,}}+"
        rf"|hvs\.{_T}{{20,}}+|AGE-SECRET-KEY-1[A-Z0-9]{{40,}}+|ATATT3{_T}{{30,}}+|lin_api_[A-Za-z0-9]{{30,}}+",
        "dop_v1_|shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}|[0-9]{8,10}:AA[A-Za-z0-9_-]{30}"
        r"|hvs\.[A-Za-z0-9_-]{20}|AGE-SECRET-KEY-1|ATATT3|lin_api_",
    ),
    Rule(
        "azure",
        re.compile(
            r"(?i:(?<![a-z])sig(?:=|%3D))(?P<s>[A-Za-z0-9%/+=]{30,}+)|[A-Za-z0-9_~.]{3}8Q~[A-Za-z0-9_~.-]{30,}+"
        ),
        r"(?i:sig(?:=|%3D))[A-Za-z0-9%/+=]{30}|8Q~[A-Za-z0-9_~.-]{30}",
    ),
    Rule(
        "card",
        re.compile(
            # Of 17 digits and more there are many more ids than cards: `blk_4568377692254637284`, `-58...`.
            _START + r"(?<![0-9]\.)(?:[2-6][0-9]{13,15}|(?<![_-])[2-6][0-9]{16,18}|4[0-9]{12}"
            r"|(?<![0-9A-Fa-f]-)[2-6][0-9]{3}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{1,7}(?:\1[0-9]{1,3})?"
            r"|(?<![0-9A-Fa-f]-)3[0-9]{3}([ -])[0-9]{6}\2[0-9]{4,5})(?![0-9A-Za-z])(?![.-][0-9])"
        ),
        rf"{_BEGINS_NO_FRACTION}(?:(?:[2-6][0-9]{{13,18}}|4[0-9]{{12}}){_ENDS}"
        r"|[2-6][0-9]{3}(?:[ -][0-9]{4}){2}[ -][0-9]|3[0-9]{3}[ -][0-9]{6}[ -][0-9]{4})",
        _card,
        keep_last_four=True,
    ),
    Rule(
        "resident_id",
        re.compile(
            _START
            + r"[1-9][0-9]{5}(?:18|19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[0-9]{3}[0-9Xx]"
            + _END
        ),
        f"{_BEGINS}[1-9][0-9]{{5}}(?:18|19|20)[0-9]{{2}}[01][0-9][0-3][0-9]{{4}}[0-9Xx]{_ENDS}",
        is_resident_id,
    ),
    Rule(
        "phone",
        re.compile(
            rf"(?:{_START}\+|(?i:%2B))[1-9](?:[ .()-]{{0,2}}[0-9]){{7,14}}(?![0-9])"
            rf"|{_START}(?<![0-9][.-])(?:0?086[ -]?|86[ -]?)?"
            r"1(?:3[0-9]|4[5-9]|5[0-35-9]|6[2567]|7[0-8]|8[0-9]|9[0-35-9])"
            r"([ -]?)[0-9]{4}\1[0-9]{4}(?![0-9A-Za-z])(?![.-][0-9])"
        ),
        r"(?:\+|%2[Bb])[1-9](?:[ .()-]{0,2}[0-9]){7}"
        rf"|{_BEGINS}(?:0?086[ -]?|86[ -]?)?1[3-9][0-9](?:[0-9]{{8}}|[ -][0-9]{{4}}[ -][0-9]{{4}}){_ENDS}",
        keep_last_four=True,
    ),
)

EMAIL: Final = Rule(
    "email",
    re.compile(
        r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}+@[A-Za-z0-9-]{1,63}+(?:\.[A-Za-z0-9-]{1,63}+){1,8}"
    ),
    r"[A-Za-z0-9._%+-]@[A-Za-z0-9-]+\.[A-Za-z0-9-]",
)
