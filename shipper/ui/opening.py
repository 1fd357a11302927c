"""A browser for the page, where there is one to be opened."""

from __future__ import annotations

import os
import sys

__all__ = ["open_browser"]


def open_browser(url: str) -> bool:
    """Open the page in a browser; False without a screen (a browser of texts would take the terminal)."""
    import webbrowser

    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or os.environ.get("BROWSER")
    ):
        return False
    return webbrowser.open(url)
