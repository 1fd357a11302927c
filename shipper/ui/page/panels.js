// The panels: each is a card, drawn as soon as its numbers have come.
import { deployments, filled, heatmap, lines, stacked } from "./charts.js";
import { $, ago, button, bytes, clock, copy, date, html, lasting, ms, number, plural, short, visible, zone } from "./dom.js";
import { add, ask, asked, narrow, note, phrase, range, state, term, terms, write } from "./state.js";
import { topology } from "./topology.js";

const LEVELS = { DEBUG: "l-debug", INFO: "l-info", WARNING: "l-warning", ERROR: "l-error", CRITICAL: "l-critical" };
const ORDER = ["CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG"];
const BUCKETS = ["1", "2", "5", "10", "20", "50", "100", "200", "500", "1000", "2000", "5000", "10000", "20000", "50000", "+Inf"];
// What is shown where, in the order of the page; the words come from the panels' definition.
const CARDS = [
  ["qps", "4"], ["heatmap", "4"], ["error_rate", "4"],
  ["top_errors", "3"], ["slowest", "3"], ["topology", "6"],
  ["errors", "6"], ["keywords", "3"], ["pipeline", "3"],
];
const OWN = {
  volume: { title: "Log volume", about: "events" },
  heatmap: { title: "Durations", about: "requests by duration, with P50, P95 and P99" },
  top_errors: { about: "the five highest" },
  slowest: { about: "the five highest P95" },
  keywords: { title: "Keywords", about: "of errors; the larger the more often" },
  topology: { title: "Who calls whom", about: "calls, failed, P95" },
  pipeline: { title: "The pipeline", about: "on its way, and lost" },
};
const on = {
  narrow,
  range: (from, to) => write({ since: new Date(from).toISOString(), until: new Date(to).toISOString(), live: false }),
};
// What is said of panels that have nothing to show: their cards are not.
const EMPTY = { qps: "no requests", heatmap: "no requests", error_rate: "no requests", slowest: "no requests", top_errors: "no request failed",
  topology: "no service called another", errors: "no errors", keywords: "no errors", pipeline: "" };
const SERIES = 6;
let about = {}, grouped = ["level"], got = {};

export function prepare(told) {
  about = { ...told.panels, ...Object.fromEntries(Object.entries(OWN).map(([name, own]) => [name, { ...told.panels[name], ...own }])) };
  grouped = told.grouped;
  const card = (name, wide) => html("article", { class: `card w${wide}`, "data-panel": name, "aria-labelledby": `h-${name}` },
    html("header", {}, html("h2", { id: `h-${name}` }, about[name].title), html("small", {}, about[name].about), html("span", { class: "grow" }), tools(name)),
    html("div", { class: "body" }, html("p", { class: "quiet" }, "…")));
  $("welcome").replaceChildren(html("h2", {}, "Nothing has arrived yet"),
    html("p", {}, "This page begins by itself with the first event. An application ships into this store with"),
    html("pre", {}, `import logging, logferry\n\nlogferry.configure({\n    "service": "shop",\n    "sinks": {"here": {"type": "local", "path": ${JSON.stringify(told.store)}}},\n})\nlogging.getLogger("shop").warning("hello")`),
    html("p", {}, "Log files come by an agent: ", html("code", {}, "logferry init"), " writes a configuration to begin with. ", html("code", {}, "logferry demo"), " shows all of this with a shop under load."));
  $("volume").replaceChildren(card("volume", "12"));
  $("panels").replaceChildren(...CARDS.map(([name, wide]) => card(name, wide)), html("p", { class: "quiet bare", hidden: true }));
}

// The cards of what there is none of make room for the others; a line says what is missing.
const bare = new Set();
function room(name, empty) {
  if (!(name in EMPTY)) return;
  if (empty) bare.add(name); else bare.delete(name);
  document.querySelector(`[data-panel="${name}"]`).hidden = empty;
  const words = Object.entries(EMPTY).filter(([one, text]) => bare.has(one) && text && !(one === "top_errors" && bare.has("qps"))).map(([, text]) => text);
  const told = words.length ? [`In this range: ${[...new Set(words)].join(", ")}.`] : [];
  if (bare.has("pipeline")) told.push("The pipeline is shown by logferry ui -c logferry.yaml.");
  const line = document.querySelector("#panels .bare");
  line.hidden = !told.length;
  line.textContent = told.join(" ");
}

// Of more series than can be told apart, the largest.
function largest(found, value) {
  const size = new Map(found.map((one) => [one, value(one.points.map(([, each]) => each))]));
  const kept = new Set([...found].sort((a, b) => size.get(b) - size.get(a)).slice(0, SERIES));
  return { series: found.filter((one) => kept.has(one)), more: found.length - kept.size };
}
const sum = (values) => values.reduce((all, value) => all + value, 0);

function tools(name) {
  const parts = [];
  if (name === "volume") {
    const select = html("select", { id: "by", "aria-label": "volume by", onchange: (event) => write({ by: event.target.value }) },
      ...grouped.map((field) => html("option", { value: field }, `by ${field}`)));
    parts.push(select);
  }
  if (["topology", "pipeline"].includes(name)) return html("span", { class: "tools" }, ...parts);
  parts.push(html("details", { class: "menu" }, html("summary", { "aria-label": `copy ${about[name].title}`, title: "copy as a query" }, "⋯"),
    html("div", {}, button("copy as logferry query", () => copy(command(name), "copied: logferry query")),
      about[name].unit ? button("copy as LogQL", () => other(name, "logql")) : null,
      about[name].unit ? button("copy for Elasticsearch", () => other(name, "elasticsearch")) : null,
      button("copy the numbers", () => copy(JSON.stringify(got[name] ?? [], null, 1), "copied as JSON")))));
  return html("span", { class: "tools" }, ...parts);
}

const BASE = { qps: "kind=access", heatmap: "kind=access", latency: "kind=access", error_rate: "kind=access", top_errors: "failed=true", slowest: "kind=access", errors: "level=ERROR,CRITICAL", keywords: "level=ERROR,CRITICAL" };

export function command(name = "") {
  // One word of the shell for each: several in one might be taken for a value with blanks, and -x for an option.
  const shell = (word) => (/^[\w=.:@%+,/-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\"'\"'")}'`);
  const words = [BASE[name], ...terms(state.filter).map((one) => (/\s(OR|\|\|)\s/.test(one) && !one.startsWith("(") ? `(${one})` : one.replace(/^-(?=\S)/, "NOT ")))].filter(Boolean).map(shell);
  return ["logferry query", ...words, `--since ${state.since}`, ...(state.until ? [`--until ${state.until}`] : [])].join(" ");
}

async function other(name, language) {
  const told = await ask("elsewhere", { ...asked(), panel: name });
  await copy(told[language] ?? "", `copied: ${language === "logql" ? "LogQL" : "Elasticsearch"}`);
}

const body = (name) => document.querySelector(`[data-panel="${name}"] .body`);
const nothing = (words = "nothing in this range") => html("p", { class: "quiet" }, words);
const put = (name, ...parts) => { body(name)?.replaceChildren(...parts.filter(Boolean)); };

function series(found, name, value) {
  const by = new Map();
  for (const row of found) {
    const key = String(row[name] ?? "(none)");
    if (!by.has(key)) by.set(key, []);
    by.get(key).push([ms(row.time), row[value]]);
  }
  return [...by].map(([key, points]) => ({ name: key, points })).sort((a, b) => a.name.localeCompare(b.name));
}

// One panel has come.
export function show(told) {
  const { name } = told;
  got[name] = told.rows ?? told.edges;
  if (name === "volume") document.body.classList.toggle("nothing", !told.rows.length);
  const span = { ...range, on };
  const title = about[name]?.title ?? name;
  if (name === "topology") document.querySelector('[data-panel="topology"] small').textContent = state.filter ? `${OWN.topology.about}: of all, whatever the filter` : OWN.topology.about;
  const draw = {
    volume: () => {
      $("by").value = state.by;
      const found = series(told.rows, "value", "count");
      const others = ["l-o0", "l-o1", "l-o2", "l-o3", "l-o4", "l-o5", "l-o6"];
      if (state.by === "level") found.sort((a, b) => ORDER.indexOf(a.name) - ORDER.indexOf(b.name));
      const looks = found.map((one, index) => (state.by === "level" ? LEVELS[one.name] ?? "l-debug" : others[index % 7]));
      put(name, ...stacked(title, found, { ...span, unit: "", field: state.by, looks, height: innerWidth < 700 ? 90 : 104 }));
      if (state.live && total !== null) total = volume();
    },
    qps: () => {
      const { series: kept, more } = largest(series(told.rows, "service", "value"), sum);
      put(name, ...lines(title, kept.map((one) => ({ ...one, points: filled(one.points, range) })), { ...span, unit: "", field: "service", whole: true, more }));
    },
    error_rate: () => {
      const { series: kept, more } = largest(series(told.rows, "service", "value"), sum);
      put(name, ...lines(title, kept, { ...span, unit: "percentunit", field: "service", more }));
    },
    deployments: () => deployments(told.rows.map((row) => ({ at: ms(row.time), words: visible([row.service, row.version || row.message].join(" ")).slice(0, 60) })).sort((a, b) => a.at - b.at)),
    heatmap: () => { put("heatmap", nothing("…")); },
    latency: () => {
      const cells = (got.heatmap ?? []).map((row) => [ms(row.time), row.duration_le, row.count]);
      const there = BUCKETS.filter((one) => cells.some(([, bucket]) => bucket === one));
      if (!there.length) return put("heatmap", nothing());
      const order = BUCKETS.slice(BUCKETS.indexOf(there[0]), BUCKETS.indexOf(there[there.length - 1]) + 1);
      const over = ["p50", "p95", "p99"].map((key) => ({ name: key.toUpperCase(), points: told.rows.map((row) => [ms(row.time), row[key]]) }));
      put("heatmap", ...heatmap(about.heatmap.title, cells, order, over, span));
    },
    top_errors: () => put(name, bars(told.rows.map((row) => ({ ...row, value: row.rate, more: `${number(row.failed)} of ${number(row.requests)}`, fields: { service: row.service, endpoint: row.endpoint, failed: "true" } })), "percentunit", "hot")),
    slowest: () => put(name, bars(told.rows.map((row) => ({ ...row, value: row.p95, more: `slowest ${short(row.max, "ms")}`, fields: { service: row.service, endpoint: row.endpoint } })), "ms", "")),
    errors: () => put(name, errors(told.rows)),
    keywords: () => put(name, ...keywords(told.rows)),
    topology: () => {
      const { graph, wide } = topology(told, on);
      document.querySelector('[data-panel="topology"]').classList.toggle("wide", wide);
      put(name, graph);
    },
    pipeline: () => pipeline(told),
  }[name];
  if (!draw) return;
  const empty = name === "pipeline" ? !told.known : !got[name]?.length;
  room(name, empty);
  if (["latency", "pipeline", "deployments"].includes(name) || !empty) draw(); else put(name, nothing());
}

function bars(items, unit, look) {
  const most = Math.max(...items.map((item) => item.value), 0) || 1;
  return html("div", { class: `bars ${look}` }, ...items.slice(0, 5).map((item) => {
    const fill = html("i", {});
    fill.style.width = `${Math.max((item.value / most) * 100, 1)}%`;
    return html("button", { type: "button", title: `${item.service} ${item.endpoint}: ${short(item.value, unit)}, ${item.more}`, "data-name": `${item.service} ${item.endpoint}`, "data-value": item.value,
      onclick: () => add(Object.entries(item.fields).map(([field, value]) => term(field, value))) },
      html("span", { class: "what" }, html("small", {}, item.service), " ", item.endpoint), html("b", {}, short(item.value, unit)), html("span", { class: "track" }, fill));
  }));
}

const when = (text) => { const at = ms(text); return `${date(at) === date(Date.now()) ? "" : `${date(at).slice(5)} `}${clock(at)}`; };

function errors(rows) {
  const line = (row) => {
    const marks = [];
    if (row.since_version) marks.push(html("span", { class: "mark", title: `never before version ${row.first_version} of ${row.service}` }, `new in ${row.first_version}`));
    else if (row.new) marks.push(html("span", { class: "mark", title: `first seen ${row.first_ever}` }, "new"));
    const words = row.has_pattern ? [term("error_pattern", row.error)] : ["level=ERROR,CRITICAL", ...fragments(row.error ?? "")];
    return html("tr", { "data-error": row.error, "data-count": row.count },
      html("td", { class: "num" }, number(row.count)),
      html("td", { class: "text" }, button(visible(row.error ?? "(no message)"), () => add([term("service", row.service), ...words]), { class: "link", title: visible(row.error ?? "") }), " ", ...marks),
      html("td", { class: "dim", title: visible(row.service) }, visible(row.service)), html("td", { class: "dim" }, when(row.first_ever ?? row.first)), html("td", { class: "dim" }, when(row.last)),
      html("td", {}, row.trace_id ? button("trace", () => write({ trace: row.trace_id }), { class: "small", title: "the last one's trace" }) : null));
  };
  const head = ["count", "pattern", "service", "first", "last", ""].map((text) => html("th", { scope: "col" }, text));
  return html("div", { class: "scroll" }, html("table", { class: "rows" }, html("thead", {}, html("tr", {}, ...head)), html("tbody", {}, ...[...rows].sort((a, b) => a.only_access - b.only_access).slice(0, 40).map(line))));
}

const fragments = (pattern) => pattern.split(/<(?:str|url|id|ip|path|num)>/).map((part) => part.trim()).filter((part) => part.length > 2).slice(0, 4).map(phrase);

const escape = (text) => text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
const wordFilter = (word) => [`level=ERROR,CRITICAL`, `(message~${phrase(`(?i)${escape(word)}`)} OR error_pattern~${phrase(`(?i)${escape(word)}`)})`];

let listed = false;
function keywords(rows) {
  const most = rows[0].count, shown = rows.slice(0, 28);
  const one = (row) => {
    const size = 1 + Math.round(4 * Math.sqrt(row.count / most));
    return button(row.word, () => add(wordFilter(row.word)), { class: `s${size}`, title: `${number(row.count)} errors`, "aria-label": `${row.word}, ${row.count} errors`, "data-count": row.count });
  };
  const cloud = html("div", { class: "cloud", hidden: listed }, ...[...shown].sort((a, b) => a.word.localeCompare(b.word)).map(one));
  const fill = (row) => { const made = html("i", {}); made.style.width = `${(row.count / most) * 100}%`; return made; };
  const list = html("div", { class: "bars thin", hidden: !listed }, ...shown.slice(0, 12).map((row) => html("button", { type: "button", onclick: () => add(wordFilter(row.word)) },
    html("span", { class: "what" }, row.word), html("b", {}, number(row.count)), html("span", { class: "track" }, fill(row)))));
  const swap = button(listed ? "as a cloud" : "as bars", () => { listed = !listed; cloud.hidden = listed; list.hidden = !listed; swap.textContent = listed ? "as a cloud" : "as bars"; }, { class: "small swap" });
  return [html("div", { class: "scroll" }, cloud, list), swap];
}

// ── the pipeline, and how complete what one sees is ──

function pipeline(told) {
  complete(told);
  if (!told.known) return put("pipeline", nothing());
  const cell = (words, look = "num", more = {}) => html("td", { class: look, ...more }, words);
  const rows = told.sinks.map((sink) => html("tr", { "data-sink": `${sink.service}/${sink.sink}` },
    cell(`${sink.service} → ${sink.sink}`, ""), cell(number(sink.accepted), "num", { "data-accepted": sink.accepted }), cell(number(sink.delivered), "num", { "data-delivered": sink.delivered }),
    cell(number(sink.pending), sink.pending ? "num warn" : "num"), cell(number(sink.dropped + sink.dead_lettered), sink.dropped + sink.dead_lettered ? "num hot" : "num"),
  ));
  const head = ["", "accepted", "delivered", "waiting", "lost"].map((text) => html("th", { scope: "col" }, text));
  const off = told.sinks.reduce((sum, sink) => sum + Math.abs(sink.unaccounted), 0);
  const facts = [["lag", told.lag == null ? "none" : lasting(told.lag)], ["spool", bytes(told.bytes)], ["newest", told.newest ? ago(told.newest, told.now) : "–"]];
  const errors = [...new Set(told.sinks.map((sink) => sink.error).filter(Boolean))];
  put("pipeline", html("div", { class: "facts" }, ...facts.map(([name, value]) => html("span", {}, html("small", {}, name), html("b", {}, value)))),
    html("div", { class: "scroll" }, html("table", { class: "rows" }, html("thead", {}, html("tr", {}, ...head)), html("tbody", {}, ...rows))),
    ...errors.map((text) => html("p", { class: "warn" }, visible(text))),
    html("p", { class: "quiet tight" }, off ? `${number(off)} events unaccounted for` : "every event is accounted for"));
}

// How many events the range has, by what the volume's steps say.
export const volume = () => (got.volume ?? []).reduce((sum, row) => sum + row.count, 0);

// In live mode what comes is added, and the panels say again and again how many there are in truth. More may come than
// is listed: that is said, too.
let told = null, total = null, unlisted = 0;
export function counted(events) { [total, unlisted] = [events, 0]; complete(told); }
export function arrived(listed, more = 0) {
  total += listed + more;
  unlisted += more;
  complete(told);
}

export function unknown() { $("complete").replaceChildren(html("span", { class: "fact hot" }, "✗ not connected")); }

// The time of the line at a place, as near as the volume's steps say it: for lines that are not here yet.
export function nearTime(place) {
  const sums = new Map();
  for (const row of got.volume ?? []) sums.set(row.time, (sums.get(row.time) ?? 0) + row.count);
  let rest = place;
  for (const [time, count] of [...sums].sort((a, b) => (a[0] < b[0] ? 1 : -1))) {
    if (rest < count) return when(time);
    rest -= count;
  }
  return "";
}

// Beside every result: how many events, how old the newest is, what is on its way, what was lost.
function complete(now) {
  told = now ?? told;
  if (!told) return;
  const mark = (look, words, title = "") => html("span", { class: `fact ${look}`, title }, words);
  const parts = [];
  if (total !== null) parts.push(mark("", plural(total, "event")));
  parts.push(mark("", told.newest ? `newest ${ago(told.newest, told.now)}` : "the store is empty"));
  if (unlisted) parts.push(mark("warn", `… ${number(unlisted)} of them came too quickly to be listed live`, "narrow the filter, or stop live mode (l): then all are listed"));
  if (told.known) {
    const reasons = Object.entries(told.reasons).map(([reason, count]) => `${reason} ${number(count)}`).join(", ");
    parts.push(told.pending ? mark("warn", `… ${number(told.pending)} still on their way, the oldest for ${lasting(told.lag)}`) : mark("good", "✓ nothing on its way"));
    parts.push(told.dropped ? mark("hot", `✗ ${number(told.dropped)} dropped (${reasons})`) : mark("good", "✓ none dropped"));
    if (told.dead_lettered) parts.push(mark("hot", `✗ ${plural(told.dead_lettered, "dead letter")}`, "logferry dead-letter ls"));
  } else parts.push(mark("", "drops are not known: opened without a configuration"));
  $("complete").replaceChildren(...parts);
}

export const rangeWords = () => {
  if (!range.from) return "";
  const same = date(range.from) === date(range.to);
  return `${same ? "" : `${date(range.from)} `}${clock(range.from, true)} – ${same ? "" : `${date(range.to)} `}${clock(range.to, true)} ${zone()}`;
};
