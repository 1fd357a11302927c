// The lines: a window over all of a range, however many there are. Only what is seen is in the page; pages of it are
// fetched by their place. What arrives live is put before the first place.
import { $, button, clock, date, dated, exact, html, ms, number, oneLine, plural, tell, visible } from "./dom.js";
import { add, ask, fixed, note, range, state, term, terms, write } from "./state.js";
import { arrived, counted, nearTime, volume } from "./panels.js";

const PAGE = 400, AT_ONCE = 2, HIGHEST = 8_000_000, KEPT = 40, LIVE = 20_000, SHORT = 600;
// Fields that stand in front, repeat what is in front, or are looked up when they are needed.
const HIDDEN = new Set(["timestamp", "level", "service", "message", "trace_id", "span_id", "parent_id", "logger", "module", "function", "line", "environment",
  "version", "host", "process", "thread", "task", "error", "event_id", "origin_id", "duration_le", "error_pattern", "kind", "log_file", "method", "path", "endpoint", "failed", "name", "tags", "span_kind", "started", "user_agent", "color_message"]);

const list = { total: 0, pages: new Map(), live: [], first: 0, at: -1, tall: 22, wrap: false, fresh: 0, asking: new Set(), needed: [], version: 0, top: 0, context: null, why: null, name: 6, cleared: false };
let opened = () => {};
export const whenOpened = (act) => { opened = act; };

export const count = () => (list.context ? list.context.length : list.live.length + list.total);
const visibleRows = () => Math.max(Math.floor($("rows").clientHeight / list.tall), 1);

export function lineAt(index) {
  if (list.context) return list.context[index];
  if (index < list.live.length) return list.live[index];
  const place = index - list.live.length;
  return list.pages.get(Math.floor(place / PAGE))?.[place % PAGE];
}
export const current = () => (list.at >= 0 ? lineAt(list.at) : undefined);

export async function load() {
  const mine = (list.version += 1);
  Object.assign(list, { pages: new Map(), live: [], first: 0, at: -1, fresh: 0, asking: new Set(), needed: [], context: null, why: null, name: 6, cleared: false });
  // How many there are is known already: the newest need not wait until all of them have their places.
  const found = await ask("rows", { ...fixed(), first: 0, count: PAGE, total: volume() });
  if (mine !== list.version) return;
  list.total = found.total;
  list.pages.set(0, found.events);
  counted(found.total);
  $("rows").scrollTop = list.top = 0;
  layout();
  if (!found.total) why();
}

// What is needed now is asked for, two pages at a time: whoever drags the bar past a thousand pages waits for none of them.
function need(pages) {
  list.needed = pages;
  pump();
}

function pump() {
  for (const one of list.needed) {
    if (list.asking.size >= AT_ONCE) return;
    if (!list.pages.has(one) && !list.asking.has(one)) page(one);
  }
}

async function page(number_) {
  if (list.pages.has(number_) || list.asking.has(number_)) return;
  list.asking.add(number_);
  const mine = list.version;
  let sound = false;
  try {
    const found = await ask("rows", { ...fixed(), first: number_ * PAGE, count: PAGE });
    if (mine !== list.version) return;
    sound = true;
    list.pages.set(number_, found.events);
    if (found.total !== list.total) {
      list.total = found.total;
      if (!state.live) counted(list.total);
      layout();
    }
    if (list.pages.size > KEPT) {
      const here = Math.floor((list.first - list.live.length) / PAGE);
      const far = [...list.pages.keys()].sort((a, b) => Math.abs(b - here) - Math.abs(a - here));
      for (const one of far.slice(0, list.pages.size - KEPT)) list.pages.delete(one);
    }
    paint();
  } catch (error) { tell(error.message); } finally {
    if (mine === list.version) {
      list.asking.delete(number_);
      if (sound) pump();
    }
  }
}

// ── scrolling: the bar has an end somewhere, a range has not. A small move is taken as it is, a jump in proportion. ──

const tall = () => Math.min(count() * list.tall, HIGHEST);

function layout() {
  $("space").style.height = `${tall()}px`;
  paint();
}

function scrolled() {
  const box = $("rows"), moved = box.scrollTop - list.top, far = Math.max(box.scrollHeight - box.clientHeight, 1);
  list.top = box.scrollTop;
  const last = Math.max(count() - box.clientHeight / list.tall, 0);
  if (count() * list.tall <= HIGHEST) list.first = box.scrollTop / list.tall;
  else if (box.scrollTop <= 0) list.first = 0;
  else if (box.scrollTop >= far - 1) list.first = last;
  else if (Math.abs(moved) < box.clientHeight * 2) list.first = Math.min(Math.max(list.first + moved / list.tall, 0), last);
  else list.first = (box.scrollTop / far) * last;
  if (list.first < 1 && list.fresh) { list.fresh = 0; }
  paint();
}

export function jump(index, middle = false) {
  const box = $("rows"), last = Math.max(count() - box.clientHeight / list.tall, 0);
  list.first = Math.min(Math.max(middle ? index - visibleRows() / 2 : index, 0), last);
  const far = Math.max(box.scrollHeight - box.clientHeight, 1);
  box.scrollTop = count() * list.tall <= HIGHEST ? list.first * list.tall : (list.first / (last || 1)) * far;
  list.top = box.scrollTop;
  paint();
}

// ── painting ──

let due = false;
export function paint() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => { due = false; draw(); });
}

function draw() {
  const box = $("rows"), space = $("space");
  if (!box.clientHeight) return;
  const begin = Math.floor(list.first), all = count();
  const end = Math.min(begin + visibleRows() + 3, all);
  // As wide as the longest name that was seen, within reason.
  for (let index = begin; index < end; index += 1) list.name = Math.max(list.name, Math.min(columns(visible(lineAt(index)?.service)), 22));
  box.style.setProperty("--svc", `${list.name + 1}ch`);
  const made = [], pages = new Set();
  let before = begin > 0 ? lineAt(begin - 1) : null;
  for (let index = begin; index < end; index += 1) {
    const event = lineAt(index);
    if (!event && !list.context) pages.add(Math.floor((index - list.live.length) / PAGE));
    const row = event ? line(event, index, before) : html("div", { class: "row waiting" }, html("time", {}, nearTime(index - list.live.length)), "…");
    row.style.top = `${list.top + (index - list.first) * list.tall}px`;
    row.style.height = `${list.tall}px`;
    made.push(row);
    before = event;
  }
  // The next page is on its way before it is seen, downwards and upwards.
  if (!list.context) {
    const near = (index) => pages.add(Math.floor(Math.min(Math.max(index - list.live.length, 0), Math.max(list.total - 1, 0)) / PAGE));
    if (all > list.live.length) [end + PAGE * 0.8, begin - PAGE / 2].forEach(near);
    need([...pages]);
  }
  if (all) list.why = null;
  box.replaceChildren(space, ...made, ...(list.why ? [list.why] : []));
  box.setAttribute("aria-activedescendant", list.at >= 0 ? `row-${list.at}` : "");
  const said = all ? `${number(begin + 1)}–${number(Math.min(begin + visibleRows(), all))} of ${number(all)}` : "";
  $("count").textContent = list.context ? "around one line, without the filter" : said;
  $("newer").hidden = !list.fresh && !list.context;
  $("newer").textContent = list.context ? "back to the results (Esc)" : `${number(list.fresh)} new ↑`;
  $("wider").hidden = $("everybody").hidden = !list.context;
}

const columns = (text) => [...text].reduce((sum, one) => sum + (one > "\u2e80" ? 2 : 1), 0);

const look = (event) => ({ class: `row ${event.level ?? ""}` });

function line(event, index, before) {
  const made = html("div", { ...look(event), role: "option", id: `row-${index}`, "data-index": index, "aria-selected": String(index === list.at), "aria-label": oneLine(event.message).slice(0, 200) });
  const at = ms(event.timestamp), same = before && Math.floor(ms(before.timestamp) / 1000) === Math.floor(at / 1000);
  const stamp = html("time", { title: event.timestamp, class: same ? "again" : "" });
  const words = exact(event.timestamp);
  stamp.append(html("span", {}, words.slice(0, 8)), words.slice(8));
  if (range.to - range.from > 86400000) stamp.prepend(`${date(at).slice(5)} `);
  made.append(stamp, html("span", { class: "lvl", "data-field": "level" }, event.level ?? ""), html("span", { class: "svc", title: visible(event.service), "data-field": "service" }, visible(event.service)));
  const text = html("span", { class: "msg" });
  if (event.status_code != null && event.duration_ms != null) {
    text.append(html("b", { class: event.failed || event.status_code >= 500 ? "bad" : "" }, String(event.status_code)), html("i", { class: event.duration_ms > 500 ? "slow" : "" }, `${Math.round(event.duration_ms * 10) / 10} ms`));
  } else if (event.duration_ms != null) text.append(html("i", {}, `${Math.round(event.duration_ms * 10) / 10} ms`));
  let message = oneLine(event.message);
  const whole = String(event.message ?? "").length;
  if (message.length > SHORT) message = message.slice(0, SHORT);
  found(text, message);
  if (whole > SHORT) text.append(html("em", {}, ` … ${whole > 1024 ? `${(whole / 1048576).toFixed(1)} MB`.replace("0.0 MB", `${Math.round(whole / 1024)} kB`) : `${whole} characters`}`));
  if (event.error?.type && !message.includes(event.error.type)) { text.append("  "); text.append(html("b", { class: "bad" }, visible(event.error.type))); const words = oneLine(event.error.message).slice(0, SHORT); if (!message.includes(words)) found(text, ` ${words}`); }
  made.append(text);
  const rest = Object.entries(event).filter(([name, value]) => !HIDDEN.has(name) && value !== null && name !== "status_code" && name !== "duration_ms" && !(name === "request_id" && value === event.trace_id));
  // What the line before says as well is not said again.
  for (const [name, value] of rest.filter(([name, value]) => !before || typeof value === "object" || before[name] !== value).slice(0, 8)) {
    made.append(html("span", { class: "kv", "data-field": typeof value === "object" ? null : name }, html("small", {}, `${visible(name)}=`), oneLine(typeof value === "object" ? JSON.stringify(value) : value).slice(0, 80)));
  }
  if (index === list.at) made.classList.add("on");
  made.addEventListener("click", (click) => {
    const field = click.target.closest?.("[data-field]")?.dataset.field;
    if (field && (click.altKey || click.ctrlKey || click.metaKey)) add([term(field, event[field], click.altKey)]);
    else if (!getSelection().toString()) select(index, true);
  });
  return made;
}

// What is searched for is marked, without anything being filtered.
function found(place, text) {
  const wanted = state.find.toLowerCase();
  if (!wanted) { place.append(text); return; }
  const low = text.toLowerCase();
  let from = 0;
  for (let at = low.indexOf(wanted); at >= 0; at = low.indexOf(wanted, from)) {
    place.append(text.slice(from, at), html("mark", {}, text.slice(at, at + wanted.length)));
    from = at + wanted.length;
  }
  place.append(text.slice(from));
}

export function select(index, open = false) {
  if (!count()) return;
  list.at = Math.min(Math.max(index, 0), count() - 1);
  const rows = visibleRows();
  if (list.at < list.first) jump(list.at);
  else if (list.at >= list.first + rows - 1) jump(list.at - rows + 2);
  paint();
  const event = current();
  if (event && (open || !$("detail").hidden)) { note({ line: event.event_id ?? "" }); opened(event); }
}
export const move = (by) => select(list.at + by);

export async function nextError() {
  const level = "level=ERROR,CRITICAL";
  const from = current()?.timestamp;
  for (let index = list.at + 1; index < count(); index += 1) {
    const event = lineAt(index);
    if (!event) break;
    if (["ERROR", "CRITICAL"].includes(event.level)) return select(index);
  }
  const told = await ask("rows", { ...fixed(), filter: state.filter ? `(${state.filter}) ${level}` : level, until: from ?? range.until, first: 0, count: 1 });
  if (!told.events.length) return tell("no older error in this range");
  return go(told.events[0].event_id);
}

export async function find(newer = false) {
  if (!state.find) return;
  const from = current()?.timestamp ?? "";
  const told = await ask("find", { ...fixed(), text: state.find, ...(newer ? { after: from || range.since } : { before: from }) });
  if (told.place < 0) { tell(`no ${newer ? "newer" : "older"} line with ${state.find}`); return; }
  place(told.place + list.live.length);
}

async function place(index) {
  jump(index, true);
  await page(Math.floor(Math.max(index - list.live.length, 0) / PAGE));
  select(index);
}

// A link to a line: to its place in what is shown, or else to what stood around it.
export async function go(event_id, open = false) {
  const told = await ask("place", { ...fixed(), id: event_id });
  if (!told.event) { tell("that line is not in the store (any more)"); return; }
  if (told.place >= 0) await place(told.place + list.live.length);
  else await around(told.event);
  if (open) opened(told.event);
}

// ── context: what was logged around a line, whatever the filter; wider, and of everybody ──

let middle = null, wide = 25, of = "";
export async function around(event, size = 25, service = event.service ?? "") {
  [middle, wide, of] = [event, size, service];
  const told = await ask("context", { service, at: event.timestamp, count: size });
  list.context = told.events.reverse();
  list.at = Math.max(list.context.findIndex((one) => one.event_id === event.event_id), 0);
  $("wider").textContent = `wider (${size * 4} each way)`;
  $("everybody").textContent = service ? "of every service" : `of ${event.service} only`;
  layout();
  jump(list.at, true);
  $("log").scrollIntoView({ block: "nearest" });
}
export const inContext = () => list.context !== null;
export function leaveContext() {
  list.context = null;
  list.at = -1;
  note({ line: "" });
  layout();
  jump(0);
}

// ── live ──

let waiting = [];
export function arrive(event) {
  waiting.push(event);
  if (waiting.length > 1) return;
  setTimeout(() => {
    const fresh = waiting.reverse();
    waiting = [];
    // What came between the question and the stream is in both.
    const known = new Set([...list.live.slice(0, 500), ...(list.pages.get(0) ?? [])].map((one) => one.event_id));
    const added = fresh.filter((one) => !known.has(one.event_id));
    if (!added.length) return;
    const stuck = list.first < 1 && !list.context;
    list.live.unshift(...added);
    arrived(added.length);
    if (list.live.length > LIVE) {
      arrived(0 - (list.live.length - LIVE), list.live.length - LIVE);
      list.live.length = LIVE;
    }
    if (list.context) { list.fresh += added.length; return; }
    if (list.at >= 0) list.at += added.length;
    if (!stuck) { list.fresh += added.length; layout(); jump(list.first + added.length); return; }
    layout();
  }, 80);
}
// After a burst: what came too quickly to be listed is fetched, unless somebody reads meanwhile.
export async function catchUp() {
  if (list.first >= 1 || list.context || list.at >= 0 || list.cleared) return list.cleared;
  const newer = list.live.filter((one) => ms(one.timestamp) >= range.to);
  await load();
  const there = new Set((list.pages.get(0) ?? []).map((one) => one.event_id));
  list.live = [...list.live, ...newer].filter((one) => !there.has(one.event_id));
  arrived(list.live.length);
  layout();
  return true;
}

export function clear() {
  list.version += 1;
  Object.assign(list, { total: 0, pages: new Map([[0, []]]), live: [], first: 0, at: -1, fresh: 0, context: null, cleared: true });
  layout();
}

// ── nothing to show: why? ──

const moment = (text) => `${date(ms(text))} ${clock(ms(text), true)}`;

async function why() {
  const mine = list.version;
  const told = await ask("why", fixed());
  if (mine !== list.version || count()) return;
  const parts = [html("h3", {}, state.filter ? "No line matches here" : "No line in this range")];
  if (told.unfiltered && state.filter) parts.push(html("p", {}, `Without the filter there ${told.unfiltered === 1 ? "is" : "are"} ${plural(told.unfiltered, "line")} in this range. `, button("drop the filter", () => write({ filter: "" }))));
  // Of several words: how many there would be without each.
  const words = terms(state.filter);
  if (words.length > 1 && words.length <= 6) {
    const without = words.map((word) => words.filter((other) => other !== word).join(" "));
    const counts = await Promise.all(without.map((filter) => ask("rows", { ...fixed(), filter, first: 0, count: 1 }).then((found) => found.total).catch(() => 0)));
    if (mine !== list.version || count()) return;
    words.forEach((word, at) => { if (counts[at]) parts.push(html("p", {}, `Without ${visible(word)}: ${plural(counts[at], "line")} `, button("drop it", () => write({ filter: without[at], off: [...state.off, word] })))); });
  }
  if (told.before) parts.push(html("p", {}, `The nearest one before its end: ${moment(told.before)} `, button("go there", () => write({ since: new Date(ms(told.before) - 600000).toISOString(), until: new Date(ms(told.before) + 60000).toISOString() }))));
  if (told.after) parts.push(html("p", {}, `The next one after it: ${moment(told.after)} `, button("go there", () => write({ since: new Date(ms(told.after) - 60000).toISOString(), until: new Date(ms(told.after) + 600000).toISOString() }))));
  if (told.day) parts.push(html("p", {}, `In the 24 hours up to its end: ${number(told.day)}. `, button("widen to 24 h", () => write({ since: "24h", until: "" }))));
  if (!told.before && !told.after) parts.push(html("p", {}, state.filter ? "Nothing in the whole store matches this filter." : "The store is empty: has anything been shipped yet?"));
  for (const hint of told.hints) parts.push(html("p", {}, visible(hint)));
  list.why = html("div", { class: "why" }, ...parts);
  paint();
}

// ── lines that are alike ──

export async function similar() {
  $("rows").hidden = state.mode === "similar";
  $("similar").hidden = state.mode !== "similar";
  if (state.mode !== "similar") { paint(); return; }
  const told = await ask("similar", fixed());
  const row = (group) => html("tr", { class: group.level, "data-count": group.count }, html("td", { class: "num" }, number(group.count)), html("td", { class: "lvl" }, group.level), html("td", { class: "dim" }, visible(group.service)),
    html("td", { class: "text" }, button(oneLine(group.pattern).slice(0, 300), () => add([term("level", group.level), term("service", group.service), group.filter].filter(Boolean)), { class: "link" })),
    html("td", { class: "dim" }, dated(group.first)), html("td", { class: "dim" }, dated(group.last)));
  $("count").textContent = `${number(told.groups.length)} kinds`;
  $("similar").replaceChildren(html("p", { class: "quiet tight" }, told.all ? `${number(told.looked_at)} lines, grouped by what does not vary` : `the newest ${number(told.looked_at)} lines, grouped by what does not vary`),
    html("table", { class: "rows" }, html("thead", {}, html("tr", {}, ...["count", "level", "service", "pattern", "first", "last"].map((text) => html("th", { scope: "col" }, text)))), html("tbody", {}, ...told.groups.map(row))));
}

export function wrap() {
  list.wrap = !list.wrap;
  list.tall = list.wrap ? 62 : 22;
  $("wrap").setAttribute("aria-pressed", String(list.wrap));
  $("rows").classList.toggle("wrap", list.wrap);
  const first = list.first;
  layout();
  jump(first);
}

export function listen() {
  $("rows").addEventListener("scroll", scrolled, { passive: true });
  $("newer").addEventListener("click", () => { if (list.context) leaveContext(); else { list.fresh = 0; jump(0); } });
  $("wider").addEventListener("click", () => around(middle, wide * 4, of));
  $("everybody").addEventListener("click", () => around(middle, wide, of ? "" : middle.service));
  $("wrap").addEventListener("click", wrap);
  $("clear").addEventListener("click", clear);
  $("find").addEventListener("input", () => { note({ find: $("find").value }); paint(); });
  $("find").addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); find(event.shiftKey); } });
  new ResizeObserver(() => paint()).observe($("rows"));
}
