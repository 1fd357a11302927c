"""The local page in a real browser, over what an agent has shipped: numbers, live, traces, hostile lines.

Whatever a test does, its page must have said nothing on the console and asked nobody but its own server.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import orjson
import pytest
from servers import browser, scene

from logferry.shipper.model import Batch, Delivered
from logferry.shipper.store.layout import Layout
from logferry.shipper.store.writer import StoreWriter

PATIENCE = 90.0
PROBE = (Path(browser.__file__).parent / "probe.js").read_text()
HOSTILE = {
    "script": "</span><script>window.pwned=1</script><img src=x onerror='window.pwned=1'>"
    "<svg onload='window.pwned=1'>",
    "ansi": "\x1b[31mred\x1b[0m \x1b]8;;http://evil.example\x07link\x1b]8;;\x07 \x1b[2J\x07 end-of-ansi",
    "rtl": "invoice\u202egnp.exe\u2066 \u200f\u200b end-of-rtl",
    "long": "L" * 1_000_000 + " end-of-long",
    "template": "{{7*7}} ${7*7} javascript:window.pwned=1 data:text/html,<script>window.pwned=1</script>",
}


@dataclass(frozen=True)
class Shop:
    """What was shipped, and where it is shown."""

    directory: Path
    config: Path
    url: str
    events: list[dict[str, Any]]
    since: str
    until: str

    def page(self, **state: str) -> str:
        words = {"since": self.since, "until": self.until} | state
        return f"{self.url}#" + "&".join(f"{name}={quote(value)}" for name, value in words.items())


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    browser.required()
    directory = tmp_path_factory.mktemp("shop")
    end = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=30)
    lines = scene.lines(end, 600, 3)
    config = scene.ship(directory, lines)
    process = subprocess.Popen(
        [sys.executable, "-m", "logferry", "ui", "-c", str(config), "--listen", "127.0.0.1:0", "--no-open"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:")
        since, until = (f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in (end - timedelta(seconds=600), end))
        yield Shop(directory, config, url, [orjson.loads(line) for line in lines], since, until)
    finally:
        process.terminate()
        process.communicate(timeout=60)
        assert process.returncode == 0


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    browser.required()
    with browser.opened(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture
def page(chromium: Any, shop: Shop) -> Iterator[Any]:
    context = chromium.new_context(viewport={"width": 1400, "height": 900}, accept_downloads=True)
    opened = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    opened.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    opened.on("pageerror", lambda error: said.append(f"error: {error}"))
    opened.on("dialog", lambda dialog: (said.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    context.on("request", lambda request: asked.append(request.url))
    yield opened
    context.close()
    assert said == []
    ours = urlsplit(shop.url).netloc
    assert asked
    assert [url for url in asked if urlsplit(url).netloc != ours] == []


def look(page: Any, what: str) -> Any:
    """Ask the page, in the words of `probe.js`."""
    return page.evaluate(f"(() => {{ {PROBE}; return {what}; }})()")


def until(page: Any, script: str, what: Callable[[Any], bool] = bool) -> Any:
    """Ask the page again and again: its policy forbids what Playwright would wait with."""
    deadline = time.monotonic() + PATIENCE
    while not what(found := look(page, script)):
        assert time.monotonic() < deadline, (script, found, page.evaluate("document.body.innerText")[:2000])
        page.wait_for_timeout(30)
    return found


def shown(page: Any, address: str) -> None:
    page.goto("about:blank")
    page.goto(address)
    until(page, "Number(document.body.dataset.shown ?? 0)")


def total(page: Any) -> int:
    return int(
        until(page, "text('#count')", lambda text: " of " in text).rpartition(" of ")[2].replace(",", "")
    )


def after(page: Any, act: Callable[[], object]) -> None:
    """Act, and wait until the page has shown what came of it."""
    before = page.evaluate("Number(document.body.dataset.shown)")
    act()
    until(page, "Number(document.body.dataset.shown)", lambda count: count > before)


def test_the_panels_show_the_right_numbers(page: Any, shop: Shop) -> None:
    shown(page, shop.page())
    access = [event for event in shop.events if event.get("kind") == "access"]
    assert total(page) == len(shop.events)
    assert look(page, "sums('volume', 'click')") == Counter(event["level"] for event in shop.events)
    assert look(page, "sums('heatmap', 'click')") == Counter(event["duration_le"] for event in access)
    points = look(page, "points('qps')")
    (step,) = {(b[0] - a[0]) / 1000 for series in points.values() for a, b in pairwise(series)}
    for service, count in Counter(event["service"] for event in access).items():
        assert sum(value for _, value in points[service]) * step == pytest.approx(count)
    assert list(look(page, "points('heatmap')")) == ["P50", "P95", "P99"]
    rates = look(page, "numbers('[data-panel=top_errors] .bars button', 'name', 'value')")
    asked_for: Counter[str] = Counter(f"{event['service']} {event['endpoint']}" for event in access)
    failed: Counter[str] = Counter(
        f"{event['service']} {event['endpoint']}" for event in access if event["failed"]
    )
    wanted = sorted(
        (failed[name] / count for name, count in asked_for.items() if failed[name]), reverse=True
    )[:5]
    assert sorted(rates.values(), reverse=True) == pytest.approx(wanted)
    assert all(rate == pytest.approx(failed[name] / asked_for[name]) for name, rate in rates.items())
    patterns = look(page, "numbers('[data-panel=errors] tr[data-error]', 'error', 'count')")
    own = Counter(event["error_pattern"] for event in shop.events if "error_pattern" in event)
    assert own
    assert {name: patterns.get(name) for name in own} == own
    marks = look(page, "texts('[data-panel=errors] .mark')")
    assert marks == ["new in 1.5.0"] * ("BankTimeout: bank gateway did not answer within <num> s" in own)
    # Every chart has a line where something was deployed; the widest says what.
    assert page.locator("#volume .deployed text").all_text_contents() == ["payments 1.5.0"]
    assert page.locator(".deployed[data-deployed='payments 1.5.0'] line").count() == 4
    words = look(page, "numbers('[data-panel=keywords] .cloud button', '', 'count')")
    refused = own["PaymentRefused: payment of order <num> refused"]
    assert words["refused"] == refused
    assert words["超时"] == sum(count for name, count in own.items() if "超时" in name)
    assert "the" not in words
    calls = look(page, "numbers('[data-panel=topology] li', 'edge', 'calls')")
    assert calls["edge>shop"] == pytest.approx(sum(event["service"] == "edge" for event in access), abs=3)
    assert {"shop>stock", "shop>payments", "shop>postgresql", "payments>bank.example"} <= set(calls)
    accepted = look(page, "numbers('[data-accepted]', 'accepted', 'accepted')")
    delivered = look(page, "numbers('[data-delivered]', 'delivered', 'delivered')")
    assert accepted == delivered
    assert max(accepted.values()) >= len(shop.events)
    status = look(page, "text('#complete')")
    assert f"{len(shop.events):,} events" in status
    assert "nothing on its way" in status
    assert "none dropped" in status


def test_what_is_clicked_dragged_and_typed_narrows(page: Any, shop: Shop) -> None:
    shown(page, shop.page())
    everything = total(page)
    # A field's name, and a value with its count, are offered.
    page.fill("#filter", "")
    page.type("#filter", "serv")
    until(
        page,
        "text('#words li')",
        lambda text: text.startswith("service"),
    )
    page.keyboard.press("Tab")
    until(
        page,
        "texts('#words li span')",
        lambda all_: "payments" in all_,
    )
    page.keyboard.type("pay")
    offered = until(
        page,
        "texts('#words li')",
        lambda all_: len(all_) == 1,
    )
    ours = [event for event in shop.events if event["service"] == "payments"]
    assert offered == [f"payments{len(ours):,}"]
    page.keyboard.press("Tab")
    after(page, lambda: page.keyboard.press("Enter"))
    assert total(page) == len(ours)
    assert "filter=service%3Dpayments" in page.url
    # A click on a bar is its level and its time.
    bar = page.locator("[data-panel=volume] rect[data-click=ERROR]").last
    count = int(bar.get_attribute("data-count"))
    after(page, lambda: bar.dispatch_event("click"))
    assert total(page) == count
    assert page.locator(".chip .word").all_text_contents() == ["service=payments", "level=ERROR"]
    # The address holds all of it.
    here = page.url
    shown(page, here)
    assert total(page) == count
    # A chip is switched off without being deleted, and on again.
    after(page, lambda: page.click(".chip .word >> text=level=ERROR"))
    assert page.locator(".chip.off .word").all_text_contents() == ["level=ERROR"]
    assert total(page) > count
    after(page, lambda: page.click(".chip.off .word"))
    assert total(page) == count
    # A drag over a chart is a time for everything.
    shown(page, shop.page())
    box = page.locator("[data-panel=qps] svg").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 60)
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 60)
    after(page, page.mouse.up)
    assert 0.1 * everything < total(page) < 0.4 * everything
    since, end = re.findall(r"(?:since|until)=([^&]+)", page.url)
    inside = [
        event
        for event in shop.events
        if since.replace("%3A", ":") <= event["timestamp"] < end.replace("%3A", ":")
    ]
    assert total(page) == len(inside)
    # A mistake is said in words, with what was meant.
    page.fill("#filter", "servce=payments")
    page.keyboard.press("Enter")
    assert "did you mean service?" in until(page, "text('#problem')")


def test_nothing_found_says_why_and_a_value_is_a_click_away(page: Any, shop: Shop) -> None:
    ours = [event for event in shop.events if event["service"] == "payments"]
    shown(page, shop.page(filter='"no such line"'))
    assert "Without the filter there are" in until(page, "text('.why')")
    # Of several words the one to blame is named, and switched off at a click.
    shown(page, shop.page(filter='service=payments "no such line"'))
    assert f'Without "no such line": {len(ours):,} lines' in until(page, "text('.why')")
    after(page, lambda: page.click(".why button >> text=drop it"))
    assert page.locator(".chip.off .word").all_text_contents() == ['"no such line"']
    assert total(page) == len(ours)
    # A value in a line: only this, or without this.
    after(page, lambda: page.locator("#rows .row .lvl >> text=INFO").first.click(modifiers=["Alt"]))
    assert page.locator(".chip:not(.off) .word").all_text_contents() == ["service=payments", "-level=INFO"]
    assert set(look(page, "texts('#rows .lvl')")) <= {"ERROR", "WARNING"}


def test_a_line_opens_its_fields_its_trace_and_its_context(page: Any, shop: Shop) -> None:
    failed = next(
        event for event in reversed(shop.events) if event.get("error", {}).get("type") == "PaymentRefused"
    )
    of_trace = [event for event in shop.events if event["trace_id"] == failed["trace_id"]]
    spans = [event for event in of_trace if event.get("kind") in {"access", "span", "job"}]
    shown(page, shop.page(filter=f'"{failed["message"]}"'))
    until(page, "document.querySelectorAll('#rows .row').length", lambda count: count == 1)
    page.click("#rows .row")
    fields = look(page, "fields()")
    assert fields["trace_id"] == failed["trace_id"]
    assert fields["order_id"] == str(failed["order_id"])
    assert 'File "/srv/payments/bank.py"' in page.inner_text("#detail .stack")
    line = page.url
    assert f"line={fields['event_id']}" in line
    # Its trace: the waterfall, and its lines in order of time.
    page.keyboard.press("o")
    until(page, "document.querySelectorAll('#trace .span').length", lambda count: count == len(spans))
    assert page.locator("#trace .told .row").count() == len(of_trace) - len(spans)
    assert {"edge", "shop", "payments"} <= set(look(page, "texts('#trace .span small')"))
    assert f"trace={failed['trace_id']}" in page.url
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    until(page, "document.querySelector('#trace').hidden && document.querySelector('#detail').hidden")
    # What was logged around it, without the filter; wider, and of everybody.
    page.click("#rows .row")
    page.keyboard.press("c")
    until(page, "text('#count')", lambda text: "around one line" in text)
    assert page.locator("#rows .row").count() > 10
    assert set(look(page, "texts('#rows .svc')")) == {"payments"}
    page.click("#everybody")
    until(
        page,
        "new Set(texts('#rows .svc')).size",
        lambda count: count > 1,
    )
    assert failed["message"] in page.inner_text("#rows .row.on")
    # A link to a line opens it, wherever it is.
    shown(page, shop.page() + f"&line={fields['event_id']}")
    assert failed["message"] in until(page, "text('#detail .message')")
    assert failed["message"] in until(page, "text('#rows .row.on')")
    # A pasted traceparent is the trace.
    shown(page, shop.page())
    page.fill("#filter", f"00-{failed['trace_id']}-{failed['span_id']}-01")
    page.keyboard.press("Enter")
    until(page, "document.querySelectorAll('#trace .span').length", lambda count: count == len(spans))


def test_any_of_many_lines_is_a_scroll_away(page: Any, shop: Shop) -> None:
    shown(page, shop.page(view="lines"))
    newest = [event["message"] for event in reversed(shop.events)]
    all_ = total(page)
    for share in (0.5, 1.0, 0.1, 0.0):
        look(page, f"scroll({share})")
        wanted = share * all_
        place = until(page, "first()", lambda found, at=wanted: found is not None and abs(found[0] - at) < 80)
        assert newest[place[0]].split("  ")[0][:40] in place[1]
        assert page.evaluate("document.querySelectorAll('#rows *').length") < 1500
    # Find, without filtering: what is found is marked, and everything else still there.
    page.keyboard.press("f")
    page.keyboard.type("did not answer")
    page.keyboard.press("Enter")
    assert "did not answer" in until(page, "text('#rows .row.on mark')")
    assert total(page) == all_
    # The next error, by a key.
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("e")
    until(page, "document.querySelector('#rows .row.on')?.className ?? ''", lambda name: "ERROR" in name)
    # Lines that are alike.
    after(page, lambda: page.keyboard.press("s"))
    counts = page.evaluate(
        "[...document.querySelectorAll('#similar tbody tr')].map((one) => Number(one.dataset.count))"
    )
    assert sum(counts) == all_
    assert len(counts) < 80


def test_what_has_nothing_to_show_makes_room(page: Any, shop: Shop) -> None:
    """Without requests and errors there are no empty cards; without lines it is said at once why."""
    shown(page, shop.page(filter="level=DEBUG"))
    cards = "all('#panels .card').filter((one) => one.offsetParent).map((one) => one.dataset.panel)"
    assert look(page, cards) == ["topology", "pipeline"]
    assert page.inner_text("#panels .bare") == "In this range: no requests, no errors."
    shown(page, shop.page(since="2001-01-01T00:00:00Z", until="2001-01-02T00:00:00Z"))
    until(page, "text('.why')", lambda text: "No line in this range" in text)
    assert look(page, cards) == []
    assert page.locator(".why").bounding_box()["y"] < 600
    # And back again, at a click.
    after(page, lambda: page.click(".why button"))
    assert "qps" in look(page, cards)


def test_a_service_of_the_graph_can_be_chosen_by_keys(page: Any, shop: Shop) -> None:
    shown(page, shop.page())
    node = page.locator("[data-panel=topology] [data-service=payments]")
    assert node.get_attribute("aria-label") == "only payments"
    node.focus()
    after(page, lambda: page.keyboard.press("Enter"))
    assert page.locator(".chip .word").all_text_contents() == ["service=payments"]
    assert page.locator("#detail").is_hidden()


def test_what_is_copied_is_a_command_that_finds_the_same(page: Any, shop: Shop) -> None:
    """Words, phrases, alternatives and negations survive the shell."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    for words in (
        'service=payments "charge failed"',
        "level=ERROR refused -service=shop",
        "level=WARNING OR service=mailer",
    ):
        shown(page, shop.page(filter=words))
        count = total(page)
        page.evaluate("navigator.clipboard.writeText('nothing')")
        page.keyboard.press("y")
        command = until(page, "navigator.clipboard.readText()", lambda text: text != "nothing")
        assert command.startswith("logferry query ")
        ours = f"{sys.executable} -m {command} --limit 100000 -c {shop.config}"
        found = subprocess.run(ours, shell=True, capture_output=True, text=True, check=True)
        assert len(found.stdout.splitlines()) == count > 0, (command, found.stderr)


def test_exports(page: Any, shop: Shop) -> None:
    shown(page, shop.page(filter="level=ERROR"))
    count = total(page)
    for name in ("ndjson", "csv"):
        with page.expect_download() as download:
            page.click(f"#{name}")
        lines = Path(download.value.path()).read_text().splitlines()
        assert len(lines) == count + (name == "csv")


def test_live_mode_moves_and_waits_while_one_reads(page: Any, shop: Shop) -> None:
    command = [sys.executable, "-m", "logferry", "run", "-c", str(shop.config)]
    agent = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    log = shop.directory / "app" / "shop.log"

    def write(*words: str) -> None:
        with log.open("ab") as file:
            for one in words:
                moment = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
                file.write(
                    orjson.dumps({"timestamp": moment, "level": "INFO", "service": "live", "message": one})
                    + b"\n"
                )

    try:
        shown(page, f"{shop.url}#since=15m&live=1&view=lines&filter=service%3Dlive")
        write("the first of them")
        until(
            page,
            "text('#rows .row')",
            lambda text: "the first of them" in text,
        )
        write(*(f"number {n}" for n in range(60)))
        until(page, "text('#rows .row')", lambda text: "number 59" in text)
        # Scrolled away it stands still, and says how many are new.
        page.evaluate("document.querySelector('#rows').scrollTop = 440")
        row = "text('#rows .row')"
        until(page, row, lambda text: "number 59" not in text)
        still = look(page, row)
        write("behind one's back", "and another")
        until(page, "text('#newer')", lambda text: text.startswith("2 new"))
        assert look(page, row) == still
        page.click("#newer")
        until(
            page,
            "text('#rows .row')",
            lambda text: "and another" in text,
        )
        # More than a browser is shown is counted, and said, and listed when it is over and nobody reads.
        page.evaluate("document.querySelector('#rows').scrollTop = 440")
        write(*(f"burst {n}" for n in range(2_000)))
        until(page, "text('#complete')", lambda text: "came too quickly to be listed live" in text)
        page.click("#newer")
        until(page, "text('#count')", lambda text: text.endswith("of 2,063"))
        assert "too quickly" not in page.inner_text("#complete")
        # The panels move, too.
        until(page, "sums('volume', 'click')", lambda sums: sums.get("INFO") == 2_063)
    finally:
        agent.terminate()
        assert agent.wait(60) == 0


def test_hostile_lines_are_text(page: Any, shop: Shop) -> None:
    moment = (datetime.now(UTC) - timedelta(days=1)).isoformat(timespec="microseconds").replace("+00:00", "Z")
    lines = [
        orjson.dumps(
            {"timestamp": moment, "level": "ERROR", "service": f"<b>{name}</b>", "message": f"{name} {text}"}
            | (
                {
                    "<img src=x onerror=window.pwned=1>": text,
                    "error": {"type": "<i>T</i>", "message": text, "stack": text},
                }
                if name != "long"
                else {}
            )
        )
        for name, text in HOSTILE.items()
    ]
    writer = StoreWriter(
        Layout(shop.directory / "logs")
    )  # past everything that would have cut or masked them
    assert isinstance(writer.write(Batch("fe" * 16, range(1, len(lines) + 1), lines)), Delivered)
    writer.close()
    day = datetime.now(UTC) - timedelta(days=1)
    since, end = (f"{day + timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%SZ}" for minutes in (-10, 10))
    shown(page, f"{shop.url}#since={since}&until={end}")
    assert total(page) == len(HOSTILE)
    until(page, "document.querySelectorAll('[data-panel=errors] tr[data-error]').length")
    texts = look(page, "texts('#rows .row')")
    assert any("<script>window.pwned=1</script>" in text for text in texts)
    assert any("red link" in text and "end-of-ansi" in text and "\x1b" not in text for text in texts)
    assert any("invoice·gnp.exe·" in text and "\u202e" not in text for text in texts)
    assert max(map(len, texts)) < 4000
    for number in range(len(HOSTILE)):
        page.click(f"#row-{number}")
        assert page.inner_text("#detail .message").split()[0] in HOSTILE
        page.keyboard.press("Escape")
    for bad in (
        "#rows script",
        "#rows img",
        "#rows b b",
        "#detail img",
        "main script",
        "[onerror]",
        "main a[href^=javascript]",
    ):
        assert page.locator(bad).count() == 0, bad
    assert page.evaluate("window.pwned") is None
    assert page.evaluate("document.title") == "logferry"


def test_it_can_be_used_by_keys_on_a_small_window_and_in_both_colours(page: Any, shop: Shop) -> None:
    shown(page, shop.page())
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    page.keyboard.type("fold")
    page.keyboard.press("Enter")
    until(page, "getComputedStyle(document.querySelector('#panels')).display === 'none'")
    page.keyboard.press("p")
    for _ in (1, 2):
        assert look(page, "contrast()") == []
        page.keyboard.press("t")
    assert look(page, "nameless()") == []
    for width in (360, 768):
        page.set_viewport_size({"width": width, "height": 700})
        until(page, f"document.documentElement.scrollWidth <= {width}")


def test_whoever_drags_the_bar_past_a_thousand_pages_waits_for_none_of_them(page: Any, shop: Shop) -> None:
    """What is needed now is asked for, two pages at a time; meanwhile the bar says which time it is at."""
    shown(page, shop.page(view="lines"))
    total(page)
    page.evaluate(
        """() => {
          const { fetch } = window, asked = window.asked = { now: 0, most: 0 };
          window.fetch = async (...given) => {
            asked.now += 1;
            asked.most = Math.max(asked.most, asked.now);
            try { return await fetch(...given); } finally { asked.now -= 1; }
          };
        }"""
    )
    times = page.evaluate(
        """() => new Promise((done) => {
          const box = document.querySelector("#rows"), times = new Set();
          let turn = 0;
          const step = () => {
            for (const one of box.querySelectorAll(".waiting time")) times.add(one.innerText);
            if (turn === 60) return done([...times]);
            turn += 1;
            box.scrollTop = (box.scrollHeight - box.clientHeight) * turn / 60;
            requestAnimationFrame(step);
          };
          step();
        })"""
    )
    last = min(shop.events, key=lambda event: str(event["timestamp"]))
    until(page, "text('#rows')", lambda text: str(last["message"])[:30] in text)
    assert 1 <= page.evaluate("window.asked.most") <= 2
    assert not page.locator("#rows .waiting").count()
    # Only where the machine is so quick that no line was missing is there nothing to say.
    assert all(re.fullmatch(r"(\d\d-\d\d )?\d\d:\d\d", one) for one in times)


def serving(directory: Path, port: int = 0) -> tuple[subprocess.Popen[str], str]:
    """Run `logferry ui` over a store; return it with its address."""
    command = ["ui", "--store", str(directory), "--listen", f"127.0.0.1:{port}", "--no-open"]
    process = subprocess.Popen(
        [sys.executable, "-m", "logferry", *command],
        env={**os.environ, "TMPDIR": str(directory.parent)},  # who is killed leaves scratch files
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def test_an_empty_store_says_how_to_begin_and_a_server_that_is_gone_is_told(
    chromium: Any, tmp_path: Path
) -> None:
    """The first event begins the page; a killed server is said, not hidden, and found when it is back."""
    store = tmp_path / "store"
    Layout(store).create()
    process, url = serving(store)
    context = chromium.new_context()
    try:
        page = context.new_page()
        page.goto(f"{url}#since=15m")
        until(page, "!document.querySelector('#welcome').hidden")
        assert "Nothing has arrived yet" in page.inner_text("#welcome")
        assert page.locator("#panels").is_hidden()
        program = re.sub(r"\A.*?(?=import logging)", "", page.inner_text("#welcome pre"), flags=re.DOTALL)
        assert str(store) in program
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        until(page, "text('#rows')", lambda text: "hello" in text)
        assert page.locator("#welcome").is_hidden()
        process.kill()
        process.communicate()
        page.fill("#filter", "level=WARNING")
        page.keyboard.press("Enter")
        until(page, "text('#problem')", lambda text: "does not answer" in text)
        assert "not connected" in page.inner_text("#complete")
        process, _ = serving(store, urlsplit(url).port or 0)
        until(page, "document.querySelector('#problem').hidden")
        until(page, "text('#complete')", lambda text: "1 event" in text and "not connected" not in text)
    finally:
        context.close()
        process.kill()
        process.communicate()
