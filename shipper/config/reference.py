"""docs/configuration.md, made from the dataclasses: `python -m logferry.shipper.config.reference > docs/…`.

A test compares the committed page with what comes out here.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

from ..registry import BUILT_IN_SINKS, BUILT_IN_SOURCES, sink_kind, source_kind
from .bind import expected
from .fields import Duration, Size, format_duration, format_size
from .sections import Config, SinkConfig, SinkSection, SourceConfig, SourceSection
from .shape import Either, ListOf, MapOf, Scalar, Section, Setting, Shape, section_of

__all__ = ["reference"]

_HEAD: Final = """\
# Configuration

<!-- Made from the code: python -m logferry.shipper.config.reference > docs/configuration.md -->

One YAML file, or the same as a `dict`. `logferry.configure()` and every command read the file that they are
given, else the one that `LOGFERRY_CONFIG` names, else `./logferry.yaml`. `logferry init` writes a starter
file, `logferry check` finds every mistake at once:

```text
logferry.yaml:12:5: sinks.loki.ulr: unknown key; did you mean url?
```

- **Environment.** `${VAR}` is replaced (it must be set), `${VAR:-default}` when unset or empty,
  `${VAR:?message}` ends with the message. `$${` is a literal `${`; any other `$` is a `$`.
- **Secrets** are written as text, as `${VAR}`, or as `file:/path` (the file's content without its last line
  break). They are masked wherever they are printed.
- **Sizes**: `64KiB`, `1GiB`, `10MB` or plain bytes. **Durations**: `250ms`, `30s`, `15m`, `1h30m`, `7d` or
  plain seconds.
- **Paths** are relative to the file's directory (from a `dict`: to the working directory); `~` is your home.
- Unknown keys are mistakes. What a value means is decided by its key: `console: off`, `version: 1.10` and
  `service: yes` are text, quoted or not. YAML's anchors and `<<` work.
- **Editors** complete and check the file by the JSON Schema that comes with logferry; the first line that
  `logferry init` writes points to it.
"""


def reference() -> str:
    """Return the page."""
    parts = [_HEAD]
    plain = {k: s for k, s in section_of(Config).items() if _section(s.shape) is None}
    parts.append("## Top level\n\n" + _table(plain))
    for key, setting in section_of(Config).items():
        kind = _section(setting.shape)
        if kind is SinkConfig:
            parts += _kinds("sinks", SinkSection, BUILT_IN_SINKS, sink_kind)
        elif kind is SourceConfig:
            parts += _kinds("sources", SourceSection, BUILT_IN_SOURCES, source_kind)
        elif kind is not None:
            parts.append(f"## {key}\n\n{_said(kind)}{_also(setting)}\n\n{_table(section_of(kind))}")
            for inner, below in section_of(kind).items():
                if (part := _section(below.shape)) is not None:
                    parts.append(f"### {key}.{inner}\n\n{_said(part)}\n\n{_table(section_of(part))}")
    return "\n".join(parts).rstrip() + "\n"


def _kinds(title: str, common: type[Any], names: tuple[str, ...], find: Any) -> list[str]:
    one = title.removesuffix("s")
    intro = f"Every {one} has a name of your choice and these keys, beside those of its type."
    parts = [f"## {title}\n\n{intro}\n\n{_table(section_of(common))}"]
    for name in names:
        kind = find(name).config
        settings = section_of(kind)
        table = _table(settings) if settings else "It has no keys of its own.\n"
        parts.append(f"### {one} `{name}`\n\n{_said(kind)}\n\n{table}")
    return parts


def _section(shape: Shape) -> type[Any] | None:
    if isinstance(shape, Section):
        return shape.type
    if isinstance(shape, MapOf | ListOf):
        return _section(shape.item)
    if isinstance(shape, Either):
        return next((found for option in shape.options if (found := _section(option))), None)
    return None


def _said(kind: type[Any]) -> str:
    return " ".join((kind.__doc__ or "").split("\n\n", maxsplit=1)[0].split())


def _also(setting: Setting) -> str:
    if not isinstance(setting.shape, Either):
        return ""
    others = [o for o in setting.shape.options if not isinstance(o, Section)]
    words = [f"`{setting.key}: {_words(option)}`" for option in others]
    return f" Or {', '.join(words)}: {setting.help.partition('; ')[2]}." if words else ""


def _table(settings: Any) -> str:
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for setting in settings.values():
        meaning = setting.help
        if setting.example:
            meaning += f"; e.g. `{setting.example}`"
        bounds = [
            f"{word} {_number(setting, bound)}"
            for word, bound in (("at least", setting.minimum), ("at most", setting.maximum))
            if bound is not None
        ]
        if bounds:
            meaning += f" ({', '.join(bounds)})"
        cells = (f"`{setting.key}`", _words(setting.shape), _default(setting), meaning)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _words(shape: Shape) -> str:
    if isinstance(shape, ListOf):
        return f"list of {_words(shape.item)}"
    if isinstance(shape, MapOf):
        return f"mapping of names to {_words(shape.item)}"
    if isinstance(shape, Either):
        return " or ".join(map(_words, shape.options))
    return (
        "mapping"
        if isinstance(shape, Section)
        else expected(shape).removeprefix("a ").partition(" such as")[0]
    )


def _number(setting: Setting, bound: float) -> str:
    kinds = [o.type for o in _options(setting.shape) if isinstance(o, Scalar)]
    if Size in kinds:
        return format_size(int(bound))
    return format_duration(bound) if Duration in kinds else f"{bound:g}"


def _default(setting: Setting) -> str:
    if setting.required:
        return "required"
    text = _written(setting, setting.default)
    return f"`{text}`" if text else ""


def _written(setting: Setting, value: object) -> str:
    kinds = [o.type for o in _options(setting.shape) if isinstance(o, Scalar)]
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float) and Size in kinds:
        return format_size(int(value))
    if isinstance(value, int | float) and Duration in kinds:
        return format_duration(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]" if value else ""
    return str(value) if isinstance(value, str | int | float | Path) else ""


def _options(shape: Shape) -> tuple[Shape, ...]:
    return shape.options if isinstance(shape, Either) else (shape,)


if __name__ == "__main__":
    sys.stdout.write(reference())
