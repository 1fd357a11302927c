"""Configuration: YAML or a mapping → checked values → a plan of what runs."""

from __future__ import annotations

from .load import load
from .problems import ConfigError, Problem
from .sections import Config

__all__ = ["Config", "ConfigError", "Problem", "load"]
