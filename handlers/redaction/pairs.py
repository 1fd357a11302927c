"""Sensitive names with their values inside a text.

Found in `key=value`, `key: value`, JSON (also escaped), `repr`, query strings, form bodies, headers and XML.

Rules:

- Names and separators are found first; only a sensitive name's value is read, so that `note="password=x"` is
  seen. A value that was read is passed over as a whole: every text is gone through once.
- A quoted value ends at its own quote (a quote behind as many backslashes as the opening one), across lines;
  a value that never ends (the text was cut) is redacted to the end.
- Some names mean something else in programs that everybody has (`PWD=/home/bob`, `dsn=2.0.0`): `_OTHERWISE`.
- A bare value ends at white space, or at `&` `,` `;` or a closing bracket or quote when what follows is not
  more of it: too much is redacted rather than too little.
- A couple of quoted texts in brackets, `('cookie', 'a=b')`, is a pair as well (headers are often listed so),
  and so is a command's option, `--password x`.
- A YAML value on the lines below its name ends with its line, or with its block (`|`, `>`).
- `Authorization: <scheme> ...` and `Cookie: a=b; c=d` are redacted to the end of their line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from .keys import Keys
from .values import is_mark

__all__ = ["couples", "pairs"]

# Possessive, and begun only where a word begins: a megabyte of one letter is looked at once.
_NAME: Final = re.compile(
    r"(?<![\w.\-\[\]$])(?P<name>(?:[\w.\-\[\]$]|%5[BbDd])++(?: [\w.\-\]%]{1,64}+){0,2})"
    r"(?:\\{1,8}u00(?:2[0-9]|5[Cc])|&(?:quot|apos|#3[49]);|\x1b\[[0-9;]{0,16}m"
    r"""|[\\"'`\s]|%(?:25)?2[0-9]){0,8}"""
    r"(?P<sep>=>|:=|={1,3}|:|>|%(?:25)?3[ADad]|[\uff1a\uff1d]|\\{1,8}u003[ADad])"
    r"(?:[ \t]|\x1b\[[0-9;]{0,16}m){0,8}"
)
_COLOUR: Final = re.compile(r"\[[0-9;]{0,16}m")
_BELOW: Final = re.compile(r"(?:[|>][+-]?)?[ \t]{0,4}\r?\n(?P<indent>[ \t]{1,64})")
_COUPLE: Final = re.compile(
    r"""[(\[]\s{0,4}[bBrRuU]{0,2}(?P<opening>\\{0,31}["'])(?P<name>[\w.\-]{1,64}+)(?P=opening)\s{0,4},\s{0,4}"""
    r"""(?=[bBrRuU]{0,2}\\{0,31}["'])"""
)
_COUPLE_END: Final = re.compile(r"""\\{0,31}["']\s{0,4}[)\]]|\Z""")
_OPTION: Final = re.compile(
    r"""(?<![\w\-])--(?P<name>[A-Za-z0-9_\-]{1,64}+)[ ]{1,4}(?!-)"""
    r"""(?P<value>"[^"]*+"|'[^']*+'|\S++)"""
)
_ESCAPE: Final = re.compile(r"u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}|[nrtbfv]")
_OPEN: Final = re.compile(r"""(?:[bBrRuU]{1,2}(?=["']))?(?P<slashes>\\{0,31})(?P<quote>["'`])""")
_BRACKET: Final = re.compile(r"[\[\](){}]")
_BARE: Final = re.compile(
    r"""(?:[^\s&,;"'`)\]}<\\]|&(?!(?:amp;)?[\w.\-\[\]%]{1,64}=)|[,;](?!\s|$|["']|[\w.\-]{1,64}[=:])"""
    r"""|["'`)\]}](?![\s,;:)\]}"'&<]|$)|<(?!/)|\\(?![nrt"'\\]))++"""
)
_LINE: Final = re.compile(r"[^\r\n]*?(?=\\r\\n|[\r\n]|\Z)")
_REALM: Final = re.compile(
    r"(?i:bearer|basic|digest|negotiate|ntlm|token|api-?key|hmac|hawk|oauth|signature|aws4\S*)[ \t]"
)
_HARMLESS: Final = frozenset(
    {
        *("none", "null", "nil", "true", "false", "undefined", "str", "string", "bytes"),
        "chauthtok",  # `pam_unix(passwd:chauthtok)`
        # Architectures, as package managers write them: `libsecret-1-0:amd64`.
        *("amd64", "arm64", "armhf", "i386", "ppc64el", "riscv64", "s390x", "x86_64", "aarch64"),
    }
)
# What stands behind these names in the logs of sudo, mail servers, Hadoop and ZooKeeper.
_DIRECTORY: Final = re.compile(
    r"/(?:(?:app|data|etc|home|mnt|opt|private|root|run|srv|tmp|usr|Users|var|work|workspace)(?:/.*)?)?"
)
_OTHERWISE: Final = {
    "PWD": _DIRECTORY,
    "OLDPWD": _DIRECTORY,
    "dsn": re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}"),  # the status of a delivery
    "auth": re.compile(r"(?i:simple|kerberos|plain|login|ldap|anonymous)"),
    "sid": re.compile(r"[0-9]{1,3}"),
}
_CLOSERS: Final = {"[": "]", "(": ")", "{": "}"}


def pairs(text: str, keys: Keys) -> Iterator[tuple[int, int]]:
    """Yield where the values of sensitive names stand in `text`, in order, not overlapping."""
    position = 0
    while (match := _NAME.search(text, position)) is not None:
        position = match.end()
        before = text[match.start() - 1 : match.start()]
        if match["sep"] == ">" and before not in {"<", ":"} and not _is_arrow(match, text):
            continue
        name = _sensitive(match, text, keys)
        if name is None:
            continue
        start, end = _value(match, text, name)
        if end > start:
            if not is_mark(text[start:end]):
                yield start, end
            position = max(position, end)


def _is_arrow(match: re.Match[str], text: str) -> bool:
    return text[match.start("sep") - 1] == "-"


def couples(text: str, keys: Keys) -> Iterator[tuple[int, int]]:
    """Yield where the values of sensitive names stand in couples and command options."""
    for match in _COUPLE.finditer(text):
        opened = _OPEN.match(text, match.end()) if keys.is_sensitive(match["name"]) else None
        if opened is not None:
            start, end = _quoted(text, opened)
            if end > start and _COUPLE_END.match(text, end):
                yield start, end
    for match in _OPTION.finditer(text):
        if keys.is_sensitive(match["name"]):
            yield match.span("value")


def _sensitive(match: re.Match[str], text: str, keys: Keys) -> str | None:
    """Return the name when it is sensitive as it stands, without an escape's letter, or as its last word."""
    name = match["name"]
    start = match.start()
    forms = [name]
    if start and text[start - 1] == "\\" and (escape := _ESCAPE.match(name)):
        forms.append(name[escape.end() :])
    if start and text[start - 1] == "\x1b" and (colour := _COLOUR.match(name)):
        forms.append(name[colour.end() :])
    forms += [form.rsplit(" ", 1)[1] for form in forms if " " in form]
    return next((form for form in forms if form and keys.is_sensitive(form)), None)


def _value(  # noqa: PLR0911 (one return for each form a value can have)
    match: re.Match[str], text: str, name: str
) -> tuple[int, int]:
    """Return where the value behind a sensitive name stands."""
    start = match.end()
    if match["sep"] == ">" and not _is_arrow(match, text):
        end = text.find("<", start)
        return start, len(text) if end < 0 else end
    if opened := _OPEN.match(text, start):
        return _quoted(text, opened)
    if text[start : start + 1] in _CLOSERS:
        return start, _closing(text, start)
    if match["sep"] == ":" and (below := _BELOW.match(text, start)):
        return below.end(), _block_end(text, below)
    low = name.lower()
    if match["sep"] == ":" and _is_header(low, text, start):
        return start, _line_end(text, match.start(), start)
    if low.endswith("authorization") and (scheme := _REALM.match(text, start)):
        rest = _BARE.match(text, scheme.end())
        return start, rest.end() if rest else scheme.end()
    bare = _BARE.match(text, start)
    if bare is None or bare[0].lower().rstrip(".") in _HARMLESS:
        return start, start
    other = _OTHERWISE.get(name.rpartition(" ")[2])
    return start, start if other is not None and other.fullmatch(bare[0]) else bare.end()


def _quoted(text: str, opened: re.Match[str]) -> tuple[int, int]:
    slashes, quote = len(opened["slashes"]), opened["quote"]
    start = opened.end()
    if slashes:
        closing = re.compile(rf"(?<!\\)\\{{{slashes}}}{quote}").search(text, start)
        return start, closing.start() if closing else len(text)
    plain = re.compile(rf"(?:[^{quote}\\]|\\.)*+", re.DOTALL).match(text, start)
    return start, plain.end() if plain else len(text)


def _closing(text: str, start: int) -> int:
    depth = 0
    for bracket in _BRACKET.finditer(text, start):
        depth += 1 if bracket[0] in _CLOSERS else -1
        if depth == 0:
            return bracket.end()
    return len(text)


def _block_end(text: str, below: re.Match[str]) -> int:
    """Return where the lines end that are indented at least as the first below the name."""
    if text[below.start()] not in "|>":
        line = _LINE.match(text, below.end())
        return line.end() if line else len(text)
    block = re.compile(rf"[^\r\n]*(?:\r?\n{below['indent']}[^\r\n]*)*+").match(text, below.end())
    return block.end() if block else len(text)


def _is_header(name: str, text: str, start: int) -> bool:
    if name.endswith("authorization"):
        return _REALM.match(text, start) is not None
    return name.endswith("cookie") and "=" in text[start : start + 128]


def _line_end(text: str, name: int, start: int) -> int:
    line = _LINE.match(text, start)
    end = line.end() if line else len(text)
    before = text[name - 1 : name]
    if before and before in "\"'`":  # curl -H "Authorization: ...": the quote in front ends it
        closing = text.find(before, start, end)
        return end if closing < 0 else closing
    return end
