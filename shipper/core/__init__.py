"""Decisions without I/O: time, randomness and bytes come in as arguments."""

from __future__ import annotations

__all__: list[str] = []
