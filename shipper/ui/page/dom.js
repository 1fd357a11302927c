// Elements and words. What a log line holds is put in as text only, never as markup.
const NS = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

export function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) if (value != null) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export function html(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

export const button = (words, onclick, more = {}) => html("button", { type: "button", onclick, ...more }, words);

// Drawn, not written: not every font has such signs.
const ICONS = {
  copy: "M5 5V2.8A.8.8 0 0 1 5.8 2h7.4a.8.8 0 0 1 .8.8v7.4a.8.8 0 0 1-.8.8H11M2.8 5h7.4a.8.8 0 0 1 .8.8v7.4a.8.8 0 0 1-.8.8H2.8a.8.8 0 0 1-.8-.8V5.8A.8.8 0 0 1 2.8 5z",
};
export const icon = (name) => {
  const made = svg("svg", { class: "icon", viewBox: "0 0 16 16", width: 13, height: 13, "aria-hidden": "true" });
  made.append(svg("path", { d: ICONS[name] }));
  return made;
};

// ── numbers and times ──

const upTo = (value, digits) => String(Number(value.toFixed(digits)));

export function short(value, unit = "") {
  if (value == null || Number.isNaN(value)) return "–";
  if (unit === "percentunit") return `${upTo(value * 100, value < 0.2 ? 1 : 0)} %`;
  if (unit === "ms") return value >= 1000 ? `${upTo(value / 1000, value < 10000 ? 2 : 1)} s` : `${upTo(value, value < 10 ? 1 : 0)} ms`;
  for (const [size, letter] of [[1e9, "G"], [1e6, "M"], [1e4, "k"]]) {
    if (Math.abs(value) >= size) return `${(value / (letter === "k" ? 1e3 : size)).toFixed(1)}${letter}`;
  }
  if (Number.isInteger(value)) return value.toLocaleString("en");
  if (Math.abs(value) < 0.01) return String(Number(value.toPrecision(2)));
  return value.toFixed(Math.abs(value) < 1 ? 2 : 1);
}

export const plural = (value, word) => `${number(value)} ${word}${value === 1 ? "" : "s"}`;
export const number = (value) => Number(value).toLocaleString("en");
export const bytes = (value) => (value < 1024 ? `${value} B` : value < 1048576 ? `${(value / 1024).toFixed(0)} KiB` : `${(value / 1048576).toFixed(1)} MiB`);
export const ms = (text) => Date.parse(/(Z|[+-]\d\d:\d\d)$/.test(text) ? text : `${text}Z`);
export const iso = (at) => new Date(at).toISOString();

const two = (value) => String(value).padStart(2, "0");

export function clock(at, seconds = false) {
  const day = new Date(at);
  return `${two(day.getHours())}:${two(day.getMinutes())}${seconds ? `:${two(day.getSeconds())}` : ""}`;
}

export function date(at) {
  const day = new Date(at);
  return `${day.getFullYear()}-${two(day.getMonth() + 1)}-${two(day.getDate())}`;
}

export const zone = () => new Intl.DateTimeFormat("en", { timeZoneName: "shortOffset" }).formatToParts().find((part) => part.type === "timeZoneName")?.value.replace("GMT", "UTC").replace(/C\+0$/, "C") ?? "";

// With milliseconds, in the reader's zone; the exact moment is in the line's fields.
export function exact(text) {
  const at = ms(text);
  return Number.isNaN(at) ? String(text ?? "") : `${clock(at, true)}.${String(new Date(at).getMilliseconds()).padStart(3, "0")}`;
}

// With its day, where that is not today.
export const dated = (text) => (date(ms(text)) === date(Date.now()) ? exact(text) : `${date(ms(text))} ${exact(text)}`);

export function ago(then, now) {
  const seconds = Math.max((ms(now) - ms(then)) / 1000, 0);
  if (seconds < 90) return `${seconds.toFixed(0)} s ago`;
  if (seconds < 5400) return `${(seconds / 60).toFixed(0)} min ago`;
  if (seconds < 86400) return `${(seconds / 3600).toFixed(1)} h ago`;
  return `${date(ms(then))} ${clock(ms(then))}`;
}

export const lasting = (seconds) => (seconds == null ? "–" : seconds < 1 ? "< 1 s" : seconds < 120 ? `${seconds.toFixed(0)} s` : `${(seconds / 60).toFixed(0)} min`);
export const micro = (us) => (us < 1000 ? `${us.toFixed(0)} µs` : short(us / 1000, "ms"));

// ── what a line holds ──

// Colours of terminals go; what would move the cursor or turn the text round is shown as a dot.
const ANSI = /\u001b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[@-Z\\-_])/g;
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;

export const visible = (value) => String(value ?? "").replace(ANSI, "").replace(UNSEEN, "·");
export const oneLine = (value) => visible(value).replace(/\s*[\n\t]\s*/g, " ↵ ");

export async function copy(text, said = "copied") {
  try {
    await navigator.clipboard.writeText(text);
    tell(said);
  } catch { tell("the browser does not let a page copy here"); }
}

let telling = null;
export function tell(words) {
  const place = $("told");
  place.textContent = words;
  place.hidden = false;
  clearTimeout(telling);
  telling = setTimeout(() => { place.hidden = true; }, 2500);
}
