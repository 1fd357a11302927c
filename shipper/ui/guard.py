"""Who may ask the local page. Pure.

Rules

- On the loopback: whoever names it by a loopback name (`Host`), so that a stranger's page whose name was
  pointed at 127.0.0.1 (DNS rebinding) is refused. Anywhere else: whoever has the token, in a cookie that
  `/?token=…` sets.
- A request that another site makes the browser send (`Sec-Fetch-Site: cross-site`, a foreign `Origin`) is
  refused, but for opening the page itself.
- Nothing is changed by asking; still only GET and HEAD are taken.
- What is sent back runs no script but ours, and talks to nobody but us (`HEADERS`). What a log line holds is
  text: the page never makes markup of it.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

__all__ = ["COOKIE", "HEADERS", "is_loopback", "refusal"]

COOKIE: Final = "logferry"
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def is_loopback(host: str) -> bool:
    """Tell whether a name or address is this machine's own."""
    if host.rstrip(".").lower() == "localhost" or host.lower().endswith(".localhost"):
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def refusal(method: str, path: str, headers: Mapping[str, str], *, token: str) -> tuple[int, str] | None:
    """Return status and reason for a request that is refused; None: it is let in.

    `headers` by lower-case name. `token` is empty where the loopback is enough.
    """
    if method not in {"GET", "HEAD"}:
        return 405, "only GET"
    host = headers.get("host", "")
    if not token and not is_loopback(_name(host)):
        return 421, "this page answers to localhost only"
    opened = path in {"/", ""} and headers.get("sec-fetch-dest", "document") == "document"
    if headers.get("sec-fetch-site", "none") in {"cross-site", "same-site"} and not opened:
        return 403, "another site asked"
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != host:
        return 403, "another site asked"
    if token and not hmac.compare_digest(_cookie(headers.get("cookie", "")).encode(), token.encode()):
        return 401, "open the address that logferry ui has printed: it holds the token"
    return None


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _cookie(text: str) -> str:
    try:
        morsel = SimpleCookie(text).get(COOKIE)
    except CookieError:
        return ""
    return "" if morsel is None else morsel.value
