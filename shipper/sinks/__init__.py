"""Sinks: one module or folder each, the same anatomy, known to the rest through the registry only."""

from __future__ import annotations

__all__: list[str] = []
