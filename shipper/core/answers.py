"""What a server said, as it may be shown and kept: short, on one line, without what could move a cursor."""

from __future__ import annotations

__all__ = ["advice", "answered", "excerpt"]


def excerpt(body: str, limit: int = 300) -> str:
    """Return the beginning of a body on one line, without control characters."""
    text = " ".join(body[: limit * 4].split())
    text = "".join(character if character.isprintable() else "�" for character in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def answered(who: str, status: int, body: str) -> str:
    """Return in one sentence what status came, and with which words."""
    return f"{who} answered {status}" + (f": {excerpt(body)}" if body.strip() else "")


def advice(who: str, status: int) -> str:
    """Return what to mend for a status that means the same everywhere; `""`: it does not.

    `who` is the server. The options that are named are those of `config/http_options.py`.
    """
    if status in {401, 407}:
        return f"{who} wants other credentials: see username, password, bearer_token, secret_headers"
    if status == 403:
        return "the credentials are known, but may not do this"
    if 300 <= status < 400:
        return "a redirect, which is not followed: set url to where it points"
    return ""
