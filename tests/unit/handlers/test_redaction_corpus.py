"""Recall and precision: made-up secrets in every place, and ordinary lines by the thousand.

Every secret is put together at run time, so that no token stands in the repository for a scanner to find.
"""

from __future__ import annotations

import base64
import json
import random
import string
from typing import Any

import pytest

from logferry.handlers.redaction import Redactor
from logferry.handlers.redaction.values import is_luhn

RANDOM = random.Random(20261121)
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
    found["bearer"] = ("Bear" + "er " + token, token)
    credentials = base64.b64encode(b"bob:" + token.encode()).decode()
    found["basic"] = ("Bas" + "ic " + credentials, credentials)
    password = some(12)
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


@pytest.fixture(scope="module")
def redactor() -> Redactor:
    return Redactor()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", SECRETS)
def test_every_kind_in_every_place(redactor: Redactor, kind: str, place: str) -> None:
    """A secret with a shape of its own survives nowhere."""
    text, secret = SECRETS[kind]
    line = PLACES[place].replace("{{", "{").replace("}}", "}").replace("{}", text)
    cleaned = redactor.clean_text(line)
    assert secret not in cleaned, cleaned
    assert redactor.clean_text(cleaned) == cleaned


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
@pytest.mark.parametrize("kind", SECRETS)
def test_every_kind_in_every_field(redactor: Redactor, kind: str, place: str) -> None:
    """Message, extras, nested values and keys, errors and causes, URL-like fields: all are examined."""
    text, secret = SECRETS[kind]
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
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NAMES)
def test_every_name_in_every_form(redactor: Redactor, name: str, form: str) -> None:
    """The value of a sensitive name is found however text writes it, whatever characters it has."""
    for value in (some(10), "hunter2!$", "p4ss*word#+~", "9135-x", "a/b+c=="):
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


def ordinary(rng: random.Random) -> str:
    """Return one line as services write them."""
    digits = "".join(rng.choices(string.digits, k=10))
    hexes = "".join(rng.choices("0123456789abcdef", k=32))
    uuid = f"{hexes[:8]}-{hexes[8:12]}-4{hexes[13:16]}-a{hexes[17:20]}-{hexes[20:]}"
    ip = ".".join(str(rng.randrange(256)) for _ in range(4))
    ms = rng.randrange(1_600_000_000_000, 1_900_000_000_000)
    return rng.choice(
        (
            f"request {uuid} took {rng.random() * 900:.3f} ms",
            f"order {digits} created for customer {rng.randrange(10**8)} total={rng.random() * 1000:.2f}",
            f"trace {hexes} span {hexes[:16]} at {ms}",
            f"2026-11-21T08:00:{rng.randrange(60):02}.{digits[:6]}Z started version {ip[:5]}",
            f"SELECT id, token_count FROM orders WHERE id = {digits[:7]} AND state IN ('new')",
            f"/var/lib/app/{hexes[:8]}/report-{digits[:8]}.csv written, {rng.randrange(10**7)} bytes",
            f'{ip} - - [21/Nov/2026:08:00:00 +0000] "GET /v1/orders/{digits[:6]}?page=2 HTTP/1.1" 200 512',
            f'"-" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/131.0.0.0" {rng.random():.3f}',
            f"worker-{rng.randrange(64)} finished job {uuid}, retries={rng.randrange(4)}",
            f"commit {hexes}{hexes[:8]} by author on branch release/{rng.randrange(9)}.{rng.randrange(99)}",
            f"ts={ms} ns={ms}{digits[:6]} level=info caller=main.go:{rng.randrange(999)} msg=ok",
            f"http://localhost:{rng.randrange(1024, 65535)}/health answered {rng.choice((200, 204, 503))}",
            f'  File "/srv/app/shop/views.py", line {rng.randrange(999)}, in f\n    order = make(user)',
            f"KeyError: 'item_{digits[:4]}'",
            f'memory at 0x{hexes[:12]}, {rng.randrange(10**9)} objects, etag W/"{hexes}"',
            f"kafka partition {rng.randrange(64)} offset {rng.randrange(10**9)} lag {rng.randrange(999)}",
            f"price {rng.random() * 1e4:.16f} ratio {rng.random():.17f} x={-rng.random():.15f}",
        )
    )


@pytest.mark.parametrize("emails", [False, True])
def test_ordinary_lines_are_left_alone(emails: bool) -> None:
    """20,000 ordinary lines: not one is touched, alone or in an event."""
    rng = random.Random(7)
    redactor = Redactor(emails=emails)
    for _ in range(20_000):
        line = ordinary(rng)
        assert redactor.clean_text(line) == line
        event = {"message": line, "request_id": line, "status": 200, "note": line}
        assert redactor.clean(event, ("status", "note")) is event
    assert redactor.counts == {}


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
