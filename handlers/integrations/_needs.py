"""What is said when an integration's library is not installed."""

from __future__ import annotations

__all__ = ["missing"]


def missing(library: str, extra: str, error: ImportError) -> ImportError:
    """Return the error to raise: it names the extra that brings the library."""
    return ImportError(
        f"{library} cannot be imported ({error}): pip install 'logferry[{extra}]'", name=error.name
    )
