"""The local page: the panels, the lines and the traces of a local store, in a browser.

`guard` who may ask · `answers` questions to the store as JSON, with `places` (any line of a range by its
place), `patterns` (errors, keywords, lines that are alike) and `elsewhere` (the same question for other
stores) · `server` HTTP and the live stream · `page/` what the browser gets: one page, one style sheet, some
modules, nothing from elsewhere.
"""

from __future__ import annotations

from .opening import open_browser
from .server import PageServer

__all__ = ["PageServer", "open_browser"]
