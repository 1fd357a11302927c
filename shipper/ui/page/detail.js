// One line: its message whole, its fields, and the ways on from it. And one trace: its waterfall with all its lines.
import { $, button, copy, dated, exact, html, icon, micro, ms, number, plural, short, svg, visible, zone } from "./dom.js";
import { around } from "./lines.js";
import { add, address, ask, note, state, term, write } from "./state.js";

const LONG = 4000;
const LAST = ["event_id", "origin_id", "log_file"];  // which one it is, and where from

export function detail(event) {
  const place = $("detail");
  const link = () => copy(`${location.origin}${location.pathname}${address({ line: event.event_id ?? "" })}`, "link copied");
  const text = visible(event.message);
  const parts = [
    html("header", {}, html("span", { class: `lvl ${event.level}` }, event.level ?? ""), html("b", {}, visible(event.service)), html("time", { title: `your time zone, ${zone()}` }, dated(event.timestamp)), html("span", { class: "grow" }),
      button("×", close, { "aria-label": "close (Esc)", class: "small" })),
    html("div", { class: "ways" },
      event.trace_id ? button("trace (o)", () => write({ trace: event.trace_id })) : null,
      button("context (c)", () => around(event)), button("copy JSON", () => copy(JSON.stringify(event, null, 1))), event.event_id ? button("copy link", link) : null),
    html("pre", { class: "message" }, cut(text)),
  ];
  if (event.error) parts.push(html("h3", {}, "Error"), html("pre", { class: "stack" }, cut(failure(event.error))));
  parts.push(html("h3", {}, "Fields"), html("table", { class: "fields" }, html("tbody", {}, ...Object.entries(event).filter(([name, value]) => name !== "message" && name !== "error" && value !== "").sort(([a], [b]) => LAST.includes(a) - LAST.includes(b)).map(([name, value]) => field(name, value)))));
  place.replaceChildren(...parts);
  place.hidden = false;
  place.scrollTop = 0;
  document.body.classList.add("detailed");
}

function failure(error) {
  const causes = (error.causes ?? []).map((one) => `caused by ${one.type}: ${one.message}`).join("\n");
  return visible([error.stack || `${error.type}: ${error.message}`, error.code ? `code ${error.code}` : "", causes].filter(Boolean).join("\n"));
}

function field(name, value) {
  const plain = typeof value !== "object";
  const text = visible(plain ? value : JSON.stringify(value, null, 1));
  return html("tr", {}, html("th", { scope: "row" }, visible(name)), html("td", { class: "acts" },
    plain ? button("+", () => add([term(name, value)]), { title: "only this", "aria-label": `only ${name} ${text.slice(0, 80)}` }) : null,
    plain ? button("−", () => add([term(name, value, true)]), { title: "without this", "aria-label": `without ${name} ${text.slice(0, 80)}` }) : null,
    button(icon("copy"), () => copy(text), { title: "copy", "aria-label": `copy ${name}` })),
  html("td", { class: "value" }, cut(text)));
}

function cut(text) {
  if (text.length <= LONG) return text;
  const whole = html("span", {}, text.slice(0, LONG));
  const size = text.length > 100000 ? `${(text.length / 1048576).toFixed(1)} MB` : `${number(text.length)} characters`;
  const more = button(`show all ${size}`, () => { whole.textContent = text; });
  return html("span", {}, whole, " … ", more);
}

export function close() {
  $("detail").hidden = true;
  document.body.classList.remove("detailed");
  note({ line: "" });
}

// ── a trace ──

export async function trace() {
  document.body.classList.toggle("tracing", Boolean(state.trace));
  const place = $("trace");
  place.hidden = !state.trace;
  if (!state.trace) return;
  const found = await ask("trace", { id: state.trace });
  if (innerWidth < 1101 && !$("detail").hidden) close();  // it would lie over the trace
  const whole = Math.max(found.length, 1);
  const look = new Map(found.services.map((name, index) => [name, `t${index % 6}`]));
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) => { const made = html("span", {}, micro(whole * share)); made.style.left = `${share * 100}%`; return made; });
  const bars = found.rows.map((row) => span(row, whole, look, found));
  const longest = Math.max(6, ...found.services.map((name) => Math.min(name.length, 22)));
  place.style.setProperty("--svc", `${longest + 1}ch`);
  const title = [found.services.join(", "), plural(found.rows.length, "span"), plural(found.lines.length, "line"), micro(found.length)];
  if (found.errors) title.push(`✗ ${plural(found.errors, "error")}`);
  place.replaceChildren(html("div", { class: "card" },
    html("header", {}, html("h2", {}, `Trace ${found.trace_id}`), html("small", {}, title.join(" · ")), html("span", { class: "grow" }),
      button("copy", () => copy(`logferry trace ${found.trace_id}`, "copied: logferry trace"), { class: "small" }), button("close (Esc)", () => write({ trace: "" }), { class: "small" })),
    found.rows.length ? html("div", { class: "fall", role: "table", "aria-label": "waterfall" }, html("div", { class: "ticks", "aria-hidden": "true" }, html("span", { class: "axis" }, ...ticks)), ...bars) : null,
    found.rows.length || found.lines.length ? null : html("p", { class: "quiet" }, "no event of this trace is in the store (any more)"),
    found.lines.length ? html("h3", {}, "Its lines, of all services") : null,
    html("div", { class: "told" }, ...found.lines.map((event) => line(event, found, look)))));
  place.scrollIntoView({ block: "start" });
}

function span(row, whole, look, found) {
  const bar = html("i", { class: `${look.get(row.service)} ${row.failed ? "bad" : ""} ${row.open ? "open" : ""}` });
  bar.style.left = `${(Math.max(row.offset, 0) / whole) * 100}%`;
  bar.style.width = `max(${(row.length / whole) * 100}%, 3px)`;
  const name = html("span", { class: "name", role: "cell", title: Object.entries(row.tags).map(([key, value]) => `${key}: ${value}`).join("\n") },
    html("small", { class: look.get(row.service) }, visible(row.service)), " ", visible(row.name));
  name.style.paddingLeft = `${row.depth * 14}px`;
  const marks = found.lines.filter((event) => event.span_id && event.span_id === row.span_id).map((event) => {
    const mark = html("u", { class: event.level, title: visible(event.message).slice(0, 200) });
    mark.style.left = `${Math.min(Math.max((ms(event.timestamp) * 1000 - found.start) / whole, 0), 1) * 100}%`;
    return mark;
  });
  return html("div", { class: "span", role: "row", "data-span": row.span_id }, name, html("span", { class: "track", role: "cell" }, bar, ...marks),
    html("span", { class: row.failed ? "time bad" : "time", role: "cell" }, row.open ? "not ended" : `${row.failed ? "✗ " : ""}${micro(row.length)}`));
}

function line(event, found, look) {
  const after = (ms(event.timestamp) * 1000 - found.start) / 1000;
  const made = html("button", { type: "button", class: `row ${event.level ?? ""}`, onclick: () => detail(event) },
    html("time", {}, found.rows.length ? `${after >= 0 ? "+" : "−"}${short(Math.abs(after), "ms")}` : exact(event.timestamp)), html("span", { class: "lvl" }, event.level ?? ""),
    html("span", { class: `svc ${look.get(event.service) ?? ""}` }, visible(event.service)), html("span", { class: "msg" }, visible(event.message).slice(0, 2000)));
  return made;
}
