// The page: its state lives in the address, its data comes from /api. What a log line holds is put in as text only.
import { bars, cloud, heatmap, html, lines, short, stacked, svg } from "./charts.js";

const $ = (id) => document.getElementById(id);
const LEVELS = { DEBUG: "c4", INFO: "c0", WARNING: "c2", ERROR: "c3", CRITICAL: "c3" };
const state = { filter: "", since: "1h", until: "", trace: "", live: false, off: [], at: -1, wrap: false };
const rows = { events: [], open: null, stick: true, fresh: 0, heights: 20 };
let stream = null, asked = 0, ticking = null;

// ── the address ──

function read() {
  const from = new URLSearchParams(location.hash.slice(1));
  state.filter = from.get("filter") ?? "";
  state.since = from.get("since") ?? "1h";
  state.until = from.get("until") ?? "";
  state.trace = from.get("trace") ?? "";
  state.live = from.get("live") === "1";
  state.off = from.getAll("off");
}

function write(changes, replace = false) {
  Object.assign(state, changes);
  const to = new URLSearchParams();
  for (const name of ["filter", "since", "until", "trace"]) if (state[name]) to.set(name, state[name]);
  if (state.live) to.set("live", "1");
  for (const one of state.off) to.append("off", one);
  const address = `#${to}`;
  if (address === location.hash) return show();
  if (replace) { history.replaceState(null, "", address); show(); } else location.hash = address;
}

async function ask(path, values = {}) {
  const words = new URLSearchParams(Object.entries(values).filter(([, value]) => value !== ""));
  const answer = await fetch(`/api/${path}?${words}`);
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error ?? answer.statusText);
  return body;
}

const range = () => ({ since: state.since, until: state.until, filter: state.filter });

// ── filters ──

const quoted = (value) => (/^[\w./:@%+-]+$/.test(String(value)) ? String(value) : `"${String(value).replaceAll('"', "*")}"`);
const term = (field, value, not = false) => `${not ? "-" : ""}${field}=${quoted(value)}`;

function terms(text) {
  return text.match(/(?:[^\s"']+|"[^"]*"|'[^']*')+/g) ?? [];
}

function add(...words) {
  const there = terms(state.filter);
  write({ filter: [...there, ...words.filter((word) => !there.includes(word))].join(" "), trace: "" });
}

function narrow(field, value, from, to) {
  if (from && from !== to) Object.assign(state, { since: iso(from), until: iso(to) });
  add(term(field, value));
}

const iso = (ms) => new Date(ms).toISOString();

const on = {
  narrow,
  fields: (given) => add(...Object.entries(given).map(([field, value]) => term(field, value))),
  range: (from, to) => write({ since: iso(from), until: iso(to), live: false }),
};

function chips() {
  const one = (word, off) => html("span", { class: off ? "chip off" : "chip" },
    html("button", { type: "button", title: off ? "switch on" : "switch off", onclick: () => toggle(word, off) }, word),
    html("button", { type: "button", "aria-label": `remove ${word}`, onclick: () => drop(word, off) }, "×"));
  $("chips").replaceChildren(...terms(state.filter).map((word) => one(word, false)), ...state.off.map((word) => one(word, true)));
}

function toggle(word, off) {
  if (off) { state.off = state.off.filter((other) => other !== word); add(word); return; }
  state.off = [...state.off, word];
  write({ filter: terms(state.filter).filter((other) => other !== word).join(" ") });
}

function drop(word, off) {
  if (off) write({ off: state.off.filter((other) => other !== word) });
  else write({ filter: terms(state.filter).filter((other) => other !== word).join(" ") });
}

// ── panels ──

const time = (row) => Date.parse(/[Z+]/.test(row.time) ? row.time : `${row.time}Z`);

function grouped(found, name, value) {
  const by = new Map();
  for (const row of found) {
    const key = String(row[name] ?? "");
    if (!by.has(key)) by.set(key, []);
    by.get(key).push([time(row), row[value]]);
  }
  return [...by].map(([key, points]) => ({ name: key, points })).sort((a, b) => b.points.length - a.points.length);
}

function bounds(panels) {
  const units = { s: 1, m: 60, h: 3600, d: 86400 };
  const ago = /^(\d+)([smhd])$/.exec(state.since);
  const to = state.until ? Date.parse(state.until) : Date.now();
  const from = ago ? to - ago[1] * units[ago[2]] * 1000 : Date.parse(state.since);
  const times = [...new Set(panels.volume.map(time))].sort((a, b) => a - b);
  const gaps = times.slice(1).map((at, index) => at - times[index]);
  const usual = (to - from) / 1000 / 120;
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];
  const step = steps.find((one) => one >= usual) ?? 86400;
  return { from, to, step: gaps.length ? Math.min(step, Math.min(...gaps) / 1000) : step };
}

function card(name, about, parts, query) {
  const one = about[name];
  return html("article", { class: "card", "data-panel": name },
    html("h2", {}, one.title, " ", html("small", {}, one.about),
      html("button", { type: "button", class: "copy", title: "copy as logferry query", onclick: () => copy(query) }, "copy")),
    ...parts);
}

const empty = () => [html("p", { class: "empty" }, "nothing in this range")];
const copy = (text) => navigator.clipboard?.writeText(text);
const command = (words) => `logferry query '${words.replaceAll("'", `'"'"'`)}' --since ${state.since}${state.until ? ` --until ${state.until}` : ""}`;

function draw({ panels, about }) {
  const span = { ...bounds(panels), on };
  const made = [];
  const put = (name, parts, words) => made.push(card(name, about, panels[name].length ? parts() : empty(), command(`${words} ${state.filter}`.trim())));
  const zeroed = (series) => series.map((one) => ({ ...one, points: filledUp(one.points, span) }));
  put("qps", () => lines(about.qps.title, zeroed(grouped(panels.qps, "service", "value")), { ...span, unit: "", field: "service" }), "kind=access");
  put("heatmap", () => {
    const order = [...new Set(panels.heatmap.map((row) => row.duration_le))].sort((a, b) => (a === "+Inf") - (b === "+Inf") || a - b);
    return heatmap(about.heatmap.title, panels.heatmap.map((row) => [time(row), row.duration_le, row.count]), order, span);
  }, "kind=access");
  put("latency", () => {
    const series = [["p50", "P50"], ["p95", "P95"], ["p99", "P99"]].map(([key, name]) => ({ name, points: panels.latency.map((row) => [time(row), row[key]]) }));
    return lines(about.latency.title, series, { ...span, unit: "ms" });
  }, "kind=access");
  put("error_rate", () => lines(about.error_rate.title, grouped(panels.error_rate, "service", "value"), { ...span, unit: "percentunit", field: "service" }), "failed=true");
  const endpoints = (found, value) => found.slice(0, 5).map((row) => ({
    name: `${row.service} ${row.endpoint}`, value: row[value], fields: { service: row.service, endpoint: row.endpoint } }));
  put("top_errors", () => [bars(endpoints(panels.top_errors, "rate"), "percentunit", on)], "failed=true");
  put("slowest", () => [bars(endpoints(panels.slowest, "p95"), "ms", on)], "kind=access");
  put("errors", () => [cloud(panels.errors.map((row) => ({
    name: row.error ?? "", value: row.count, fields: { level: "ERROR,CRITICAL", error_pattern: row.error ?? "" } })), on)], "level=ERROR,CRITICAL");
  put("volume", () => {
    const order = ["ERROR", "CRITICAL", "WARNING", "INFO", "DEBUG"];
    const series = grouped(panels.volume, "level", "count").sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name));
    return stacked(about.volume.title, series, { ...span, unit: "", field: "level", classes: LEVELS });
  }, "");
  $("panels").replaceChildren(...made);
}

function filledUp(points, { from, to, step }) {
  if (!points.length) return points;
  const known = new Map(points), made = [];
  let at = points[0][0];
  for (let count = 0; at <= Math.min(to, points[points.length - 1][0]) && count < 2000; at += step * 1000, count += 1) made.push([at, known.get(at) ?? 0]);
  return made.length ? made : points;
}

function tellComplete(told) {
  const newest = told.newest ? `newest ${ago(told.newest, told.now)}` : "the store is empty";
  const parts = [`${told.events.toLocaleString()} events`, newest];
  if (told.known) {
    parts.push(told.pending ? `${told.pending.toLocaleString()} still on their way` : "nothing on its way");
    const reasons = Object.entries(told.reasons).map(([reason, count]) => `${reason} ${count}`).join(", ");
    parts.push(told.dropped ? `${told.dropped.toLocaleString()} dropped (${reasons})` : "none dropped");
    if (told.dead_lettered) parts.push(`${told.dead_lettered} dead letters`);
  }
  $("complete").textContent = parts.join(" · ");
}

function ago(then, now) {
  const seconds = Math.max((Date.parse(now) - Date.parse(then)) / 1000, 0);
  if (seconds < 60) return `${seconds.toFixed(0)} s ago`;
  if (seconds < 3600) return `${(seconds / 60).toFixed(0)} min ago`;
  return new Date(then).toLocaleString();
}

// ── lines: as many nodes as fit, however many there are ──

const HIDDEN = new Set(["timestamp", "level", "service", "message", "trace_id", "span_id", "parent_id", "logger", "module",
  "function", "line", "environment", "version", "host", "process", "thread", "task", "error", "event_id", "duration_le", "error_pattern", "kind"]);
const SHORT = 400;

const visible = (text) => String(text).replace(/\u001b\[[0-9;]*[A-Za-z]/g, "").replace(/[\u0000-\u001f\u007f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "·");

function lineOf(event, index) {
  const fields = Object.entries(event).filter(([name, value]) => !HIDDEN.has(name) && value !== null)
    .map(([name, value]) => `${name}=${typeof value === "object" ? JSON.stringify(value) : value}`).join(" ");
  let text = visible(event.message ?? "");
  if (event.error?.type && !text.includes(event.error.type)) text += `  ✗ ${visible(`${event.error.type}: ${event.error.message ?? ""}`)}`;
  if (text.length > SHORT) text = `${text.slice(0, SHORT)} … (${short(text.length)} characters)`;
  const made = html("div", { class: `row ${event.level ?? ""}`, role: "listitem", "data-index": index },
    html("time", {}, String(event.timestamp ?? "").slice(11, 23)), " ", html("span", { class: "lvl" }, String(event.level ?? "").padEnd(8)), " ",
    html("span", { class: "svc" }, visible(event.service ?? "").slice(0, 14).padEnd(10)), " ", html("span", {}, text), "  ",
    html("span", { class: "more" }, visible(fields).slice(0, SHORT)));
  made.style.top = `${index * rows.heights}px`;
  if (index === state.at) made.classList.add("on");
  made.addEventListener("click", () => select(index, true));
  return made;
}

function paint() {
  const box = $("rows"), space = $("space");
  space.style.height = `${rows.events.length * rows.heights + (rows.open === null ? 0 : 320)}px`;
  const first = Math.max(Math.floor(box.scrollTop / rows.heights) - 8, 0);
  const count = Math.ceil(box.clientHeight / rows.heights) + 16;
  const made = [];
  for (let index = first; index < Math.min(first + count, rows.events.length); index += 1) made.push(lineOf(rows.events[index], index));
  if (rows.open !== null && rows.events[rows.open]) made.push(details(rows.events[rows.open], rows.open));
  box.replaceChildren(space, ...made);
  $("count").textContent = rows.events.length ? `${rows.events.length.toLocaleString()} shown, the newest first` : "";
  if (!rows.events.length) box.append(html("p", { class: "empty" }, state.filter
    ? "no line matches in this range: switch a filter off above, or widen the time"
    : "no line in this range: widen the time"));
}

function details(event, index) {
  const table = html("table", {}, ...Object.entries(event).flatMap(([name, value]) => {
    const text = visible(typeof value === "object" ? JSON.stringify(value, null, 1).replaceAll("\\n", "\n") : value);
    const simple = typeof value !== "object";
    return [html("tr", {}, html("td", {}, name),
      html("td", {}, simple ? html("button", { type: "button", title: "only this", onclick: () => add(term(name, value)) }, "+") : null, " ",
        simple ? html("button", { type: "button", title: "without this", onclick: () => add(term(name, value, true)) }, "−") : null, " ",
        html("button", { type: "button", title: "copy", onclick: () => copy(text) }, "⧉")),
      html("td", {}, cutText(text)))];
  }));
  const made = html("div", { class: "fields" },
    html("p", {}, event.trace_id ? html("button", { type: "button", onclick: () => write({ trace: event.trace_id }) }, "trace (o)") : null, " ",
      html("button", { type: "button", onclick: () => around(event) }, "context (c)")), table);
  made.style.top = `${(index + 1) * rows.heights}px`;
  made.style.maxHeight = "320px";
  return made;
}

function cutText(text) {
  if (text.length <= 4000) return text;
  const whole = html("span", {}, text.slice(0, 4000));
  whole.append(html("button", { type: "button", onclick: () => { whole.textContent = text; } }, ` show all ${short(text.length)} characters`));
  return whole;
}

function select(index, open = false) {
  if (!rows.events.length) return;
  state.at = Math.min(Math.max(index, 0), rows.events.length - 1);
  if (open) rows.open = rows.open === state.at ? null : state.at;
  const box = $("rows"), top = state.at * rows.heights;
  if (top < box.scrollTop) box.scrollTop = top;
  else if (top + rows.heights > box.scrollTop + box.clientHeight) box.scrollTop = top - box.clientHeight + rows.heights * 2;
  paint();
}

async function more() {
  const box = $("rows");
  if (rows.loading || !rows.more || box.scrollTop + box.clientHeight < (rows.events.length - 20) * rows.heights) return;
  rows.loading = true;
  const last = rows.events[rows.events.length - 1];
  try {
    const found = await ask("events", { ...range(), until: last.timestamp, limit: 1000 });
    const known = new Set(rows.events.slice(-200).map((event) => event.event_id));
    rows.events.push(...found.events.filter((event) => !known.has(event.event_id)));
    rows.more = found.more && found.events.length > 1;
    paint();
  } finally { rows.loading = false; }
}

async function around(event) {
  const found = await ask("context", { service: event.service ?? "", at: event.timestamp });
  rows.events = found.events.reverse();
  rows.more = false;
  rows.open = null;
  state.at = rows.events.findIndex((one) => one.event_id === event.event_id);
  $("newer").hidden = false;
  $("newer").textContent = "around one line, without the filter · back (Esc)";
  select(state.at);
}

// ── a trace ──

async function trace() {
  const place = $("trace");
  place.hidden = !state.trace;
  if (!state.trace) return;
  const found = await ask("trace", { id: state.trace });
  const whole = Math.max(found.length, 1);
  const time = (us) => (us < 1000 ? `${us} µs` : short(us / 1000, "ms"));
  const parts = found.rows.flatMap((row) => {
    const bar = svg("svg", { viewBox: "0 0 1000 16", preserveAspectRatio: "none", role: "img", "aria-label": `${row.name} ${time(row.length)}` });
    bar.append(svg("rect", { x: ((row.offset / whole) * 1000).toFixed(1), width: Math.max((row.length / whole) * 1000, 2).toFixed(1), y: 3, height: 10, rx: 2 }));
    const kind = row.failed ? "bad" : row.open ? "open" : "";
    const name = html("span", { class: `name ${row.failed ? "bad" : ""}`, title: JSON.stringify(row.tags) }, `${"  ".repeat(row.depth)}${row.service} · ${visible(row.name)}`);
    name.style.paddingLeft = `${row.depth * 12}px`;
    return [name, html("span", { class: kind }, bar), html("span", {}, row.open ? "open" : `${time(row.length)}${row.failed ? " ✗" : ""}`)];
  });
  const lines_ = found.lines.map((event) => {
    const after = found.rows.length ? `+${Math.round((Date.parse(event.timestamp) * 1000 - found.start) / 1000) || 0} ms` : "";
    return html("div", { class: `line ${event.level}` }, html("span", { class: "lvl" }, `${after.padStart(9)} ${String(event.level ?? "").padEnd(8)}`), ` ${event.service}  `, visible(event.message ?? "").slice(0, 2000));
  });
  place.replaceChildren(html("div", { class: "card" },
    html("h2", {}, `Trace ${found.trace_id}`, " ", html("small", {}, `${found.services.join(", ")} · ${found.rows.length} spans · ${time(found.length)}${found.errors ? ` · ${found.errors} errors` : ""}`),
      html("button", { type: "button", class: "copy", onclick: () => write({ trace: "" }) }, "close (Esc)")),
    found.rows.length || found.lines.length ? html("div", { class: "fall" }, ...parts) : html("p", { class: "empty" }, "no event of this trace is in the store"),
    html("pre", {}, ...lines_)));
}

async function services() {
  const found = await ask("topology", { since: state.since, until: state.until });
  $("services").hidden = !found.edges.length;
  const line = (edge) => html("tr", {}, html("td", {}, edge.caller), html("td", {}, "→"), html("td", {}, edge.external ? `[${edge.callee}]` : edge.callee),
    html("td", {}, short(edge.calls)), html("td", { class: edge.failed ? "bad" : "" }, short(edge.rate, "percentunit")), html("td", {}, short(edge.p50, "ms")), html("td", {}, short(edge.p95, "ms")));
  const head = ["from", "", "to", "calls", "failed", "P50", "P95"].map((text) => html("th", { scope: "col" }, text));
  $("services").replaceChildren(html("div", { class: "card", "data-panel": "topology" }, html("h2", {}, "Services"),
    html("table", { class: "calls" }, html("thead", {}, html("tr", {}, ...head)), html("tbody", {}, ...found.edges.map(line)))));
}

// ── live ──

function follow() {
  stream?.close();
  stream = null;
  clearInterval(ticking);
  $("live").setAttribute("aria-pressed", String(state.live));
  if (!state.live) return;
  stream = new EventSource(`/api/live?${new URLSearchParams({ filter: state.filter })}`);
  stream.onmessage = ({ data }) => arrive(JSON.parse(data));
  stream.addEventListener("left", ({ data }) => { $("complete").textContent = `${data} more a second than are shown`; });
  ticking = setInterval(() => refresh().catch(() => {}), 5000);
}

let waiting = [];
function arrive(event) {
  waiting.push(event);
  if (waiting.length > 1) return;
  requestAnimationFrame(() => {
    const found = waiting.reverse();
    waiting = [];
    const box = $("rows");
    const stuck = box.scrollTop < rows.heights;
    rows.events.unshift(...found);
    rows.events.length = Math.min(rows.events.length, 20000);
    if (state.at >= 0) state.at += found.length;
    if (rows.open !== null) rows.open += found.length;
    if (stuck) { rows.fresh = 0; } else { box.scrollTop += found.length * rows.heights; rows.fresh += found.length; }
    $("newer").hidden = !rows.fresh;
    $("newer").textContent = `${rows.fresh} new ↑`;
    paint();
  });
}

// ── all of it ──

async function refresh() {
  const mine = (asked += 1);
  const found = await ask("panels", range());
  if (mine !== asked) return;
  draw(found);
  tellComplete(found.complete);
}

async function show() {
  $("filter").value = state.filter;
  const known = [...$("range").options].some((option) => option.value === state.since);
  $("range").value = known && !state.until ? state.since : "exact";
  $("problem").hidden = true;
  for (const form of ["csv", "ndjson"]) $(form).href = `/api/export?${new URLSearchParams({ ...range(), form })}`;
  chips();
  try {
    const [found] = await Promise.all([ask("events", { ...range(), limit: 500 }), refresh(), trace(), services()]);
    Object.assign(rows, { events: found.events, more: found.more, open: null, fresh: 0 });
    state.at = -1;
    $("newer").hidden = true;
    $("rows").scrollTop = 0;
    paint();
    follow();
    document.body.dataset.shown = String(Number(document.body.dataset.shown ?? 0) + 1);
  } catch (error) {
    $("problem").textContent = error.message;
    $("problem").hidden = false;
  }
}

const TRACEPARENT = /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$/i;
const TRACE = /^([0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$/i;

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("filter").value.trim();
  const parent = TRACEPARENT.exec(text);
  if (parent || TRACE.test(text)) write({ trace: parent ? parent[1] : text.replaceAll("-", "").toLowerCase(), filter: "" });
  else write({ filter: text, trace: "" });
});
$("range").addEventListener("change", () => write({ since: $("range").value, until: "" }));
$("live").addEventListener("click", () => write({ live: !state.live, ...(state.live ? {} : { until: "" }) }));
$("rows").addEventListener("scroll", () => { if ($("rows").scrollTop < rows.heights) { rows.fresh = 0; $("newer").hidden = true; } paint(); more(); });
$("newer").addEventListener("click", () => { if (rows.fresh) { $("rows").scrollTop = 0; rows.fresh = 0; paint(); $("newer").hidden = true; } else show(); });
$("help").addEventListener("click", () => $("keys").showModal());
$("wrap").addEventListener("click", wrap);
$("theme").addEventListener("click", theme);

function wrap() {
  state.wrap = !state.wrap;
  $("wrap").setAttribute("aria-pressed", String(state.wrap));
  $("rows").classList.toggle("wrap", state.wrap);
  rows.heights = state.wrap ? 60 : 20;
  for (const sheet of document.styleSheets) for (const rule of sheet.cssRules) if (rule.selectorText === ".row") rule.style.height = `${rows.heights}px`;
  paint();
}

function theme() {
  const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  localStorage.setItem("theme", next);
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") {
    if (document.activeElement !== document.body) document.activeElement.blur();
    if (rows.open !== null) { rows.open = null; paint(); } else if (state.trace) write({ trace: "" }); else if (!$("newer").hidden) show();
    return;
  }
  if (event.target.matches?.("input, select, textarea")) return;
  const event_ = rows.events[state.at];
  const keys = {
    "/": () => $("filter").focus(),
    j: () => select(state.at + 1),
    k: () => select(state.at - 1),
    Enter: () => select(state.at, true),
    e: () => { const next = rows.events.findIndex((one, index) => index > state.at && LEVELS[one.level] === "c3"); if (next >= 0) select(next); },
    t: theme,
    l: () => $("live").click(),
    w: wrap,
    c: () => event_ && around(event_),
    o: () => event_?.trace_id && write({ trace: event_.trace_id }),
    "?": () => $("keys").showModal(),
  };
  if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
});

// Completion: names of fields, then values of the field that is being written.
let offered = "";
$("filter").addEventListener("input", async () => {
  const text = $("filter").value;
  const [, before, field] = /^(.*?)([a-z_]+)=[^\s]*$/s.exec(text) ?? [];
  const key = field ?? "";
  if (key === offered && $("words").children.length) return;
  offered = key;
  const options = field
    ? (await ask("values", { field, since: state.since, until: state.until })).values.map((one) => [`${before}${term(field, one.value)}`, `${one.count}`])
    : names.map((one) => [`${text.replace(/[a-z_]*$/, "")}${one.name}=`, one.doc]);
  $("words").replaceChildren(...options.map(([value, label]) => html("option", { value, label })));
});

let names = [];
ask("fields").then((found) => { names = found.fields; });
document.documentElement.dataset.theme = localStorage.getItem("theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
window.addEventListener("hashchange", () => { read(); show(); });
window.addEventListener("resize", paint);
read();
show();
