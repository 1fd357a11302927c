"""Recall and precision: made-up secrets in every place, and ordinary lines by the thousand.

Every secret is put together at run time, so that no token stands in the repository for a scanner to find.
"""

from __future__ import annotations

import base64
import itertools
import json
import linecache
import logging
import random
import re
import string
from typing import Any

import pytest

from logferry.handlers.record import EventBuilder
from logferry.handlers.redaction import Redactor
from logferry.handlers.redaction.patterns import _START, RULES, Rule
from logferry.handlers.redaction.values import is_luhn
from logferry.handlers.schema import Schema

RANDOM = random.Random(20261121)
TOKENS = {"github", "gitlab", "slack", "stripe", "google", "sendgrid", "twilio", "aws"}
ALNUM = string.ascii_letters + string.digits


def some(n: int, alphabet: str = ALNUM) -> str:
    """Return n random characters that begin with a letter and hold a digit."""
    return (
        RANDOM.choice([c for c in alphabet if c not in "-_"])
        + "".join(RANDOM.choices(alphabet, k=n - 2))
        + "7"
    )


def b64(data: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(data).encode()).decode().rstrip("=")


def card(prefix: str, length: int) -> str:
    body = prefix + "".join(RANDOM.choices(string.digits, k=length - len(prefix) - 1))
    return next(body + d for d in string.digits if is_luhn(body + d))


def resident() -> str:
    body = "110105" + "19491231" + "".join(RANDOM.choices(string.digits, k=3))
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return body + "10X98765432"[sum(int(d) * w for d, w in zip(body, weights, strict=True)) % 11]


def pem() -> str:
    lines = "\n".join(some(64) for _ in range(4))
    return f"-----BEGIN {'RSA '}PRIVATE KEY-----\n{lines}\n-----END {'RSA '}PRIVATE KEY-----"


def secrets() -> dict[str, tuple[str, str]]:
    """Return kind → (text as it stands, the part that must not survive)."""
    tokens = {
        "jwt": ".".join([b64({"alg": "HS256"}), b64({"sub": "1"}), some(43)]),
        "aws": "AKI" + "A" + some(16, string.ascii_uppercase + string.digits),
        "github": "gh" + "p_" + some(36),
        "github_fine": "github" + "_pat_" + some(60),
        "gitlab": "gl" + "pat-" + some(20),
        "slack": "xo" + "xb-" + some(12, string.digits) + "-" + some(24),
        "stripe": "sk" + "_live_" + some(24),
        "google": "AI" + "za" + some(35),
        "openai": "sk" + "-proj-" + some(48),
        "anthropic": "sk" + "-ant-api03-" + some(60),
        "npm": "np" + "m_" + some(36),
        "pypi": "py" + "pi-" + some(80),
        "sendgrid": "S" + "G." + some(22) + "." + some(43),
        "twilio": "S" + "K" + "".join(RANDOM.choices("0123456789abcdef", k=32)),
        "github_server": "gh" + "s_" + some(36),
        "gitlab_deploy": "gl" + "dt-" + some(20),
        "slack_app": "xa" + "pp-1-" + some(30),
        "slack_hook": "https://hooks.slack" + ".com/services/" + some(30),
        "stripe_hook": "wh" + "sec_" + some(32),
        "google_oauth": "ya" + "29." + some(40),
        "google_secret": "GOC" + "SPX-" + some(28),
        "google_refresh": "1/" + "/0" + some(40),
        "docker": "dck" + "r_pat_" + some(27),
        "hugging_face": "h" + "f_" + some(34),
        "digitalocean": "do" + "p_v1_" + "".join(RANDOM.choices("0123456789abcdef", k=64)),
        "shopify": "shp" + "at_" + "".join(RANDOM.choices("0123456789abcdef", k=32)),
        "telegram": "".join(RANDOM.choices("123456789", k=9)) + ":A" + "A" + some(33),
        "vault": "hv" + "s." + some(24),
        "age": "AGE-SECRET" + "-KEY-1" + some(58, string.ascii_uppercase + string.digits),
        "atlassian": "ATA" + "TT3" + some(60),
        "linear": "lin" + "_api_" + some(40),
        "azure_client": "abc8" + "Q~" + some(34),
        "visa_13": card("4", 13),
        "discover": card("6011", 16),
        "jcb": card("3530", 16),
        "diners": card("36", 14),
        "maestro": card("6759", 19),
        "visa": card("4", 16),
        "mastercard": card("53", 16),
        "amex": card("37", 15),
        "unionpay": card("62", 19),
        "resident": resident(),
        "mobile": "1" + "38" + "".join(RANDOM.choices(string.digits, k=8)),
        "e164": "+" + "44" + "".join(RANDOM.choices(string.digits, k=10)),
        "pem": pem(),
    }
    found = {kind: (text, text) for kind, text in tokens.items()}
    visa = card("4", 16)
    parted = " ".join(visa[i : i + 4] for i in range(0, 16, 4))
    found["card_spaces"] = (parted, parted)
    found["card_dashes"] = (parted.replace(" ", "-"), parted.replace(" ", "-"))
    token = some(40)
    amex = card("37", 15)
    amex = f"{amex[:4]} {amex[4:10]} {amex[10:]}"
    found["amex_spaces"] = (amex, amex)
    pgp = pem().replace("RSA PRIVATE KEY", "PGP PRIVATE KEY BLOCK")
    found["pgp"] = (pgp, pgp)
    cut = pem()[:200]
    found["pem_cut"] = (cut, cut)
    found["bearer"] = ("Bear" + "er " + token, token)
    credentials = base64.b64encode(b"bob:" + token.encode()).decode()
    found["basic"] = ("Bas" + "ic " + credentials, credentials)
    password = some(12)
    found["prose_password"] = (f"the password for bob is {password}", password)
    found["prose_token"] = (f"your api key was changed to {password}.", password)
    found["prose_change"] = (f"set password to {password}", password)
    found["prose_sql"] = (f"ALTER USER bob WITH PASSWORD '{password}'", password)
    found["url"] = (f"postgres://app:{password}@db.internal:5432/shop", password)
    found["url_at"] = (f"amqp://app:{password}@{password}@mq/", password)
    sas = base64.b64encode(token.encode()).decode()
    found["azure_sas"] = (f"https://x.blob.core.windows.net/c?sv=2022&si{'g'}={sas}", sas)
    return found


PLACES = {
    "alone": "{}",
    "prose": "the call failed with {} at noon",
    "chinese": "用户 提交了{} 失败",
    "brackets": "args=('x', '{}')",
    "quoted": 'got "{}".',
    "newline": "first line\n{}\nlast line",
    "escaped_newline": "body: first\\n{}\\nlast",
    "traceback": 'Traceback (most recent call last):\n  File "a.py", line 3, in f\n    g("{}")\nE: {}',
    "query": "GET /x?a=1&v={}&b=2 HTTP/1.1",
    "json": '{{"a": 1, "v": "{}", "b": [1]}}',
    "escaped_json": '{{\\"a\\": 1, \\"v\\": \\"{}\\", \\"b\\": 1}}',
    "unicode_escape": "x\\u0022{}\\u0022",
    "tab": "a\t{}\tb",
    "comma": "a,{},b",
    "semicolon": "a;{};b",
    "equals": "value={}",
}
NAMES = (
    *(
        "password",
        "passwd",
        "pwd",
        "secret",
        "client_secret",
        "token",
        "access_token",
        "refresh_token",
        "id_token",
    ),
    *(
        "api_key",
        "apikey",
        "apiKey",
        "X-API-Key",
        "API KEY",
        "x-api-key",
        "APIKEY",
        "Authorization",
        "authorization",
    ),
    *(
        "proxy_authorization",
        "Proxy-Authorization",
        "cookie",
        "Set-Cookie",
        "set_cookie",
        "session",
        "session_id",
    ),
    *(
        "sessionId",
        "private_key",
        "privateKey",
        "credit_card",
        "card_number",
        "cardNumber",
        "cvv",
        "CVC",
        "pin",
        "ssn",
    ),
    *(
        "x-amz-security-token",
        "AWS_SECRET_ACCESS_KEY",
        "aws_secret_access_key",
        "connection_string",
        "dsn",
        "otp",
    ),
    *(
        "ConnectionString",
        "DB_PASSWORD",
        "dbPassword",
        "userpassword",
        "user_password",
        "password2",
        "accessToken",
    ),
    *(
        "clientSecret",
        "PassWord",
        "SECRET_KEY",
        "passphrase",
        "csrf_token",
        "credentials",
        "auth_token",
        "authToken",
    ),
)
HARMLESS = (
    *(
        "token_count",
        "tokens",
        "max_tokens",
        "passwordless",
        "author",
        "secretary",
        "authorized",
        "cookie_policy",
    ),
    *(
        "password_changed_at",
        "session_count",
        "spin",
        "pinned",
        "opinion",
        "has_password",
        "is_secret",
        "secretariat",
    ),
    *(
        "compass",
        "bypass",
        "passenger",
        "keyboard",
        "monkey",
        "api_keyboard",
        "tokenizer",
        "author_id",
        "shipping",
    ),
    *(
        "status",
        "user",
        "path",
        "order_id",
        "primary_key",
        "cache_key",
        "sort_key",
        "token_type",
        "adsn",
        "hotpot",
    ),
)
SECRETS = secrets()
KINDS = {  # entry of the corpus → the kind it must be counted as, where their names differ
    **dict.fromkeys(("github_fine", "github_server"), "github"),
    **dict.fromkeys(("slack_app", "slack_hook"), "slack"),
    **dict.fromkeys(("google_oauth", "google_secret", "google_refresh"), "google"),
    **dict.fromkeys(("openai", "anthropic"), "llm_key"),
    **dict.fromkeys(("npm", "pypi", "docker", "hugging_face"), "registry_token"),
    **dict.fromkeys(
        ("digitalocean", "shopify", "telegram", "vault", "age", "atlassian", "linear"), "vendor_token"
    ),
    **dict.fromkeys(("azure_client", "azure_sas"), "azure"),
    **dict.fromkeys(("pem", "pem_cut", "pgp"), "private_key"),
    **dict.fromkeys(
        ("visa", "visa_13", "mastercard", "amex", "unionpay", "discover", "jcb", "diners"), "card"
    ),
    **dict.fromkeys(("maestro", "card_spaces", "card_dashes", "amex_spaces"), "card"),
    **dict.fromkeys(("mobile", "e164"), "phone"),
    **dict.fromkeys(("url", "url_at"), "url_password"),
    **dict.fromkeys(("prose_password", "prose_token", "prose_change", "prose_sql"), "prose"),
    "gitlab_deploy": "gitlab",
    "stripe_hook": "stripe",
    "resident": "resident_id",
}


@pytest.fixture(scope="module")
def redactor() -> Redactor:
    return Redactor()


def test_every_kind_has_its_secrets() -> None:
    """A built-in kind without a secret of its own, or an entry found as another kind, is a mistake."""
    found = {}
    for name, (text, _) in SECRETS.items():
        redactor = Redactor()
        redactor.clean_text(f"x {text} y")
        found[name] = set(redactor.counts)
        assert KINDS.get(name, name) in found[name], (name, found[name])
    kinds = {rule.kind for rule in RULES}
    assert kinds == {KINDS.get(name, name) for name in SECRETS}


def alternatives(pattern: str) -> list[str]:
    """Return the alternatives of a token's expression, as far as they stand at its top."""
    depth, parts = 0, [""]
    for previous, c in zip(" " + pattern, pattern, strict=False):
        if previous != "\\":
            depth += (c == "(") - (c == ")")
        if c == "|" and depth == 0:
            parts.append("")
        else:
            parts[-1] += c
    return parts


@pytest.mark.parametrize(
    "rule", [rule for rule in RULES if "token" in rule.kind or rule.kind in TOKENS], ids=lambda r: r.kind
)
def test_every_vendor_has_its_secret(rule: Rule) -> None:
    """Each alternative of a vendor's rule is met by an entry of the corpus: a new one needs a new secret."""
    body = rule.find.pattern.removeprefix(_START)
    assert body.startswith("(?:"), "a token's rule begins with where it may begin"
    texts = [text for text, _ in SECRETS.values()]
    for alternative in alternatives(body[3:-1]):
        assert any(re.search(alternative, text) for text in texts), alternative


@pytest.mark.parametrize("kind", SECRETS)
def test_every_kind_in_every_place(redactor: Redactor, kind: str) -> None:
    """A secret with a shape of its own survives nowhere."""
    text, secret = SECRETS[kind]
    for place in PLACES.values():
        line = place.replace("{{", "{").replace("}}", "}").replace("{}", text)
        cleaned = redactor.clean_text(line)
        assert secret not in cleaned, (line, cleaned)
        assert redactor.clean_text(cleaned) == cleaned


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_is_seen_behind_texts_that_differ_in_their_numbers(kind: str) -> None:
    """What was clean with other numbers says nothing of a text in which the numbers make the secret."""
    text, _ = SECRETS[kind]
    fresh = Redactor()
    assert fresh._may_hold((text,))
    for _ in range(20):
        other = re.sub("[0-9]", lambda _: RANDOM.choice(string.digits), text)
        if any(fresh._may_hold((other,)) for _ in range(8)):
            continue
        assert fresh._may_hold((text,)), other


def events(text: str) -> dict[str, tuple[dict[str, Any], tuple[str, ...]]]:
    """Return place → event with `text` there, and its extras."""
    base = {"timestamp": "t", "level": "INFO", "service": "s", "trace_id": "", "span_id": "", "message": "m"}
    error = {
        "type": "E",
        "message": "x",
        "stack": "y",
        "causes": [{"type": "F", "message": "z", "stack": ""}],
    }
    return {
        "message": ({**base, "message": text}, ()),
        "extra": ({**base, "x": text, "n": 3}, ("x", "n")),
        "name": ({**base, text: 3, "n": 3}, (text, "n")),
        "list": ({**base, "x": [1, [text]]}, ("x",)),
        "dict": ({**base, "x": {"a": {"b": [text, None]}}}, ("x",)),
        "dict_key": ({**base, "x": {text: 1}}, ("x",)),
        "collision": ({**base, "extra": {"level": text}}, ()),
        "error.message": ({**base, "error": {**error, "message": text}}, ()),
        "error.stack": ({**base, "error": {**error, "stack": f"  File a\n{text}\n"}}, ()),
        "error.cause": ({**base, "error": {**error, "causes": [{"message": text}]}}, ()),
        **{name: ({**base, name: text}, ()) for name in ("path", "endpoint", "user_agent", "error_pattern")},
    }


@pytest.mark.parametrize("place", events(""))
def test_every_kind_in_every_field(redactor: Redactor, place: str) -> None:
    """Message, extras, nested values and keys, errors and causes, URL-like fields: all are examined."""
    for text, secret in SECRETS.values():
        event, extras = events(text)[place]
        before = json.dumps(event)
        for _ in range(3):  # first seen, then through the shape's fast way
            cleaned = redactor.clean(event, extras)
            assert json.dumps(secret)[1:-1] not in json.dumps(cleaned, ensure_ascii=True)
            assert secret not in str(cleaned)
        assert json.dumps(event) == before


FORMS = {
    "assign": "login {k}={v} now",
    "spaced": "login {k} = {v} now",
    "colon": "login {k}: {v} now",
    "json": '{{"a": 1, "{k}": "{v}", "b": 2}}',
    "json_tight": '{{"{k}":"{v}"}}',
    "escaped": '{{\\"{k}\\": \\"{v}\\", \\"b\\": 2}}',
    "twice_escaped": '{{\\\\\\"{k}\\\\\\": \\\\\\"{v}\\\\\\"}}',
    "repr": "{{'a': 1, '{k}': '{v}'}}",
    "kwargs": "f(a=1, {k}='{v}')",
    "query": "https://x.test/cb?a=1&{k}={v}&b=2#top",
    "form": "a=1&user%5B{k}%5D={v}&b=2",
    "header": "Host: x\r\n{k}: {v}\r\nAccept: */*",
    "escaped_header": "Host: x\\r\\n{k}: {v}\\r\\nAccept: */*",
    "multi_line": '{k} = "line one\n{v}\nline three"',
    "xml": "<{k}>{v}</{k}>",
    "inner": 'note="{k}={v}"',
    "cut": '{{"{k}": "{v}',
    "list": '{{"{k}": ["{v}", "{v}"]}}',
    "arrow": "{k} -> {v}",
    "coloured": "\x1b[36m{k}\x1b[0m=\x1b[35m{v}\x1b[0m",
    "twice_quoted_url": "{k}%253D{v}",
    "html_quotes": "{{&quot;{k}&quot;: &quot;{v}&quot;}}",
    "unicode_quotes": "{{\\u0022{k}\\u0022: \\u0022{v}\\u0022}}",
    "yaml": "a: 1\n{k}:\n  {v}\nb: 2",
    "yaml_block": "{k}: |\n  line\n  {v}\nb: 2",
    "named": '{{"name": "{k}", "value": "{v}"}}',
    "named_backwards": '{{"value": "{v}", "name": "{k}"}}',
    "named_repr": "[{{'Name': '{k}', 'Value': '{v}'}}]",
    "named_escaped": '{{\\"key\\": \\"{k}\\", \\"value\\": \\"{v}\\"}}',
    "named_yaml": "- name: {k}\n  value: {v}\n",
    "attributes": '<input name="{k}" type="text" value="{v}">',
    "element": '<property name="{k}">{v}</property>',
    "tag": '<{k} type="text">{v}</{k}>',
    "multipart": '--b\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n--b--',
    "multipart_typed": (
        '--b\nContent-Disposition: form-data; name="{k}"\nContent-Type: text/plain\n\none\n{v}\n--b--'
    ),
    "multipart_escaped": '--b\\r\\nContent-Disposition: form-data; name=\\"{k}\\"\\r\\n\\r\\n{v}\\r\\n--b',
}
SPACELESS = {
    "named_yaml",
    "tag",
    "twice_quoted_url",
    "form",
    "yaml",
    "yaml_block",
}  # a name there has no space


@pytest.mark.parametrize("form", FORMS)
def test_every_name_in_every_form(redactor: Redactor, form: str) -> None:
    """The value of a sensitive name is found however text writes it, whatever characters it has."""
    values = (some(10), "hunter2!$", "p4ss*word#+~", "9135-x", "a/b+c==")
    for name, value in itertools.product(NAMES, values):
        if " " in name and form in SPACELESS:
            name = name.replace(" ", "_")  # noqa: PLW2901 (one name is spelled in another way)
        line = FORMS[form].format(k=name, v=value)
        cleaned = redactor.clean_text(line)
        assert value not in cleaned, (line, cleaned)
        assert redactor.clean_text(cleaned) == cleaned


@pytest.mark.parametrize("name", NAMES)
def test_names_are_sensitive_as_keys(redactor: Redactor, name: str) -> None:
    """A sensitive key loses its value at any depth, whatever the value's type."""
    assert redactor.is_sensitive_key(name)
    for value in ("x", 12345678, 1.25, ["plainvalue"], {"inner": "plainvalue"}):
        event: dict[str, Any] = {"message": "m", name: value, "deep": [{"a": {name: value}}]}
        cleaned = redactor.clean(event, (name, "deep"))
        assert cleaned == {"message": "m", name: "[REDACTED]", "deep": [{"a": {name: "[REDACTED]"}}]}
    assert redactor.clean_mapping({name: "x", "a": "b"}) == {name: "[REDACTED]", "a": "b"}


@pytest.mark.parametrize("name", HARMLESS)
def test_names_that_only_look_sensitive(redactor: Redactor, name: str) -> None:
    """Names that merely contain a sensitive word keep their values."""
    assert not redactor.is_sensitive_key(name)
    for line in (f"{name}=12 done", f'"{name}": "some value"', f"{name}: yes"):
        assert redactor.clean_text(line) == line


def test_ids_are_not_free_text(redactor: Redactor) -> None:
    """A card number in a field that the schema knows as an id stays: ids can pass Luhn by chance."""
    number = card("4", 16)
    event = {
        "message": "m",
        "trace_id": number,
        "request_id": number,
        "user_id": number,
        "correlation_id": number,
    }
    assert redactor.clean(event, ()) is event


SPLIT = (  # message and arguments that make the secret together, or do not fit
    ("%s%s", ("AKI" + "A" + "ABCDEFGH", "IJKLMNOP")),
    ("pass%s=%s", ("word", "hunter2")),
    ("%(k)s: %(v)s", {"k": "password", "v": "hunter2"}),
    ("password=%s for %s", ("hunter2",)),
    ("password:", ("hunter2",)),
    ("login %d with token=%s", ("bob", "hunter2")),
    ("%s://%s:%s@host/", ("postgres", "bob", "hunter2")),
    ("%s %s", ("Bearer", "abcdefghij" + "0123456789")),
    ("card %s %s %s %s", ("4111", "1111", "1111", "1111")),
)


@pytest.mark.parametrize(("message", "arguments"), SPLIT)
def test_secrets_split_by_formatting(message: str, arguments: Any) -> None:
    """A secret that only formatting puts together is found, and one whose formatting fails as well."""
    builder = EventBuilder(Schema("s"), Redactor(), context=dict)
    record = logging.LogRecord(
        "x", 20, "x.py", 1, message, (arguments,) if type(arguments) is dict else arguments, None
    )
    for _ in range(12):
        line = builder.build(record).decode()
        for secret in ("hunter2", "ABCDEFGHIJKLMNOP", "abcdefghij", "4111 1111"):
            assert secret not in line


@pytest.mark.parametrize("kind", SECRETS)
def test_every_kind_in_an_exception(kind: str) -> None:
    """In its arguments, notes, cause, group, in a line of source in the traceback, and in exc_text."""
    text, secret = SECRETS[kind]
    builder = EventBuilder(Schema("s"), Redactor(), context=dict)
    comment = "" if "\n" in text else f"  # {text!r}"
    source = f"def fail():\n    raise ValueError(1){comment}\n"
    linecache.cache["secret.py"] = (len(source), None, source.splitlines(keepends=True), "secret.py")
    space: dict[str, Any] = {}
    exec(compile(source, "secret.py", "exec"), space)
    errors: list[BaseException] = []
    try:
        try:
            space["fail"]()
        except ValueError as first:
            first.add_note(f"note {text}")
            raise KeyError(f"key {text}") from first
    except KeyError as error:
        errors += [error, ExceptionGroup(f"group {text}", [error]), OSError(5, text, text)]
    for error in errors:
        record = logging.LogRecord("x", 40, "x.py", 1, "m", (), (type(error), error, error.__traceback__))
        for made in (builder.build(record), builder.compose(level="ERROR", message="m", exc_info=error)):
            assert json.dumps(secret)[1:-1] not in made.decode()
            assert secret not in json.loads(made)["error"]["stack"]
            assert secret not in str(json.loads(made)["error"])
    record = logging.LogRecord("x", 40, "x.py", 1, "m", (), None)
    record.exc_text = f"Traceback (most recent call last):\nValueError: {text}"
    assert secret not in str(json.loads(builder.build(record)))


def test_labels_in_data(redactor: Redactor) -> None:
    """A field that says what another holds counts in nested data and among the extras themselves."""
    event: dict[str, Any] = {
        "message": "m",
        "env": [{"name": "DB_PASSWORD", "value": "plain"}, {"Name": "HOME", "Value": "/root"}],
        "field": "password",
        "value": "plain",
    }
    for _ in range(3):
        cleaned = redactor.clean(event, ("env", "field", "value"))
        assert cleaned["env"] == [
            {"name": "DB_PASSWORD", "value": "[REDACTED]"},
            {"Name": "HOME", "Value": "/root"},
        ]
        assert (cleaned["field"], cleaned["value"]) == ("password", "[REDACTED]")
    harmless = {"message": "m", "field": "colour", "value": "plain"}
    assert redactor.clean(harmless, ("field", "value")) is harmless


PROSE = (
    *("password is required", "Your password is incorrect.", "token is expired", "the secret is missing"),
    *("password is too short", "password was changed", "password is 8 characters long", "token is not valid"),
    *("api key is invalid", "password for bob is wrong", "password was reset by admin", "otp is disabled"),
    *("password is hashed", "pin is 3 digits long", "secret is in vault", "password is stored in /etc/x"),
    *("The password is encrypted with bcrypt", "tokens are valid for 3600 seconds", "token is None"),
    *(
        "the password was not found",
        "Password is case-sensitive",
        "password is set via env",
        "KeyError: 'password'",
    ),
    *(
        "name=John value=5",
        "key=cache:42 value=ok",
        '{"name": "token_count", "value": 5}',
        "set token to renew",
    ),
)


OTHERWISE = {  # names that mean something else in programs that everybody has, and what stays a secret
    "sudo: bob : TTY=pts/0 ; PWD=/home/bob ; USER=root ; COMMAND=/bin/ls": "PWD=/Hunter2 pwd=/home/bob",
    "OLDPWD=/srv/app/current PWD=/": "sa;PWD=hunter2;",
    "postfix/smtp[7]: to=<a@b.test>, delay=0.1, dsn=2.0.0, status=sent": "dsn=9.0.0 dsn=4.0.0x",
    "Auth successful for job_1445144423722_0020 (auth:SIMPLE)": "auth:hunter2 password=simple",
    "[ProcessThread(sid:1 cport:-1)::PrepRequestProcessor@476]": "sid:1234 sid:x1",
    "passwd[4491]: pam_unix(passwd:chauthtok): password changed for bob": "passwd:hunter2",
    "block blk_4568377692254637284 and blk_-4980916519894289629": "4568377692254637284 6_4111111111111111",
    "seed -4980916519894289629": "card_4111111111111111 x-4111111111111111",
}


@pytest.mark.parametrize("line", OTHERWISE)
def test_what_other_programs_mean_stays(redactor: Redactor, line: str) -> None:
    """Names and numbers of sudo, mail servers, Hadoop and ZooKeeper; what only resembles them goes."""
    assert redactor.clean_text(line) == line
    secret = OTHERWISE[line]
    assert redactor.clean_text(secret).count("[REDACTED") == len(re.findall("[=:_-]|^4", secret)), secret


@pytest.mark.parametrize("line", PROSE)
def test_what_is_said_about_passwords_stays(redactor: Redactor, line: str) -> None:
    """Prose that speaks of a password without telling it is left alone."""
    assert redactor.clean_text(line) == line
