"""What the redactor promises beside finding secrets: modes, settings, linear time, one decision."""

from __future__ import annotations

import copy
import functools
import os
import random
import re
import string
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from effort import effort
from hypothesis import given, settings
from hypothesis import strategies as st

from logferry.handlers.redaction import RedactionError, Redactor
from logferry.handlers.redaction import detector as detecting
from logferry.handlers.redaction import redactor as redacting
from logferry.handlers.redaction.keys import Keys
from logferry.handlers.redaction.named import labelled, named
from logferry.handlers.redaction.named import source as named_source
from logferry.handlers.redaction.pairs import couples, pairs
from logferry.handlers.redaction.patterns import EMAIL, RULES
from logferry.handlers.redaction.values import is_luhn, is_resident_id

CARD = "4111" + "1111" * 3
USERS = {"employee": r"E-\d{6}", "ticket": r"^T\d+$", "word": r"\bfoo\d\b"}


KEYS = Keys(["Loyalty-Number"])


def slow_clean(event: dict[str, Any], extras: tuple[str, ...]) -> dict[str, Any]:
    """Clean an event with no detector, no shapes and no memory: the reference."""
    reference = Redactor(patterns=USERS, emails=True)
    reference._may_hold = lambda _texts: True
    looked_at = {
        "message",
        "path",
        "endpoint",
        "user_agent",
        "client_ip",
        "error",
        "error_pattern",
        "extra",
        *extras,
    }
    beside = labelled({name: event[name] for name in extras}, KEYS)
    cleaned: dict[str, Any] = {}
    for name, value in event.items():
        reference._known = {""}
        shown = reference._slow(name) if name in extras else name
        if name in extras and (reference.is_sensitive_key(name) or name in beside):
            reference._put(cleaned, shown, value)
        else:
            cleaned[shown] = reference._value(value, 0) if name in looked_at else value
    return cleaned


# Pieces from which secrets, and things very like them, come about by chance.
PIECES = st.sampled_from(
    (
        *("%20", "%", "api%5B"),
        *(
            "is ",
            " is ",
            "name",
            "value",
            "field",
            "form-data; ",
            '="',
            "\r\n\r\n",
            "\\r\\n",
            "\n--",
            "<a ",
            "/>",
        ),
        *(
            "&quot;",
            "\\u0022",
            "\x1b[0m",
            "->",
            "\uff1a",
            "|",
            "  ",
            "set ",
            " to ",
            "密码",
            "secret",
            "by '",
        ),
        *("('cookie', '", "')", '["token",', "--", "--secret "),
        *(
            "password",
            "Pass",
            "word",
            "token",
            "tokens",
            "api",
            "_",
            "-",
            " ",
            "key",
            "Key",
            "KEY",
            "session",
            "pin",
        ),
        *(
            "=",
            ":",
            "=>",
            '"',
            "'",
            '\\"',
            "\\\\",
            "\\n",
            "\n",
            "&",
            ";",
            ",",
            "[",
            "]",
            "{",
            "}",
            "(",
            ">",
            "<",
            "%5B",
        ),
        *(
            "%5D",
            "%3D",
            "%22",
            "\0",
            "\r\n",
            "\t",
            "é",
            "卡",
            "K",
            "\u017f",
            "\ud800",
            "Bearer ",
            "Basic ",
            "bearer",
        ),
        *(
            "ey" + "JhbGciOiJI",
            ".",
            "://",
            "u:p@",
            "@",
            "h.example",
            "AKI" + "A",
            "ABCDEFGH23456789",
            "sk" + "-",
        ),
        *(
            "gh" + "p_",
            "abcdefghij0123456789",
            "4111",
            "1111",
            "-----BEGIN ",
            "PRIVATE KEY",
            "-----",
            "+",
            "138",
            "0013",
        ),
        *(
            "8000",
            "86",
            "110105",
            "19491231",
            "002X",
            "E-",
            "123456",
            "T42",
            "foo1",
            "Cookie",
            "Authorization",
            "sig",
        ),
    )
)
TEXTS = st.one_of(st.lists(PIECES, max_size=12).map("".join), st.text(max_size=40))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), TEXTS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)
EXTRAS = st.dictionaries(
    st.sampled_from(("a", "b", "password", "x y", "token_count", "apiKey", "field", "value", "pin=12")),
    VALUES,
    max_size=5,
)
BUILT_IN = st.dictionaries(
    st.sampled_from(("path", "user_agent", "request_id", "error", "extra")), VALUES, max_size=2
)
SHARED = Redactor(patterns=USERS, emails=True)


@settings(max_examples=effort(75), deadline=None)
@given(message=TEXTS, extras=EXTRAS, built_in=BUILT_IN)
def test_fast_and_slow_decide_alike(message: str, extras: dict[str, Any], built_in: dict[str, Any]) -> None:
    """With shapes, memory and detector the result is the same as without; nothing given changes."""
    event = {"timestamp": "2026", "message": message, **built_in, **extras}
    before = copy.deepcopy(event)
    expected = slow_clean(event, tuple(extras))
    for _ in range(2):
        cleaned = SHARED.clean(event, tuple(extras))
        assert cleaned == expected
        assert (cleaned is event) or cleaned != event or expected == event
    assert event == before
    assert SHARED.counts.get("failed", 0) == 0


@functools.cache
def alone(*sources: str, pattern: str = "") -> Callable[[list[str]], bool]:
    """Return the detector of one source or pattern."""
    return detecting.detector(sources, (pattern,) if pattern else ())


BY_NAME = f"(?i:{named_source(KEYS.words)})"


@settings(max_examples=effort(400), deadline=None)
@given(before=TEXTS, text=TEXTS, after=TEXTS)
def test_the_detector_hits_whenever_a_finder_does(before: str, text: str, after: str) -> None:
    """What a finder finds in a text, its own detector finds wherever that text is joined to others."""
    text = text.encode("utf-8", "replace").decode()
    joined = [before, text, after]
    if any(True for find in (pairs, couples) for _ in find(text, KEYS)):
        assert alone(KEYS.source)(joined)
    if any(True for _ in named(text, KEYS)):
        assert alone(KEYS.source, BY_NAME)(joined)
    for rule in (*RULES, EMAIL):
        if any(True for _ in rule.spans(text)):
            assert alone(rule.detect)(joined), rule.kind
    for name, pattern in USERS.items():
        if any(True for _ in detecting.user_finder(name, pattern, allow_backtracking=False)(text)):
            assert alone("x{9}", pattern=pattern)(joined), name


DETECTS = (KEYS.source, BY_NAME, *(rule.detect for rule in (*RULES, EMAIL)))


@settings(max_examples=effort(400), deadline=None)
@given(texts=st.lists(TEXTS, max_size=3), numbers=st.randoms(use_true_random=False))
def test_the_blurred_detector_hits_whenever_the_detector_does(
    texts: list[str], numbers: random.Random
) -> None:
    """Texts are only remembered for all numbers when the detector would miss them with any."""
    texts = [re.sub("[0-9]", lambda _: numbers.choice(string.digits), text) for text in texts]
    zeros = [re.sub("[0-9]", "0", text) for text in texts]
    for source in DETECTS:
        if alone(source)(texts):
            assert alone(detecting.blurred(source))(zeros), source


def test_a_blurred_expression_takes_any_digit_where_some_are_taken() -> None:
    """Repetitions, escapes and classes with all digits or none stay as they are."""
    assert detecting.blurred(r"v1_[a-f3]{2,30}[0-9a]\x{ff1a}\x1b[^A-Z\x{ff1a}][^0-9.]{0,4}2") == (
        r"v[0-9]_[0-9a-f3]{2,30}[0-9a]\x{ff1a}\x1b[^A-Z\x{ff1a}][^0-9.]{0,4}[0-9]"
    )
    with pytest.raises(ValueError, match="which digits"):
        detecting.blurred("[^a3]")


def test_texts_that_differ_in_their_numbers_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found clean for any numbers is not looked at again; a secret, and what is too much, is."""
    made, looks = detecting._matcher, []

    def matcher(re2: Any, sources: Any) -> Any:
        match = made(re2, sources)
        return lambda text: (looks.append(text), match(text))[1]

    monkeypatch.setattr(detecting, "_matcher", matcher)
    redactor = Redactor()
    assert not any(redactor._may_hold((f"order {n} failed", f"{n}/7")) for n in range(10, 99))
    assert len(looks) == 9  # eight in their turn, and once with blurred numbers
    assert redactor._may_hold(("order 10 failed", "password=7"))
    looks.clear()
    assert not any(redactor._may_hold(("x" * 5000, str(n))) for n in range(10, 99))
    assert len(looks) == 89


@given(st.text(alphabet=string.digits, min_size=12, max_size=18))
def test_luhn_takes_one_check_digit(body: str) -> None:
    """Of ten possible last digits exactly one passes."""
    assert sum(is_luhn(body + d) for d in string.digits) == 1


def test_resident_id() -> None:
    """The check character decides, in either case."""
    assert is_resident_id("11010519491231002X")
    assert is_resident_id("11010519491231002x")
    assert not is_resident_id("110105194912310021")


def test_mask_keeps_the_last_four_of_cards_and_phones_only() -> None:
    """A card and a phone stay recognisable; nothing else does."""
    text = f"card {CARD} phone +44 20 7946 0958 password=abcdef1234"
    assert Redactor().clean_text(text) == "card [REDACTED 1111] phone [REDACTED 0958] password=[REDACTED]"


def test_hash_correlates() -> None:
    """Equal values get equal marks under one key, and other marks under another."""
    one, two = (Redactor(mode="hash", hash_key=key) for key in (b"a" * 16, b"b" * 16))
    event = {"message": "password=abc", "password": "abc"}
    cleaned = one.clean(event, ("password",))
    mark = cleaned["password"]
    assert cleaned == {"message": f"password={mark}", "password": mark}
    assert len(mark) == len("[hash:]") + 16
    assert two.clean_text("password=abc") != cleaned["message"]
    assert one.clean_text(cleaned["message"]) == cleaned["message"]
    assert one.clean(cleaned, ("password",)) == cleaned


def test_drop_removes() -> None:
    """Keys go, and so do matches in text."""
    redactor = Redactor(mode="drop")
    event = {"message": f"card {CARD}.", "token": "x", "a": [{"pwd": 1, "b": 2}]}
    assert redactor.clean(event, ("token", "a")) == {"message": "card .", "a": [{"b": 2}]}
    assert redactor.counts == {"card": 1, "key": 2}


def test_users_keys_and_patterns() -> None:
    """Added keys count in any spelling; added patterns run with and without anchors."""
    redactor = Redactor(["loyalty_number", "кодовое слово"], USERS)
    for line in (
        "loyaltyNumber=abc9",
        '{"Loyalty-Number": "abc9"}',
        "кодовое слово: abc9",
        "LOYALTYNUMBER: abc9",
    ):
        assert "abc9" not in redactor.clean_text(line)
    event = {"message": "E-123456", "x": "T77", "y": "a T77", "z": ["(foo1)"]}
    expected = {"message": "[REDACTED]", "x": "[REDACTED]", "y": "a T77", "z": ["([REDACTED])"]}
    assert redactor.clean(event, ("x", "y", "z")) == expected


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"patterns": {"p": "("}}, r"redact\.patterns\.p: RE2 cannot use"),
        ({"patterns": {"p": "(?=a)"}}, "look-around"),
        ({"patterns": {"p": "a*"}}, "matches the empty text"),
        ({"mode": "hash"}, "hash_key"),
        ({"mode": "blur"}, "one of mask, hash, drop"),
        ({"keys": ["--"]}, "no name"),
    ],
)
def test_bad_settings_say_what_is_wrong(arguments: dict[str, Any], says: str) -> None:
    """A setting that cannot work is refused at once, by name."""
    with pytest.raises(RedactionError, match=says):
        Redactor(**arguments)


def test_without_re2(monkeypatch: pytest.MonkeyPatch) -> None:
    """The built-in kinds are found without RE2; own patterns need an explicit opt-in."""
    monkeypatch.setattr(detecting, "_re2", lambda: None)
    redactor = Redactor()
    assert redactor.clean({"message": f"password=abc {CARD}"}, ()) == {
        "message": "password=[REDACTED] [REDACTED 1111]"
    }
    clean = {"message": "ordinary", "a": 1}
    assert redactor.clean(clean, ("a",)) is clean
    with pytest.raises(RedactionError, match="need RE2"):
        Redactor(patterns={"p": "E-1"})
    assert Redactor(patterns={"p": "E-1"}, allow_backtracking=True).clean_text("x E-1") == "x [REDACTED]"


def test_a_defect_lets_nothing_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever breaks inside, nothing is raised and no unexamined text passes."""
    redactor = Redactor()

    def broken(*_args: object) -> None:
        raise RuntimeError

    for attribute in ("_may_hold", "_finders"):
        monkeypatch.setattr(redactor, attribute, broken)
    event = {"trace_id": "0", "message": "password=abc", "a": ["abc"], "n": 1}
    failed = "[redaction failed]"
    for _ in range(2):
        assert redactor.clean(event, ("a", "n")) == {"trace_id": "0", "message": failed, "a": failed, "n": 1}
    assert redactor.clean_text("abc") == failed
    assert "abc" not in str(redactor.clean_mapping({"a": "abc"}))
    assert redactor.counts["failed"] == 4


def test_too_deep_is_not_let_through() -> None:
    """What is nested too deep to examine is replaced, not passed on."""
    deep: Any = "password=abc"
    for _ in range(5000):
        deep = [deep]
    cleaned = Redactor().clean({"message": "m", "a": deep}, ("a",))
    while isinstance(cleaned["a"], list):
        cleaned["a"] = cleaned["a"][0]
    assert cleaned["a"] == "[redaction failed]"


def test_a_shape_is_no_promise() -> None:
    """Events whose values changed type since the shape was learned are examined as well."""
    redactor = Redactor()
    extras = ("a", "b")
    secret = "password=abc"
    for a, b in ((1, "x"), (secret, "x"), ("x", 1), ([secret], {"k": secret}), (1, [secret]), (None, secret)):
        cleaned = redactor.clean({"message": "m", "a": a, "b": b}, extras)
        assert "abc" not in str(cleaned)
    assert "abc" not in str(redactor.clean({"message": "m", "b": secret}, extras))


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither known texts nor shapes grow without end, and no secret is ever remembered."""
    monkeypatch.setattr(redacting, "_KNOWN", 100)
    monkeypatch.setattr(redacting, "_SHAPES", 100)
    redactor = Redactor()
    for i in range(1000):
        redactor.clean({"message": f"text {i}", f"k{i}": f"password=abc{i}"}, (f"k{i}",))
    assert len(redactor._known) <= 101
    assert len(redactor._shapes) <= 100
    assert not any("abc" in str(text) for text in redactor._known)


ADVERSARIAL = (
    "a",
    "9",
    "-",
    "ey" + "J",
    '"',
    "\\",
    " ",
    "=",
    "://a:",
    'password="',
    "password=[",
    "4111-",
    "+1 ",
    "a@",
    *(
        "name=",
        'name="password" ',
        "value=",
        '"name": "password", ',
        "<password ",
        "<a name=token ",
        "{key: token ",
    ),
    *(
        "password is ",
        "password for ",
        "set password to ",
        "password\n ",
        "password:\n  ",
        "password: |\n  a\n",
    ),
    *(
        'form-data; name="password"\r\n',
        "\\r\\n",
        "&quot;",
        "\\u0022",
        "\x1b[0m",
        "\x1b[0mpassword",
        "-----BEGIN ",
    ),
    *(
        "password",
        "password -",
        "Authorization: ",
        "Cookie: a=",
        "('token', '",
        "--password ",
        "[",
        "eyJabcdefgh.",
    ),
    *("://a:b", "138", "13800138000 ", "A" * 20 + "8Q~", "sig=", "sk-", "bearer ", "basic abcdef", "\ud800"),
)


def slow_time(redactor: Redactor, text: str, looks: int = 2) -> float:
    """Return the CPU time of the slow way, the best of some looks."""
    times = []
    for _ in range(looks):
        redactor._known = {""}
        started = time.process_time()
        redactor._slow(text)
        times.append(time.process_time() - started)
    return min(times)


@pytest.mark.parametrize("piece", ADVERSARIAL)
def test_time_is_linear(piece: str) -> None:
    """Four times the text takes four times as long, not sixteen; CPU time of the slow way, all finders."""
    redactor = Redactor(emails=True)
    size = int(os.environ.get("LOGFERRY_HOSTILE_SIZE") or effort(5_000))
    short, long = ("password=x " + piece * (n * size // len(piece)) for n in (1, 4))
    # Quadratic would be 16; what takes next to no time says nothing.
    bound = 9 * max(slow_time(redactor, short), 0.002)
    four = slow_time(redactor, long, 1)
    if four >= bound:  # something came in between, or it is so
        four = min(four, slow_time(redactor, long))
    assert four < bound, (bound / 9, four)


def test_import_does_not_need_re2() -> None:
    """RE2 is imported when a redactor is made, not with the package."""
    code = "import sys, logferry.handlers.redaction; sys.exit('re2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("url", "cleaned"),
    [
        ("https://bob:hunter2@x.test/a?b=1", "https://bob:[REDACTED]@x.test/a?b=1"),
        ("/login?token=abc&next=/home", "/login?token=[REDACTED]&next=/home"),
        ("https://x.test:8443/a/b?page=2", "https://x.test:8443/a/b?page=2"),
    ],
)
def test_urls(url: str, cleaned: str) -> None:
    """Passwords and sensitive parameters go; the rest of a URL stays."""
    assert Redactor().clean_url(url) == cleaned


def test_headers_as_couples() -> None:
    """A sensitive name and a text listed as two is a pair, as a value and in text; so is an option."""
    redactor = Redactor()
    event = {"message": "m", "headers": [["Host", "x"], ["cookie", "plain"]]}
    assert redactor.clean(event, ("headers",))["headers"] == [["Host", "x"], ["cookie", "[REDACTED]"]]
    for line in (
        "[(b'authorization', b'plain x'), (b'host', b'x')]",
        "[('host', 'x'), ('Cookie', 'plain')]",
        '{"headers": [["x-api-key","plain"]]}',
        '{\\"h\\": [[\\"x-api-key\\",\\"plain\\"]]}',
        "run --password plain --verbose",
        "run --db-password 'plain x' -v",
    ):
        assert "plain" not in redactor.clean_text(line)
    line = "columns ['password', 'email', 'name'] --token-count 5"
    assert redactor.clean_text(line) == line


@pytest.mark.skipif(not detecting.has_re2(), reason="without RE2 nothing is found clean at once")
def test_of_many_texts_those_are_remembered_that_come_again() -> None:
    """Lines of a file, that is; of an event each text may come again, and a secret never is remembered."""
    redactor = Redactor()
    unique = [tuple(f"order {turn} {number}" for number in range(500)) for turn in range(16)]
    assert all(map(redactor.are_clean, unique))
    assert not any(redactor.knows(texts[:1]) for texts in unique)
    often = tuple(f"GET /route/{number % 20}" for number in range(500))
    assert all(redactor.are_clean((*often, f"once {turn}")) for turn in range(16))
    assert redactor.knows(often)
    secret = (*often, "Authorization: Bearer abcdefgh12345678")
    assert not any(redactor.are_clean(secret) for _ in range(16))
    assert not redactor.knows(secret)
