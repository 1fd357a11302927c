// What is looked at. All of it lives in the address, so a link shows a colleague the same.
export const state = { filter: "", since: "1h", until: "", trace: "", live: false, off: [], by: "level", view: "", mode: "", line: "", find: "" };
const WORDS = ["filter", "since", "until", "trace", "by", "view", "mode", "line", "find"];
const USUAL = { since: "1h", by: "level" };

// What the server has said the range is, in moments; "the last hour" must not move while one scrolls.
export const range = { since: "", until: "", step: 60, from: 0, to: 0 };

let changed = () => {};
export const whenChanged = (act) => { changed = act; };

export function read() {
  const from = new URLSearchParams(location.hash.slice(1));
  for (const name of WORDS) state[name] = from.get(name) ?? USUAL[name] ?? "";
  state.live = from.get("live") === "1";
  state.off = from.getAll("off");
}

export function address(changes = {}) {
  const wanted = { ...state, ...changes };
  const to = new URLSearchParams();
  for (const name of WORDS) if (wanted[name] && wanted[name] !== USUAL[name]) to.set(name, wanted[name]);
  if (wanted.live) to.set("live", "1");
  for (const one of wanted.off) to.append("off", one);
  return `#${to}`;
}

export function write(changes) {
  Object.assign(state, changes);
  const to = address();
  if (to === location.hash || (to === "#" && !location.hash)) changed();
  else location.hash = to;
}

// Changes the address without asking for anything anew.
export function note(changes) {
  Object.assign(state, changes);
  history.replaceState(null, "", address());
}

export async function ask(path, values = {}) {
  const words = new URLSearchParams(Object.entries(values).filter(([, value]) => value !== "" && value != null));
  return JSON.parse(await (await answered(`/api/${path}?${words}`)).text());
}

// What goes wrong is an Error in words; `gone`: nobody answers.
export async function answered(address) {
  const answer = await fetch(address).catch(() => null);
  if (!answer) throw Object.assign(new Error("logferry ui does not answer: is it still running? What is shown here is from before."), { gone: true });
  if (answer.ok) return answer;
  const text = await answer.text();
  let told = text || answer.statusText;
  try { told = JSON.parse(text).error ?? told; } catch { /* words, not JSON */ }
  throw new Error(told);
}

export const asked = () => ({ since: state.since, until: state.until, filter: state.filter });
export const fixed = () => ({ since: range.since, until: range.until, filter: state.filter });

// ── the filter as words ──

const escaped = (text) => `"${String(text).replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
export const quoted = (value) => (/^[\w./:@%+-]+$/.test(String(value)) ? String(value) : escaped(value));
export const term = (field, value, not = false) => `${not ? "-" : ""}${field}=${String(value).split("\u0000").map(quoted).join(",")}`;
export const phrase = escaped;

// Words that stand side by side; what is quoted or in parentheses is one. With OR outside of them all of it is one.
export function terms(text) {
  const found = [];
  let word = "", quote = "", depth = 0;
  for (let at = 0; at < text.length; at += 1) {
    const char = text[at];
    if (quote) {
      if (char === "\\") { word += char + (text[at + 1] ?? ""); at += 1; continue; }
      if (char === quote) quote = "";
    } else if (char === '"' || char === "'") quote = char;
    else if (char === "(") depth += 1;
    else if (char === ")") depth -= 1;
    else if (/\s/.test(char) && depth <= 0) { if (word) found.push(word); word = ""; continue; }
    word += char;
  }
  if (word) found.push(word);
  if (found.some((one) => ["OR", "||"].includes(one))) return [text.trim()];
  const joined = [];
  for (const one of found) {
    if (["AND", "&&"].includes(one)) continue;
    if (joined[joined.length - 1] === "NOT") joined[joined.length - 1] = `NOT ${one}`;
    else joined.push(one);
  }
  return joined;
}

export function add(words, more = {}) {
  const there = terms(state.filter);
  const kept = there.length === 1 && /\s(OR|\|\|)\s/.test(there[0]) && words.length ? [`(${there[0]})`] : there;
  write({ filter: [...kept, ...words.filter((word) => !kept.includes(word))].join(" "), trace: "", line: "", mode: "", ...more });
}

export const narrow = (field, value, from, to) => add([term(field, value)], from ? { since: new Date(from).toISOString(), until: new Date(to).toISOString(), live: false } : {});
