"""Which names are sensitive: case and spelling do not matter (`X-API-Key`, `apiKey`, `api_key`, `API KEY`).

Rules:

- A name is sensitive when it ends in a sensitive term (`db_password`, `userPassword`, `user[password]`,
  `password2`); what follows a term makes it harmless (`token_count`, `passwordless`, `tokens`).
- `ENDINGS` need a word's boundary before them, `SUFFIXES` do not (`dbpassword`); `EXACT` are words too common
  for either, and are sensitive only as the whole name (`session`, `pin`,
  `user[pin]`).
- A name that begins with a question (`has_password`, `is_secret`) is harmless: its value is an answer.
- `source` is an RE2 expression that hits whenever a text holds a sensitive name before `=`, `:` or `>`; it
  may hit more. Whatever is added to the name's grammar here or in `pairs.py` must be added to it too.
  `words` is the alternation of all terms in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from .errors import RedactionError

__all__ = ["ENDINGS", "EXACT", "SUFFIXES", "Keys"]

# A space is where spellings may differ: nothing, a dash, an underscore, a capital letter.
SUFFIXES: Final = (
    *("password", "passwords", "pass word", "passwd", "passphrase", "pass phrase", "pass code"),
    *("secret", "api key", "api keys", "access token", "refresh token", "auth token", "private key"),
    *("secret key", "client secret", "authorization", "credit card", "connection string"),
    *("密码", "口令", "密钥", "令牌"),
)
ENDINGS: Final = (
    *(
        "pwd",
        "pw",
        "pswd",
        "secrets",
        "token",
        "jwt",
        "cookie",
        "cookies",
        "set cookie",
        "credential",
        "credentials",
    ),
    *("session id", "sess id", "jsessionid", "phpsessid", "session key", "session token", "csrf", "xsrf"),
    *("private keys", "ssh key", "encryption key", "signing key", "master key", "access key", "account key"),
    *("shared access key", "shared key", "auth key", "hash key", "secret access key", "password hash"),
    *("credit card number", "card number", "card no", "cc number", "cvv", "cvv2", "cvc", "cvc2", "card pin"),
    *("pin code", "ssn", "social security number", "id card", "id number", "resident id", "otp", "otp code"),
    *("one time password", "verification code", "two factor code", "recovery code", "authorisation"),
    *("basic auth", "http auth", "bearer", "conn str", "webhook url", "x api key", "proxy authorization"),
)
EXACT: Final = ("auth", "session", "pin", "dsn", "pass", "authentication", "sid", "connect.sid", "pan")
QUESTIONS: Final = r"(?:is|has|have|needs|requires|uses|use|no)[^a-z0-9]"

_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_ESCAPED: Final = re.compile(r"%[0-9a-f]{2}")
_TAIL: Final = re.compile(r"[^a-z]{0,4}\Z")
_SPLIT: Final = re.compile(r"[\s_\-]+")
_LONGEST: Final = 96  # of a longer name, the end decides
_GAP: Final = "[^a-z0-9]{0,2}"


def _term(spelling: str) -> str:
    return _GAP.join(re.escape(word) for word in _SPLIT.split(spelling) if word)


def _spelling(key: str) -> str:
    """Return a user's key as a term: `loyaltyNumber`, `Loyalty-Number` → `loyalty number`."""
    return " ".join(word for word in _SPLIT.split(_CAMEL.sub(" ", key.strip()).lower()) if word)


def _any(terms: Iterable[str]) -> str:
    return "|".join(sorted({_term(term) for term in terms}, key=lambda t: (-len(t), t)))


class Keys:
    """The sensitive names: the built-in ones and `extra` ones, which count as `ENDINGS`.

    Raises RedactionError for an extra key without a letter or digit.
    """

    __slots__ = ("_exact", "_sensitive", "is_sensitive", "source", "words")

    def __init__(self, extra: Iterable[str] = ()) -> None:
        added = []
        for key in extra:
            if not any(c.isalnum() for c in key):
                raise RedactionError(
                    f"redact.keys: {key!r} is no name; write the key as it stands in your data"
                )
            added.append(_spelling(key))
        endings = (*ENDINGS, *added)
        tail = r"(?:[^a-z]{0,4})\Z"
        own = f"|(?:{_any(added)})\\Z" if added else ""
        self._sensitive = re.compile(f"(?:{_any(SUFFIXES)}){tail}|(?:^|[^a-z])(?:{_any(endings)}){tail}{own}")
        self._exact = re.compile(rf"(?:.*[\[ ])?[^a-z]{{0,2}}(?:{_any(EXACT)}){tail}")
        self.is_sensitive = lru_cache(maxsize=4096)(self._decide)
        # Without case, RE2 takes a long s for an s, a Kelvin sign for a k: what is no letter keeps its case.
        gap = "(?:%[0-9a-f]{2}|(?-i:[^A-Za-z0-9])){0,2}"
        self.words = words = _any((*SUFFIXES, *endings, *EXACT)).replace(_GAP, gap)
        couple = r"(?-i:[^A-Za-z]){0,4}\\*[\"']\s{0,4},"
        option = f"--[a-z0-9_-]*(?:{words})(?-i:[^A-Za-z]){{0,4}} "
        # Up to 4 characters of a name's tail and 8 of the gap before the separator, and some to spare.
        gaps = (
            r"%[0-9a-f]{2}|\\u[0-9a-f]{4}|&(?:quot|apos|#3[49]);|\x1b\[[0-9;]*m"
            r"|(?-i:[^A-Za-z=:>\x{ff1a}\x{ff1d}])"
        )
        pair = rf"(?:{gaps}){{0,14}}(?:[=:>\x{{ff1a}}\x{{ff1d}}]|%(?:25)?3[ad]|\\u003[ad])"
        self.source = f"(?i:(?:{words})(?:{pair}|{couple})|{option})"

    def _decide(self, name: str) -> bool:
        name = name[-_LONGEST:]
        plain = _ESCAPED.sub(" ", name.lower())
        parted = _ESCAPED.sub(" ", _CAMEL.sub("_", name).lower())
        if re.match(QUESTIONS, parted):
            return False
        return any(
            self._sensitive.search(form) is not None or self._exact.fullmatch(form) is not None
            for form in (plain, parted)
        )
