"""Secrets are removed from events before anything is buffered. `docs/redaction.md` says what is found.

`Redactor` is the whole public face: `keys.py` decides about names, `pairs.py` finds `name=value` in text,
`patterns.py` what has a shape of its own, `detector.py` whether a text is worth looking at,
`redactor.py` walks events. RE2 is used when it is installed; without it the same decisions cost more.
"""

from .errors import RedactionError
from .redactor import Redactor
from .values import Mode

__all__ = ["Mode", "RedactionError", "Redactor"]
