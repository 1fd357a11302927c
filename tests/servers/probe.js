// What a test asks the page. Each is a function; a test evaluates one of them.

// The sums of what a panel's bars or cells count, by one of their attributes.
const sums = (panel, name) => {
  const found = {};
  for (const one of document.querySelectorAll(`[data-panel="${panel}"] rect[data-count]`)) {
    found[one.dataset[name]] = (found[one.dataset[name]] ?? 0) + Number(one.dataset.count);
  }
  return found;
};
const all = (selector) => [...document.querySelectorAll(selector)];
const texts = (selector) => all(selector).map((one) => one.textContent);
const text = (selector) => document.querySelector(selector)?.textContent ?? "";
// Name → number: `name` an attribute of data, or the text.
const numbers = (selector, name, value) =>
  Object.fromEntries(all(selector).map((one) => [name ? one.dataset[name] : one.textContent, Number(one.dataset[value])]));
const points = (panel) =>
  Object.fromEntries(all(`[data-panel="${panel}"] path[data-series]`).map((one) => [one.dataset.series, JSON.parse(one.dataset.points)]));
const fields = () =>
  Object.fromEntries(all("#detail .fields tr").map((row) => [row.querySelector("th").textContent, row.querySelector(".value").textContent]));
const scroll = (share) => { const rows = document.querySelector("#rows"); rows.scrollTop = rows.scrollHeight * share; };

// The first line that is seen: its place, and its text; null while it is fetched.
const first = () => {
  const row = document.querySelector("#rows .row .msg");
  if (document.querySelector("#rows .waiting") || !row) return null;
  return [Number(text("#count").split("\u2013")[0].replace(/,/g, "")) - 1, row.textContent];
};

const nameless = () => all("button, input, select, a[href], summary")
  .filter((one) => one.offsetParent && !(one.textContent.trim() || one.getAttribute("aria-label") || one.labels?.length))
  .map((one) => one.outerHTML.slice(0, 200));

// Texts whose contrast to what is really behind them is less than 4.5, or 3 where they are large.
const contrast = () => {
  const rgba = (given) => {
    const found = given.match(/[\d.]+/g)?.map(Number) ?? [0, 0, 0, 0];
    if (given.startsWith("color(srgb")) for (const n of [0, 1, 2]) found[n] *= 255;
    return found.length > 3 ? found : [...found, 1];
  };
  const over = (top, below) => [0, 1, 2].map((n) => top[n] * top[3] + below[n] * (1 - top[3])).concat(1);
  const part = (one) => (one / 255 <= 0.04045 ? one / 255 / 12.92 : ((one / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  const line = (one) => { const found = []; for (let at = one; at; at = at.parentElement) found.unshift(getComputedStyle(at)); return found; };
  const wrong = [];
  for (const one of all("body *")) {
    const style = getComputedStyle(one), written = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!written || one.closest("svg, .sr, [hidden], dialog, .again") || !one.getBoundingClientRect().width) continue;
    const back = line(one).reduce((below, each) => over(rgba(each.backgroundColor), below), [255, 255, 255, 1]);
    const opacity = line(one).reduce((so, each) => so * Number(each.opacity), 1), ink = rgba(style.color);
    const [a, b] = [light(over([...ink.slice(0, 3), ink[3] * opacity], back)), light(back)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < (parseFloat(style.fontSize) >= 24 ? 3 : 4.5)) wrong.push([one.outerHTML.slice(0, 120), ratio.toFixed(2)]);
  }
  return wrong.slice(0, 10);
};
