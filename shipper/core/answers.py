"""What a server said, as it may be shown and kept: short, on one line, without what could move a cursor."""

from __future__ import annotations

__all__ = ["excerpt"]


def excerpt(body: str, limit: int = 300) -> str:
    """Return the beginning of a body on one line, without control characters."""
    text = " ".join(body[: limit * 4].split())
    text = "".join(character if character.isprintable() else "�" for character in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"
