"""How the documentation is built: Markdown pages, and a reference made from the code at each build."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import api_reference

import logferry

project = "logferry"
author = "the logferry authors"
release = logferry.__version__
extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "logferry"
suppress_warnings = ["myst.header"]

api_reference.write(Path(__file__).parent / "api.md")
