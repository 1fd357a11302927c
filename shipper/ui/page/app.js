// The page put together: what is asked when, live mode, keys and the palette.
import { $, button, copy, html, ms, tell } from "./dom.js";
import { close, detail, trace } from "./detail.js";
import * as filter from "./filter.js";
import * as lines from "./lines.js";
import * as panels from "./panels.js";
import { answered, asked, ask, fixed, note, range, read, state, whenChanged, write } from "./state.js";

let stream = null, ticking = null, burst = 0, turn = 0, shown = "";

// The panels come one after another, as soon as each is known; what the range is comes first.
async function draw(then = null) {
  const mine = (turn += 1);
  const words = new URLSearchParams(Object.entries({ ...asked(), by: state.by }).filter(([, value]) => value));
  const answer = await answered(`/api/panels?${words}`);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", waiting = null;
  for (;;) {
    const { value, done } = await reader.read();
    if (mine !== turn) { reader.cancel(); return; }
    rest += value ?? "";
    const parts = rest.split("\n");
    rest = parts.pop();
    for (const part of parts.filter(Boolean)) {
      const told = JSON.parse(part);
      if (told.name === "range") {
        Object.assign(range, { ...told, from: ms(told.since), to: ms(told.until) });
        $("when").textContent = panels.rangeWords();
      } else if (told.name === "problem") throw new Error(told.error);
      else panels.show(told);
      // The first picture before anything else is asked for.
      if (told.name === "volume") waiting = then?.();
    }
    if (done) break;
  }
  await waiting;
}

async function pipeline() {
  const told = await ask("pipeline");
  panels.show(told);
  welcome(!told.newest);
}

// A store that never held an event: what to do, instead of a dozen empty panels. The first event begins the page.
let greeting = null;
function welcome(empty) {
  $("welcome").hidden = !empty;
  document.body.classList.toggle("virgin", empty);
  clearTimeout(greeting);
  if (empty) greeting = setTimeout(() => pipeline().then(() => { if (!document.body.classList.contains("virgin")) again(); }).catch(trouble), 2000);
}

function again() {
  shown = "";
  return show();
}

// What went wrong, in words; a server that is gone is asked until it is back.
let lost = null;
function trouble(error) {
  $("problem").textContent = error.message;
  $("problem").hidden = false;
  if (!error.gone || lost) return;
  panels.unknown();
  lost = setInterval(() => ask("check").then(() => { clearInterval(lost); lost = null; again(); }).catch(() => {}), 2000);
}

async function show() {
  $("filter").value = state.filter;
  $("find").value = state.find;
  const known = [...$("range").options].some((option) => option.value === state.since);
  const exact = [...$("range").options].find((option) => option.value === "exact");
  exact.textContent = !state.until && /^(\d+[smhdw])+$/.test(state.since) ? `last ${state.since}` : "chosen time";
  $("range").value = known && !state.until ? state.since : "exact";
  $("problem").hidden = true;
  $("live").setAttribute("aria-pressed", String(state.live));
  $("clear").hidden = !state.live;
  $("alike").setAttribute("aria-pressed", String(state.mode === "similar"));
  $("fold").setAttribute("aria-pressed", String(state.view === "lines"));
  document.body.classList.toggle("folded", state.view === "lines");
  for (const form of ["csv", "ndjson"]) $(form).href = `/api/export?${new URLSearchParams({ ...asked(), form })}`;
  filter.chips();
  const now = JSON.stringify([asked(), state.by, state.live]);
  const anew = now !== shown;
  shown = now;
  try {
    const line = state.line;
    if (anew && state.filter) {
      const told = await ask("check", { filter: state.filter });
      if (told.error) throw new Error(told.error);
    }
    const jobs = [trace()];
    if (anew) {
      follow();
      jobs.push(draw(() => Promise.all([pipeline(), lines.load().then(() => (line ? lines.go(line, true) : null))])));
    }
    await Promise.all(jobs);
    await lines.similar();
    document.body.dataset.shown = String(Number(document.body.dataset.shown ?? 0) + 1);
  } catch (error) {
    shown = "";
    trouble(error);
  }
}

// ── live ──

function follow() {
  stream?.close();
  clearTimeout(ticking);
  stream = null;
  burst = 0;
  if (!state.live) return;
  stream = new EventSource(`/api/live?${new URLSearchParams({ filter: state.filter })}`);
  stream.onmessage = ({ data }) => lines.arrive(JSON.parse(data));
  stream.addEventListener("left", ({ data }) => { panels.arrived(0, Number(data)); burst = performance.now(); });
  tick(4000);
}

// The panels follow as quickly as they are answered: never two questions at a time, and a pause in between.
function tick(wait) {
  ticking = setTimeout(async () => {
    const begun = performance.now();
    const mine = ticking;
    if (!document.hidden) await Promise.all([draw(), pipeline()]).catch(trouble);
    if (burst && performance.now() - burst > 3000 && mine === ticking && state.live) {
      if (await lines.catchUp().catch(trouble)) burst = 0;
    }
    if (mine === ticking && state.live) tick(Math.max(4000, 2 * (performance.now() - begun)));
  }, wait);
}

const setRange = (since) => write({ since, until: "", line: "" });
const toggleLive = () => write({ live: !state.live, ...(state.live ? {} : { until: "", line: "" }), ...(/[TZ]/.test(state.since) && !state.live ? { since: "15m" } : {}) });

function theme() {
  const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  localStorage.setItem("theme", next);
}

// Moves or widens the time by its own length.
function shift(by) {
  const long = range.to - range.from;
  const wanted = by === 0 ? [range.from - long / 2, range.to + long / 2] : [range.from + by * long, range.to + by * long];
  const [from, to] = [wanted[0], Math.min(wanted[1], Date.now() + 1000)];
  if (by > 0 && to - from < 1000) { tell("nothing is later than now"); return; }
  write({ since: new Date(from).toISOString(), until: new Date(to).toISOString(), live: false, line: "" });
}

function escape() {
  if (!$("detail").hidden) close();
  else if (state.trace) write({ trace: "" });
  else if (lines.inContext()) lines.leaveContext();
  else if (state.mode) write({ mode: "" });
  document.activeElement?.blur?.();
}

// ── keys and the palette: the same commands ──

const commands = [
  ["/", "filter", () => $("filter").select()],
  ["f", "find without filtering", () => $("find").select()],
  ["j", "next line", () => lines.move(1)],
  ["k", "previous line", () => lines.move(-1)],
  ["Enter", "the line's fields", () => { const one = lines.current(); if (one) { detail(one); note({ line: one.event_id ?? "" }); } }],
  ["o", "the line's trace", () => { const one = lines.current(); if (one?.trace_id) write({ trace: one.trace_id }); else tell("this line belongs to no trace"); }],
  ["c", "what was logged around the line", () => { const one = lines.current(); if (one) lines.around(one); }],
  ["e", "next error", () => lines.nextError()],
  ["n", "next found", () => lines.find()],
  ["N", "previous found", () => lines.find(true)],
  ["s", "lines that are alike", () => write({ mode: state.mode ? "" : "similar" })],
  ["l", "live: follow what arrives", toggleLive],
  ["p", "fold the panels", () => write({ view: state.view ? "" : "lines" })],
  ["[", "earlier", () => shift(-1)],
  ["]", "later", () => shift(1)],
  ["-", "wider time", () => shift(0)],
  ["w", "wrap long lines", lines.wrap],
  ["t", "dark or light", theme],
  ["g", "the newest line", () => lines.select(0)],
  ["G", "the oldest line", () => lines.select(lines.count() - 1)],
  ["y", "copy as logferry query", () => copy(panels.command(), "copied: logferry query")],
  ["?", "keys", () => $("keys").showModal()],
];
const byKey = new Map(commands.map(([key, , act]) => [key, act]));

function palette() {
  const input = html("input", { "aria-label": "command", placeholder: "what to do, a saved view, a time", role: "combobox", "aria-expanded": "true", "aria-controls": "orders" });
  const list = html("ul", { id: "orders", role: "listbox" });
  const times = [...$("range").options].filter((one) => !one.hidden).map((one) => ["", one.textContent, () => setRange(one.value)]);
  const views = filter.saved().map((one) => ["view", one.name, () => { location.hash = one.address; }]);
  const all = [...commands, ...times, ...views];
  let found = all, at = 0;
  const paint = () => {
    const words = input.value.toLowerCase().split(/\s+/);
    found = all.filter(([, name]) => words.every((word) => name.toLowerCase().includes(word)));
    at = Math.min(at, Math.max(found.length - 1, 0));
    list.replaceChildren(...found.map(([key, name, act], index) => html("li", { role: "option", "aria-selected": String(index === at), onclick: () => { $("palette").close(); act(); } }, name, html("kbd", {}, key))));
    list.children[at]?.scrollIntoView({ block: "nearest" });
  };
  input.addEventListener("input", () => { at = 0; paint(); });
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") { event.preventDefault(); at = (at + (event.key === "ArrowDown" ? 1 : found.length - 1)) % Math.max(found.length, 1); paint(); }
    if (event.key === "Enter") { event.preventDefault(); $("palette").close(); found[at]?.[2](); }
  });
  $("palette").replaceChildren(input, list);
  paint();
  $("palette").showModal();
}

document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key === "k") { event.preventDefault(); palette(); return; }
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") { escape(); return; }
  if (event.target.matches?.("input, select, textarea")) return;
  if (event.defaultPrevented || (event.key === "Enter" && event.target.matches?.("button, a, summary"))) return;
  const place = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (place && document.activeElement === $("rows")) { event.preventDefault(); lines.move(place); return; }
  const act = byKey.get(event.key);
  if (act) { event.preventDefault(); act(); }
});

document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target) || event.target.closest("details.menu > div button, details.menu > div a")) menu.open = false;
});

$("range").addEventListener("change", () => setRange($("range").value));
$("earlier").addEventListener("click", () => shift(-1));
$("later").addEventListener("click", () => shift(1));
$("live").addEventListener("click", toggleLive);
$("help").addEventListener("click", () => $("keys").showModal());
$("theme").addEventListener("click", theme);
$("fold").addEventListener("click", () => write({ view: state.view ? "" : "lines" }));
$("alike").addEventListener("click", () => write({ mode: state.mode ? "" : "similar" }));
$("keys").querySelector("dl").replaceChildren(...commands.flatMap(([key, name]) => [html("dt", {}, html("kbd", {}, key)), html("dd", {}, name)]),
  html("dt", {}, html("kbd", {}, "Ctrl click")), html("dd", {}, "on a line's value: only this"), html("dt", {}, html("kbd", {}, "Alt click")), html("dd", {}, "on a line's value: without this"),
  html("dt", {}, html("kbd", {}, "Ctrl K")), html("dd", {}, "all commands"), html("dt", {}, html("kbd", {}, "Esc")), html("dd", {}, "close, back"));

document.documentElement.dataset.theme = localStorage.getItem("theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
filter.listen();
lines.listen();
lines.whenOpened(detail);
whenChanged(show);
window.addEventListener("hashchange", () => { read(); show(); });
read();
try {
  const about = await ask("about");
  panels.prepare(about);
  filter.prepare(about);
  await show();
} catch (error) {
  $("problem").textContent = error.message;
  $("problem").hidden = false;
}
