"""Which stream an event belongs to, and the guard against too many streams.

Rules:

- A stream's labels are the configured fields that the event has, the static labels, the writer's number, and,
  for access, job and span events, `kind`. Missing and empty values are left out: Loki has no empty label.
- A label value is at most `metadata.VALUE_BYTES` bytes (Loki refuses more than 2048).
- Every stream has a label: without any it is `{service="unknown"}`.
- A field that has taken more than `budget` distinct values in this process is *demoted*: from then on it is
  structured metadata. A label with many values makes Loki slow and then makes it refuse everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from .metadata import text_of, wire_name

__all__ = ["KIND", "WRITER", "LabelGuard", "label_text", "stream_labels", "written_by"]

KIND: Final = "kind"
WRITER: Final = "writer"
_ESCAPES: Final = str.maketrans(
    {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\x00": "\\x00"}
)


def stream_labels(names: Sequence[str], values: Sequence[Any], static: Mapping[str, str]) -> dict[str, str]:
    """Return the labels of a stream by their names on the wire, sorted; `static` loses against a field."""
    labels = dict(static)
    for name, value in zip(names, values, strict=True):
        if text := text_of(value):
            labels[wire_name(name)] = text
    return dict(sorted(labels.items())) or {"service": "unknown"}


def label_text(labels: Mapping[str, str]) -> str:
    """Return labels as Loki reads them: `{level="INFO", service="checkout"}`."""
    return "{" + ", ".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items()) + "}"


def written_by(text: str, writer: str) -> str:
    """Return the text of labels with that of the writer; an empty one is none."""
    return f'{text[:-1]}, {WRITER}="{writer}"}}' if writer else text


@dataclass(slots=True)
class LabelGuard:
    """Counts the distinct values of each label field. `demoted` holds the fields that passed the budget."""

    budget: int
    demoted: list[str] = field(default_factory=list)
    _seen: dict[str, set[Any]] = field(default_factory=dict)

    def admit(self, names: Sequence[str], values: Sequence[Any]) -> list[str]:
        """Note the values of a stream not met before; return the fields that just passed the budget."""
        fallen = []
        for name, value in zip(names, values, strict=True):
            seen = self._seen.setdefault(name, set())
            seen.add(text_of(value))
            if len(seen) > self.budget:
                fallen.append(name)
                del self._seen[name]
        self.demoted += fallen
        return fallen
