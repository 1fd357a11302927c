"""What can be wrong with the redaction settings."""

__all__ = ["RedactionError"]


class RedactionError(ValueError):
    """A setting under `redact:` that cannot work; the text says which and what to write instead."""
