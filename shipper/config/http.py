"""What sinks that speak HTTP have in common: addresses, credentials, headers, and what cannot work.

What a server would refuse for every event is refused in the configuration: it would look like an outage.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from ..transport import basic_auth
from .fields import Secret

__all__ = ["sent_headers", "told_secrets", "wrong_credentials", "wrong_headers", "wrong_url"]

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OWN: Final = frozenset(
    {"authorization", "content-type", "content-encoding", "content-length", "host", "transfer-encoding"}
)


def wrong_url(url: str, example: str, *, query: bool = False) -> str:
    """Return what is wrong with an address; `""`: nothing. `query`: it may have one."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError when it is no number
    except ValueError:
        return f"url: not an address such as {example}"
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return f"url: write it with its scheme, such as {example}"
    if parts.username is not None or parts.password is not None:
        return "url: credentials go into username and password"
    if _CONTROL.search(url) or " " in url:
        return "url: a space or control character"
    if parts.fragment or (parts.query and not query):
        return "url: without fragment" if query else "url: without query and fragment"
    return ""


def wrong_credentials(username: str | None, password: Secret | None, token: Secret | None) -> str:
    """Return what is wrong with basic and bearer credentials; `""`: nothing."""
    if (username is None) != (password is None):
        return "username and password belong together"
    if token is not None and username is not None:
        return "bearer_token and username exclude one another"
    if username is not None and ":" in username:
        return "username: holds a colon, which basic authentication cannot carry"
    secrets = [secret.reveal() for secret in (password, token) if secret is not None]
    if any(_CONTROL.search(text) for text in (username or "", *secrets)):
        return "username, password, bearer_token: a control character or line break in one of them"
    if token is not None and not token.reveal().isascii():
        return "bearer_token: not ASCII"
    return ""


def wrong_headers(
    headers: Mapping[str, str], secret: Mapping[str, Secret], own: frozenset[str] = frozenset()
) -> str:
    """Return what is wrong with further headers; `""`: nothing. `own` are set by the sink itself."""
    seen: set[str] = set()
    for key, name, value in (
        *(("headers", name, value) for name, value in headers.items()),
        *(("secret_headers", name, value.reveal()) for name, value in secret.items()),
    ):
        if not _NAME.fullmatch(name):
            return f"{key}.{name}: not a header's name"
        if name.lower() in _OWN - own:
            return f"{key}.{name}: set by the sink itself"
        if name.lower() in seen:
            return f"{key}.{name}: there twice"
        if _CONTROL.search(value) or not value.isascii():
            return f"{key}.{name}: a control character or a letter beyond ASCII"
        seen.add(name.lower())
    return ""


def sent_headers(
    username: str | None, password: Secret | None, token: Secret | None, secret: Mapping[str, Secret]
) -> dict[str, str]:
    """Return the headers of each request, revealed."""
    headers = {"User-Agent": "logferry", **{name: value.reveal() for name, value in secret.items()}}
    if username is not None and password is not None:
        headers["Authorization"] = basic_auth(username, password.reveal())
    if token is not None:
        headers["Authorization"] = f"Bearer {token.reveal()}"
    return headers


def told_secrets(
    password: Secret | None, token: Secret | None, secret: Mapping[str, Secret]
) -> tuple[str, ...]:
    """Return what must be masked where a server sends it back."""
    return tuple(s.reveal() for s in (password, token, *secret.values()) if s is not None and s.reveal())
