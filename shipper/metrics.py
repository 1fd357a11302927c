"""The books as Prometheus text. Pure: accounts and states in, text out.

Counters of sinks are the books on disk, so they survive restarts:
`accepted = delivered + pending + dead_lettered + filtered + dropped` holds in every scrape, for each sink.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from .model import Account
from .worker import SinkState

__all__ = ["CONTENT_TYPE", "render"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_COUNTERS = (
    ("accepted", "Events accepted for the sink."),
    ("delivered", "Events that the sink has acknowledged."),
    ("dead_lettered", "Events that the sink will never take, kept with the reason."),
    ("retried", "Events sent again (beside the identity)."),
    ("duplicates", "Events that the sink had before (beside the identity)."),
    ("replayed", "Dead letters that were delivered afterwards (beside the identity)."),
)
_UNPARSED = "Lines that were not of the source's format and were kept as text, since the process began."
_NOTHING: Mapping[str, int] = MappingProxyType({})
_STATES = ("ok", "retrying", "paused")


def _label(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _family(name: str, kind: str, text: str, samples: Iterable[tuple[str, float]]) -> list[str]:
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        number = value if isinstance(value, int) else f"{value:.3f}"
        lines.append(f"{name}{{{labels}}} {number}")
    return lines


def render(
    accounts: Mapping[str, Account], states: Mapping[str, SinkState], unparsed: Mapping[str, int] = _NOTHING
) -> str:
    """Return the exposition text for sinks by name, and the lines that sources have not understood."""
    sinks = {name: f'sink="{_label(name)}"' for name in accounts}
    out: list[str] = []
    for field, text in _COUNTERS:
        samples = [(sinks[name], getattr(account, field)) for name, account in accounts.items()]
        out += _family(f"logferry_{field}_total", "counter", text, samples)
    pending = [(sinks[name], account.pending) for name, account in accounts.items()]
    out += _family("logferry_pending", "gauge", "Events that wait in the spool.", pending)
    for field, text in (
        ("filtered", "Events not meant for the sink, by reason."),
        ("dropped", "Events lost, by reason."),
    ):
        by_reason = [
            (f'{sinks[name]},reason="{_label(reason)}"', count)
            for name, account in accounts.items()
            for reason, count in sorted(getattr(account, field).items())
        ]
        out += _family(f"logferry_{field}_total", "counter", text, by_reason)
    named = [(f'sink="{_label(name)}"', state) for name, state in states.items()]
    current = [(f'{label},state="{s}"', int(state.state == s)) for label, state in named for s in _STATES]
    out += _family("logferry_sink_state", "gauge", "1 for the state that the sink is in.", current)
    lags = [(label, state.lag) for label, state in named]
    out += _family("logferry_lag_seconds", "gauge", "Age of the oldest event that is being sent.", lags)
    lines = [(f'source="{_label(name)}"', count) for name, count in unparsed.items()]
    out += _family("logferry_unparsed_lines_total", "counter", _UNPARSED, lines)
    return "\n".join([*out, ""])
