"""The local page: the panels, the lines and the traces of a local store, in a browser.

`guard` who may ask · `answers` questions to the store as JSON · `server` HTTP and the live stream · `page/`
what the browser gets: one page, one style sheet, two modules, nothing from elsewhere.
"""

from __future__ import annotations

from .server import PageServer

__all__ = ["PageServer"]
