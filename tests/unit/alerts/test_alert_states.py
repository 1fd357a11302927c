"""Pending, firing, recovered; groups; and what receivers are told."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logferry.shipper.alerts.conditions import Alert, Conditions, Reading
from logferry.shipper.alerts.groups import Groups, Notice
from logferry.shipper.alerts.rules import DEFAULTS, AlertPlan, Receiver
from logferry.shipper.alerts.words import email, slack, subject, webhook
from logferry.shipper.config import ConfigError, load
from logferry.shipper.config.plan import alert_plan
from logferry.shipper.panels.grafana import alert_rules


def reading(endpoint: str = "/o", hold: float = 60, **more: Any) -> Reading:
    return Reading("bad", {"service": "shop", "endpoint": endpoint}, 0.5, f"{endpoint} is bad", hold, **more)


def alert(endpoint: str = "/o", *, since: float = 0, **more: Any) -> Alert:
    labels = {"alert": "bad", "service": "shop", "endpoint": endpoint}
    return Alert(endpoint, labels, since, 0.5, f"{endpoint} is bad", **more)


def groups(**more: Any) -> Groups:
    return Groups(("alert", "service"), **{"wait": 10, "interval": 300, "repeat": 3600, **more})


def told(of: Groups, now: float) -> list[tuple[list[str], list[str]]]:
    """Return what is due now as (firing, recovered), and note it as sent."""
    found = of.take(now)
    for notice in found:
        of.sent(notice, now)
    return [([a.id for a in one.firing], [a.id for a in one.recovered]) for one in found]


def test_it_fires_when_it_has_held_long_enough() -> None:
    """A gap begins it anew; the time that counts is when it began."""
    conditions = Conditions()
    assert not conditions.step([reading()], 0)
    assert not conditions.step([], 30)
    assert not conditions.step([reading()], 45)
    assert not conditions.step([reading()], 100)
    (fired,) = conditions.step([reading()], 105).values()
    assert (fired.since, fired.summary) == (45, "/o is bad")
    assert fired.labels["alert"] == "bad"
    assert not conditions.step([], 120)


def test_a_restart_goes_on_where_it_was() -> None:
    """What is pending stays pending since then, what fires goes on firing, with its samples."""
    conditions, line = (
        Conditions(),
        b'{"timestamp":"2026-03-01T12:00:00.123456Z","message":"no","trace_id":"ab"}',
    )
    conditions.step([reading(samples=(line,)), reading("/p", 1000)], 0)
    conditions.step([reading(), reading("/p", 1000)], 60)
    other = Conditions()
    other.load(msgspec.json.encode(conditions.dump()))
    assert other.firing() == conditions.firing()
    (fired,) = other.firing().values()
    assert (fired.samples, fired.trace_id) == (("2026-03-01T12:00:00.123 no",), "ab")
    assert len(other.step([reading(), reading("/p", 1000)], 1000)) == 2


def test_a_group_waits_for_company_and_is_one_message() -> None:
    """What comes later is told after the interval, and recoveries with it."""
    mine = groups()
    mine.update({"/o": alert()}, 0)
    assert told(mine, 5) == []
    mine.update({"/o": alert(), "/p": alert("/p")}, 5)
    assert told(mine, 10) == [(["/o", "/p"], [])]
    mine.update({"/p": alert("/p"), "/q": alert("/q")}, 20)
    assert told(mine, 300) == []
    assert told(mine, 310) == [(["/p", "/q"], ["/o"])]
    mine.update({}, 320)
    assert told(mine, 610) == [([], ["/p", "/q"])]
    mine.update({}, 620)
    assert not mine.dump()


def test_groups_are_apart() -> None:
    """Another service is another message, at its own time."""
    mine = groups(wait=0)
    other = Alert("x", {"alert": "bad", "service": "stock"}, 0, 1, "")
    mine.update({"/o": alert(), "x": other}, 0)
    assert told(mine, 0) == [(["/o"], []), (["x"], [])]


def test_it_is_said_again_but_not_often() -> None:
    """While nothing changes, every `repeat`; a blink before the first message is not worth one."""
    mine = groups()
    mine.update({"/o": alert()}, 0)
    mine.update({}, 5)
    assert told(mine, 10_000) == []
    mine.update({"/o": alert()}, 0)
    assert told(mine, 10)
    mine.update({"/o": alert()}, 3_600)
    assert told(mine, 3_600) == []
    mine.update({"/o": alert()}, 3_610)
    assert told(mine, 3_610) == [(["/o"], [])]


def test_what_was_not_sent_is_sent_later_as_it_is_then() -> None:
    """Ever more slowly; who was never told that it fired is not told that it recovered."""
    mine = groups(wait=0)
    mine.update({"/o": alert()}, 0)
    (notice,) = mine.take(0)
    assert mine.failed(notice, 0) == 5
    assert mine.take(4) == []
    (notice,) = mine.take(5)
    assert mine.failed(notice, 5) == 10
    mine.update({"/p": alert("/p")}, 10)
    assert told(mine, 15) == [(["/p"], [])]
    mine.update({}, 20)
    (notice,) = mine.take(400)
    assert [mine.failed(notice, 400) for _ in range(9)][-1] == 300


@given(st.lists(st.tuples(st.integers(1, 400), st.sets(st.sampled_from("abcd")), st.booleans()), max_size=60))
def test_a_receiver_ends_up_knowing_what_is_true(steps: list[tuple[int, set[str], bool]]) -> None:
    """Whatever fires, recovers, fails to be sent and is restarted: in the end told is what is so."""
    mine, knows, now = groups(), set[str](), 0.0

    def hear(moment: float) -> None:
        for notice in mine.take(moment):
            firing, over = {a.id for a in notice.firing}, {a.id for a in notice.recovered}
            assert over <= knows, "recovered, but never told"
            assert firing != knows or firing, "nothing said"
            knows.difference_update(over)
            knows.update(firing)
            mine.sent(notice, moment)

    last: dict[str, Alert] = {}
    for passed, names, works in steps:
        now += passed
        last = {name: alert(name) for name in names}
        mine.update(last, now)
        if works:
            hear(now)
        else:
            for notice in mine.take(now):
                mine.failed(notice, now)
        raw = msgspec.json.encode(mine.dump())
        mine = groups()
        mine.load(raw)
    for _ in range(5):
        now += 301
        mine.update(last, now)
        hear(now)
    assert knows == last.keys()


HOSTILE = "<!channel> & \r\nBcc: all@example.com\n\x1b[31m"
PLAN = AlertPlan((Receiver("x", "webhook"),), link="https://g/d?s={service}&e={endpoint}&t={trace_id}")


def hostile() -> Notice:
    mine = alert("/a&b", samples=(HOSTILE,), trace_id="ab" * 16)
    return Notice("alert=bad", {"alert": HOSTILE, "service": "shop"}, (mine,), (alert("/old"),))


def test_a_webhook_gets_what_alertmanager_sends() -> None:
    """Names, times and states as its receivers expect them."""
    body = json.loads(webhook(hostile(), Receiver("team", "webhook"), PLAN, 1_000_000))
    assert (body["version"], body["status"], body["receiver"]) == ("4", "firing", "team")
    firing, over = body["alerts"]
    assert firing["labels"] == {"alertname": "bad", "service": "shop", "endpoint": "/a&b"}
    assert (firing["status"], firing["endsAt"]) == ("firing", "0001-01-01T00:00:00Z")
    assert firing["startsAt"] == "1970-01-01T00:00:00Z"
    assert firing["generatorURL"] == f"https://g/d?s=shop&e=%2Fa%26b&t={'ab' * 16}"
    assert firing["annotations"]["trace_id"] == "ab" * 16
    assert (over["status"], over["endsAt"]) == ("resolved", "1970-01-12T13:46:40Z")


def test_slack_shows_what_a_line_holds_and_does_nothing_with_it() -> None:
    """Its three characters are escaped: no mention, no link."""
    text = slack(hostile(), PLAN, 600).decode()
    assert "<" not in text
    assert ">" not in text
    body = json.loads(text)
    assert body["text"].startswith("*[FIRING 1]")
    assert "&lt;!channel&gt; &amp;" in body["attachments"][0]["text"]
    assert f"logferry trace {'ab' * 16}" in body["attachments"][0]["text"]
    assert body["attachments"][1]["text"].startswith("Recovered after 10 min. It was: /old is bad")


def test_a_mail_has_no_header_that_a_line_made() -> None:
    """One line for the subject; those of a group are one conversation."""
    mail = email(hostile(), Receiver("m", "email", sender="a@x", recipients=("b@x", "c@x")), PLAN, 60)
    assert mail["Bcc"] is None
    assert mail["To"] == "b@x, c@x"
    assert "\n" not in mail["Subject"]
    assert mail["Auto-Submitted"] == "auto-generated"
    later = email(hostile(), Receiver("m", "email", sender="a@x", recipients=("b@x",)), PLAN, 90)
    assert mail["References"] == later["References"]
    assert mail["Message-ID"] != later["Message-ID"]
    text = mail.get_content()
    assert "\x1b" not in text
    assert text.startswith("/a&b is bad\n")


def test_a_recovery_says_so_in_its_first_words() -> None:
    """Nothing else is read on a phone."""
    assert (
        subject(Notice("", {"alert": "p95", "service": "shop"}, (), (alert(),))) == "[RECOVERED 1] p95: shop"
    )


# ── the configuration ──


def config(alerts: Any, **more: Any) -> Any:
    sources = {"app": {"type": "file", "include": ["/x.log"]}}
    base = {"service": "s", "sinks": {"here": {"type": "memory"}}, "sources": sources}
    return load({**base, **more, "alerts": alerts}, environ={})


HOOK = {"hook": {"type": "webhook", "url": "http://127.0.0.1:9/x"}}


def test_without_rules_it_watches_what_grafana_does() -> None:
    """The same five, with the same limits."""
    plan = alert_plan(config({"to": HOOK}))
    assert plan is not None
    assert plan.rules == DEFAULTS
    (group,) = alert_rules()["groups"]
    limits = [rule["data"][1]["model"]["conditions"][0]["evaluator"]["params"][0] for rule in group["rules"]]
    holds = [float(rule["for"].removesuffix("m").removesuffix("s")) * 60 for rule in group["rules"]]
    assert limits == [rule.above for rule in DEFAULTS]
    assert holds == [rule.hold for rule in DEFAULTS]


def test_rules_and_receivers_are_read() -> None:
    """Units, defaults and secrets."""
    rules = {"slow": {"what": "p95", "above": 250, "for": "2m", "match": "service=shop", "to": ["hook"]}}
    mail = {"type": "email", "server": "m:25", "security": "off", "from": "Logs <a@x.y>", "to": ["b@x.y"]}
    plan = alert_plan(config({"to": {**HOOK, "mail": mail}, "rules": rules}))
    assert plan is not None
    (rule,) = plan.rules
    assert (rule.above, rule.window, rule.hold, rule.to) == (250, 300, 120, ("hook",))
    assert rule.match is not None
    assert [rule.match({"service": name}) for name in ("shop", "stock")] == [True, False]
    assert [one.recipients for one in plan.receivers] == [(), ("b@x.y",)]


@pytest.mark.parametrize(
    ("alerts", "more", "words"),
    [
        ({"to": {}}, {}, "nobody is told"),
        ({"to": HOOK}, {"sources": {}}, "an agent watches them"),
        ({"to": HOOK}, {"sinks": {"alerts": {"type": "memory"}}}, "has this name"),
        ({"to": {"a": {"type": "slack"}}}, {}, "type slack needs a url"),
        ({"to": {"a": {"type": "webhook", "url": "hooks.example.com"}}}, {}, "with its scheme"),
        ({"to": {"a": {"type": "email", "server": "m"}}}, {}, "needs server, from and to"),
        (
            {"to": {"a": {"type": "email", "server": "m", "from": "a", "to": ["b@x"]}}},
            {},
            "no e-mail address",
        ),
        ({"to": HOOK, "rules": {"r": {"what": "p96"}}}, {}, "did you mean p95"),
        ({"to": HOOK, "rules": {"r": {"what": "p95", "match": "servce=x"}}}, {}, "servce"),
        ({"to": HOOK, "rules": {"r": {"what": "lag", "match": "service=x"}}}, {}, "does not look at single"),
        ({"to": HOOK, "rules": {"r": {"what": "error_rate", "above": 5}}}, {}, "write 0.05"),
        ({"to": HOOK, "rules": {"r": {"what": "lag", "to": ["hok"]}}}, {}, "there is no receiver hok"),
        ({"to": HOOK, "group_by": ["team"]}, {}, "alerts have no team"),
    ],
)
def test_mistakes_are_told(alerts: Any, more: Any, words: str) -> None:
    """At the key, in words that say what to write."""
    with pytest.raises(ConfigError, match=words.replace("(", r"\(")):
        config(alerts, **more)
