"""A checked configuration as plain values and back: how one process hands it to another, through a pipe.

Rules
- What comes back is checked like any other configuration, by `load`; nothing is unpickled.
- Secrets stand in it as they are, marked, so that a text such as `file:…` or `${…}` is not read a second
  time. Whoever calls `dump` must not let it out of memory or a pipe.
- Only what delivery needs is handed over: neither levels nor sources.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, Final

from .fields import Secret
from .loading import load
from .sections import Config
from .shape import section_of

__all__ = ["dump", "restore"]

_MARK: Final = "\0secret"
_LEFT_OUT: Final = frozenset({"logging", "sources", "sinks", "metrics", "delivery"})


def dump(config: Config) -> dict[str, Any]:
    """Return the configuration as JSON values, secrets revealed."""
    plain: dict[str, Any] = {
        setting.key: _plain(getattr(config, setting.attribute))
        for setting in section_of(Config).values()
        if setting.key not in _LEFT_OUT
    }
    sinks = {}
    for name, sink in config.sinks.items():
        own = _plain(sink.options)
        common = {key: value for key, value in _plain(sink.common).items() if key not in own}
        sinks[name] = {**common, **own, "type": sink.common.type}
    return {**plain, "sinks": sinks}


def restore(plain: Mapping[str, Any]) -> Config:
    """Return the configuration that `dump` made `plain` of. Raises ConfigError."""
    return load(_opened(plain), environ={})


def _plain(value: Any) -> Any:
    if isinstance(value, Secret):
        return {_MARK: value.reveal()}
    if is_dataclass(value) and not isinstance(value, type):
        settings = section_of(type(value)).values()
        return {setting.key: _plain(getattr(value, setting.attribute)) for setting in settings}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        value = str(value)
    return value.replace("${", "$${") if isinstance(value, str) else value


def _opened(value: Any) -> Any:
    if isinstance(value, Mapping):
        if value.keys() == {_MARK}:
            return Secret(value[_MARK])
        return {key: _opened(item) for key, item in value.items()}
    return [_opened(item) for item in value] if isinstance(value, list) else value
