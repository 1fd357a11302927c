"""What a log record consists of: which of its attributes are its own, and its message with its arguments.

`record.py` formats the usual message itself; here is what is no text, no plain record, or cannot be
formatted. Nothing here raises but an interrupt of the program.
"""

from __future__ import annotations

import logging
from typing import Final

from .plain import clean_text
from .unformatted import unformatted

__all__ = ["NOT_EXTRAS", "STANDARD", "THROUGH", "formatted", "message_of", "not_formatted"]

STANDARD: Final = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__)
# Not extras (makeRecord refuses them): other handlers' formatters leave them in the record.
NOT_EXTRAS: Final = STANDARD | {"message", "asctime"}
THROUGH: Final = (KeyboardInterrupt, SystemExit)


def message_of(record: logging.LogRecord) -> str:
    """Return the record's message; what cannot be formatted is shown with its arguments."""
    if type(record) is logging.LogRecord:
        return formatted(record.msg, record.args)
    try:
        text: object = record.getMessage()  # a record of the application's own kind may format in its own way
        return clean_text(text if isinstance(text, str) else str(text))
    except THROUGH:
        raise
    except BaseException:  # noqa: BLE001 - whatever it raises: its parts are shown
        return formatted(record.msg, record.args)


def formatted(message: object, arguments: object) -> str:
    """Return a message with its arguments."""
    try:
        text = message if type(message) is str else clean_text(str(message))
        return text % arguments if arguments else text
    except BaseException as failed:  # noqa: BLE001 - arguments may raise anything when formatted
        return not_formatted(message, arguments, failed)


def not_formatted(message: object, arguments: object, failed: BaseException) -> str:
    """Return the parts of a message that could not be formatted, and why; an interrupt goes on."""
    if isinstance(failed, THROUGH):
        raise failed
    return unformatted(message, arguments, failed)
