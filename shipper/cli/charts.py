"""The panels as small charts of text: lines of blocks, bars, a heatmap. Pure; whoever calls it prints.

Rules:
- A chart has a number beside whatever it draws: nobody has to read a height.
- Colour repeats what shape and number say already. Without colour nothing is missing.
- A step without data is a gap, not a nought; several steps in one column are joined by what the panel means
  (counts add up, shares and latencies show their worst).
- Names come from log lines: they are made harmless and cut to their column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click

from ..panels import CATALOGUE, Panel
from .table import SHADES, cut_to, plain_cell, width_of

__all__ = ["Range", "beside", "chart", "spark"]

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_PARTS: Final = "▏▎▍▌▋▊▉█"
_SHADE: Final = "·░▒▓█"
_NAME: Final = 18  # columns of a series' name
_SERIES: Final = 8  # lines in one chart; what is more is counted
_HUES: Final = ("cyan", "green", "yellow", "magenta", "blue", "bright_cyan", "bright_green", "bright_yellow")
_ABOUT: Final = {"heatmap": "requests by duration, the denser the more"}
_LATENCIES: Final = {"p50": "green", "p95": "yellow", "p99": "red"}

Rows = Sequence[Mapping[str, Any]]
Join = Callable[[Iterable[float]], float]


class Range:
    """The steps of a range: from `start` on, `steps` of them, each `step` seconds long."""

    def __init__(self, start: datetime, end: datetime, step: int) -> None:
        seconds = start.timestamp()
        self.step = step
        self.first = int(seconds // step) * step
        self.steps = max(1, -int(-(end.timestamp() - self.first) // step))
        self.zone = start.tzinfo

    def place(self, moment: datetime) -> int:
        """Return the step that a moment of the store (UTC, without a zone) lies in."""
        return int((moment.replace(tzinfo=UTC).timestamp() - self.first) // self.step)

    def axis(self, width: int) -> str:
        """Return the line of times below a chart."""
        begin = datetime.fromtimestamp(self.first, self.zone)
        end = begin + timedelta(seconds=self.steps * self.step)
        form = "%H:%M:%S" if self.steps * self.step <= 3600 else "%H:%M"
        if end - begin > timedelta(days=1):
            form = "%m-%d %H:%M"
        left, right = begin.strftime(form), end.strftime(form)
        return left + " " * max(1, width - len(left) - len(right)) + right


def spark(values: Sequence[float | None], top: float) -> str:
    """Return values as a line of blocks; None is a gap, and whatever is above nought can be seen."""
    last = len(_BLOCKS) - 1
    return "".join(
        " " if value is None else _BLOCKS[min(last, round(value / top * last)) if top > 0 else 0]
        for value in values
    )


def _joined(points: Mapping[int, float], steps: int, width: int, join: Join) -> list[float | None]:
    """Return one value for each column of a line that is at most `width` columns long."""
    columns = min(steps, width)
    held: list[list[float]] = [[] for _ in range(columns)]
    for place, value in points.items():
        if 0 <= place < steps:
            held[place * columns // steps].append(value)
    return [join(values) if values else None for values in held]


def _styled(text: str, colour: str, on: bool) -> str:  # noqa: FBT001 - two letters in a row of texts
    return click.style(text, fg=colour) if on and colour else text


def figure(value: float | None, unit: str) -> str:
    """Return a value with its unit, as the panel's unit says it."""
    if value is None:
        return "none"
    if unit == "percentunit":
        return f"{value:.2%}" if value < 0.1 else f"{value:.1%}"
    if unit == "ms":
        return (
            f"{value / 1000:.2f} s"
            if value >= 1000
            else f"{value:.0f} ms"
            if value >= 10
            else f"{value:.1f} ms"
        )
    if unit == "reqps":
        return f"{value:.1f}/s" if value < 100 else f"{value:,.0f}/s"
    return f"{value:,.0f}"


def chart(name: str, rows: Rows, over: Range, width: int, *, colour: bool) -> list[str]:
    """Return a panel as lines at most `width` columns wide: its title, then the chart."""
    panel = CATALOGUE[name]
    title = click.style(panel.title, bold=True) if colour else panel.title
    about = cut_to(f"  {_ABOUT.get(name, panel.about)}", width - len(panel.title))
    lines = [title + _styled(about, "bright_black", colour)]
    if not rows:
        return [*lines, "  nothing in this range"]
    if name == "heatmap":
        return lines + _heatmap(rows, over, width, colour=colour)
    if panel.over == "time":
        return lines + _series(panel, rows, over, width, colour=colour)
    return lines + _bars(panel, rows, width, colour=colour)


def _series(panel: Panel, rows: Rows, over: Range, width: int, *, colour: bool) -> list[str]:
    series: dict[str, dict[int, float]] = {}
    if panel.name == "latency":
        for key in _LATENCIES:
            series[key] = {over.place(row["time"]): row[key] for row in rows if row[key] is not None}
    else:
        by, value = ("level", "count") if panel.name == "volume" else ("service", "value")
        for row in rows:
            series.setdefault(str(row[by]), {})[over.place(row["time"])] = float(row[value])
    join: Join = sum if panel.name == "volume" else max
    room = max(10, width - _NAME - 26)
    lines = []
    ranked = (
        sorted(series, key=lambda one: -sum(series[one].values())) if panel.name != "latency" else [*series]
    )
    for number, key in enumerate(ranked[:_SERIES]):
        points = series[key]
        # A step without requests is 0 requests; without events, none. A share of nothing is nothing.
        if panel.name in {"qps", "volume"}:
            points = {place: points.get(place, 0.0) for place in range(over.steps)}
        values = _joined(points, over.steps, room, join)
        top = max((value for value in values if value is not None), default=0.0)
        shade = _LATENCIES.get(key) or SHADES.get(key) or _HUES[number % len(_HUES)]
        drawn = spark(values, top if panel.unit != "percentunit" else max(top, 0.01))
        if panel.name == "volume":
            told = f"{figure(sum(points.values()), panel.unit)} in all"
        else:
            # The last step has only begun: its rate would be too low.
            whole = [place for place in points if place < over.steps - 1] or [*points]
            last = points[max(whole)] if whole else None
            highest = max(points.values(), default=None)
            told = f"{figure(last, panel.unit)}, max {figure(highest, panel.unit)}"
        lines.append(f"  {_label(key, _NAME)} {_styled(drawn, shade, colour)} {told}")
    if len(series) > _SERIES:
        lines.append(f"  … and {len(series) - _SERIES} more")
    return [*lines, "  " + " " * (_NAME + 1) + over.axis(min(over.steps, room))]


def _label(text: object, width: int) -> str:
    cut = cut_to(plain_cell(text), width)
    return cut + " " * (width - width_of(cut))


def _bars(panel: Panel, rows: Rows, width: int, *, colour: bool) -> list[str]:
    key = {"top_errors": "rate", "slowest": "p95", "calls": "calls"}.get(panel.name, "count")
    other = {"errors": "error", "calls": "peer"}.get(panel.name, "endpoint")
    top = max(float(row[key] or 0) for row in rows) or 1.0
    arrow = " →" if panel.name == "calls" else ""
    names = [plain_cell(f"{row['service']}{arrow} {row[other]}") for row in rows]
    # The bars stand beside their names, however wide the terminal is.
    widest = max(_NAME, *map(width_of, names))
    # Names matter more than the length of bars.
    figures = 48 if panel.name == "calls" else 26
    drawn = max(8, min(30, width // 4, width - figures - widest))
    room = min(widest, max(10, width - drawn - figures))
    lines = []
    for row, name in zip(rows, names, strict=True):
        value = float(row[key] or 0)
        eighths = round(value / top * drawn * 8)
        bar = "█" * (eighths // 8) + (_PARTS[eighths % 8 - 1] if eighths % 8 else "")
        told = figure(value, panel.unit)
        if panel.name == "top_errors":
            told += f" of {row['requests']:,}"
        if panel.name == "calls":
            told += f", {figure(row['rate'], 'percentunit')} failed, P95 {figure(row['p95'], 'ms')}"
        shade = {"slowest": "yellow", "calls": "blue"}.get(panel.name, "red")
        padded = _styled(bar, shade, colour) + " " * (drawn - len(bar))
        lines.append(f"  {_label(name, room)} {padded} {told}")
    return lines


def _heatmap(rows: Rows, over: Range, width: int, *, colour: bool) -> list[str]:
    counts: dict[float, dict[int, float]] = {}
    for row in rows:
        edge = float(str(row["duration_le"]).replace("+Inf", "inf"))
        place = over.place(row["time"])
        line = counts.setdefault(edge, {})
        line[place] = line.get(place, 0.0) + float(row["count"])
    room = max(10, width - 22)
    lines = {edge: _joined(points, over.steps, room, sum) for edge, points in counts.items()}
    top = max((value for line in lines.values() for value in line if value is not None), default=1.0)
    drawn = []
    for edge in sorted(lines, reverse=True):
        # The square root: one slow request among thousands of quick ones is what one looks for.
        cells = "".join(
            " " if value is None else _SHADE[max(1, round((value / top) ** 0.5 * 4))] for value in lines[edge]
        )
        bound = "longer" if edge == float("inf") else f"≤ {figure(edge, 'ms')}"
        total = sum(value for value in lines[edge] if value is not None)
        drawn.append(f"  {bound:>9} {_styled(cells, 'yellow', colour)} {figure(total, 'short')}")
    return [*drawn, "  " + " " * 10 + over.axis(min(over.steps, room))]


def beside(left: Sequence[str], right: Sequence[str], width: int) -> list[str]:
    """Return two blocks of lines side by side, each `width` columns wide."""
    height = max(len(left), len(right))
    pairs = zip([*left, *[""] * (height - len(left))], [*right, *[""] * (height - len(right))], strict=True)
    return [
        f"{one}{' ' * max(0, width - width_of(click.unstyle(one)))}  {other}".rstrip() for one, other in pairs
    ]
