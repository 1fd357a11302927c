// The filter: an input with completion, and its words as chips that can be switched off without being deleted.
import { $, button, html, number, tell, visible } from "./dom.js";
import { address, ask, state, term, terms, write } from "./state.js";

const TRACEPARENT = /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$/i;
const TRACE = /^([0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$/i;
// What may be a request's id: no words, but letters and digits in one piece.
const MAYBE = /^(?=\S*\d)[A-Za-z0-9._:-]{12,128}$/;

let fields = [], offers = [], at = -1, asking = 0;
export const prepare = (told) => { fields = told.fields; };

export function chips() {
  const one = (word, off) => html("span", { class: off ? "chip off" : "chip" },
    button(visible(word), () => toggle(word, off), { class: "word", title: off ? "switch on again" : "switch off", "aria-pressed": String(!off) }),
    button("×", () => drop(word, off), { "aria-label": `remove ${word}` }));
  const all = [...terms(state.filter).map((word) => one(word, false)), ...state.off.map((word) => one(word, true))];
  if (all.length > 1) all.push(button("clear", () => write({ filter: "", off: [] }), { class: "small" }));
  $("chips").replaceChildren(...all);
  $("chips").hidden = !all.length;
}

const without = (word) => terms(state.filter).filter((other) => other !== word).join(" ");
function toggle(word, off) {
  if (off) write({ off: state.off.filter((other) => other !== word), filter: [...terms(state.filter), word].join(" ") });
  else write({ off: [...state.off, word], filter: without(word) });
}
function drop(word, off) {
  if (off) write({ off: state.off.filter((other) => other !== word) });
  else write({ filter: without(word) });
}

async function submit() {
  hide();
  const text = $("filter").value.trim();
  const parent = TRACEPARENT.exec(text);
  if (parent || TRACE.test(text)) return write({ trace: parent ? parent[1] : text.replaceAll("-", "").toLowerCase(), filter: "", line: "" });
  if (MAYBE.test(text)) {
    const found = await ask("trace", { id: text }).catch(() => null);
    if (found && (found.rows.length || found.lines.length)) return write({ trace: found.trace_id, filter: "", line: "" });
  }
  return write({ filter: text, trace: "", line: "" });
}

// ── completion: names of fields, then values of the field that is being written, with their counts ──

async function complete() {
  const input = $("filter"), text = input.value.slice(0, input.selectionStart);
  const mine = (asking += 1);
  const value = /(?:^|[\s(])([-!]?)([a-z_.]+)(=|!=|:)([^\s"]*)$/.exec(text);
  const name = /(?:^|[\s(])([-!]?)([a-z_]*)$/.exec(text);
  let found = [];
  if (value) {
    const [, , field, sign, begun] = value;
    const told = await ask("values", { field, since: state.since, until: state.until }).catch(() => ({ values: [] }));
    if (mine !== asking) return;
    const start = text.length - begun.length;
    found = told.values.filter((one) => String(one.value).toLowerCase().startsWith(begun.toLowerCase()))
      .map((one) => ({ from: start, put: `${term(field, one.value).slice(field.length + 1)} `, shown: String(one.value), more: number(one.count) }));
    if (sign === ":" && !found.length) return hide();
  } else if (name && name[2].length) {
    const begun = name[2];
    found = fields.filter((one) => one.name.includes(begun)).sort((a, b) => b.name.startsWith(begun) - a.name.startsWith(begun))
      .map((one) => ({ from: text.length - begun.length, put: `${one.name}=`, shown: one.name, more: one.doc }));
  }
  offer(found.slice(0, 12));
}

function offer(found) {
  offers = found;
  at = -1;
  const list = $("words");
  list.replaceChildren(...found.map((one, index) => {
    const made = html("li", { id: `word-${index}`, role: "option", "aria-selected": "false" }, html("span", {}, visible(one.shown)), html("small", {}, one.more));
    made.addEventListener("mousedown", (event) => { event.preventDefault(); take(index); });
    return made;
  }));
  list.hidden = !found.length;
  $("filter").setAttribute("aria-expanded", String(found.length > 0));
  $("filter").removeAttribute("aria-activedescendant");
}

export const hide = () => { asking += 1; offer([]); };

function mark(index) {
  at = (index + offers.length) % offers.length;
  [...$("words").children].forEach((one, number_) => one.setAttribute("aria-selected", String(number_ === at)));
  $("words").children[at].scrollIntoView({ block: "nearest" });
  $("filter").setAttribute("aria-activedescendant", `word-${at}`);
}

function take(index) {
  const input = $("filter"), { from, put } = offers[index], end = input.selectionStart;
  input.value = input.value.slice(0, from) + put + input.value.slice(end).trimStart();
  input.setSelectionRange(from + put.length, from + put.length);
  if (put.endsWith("=")) complete(); else hide();
}

export function listen() {
  const input = $("filter");
  $("ask").addEventListener("submit", (event) => { event.preventDefault(); submit(); });
  input.addEventListener("input", complete);
  input.addEventListener("blur", hide);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { if (offers.length) { hide(); event.stopPropagation(); } return; }
    if (!offers.length) { if (event.key === "ArrowDown" || (event.key === " " && event.ctrlKey)) { event.preventDefault(); everything(); } return; }
    if (event.key === "ArrowDown") { event.preventDefault(); mark(at + 1); }
    else if (event.key === "ArrowUp") { event.preventDefault(); mark(at < 0 ? offers.length - 1 : at - 1); }
    else if (event.key === "Tab") { event.preventDefault(); take(Math.max(at, 0)); }
    else if (event.key === "Enter" && at >= 0) { event.preventDefault(); take(at); }
  });
  views();
}

function everything() {
  const place = $("filter").selectionStart;
  offer(fields.slice(0, 40).map((one) => ({ from: place, put: `${one.name}=`, shown: one.name, more: one.doc })));
}

// ── saved views: in this browser only ──

export const saved = () => { try { return JSON.parse(localStorage.getItem("views") ?? "[]"); } catch { return []; } };
const keep = (all) => { localStorage.setItem("views", JSON.stringify(all)); views(); };

function views() {
  const name = html("input", { "aria-label": "name of the view", placeholder: "name", size: 14 });
  const save = (event) => {
    event.preventDefault();
    if (!name.value.trim()) return;
    keep([...saved().filter((one) => one.name !== name.value.trim()), { name: name.value.trim(), address: address({ line: "" }) }]);
    tell("saved in this browser");
  };
  const lines = saved().map((one) => html("div", { class: "view" }, html("a", { href: one.address }, one.name),
    button("×", () => keep(saved().filter((other) => other.name !== one.name)), { "aria-label": `remove ${one.name}`, class: "small" })));
  $("views").replaceChildren(...(lines.length ? lines : [html("p", { class: "quiet tight" }, "no view is saved yet")]), html("form", { onsubmit: save }, name, html("button", {}, "save this view")));
}
