"""The local page in a real browser over ten million events: the first picture, all of it, and scrolling.

    make bench-page
    python benchmarks/ui_page.py [--events 10000000] [--path DIR] [--json FILE] [--rounds 5]

`logferry ui` is started anew for each cold round; Chromium draws the page at 1440 x 900. Times are from
navigation until the frame in which a panel stands is done. The lines are scrolled by wheel and by dragging
the bar through all of them, while `requestAnimationFrame` says how long each frame took; one that waits for
nothing takes 16.7 ms. How long lines are shown as not yet there is counted, too.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from machine import write
from rows import Row, plain
from store_panels import make_once

from logferry.shipper.store.layout import Layout

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from servers import browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SINCE, UNTIL = "2026-11-19T00:00:00Z", "2026-11-21T01:00:00Z"
PATIENCE = 300.0
PANELS = ("volume", "heatmap", "qps", "error_rate", "top_errors", "slowest", "errors", "keywords", "topology")
# What stands is looked for once a frame, and counts when the next frame begins: it has been drawn by then.
WATCH = """
(() => {
  const bench = window.bench = { drawn: {}, frames: [], bare: 0, last: 0 };
  const there = (name) => {
    const body = document.querySelector(`[data-panel="${name}"] .body`);
    return body && (body.querySelector("svg, button, table, .graph") || !/^…?$/.test(body.innerText.trim()));
  };
  let seen = [];
  const look = (now) => {
    for (const name of seen) bench.drawn[name] = now;
    seen = %PANELS%.filter((name) => !(name in bench.drawn) && there(name));
    if (!("lines" in bench.drawn) && document.querySelector("#rows .row:not(.waiting)")) seen.push("lines");
    if (!("all" in bench.drawn) && document.body?.dataset.shown) seen.push("all");
    if (bench.last) bench.frames.push(now - bench.last);
    bench.last = now;
    if (document.querySelector("#rows .row.waiting")) bench.bare += 1;
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})();
""".replace("%PANELS%", str(list(PANELS)))
# A wheel's notch a frame, as long as somebody turns it; then the bar is dragged through all of the lines.
SCROLL = """
([how, frames]) => new Promise((done) => {
  const box = document.querySelector("#rows"), bench = window.bench;
  Object.assign(bench, { frames: [], bare: 0, last: 0 });
  let turn = 0;
  const step = () => {
    const text = document.querySelector("#count").innerText;
    if (turn === frames) return done({ frames: bench.frames, bare: bench.bare, text });
    turn += 1;
    if (how === "wheel") box.scrollTop += 100;
    else box.scrollTop = (box.scrollHeight - box.clientHeight) * turn / frames;
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
})
"""


@contextmanager
def served(store: Path) -> Iterator[str]:
    """Run `logferry ui` over a store; give its address."""
    command = ["ui", "--store", str(store), "--listen", "127.0.0.1:0", "--no-open"]
    process = subprocess.Popen(
        [sys.executable, "-m", "logferry", *command], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def looked_at(chromium: Browser, url: str, **state: str) -> Iterator[Page]:
    """Open the page in a browser that knows nothing of it; give it when everything stands."""
    words = "&".join(f"{name}={value}" for name, value in {"since": SINCE, "until": UNTIL, **state}.items())
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    try:
        page = context.new_page()
        page.add_init_script(WATCH)
        page.goto(f"{url}#{words}")
        deadline = time.monotonic() + PATIENCE
        while not page.evaluate("'all' in window.bench.drawn"):
            if time.monotonic() > deadline:
                raise RuntimeError("the page never stood")
            page.wait_for_timeout(20)
        yield page
    finally:
        context.close()


def first_pictures(chromium: Browser, store: Path, rounds: int) -> list[Row]:
    """Time the first panel, the lines and all of it: the server just started, and asked before."""
    took: dict[str, list[dict[str, float]]] = {"server just started": [], "asked before": []}
    for _ in range(rounds):
        with served(store) as url:
            for found in took.values():
                with looked_at(chromium, url) as page:
                    found.append(page.evaluate("window.bench.drawn"))
    rows = []
    for name, found in took.items():
        for what in ("volume", "lines", *PANELS[1:], "all"):
            times = [one[what] / 1000 for one in found if what in one]
            words = {"volume": "first picture (volume)", "all": "everything"}.get(what, what)
            print(f"{name:<22} {words:<26} {min(times):6.2f} {statistics.median(times):6.2f} s")
            if what in {"volume", "lines", "all"}:
                rows.append(Row("page", f"{words}, {name}", {"seconds": statistics.median(times)}))
    return rows


def scrolled(chromium: Browser, store: Path) -> list[Row]:
    """Scroll through all lines, by wheel and by the bar; frames in ms."""
    rows = []
    with served(store) as url, looked_at(chromium, url, view="lines") as page:
        for how, frames in (("wheel", 600), ("bar", 300)):
            page.evaluate("document.querySelector('#rows').scrollTop = 0")
            found = page.evaluate(SCROLL, [how, frames])
            times = sorted(found["frames"])
            p50, p95 = (times[int(len(times) * share)] for share in (0.5, 0.95))
            bare = found["bare"] / len(times)
            print(
                f"scrolling by {how:<6} {len(times)} frames: p50 {p50:.1f}, p95 {p95:.1f},"
                f" longest {times[-1]:.1f} ms; lines not yet there in {bare:.0%}; {found['text']}"
            )
            figures = {"frame_p50": p50, "frame_p95": p95, "frame_max": times[-1]}
            rows.append(Row("page scrolling", f"by {how}", figures))
        began = time.perf_counter()
        page.evaluate("document.querySelector('#rows').scrollTop = 4e6")
        while page.evaluate("!!document.querySelector('#rows .row.waiting')"):
            page.wait_for_timeout(5)
        took = time.perf_counter() - began
        print(f"a jump to the middle: {took:.2f} s until its lines stand")
        rows.append(Row("page", "a jump to the middle of the lines", {"seconds": took}))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--path", type=Path, help="a store that is kept")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not browser.install():
        sys.exit("the page is measured in Debian's Chromium, which could not be had")
    with tempfile.TemporaryDirectory() as scratch:
        layout = Layout(options.path or Path(scratch) / "store")
        make_once(layout, options.events)
        with browser.opened(Path(scratch)) as chromium:
            rows = [
                *first_pictures(chromium, layout.path, options.rounds),
                *scrolled(chromium, layout.path),
            ]
    if options.json:
        write(options.json, {"events": options.events, "rows": plain(rows)})


if __name__ == "__main__":
    main()
