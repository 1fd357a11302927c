"""Configuration: YAML or a mapping → checked values (`load`) → what is to run (`plan.plan`)."""

from __future__ import annotations

from .loading import load
from .problems import ConfigError, Problem
from .sections import Config

__all__ = ["Config", "ConfigError", "Problem", "load"]
